"""Assumption 1, the Gaussian forward process: what it gives, and what becomes of data that are not continuous.

    q(x_t | x_0) = N(alpha·x_0, sigma²)   whatever t: no need to walk there                                              (1)
    off = share of samples farther than REACH from every symbol                                                          (2)

Data of eight symbols stand at the corners e_1 … e_8. The noise is Gaussian, the data need not be: the perfect denoiser hits
the symbols when its steps are many, and lands between them when they are few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from core.assumptions.line import over_runs, unit_noise
from core.metrics import Interval
from core.prediction import unconditional
from core.sampling import sample
from core.schedules import Schedule, make_path
from core.toy import FiniteData
from core.tradeoff import one_thread

SYMBOLS, REACH = 8, 0.1
STEPS = (2, 3, 5, 7, 10, 15, 20, 30, 50, 100)
RUNS, POINTS = 8, 250
MARKS = 25


class Marginal(NamedTuple):
    """A point x_0 = 1 after t moves: mean and spread as walked, and as (1) has them."""

    t: int
    mean: Interval
    std: Interval
    alpha: float
    sigma: float


@one_thread()
def marginals(schedule: Schedule, walkers: int = 4000, seed: int = 0) -> list[Marginal]:
    """Walk the forward chain x' = √(1 − beta)·x + √beta·eps from x_0 = 1, and hold it to (1)."""
    generator = torch.Generator().manual_seed(seed)
    x, found = torch.ones(walkers, dtype=torch.float64), []
    marks = set(np.unique(np.linspace(0, len(schedule) - 1, MARKS).astype(int)).tolist())
    for t, beta in enumerate(schedule.beta.tolist()):
        x = (1 - beta) ** 0.5 * x + beta**0.5 * torch.randn(walkers, dtype=torch.float64, generator=generator)
        if t in marks:
            parts = x.reshape(RUNS, -1)
            at = schedule.at(t)
            mean, std = over_runs(parts.mean(1).numpy()), over_runs(parts.std(1).numpy())
            found.append(Marginal(t, mean, std, at.alpha, at.sigma))
    return found


class Off(NamedTuple):
    """One number of steps: the share of samples off the symbols; and rounded to the nearest, how unevenly the symbols come up."""

    sampler: str
    steps: int
    share: Interval
    uneven: float = 0.0  # how far the share of a symbol is from 1/SYMBOLS, at most


def symbols() -> FiniteData:
    """The perfect denoiser of eight symbols, equally frequent."""
    return FiniteData.of(torch.eye(SYMBOLS, dtype=torch.float64))


def off_symbols(
    schedule: Schedule, samplers: Sequence[str] = ("ddim", "ddpm"), steps: Sequence[int] = STEPS, seed: int = 0
) -> Iterator[Off]:
    """Equation (2) for every number of steps, with the perfect denoiser, each run ending clean."""
    data = symbols()
    for count in sorted(steps):
        for name in samplers:
            yield _off(data, schedule, name, count, seed)


@one_thread()
def _off(data: FiniteData, schedule: Schedule, sampler: str, steps: int, seed: int) -> Off:
    noise = unit_noise(RUNS * POINTS, SYMBOLS, seed=seed)
    *_, last = sample(unconditional(data), make_path(schedule, "trailing", steps), sampler, noise)
    x = last.x_next.reshape(RUNS, POINTS, SYMBOLS)
    away, nearest = torch.cdist(x, torch.eye(SYMBOLS, dtype=x.dtype)).min(-1)
    often = torch.bincount(nearest.flatten(), minlength=SYMBOLS) / nearest.numel()
    return Off(sampler, steps, over_runs((away > REACH).double().mean(1).numpy()), float((often - 1 / SYMBOLS).abs().max()))
