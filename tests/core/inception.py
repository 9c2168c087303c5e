"""Inception-v3 with weights of chance, of the size of the real one, in a file; and files that only claim to hold weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from core.nets.inception import InceptionV3


@cache
def shapes() -> dict[str, tuple[int, ...]]:
    """What every weight is called, and its shape."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in InceptionV3().state_dict().items()}


@cache
def weights() -> dict[str, Tensor]:
    """Weights under which signals neither fade nor grow, so that a slip anywhere shows in the answer."""
    generator = torch.Generator().manual_seed(1)

    def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
        if name.endswith(("running_var", "bn.weight")):
            return torch.rand(shape, generator=generator) + 0.5
        spread = 0.1 if len(shape) == 1 else math.sqrt(2 / math.prod(shape[1:])) / (4 if len(shape) == 2 else 1)
        return spread * torch.randn(shape, generator=generator)

    return {name: drawn(name, shape) for name, shape in shapes().items()}


def write_inception(path: Path) -> Path:
    """A file of these weights."""
    save_file(weights(), path)
    return path


def write_hollow(path: Path, claimed: Mapping[str, Sequence[int]]) -> Path:
    """A .safetensors file of zeros with these names and shapes, which takes no room on the disk."""
    header, at = {}, 0
    for name, shape in claimed.items():
        size = 2 * math.prod(shape)
        header[name], at = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}, at + size
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + at)
    return path
