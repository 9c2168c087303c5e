"""Inception-v3 as the Frechet Inception Distance takes it: the network of 2015-12-05, which differs from all later ones.

    (1)  resize     bilinear to 299 x 299, sampled at i·(side/299): corners not aligned, no half pixel, no antialias
    (2)  Conv       max(0, norm(W * x)), the norm with fixed statistics and 0.001 under its root
    (3)  Mixed      branches side by side over one x; pools leave the border out of their mean; the last one takes the maximum
    (4)  features   the mean over the last map, 2048 numbers;   p(y|x) = softmax(W·features), 1008 classes, without the bias

Sources: 1512.00567 (the network), 1706.08500 (its use). (1) and the maximum in the last block are slips of that network's port,
and part of what FID means. Parameter names are those of the public file pt_inception-2015-12-05.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE, CLASSES = 299, 1008
EPS = 1e-3
Kernel = tuple[int, int]
Branches = Mapping[str, Sequence[tuple[Any, ...]]]  # name -> its convolutions in a row: (width, kernel), or two kernels: a fork

ONE, THREE, FIVE = (1, 1), (3, 3), (5, 5)
ACROSS, DOWN = (1, 7), (7, 1)
FORK = ((1, 3), (3, 1))  # both over the same input, one behind the other in the result


def block_a(pool: int) -> Branches:
    """Maps of 35 x 35: a square of five, and twice one of three."""
    return {"branch1x1": [(64, ONE)], "branch5x5": [(48, ONE), (64, FIVE)],
            "branch3x3dbl": [(64, ONE), (96, THREE), (96, THREE)], "branch_pool": [(pool, ONE)]}  # fmt: skip


def block_c(width: int) -> Branches:
    """Maps of 17 x 17: lines of seven, across and down."""
    dbl = [(width, ONE), (width, DOWN), (width, ACROSS), (width, DOWN), (192, ACROSS)]
    return {"branch1x1": [(192, ONE)], "branch7x7": [(width, ONE), (width, ACROSS), (192, DOWN)], "branch7x7dbl": dbl,
            "branch_pool": [(192, ONE)]}  # fmt: skip


BLOCK_B: Branches = {"branch3x3": [(384, THREE)], "branch3x3dbl": [(64, ONE), (96, THREE), (96, THREE)], "branch_pool": []}
BLOCK_D: Branches = {"branch3x3": [(192, ONE), (320, THREE)],
                     "branch7x7x3": [(192, ONE), (192, ACROSS), (192, DOWN), (192, THREE)], "branch_pool": []}  # fmt: skip
BLOCK_E: Branches = {"branch1x1": [(320, ONE)], "branch3x3": [(384, ONE), (384, *FORK)],
                     "branch3x3dbl": [(448, ONE), (384, THREE), (384, *FORK)], "branch_pool": [(192, ONE)]}  # fmt: skip

STEM = (  # name, width, kernel, stride, whether the border is padded
    ("Conv2d_1a_3x3", 32, THREE, 2, False), ("Conv2d_2a_3x3", 32, THREE, 1, False), ("Conv2d_2b_3x3", 64, THREE, 1, True),
    ("Conv2d_3b_1x1", 80, ONE, 1, False), ("Conv2d_4a_3x3", 192, THREE, 1, False),
)  # fmt: skip
HALVED_AFTER = ("Conv2d_2b_3x3", "Conv2d_4a_3x3")
MIXED = (  # name, branches, what its pool does: "mean", "max", or "halve" the sides together with the last convolutions
    ("Mixed_5b", block_a(32), "mean"), ("Mixed_5c", block_a(64), "mean"), ("Mixed_5d", block_a(64), "mean"),
    ("Mixed_6a", BLOCK_B, "halve"),
    ("Mixed_6b", block_c(128), "mean"), ("Mixed_6c", block_c(160), "mean"), ("Mixed_6d", block_c(160), "mean"),
    ("Mixed_6e", block_c(192), "mean"),
    ("Mixed_7a", BLOCK_D, "halve"), ("Mixed_7b", BLOCK_E, "mean"), ("Mixed_7c", BLOCK_E, "max"),
)  # fmt: skip


class Norm(nn.Module):
    """Batch normalisation with fixed statistics; nn.BatchNorm2d also counts batches, and the file need not."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.get_buffer("running_mean"), self.get_buffer("running_var"), self.weight, self.bias, eps=EPS)


class Conv(nn.Module):
    """Equation (2); padded, the map keeps its sides."""

    def __init__(self, cin: int, cout: int, kernel: Kernel, stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if padded else 0
        self.conv = nn.Conv2d(cin, cout, kernel, stride, padding, bias=False)
        self.bn = Norm(cout)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu_()


class Mixed(nn.Module):
    """Equation (3): x [B, cin, H, W] -> [B, width, H, W], or half the sides where `pool` is "halve"."""

    def __init__(self, cin: int, branches: Branches, pool: str) -> None:
        super().__init__()
        self.pool, self.width = pool, 0
        self.branches: dict[str, list[list[str]]] = {}  # the names of each branch's convolutions, step by step
        for branch, steps in branches.items():
            width, self.branches[branch] = cin, []
            for number, (out, *kernels) in enumerate(steps, 1):
                halves = pool == "halve" and number == len(steps)
                name = branch if len(steps) == 1 else f"{branch}_{number}"
                names = [name] if len(kernels) == 1 else [f"{name}{letter}" for letter in "ab"]
                for one, kernel in zip(names, kernels, strict=True):
                    self.add_module(one, Conv(width, out, kernel, 2 if halves else 1, not halves))
                self.branches[branch].append(names)
                width = out * len(kernels)
            self.width += width

    def pooled(self, x: Tensor) -> Tensor:
        """What the last branch starts from."""
        if self.pool == "mean":
            return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return F.max_pool2d(x, 3, 2) if self.pool == "halve" else F.max_pool2d(x, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for branch, steps in self.branches.items():
            h = self.pooled(x) if branch == "branch_pool" else x
            for names in steps:
                h = torch.cat([self.get_submodule(name)(h) for name in names], 1)
            found.append(h)
        return torch.cat(found, 1)


class Answer(NamedTuple):
    """Equation (4) of each picture."""

    features: Tensor  # [B, 2048]
    probabilities: Tensor  # [B, 1008]


class InceptionV3(nn.Module):
    """forward: pictures [B, 3, H, W] with colours from 0 to 255 -> Answer."""

    def __init__(self) -> None:
        super().__init__()
        width = 3
        for name, out, kernel, stride, padded in STEM:
            self.add_module(name, Conv(width, out, kernel, stride, padded))
            width = out
        for name, branches, pool in MIXED:
            mixed = Mixed(width, branches, pool)
            self.add_module(name, mixed)
            width = mixed.width
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, pictures: Tensor) -> Answer:
        x = (resized(pictures.to(self.fc.weight)) - 128) / 128
        for name, *_ in STEM:
            x = self.get_submodule(name)(x)
            if name in HALVED_AFTER:
                x = F.max_pool2d(x, 3, 2)
        for name, *_ in MIXED:
            x = self.get_submodule(name)(x)
        features = x.mean((2, 3))
        return Answer(features, F.linear(features, self.fc.weight).softmax(-1))


def resized(x: Tensor, side: int = SIDE) -> Tensor:
    """Equation (1): pictures [B, C, H, W] to [B, C, side, side]; row i lies between rows floor(at) and floor(at) + 1."""
    for axis in (2, 3):
        count = x.shape[axis]
        at = torch.arange(side, device=x.device, dtype=x.dtype) * (count / side)
        first = at.long()
        low, high = x.index_select(axis, first), x.index_select(axis, (first + 1).clamp(max=count - 1))
        part = (at - first).unflatten(0, (side, *[1] * (3 - axis)))
        x = low + (high - low) * part
    return x
