"""Assumption 1, the Gaussian forward process: what it gives, and what becomes of data that are not continuous.

    q(x_t | x_0) = N(alpha·x_0, sigma²)   whatever t: no need to walk there                                              (1)
    q(x_{t-1} | x_t, x_0) = N(a·x_0 + b·x_t, std²),   std = eta·(sigma'/sigma)·√(1 − alpha²/alpha'²),                     (2)
                            b = √(sigma'² − std²)/sigma,   a = alpha' − b·alpha
    off = share of samples farther than REACH from every symbol                                                          (3)

(2) with eta = 1 is what Bayes' rule makes of the forward chain (2006.11239 eq. 6 and 7): a = alpha'·beta/sigma², b =
√(1 − beta)·sigma'²/sigma², std² = beta·sigma'²/sigma². With another eta it is DDIM's (2010.02502 eq. 7).

Data of eight symbols stand at the corners e_1 … e_8. The noise is Gaussian, the data need not be: the perfect denoiser hits
the symbols when its steps are many, and lands between them when they are few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.assumptions.line import Kolmogorov, kolmogorov, over_runs, unit_noise
from core.metrics import Interval
from core.prediction import unconditional
from core.sampling import sample
from core.schedules import Level, Schedule, make_path
from core.toy import FiniteData, GaussianMixture
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


class Weights(NamedTuple):
    """Equation (2): what x_{t-1} owes to x_0 and to x_t, and its spread about that."""

    x0: float
    x: float
    std: float


def weights(cur: Level, nxt: Level, eta: float = 1.0) -> Weights:
    """Equation (2) of a move from one level to a cleaner one."""
    std = eta * nxt.sigma / cur.sigma * (1 - (cur.alpha / nxt.alpha) ** 2) ** 0.5
    kept = max(nxt.sigma**2 - std**2, 0.0) ** 0.5 / cur.sigma
    return Weights(nxt.alpha - kept * cur.alpha, kept, std)


class Posterior(NamedTuple):
    """Equation (2) between t and t − 1: fitted to the chain's pairs, as it stands, and whether what is left is Gaussian."""

    t: int
    fitted: tuple[Interval, ...]  # as Weights
    exact: Weights
    left: Kolmogorov  # of (x_{t-1} − its mean)/std, against as many numbers of a normal generator


@one_thread()
def posteriors(schedule: Schedule, mixture: GaussianMixture, walkers: int = 4000, seed: int = 0) -> list[Posterior]:
    """Walk data on a line down the forward chain, and fit x_{t-1} by least squares to x_0 and x_t of each walker."""
    generator = torch.Generator().manual_seed(seed)
    x0 = x = mixture.sample(walkers, generator)[:, 0]
    marks, found = set(np.unique(np.geomspace(1, len(schedule) - 1, MARKS).astype(int)).tolist()), []
    for t, beta in enumerate(schedule.beta.tolist()):
        before, x = x, (1 - beta) ** 0.5 * x + beta**0.5 * torch.randn(walkers, dtype=torch.float64, generator=generator)
        if t in marks:
            fits = [_fitted(*run) for run in zip(x0.chunk(RUNS), x.chunk(RUNS), before.chunk(RUNS), strict=True)]
            exact = weights(schedule.at(t), schedule.at(t - 1))
            left = (before - exact.x0 * x0 - exact.x * x) / exact.std
            normal = torch.randn(walkers, dtype=torch.float64, generator=generator)
            found.append(Posterior(t, tuple(map(over_runs, zip(*fits, strict=True))), exact, kolmogorov(left, normal)))
    return found


def _fitted(x0: Tensor, x: Tensor, before: Tensor) -> Weights:
    both = torch.stack([x0, x], 1)
    found = torch.linalg.lstsq(both, before[:, None], driver="gelsd").solution[:, 0]
    left = before - both @ found
    return Weights(float(found[0]), float(found[1]), float((left @ left / (len(left) - 2)) ** 0.5))


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
    """Equation (3) for every number of steps, with the perfect denoiser, each run ending clean."""
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
