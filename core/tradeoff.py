"""What a sampler buys for its network calls: its error against NFE, and the order of convergence that fits it.

    error(n) = ‖x_n − x*‖/‖x*‖,   x* where a very fine solve from the same noise ends                               (1)
    log error ≈ log c − order·log NFE   over the finest runs                                                        (2)
    distance(n) = mean over directions u of ∫ |F_u⁻¹(q) − G_u⁻¹(q)| dq,   F_u, G_u the laws of x·u                   (3)
    log error as noise i tells it:  log error + ½(d_i²/mean d² − r_i²/mean r²),   d_i = ‖x_n − x*‖,  r_i = ‖x*‖      (4)

Every run goes down the same way, from one ratio of noise to signal to another above 0, so that nothing but the size of its
steps differs. A sampler that draws fresh noise ends nowhere in particular, and (1) says nothing of it: on an exact mixture
(3) tells how far the points that it makes are from the mixture's own, whose law along any direction is known.

The norms of (1) are over all starting noises together. What one noise more or less would change is (4), whose mean is the log
error itself: with Student's law over the noises it gives the interval of an error and, as (2) is linear in it, of an order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.assumptions.line import over_runs
from core.errors import UserError
from core.metrics import Interval
from core.noise import normal
from core.prediction import Denoiser, unconditional
from core.recipe import Recipe
from core.sampling import SAMPLERS, sample
from core.schedules import Level, Path, Schedule, make_path
from core.toy import GaussianMixture

STEPS = (5, 10, 20, 40, 80, 160, 320)
HIGH, LOW, RHO = 80.0, 0.02, 7.0  # from almost pure noise to almost none, as 2206.00364 places them
FINE = "dpm_solver_3"  # the sampler whose fine solve counts as the truth: no multistep memory, order 3
FINE_STEPS, FINE_STEPS_ON_NETWORK = 1000, 100
NOISE_FLOOR = 1e-12  # relative errors below are rounding
FITTED = 3  # how many of the finest runs (2) goes through
SETS = 4  # of points, over which (3) has its interval
THREADS = torch.get_num_threads()  # of one operation, before anybody changes it


class Point(NamedTuple):
    """One run: what it cost in network evaluations, how far from the truth it ended, and the log of that as each noise tells it."""

    sampler: str
    steps: int
    nfe: int
    error: float
    logs: tuple[float, ...] = ()

    @property
    def interval(self) -> Interval:
        """The error at 95 % over the noises, even in its logarithm; of a single noise there is none (NaN)."""
        log = over_runs(self.logs or (math.nan,))
        return Interval(self.error, math.exp(log.low), math.exp(log.high))


@dataclass(frozen=True)
class Fit:
    """Equation (2): the order with its interval at 95 % over the noises (NaN for one), and the line's error at one evaluation."""

    order: float
    scale: float
    low: float = math.nan
    high: float = math.nan

    def at(self, nfe: float) -> float:
        """The error that the line has at so many evaluations."""
        return self.scale * nfe**-self.order


def ladder(steps: int, high: float = HIGH, low: float = LOW, rho: float = RHO) -> tuple[float, ...]:
    """So many moves from nsr = high to nsr = low, both included: nsr^(1/rho) falls evenly (2206.00364 eq. 5)."""
    if steps < 1 or not 0 < low < high:
        raise UserError(f"steps, high and low are {steps}, {high:g}, {low:g}; take at least one step, and 0 < low < high.")
    rungs = np.linspace(high ** (1 / rho), low ** (1 / rho), steps + 1) ** rho
    return (high, *map(float, rungs[1:-1]), low)


def deterministic() -> list[str]:
    """The samplers that (1) can be told of, as they are registered."""
    return [name for name, entry in SAMPLERS.items() if not entry.stochastic]


def stochastic() -> list[str]:
    """The samplers that draw fresh noise."""
    return [name for name, entry in SAMPLERS.items() if entry.stochastic]


def relative_error(x: Tensor, truth: Tensor) -> float:
    """Equation (1)."""
    return float((x.double() - truth.double()).norm() / truth.double().norm())


def by_noise(x: Tensor, truth: Tensor) -> tuple[float, ...]:
    """Equation (4) for ends [N, ...] of N noises; NaN where nothing differs from the truth."""
    off, size = ((each.double().flatten(1) ** 2).sum(1) for each in (x.double() - truth.double(), truth))
    return tuple((math.log(relative_error(x, truth) or math.nan) + (off / off.mean() - size / size.mean()) / 2).tolist())


def fitted(points: Sequence[Point]) -> Fit | None:
    """Equation (2) through the finest runs of one sampler; None while there are fewer than two above rounding."""
    good = sorted((p for p in points if math.isfinite(p.error) and p.error > NOISE_FLOOR), key=lambda p: p.nfe)[-FITTED:]
    if len({p.nfe for p in good}) < 2:
        return None
    evaluations = np.log([p.nfe for p in good])
    slope, start = np.polyfit(evaluations, np.log([p.error for p in good]), 1)
    if not all(p.logs for p in good):
        return Fit(-float(slope), float(math.exp(start)))
    order = over_runs(-np.polyfit(evaluations, np.array([p.logs for p in good]), 1)[0])  # of each noise
    return Fit(-float(slope), float(math.exp(start)), order.low, order.high)


# ------------------------------------------------------------------------------------------------- on exact mixtures


class PointNoise:
    """Unit noise [N, D] in float64 for every draw of a run, addressed by its seed."""

    def __init__(self, points: int, dims: int = 2, seed: int = 0) -> None:
        self.shape, self.seed = (points, dims), seed

    def __call__(self, draw: int) -> Tensor:
        values = normal(self.shape[0] * self.shape[1], self.seed, draw)
        return torch.from_numpy(values).double().reshape(self.shape)


@contextmanager
def one_thread() -> Iterator[None]:
    """So little at a time is done sooner by one thread, ten times sooner where other programs want the processor too.

    A Python thread that is born meanwhile begins with one, too: what is put back is not what was found, but THREADS.
    """
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(THREADS)


@one_thread()
def solve(denoise: Denoiser, path: Path, sampler: str, noise: PointNoise) -> tuple[Tensor, int]:
    """Where a run ends, and the evaluations that it took."""
    *_, last = sample(denoise, path, sampler, noise)
    return last.x_next, last.nfe


def truth(mixture: GaussianMixture, schedule: Schedule, noise: PointNoise) -> Tensor:
    """x* of equation (1) on an exact mixture."""
    path = make_path(schedule, sigmas=ladder(FINE_STEPS, *ends(schedule)))
    return solve(unconditional(mixture), path, FINE, noise)[0]


def race(
    mixture: GaussianMixture,
    schedule: Schedule,
    samplers: Sequence[str],
    steps: Sequence[int] = STEPS,
    points: int = 128,
    seed: int = 0,
) -> Iterator[Point]:
    """Equation (1) for every sampler and number of steps on an exact mixture, coarse runs first."""
    noise, denoise = PointNoise(points, mixture.means.shape[1], seed), unconditional(mixture)
    end = truth(mixture, schedule, noise)
    for count in sorted(steps):
        path = make_path(schedule, sigmas=ladder(count, *ends(schedule)))
        for name in samplers:
            x, nfe = solve(denoise, path, name, noise)
            yield Point(name, count, nfe, relative_error(x, end), by_noise(x, end))


def distances(
    mixture: GaussianMixture,
    schedule: Schedule,
    samplers: Sequence[str],
    steps: Sequence[int] = STEPS,
    points: int = 1000,
    seed: int = 0,
) -> Iterator[Point]:
    """Equation (3) for every sampler and number of steps: how far the points it makes are from the mixture's own.

    It is the geometric mean over SETS of so many points, each of noises of its own.
    """
    noise, denoise = PointNoise(SETS * points, mixture.means.shape[1], seed), unconditional(mixture)
    for count in sorted(steps):
        path = make_path(schedule, sigmas=ladder(count, *ends(schedule)))
        for name in samplers:
            x, nfe = solve(denoise, path, name, noise)
            logs = tuple(math.log(distance(each, mixture, path.levels[-1])) for each in x.chunk(SETS))
            yield Point(name, count, nfe, math.exp(np.mean(logs)), logs)


def floor(mixture: GaussianMixture, at: Level, points: int = 1000, seed: int = 0) -> float:
    """Equation (3) of so many points of the mixture itself: what no sampler gets below but by luck."""
    generator = torch.Generator().manual_seed(seed)
    x0 = mixture.sample(points, generator)
    eps = torch.randn(x0.shape, dtype=x0.dtype, generator=generator)
    return distance(at.alpha * x0 + at.sigma * eps, mixture, at)


@one_thread()
def distance(x: Tensor, mixture: GaussianMixture, at: Level, directions: int = 16) -> float:
    """Equation (3) of points [N, 2] at a level: sorted along each direction against the exact quantiles there."""
    angle = math.pi * (torch.arange(directions, dtype=torch.float64) + 0.5) / directions
    u = torch.stack([angle.cos(), angle.sin()])  # [2, directions]
    middle = at.alpha * mixture.means @ u  # [K, directions]
    along = torch.einsum("kij,id->kjd", mixture.axes, u)  # u as each component's axes see it
    spread = (at.alpha**2 * (mixture.stds[..., None] * along).square().sum(1) + at.sigma**2).sqrt()
    share = (torch.arange(len(x), dtype=torch.float64) + 0.5) / len(x)
    apart = []
    for which in range(directions):
        m, s = middle[:, which], spread[:, which]
        grid = torch.linspace(float((m - 6 * s).min()), float((m + 6 * s).max()), 4001, dtype=torch.float64)
        below = (mixture.weights[:, None] * torch.special.ndtr((grid - m[:, None]) / s[:, None])).sum(0)
        exact = np.interp(share.numpy(), below.numpy(), grid.numpy())
        apart.append(np.abs(np.sort((x.double() @ u[:, which]).numpy()) - exact).mean())
    return float(np.mean(apart))


@one_thread()
def fan(
    mixture: GaussianMixture, schedule: Schedule, eta: float, steps: int = 20, starts: int = 1, seeds: int = 8, seed: int = 0
) -> Tensor:
    """Where runs of DDIM go that begin in one point and draw different fresh noise: x of every level [starts, seeds, steps + 1, 2].

    Source: 2010.02502 eq. 16: at eta 0 they are one and the same, at eta 1 each is DDPM's.
    """
    first = PointNoise(starts, 2, seed)(0)

    def noise(draw: int) -> Tensor:
        if draw == 0:
            return first[:, None].expand(-1, seeds, -1).reshape(-1, 2)
        return PointNoise(starts * seeds, 2, seed)(draw)

    path = make_path(schedule, sigmas=ladder(steps, *ends(schedule)))
    levels = [noise(0), *(step.x_next for step in sample(unconditional(mixture), path, "ddim", noise, eta=eta))]
    return torch.stack(levels, 1).reshape(starts, seeds, steps + 1, 2)


def spread(ends_of_fans: Tensor) -> float:
    """How far the ends [starts, seeds, 2] of fans lie around the middle of their own fan: the root of the mean square."""
    return float((ends_of_fans - ends_of_fans.mean(1, keepdim=True)).square().sum(-1).mean().sqrt())


# ------------------------------------------------------------------------------------------------- on a network


def ends(schedule: Schedule) -> tuple[float, float]:
    """HIGH and LOW, or less where a schedule was not trained so far."""
    return min(HIGH, math.exp(schedule.log_nsr[-1])), max(LOW, math.exp(schedule.log_nsr[0]))


def on_ladder(recipe: Recipe, schedule: Schedule, sampler: str, steps: int) -> Recipe:
    """The recipe with this sampler and so many steps, all between the same two levels."""
    return recipe.replace(sampler=sampler, knobs={}, sigmas=ladder(steps, *ends(schedule)), steps=steps, batch=1)


def fine(recipe: Recipe, schedule: Schedule) -> Recipe:
    """The run that counts as the truth for a recipe on a network."""
    return on_ladder(recipe, schedule, FINE, FINE_STEPS_ON_NETWORK)
