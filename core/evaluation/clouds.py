"""Two Gaussian clouds in the plane, whose Frechet distance is known part by part and can be measured on points.

    real: N(0, 1);   generated: N((shift, 0), R·diag(long², short²)·Rᵀ),   R turns by an angle                            (1)
    mean part = shift²,   covariance part = (long − 1)² + (short − 1)²,   whatever the angle, since S_r = 1               (2)
    made = {(z, z) or (z, −z), each half the time}: mean 0, covariance 1, and no point where most real ones are           (3)

(3) is a cloud that the distance cannot tell from the real one: it knows a mean and a covariance, and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.errors import UserError
from core.metrics import Frechet, Gaussian, Interval, bootstraps, frechet_distance

DRAWS = 100


@dataclass(frozen=True, eq=False)
class Clouds:
    """Points of both clouds [n, 2], the exact parts of their distance, and those that the points give."""

    real: np.ndarray
    generated: np.ndarray
    exact: Frechet
    mean: Interval
    cov: Interval


def clouds(shift: float, long: float, short: float, degrees: float, n: int, cross: bool = False, seed: int = 0) -> Clouds:
    """Draw n points of each cloud of (1), or with `cross` of (3), and take their distance both ways.

    Raises UserError for less than three points: they span no plane.
    """
    if n < 3:
        raise UserError(f"n is {n}; take at least 3 points, since fewer span no plane.")
    random = np.random.default_rng(seed)
    real, unit = random.standard_normal((2, n, 2))
    turn = math.radians(degrees)
    axes = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    if cross:  # z on either diagonal
        unit = np.stack([unit[:, 0], unit[:, 0] * np.sign(unit[:, 1])], 1)
    move, stretch = np.array([shift, 0.0]), axes * np.array([long, short])
    generated = unit @ stretch.T + move
    exact = frechet_distance(Gaussian(np.zeros(2), np.eye(2)), Gaussian(move, stretch @ stretch.T))
    return Clouds(real, generated, exact, *parts(real, generated))


def parts(real: np.ndarray, generated: np.ndarray, draws: int = DRAWS) -> tuple[Interval, Interval]:
    """Mean part and covariance part of the Frechet distance of features, each with its interval; neither is below 0."""
    mean, cov = bootstraps(lambda a, b: frechet_distance(a, b, allow_few=True)[:2], (real, generated), draws)
    return positive(mean), positive(cov)


def positive(value: Interval) -> Interval:
    """An interval of what is never below 0."""
    return Interval(value.value, max(0.0, value.low), max(0.0, value.high))
