"""Training pictures in two halves, as metrics need them: what our own networks say of each.

    features        unit vectors of our own CLIP's image tower, [n, D]
    words           the same CLIP's unit vectors of each picture's caption, "red apple, flat"
    classes         p(y|x) of the classifier of noisy latents at the least noise, [n, K], of the picture through the VAE

One half stands for what is real, the other for what is judged: untouched, it is as good as any model could be. The pictures are
those that the VAE makes of the training latents. They are looked at once, a few at a time, and kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError
from core.extras import Origin
from core.pipeline import TextToImage, to_bytes
from core.training.captions import prompt

BATCH = 8
NEEDS = ("latents", "clip")


@dataclass(frozen=True, eq=False)
class Seen:
    """Pictures, and what networks say of each: row i of every array is picture i; None where nobody was asked."""

    pictures: Tensor  # [n, 3, H, W] in uint8
    features: np.ndarray
    words: np.ndarray | None = None
    fine: np.ndarray | None = None  # p(subgroup|picture)
    coarse: np.ndarray | None = None  # p(group|picture)

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: np.ndarray) -> Seen:
        """These pictures, in this order, some perhaps more than once."""
        rest = [None if part is None else part[rows] for part in (self.words, self.fine, self.coarse)]
        return Seen(self.pictures[torch.from_numpy(rows)], self.features[rows], *rest)


def joined(parts: Sequence[Seen]) -> Seen:
    """One after the other."""

    def column(name: str) -> Any:
        return None if getattr(parts[0], name) is None else np.concatenate([getattr(part, name) for part in parts])

    return Seen(torch.cat([part.pictures for part in parts]), *map(column, ("features", "words", "fine", "coarse")))


def look(pipe: TextToImage, pictures: Tensor, words: np.ndarray | None = None) -> Seen:
    """Pictures [n, 3, H, W] in [−1, 1] as the CLIP sees them; `words`: the unit vectors of their captions."""
    features = pipe.extras.eyes.of_pictures(pictures.to(pipe.device)).cpu().double().numpy()
    return Seen(to_bytes(pictures), features, words)


@torch.no_grad()
def classified(pipe: TextToImage, seen: Seen) -> Seen:
    """The same pictures with what the classifier says of each; without one nothing is added."""
    if pipe.extras.missing("classifier"):
        return seen
    x = floats_of(seen.pictures).to(pipe.device, pipe.dtype)
    both = pipe.extras.judge.network(pipe.vae.encode(x).mean * pipe.vae.config.scaling_factor, pipe.schedule.at(0).t)
    fine, coarse = (head.double().softmax(-1).cpu().numpy() for head in (both.fine, both.coarse))
    return replace(seen, fine=fine, coarse=coarse)


def floats_of(pictures: Tensor) -> Tensor:
    """Pictures in uint8 as numbers in [−1, 1]."""
    return pictures.float() / 127.5 - 1


@dataclass(eq=False)
class Gallery:
    """Both halves of some training pictures; `fill` looks at those that were not looked at yet."""

    pipe: TextToImage
    each: int  # pictures in each half
    rows: tuple[int, ...]  # of the training list: first those that are judged, then the real ones
    parts: list[Seen] = field(default_factory=list)

    @classmethod
    def of(cls, pipe: TextToImage) -> Gallery:
        """Four pictures a half for three features, or all; raises UserError where the model lacks what is needed."""
        for what in NEEDS:
            if lacks := pipe.extras.missing(what):
                raise UserError(lacks)
        count = len(pipe.extras.training.latents)
        each = min(4 * pipe.extras.eyes.clip.visual_projection.weight.shape[0] // 3, count // 2)
        order = np.random.default_rng(0).permutation(count)
        return cls(pipe, each, tuple(order[: 2 * each].tolist()))

    @property
    def done(self) -> int:
        """How many pictures have been looked at."""
        return sum(map(len, self.parts))

    def fill(self) -> Iterator[Seen]:
        """Look at a few more pictures at a time until all are known; several may do so in turns."""
        while (start := self.done) < len(self.rows):
            rows = list(self.rows[start : min(start + BATCH, self.each if start < self.each else len(self.rows))])
            pictures = self.pipe.decode(self.pipe.extras.training.latents[rows])
            judged = start < self.each
            part = look(self.pipe, pictures, self.words(rows) if judged else None)
            self.parts.append(classified(self.pipe, part) if judged else part)
            yield self.parts[-1]

    def words(self, rows: Sequence[int]) -> np.ndarray:
        """The captions of training pictures as the CLIP has them."""
        texts = [caption(self.pipe.extras.training.origins[row]) for row in rows]
        return np.asarray(self.pipe.extras.eyes.of_words(texts).cpu().double().numpy())

    @cached_property
    def tested(self) -> Seen:
        """The half that is judged; fill the gallery first."""
        return joined([part for part in self.parts if part.words is not None])

    @cached_property
    def real(self) -> Seen:
        """The half that stands for the data; fill the gallery first."""
        return joined([part for part in self.parts if part.words is None])

    @property
    def styles(self) -> list[str]:
        """The style of each picture of the half that is judged."""
        return [self.pipe.extras.training.origins[row].style for row in self.rows[: self.each]]


def caption(origin: Origin) -> str:
    """What a training picture was trained with most often."""
    return prompt(origin.label, origin.style) if origin.style else origin.label
