"""Who looks at the pictures: the networks whose features and classes metrics take, and the names under which the numbers stand.

    OWN         features    unit vectors of our own CLIP's image tower, [n, D]
                classes     p(y|x) of the classifier of noisy latents at the least noise, [n, K], of the picture through the VAE
    INCEPTION   both        of Inception-v3, where an operator gave its weights (`core.checkpoints.inception`): [n, 2048], [n, 1008]

Words, and pictures beside them, are seen by our own CLIP in both cases; so are the groups that pictures can be chosen by. Only
numbers of the second critic carry the names that papers use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.metrics import METRICS, Metric
from core.nets.inception import CLASSES, InceptionV3
from core.pipeline import TextToImage, to_bytes

OWN, INCEPTION = "own", "inception"
TOGETHER = {OWN: 32, INCEPTION: 8}  # pictures at a time: a second on two cores; Inception-v3 takes 0.3 GB for 8
NAMES = {"frechet_distance": "FID", "kernel_distance": "KID"}  # of the metrics that are called so by these features alone


@dataclass(frozen=True, eq=False)
class Seen:
    """Pictures, and what networks say of each: row i of every array is picture i; None where nobody was asked."""

    pictures: Tensor  # [n, 3, H, W] in uint8
    features: np.ndarray
    words: np.ndarray | None = None  # our CLIP's unit vectors of each picture's caption, "red apple, flat"
    fine: np.ndarray | None = None  # p(class|picture), for us p(subgroup|picture)
    coarse: np.ndarray | None = None  # p(group|picture)
    beside: np.ndarray | None = None  # our CLIP's unit vectors of the pictures, where the features are another network's

    def __len__(self) -> int:
        return len(self.features)

    @property
    def by_clip(self) -> np.ndarray:
        """The pictures as they are held beside words."""
        return self.features if self.beside is None else self.beside

    def take(self, rows: np.ndarray) -> Seen:
        """These pictures, in this order, some perhaps more than once."""
        rest = [None if part is None else part[rows] for part in (self.words, self.fine, self.coarse, self.beside)]
        return Seen(self.pictures[torch.from_numpy(rows)], self.features[rows], *rest)


def joined(parts: Sequence[Seen]) -> Seen:
    """One after the other."""

    def column(name: str) -> Any:
        return None if getattr(parts[0], name) is None else np.concatenate([getattr(part, name) for part in parts])

    columns = map(column, ("features", "words", "fine", "coarse", "beside"))
    return Seen(torch.cat([part.pictures for part in parts]), *columns)


@dataclass(frozen=True, eq=False)
class Critic:
    """Turns pictures into features and class probabilities: our own networks, or Inception-v3 where there is one."""

    pipe: TextToImage
    inception: InceptionV3 | None = None

    @property
    def kind(self) -> str:
        """OWN or INCEPTION."""
        return OWN if self.inception is None else INCEPTION

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Every metric, labelled as its numbers may be called; the CLIP score is ours in any case."""
        if self.inception is None:
            return METRICS
        return {name: metric if metric.paired else replace(metric, label=f"{NAMES.get(name, metric.label)} (Inception-v3)")
                for name, metric in METRICS.items()}  # fmt: skip

    @property
    def class_names(self) -> list[str]:
        """What the classes of `Seen.fine` are called; Inception-v3's weights come without names."""
        if self.inception is None:
            return list(self.pipe.extras.judge.network.config.subclasses)
        return [f"class {number} of {CLASSES}" for number in range(CLASSES)]

    @property
    def together(self) -> int:
        """How many pictures to look at before others have a turn."""
        return TOGETHER[self.kind]

    @torch.no_grad()
    def look(self, x: Tensor, words: np.ndarray | None = None) -> Seen:
        """Pictures [n, 3, H, W] in [−1, 1] with their features; `words`: the unit vectors of their captions."""
        pictures, by_clip = to_bytes(x), array(self.pipe.extras.eyes.of_pictures(x.to(self.pipe.device)))
        if self.inception is None:
            return Seen(pictures, by_clip, words)
        parts = [self.inception(some.to(self.pipe.device)) for some in pictures.split(self.together)]
        features, classes = (array(torch.cat(part)) for part in zip(*parts, strict=True))
        return Seen(pictures, features, words, classes, beside=by_clip)

    @torch.no_grad()
    def classified(self, seen: Seen) -> Seen:
        """The same pictures with what the model's own classifier says that is not known yet; without one nothing is added."""
        pipe = self.pipe
        if pipe.extras.missing("classifier"):
            return seen
        both = pipe.extras.judge.network(pipe.encode(floats_of(seen.pictures)), pipe.schedule.at(0).t)
        fine, coarse = (array(head.double().softmax(-1)) for head in (both.fine, both.coarse))
        return replace(seen, fine=fine if seen.fine is None else seen.fine, coarse=coarse)


def array(x: Tensor) -> np.ndarray:
    """A tensor as metrics take it."""
    return np.asarray(x.cpu().double().numpy())


def floats_of(pictures: Tensor) -> Tensor:
    """Pictures in uint8 as numbers in [−1, 1]."""
    return pictures.float() / 127.5 - 1
