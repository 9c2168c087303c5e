"""Damage to training pictures, and every metric before and after: which of them notices?

    blur        pictures convolved with a Gaussian of standard deviation s pixels
    noise       x + s·eps, held to [−1, 1]
    duplicate   one picture in k is kept, each k times
    drop        every picture of one class is left out
    keep        every picture of all other classes is left out
    single      in the place of every picture stands one and the same picture of its class (`core.evaluation.classes`)

A metric notices where the 95 % interval of its change, on the same resamples, leaves out 0. Leaving out makes fewer pictures,
and fewer pictures change a distance by themselves; so what is left is compared with as many untouched ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, SupportsFloat

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import UserError
from core.evaluation.classes import one_of_each, within
from core.evaluation.critics import Seen, floats_of, joined
from core.evaluation.gallery import Gallery
from core.metrics import Interval, Metric, bootstrap, bootstraps, frechet_distance
from core.pipeline import TextToImage

DRAWS = 60  # resamples of each interval
LEAST = 4  # pictures that have to be left: precision and recall look for the third neighbour
BOUNDS = {"precision": (0.0, 1.0), "recall": (0.0, 1.0), "frechet_distance": (0.0, math.inf), "inception_score": (1.0, math.inf)}
WORSE, BETTER, SAME = "worse", "better", "not noticed"


@dataclass(frozen=True)
class Damage:
    """What is done to the pictures; `strength` in pixels, in units of [−1, 1], or in copies; `group` names a class."""

    kind: str  # of KINDS
    strength: float = 0.0
    group: str = ""

    @property
    def repaints(self) -> bool:
        """Whether the pictures themselves change, each in its place."""
        return self.kind in ("blur", "noise")


GROUPED = ("drop", "keep")  # damage that a class is named for
KINDS = ("blur", "noise", "duplicate", *GROUPED, "single")


def blurred(x: Tensor, std: float) -> Tensor:
    """Pictures [B, C, H, W] under a Gaussian of so many pixels, the edge repeated outwards."""
    if std <= 0:
        return x
    reach = min(math.ceil(3 * std), x.shape[-1] - 1, x.shape[-2] - 1)
    kernel = torch.exp(-((torch.arange(-reach, reach + 1, dtype=x.dtype) / std) ** 2) / 2)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 1, -1)
    for sides, weight in (((reach, reach, 0, 0), kernel), ((0, 0, reach, reach), kernel.transpose(2, 3))):
        x = F.conv2d(F.pad(x, sides, mode="replicate"), weight, groups=x.shape[1])
    return x


def noisy(x: Tensor, std: float, seed: int) -> Tensor:
    """Pictures with normal noise, held to [−1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return (x + std * torch.randn(x.shape, generator=generator)).clamp(-1, 1)


def kept(gallery: Gallery, damage: Damage, seed: int = 0) -> np.ndarray:
    """Which pictures of the judged half there are afterwards, as rows, some of them several times."""
    n, random = gallery.each, np.random.default_rng(seed)
    if damage.kind == "duplicate":
        few = np.sort(random.permutation(n)[: max(1, n // max(1, round(damage.strength)))])
        return np.sort(few[np.arange(n) % len(few)])
    if damage.kind in GROUPED:
        known = memberships(gallery)
        if damage.group not in known:
            raise UserError(f"{damage.group[:40]!r} is no class here: take one of {', '.join(known)}.")
        rows = np.flatnonzero(known[damage.group] == (damage.kind == "keep"))
        if len(rows) < LEAST:
            raise UserError(f"Only {len(rows)} of {n} pictures would be left, and metrics need {LEAST}: take another class.")
        return rows
    if damage.kind == "single":
        return one_of_each(gallery.tested.fine, seed)
    return np.arange(n)


def memberships(gallery: Gallery) -> dict[str, np.ndarray]:
    """Which pictures belong to each class that can be dropped: styles by origin, groups as the classifier sees them."""
    styles, tested = np.array(gallery.styles), gallery.tested
    found = {f"style {name}": styles == name for name in sorted(set(gallery.styles) - {""})}
    if tested.coarse is not None:
        groups = gallery.pipe.extras.judge.network.config.classes
        found |= {name: tested.coarse.argmax(1) == number for number, name in enumerate(groups)}
    return found


def classes(pipe: TextToImage) -> list[str]:
    """The names that `memberships` will have, as far as they are known before any picture is looked at."""
    told = pipe.extras.vocabulary.get("styles")
    styles = [str(style["word"]) for style in told if isinstance(style, dict) and "word" in style] if isinstance(told, list) else []
    groups = [] if pipe.extras.missing("classifier") else list(pipe.extras.judge.network.config.classes)
    return [*(f"style {name}" for name in sorted(styles)), *groups]


def applied(gallery: Gallery, damage: Damage) -> Iterator[Seen]:
    """The damaged pictures as the critic sees them, more of them each time; the last ones are all.

    Where pictures are only chosen, all that is said of them is known; our own classifier is asked of others by `judged`.
    """
    tested = gallery.tested
    if not damage.repaints:
        yield tested.take(kept(gallery, damage))
        return
    parts: list[Seen] = []
    for some in slices(gallery, tested):
        x = floats_of(some.pictures)
        x = blurred(x, damage.strength) if damage.kind == "blur" else noisy(x, damage.strength, len(parts))
        parts.append(gallery.critic.look(x, some.words))
        yield joined(parts)


def judged(gallery: Gallery, seen: Seen) -> Iterator[Seen]:
    """The pictures with what the classifier says of each, more of them each time; the last ones are all."""
    parts: list[Seen] = []
    for some in slices(gallery, seen):
        parts.append(gallery.critic.classified(some))
        yield joined(parts)


def slices(gallery: Gallery, seen: Seen) -> Iterator[Seen]:
    """As many pictures at a time as the critic takes."""
    size = gallery.critic.together
    return (seen.take(np.arange(start, min(start + size, len(seen)))) for start in range(0, len(seen), size))


def compared_with(gallery: Gallery, after: Seen, seed: int = 1) -> Seen:
    """As many untouched pictures as there are damaged ones."""
    tested = gallery.tested
    if len(after) == len(tested):
        return tested
    return tested.take(np.sort(np.random.default_rng(seed).permutation(len(tested))[: len(after)]))


class Scored(NamedTuple):
    """One metric before and after, and the change from the one to the other on the same resamples."""

    metric: Metric
    before: Interval
    after: Interval
    change: Interval

    @property
    def verdict(self) -> str:
        """WORSE or BETTER where the interval of the change leaves out 0, else SAME."""
        if self.change.low <= 0 <= self.change.high:
            return SAME
        return BETTER if (self.change.value > 0) == (self.metric.better == "high") else WORSE


def columns(metric: Metric, seen: Seen) -> list[np.ndarray] | None:
    """What a registered metric takes of the pictures that are judged; None for what was not asked of them."""
    names = {"features": "features", "images": "by_clip", "texts": "words", "probabilities": "fine"}
    taken = [getattr(seen, names[name]) for name in dict.fromkeys(metric.takes)]
    return None if any(part is None for part in taken) else taken


def function_of(metric: Metric) -> Callable[..., SupportsFloat]:
    """The metric as a function; a Frechet distance of too few pictures is taken all the same, and `note` says so."""
    return partial(frechet_distance, allow_few=True) if metric.id == "frechet_distance" else metric.function


def bounded(metric: Metric, found: Interval) -> Interval:
    """An interval held within what the metric can be."""
    return within(found, *BOUNDS.get(metric.id, (-math.inf, math.inf)))


def measured(metric: Metric, real: Seen, tested: Seen, draws: int = DRAWS) -> Interval | None:
    """A metric of two sets of pictures with its interval; None for what was not asked of them."""
    given = columns(metric, tested)
    if given is None:
        return None
    sides = [real.features] if metric.takes[0] == "features" else []
    return bounded(metric, bootstrap(function_of(metric), [*sides, *given], draws, paired=metric.paired))


def scored(metric: Metric, real: Seen, before: Seen, after: Seen, together: bool, draws: int = DRAWS) -> Scored | None:
    """A metric before and after on the same resamples of the real half; `together`: row i is one picture, before and after.

    None for what was not asked of the pictures.
    """
    first, second = columns(metric, before), columns(metric, after)
    if first is None or second is None:
        return None
    sides = [real.features] if metric.takes[0] == "features" else []
    a, b, function = np.concatenate(first, 1), np.concatenate(second, 1), function_of(metric)
    cuts = np.cumsum([part.shape[1] for part in first])[:-1]

    def values(*given: np.ndarray) -> tuple[float, float, float]:
        *others, x = given if together else (*given[:-2], np.empty(0))
        pair = np.split(x, 2, 1) if together else given[-2:]
        one, two = (float(function(*others, *np.split(side, cuts, 1))) for side in pair)
        return one, two, two - one

    found = bootstraps(values, [*sides, *([np.concatenate([a, b], 1)] if together else [a, b])], draws)
    return Scored(metric, bounded(metric, found[0]), bounded(metric, found[1]), found[2])
