"""From one configuration file a component to the thing that is trained, and from trained parts to the shipped folder.

A plan is a folder of configs/ (two_cores, gpu); its work lies in <work>/<plan>/: tokenizer/, vae/, latents.safetensors, clip/,
eyes/, unet/, classifier/. Each part needs what stands before it:  data → vae → latents;  data → clip → eyes;  latents + clip →
unet, classifier. The eyes are CLIP's image tower, trained on beside a text tower that stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from core.errors import UserError
from core.nets.clip import Clip, TextEncoder
from core.nets.configs import ClassifierConfig, TextConfig, UNetConfig, VAEConfig, VisionConfig
from core.nets.tokenizer import Tokenizer, train_tokenizer
from core.nets.vae import AutoencoderKL
from core.schedules import SCHEDULES
from core.training.art import Progress
from core.training.autoencoder import VAELoss, VAETask, encode_all, standardise
from core.training.captions import CaptionTable, caption_table
from core.training.classification import ClassifierTask
from core.training.contrastive import ClipTask, EyesTask, Pairs
from core.training.data import WHITE, Pictures, base_list, load_concepts, load_records
from core.training.denoising import Latents, UNetTask
from core.training.languages import COLOURS
from core.training.loop import RunConfig, Task, fit, trained_weights
from core.training.packages import SOURCES

CONFIGS = Path(__file__).parent / "configs"
PARTS = ("vae", "clip", "eyes", "unet", "classifier")  # in the order in which they are trained
SCHEDULE = "cosine"  # of the embedded model; its U-Net predicts v


@dataclass(frozen=True)
class Plan:
    """Where the data and the work of one set of configurations lie, and on which device it runs."""

    name: str
    data: Path
    work: Path
    device: torch.device

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of one part; raises UserError if the plan has none."""
        path = CONFIGS / self.name / f"{part}.json"
        if not path.exists():
            plans = ", ".join(sorted(p.name for p in CONFIGS.iterdir() if p.is_dir()))
            raise UserError(f"There is no configuration {self.name}/{part}: the plans are {plans}.")
        return json.loads(path.read_text(encoding="utf-8"))

    def run(self, part: str) -> RunConfig:
        return RunConfig(**self.config(part)["run"])

    def folder(self, part: str) -> Path:
        return self.work / self.name / part

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        return load_records(self.data)

    @cached_property
    def _tiers(self) -> dict[str, Tier]:
        return {}

    def tier(self, part: str) -> Tier:
        """What a part is trained on, and may name: parts of one tier share its captions."""
        name = self.config(part)["tier"]
        return self._tiers.setdefault(name, Tier(self, name))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Trained once, on the captions of all concepts, so that a wider tier keeps the vocabulary."""
        folder = self.folder("tokenizer")
        if not (folder / "merges.txt").exists():
            concepts = load_concepts(self.data, "all")
            chosen = base_list(self.records, concepts)
            texts = dict.fromkeys(caption_table([self.records[i] for i in chosen], concepts).texts)
            train_tokenizer(texts, self.config("clip")["vocabulary"], folder)
        return Tokenizer.load(folder)

    def text_config(self) -> TextConfig:
        t = self.tokenizer
        return TextConfig(**self.config("clip")["text"], vocab=t.vocab_size, bos=t.bos, eos=t.eos, pad=t.pad)

    def vision_config(self) -> VisionConfig:
        return VisionConfig(**self.config("clip")["vision"])

    def clip(self, part: str = "clip") -> Clip:
        """The trained CLIP, as this part left it."""
        clip = Clip(self.text_config(), self.vision_config())
        clip.load_state_dict(trained_weights(self.folder(part)))
        return clip.eval().to(self.device)

    def text_encoder(self) -> TextEncoder:
        """The trained text tower alone."""
        encoder = TextEncoder(self.text_config())
        encoder.text_model.load_state_dict(self.clip().text_model.state_dict())
        return encoder.eval().to(self.device)

    def trained(self, part: str) -> bool:
        """Whether there is anything of a part."""
        return any(self.folder(part).glob("checkpoint-*"))

    def vae(self) -> AutoencoderKL:
        """The trained VAE with its latent statistics folded in, as `encode_latents` left it."""
        vae = AutoencoderKL(VAEConfig(**tuples(self.config("vae")["network"])))
        vae.load_state_dict(load_file(self.folder("latents") / "vae.safetensors"))
        return vae.eval().to(self.device)

    def latents(self, mirrored: bool = True) -> Latents:
        """What `encode_latents` wrote, with the mirrored pictures or without."""
        path = self.folder("latents") / "latents.safetensors"
        if not path.exists():
            raise UserError(f"There are no latents at {path}: run `python -m core.training latents` first.")
        with safe_open(path, "pt") as file:
            kept = ~file.get_tensor("mirrored") | mirrored
            values, row, colour = (file.get_tensor(name)[kept] for name in ("latents", "row", "colour"))
            return Latents(values, row.numpy(), colour.numpy())


@dataclass(frozen=True)
class Tier:
    """A list of concepts with the pictures of them that a model may learn from, and their captions."""

    plan: Plan
    name: str

    @cached_property
    def concepts(self) -> list[dict[str, Any]]:
        return load_concepts(self.plan.data, self.name)

    @cached_property
    def base(self) -> list[int]:
        """The frozen training set: numbers of pictures, one on white each."""
        return base_list(self.plan.records, self.concepts)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The records of the base list."""
        return [self.plan.records[i] for i in self.base]

    @cached_property
    def captions(self) -> CaptionTable:
        """Row i is picture base[i]."""
        return caption_table(self.rows, self.concepts).tokenised(self.plan.tokenizer.encode)


    @property
    def pairs(self) -> Pairs:
        """Pictures and captions, for CLIP."""
        number, style_ids = {c["hexcode"]: i for i, c in enumerate(self.concepts)}, [s.id for s in SOURCES]
        return Pairs(
            Pictures(self.plan.data), np.array(self.base), np.array([number[r["hexcode"]] for r in self.rows]),
            np.array([style_ids.index(r["source"]) for r in self.rows]), np.array([r["flip"] for r in self.rows]), self.captions,
        )  # fmt: skip


def build(part: str, plan: Plan) -> Task:
    """The task of one part, its network initialised from the seed of its run."""
    config, run = plan.config(part), plan.run(part)
    torch.manual_seed(run.seed)
    if part == "vae":
        trained = np.array([r["index"] for r in plan.records if r["split"] == "train"])
        pictures = np.array(Pictures(plan.data).array)  # in memory: a batch is many small crops
        return VAETask(VAEConfig(**tuples(config["network"])), run, VAELoss(**config["loss"]), pictures, trained)
    if part == "clip":
        return ClipTask(plan.text_config(), plan.vision_config(), run, plan.tier(part).pairs, config["unpictured"])
    if part == "eyes":
        return EyesTask(plan.clip(), run, plan.tier(part).pairs)
    if part == "unet":
        # No caption says which way a thing looks: a mirrored picture would be a second answer to the same words.
        return UNetTask(
            UNetConfig(**tuples(config["network"])), run, SCHEDULES[SCHEDULE](), plan.latents(mirrored=False),
            plan.tier(part).captions, plan.text_encoder(), config["drop"], config["snr_cap"],
        )  # fmt: skip
    if part == "classifier":
        rows = plan.tier("unet").rows  # the latents are theirs
        groups, subgroups = sorted({r["group"] for r in rows}), sorted({r["subgroup"] for r in rows})
        names = ClassifierConfig(**tuples(config["network"]), classes=tuple(groups), subclasses=tuple(subgroups))
        labels = [[groups.index(r["group"]) for r in rows], [subgroups.index(r["subgroup"]) for r in rows]]
        return ClassifierTask(names, run, SCHEDULES[SCHEDULE](), plan.latents(), torch.tensor(labels))
    raise UserError(f"There is no part {part!r}: choose one of {', '.join(PARTS)}.")


def train(part: str, plan: Plan, minutes: float | None = None) -> Iterator[Any]:
    """Train one part to its end or for so many minutes; the VAE's end is followed by the encoding of the latents."""
    yield from fit(build(part, plan), plan.folder(part), plan.device, minutes)


@torch.no_grad()
def encode_latents(plan: Plan) -> Iterator[Progress]:
    """Encode the base list on white (the first rows, in order), mirrored, and on some colours each; fold the statistics in.

    Writes vae.safetensors (folded) and latents.safetensors: latents float16 [N, 4, h, w], row (of the base list), colour, mirrored.
    """
    vae = AutoencoderKL(VAEConfig(**tuples(plan.config("vae")["network"])))
    vae.load_state_dict(trained_weights(plan.folder("vae")))
    vae.eval().to(plan.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    rows, colours, flips = _variants(plan)
    pictures, chunks = Pictures(plan.data), []
    base = np.array(plan.tier("unet").base)
    for start in range(0, len(rows), 64):
        part = slice(start, start + 64)
        chunks.append(encode_all(vae, pictures.rgb(base[rows[part]], colours[part], flips[part])))
        yield Progress("latents", min(start + 64, len(rows)), len(rows))
    latents = standardise(vae, torch.cat(chunks)).half()
    folder = plan.folder("latents")
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.cpu().contiguous() for k, v in vae.state_dict().items()}, folder / "vae.safetensors")
    about = {"row": torch.from_numpy(rows), "colour": torch.from_numpy(colours), "mirrored": torch.from_numpy(flips)}
    save_file({"latents": latents.contiguous(), **about}, folder / "latents.safetensors")


def _variants(plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the base list, colours behind them and whether they are mirrored: white, mirrored on white, on colours."""
    rng = np.random.default_rng(0)
    flip = np.array([r["flip"] for r in plan.tier("unet").rows])
    every = np.arange(len(flip))
    rows, colours, flips = [every, every[flip]], [np.full(len(every), WHITE), np.full(flip.sum(), WHITE)], []
    flips += [np.zeros(len(every), bool), np.ones(flip.sum(), bool)]
    for _ in range(plan.config("unet")["colours"]):
        rows.append(every)
        colours.append(rng.integers(len(COLOURS) - 1, size=len(every)))  # the last one is white
        flips.append(flip & (rng.random(len(every)) < 0.5))
    return np.concatenate(rows), np.concatenate(colours), np.concatenate(flips)


def tuples(config: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples that a frozen configuration holds."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
