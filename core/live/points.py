"""A diffusion of points that somebody drew: a small network learns it live, beside the exact answer.

    p(x0) = 1/N Σ N(p_i, s²·1)                                     the drawn points, each a small spot                    (1)
    loss = E ‖eps − eps_theta(x_t)‖²/2 ≥ E ‖eps − eps*(x_t)‖²/2    eps* the exact answer: nothing can undercut it         (2)
    error = E ‖eps_theta − eps*‖² / E ‖eps*‖²                      0: the exact field; 1: as wrong as saying 0            (3)
    agreement = E eps_theta·eps* / √(E ‖eps_theta‖² E ‖eps*‖²)     1: the same directions; 0: unrelated                   (4)

The network is that of the lab on universal approximation, so is its training. Everything is measured on fresh points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.assumptions.approximation import HIGH, LOW, Nets, levels, training
from core.assumptions.line import over_runs, unit_noise
from core.clock import Clock
from core.errors import UserError
from core.metrics import Interval, binomial
from core.prediction import Denoiser, unconditional
from core.sampling import sample
from core.schedules import Level, Schedule, make_path
from core.toy import GaussianMixture

SIDE, REACH = 64, 2.0  # points lie on a grid of 64 × 64 over [−2, 2]²
MOST = 256  # points: the exact answer grows with them
SPREAD = 0.06  # s of (1), about a cell of the grid
DATA, FRESH, GROUPS = 8192, 1920, 8  # training points; points that are measured on, and groups of them for intervals
SECONDS = 60.0  # of training and of what is shown meanwhile, at most
FIELDS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # sigma/alpha at which the field is shown
ARROWS, SPAN = 13, 2.3  # arrows along a side of the field, and how far they reach
SAMPLES, MOVES, NEAR = 320, 24, 3.0  # samples, steps of DDIM, and how many s from a drawn point counts as on it


def mixture(cells: Sequence[tuple[int, int]]) -> GaussianMixture:
    """Equation (1) for cells (column, row) of the grid. Raises UserError for none, too many, or one off the grid."""
    if not 1 <= len(cells) <= MOST:
        raise UserError(f"{len(cells)} points are drawn; it must be 1 to {MOST}: draw some, or clear and begin again.")
    if any(not 0 <= value < SIDE for cell in cells for value in cell):
        raise UserError(f"A point lies off the grid; columns and rows go from 0 to {SIDE - 1}.")
    return GaussianMixture.of((torch.tensor(cells, dtype=torch.float64) + 0.5) * (2 * REACH / SIDE) - REACH, SPREAD)


class Learnt(NamedTuple):
    """What has been learnt after so many steps: (2) of the network and of the exact answer, (3), and the network itself."""

    step: int
    loss: Interval
    least: Interval
    error: Interval
    nets: Nets


class Field(NamedTuple):
    """eps at one level on a grid of places [n, 2], as the network and as the exact answer has it; (3) and (4) on noisy points."""

    at: Level
    x: Tensor
    said: Tensor
    exact: Tensor
    error: Interval
    agreement: Interval


def learnt(data: GaussianMixture, schedule: Schedule, width: int, steps: int, clock: Clock, seed: int = 0) -> Iterator[Learnt]:
    """Train one network of a width for so many steps of 256 points, and measure it every fifty; ends when the clock is over."""
    generator, places = torch.Generator().manual_seed(seed), levels(schedule)
    exams = [Exam.of(data, at, FRESH // len(places), seed + index) for index, at in enumerate(places)]
    least = over_runs(np.mean([exam.losses(exam.exact) for exam in exams], 0))
    for step, nets in training([data.sample(DATA, generator).float()], places, width, steps, generator, clock):
        with clock:
            said = [exam.asked(nets.denoiser(0)) for exam in exams]
            losses = np.mean([exam.losses(eps) for exam, eps in zip(exams, said, strict=True)], 0)
            parts = np.mean([exam.parts(eps) for exam, eps in zip(exams, said, strict=True)], 0)
        yield Learnt(step, over_runs(losses), least, over_runs(parts[0] / parts[1]), nets)


class Exam(NamedTuple):
    """Fresh noisy points at one level in groups of equal size, the noise in them, and the exact eps."""

    at: Level
    x: Tensor  # [n, 2]
    eps: Tensor
    exact: Tensor

    @classmethod
    def of(cls, data: GaussianMixture, at: Level, count: int, seed: int) -> Exam:
        """So many points, drawn from the seed."""
        generator = torch.Generator().manual_seed(1000 + seed)
        eps = torch.randn(count, 2, dtype=torch.float64, generator=generator)
        x = at.alpha * data.sample(count, generator) + at.sigma * eps
        return cls(at, x, eps, data(x, at, (None,))[0].eps)

    def asked(self, denoise: Denoiser) -> Tensor:
        return denoise(self.x, self.at).eps

    def losses(self, said: Tensor) -> np.ndarray:
        """Equation (2) in each group."""
        return grouped((said - self.eps).square().mean(1))

    def parts(self, said: Tensor) -> np.ndarray:
        """Numerator and denominator of (3) in each group, [2, GROUPS]."""
        return np.stack([grouped((said - self.exact).square().sum(1)), grouped(self.exact.square().sum(1))])


def grouped(values: Tensor) -> np.ndarray:
    """The mean of each of GROUPS parts of [n]."""
    return np.asarray(values.reshape(GROUPS, -1).mean(1).numpy(), dtype=np.float64)


def field(data: GaussianMixture, at: Level, denoise: Denoiser, seed: int = 0) -> Field:
    """The field of a denoiser at a level beside the exact one."""
    line = torch.linspace(-SPAN, SPAN, ARROWS, dtype=torch.float64)
    x = torch.cartesian_prod(line, line)
    exam = Exam.of(data, at, 512, seed)
    said = exam.asked(denoise)
    off, size = exam.parts(said)
    along, own = grouped((said * exam.exact).sum(1)), grouped(said.square().sum(1))
    agreement = along / np.sqrt(np.maximum(own * size, 1e-30))
    return Field(at, x, denoise(x, at).eps, data(x, at, (None,))[0].eps, over_runs(off / size), over_runs(agreement))


class Samples(NamedTuple):
    """Points that a denoiser makes of noise, [n, 2], and the share of them that lie on drawn points."""

    x: Tensor
    on: Interval


def samples(data: GaussianMixture, schedule: Schedule, denoise: Denoiser, seed: int = 0) -> Samples:
    """Noise turned into points by DDIM, from sigma/alpha 20 to the last trained level, then clean."""
    nsrs = np.geomspace(HIGH, LOW, MOVES)
    path = make_path(schedule, sigmas=[*nsrs.tolist(), 0.0])
    *_, last = sample(denoise, path, "ddim", unit_noise(SAMPLES, 2, seed=seed))
    near = torch.cdist(last.x_next, data.means).amin(1) <= NEAR * SPREAD
    return Samples(last.x_next, binomial(int(near.sum()), SAMPLES))


def exact(data: GaussianMixture) -> Denoiser:
    """What a perfect network would answer."""
    return unconditional(data)
