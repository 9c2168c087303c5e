"""What a network says about a noisy x, in one form whatever it was trained to predict.

    x = alpha·x0 + sigma·eps                                             (1)
    v = alpha·eps − sigma·x0;  x0 = alpha·x − sigma·v;  eps = sigma·x + alpha·v   (2)   2202.00512
    score = ∇ log p(x) = −eps/sigma                                      (3)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from core.errors import UserError
from core.schedules import Level, Schedule

NO_EPS = (
    "A network that predicts eps cannot start from pure noise (zero terminal SNR): take a schedule without it, or a model "
    "that predicts v."
)


@dataclass(frozen=True)
class Prediction:
    """x0 and eps that fit together by (1) at a level; `parts` are the predictions that guidance made it of."""

    x0: Tensor
    eps: Tensor
    at: Level
    parts: Mapping[str, Prediction] = field(default_factory=dict)

    @classmethod
    def from_eps(cls, x: Tensor, eps: Tensor, at: Level) -> Prediction:
        """x0 = (x − sigma·eps)/alpha. Raises UserError at alpha = 0, where eps says nothing of x0."""
        if at.alpha == 0:
            raise UserError(NO_EPS)
        return cls((x - at.sigma * eps) / at.alpha, eps, at)

    @classmethod
    def from_x0(cls, x: Tensor, x0: Tensor, at: Level) -> Prediction:
        """eps = (x − alpha·x0)/sigma; where sigma is 0 nothing is noise."""
        return cls(x0, (x - at.alpha * x0) / at.sigma if at.sigma else x - x, at)

    @classmethod
    def from_v(cls, x: Tensor, v: Tensor, at: Level) -> Prediction:
        """Equation (2)."""
        return cls(at.alpha * x - at.sigma * v, at.sigma * x + at.alpha * v, at)

    @property
    def v(self) -> Tensor:
        return self.at.alpha * self.eps - self.at.sigma * self.x0

    @property
    def score(self) -> Tensor:
        """Equation (3); at the clean level it is not defined, NaN or infinite."""
        return -self.eps / self.at.sigma

    def map(self, change: Callable[[Tensor], Tensor]) -> Prediction:
        """The same prediction with every tensor changed, those of its parts too."""
        parts = {name: part.map(change) for name, part in self.parts.items()}
        return Prediction(change(self.x0), change(self.eps), self.at, parts)

    @property
    def nbytes(self) -> int:
        return self.x0.nbytes + self.eps.nbytes + sum(part.nbytes for part in self.parts.values())


@dataclass(frozen=True)
class Cond:
    """What a network is told beside x and t: the states of a text [B, L, D]."""

    context: Tensor


class Model(Protocol):
    """Answers for several conditions of the same x in one call, so that what they share is computed once."""

    def __call__(self, x: Tensor, at: Level, conds: Sequence[Any]) -> tuple[Prediction, ...]: ...


class Denoiser(Protocol):
    """A model whose conditions and guidance are decided: all that a sampler sees."""

    def __call__(self, x: Tensor, at: Level) -> Prediction: ...


READ = {"eps": Prediction.from_eps, "v": Prediction.from_v, "x0": Prediction.from_x0}


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """A network, the schedule it was trained on and what it predicts: the only place that knows the last of these.

    network(x [B, …], t [B], context [G, B, L, D]) -> [G, B, …], computed in the type of the conditions: x keeps its own, so
    that a network in half precision does not make the sampler's arithmetic coarse. It is told the t at which its own schedule
    is as noisy as the level, so that a run may follow another schedule. Texts of different lengths are asked one by one. Raises
    UserError for eps at zero terminal SNR.
    """

    network: nn.Module
    schedule: Schedule
    predicts: str = "eps"

    def __call__(self, x: Tensor, at: Level, conds: Sequence[Cond]) -> tuple[Prediction, ...]:
        if len({cond.context.shape[1] for cond in conds}) > 1:
            return tuple(self(x, at, (cond,))[0] for cond in conds)
        own = self.schedule
        if self.predicts == "eps" and own.alpha_bar[-1] == 0 and at.nsr > own.at(len(own) - 2).nsr:
            raise UserError(NO_EPS)
        t = torch.full((x.shape[0],), own.at_nsr(at.nsr).t, device=x.device)
        context = torch.stack([cond.context for cond in conds])
        out = self.network(x.to(context.dtype), t, context).to(x.dtype)
        return tuple(READ[self.predicts](x, one, at) for one in out)


def unconditional(model: Model, cond: Any = None) -> Denoiser:
    """The denoiser that asks a model for one condition only."""
    return lambda x, at: model(x, at, (cond,))[0]
