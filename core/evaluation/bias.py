"""What the number of pictures does to a distance: two samples of one and the same distribution, and their distance for growing n.

    E d(n) ≈ d + c/n for the Frechet distance, c as `core.metrics.frechet_floor` foretells (1911.07023 §3)
    E d(n) = d       for the kernel distance, at every n (1801.01401 §4)

The samples are drawn out of one pool, several times, each time two that share no picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from core.assumptions.line import over_runs
from core.metrics import Interval, frechet_distance, frechet_floor, kernel_distance, statistics

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
