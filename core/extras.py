"""What may lie beside a model's networks, each loaded when it is first asked for.

    clip/                   the image tower of the CLIP whose text tower conditions the U-Net, and both projections
    classifier/             the classifier of noisy latents
    latents.safetensors     the latents of the training pictures, with provenance.jsonl: whose picture each is
    reference.npz           mean and covariance of the training pictures' features, as that image tower sees them
    vocabulary.json         the names of what was trained
    examples.json           prompts that it answers well
    words.txt               every word of the captions that it was trained with, in all languages

Only models of our own have these. What one lacks is said in a sentence by `missing`, and raised by whatever needs it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.checkpoints.folder import config_of, inside
from core.checkpoints.keymaps import IDENTITY, ONCE, Table
from core.checkpoints.load import materialise
from core.checkpoints.plan import draft
from core.checkpoints.read import opened, read_header, read_tensor
from core.errors import UserError
from core.files import read_json, read_text
from core.judge import Judge
from core.metrics import Gaussian
from core.nets.classifier import NoisyClassifier
from core.nets.clip import Clip, TextEncoder
from core.nets.configs import ClassifierConfig, VisionConfig
from core.nets.tokenizer import Tokenizer, spelled
from core.schedules import Schedule

LACKS = {
    "clip": "brings no CLIP that sees pictures (clip/), so how well a picture fits its words is not measured",
    "classifier": "brings no classifier of noisy latents (classifier/), so there is no gradient to guide by",
    "latents": "brings no training latents (latents.safetensors), so their map and the nearest training pictures are not shown",
    "reference": "brings no statistics of its training pictures (reference.npz), so there is nothing to measure a distance to",
}
FILES = {"clip": "clip/model.safetensors", "classifier": "classifier/model.safetensors", "latents": "latents.safetensors",
         "reference": "reference.npz"}  # fmt: skip
MOST_LINES_BYTES = 50_000_000  # of provenance.jsonl; ours has 1 MB
MOST_CLASSES = 10_000
PHRASES = "a an on background emoji of style"  # what English captions are put together with


@dataclass(frozen=True)
class Origin:
    """Where one training picture comes from; the words of provenance.jsonl."""

    hexcode: str
    label: str
    style: str
    source: str
    package: str
    version: str
    name: str
    licence: str
    subgroup: str  # the class of what it shows


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The training pictures as scaled latents [N, C, h, w] in float32, and where each comes from."""

    latents: Tensor
    origins: tuple[Origin, ...]


@dataclass(frozen=True, eq=False)
class Eyes:
    """Our CLIP with all that it needs to compare pictures with words."""

    clip: Clip
    tokenizer: Tokenizer
    size: int  # the side in pixels of what its image tower sees

    @torch.no_grad()
    def of_pictures(self, x: Tensor) -> Tensor:
        """Unit vectors [B, D] of pictures [B, 3, H, W] in [−1, 1]."""
        weight = self.clip.visual_projection.weight
        seen = F.interpolate(x.to(weight), size=(self.size, self.size), mode="area")
        return self.clip.embed_image(seen).float()

    @torch.no_grad()
    def of_words(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors [B, D] of texts."""
        ids = self.tokenizer.encode(list(texts)).to(self.clip.text_projection.weight.device)
        return self.clip.embed_text(ids).float()


@dataclass(frozen=True)
class Lexicon:
    """Words that stand in the captions of a model's training; `complete`: no other word does, in any language."""

    words: frozenset[str]
    complete: bool

    def unseen(self, text: str) -> list[str]:
        """The words of a text that are not among these, each once; none where nothing is known."""
        return [word for word in dict.fromkeys(spelled(text)) if word not in self.words] if self.words else []


@dataclass(frozen=True, eq=False)
class Extras:
    """The extras of one loaded model; `root` is its folder, None for a single file."""

    root: Path | None
    name: str
    text_encoder: TextEncoder
    tokenizer: Tokenizer
    schedule: Schedule
    device: torch.device
    dtype: torch.dtype

    def missing(self, what: str) -> str:
        """A sentence that says that this model lacks "clip", "classifier" or "latents"; "" if it has it."""
        if self.root is not None and (self.root / FILES[what]).exists():
            return ""
        return f"{self.name} {LACKS[what]}: load a model that was exported with it."

    @cached_property
    def eyes(self) -> Eyes:
        """The CLIP of this model; raises UserError where there is none."""
        root = self._root("clip")
        config = config_of(cast(Any, VisionConfig), read_json(inside(root, root / "clip" / "config.json")), "clip")
        vision = cast(VisionConfig, config)
        text = replace(self.text_encoder.config, projection=vision.projection)

        def all_but_the_text_tower(_: Any) -> nn.Module:
            clip = Clip(text, vision)
            del clip.text_model  # the pipeline has it already
            return clip

        clip = cast(Clip, self._read("CLIP", all_but_the_text_tower, "clip"))
        clip.text_model = self.text_encoder.text_model
        return Eyes(clip, self.tokenizer, vision.size)

    @cached_property
    def judge(self) -> Judge:
        """The classifier of this model; raises UserError where there is none."""
        root = self._root("classifier")
        data = read_json(inside(root, root / "classifier" / "config.json"))
        names = {key: data.pop(key, []) for key in ("classes", "subclasses")}
        for group in names.values():
            if not isinstance(group, list) or not 0 < len(group) <= MOST_CLASSES or not all(isinstance(n, str) for n in group):
                raise UserError("classifier/config.json lists no classes: use the file that came with the weights.")
        plain = cast(ClassifierConfig, config_of(cast(Any, ClassifierConfig), data, "classifier"))
        config = replace(plain, classes=tuple(names["classes"]), subclasses=tuple(names["subclasses"]))
        network = self._read("classifier", lambda _: NoisyClassifier(config), "classifier")
        return Judge(cast(NoisyClassifier, network), self.schedule)

    @cached_property
    def training(self) -> TrainingSet:
        """The training latents of this model; raises UserError where there are none, or not one origin for each."""
        root = self._root("latents")
        header = read_header(inside(root, root / FILES["latents"]))
        if "latents" not in header.tensors or len(header.tensors["latents"].shape) != 4:
            raise UserError("latents.safetensors holds no latents [N, C, h, w]: copy the whole folder of the model.")
        with opened(header.path) as file:
            latents = read_tensor(file, header.tensors["latents"]).float().to(self.device)
        origins = read_origins(inside(root, root / "provenance.jsonl"))
        if len(origins) != len(latents):
            raise UserError(f"provenance.jsonl has {len(origins)} lines for {len(latents)} latents: copy the model's folder again.")
        return TrainingSet(latents, origins)

    @cached_property
    def reference(self) -> Gaussian:
        """The Gaussian of the training pictures' features, as `eyes` sees them; raises UserError where there is none."""
        root = self._root("reference")
        return Gaussian.load(inside(root, root / FILES["reference"]))

    @cached_property
    def vocabulary(self) -> dict[str, Any]:
        """What vocabulary.json says of the names that were trained; empty where there is none."""
        return {} if self.root is None else read_json(inside(self.root, self.root / "vocabulary.json"), {}, 10_000_000)

    @cached_property
    def examples(self) -> tuple[str, ...]:
        """Prompts that this model was seen to answer well; none where nobody looked."""
        found = {} if self.root is None else read_json(inside(self.root, self.root / "examples.json"), {}, 100_000)
        prompts = found.get("prompts")
        return tuple(str(text)[:200] for text in prompts[:12]) if isinstance(prompts, list) else ()

    @cached_property
    def lexicon(self) -> Lexicon:
        """The words that this model was trained with, as far as its files tell."""
        names = names_of(self.vocabulary)
        if self.root is None or not names:
            return Lexicon(frozenset(), complete=False)
        english = frozenset(word for name in (*names, PHRASES) for word in spelled(name))
        path = self.root / "words.txt"
        words = frozenset(read_text(inside(self.root, path), 10_000_000).split()) if path.exists() else frozenset()
        whole = english <= words  # a list left over from other weights lacks some of the names
        return Lexicon(words if whole else english, complete=whole)

    def _root(self, what: str) -> Path:
        if self.root is None or self.missing(what):
            raise UserError(self.missing(what))
        return self.root

    def _read(self, what: str, build: Callable[[Any], nn.Module], name: str) -> nn.Module:
        """A network built without memory, then filled from its file, strictly."""
        root = self._root(name)
        header = read_header(inside(root, root / FILES[name]))
        made = draft(what, cast(Any, build), cast(Any, None), Table(IDENTITY, ONCE), header.tensors)
        materialise(made, self.device, self.dtype)
        return made.model


def names_of(vocabulary: dict[str, Any]) -> list[str]:
    """The labels, style words and colours that a vocabulary.json lists."""
    found = [vocabulary.get(key) for key in ("concepts", "styles", "colours")]
    entries = [entry for group in found if isinstance(group, list) for entry in group]
    return [str(entry.get("label", entry.get("word", ""))) if isinstance(entry, dict) else str(entry) for entry in entries]


def folder_of(weights: Path) -> Path | None:
    """The model's folder from the file of its U-Net's weights; None for a single file."""
    root = weights.parent.parent
    return root if weights.parent.name == "unet" and (root / "model_index.json").is_file() else None


def read_origins(path: Path) -> tuple[Origin, ...]:
    """The lines of provenance.jsonl; what a line does not say is empty."""
    names = [field.name for field in fields(Origin)]
    try:
        lines = [json.loads(line) for line in read_text(path, MOST_LINES_BYTES).splitlines() if line.strip()]
        return tuple(Origin(**{name: str(line.get(name, "")) for name in names}) for line in lines)
    except (ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path.parent.name}/{path.name} is no list of origins: copy the whole folder of the model.") from error
