"""From a folder or a file on disk to the parts of a pipeline: everything is checked before the first weight is read.

    plan (every header, config and name is right) -> does it fit in memory -> read, check finite, convert, assign

A load that fails at any point leaves nothing behind: the parts are handed out only when all of them are complete.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from core.checkpoints.memory import check_fits, estimate
from core.checkpoints.plan import Draft, plan_checkpoint
from core.checkpoints.read import Entry, finite, opened, read_tensor, show
from core.errors import UserError
from core.nets.clip import TextEncoder
from core.nets.tokenizer import Tokenizer
from core.nets.unet import UNet
from core.nets.vae import AutoencoderKL
from core.schedules import Schedule

Stamp = tuple[int, int]  # a file's size and time of change


@dataclass(frozen=True)
class Components:
    """The parts of a text-to-image pipeline, on their device, ready to run; `notes` are sentences for the user."""

    unet: UNet
    vae: AutoencoderKL
    text_encoder: TextEncoder
    tokenizer: Tokenizer
    schedule: Schedule
    prediction: str  # what the U-Net predicts: "eps", "v" or "x0"
    spacing: str
    steps_offset: int
    name: str
    notes: tuple[str, ...]
    weights: Path  # the file that `hash` is of: the checkpoint, or the U-Net's weights in a folder
    stamp: Stamp  # of that file when it was read

    @cached_property
    def hash(self) -> str:
        """The first ten digits of the SHA-256 of the weights file (A1111's "Model hash"); "" if it has changed since.

        Computed when first asked for: a file of 4 GB takes seconds.
        """
        try:
            with open(self.weights, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()[:10]
            return digest if _stamp(self.weights) == self.stamp else ""
        except OSError:
            return ""


def load_checkpoint(
    path: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    prediction: str | None = None,
) -> Components:
    """Load Stable Diffusion 1.x or 2.x from a diffusers folder or a single .safetensors file.

    `prediction` ("eps", "v" or "x0") overrides what the files say. Raises UserError with one sentence that says what
    the file is or lacks and what to do; nothing is left half-loaded.
    """
    device = torch.device(device)
    plan = plan_checkpoint(Path(path), prediction)
    entries = [entry for draft in plan.drafts for entry in draft.entries.values()]
    check_fits(estimate([draft.model for draft in plan.drafts], entries, dtype), device, plan.name)
    stamps = {file: _stamp(file) for file in dict.fromkeys(entry.path for entry in entries)}
    for draft in plan.drafts:
        materialise(draft, device, dtype)
    for file, stamp in stamps.items():
        if _stamp(file) != stamp:
            raise UserError(f"{file.name} was changed while it was read: load it again when it is complete.")
    unet, vae, text_encoder = (draft.model for draft in plan.drafts)
    assert isinstance(unet, UNet) and isinstance(vae, AutoencoderKL) and isinstance(text_encoder, TextEncoder)
    training = plan.training
    return Components(
        unet, vae, text_encoder, plan.tokenizer, training.schedule, training.prediction, training.spacing,
        training.steps_offset, plan.name, plan.notes, plan.weights, stamps[plan.weights],
    )  # fmt: skip


def materialise(draft: Draft, device: torch.device, dtype: torch.dtype) -> None:
    """Read, check and convert every parameter of one network and put it in its place."""
    names: dict[str, list[str]] = {}  # the parameters that each tensor of the file becomes
    for name, source in draft.plan.items():
        names.setdefault(source.name, []).append(name)
    parameters: dict[str, Tensor] = {}
    blank = True
    for file in dict.fromkeys(entry.path for entry in draft.entries.values()):
        here = [entry for entry in draft.entries.values() if entry.path == file]
        with opened(file) as handle:
            for entry in sorted(here, key=lambda entry: entry.begin):  # in the order in which they lie on the disk
                stored = read_tensor(handle, entry)
                blank = blank and not stored.any()
                tensor = _converted(stored, entry, dtype)
                for name in names[entry.name]:
                    parameters[name] = draft.plan[name].take(tensor).to(device)
    if blank:
        what = f"Every weight of the {type(draft.model).__name__} in {file.name} is zero"
        raise UserError(f"{what}: the file was not written to its end; copy or download it again.")
    draft.model.load_state_dict(parameters, strict=True, assign=True)
    draft.model.requires_grad_(False).eval()


def _converted(stored: Tensor, entry: Entry, dtype: torch.dtype) -> Tensor:
    tensor = stored.to(dtype)
    if dtype == torch.float16 and stored.dtype != dtype and not finite(tensor):
        raise UserError(f"The weight {show(entry.name)} is too large for fp16: load the model as bf16 or fp32 (--dtype).")
    return tensor


def _stamp(path: Path) -> Stamp:
    try:
        stat = path.stat()
    except OSError:  # deleted: like no stamp of a file
        return -1, -1
    return stat.st_size, stat.st_mtime_ns
