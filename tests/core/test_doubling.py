"""Doubling a side: equations (1) and (2) written out by hand, and the checkerboard's share against its closed form."""

from __future__ import annotations

import pytest
import torch

from core.inside.doubling import bilinear, constant, disc, inner, kernel, left, nearest, share, transposed


@pytest.mark.parametrize("side", [2, 3, 5])
def test_both_ways_are_their_formulas(side: int) -> None:
    x, w = torch.randn(1, 1, 4, 5, dtype=torch.float64), kernel(side, 1)
    by_hand = torch.zeros(2 * 4 + side - 2, 2 * 5 + side - 2, dtype=torch.float64)
    for i in range(4):
        for j in range(5):
            by_hand[2 * i : 2 * i + side, 2 * j : 2 * j + side] += x[0, 0, i, j] * w[0, 0]
    torch.testing.assert_close(transposed(x, w)[0, 0], by_hand)
    wide = x[0, 0].repeat_interleave(2, 0).repeat_interleave(2, 1)
    windows = wide.unfold(0, side, 1).unfold(1, side, 1)
    torch.testing.assert_close(nearest(x, w)[0, 0], (windows * w[0, 0]).sum((-1, -2)))


@pytest.mark.parametrize("side", [2, 3, 4, 7])
def test_the_share_of_a_constant_is_the_variance_of_the_four_sums_of_weights_over_their_mean_square(side: int) -> None:
    w = kernel(side, 5)[0, 0]
    sums = torch.stack([w[i::2, j::2].sum() for i in range(2) for j in range(2)])
    expected = float(sums.var(unbiased=False) / sums.square().mean())
    assert left(transposed, side, [5])[0] == pytest.approx(expected)
    assert left(nearest, side, [5])[0] == pytest.approx(0, abs=1e-12)


def test_the_share_is_one_for_a_checkerboard_and_nought_for_what_is_even_in_every_cell() -> None:
    board = (-1.0) ** torch.arange(8, dtype=torch.float64)
    assert share((board[:, None] * board)[None, None]) == pytest.approx(1)
    assert share(torch.randn(1, 1, 4, 4, dtype=torch.float64).repeat_interleave(2, -1).repeat_interleave(2, -2)) == pytest.approx(0)


def test_interpolation_keeps_a_constant_and_a_disc_within_its_bounds() -> None:
    y = inner(bilinear(disc(16), kernel(3, None)), 3)
    assert torch.equal(bilinear(constant(4), kernel(3, None)), constant(8)) and 0 <= y.min() < y.max() <= 1
