"""What is on disk, and how it will become networks: a checkpoint checked completely, but for the values of its weights.

    header -> what is it (detect, folder) -> configs -> networks on the meta device -> one source for every parameter
    (keymaps), the tokenizer, how it was trained (scheduler), what to tell the user

Nothing here takes memory for weights or trusts a number: a plan that exists can be carried out, if the values are good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from core.checkpoints.detect import detect, unused
from core.checkpoints.folder import NETWORKS, Config, inside, read_index, read_part
from core.checkpoints.keymaps import COMPLETE, UNET, VAE, Source, Table, expand, file_table, first, folder_table, resolve
from core.checkpoints.read import PICKLE, Entry, Header, read_header, show
from core.checkpoints.scheduler import STABLE_DIFFUSION, Training, prediction_beside, read_prediction, read_scheduler
from core.errors import UserError
from core.files import read_json
from core.nets.clip import TextEncoder
from core.nets.configs import TextConfig
from core.nets.tokenizer import Tokenizer
from core.nets.unet import UNet
from core.nets.vae import AutoencoderKL

CLIP_BPE = Path(__file__).parents[2] / "assets" / "clip-bpe"  # single files bring no tokenizer; all of them use CLIP's
ASSUMED = {1: "eps", 2: "v"}  # what a single file of Stable Diffusion 1 or 2 predicts where nothing says so
_NAME = "name a folder in the diffusers layout or a .safetensors file"


@dataclass(frozen=True)
class Draft:
    """A network on the meta device and where in which file each of its parameters is."""

    model: nn.Module
    plan: dict[str, Source]
    entries: Mapping[str, Entry]


@dataclass(frozen=True)
class Plan:
    """All that is known of a checkpoint before its weights are read."""

    name: str
    drafts: tuple[Draft, Draft, Draft]  # U-Net, VAE, text encoder
    tokenizer: Tokenizer
    training: Training
    weights: Path
    notes: tuple[str, ...]


def plan_checkpoint(path: Path, prediction: str | None = None) -> Plan:
    """Check a checkpoint completely, but for the values of its weights, without reading them."""
    try:
        return _plan(path.expanduser(), prediction)
    except (OSError, RuntimeError) as error:  # no right to read, too long a name, no such user's home
        reason = getattr(error, "strerror", None) or "no such place"
        raise UserError(f"{show(path.name)} cannot be read ({reason}): {_NAME}.") from error


def _plan(path: Path, prediction: str | None) -> Plan:
    if path.is_dir():
        return _plan_folder(path, prediction)
    if path.suffix.lower() in (".ckpt", ".pt", ".pth", ".bin", ".pkl"):
        raise UserError(f"{path.name} {PICKLE}.")
    if not path.is_file():
        raise UserError(f"There is no model at {show(str(path))}: {_NAME}.")
    if path.suffix.lower() != ".safetensors":
        raise UserError(f"{path.name} is no .safetensors file: {_NAME}.")
    return plan_file(read_header(path), prediction)


def _plan_folder(root: Path, prediction: str | None) -> Plan:
    read_index(root)
    unet, vae, text = (read_part(root, name) for name in NETWORKS)
    tokenizer = _folder_tokenizer(root)
    drafts = (
        draft("U-Net", UNet, unet.config, folder_table(unet.config), unet.entries),
        draft("VAE", AutoencoderKL, vae.config, folder_table(vae.config), vae.entries),
        draft("text encoder", TextEncoder, _fitting(text.config, tokenizer), folder_table(text.config), text.entries),
    )
    notes = []
    for name, one, part in zip(NETWORKS, drafts, (unet, vae, text), strict=True):
        if rest := unused(part.entries, used(one), strict=() if name == "text_encoder" else ("",)):
            notes.append(f"{name}/: {_left_out(rest)}")
    scheduler = root / "scheduler" / "scheduler_config.json"
    training = STABLE_DIFFUSION
    if scheduler.exists() or scheduler.is_symlink():
        training = read_scheduler(read_json(inside(root, scheduler)))
    else:
        notes.append("The folder has no scheduler/scheduler_config.json: Stable Diffusion's schedule is assumed.")
    training = training.predicting(read_prediction(prediction)) if prediction else training
    return Plan(_folder_name(root), drafts, tokenizer, training, unet.file, (*notes, *training.notes))


def plan_file(header: Header, prediction: str | None) -> Plan:
    """The plan of a single file in the original layout, from its header alone."""
    path, found = header.path, detect(header)
    said = read_prediction(prediction) if prediction else prediction_beside(path, header.metadata)
    notes = [] if said else [_assumed(path.name, found.generation)]
    said = said or ASSUMED[found.generation]
    tokenizer = _clip_tokenizer(found.generation)
    # SD 2 was trained to predict v on pictures of 768 pixels a side, to predict eps on those of 512, as all of SD 1.
    unet = replace(found.unet, sample_size=96 if (found.generation, said) == (2, "v") else 64)
    text = _fitting(found.text, tokenizer)
    drafts = (
        draft("U-Net", UNet, unet, file_table(unet, found.generation), header.tensors),
        draft("VAE", AutoencoderKL, found.vae, file_table(found.vae, found.generation), header.tensors),
        draft("text encoder", TextEncoder, text, file_table(text, found.generation), header.tensors),
    )
    if rest := unused(header.tensors, used(*drafts), strict=(UNET, VAE)):
        notes.append(_left_out(rest))
    notes += _says_of_itself(header.metadata)
    return Plan(path.stem, drafts, tokenizer, STABLE_DIFFUSION.predicting(said), path, tuple(notes))


def draft(
    what: str, network: Callable[[Any], nn.Module], config: Config | None, table: Table, entries: Mapping[str, Entry],
    advice: str = COMPLETE,
) -> Draft:  # fmt: skip
    """Build a network without memory and find each of its parameters among the entries of a file; `advice`: what to do else."""
    with torch.device("meta"), Unfilled():
        model = network(config)
    plan = resolve(what, model, expand(table, model.state_dict()), entries, advice)
    return Draft(model, plan, {source.name: entries[source.name] for source in plan.values()})


class Unfilled(TorchFunctionMode):
    """Skip torch.nn.init: on the meta device there is nothing to fill, and trying imports 1.6 s of compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def used(*drafts: Draft) -> set[str]:
    """The tensors of a file that some network takes."""
    return {name for one in drafts for name in one.entries}


@cache
def _clip_tokenizer(generation: int) -> Tokenizer:
    return Tokenizer.load(CLIP_BPE, pad="!" if generation == 2 else None)


def _folder_tokenizer(root: Path) -> Tokenizer:
    folder = root / "tokenizer"
    for name in ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        inside(root, folder / name)
    return Tokenizer.load(folder)


def _fitting(config: TextConfig, tokenizer: Tokenizer) -> TextConfig:
    """The text tower with the special ids of its tokenizer: older configs give ids that it does not have."""
    if tokenizer.vocab_size > config.vocab or tokenizer.length > config.length:
        tokens = f"The tokenizer has {tokenizer.vocab_size:,} pieces and {tokenizer.length} places"
        raise UserError(f"{tokens}, the text encoder {config.vocab:,} and {config.length}: they are of two models.")
    return replace(config, bos=tokenizer.bos, eos=tokenizer.eos, pad=tokenizer.pad)


def _folder_name(root: Path) -> str:
    """A folder's own name, or the model's in the hub's cache, where the folder is called by its revision."""
    root = root.resolve()
    if root.parent.name == "snapshots" and root.parent.parent.name.startswith("models--"):
        return root.parent.parent.name.split("--")[-1]
    return root.name


def _assumed(file: str, generation: int) -> str:
    other = {1: "pass --prediction v if pictures come out grey", 2: "pass --prediction eps for a base (512) model"}
    said = f"Nothing in or beside {file} says what its network predicts: {ASSUMED[generation]} is assumed"
    return f"{said}, as is usual for Stable Diffusion {generation}; {other[generation]}."


def _left_out(names: list[str]) -> str:
    return f"{len(names)} tensors that a text-to-image model has no use for were left out: {first(names, 3)}."


def _says_of_itself(metadata: Mapping[str, str]) -> list[str]:
    """Title, author and licence from the metadata, as plain clipped text."""
    known = ("modelspec.title", "modelspec.author", "modelspec.license")
    return [f"The file's {key.split('.')[1]}: {show(metadata[key])}" for key in known if metadata.get(key)]
