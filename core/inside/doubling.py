"""Three ways to double the side of a map, and the checkerboard that one of them leaves.

    transposed   y_p = Σ_i w_{p − 2i}·x_i          a position gets the weights of its own parity alone                   (1)
    nearest      y = w ∗ x_{⌊p/2⌋}                 each pixel four times, then a convolution: all weights everywhere     (2)
    share        Σ (y − mean of y's 2×2 cell)² / Σ y²      of the energy, in what alternates from pixel to pixel         (3)

Of a constant (2) makes a constant. (1) makes four sums of weights, one a parity: a checkerboard wherever they differ, and the edges
of a kernel whose side the stride does not divide are laid over each other, so that they differ even where all weights are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from core.assumptions.line import over_runs
from core.metrics import Interval

STRIDE, DRAWS = 2, 24
SIDES = (2, 3, 4, 5, 6, 7, 8)  # of a kernel


def kernel(side: int, seed: int | None) -> Tensor:
    """Weights [1, 1, side, side] drawn from N(0, 1); without a seed all alike, with the sum 1."""
    if seed is None:
        return torch.full((1, 1, side, side), 1 / side**2, dtype=torch.float64)
    return torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def transposed(x: Tensor, weights: Tensor) -> Tensor:
    """Equation (1) of a map [1, 1, h, w]."""
    return F.conv_transpose2d(x, weights, stride=STRIDE)


def bilinear(x: Tensor, weights: Tensor) -> Tensor:
    """Interpolation between the four nearest pixels, which has no weights to learn."""
    return F.interpolate(x, scale_factor=STRIDE, mode="bilinear")


def nearest(x: Tensor, weights: Tensor) -> Tensor:
    """Equation (2)."""
    return F.conv2d(F.interpolate(x, scale_factor=STRIDE), weights)


WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "transposed convolution": transposed, "bilinear": bilinear, "nearest neighbour, then a convolution": nearest,
}  # fmt: skip


def constant(side: int) -> Tensor:
    return torch.ones(1, 1, side, side, dtype=torch.float64)


def disc(side: int) -> Tensor:
    """1 within a circle around the middle, 0 outside."""
    at = torch.linspace(-1, 1, side, dtype=torch.float64)
    return (at.square()[:, None] + at.square() < 0.4).double()[None, None]


def inner(y: Tensor, side: int) -> Tensor:
    """A map [1, 1, h, w] without the edges, where a kernel of this side is not whole; even in height and width."""
    y = y[..., side:-side, side:-side]
    return y[..., : y.shape[-2] // STRIDE * STRIDE, : y.shape[-1] // STRIDE * STRIDE]


def share(y: Tensor) -> float:
    """Equation (3)."""
    cells = y[0, 0].unfold(0, STRIDE, STRIDE).unfold(1, STRIDE, STRIDE)
    even = cells.mean((-1, -2), keepdim=True)
    return float((cells - even).square().sum() / cells.square().sum())


def left(way: Callable[[Tensor, Tensor], Tensor], side: int, seeds: Sequence[int | None] = range(DRAWS)) -> list[float]:
    """Equation (3) of what a way makes of a constant, for the kernel of each seed."""
    return [share(inner(way(constant(2 * side + 10), kernel(side, seed)), side)) for seed in seeds]


def by_side(way: Callable[[Tensor, Tensor], Tensor], sides: Sequence[int] = SIDES) -> list[tuple[int, Interval]]:
    """The share over draws of the weights, for each side of the kernel."""
    return [(side, over_runs(left(way, side))) for side in sides]
