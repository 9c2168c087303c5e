"""A sweep of guidance scales: the same prompts and seeds at every gamma, measured scale by scale while it is computed.

Every row of pictures is one recipe (its seeds are the batch), so the engine knows it again, here and in every other tab.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from core.adherence import adherence, diversity
from core.emphasis import named_in, plain
from core.errors import UserError
from core.judge import Label
from core.metrics import Interval, clip_scores
from core.pipeline import TextToImage, to_tensor
from core.recipe import BUDGET, Recipe
from studio.service.engine import Engine, cost
from studio.service.jobs import Preview, Run

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PROMPTS, MOST_GAMMAS, MOST_SEEDS = 3, 9, 8
AUTO = "auto"


@dataclass(frozen=True)
class Sweep:
    """What is swept: `base` has the first seed, the number of seeds as its batch, and everything else of a run."""

    base: Recipe
    prompts: tuple[str, ...]
    gammas: tuple[float, ...]
    label: str = ""  # the class that the judge is asked for; AUTO: the one that each prompt names; "": it is not asked

    def __post_init__(self) -> None:
        for name, values, most in (("prompts", self.prompts, MOST_PROMPTS), ("scales", self.gammas, MOST_GAMMAS)):
            if not 1 <= len(values) <= most:
                raise UserError(f"There are {len(values)} {name}; a sweep takes 1 to {most}.")
        if len(set(self.gammas)) < len(self.gammas):
            raise UserError("A guidance scale stands there twice; give each once.")
        if not 1 <= self.base.batch <= MOST_SEEDS:
            raise UserError(f"seeds is {self.base.batch}; a sweep takes 1 to {MOST_SEEDS} seeds.")
        recipes = [self.recipe(g, p) for g in range(len(self.gammas)) for p in range(len(self.prompts))]
        if sum(map(cost, recipes)) > BUDGET:
            raise UserError("This sweep is too long (steps × pixels × pictures): take fewer scales, seeds or steps.")

    def recipe(self, g: int, p: int) -> Recipe:
        """The run of gamma number g and prompt number p: a picture a seed."""
        return self.base.replace(prompt=self.prompts[p], gamma=self.gammas[g])

    @property
    def cost(self) -> float:
        return len(self.gammas) * len(self.prompts) * cost(self.base)


@dataclass(frozen=True)
class Point:
    """What one scale came to, over all prompts and seeds; None for what this model cannot measure."""

    gamma: float
    diversity: Interval
    spread: float  # standard deviation of the finished latents; `trained` is that of training pictures
    score: Interval | None = None  # CLIP score
    probability: Interval | None = None  # of the class, as the classifier sees the finished latents


@dataclass(frozen=True)
class Progress:
    """All that there is so far; `forming` says which cell the rough pictures belong to."""

    cells: Mapping[tuple[int, int], tuple[Image, ...]] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    forming: tuple[int, int] | None = None
    rough: tuple[Image, ...] = ()
    step: int = 0  # of all steps of all runs
    steps: int = 1
    nfe: int = 0
    seconds: float = 0.0
    known: int = 0  # runs that were known already
    classes: tuple[str, ...] = ()  # of the prompts, where the judge was asked


def swept(engine: Engine, sweep: Sweep) -> Generator[Progress | None, None, Progress]:
    """Work for the engine: the rows in order, each seen while it forms, each scale measured when its rows are there."""
    begun, each = time.perf_counter(), sweep.base.steps
    classes = classes_of(engine.pipe, sweep)
    now = Progress(steps=each * len(sweep.gammas) * len(sweep.prompts), classes=tuple(label.name for label in classes))
    for g in range(len(sweep.gammas)):
        runs: list[Run] = []
        for p in range(len(sweep.prompts)):
            before, known, work = now.step, True, engine.run(sweep.recipe(g, p))
            while True:
                try:
                    preview = next(work)
                except StopIteration as end:
                    runs.append(end.value)
                    break
                known = False
                yield None if preview is None else _forming(now, preview, (g, p), before, time.perf_counter() - begun)
            cells = {**now.cells, (g, p): runs[-1].images}
            now = replace(now, cells=cells, forming=None, rough=(), step=before + each, nfe=now.nfe + total_nfe(runs[-1]),
                          known=now.known + known, seconds=time.perf_counter() - begun)  # fmt: skip
            yield now
        point = measured(engine.pipe, sweep, g, runs, classes)
        now = replace(now, points=(*now.points, point), seconds=time.perf_counter() - begun)
        yield now
    return now


def _forming(now: Progress, preview: Preview, at: tuple[int, int], before: int, seconds: float) -> Progress:
    return replace(now, forming=at, rough=preview.images, step=before + preview.step, seconds=seconds)


def total_nfe(run: Run) -> int:
    """Network evaluations of all pictures of a run."""
    return run.nfe * run.recipe.batch


def measured(pipe: TextToImage, sweep: Sweep, g: int, runs: Sequence[Run], classes: Sequence[Label] = ()) -> Point:
    """One scale's pictures by every measure that the model has; without a CLIP, latents are the features."""
    latents = torch.stack([finished(pipe, run) for run in runs])  # [P, S, C, h, w]
    score = probability = None
    if pipe.extras.missing("clip"):
        features = latents.flatten(2).numpy()
    else:
        eyes = pipe.extras.eyes
        seen = [eyes.of_pictures(to_tensor(run.images).to(pipe.device)).cpu() for run in runs]
        words = eyes.of_words([plain(prompt) for prompt in sweep.prompts]).cpu()
        score = adherence(np.stack([clip_scores(f, w.expand(len(f), -1)) for f, w in zip(seen, words, strict=True)]))
        features = torch.stack(seen).numpy()
    if classes:
        judge, at = pipe.extras.judge, pipe.schedule.at(0)
        with torch.no_grad():
            probable = [
                judge.log_prob(z.to(pipe.device), at, [label] * len(z)).exp().cpu()
                for z, label in zip(latents, classes, strict=True)
            ]
        probability = adherence(torch.stack(probable).numpy())
    return Point(sweep.gammas[g], diversity(features), float(latents.std()), score, probability)


def trained(pipe: TextToImage) -> float | None:
    """The standard deviation of the training pictures' latents, which that of finished ones is held to."""
    return None if pipe.extras.missing("latents") else float(pipe.extras.training.latents.std())


def finished(pipe: TextToImage, run: Run) -> Tensor:
    """The finished latents of a run; those of its pictures where it was too long to be remembered with its steps."""
    return run.steps[-1].x_next if run.steps else torch.cat([pipe.encode(image) for image in run.images]).cpu()


def classes_of(pipe: TextToImage, sweep: Sweep) -> tuple[Label, ...]:
    """The class of every prompt; none at all where one of them has none."""
    if not sweep.label or pipe.extras.missing("classifier"):
        return ()
    if sweep.label != AUTO:
        return (pipe.extras.judge.find(sweep.label),) * len(sweep.prompts)
    found = [label for label in (class_of(pipe, prompt) for prompt in sweep.prompts) if label is not None]
    return tuple(found) if len(found) == len(sweep.prompts) else ()


def class_of(pipe: TextToImage, prompt: str) -> Label | None:
    """The class of what a prompt names: that of the longest trained name in it, by its origin or else as the judge sees it."""
    if pipe.extras.missing("classifier") or pipe.extras.missing("latents"):
        return None
    training, judge = pipe.extras.training, pipe.extras.judge
    name = named_in(prompt, dict.fromkeys(o.label for o in training.origins))
    if name is None:
        return None
    rows = [i for i, o in enumerate(training.origins) if o.label == name]
    known = {label.name: label for label in judge.labels}
    if (said := training.origins[rows[0]].subgroup) in known:
        return known[said]
    with torch.no_grad():
        logits = judge.network(training.latents[rows].to(pipe.dtype), pipe.schedule.at(0).t)
    number = int(logits.fine.float().softmax(-1).mean(0).argmax())
    return Label(judge.network.config.subclasses[number], "fine", number)


def numbers(text: Any) -> tuple[float, ...]:
    """Guidance scales as they are typed: "-1, 0, 2 4.5"; raises UserError for what is no number."""
    found = []
    for word in str(text).replace("−", "-").replace(",", " ").replace(";", " ").split()[: MOST_GAMMAS + 1]:
        try:
            found.append(float(word))
        except ValueError:
            raise UserError(f"{word[:20]!r} is no number; give guidance scales like −1, 0, 2, 4, 8.") from None
        if not math.isfinite(found[-1]):
            raise UserError(f"gamma is {word[:20]}; give numbers from −1 to 49.")
    return tuple(found)
