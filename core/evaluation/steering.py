"""What a scale of guidance makes of a class: guided by a classifier's gradient, and without one at the same scale.

    scale w      classifier guidance with γ = w beside classifier-free guidance with γ = w − 1                             (1)
    accuracy     k/n: a judge puts the wanted class before all others in k of n pictures, with Wilson's interval           (2)
    diversity    1 − cos between the pictures of two seeds, with its bootstrap interval (`core.adherence`)                 (3)

By (1) an exact classifier would make both the same at every s; at s = 0 both are the model without words. Two judges count (2):
the classifier itself, which did the pushing, and a witness that has never pushed anything: our CLIP says the class of the name,
of all that were trained, whose words are nearest to the picture.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from core.adherence import diversity
from core.contrast import vectors
from core.judge import Label
from core.metrics import Interval, binomial
from core.recipe import Recipe

if TYPE_CHECKING:
    from core.pipeline import TextToImage

CLASSIFIER, FREE = KINDS = ("classifier", "classifier-free")


def gamma_of(kind: str, scale: float) -> float:
    """Equation (1): what either kind of guidance calls the scale w."""
    return scale if kind == CLASSIFIER else scale - 1


def recipe_at(free: Recipe, label: Label, kind: str, scale: float) -> Recipe:
    """The run of one kind at the scale w: `free` says the words and everything else, the label the class."""
    guided = free.replace(gamma=gamma_of(kind, scale))
    return guided.replace(prompt=label.name, guidance={"kind": "classifier"}) if kind == CLASSIFIER else guided


@dataclass(frozen=True, eq=False)
class Witness:
    """CLIP as a second judge: unit vectors of names [N, D], and the class of each."""

    words: Tensor
    classes: tuple[str, ...]

    def says(self, seen: Tensor) -> list[str]:
        """The class of the name that is nearest to each picture, of unit vectors [B, D]."""
        return [self.classes[row] for row in (seen @ self.words.T).argmax(1).tolist()]


def witness(pipe: TextToImage) -> Generator[float, None, Witness | None]:
    """Read every name that was trained; yields the part that is read. None for a model that cannot see, or knows no names."""
    if pipe.extras.missing("clip") or pipe.extras.missing("latents"):
        return None
    names = {origin.label: origin.subgroup for origin in pipe.extras.training.origins if origin.subgroup}
    read: list[Tensor] = []
    for some in vectors(pipe, list(names)):
        read.append(some)
        yield sum(map(len, read)) / len(names)
    return Witness(torch.cat(read), tuple(names.values())) if read else None


class Steered(NamedTuple):
    """What one kind of guidance came to at one scale; None where the witness cannot tell this class."""

    kind: str
    scale: float
    nfe: int  # network evaluations of one picture
    right: tuple[bool, ...]  # for every picture, what the classifier says
    seen_right: tuple[bool, ...] | None  # and what the witness says
    diversity: Interval

    @property
    def accuracy(self) -> Interval:
        """Equation (2) by the classifier."""
        return binomial(sum(self.right), len(self.right))

    @property
    def seen_accuracy(self) -> Interval | None:
        """Equation (2) by the witness."""
        return None if self.seen_right is None else binomial(sum(self.seen_right), len(self.seen_right))


@torch.no_grad()
def steered(
    pipe: TextToImage, label: Label, kind: str, scale: float, latents: Tensor, nfe: int, by: Witness | None = None
) -> Steered:
    """Judge finished latents [B, C, h, w] of one kind of guidance at the scale s."""
    judge = pipe.extras.judge
    right = tuple(judge.first(latents.to(pipe.device), pipe.schedule.at(0), label).tolist())
    if pipe.extras.missing("clip"):
        return Steered(kind, scale, nfe, right, None, diversity(latents.flatten(1)[None].numpy()))
    seen = pipe.extras.eyes.of_pictures(pipe.decode(latents)).cpu()
    told = tuple(name == label.name for name in by.says(seen)) if by is not None and label.name in by.classes else None
    return Steered(kind, scale, nfe, right, told, diversity(seen[None].numpy()))

