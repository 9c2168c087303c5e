"""Assumption 5, universal approximation: small networks trained live, of several widths and on several amounts of data.

    eps_theta(x, lam) = W_3·SiLU(W_2·SiLU(W_1·[x, features of lam]))        two hidden layers of one width               (1)
    loss = E ‖eps − eps_theta(alpha·x_i + sigma·eps, lam)‖²,   x_i one of N training points                              (2)
    error = E ‖eps_theta − eps*‖² / E ‖eps*‖²,   eps* the exact answer, x_t of fresh data                                (3)

A wide network can come near eps* only with data enough: on few points (2) leads to the perfect denoiser of those points. All
amounts of data and all seeds of one width are trained side by side, as one product of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from core.assumptions.line import over_runs
from core.clock import Clock
from core.metrics import Interval
from core.prediction import Denoiser, Prediction
from core.schedules import Level, Schedule
from core.toy import GaussianMixture

WIDTHS, SIZES, SEEDS = (8, 32, 128), (8, 64, 2048), 4
TRAINING, BATCH, RATE, EVERY = 600, 256, 5e-3, 50
SECONDS = 90.0  # of training and measuring, at most; every width has an equal part of it
LEVELS, FRESH = 40, 2000  # the trained levels, and points that (3) is measured on
HIGH, LOW = 20.0, 0.05  # of their nsr


@dataclass(frozen=True, eq=False)
class Nets:
    """So many networks (1) of one width, their weights stacked: x [E, B, 2], lam [E, B] -> eps [E, B, 2]."""

    weights: tuple[Tensor, ...]  # [E, in, out] and [E, 1, out], in turn

    @classmethod
    def new(cls, count: int, width: int, generator: torch.Generator, dims: int = 2) -> Nets:
        """Random weights of variance 1/in; the last layer begins at 0."""
        made = []
        for rows, columns in ((dims + 4, width), (width, width), (width, dims)):
            scale = rows**-0.5 if columns == width else 0.0
            made += [scale * torch.randn(count, rows, columns, generator=generator), torch.zeros(count, 1, columns)]
        return cls(tuple(part.requires_grad_(True) for part in made))

    def __call__(self, x: Tensor, lam: Tensor) -> Tensor:
        """Equation (1)."""
        angles = lam[..., None] * torch.tensor([0.5, 1.0])
        h = torch.cat([x, angles.sin(), angles.cos()], -1)
        for index in range(0, len(self.weights), 2):
            h = h if index == 0 else torch.nn.functional.silu(h)
            h = torch.baddbmm(self.weights[index + 1], h, self.weights[index])
        return h

    def denoiser(self, which: int) -> Denoiser:
        """One of the networks as a denoiser of x [B, 2]."""

        @torch.no_grad()
        def denoise(x: Tensor, at: Level) -> Prediction:
            one = Nets(tuple(part[which : which + 1] for part in self.weights))
            eps = one(x.float()[None], torch.full((1, len(x)), at.lam))[0]
            return Prediction.from_eps(x, eps.to(x), at)

        return denoise


@dataclass(frozen=True)
class Trained:
    """What has been learnt so far: errors (3) by (width, size) with an interval over seeds, and their course."""

    errors: dict[tuple[int, int], Interval] = field(default_factory=dict)
    curves: dict[tuple[int, int], tuple[tuple[int, float], ...]] = field(default_factory=dict)  # (training step, error)
    part: float = 0.0
    short: tuple[int, ...] = ()  # widths whose training ended early
    runs: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)  # the errors of each seed


def levels(schedule: Schedule) -> list[Level]:
    """The levels that are trained, evenly in log nsr."""
    return [schedule.at_nsr(float(nsr)) for nsr in np.exp(np.linspace(np.log(LOW), np.log(HIGH), LEVELS))]


def trained(
    mixture: GaussianMixture,
    schedule: Schedule,
    widths: Sequence[int] = WIDTHS,
    sizes: Sequence[int] = SIZES,
    seeds: int = SEEDS,
    steps: int = TRAINING,
) -> Iterator[Trained]:
    """Train every width on every amount of data, and tell the errors every few steps; ends earlier on a slow machine."""
    now, places = Trained(), levels(schedule)
    exam = Exam.of(mixture, places)
    for index, width in enumerate(widths):
        generator = torch.Generator().manual_seed(index)
        data = [mixture.sample(size, torch.Generator().manual_seed(seed)).float() for size in sizes for seed in range(seeds)]
        clock = Clock(SECONDS / len(widths))
        for done, nets in training(data, places, width, steps, generator, clock):
            with clock:
                found = exam.errors(nets).reshape(len(sizes), seeds)
            errors, curves, runs = dict(now.errors), dict(now.curves), dict(now.runs)
            for size, row in zip(sizes, found, strict=True):
                errors[width, size], runs[width, size] = over_runs(row), row
                curves[width, size] = (*curves.get((width, size), ()), (done, float(row.mean())))
            ended = clock.over and done < steps
            part = 1 if ended else done / steps
            now = Trained(errors, curves, (index + part) / len(widths), (*now.short, width) if ended else now.short, runs)
            yield now


def training(
    data: Sequence[Tensor], places: Sequence[Level], width: int, steps: int, generator: torch.Generator, clock: Clock
) -> Iterator[tuple[int, Nets]]:
    """Minimise (2) for a network a data set, all at once; the rate falls along a half cosine to nothing.

    Every few steps, after the last and when the clock is over, it hands out where it stands.
    """
    nets = Nets.new(len(data), width, generator)
    optimiser = torch.optim.Adam(nets.weights, RATE)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    table = torch.tensor([[at.alpha, at.sigma, at.lam] for at in places])
    for step in range(1, steps + 1):
        with clock, torch.enable_grad():
            rows = [torch.randint(len(points), (BATCH,), generator=generator) for points in data]
            x0 = torch.stack([points[row] for points, row in zip(data, rows, strict=True)])
            alpha, sigma, lam = table[torch.randint(len(places), (len(data), BATCH), generator=generator)].unbind(-1)
            eps = torch.randn(x0.shape, generator=generator)
            loss = (nets(alpha[..., None] * x0 + sigma[..., None] * eps, lam) - eps).square().mean((1, 2)).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            slower.step()
        if step % EVERY == 0 or step == steps or clock.over:
            yield step, nets
        if clock.over:
            return


@dataclass(frozen=True, eq=False)
class Exam:
    """Noisy points of fresh data, with the exact eps for each."""

    x: Tensor  # [FRESH, 2]
    lam: Tensor
    eps: Tensor

    @classmethod
    def of(cls, mixture: GaussianMixture, places: Sequence[Level], seed: int = 99) -> Exam:
        """The same number of points at every level."""
        generator = torch.Generator().manual_seed(seed)
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for at in places:
            x0 = mixture.sample(FRESH // len(places), generator)
            x = at.alpha * x0 + at.sigma * torch.randn(x0.shape, dtype=x0.dtype, generator=generator)
            found.append((x.float(), torch.full((len(x),), at.lam), mixture(x, at, (None,))[0].eps.float()))
        x, lam, eps = (torch.cat(part) for part in zip(*found, strict=True))
        return cls(x, lam, eps)

    @torch.no_grad()
    def errors(self, nets: Nets) -> np.ndarray:
        """Equation (3) of each network, [E]."""
        count = len(nets.weights[0])
        said = nets(self.x.expand(count, -1, -1), self.lam.expand(count, -1))
        return np.asarray(((said - self.eps).square().mean((1, 2)) / self.eps.square().mean()).numpy(), dtype=np.float64)
