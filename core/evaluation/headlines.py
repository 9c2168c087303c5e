"""The source's headline claims as rows of one table, and what lies between two rows: on an exact ring, and on the model's pictures.

All rows share their noise: run s of the ring begins at the same points, picture i comes of the same caption and seed. So rows are
compared by their differences, in which what the noise does to both of them cancels:

    mean ± t·s/√k of d_s = m_s(few) − m_s(many)     over runs or pictures, where the measure is a mean over them            (1)
    m(few) − m(many) on the same resamples          of seeds, and of real pictures, for distances of whole sets             (2)

On the ring the Frechet distance is that of the points from the exact mean and covariance of the data; on the model's pictures it is
taken where they fill the dimensions of their features, and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from typing import NamedTuple

import numpy as np
import torch

from core.assumptions.line import over_runs, unit_noise
from core.evaluation.damage import DRAWS, function_of
from core.evaluation.settings import NOTHING, Quality, Setting
from core.metrics import METRICS, Gaussian, Interval, bootstrap, frechet_distance
from core.prediction import unconditional
from core.sampling import sample
from core.schedules import make, make_path
from core.toy import GaussianMixture, ring
from core.tradeoff import distance

MANY = 1000
POINTS, RUNS = 1000, 4  # on the exact ring
FULL, FIFTY = Setting("ddpm", MANY), Setting("ddim", 50)
QUICK = (Setting("dpm_solver_2", 5), Setting("dpm_solver_2", 10), Setting("dpmpp_2m", 10), Setting("dpmpp_2m", 20))
HEADLINES = (*QUICK, Setting("ddim", 10), Setting("ddim", 20), FIFTY, Setting("ddpm", 50), FULL)
PAIRS = ((FIFTY, FULL), *((quick, FIFTY) for quick in QUICK))  # few calls, and what they are held against


class OnRing(NamedTuple):
    """Where a sampler ends on an exact ring: how far its points are from the data, in every run by two distances."""

    nfe: int
    distances: tuple[float, ...]  # of `core.tradeoff`
    frechets: tuple[float, ...]

    @property
    def distance(self) -> Interval:
        return over_runs(self.distances)

    @property
    def frechet(self) -> Interval:
        return over_runs(self.frechets)


def on_ring(setting: Setting, runs: int = RUNS, points: int = POINTS) -> Generator[float, None, OnRing]:
    """Run a sampler on an exact ring of eight Gaussians under the linear schedule; yields the part that is done."""
    mixture, path = ring(), make_path(make("linear"), "trailing", setting.steps)
    found, exact, nfe = [], moments(mixture), 0
    for seed in range(runs):
        for last in sample(unconditional(mixture), path, setting.sampler, unit_noise(points, 2, seed=seed)):
            if last.index % 50 == 49:
                yield (seed + (last.index + 1) / setting.steps) / runs
        found.append((distance(last.x_next, mixture, path.levels[-1]), float(frechet_distance(exact, last.x_next))))
        nfe = last.nfe
    return OnRing(nfe, *zip(*found, strict=True))


def moments(mixture: GaussianMixture) -> Gaussian:
    """The mean and the covariance of a mixture: Σ w_k·m_k and Σ w_k·(C_k + m_k·m_kᵀ) less the mean's square."""
    means, axes = mixture.means, mixture.axes
    mean = mixture.weights @ means
    within = torch.einsum("k,kij,kj,klj->il", mixture.weights, axes, mixture.stds**2, axes)
    among = torch.einsum("k,ki,kj->ij", mixture.weights, means - mean, means - mean)
    return Gaussian(mean.numpy(), (within + among).numpy())


class Less(NamedTuple):
    """What few calls come to less what many do, each with its interval; no number where n is too small for it."""

    ring: Interval
    ring_frechet: Interval
    kernel_distance: Interval
    frechet_distance: Interval
    score: Interval


def less(real: np.ndarray, few: Quality, many: Quality, rings: tuple[OnRing, OnRing], draws: int = DRAWS) -> Less:
    """The differences between two rows: (1) for the ring and the CLIP score, (2) for the distances from real features [m, D]."""
    one, other = rings
    return Less(
        paired(one.distances, other.distances),
        paired(one.frechets, other.frechets),
        set_paired("kernel_distance", real, few.features, many.features, draws),
        NOTHING if few.lacks else set_paired("frechet_distance", real, few.features, many.features, draws),
        paired(few.scores, many.scores),
    )


def paired(few: Iterable[float], many: Iterable[float]) -> Interval:
    """Equation (1) for values of the same runs or seeds, in the same order."""
    return over_runs([a - b for a, b in zip(few, many, strict=True)])


def set_paired(name: str, real: np.ndarray, few: np.ndarray, many: np.ndarray, draws: int = DRAWS) -> Interval:
    """Equation (2) of a registered distance: row i of both sets of features [n, D] is of the same seed."""
    function = function_of(METRICS[name])

    def change(real: np.ndarray, both: np.ndarray) -> float:
        a, b = np.split(both, 2, 1)
        return float(function(real, a)) - float(function(real, b))

    return bootstrap(change, (real, np.concatenate([few, many], 1)), draws)


def told_apart(value: Interval) -> bool:
    """Whether a difference's interval leaves out 0; False where it has none."""
    return math.isfinite(value.low) and math.isfinite(value.high) and not value.low <= 0 <= value.high
