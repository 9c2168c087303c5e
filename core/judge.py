"""The classifier of noisy latents as a judge: how probable a named class is at a noise level, and which way is more so.

    (1)  log p(y | x_t) = log softmax of the head that y belongs to: the groups (coarse) or the subgroups (fine)
    (2)  ∇_x log p(y | x_t), which classifier guidance follows (2105.05233 §4.1)
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from core.errors import UserError
from core.nets.classifier import NoisyClassifier
from core.schedules import Level, Schedule

SHOWN = 8  # names in a sentence
BLIND = 50.0  # nsr beyond which nothing is judged: there 1,024 numbers hold ½·1,024·log(1 + 1/nsr²) = 0.2 nats of the picture


class Label(NamedTuple):
    """One class: which head knows it, and its number there."""

    name: str
    head: str  # "coarse" or "fine"
    number: int


@dataclass(frozen=True, eq=False)
class Judge:
    """A classifier and the schedule of the noise that it was trained on; x is [B, C, H, W] with the noise of a level."""

    network: NoisyClassifier
    schedule: Schedule

    @property
    def labels(self) -> tuple[Label, ...]:
        """Every class, groups first."""
        heads = {"coarse": self.network.config.classes, "fine": self.network.config.subclasses}
        return tuple(Label(name, head, i) for head, names in heads.items() for i, name in enumerate(names))

    def find(self, text: str) -> Label:
        """The class that a text names, whatever its case, hyphens or spaces; raises UserError naming the nearest classes."""
        known = {_plain(label.name): label for label in reversed(self.labels)}
        if (label := known.get(_plain(text))) is not None:
            return label
        near = difflib.get_close_matches(_plain(text), known, SHOWN, cutoff=0.4) or list(reversed(known))[:SHOWN]
        names = ", ".join(known[name].name for name in near)
        raise UserError(f"{text[:40]!r} is no class of this model's classifier, which is all it can guide to: take {names}.")

    def log_prob(self, x: Tensor, at: Level, labels: Sequence[Label]) -> Tensor:
        """Equation (1) for one label an image, [B]; differentiable in x."""
        both = self.network(x.to(next(self.network.parameters()).dtype), self.schedule.at_nsr(at.nsr).t)
        heads = {name: getattr(both, name).float().log_softmax(-1) for name in {label.head for label in labels}}
        return torch.stack([heads[label.head][row, label.number] for row, label in enumerate(labels)])

    def first(self, x: Tensor, at: Level, label: Label) -> Tensor:
        """Whether a class comes before all others of its head, for each image, bool [B]."""
        both = self.network(x.to(next(self.network.parameters()).dtype), self.schedule.at_nsr(at.nsr).t)
        return getattr(both, label.head).argmax(-1) == label.number

    def gradient(self, x: Tensor, at: Level, labels: Sequence[Label]) -> Tensor:
        """Equation (2), as x; each image's own."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            return torch.autograd.grad(self.log_prob(leaf, at, labels).sum(), leaf)[0]


def _plain(text: str) -> str:
    return " ".join(text.lower().replace("-", " ").replace("&", " ").split())
