"""The U-Net as a map: every part with the shape that it puts out, its parameters and its cost, and which skip goes where.

Nothing here knows a size: a network of the same configuration is run on PyTorch's meta device, where tensors have shapes and no
numbers, and asked. So the map of Stable Diffusion costs no memory.
"""

from __future__ import annotations

import functools
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from core.costs import multiply_adds
from core.inside.hooks import outputs
from core.nets.attention import SpatialTransformer
from core.nets.configs import UNetConfig
from core.nets.layers import Downsample, ResnetBlock, TimeEmbedding, Upsample
from core.nets.unet import DownStage, UNet, UpStage

KINDS: dict[type[nn.Module], str] = {
    TimeEmbedding: "time", ResnetBlock: "resnet", SpatialTransformer: "attention", Downsample: "downsample", Upsample: "upsample",
}  # fmt: skip
IN, OUT = "conv_in", "conv_out"
DOWN, MIDDLE, UP = "down", "middle", "up"
WAYS = {"down_blocks": DOWN, "mid_block": MIDDLE, "up_blocks": UP}


class Part(NamedTuple):
    """One part of the network; `shape` is what it puts out, [C, h, w], or [D] of the time embedding."""

    name: str  # of the module
    kind: str  # conv, or a value of KINDS
    way: str  # down, middle or up
    level: int  # 0 is the finest
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int  # of one call for one picture under one text


class Skip(NamedTuple):
    """A map that the way down hands across to a block of the way up, which concatenates it with its own."""

    source: str
    target: str
    level: int
    shape: tuple[int, ...]


class Map(NamedTuple):
    """The parts in the order in which they are computed, and the skips in the order in which they are used."""

    parts: tuple[Part, ...]
    skips: tuple[Skip, ...]

    def part(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)

    @property
    def levels(self) -> int:
        return 1 + max(part.level for part in self.parts)


@functools.lru_cache(maxsize=8)
def map_of(config: UNetConfig, height: int, width: int, length: int = 77) -> Map:
    """The map of a U-Net for latents of height × width cells, under a text of `length` tokens."""
    with torch.device("meta"):
        unet = UNet(config)
        given = torch.empty(1, config.in_channels, height, width), torch.zeros(1), torch.empty(1, length, config.context_dim)
    modules = modules_of(unet)
    with outputs(modules) as seen:
        costs = multiply_adds(unet, lambda: unet(*given))
    shapes = {name: tuple(cast(Tensor, out).shape[1:]) for name, out in seen.items()}
    top = len(config.channels) - 1
    parts = tuple(
        Part(name, kind(modules[name]), *place(name, top), shape, sum(value.numel() for value in modules[name].parameters()),
             sum(cost for layer, cost in costs.items() if f"{layer}.".startswith(f"{name}.")))
        for name, shape in shapes.items()
    )  # fmt: skip
    return Map(parts, tuple(Skip(source, target, place(target, top)[1], shapes[source]) for source, target in skips(unet)))


def modules_of(unet: UNet) -> dict[str, nn.Module]:
    """The modules that are parts of the map, by name."""
    return {name: module for name, module in unet.named_modules() if type(module) in KINDS or name in (IN, OUT)}


def kind(module: nn.Module) -> str:
    return KINDS.get(type(module), "conv")


def place(name: str, top: int) -> tuple[str, int]:
    """Way and level of a module by its name; `top` is the number of the coarsest level."""
    first, _, rest = name.partition(".")
    number = int(rest.partition(".")[0]) if first in ("down_blocks", "up_blocks") else 0
    level = {"down_blocks": number, "mid_block": top, "up_blocks": top - number}.get(first, 0)
    return WAYS.get(first, UP if name == OUT else DOWN), level


def skips(unet: UNet) -> list[tuple[str, str]]:
    """Which module's output each block of the way up is given: the last one that was put by is the first to be taken."""
    kept = [IN]
    for i, down in enumerate(cast(list[DownStage], unet.down_blocks)):
        kind = "attentions" if hasattr(down, "attentions") else "resnets"
        kept += [f"down_blocks.{i}.{kind}.{j}" for j in range(len(down.resnets))]
        kept += [f"down_blocks.{i}.downsamplers.0"] if hasattr(down, "downsamplers") else []
    ups = cast(list[UpStage], unet.up_blocks)
    return [(kept.pop(), f"up_blocks.{u}.resnets.{k}") for u, up in enumerate(ups) for k in range(len(up.resnets))]
