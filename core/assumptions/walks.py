"""Assumption 3, the Markov chain: DDPM and DDIM visit the same laws by different walks.

    DDPM forgets: each move draws fresh noise, and corr(x_t, x_T) = (alpha_T/alpha_t)·std(x_t)/std(x_T)                  (1)
    DDIM remembers: its walk is one-to-one, on a line even order-preserving: rank correlation 1                          (2)

(1) is the forward chain's own, walked backwards with a perfect score and fine steps. (2) is why no chain of fresh draws can
describe DDIM, though every law that it visits is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from core.assumptions.line import Kolmogorov, Line, kolmogorov, over_runs, unit_noise
from core.metrics import Interval
from core.prediction import unconditional
from core.sampling import sample
from core.schedules import Level, Schedule, make_path
from core.toy import GaussianMixture
from core.tradeoff import one_thread

SAMPLERS = ("ddpm", "ddim")
RUNS, POINTS, STEPS, MARKS = 8, 250, 250, 26


@dataclass(frozen=True)
class Walks:
    """Two ways from noise to data: x [sampler, level, point] at a few levels, noisiest first."""

    levels: tuple[Level, ...]
    x: np.ndarray

    def apart(self, level: int) -> Kolmogorov:
        """How far the laws of the two walks are from each other at a level."""
        return kolmogorov(self.x[0, level], self.x[1, level])

    def memory(self, sampler: int, level: int) -> Interval:
        """Rank correlation of x at a level with x where the walk began, over independent parts of the points."""
        parts = self.x[sampler].reshape(len(self.levels), RUNS, -1)
        return over_runs([rank_correlation(parts[0, run], parts[level, run]) for run in range(RUNS)])


@one_thread()
def walks(mixture: GaussianMixture, schedule: Schedule, steps: int = STEPS, seed: int = 0) -> Walks:
    """Walk both ways, each from noise of its own, so that the two are independent samples."""
    path = make_path(schedule, "trailing", steps)
    marks = np.unique(np.linspace(0, steps, min(MARKS, steps + 1)).astype(int))
    x = []
    for number, name in enumerate(SAMPLERS):
        noise = unit_noise(RUNS * POINTS, 1, seed=2 * seed + number)
        run = [noise(0), *(step.x_next for step in sample(unconditional(mixture), path, name, noise))]
        x.append(torch.stack([run[mark] for mark in marks])[..., 0].numpy())
    return Walks(tuple(path.levels[mark] for mark in marks), np.stack(x))


def forgetting(mixture: GaussianMixture, start: Level, at: Level) -> float:
    """Equation (1)."""
    spread = np.sqrt([Line.of(mixture, at).variance, Line.of(mixture, start).variance])
    return float(start.alpha / at.alpha * spread[0] / spread[1])


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's: 1 where the order is kept."""
    return float(np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1])

