"""Exact models: what a perfect network would answer, in closed form, with the interface of NetworkModel.

    mixture   p(x0) = Σ w_k N(m_k, C_k),   so p(x) = Σ w_k N(alpha·m_k, V_k),   V_k = alpha²·C_k + sigma²·1          (1)
              score = −Σ r_k V_k⁻¹ (x − alpha·m_k),   r = softmax of log w_k + log N(x; alpha·m_k, V_k)            (2)
              x0 = Σ r_k (m_k + alpha·C_k V_k⁻¹ (x − alpha·m_k)),   eps = −sigma·score                             (3)
    data      x0 = Σ w_i x_i,   w = softmax of −‖x − alpha·x_i‖²/(2 sigma²)                                          (4)

(4) is (3) for points of no width: the denoiser that a network trained on N pictures would become if it could learn
everything, and that only ever returns training pictures. Conditions are labels; None stands for all of the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import UserError
from core.prediction import Prediction
from core.schedules import CLEAN, Level

CELLS = 2**24  # of a table x × data that is held at a time: 64 MiB in fp32


def chosen(labels: Tensor, cond: int | None) -> Tensor:
    """Which entries a condition selects, as a mask; raises UserError for a label that nothing bears."""
    if cond is None:
        return torch.ones_like(labels, dtype=torch.bool)
    if not (mask := labels == cond).any():
        known = ", ".join(str(label) for label in labels.unique()[:20].tolist())
        raise UserError(f"The condition is {cond}; this model knows the labels {known}, and None for all of them.")
    return mask


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """Equations (1) to (3) for K Gaussians in D dimensions, in float64 whatever x is in; x is [..., D].

    Component k has the mean means[k], and the standard deviations stds[k] along the orthonormal columns of axes[k].
    """

    weights: Tensor  # [K], sum 1
    means: Tensor  # [K, D]
    stds: Tensor  # [K, D]
    axes: Tensor  # [K, D, D]
    labels: Tensor  # [K], whole numbers

    @classmethod
    def of(
        cls,
        means: Tensor | Sequence,
        spread: Tensor | Sequence | float,
        weights: Tensor | Sequence | None = None,
        labels: Tensor | Sequence | None = None,
    ) -> GaussianMixture:
        """A mixture of means [K, D] and a spread: standard deviations (one, or [K]) or covariances [K, D, D].

        Without weights all weigh the same; without labels component k bears the label k.
        """
        m = torch.as_tensor(means, dtype=torch.float64)
        k, d = m.shape
        s = torch.as_tensor(spread, dtype=torch.float64)
        if s.ndim == 3:
            variances, axes = torch.linalg.eigh(s)
            stds = variances.clamp(min=0).sqrt()
        else:
            stds, axes = s.expand(k)[:, None].repeat(1, d), torch.eye(d, dtype=torch.float64).repeat(k, 1, 1)
        w = torch.ones(k) if weights is None else torch.as_tensor(weights)
        names = torch.arange(k) if labels is None else torch.as_tensor(labels)
        return cls(w.double() / w.double().sum(), m, stds, axes, names)

    def __call__(self, x: Tensor, at: Level, conds: Sequence[int | None]) -> tuple[Prediction, ...]:
        """Equation (3) for each condition; what depends on x alone is computed once."""
        y, variance, logits = self._components(x, at)
        x0 = self.means + self._turned_back(at.alpha * self.stds**2 / variance * y)  # [..., K, D]
        eps = self._turned_back(at.sigma / variance * y)
        found = []
        for cond in conds:
            r = self._within(logits, cond).softmax(-1)[..., None]
            found.append(Prediction((r * x0).sum(-2).to(x), (r * eps).sum(-2).to(x), at))
        return tuple(found)

    def score(self, x: Tensor, at: Level, cond: int | None = None) -> Tensor:
        """∇ log p(x) by equation (2), [..., D]; finite at the clean level too, unless a component has no width."""
        y, variance, logits = self._components(x, at)
        r = self._within(logits, cond).softmax(-1)[..., None]
        return -(r * self._turned_back(y / variance)).sum(-2).to(x)

    def log_density(self, x: Tensor, at: Level = CLEAN, cond: int | None = None) -> Tensor:
        """log p(x) of equation (1), or of p(x | cond): [..., D] -> [...]."""
        kept = self._within(self.weights.log(), cond)
        return (self._within(self._components(x, at)[2], cond).logsumexp(-1) - kept.logsumexp(-1)).to(x)

    def log_posterior(self, x: Tensor, at: Level, cond: int | None) -> Tensor:
        """log p(cond | x), the exact classifier at this level: [..., D] -> [...]."""
        logits = self._components(x, at)[2]
        return (self._within(logits, cond).logsumexp(-1) - logits.logsumexp(-1)).to(x)

    def sample(self, n: int, generator: torch.Generator | None = None, cond: int | None = None) -> Tensor:
        """n points of the clean mixture, or of one label's part of it, [n, D]."""
        weights = self.weights * chosen(self.labels, cond)
        k = torch.multinomial(weights, n, replacement=True, generator=generator)
        unit = torch.randn(n, self.means.shape[1], dtype=torch.float64, generator=generator)
        return self.means[k] + torch.einsum("nij,nj->ni", self.axes[k], self.stds[k] * unit)

    def _components(self, x: Tensor, at: Level) -> tuple[Tensor, Tensor, Tensor]:
        """x as each component's axes see it [..., K, D], the variances there [K, D], and log w_k + log N_k [..., K]."""
        away = x.to(self.means)[..., None, :] - at.alpha * self.means
        y = torch.einsum("...ki,kij->...kj", away, self.axes)
        variance = at.alpha**2 * self.stds**2 + at.sigma**2
        log_normal = -0.5 * (y**2 / variance + torch.log(2 * math.pi * variance)).sum(-1)
        return y, variance, self.weights.log() + log_normal

    def _turned_back(self, y: Tensor) -> Tensor:
        return torch.einsum("...kj,kij->...ki", y, self.axes)

    def _within(self, logits: Tensor, cond: int | None) -> Tensor:
        return logits.masked_fill(~chosen(self.labels, cond), -math.inf)


@dataclass(frozen=True, eq=False)
class FiniteData:
    """The perfect denoiser of a finite data set, equation (4): rows [N, ...], labels [N] if conditions are to select.

    Computed in float32, or in float64 for rows of float64. x is [B, ...] as a row is. Distances come from one matrix
    product of what lies around the mean of the rows, so that rounding stays small beside the differences that count.
    """

    flat: Tensor  # [N, D], the rows less their mean
    mean: Tensor  # [D]
    labels: Tensor  # [N]

    @classmethod
    def of(cls, rows: Tensor, labels: Tensor | Sequence | None = None) -> FiniteData:
        """A data set from its rows, of any shape and floating type."""
        flat = rows.reshape(len(rows), -1).to(rows.dtype if rows.dtype == torch.float64 else torch.float32)
        mean = flat.mean(0)
        names = torch.zeros(len(rows), dtype=torch.long) if labels is None else torch.as_tensor(labels)
        return cls((flat - mean).contiguous(), mean, names.to(flat.device))

    def __call__(self, x: Tensor, at: Level, conds: Sequence[int | None]) -> tuple[Prediction, ...]:
        """Equation (4) for each condition; the distances are computed once."""
        found: list[list[Tensor]] = [[] for _ in conds]
        for part in x.split(max(1, CELLS // len(self.flat))):
            near = self._near(part, at)
            for kept, cond in zip(found, conds, strict=True):
                kept.append(self._softmax(near, at, cond) @ self.flat + self.mean)
        return tuple(Prediction.from_x0(x, torch.cat(kept).reshape(x.shape).to(x), at) for kept in found)

    def weights(self, x: Tensor, at: Level, cond: int | None = None) -> Tensor:
        """The softmax of equation (4): how much of each row is in x0, [B, N]."""
        return self._softmax(self._near(x, at), at, cond)

    def entropy(self, x: Tensor, at: Level, cond: int | None = None) -> Tensor:
        """−Σ w log w in nats, [B]: log N while everything is open, 0 once the picture is decided."""
        return torch.special.entr(self.weights(x, at, cond)).sum(-1)

    @cached_property
    def _squares(self) -> Tensor:
        return self.flat.square().sum(-1)

    def _near(self, x: Tensor, at: Level) -> Tensor:
        """−‖x − alpha·x_i‖²/2 but for a number that is the same for all rows, [B, N]."""
        y = x.reshape(len(x), -1).to(self.flat) - at.alpha * self.mean
        return at.alpha * (y @ self.flat.T) - at.alpha**2 / 2 * self._squares

    def _softmax(self, near: Tensor, at: Level, cond: int | None) -> Tensor:
        near = near.masked_fill(~chosen(self.labels, cond), -math.inf)
        # The largest is taken off before the division, and where sigma is 0 the nearest row takes all.
        w = ((near - near.amax(-1, keepdim=True)) / max(at.sigma**2, 1e-30)).softmax(-1)
        return F.threshold(w, 1e-30, 0.0)  # processors are slow with numbers just above 0


# ------------------------------------------------------------------------------------------------- presets by name


def two_peaks() -> GaussianMixture:
    """Two peaks on a line, one narrow and one wide."""
    return GaussianMixture.of([[-1.0], [1.0]], [0.15, 0.4], weights=[0.4, 0.6])


def ring(count: int = 8, radius: float = 1.4, std: float = 0.12) -> GaussianMixture:
    """Eight spots on a circle, a label each."""
    angle = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
    return GaussianMixture.of(radius * torch.stack([angle.cos(), angle.sin()], -1), std)


def grid(side: int = 3, width: float = 1.2, std: float = 0.12) -> GaussianMixture:
    """Nine spots on a square grid, a label for each row of it."""
    line = torch.linspace(-width, width, side, dtype=torch.float64)
    return GaussianMixture.of(torch.cartesian_prod(line, line), std, labels=torch.arange(side).repeat_interleave(side))


def two_moons(count: int = 12, std: float = 0.09) -> GaussianMixture:
    """Two interleaved half circles, each a string of small spots; a label for each moon."""
    angle = torch.linspace(0, math.pi, count, dtype=torch.float64)
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], -1)
    return GaussianMixture.of(torch.cat([upper, -upper]), std, labels=[0] * count + [1] * count)


def cross(long: float = 1.0, short: float = 0.1) -> GaussianMixture:
    """Two long Gaussians that cross at right angles, a label each: where they overlap, x alone cannot tell."""
    a, b = (long**2 + short**2) / 2, (long**2 - short**2) / 2
    return GaussianMixture.of([[0.0, 0.0]] * 2, [[[a, b], [b, a]], [[a, -b], [-b, a]]])


TOYS: dict[str, Callable[[], GaussianMixture]] = {
    make.__name__: make for make in (two_peaks, ring, grid, two_moons, cross)
}  # fmt: skip
