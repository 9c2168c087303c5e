"""Training pictures in two halves, as metrics need them: with what a critic's networks say of each.

One half stands for what is real, the other for what is judged: untouched, it is as good as any model could be. The pictures are
those that the VAE makes of the training latents. They are looked at once, a few at a time, and kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from core.errors import UserError
from core.evaluation.critics import Critic, Seen, array, joined
from core.extras import Origin
from core.pipeline import TextToImage
from core.training.captions import prompt

BATCH = 8
NEEDS = ("latents", "clip")


@dataclass(eq=False)
class Gallery:
    """Both halves of some training pictures; `fill` looks at those that were not looked at yet."""

    critic: Critic
    each: int  # pictures in each half
    rows: tuple[int, ...]  # of the training list: first those that are judged, then the real ones
    parts: list[Seen] = field(default_factory=list)

    @classmethod
    def of(cls, critic: Critic) -> Gallery:
        """Four pictures a half for three of our own features, or all; raises UserError where the model lacks what is needed.

        With Inception-v3 there are as many: to fill its 2,048 dimensions no training set of ours is large enough.
        """
        pipe = critic.pipe
        for what in NEEDS:
            if lacks := pipe.extras.missing(what):
                raise UserError(lacks)
        count = len(pipe.extras.training.latents)
        each = min(4 * pipe.extras.eyes.clip.visual_projection.weight.shape[0] // 3, count // 2)
        order = np.random.default_rng(0).permutation(count)
        return cls(critic, each, tuple(order[: 2 * each].tolist()))

    @property
    def pipe(self) -> TextToImage:
        """The model whose training pictures these are."""
        return self.critic.pipe

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
            part = self.critic.look(pictures, self.words(rows) if judged else None)
            self.parts.append(self.critic.classified(part) if judged else part)
            yield self.parts[-1]

    def words(self, rows: Sequence[int]) -> np.ndarray:
        """The captions of training pictures as the CLIP has them."""
        texts = [caption(self.pipe.extras.training.origins[row]) for row in rows]
        return array(self.pipe.extras.eyes.of_words(texts))

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
