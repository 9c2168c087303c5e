"""Assumption 3, the Markov chain: DDPM and DDIM visit the same distributions by different walks.

    DDPM forgets: each move draws fresh noise. Pearson's correlation of x_t and x_T is ρ = (alpha_T/alpha_t)·std(x_t)/std(x_T),
                  Spearman's, of their ranks, (6/π)·asin(ρ/2) where both are normal                                      (1)
    DDIM remembers: its walk is one-to-one, on a line even order-preserving: rank correlation 1                          (2)

Sampling, both are Markov: each move reads x_t alone. (1) is the noising chain's own, walked backwards; (2) shows that DDIM draws
nothing, no more. What is not Markov is the noising process that DDIM reverses, q(x_{t-1} | x_t, x_0) of forward (2) with eta = 0
(2010.02502 §3.1): once x_t is known, x_{t-1} still tells of x_{t+1}. With eta = 1 it tells nothing. The law of every x_t is the
same for all eta.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from core.assumptions.forward import weights
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


def marks(schedule: Schedule) -> tuple[Level, ...]:
    """Levels of a schedule at a few times, noisiest first."""
    return tuple(schedule.at(float(t)) for t in np.linspace(0, len(schedule) - 1, MARKS).astype(int)[::-1])


@one_thread()
def noised(mixture: GaussianMixture, levels: Sequence[Level], eta: float, points: int = RUNS * POINTS, seed: int = 0) -> np.ndarray:
    """The noising process of data points at levels, noisiest first, x [level, point]: it is drawn from its end, given x_0."""
    noise = unit_noise(points, 1, seed=seed)
    x0 = mixture.sample(points, torch.Generator().manual_seed(~seed & 0xFFFFFFFF))  # a seed that no noise has
    x = [levels[0].alpha * x0 + levels[0].sigma * noise(0)]
    for draw, (cur, nxt) in enumerate(itertools.pairwise(levels), 1):
        move = weights(cur, nxt, eta)
        x.append(move.x0 * x0 + move.x * x[-1] + move.std * noise(draw))
    return torch.stack(x)[..., 0].numpy()


def beyond_the_last(x: np.ndarray) -> np.ndarray:
    """Partial correlation of the states on both sides of each inner level, given the state there, [level, run]: in a Markov
    chain 0.
    """
    runs = x.reshape(len(x), RUNS, -1)
    return np.array([
        [partial_correlation(runs[level - 1, run], runs[level + 1, run], runs[level, run]) for run in range(RUNS)]
        for level in range(1, len(x) - 1)
    ])  # fmt: skip


def partial_correlation(a: np.ndarray, b: np.ndarray, given: np.ndarray) -> float:
    """Correlation of what a straight line through `given` leaves of a and of b."""
    centred = [part - part.mean() for part in (a, b, given)]
    left = [part - (part @ centred[2]) / (centred[2] @ centred[2]) * centred[2] for part in centred[:2]]
    return float(np.corrcoef(*left)[0, 1])


def forgetting(mixture: GaussianMixture, start: Level, at: Level) -> float:
    """Equation (1), of the ranks."""
    spread = np.sqrt([Line.of(mixture, at).variance, Line.of(mixture, start).variance])
    return float(6 / np.pi * np.arcsin(start.alpha / at.alpha * spread[0] / spread[1] / 2))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's: 1 where the order is kept."""
    return float(np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1])

