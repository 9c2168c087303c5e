"""What the number of pictures does to a distance: two samples of one and the same distribution, and their distance for growing n.

    E d(n) ≈ d + c/n for the Frechet distance, c as `core.metrics.frechet_floor` foretells (1911.07023 §3)
    E d(n) = d       for the kernel distance, at every n (1801.01401 §4)

The samples are drawn out of one pool, several times, each time two that share no picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from core.assumptions.line import over_runs
from core.errors import UserError
from core.metrics import (
    Array,
    Gaussian,
    Interval,
    frechet_distance,
    frechet_floor,
    kernel_distance,
    matrix,
    statistics,
)

RUNS = 8
SHARES = (1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1)


class AtSize(NamedTuple):
    """Both distances at one number of pictures a side, of like and of unlike sets, and what theory foretells for like ones."""

    n: int
    frechet: Interval
    kernel: Interval
    frechet_other: Interval
    kernel_other: Interval
    floor: float
    enough: bool  # whether n pictures fill the dimensions of their features


def sizes(each: int, shares: Sequence[float] = SHARES) -> list[int]:
    """Numbers of pictures up to a half of the pool; at least 4."""
    return sorted({max(4, round(each * share)) for share in shares})


def curve(real: np.ndarray, like: np.ndarray, other: np.ndarray, runs: int = RUNS, seed: int = 0) -> Iterator[AtSize]:
    """Distances of real features [n, D] from others of the same distribution and from others that are not, for growing n.

    Intervals over `runs` draws. Two draws share the more pictures the nearer n is to the whole: there they are too narrow.
    """
    pool, random = np.concatenate([real, like]), np.random.default_rng(seed)
    floor = frechet_floor(statistics(pool), 1)
    for n in sizes(len(real)):
        found = []
        for _ in range(runs):
            order = random.permutation(len(pool))
            one, two = pool[order[:n]], pool[order[n : 2 * n]]
            third = other[random.permutation(len(other))[:n]]
            found.append([
                float(value) for against in (two, third)
                for value in (frechet_distance(one, against, allow_few=True), kernel_distance(one, against))
            ])  # fmt: skip
        a, b, c, d = (over_runs(values) for values in np.transpose(found))
        yield AtSize(n, a, b, c, d, 2 * floor / n, n > real.shape[1])


@dataclass(frozen=True)
class BiasCurve:
    """Frechet distances at several sizes, and the line limit + slope/n through them."""

    sizes: tuple[float, ...]
    values: tuple[float, ...]
    limit: float
    slope: float

    def __float__(self) -> float:
        return self.limit


def frechet_limit(real: Array | Gaussian, generated: Array, pieces: int = 5, seed: int = 0) -> BiasCurve:
    """The Frechet distance extrapolated to infinitely many generated pictures.

    At n the distance is too large by slope/n (1911.07023 §3). The generated rows are shuffled and cut into k = 1, …, `pieces`
    parts; the mean distance of k parts belongs to 1/n = k/rows; the line through these meets 1/n = 0 at the limit. The real
    side stays as it is. Raises UserError where a part has fewer than 2·(D + 1) rows: there the curve bends.
    """
    rows = matrix(generated)
    rows = rows[np.random.default_rng(seed).permutation(len(rows))]
    reference = real if isinstance(real, Gaussian) else statistics(real)
    least = 2 * (rows.shape[1] + 1)
    if pieces < 2 or len(rows) // pieces < least:
        raise UserError(f"{len(rows)} pictures in up to {pieces} parts do not show how the distance depends on their number: "
                        f"take at least 2 parts of at least {least}.")  # fmt: skip
    counts = np.arange(1, pieces + 1)
    values = [np.mean([float(frechet_distance(reference, part)) for part in np.array_split(rows, k)]) for k in counts]
    slope, limit = np.polyfit(counts / len(rows), values, 1)
    return BiasCurve(tuple((len(rows) / counts).tolist()), tuple(map(float, values)), float(limit), float(slope))
