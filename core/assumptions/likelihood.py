"""Assumption 3, what it is for: where noising is a Markov chain, the bound on the likelihood is a sum with one term a step.

    KL(q(x_0) ‖ p(x_0)) ≤ KL(q(x_{0:T}) ‖ p(x_{0:T})) = E log q(x_{0:T})/p(x_{0:T})                                       (1)
    q(x_{0:T}) = q(x_0)·q(x_T | x_0)·Π q(x_{t-1} | x_t, x_0),   p(x_{0:T}) = N(x_T; 0, 1)·Π p(x_{t-1} | x_t)              (2)
    KL(q(x_T) ‖ N(0, 1)) + Σ E KL(q(x_{t-1} | x_t) ‖ p(x_{t-1} | x_t))                                                    (3)

p(x_{t-1} | x_t) is the Gaussian of the mean and variance of q(x_{t-1} | x_t). (1) is measured on paths that are drawn, (3) each
term by itself, without a path (moves, equation 4). In a Markov chain x_{t-1} needs nothing but x_t, and by the chain rule (1) is
(3). In any other process (1) is more, by what the noisier states know of x_{t-1} beyond x_t: Σ I(x_{t-1}; x_{t+1:T} | x_t).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from core.assumptions.forward import weights
from core.assumptions.line import Line, over_runs
from core.assumptions.moves import backward, chain, moments
from core.assumptions.walks import noised
from core.metrics import Interval
from core.schedules import CLEAN, Path, Schedule, make_path
from core.toy import GaussianMixture
from core.tradeoff import one_thread

STEPS, ETAS = (2, 3, 5, 10, 20, 50), (1.0, 0.5)  # with eta = 0 a path has no density
RUNS, POINTS = 8, 2000


class Bound(NamedTuple):
    """(1) as measured, over independent parts of the paths, and (3), for so many moves of the noising process of one eta."""

    eta: float
    steps: int
    path: Interval
    terms: float


@one_thread()
def bound(mixture: GaussianMixture, schedule: Schedule, steps: int, eta: float, seed: int = 0) -> Bound:
    """Both sides, for data on a line; `eta` above 0. Other numbers of steps are drawn apart, as they stand on one chart."""
    path = make_path(schedule, "trailing", steps)
    x = noised(mixture, path.levels, eta, RUNS * POINTS, 1000 * seed + steps)
    parts = log_ratio(mixture, path, eta, x).reshape(RUNS, POINTS)
    return Bound(eta, steps, over_runs(parts.mean(1)), chain(mixture, path, eta))


def log_ratio(mixture: GaussianMixture, path: Path, eta: float, x: np.ndarray) -> np.ndarray:
    """log q/p of whole paths x [level, point], noisiest first and x_0 at the end, by (2), in nats, [point]."""
    first, x0 = path.levels[0], x[-1]
    ratio = np.log(Line.of(mixture, CLEAN).density(x0))
    ratio += log_normal(x[0], first.alpha * x0, first.sigma) - log_normal(x[0], 0, 1)
    for (cur, nxt), before, after in zip(path, x[:-1], x[1:], strict=True):
        mean, variance = moments(backward(mixture, cur, nxt, before, eta))
        ratio -= log_normal(after, mean, np.sqrt(variance))
        if nxt != CLEAN:  # x_0 itself is counted at the beginning
            move = weights(cur, nxt, eta)
            ratio += log_normal(after, move.x0 * x0 + move.x * before, move.std)
    return ratio


def log_normal(x: np.ndarray, mean: np.ndarray | float, std: np.ndarray | float) -> np.ndarray:
    """log N(x; mean, std²)."""
    return -(((x - mean) / std) ** 2) / 2 - np.log(std) - math.log(2 * math.pi) / 2
