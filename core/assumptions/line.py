"""A Gaussian mixture on a line, in numpy: its exact law at a noise level, and how far points are from it.

    F(x) = Σ w_k Φ((x − alpha·m_k)/s_k),   s_k² = alpha²·std_k² + sigma²                         the law at a level     (1)
    W2² = mean over q of (x_(q) − F⁻¹(q))²,   x_(q) the sorted points                            Wasserstein-2          (2)
    D = sup |F_n − G_m|,   p = 2 Σ_j (−1)^(j−1)·exp(−2·j²·D²·n·m/(n + m))                        Kolmogorov-Smirnov     (3)
    mean ± t·s/√k   of k independent runs, t the 97.5 % point of Student's law for k − 1                                (4)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.metrics import Interval
from core.schedules import Level
from core.toy import GaussianMixture

GRID = 8001  # points at which (1) is tabled to be inverted
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)  # 1 to 15


class Line(NamedTuple):
    """The components at a level: weights, means and standard deviations, [K]."""

    weights: np.ndarray
    means: np.ndarray
    stds: np.ndarray

    @classmethod
    def of(cls, mixture: GaussianMixture, at: Level) -> Line:
        """The mixture on a line at a level, by (1)."""
        weights, means, stds = (np.asarray(part.numpy()) for part in (mixture.weights, mixture.means[:, 0], mixture.stds[:, 0]))
        return cls(weights, at.alpha * means, np.sqrt((at.alpha * stds) ** 2 + at.sigma**2))

    @property
    def variance(self) -> float:
        mean = self.weights @ self.means
        return float(self.weights @ (self.stds**2 + (self.means - mean) ** 2))

    def grid(self, points: int = GRID) -> np.ndarray:
        """Where all of the mass lies."""
        return np.linspace((self.means - 8 * self.stds).min(), (self.means + 8 * self.stds).max(), points)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        """Equation (1)."""
        z = (np.asarray(x)[..., None] - self.means) / self.stds
        return torch.special.ndtr(torch.from_numpy(z)).numpy() @ self.weights

    def density(self, x: np.ndarray) -> np.ndarray:
        z = (np.asarray(x)[..., None] - self.means) / self.stds
        return np.exp(-(z**2) / 2) / (math.sqrt(2 * math.pi) * self.stds) @ self.weights

    def quantiles(self, share: np.ndarray) -> np.ndarray:
        grid = self.grid()
        return np.interp(share, self.cdf(grid), grid)


def wasserstein(points: np.ndarray | Tensor, line: Line) -> float:
    """Equation (2)."""
    x = np.sort(np.asarray(points, dtype=np.float64).ravel())
    return float(np.sqrt(np.mean((x - line.quantiles((np.arange(len(x)) + 0.5) / len(x))) ** 2)))


class Kolmogorov(NamedTuple):
    """Equation (3): the greatest distance of two laws, and how often chance alone gives as much."""

    distance: float
    p: float


def kolmogorov(a: np.ndarray | Tensor, b: np.ndarray | Tensor) -> Kolmogorov:
    """Equation (3) of two samples; p is that of large samples."""
    x, y = (np.sort(np.asarray(side, dtype=np.float64).ravel()) for side in (a, b))
    both = np.concatenate([x, y])
    apart = np.abs(np.searchsorted(x, both, "right") / len(x) - np.searchsorted(y, both, "right") / len(y)).max()
    return Kolmogorov(float(apart), _by_chance(float(apart), len(x) * len(y) / (len(x) + len(y))))


def _by_chance(distance: float, n: float) -> float:
    z = distance * math.sqrt(n)
    if z < 0.2:  # the series needs many terms there and is 1 to twelve digits
        return 1.0
    return float(np.clip(2 * sum((-1) ** (j - 1) * math.exp(-2 * (j * z) ** 2) for j in range(1, 101)), 0, 1))


def over_runs(values: Sequence[float] | np.ndarray) -> Interval:
    """Equation (4); a single run has no interval (NaN)."""
    k, mean = len(values), float(np.mean(values))
    if k < 2:
        return Interval(mean, math.nan, math.nan)
    half = STUDENT[min(k - 2, len(STUDENT) - 1)] * float(np.std(values, ddof=1)) / math.sqrt(k)
    return Interval(mean, mean - half, mean + half)


def difference(a: Interval, b: Interval) -> Interval:
    """a − b of two that vary independently: the halves of their intervals add up as the sides of a right angle do."""
    value, half = a.value - b.value, math.hypot(a.high - a.value, b.high - b.value)
    return Interval(value, value - half, value + half)


def exactly(value: float) -> Interval:
    """A number that no chance had a part in."""
    return Interval(value, value, value)


def unit_noise(points: int, dims: int = 1, *, seed: int = 0) -> Callable[[int], Tensor]:
    """Unit noise [points, dims] in float64 for every draw of a run: torch's generator, quicker than core.noise for a thousand
    moves.
    """

    def noise(draw: int) -> Tensor:
        generator = torch.Generator().manual_seed(1_000_003 * seed + draw)
        return torch.randn(points, dims, dtype=torch.float64, generator=generator)

    return noise
