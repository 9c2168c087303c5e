"""What guidance scale, sampler and number of steps do to the model's own pictures: fidelity and diversity, each with its interval.

    fidelity    CLIP score of pictures and prompts (`core.adherence`); precision against training pictures (`core.metrics`)
    diversity   1 − cos among the seeds of a prompt (`core.adherence`); recall of the training pictures
    both        kernel distance to the training pictures: unbiased at every number, so that few pictures do

Prompts are captions of training pictures, evenly from the list; prompt p has the seeds 4p, 4p + 1, …, the same at every setting.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.adherence import adherence, diversity
from core.assumptions.line import over_runs, unit_noise
from core.evaluation.critics import array, joined
from core.evaluation.damage import measured
from core.evaluation.gallery import Gallery, caption
from core.metrics import METRICS, Interval, clip_scores
from core.perfect import some_indices
from core.pipeline import TextToImage
from core.prediction import unconditional
from core.recipe import Recipe
from core.sampling import sample
from core.schedules import make, make_path
from core.toy import ring
from core.tradeoff import distance

SEEDS = 4  # of each prompt
TOGETHER = 2  # prompts in a batch
SHOWN = 8  # pictures of each setting
GAMMAS = (0.0, 1.0, 2.0, 4.0, 8.0)
STEPS = (2, 4, 8, 16, 32)
MANY = 1000
POINTS, RUNS = 1000, 4  # on the exact ring
NOTHING = Interval(math.nan, math.nan, math.nan)
STORED = ("precision", "recall", "kernel_distance")


class Setting(NamedTuple):
    """A way to sample."""

    sampler: str
    steps: int
    gamma: float = 0.0

    def recipe(self, prompt: str, seed: int) -> Recipe:
        """The run of one prompt."""
        return Recipe(prompt=prompt, seed=seed, batch=SEEDS, sampler=self.sampler, steps=self.steps, gamma=self.gamma)


HEADLINES = (Setting("dpmpp_2m", 10), Setting("dpmpp_2m", 20), Setting("ddim", 10), Setting("ddim", 20), Setting("ddim", 50),
             Setting("ddpm", 50), Setting("ddpm", MANY))  # fmt: skip


class Quality(NamedTuple):
    """What a setting came to."""

    setting: Setting
    nfe: int  # network evaluations of one picture
    seconds: float  # for one picture
    n: int
    score: Interval
    diversity: Interval
    precision: Interval
    recall: Interval
    kernel_distance: Interval
    pictures: Tensor  # the first few, in uint8


class Making(NamedTuple):
    """How far the pictures of a setting are: the part that is done, and the latents that form."""

    part: float
    x0: Tensor


def prompts_of(pipe: TextToImage, count: int) -> list[str]:
    """So many captions of training pictures."""
    origins = pipe.extras.training.origins
    return [caption(origins[row]) for row in some_indices(len(origins), count)]


def quality(gallery: Gallery, setting: Setting, prompts: Sequence[str]) -> Generator[Making, None, Quality]:
    """Make the pictures of a setting, a step at a time, and measure them."""
    pipe, latents, nfe, begun = gallery.pipe, [], 0, time.perf_counter()
    away = 0.0
    for start in range(0, len(prompts), TOGETHER):
        some = prompts[start : start + TOGETHER]
        recipes = [setting.recipe(prompt, SEEDS * (start + i)) for i, prompt in enumerate(some)]
        last = None
        for last in pipe.run_many(recipes):
            left = time.perf_counter()
            yield Making((start + len(some) * (last.index + 1) / setting.steps) / len(prompts), last.x0)
            away += time.perf_counter() - left  # others may have had a turn
        assert last is not None
        latents.append(last.x_next)
        nfe = last.nfe
    seconds = (time.perf_counter() - begun - away) / (SEEDS * len(prompts))
    pictures = pipe.decode(torch.cat(latents))
    words = array(pipe.extras.eyes.of_words(list(prompts))).repeat(SEEDS, 0)
    parts = []
    for some in pictures.split(gallery.critic.together):
        parts.append(gallery.critic.look(some))
        yield Making(1.0, latents[-1])
    seen, shape = replace(joined(parts), words=words), (len(prompts), SEEDS)
    shown = seen.pictures[:: max(1, len(seen) // SHOWN)][:SHOWN]
    could_be, covered, kernel = (measured(METRICS[name], gallery.real, seen) or NOTHING for name in STORED)
    score, apart = adherence(clip_scores(seen.by_clip, words).reshape(shape)), diversity(seen.by_clip.reshape(*shape, -1))
    return Quality(setting, nfe, seconds, len(seen), score, apart, could_be, covered, kernel, shown)


class OnRing(NamedTuple):
    """Where a sampler ends on an exact ring: how far its points are from the data, over independent runs."""

    nfe: int
    distance: Interval


def on_ring(setting: Setting, runs: int = RUNS, points: int = POINTS) -> Generator[float, None, OnRing]:
    """Run a sampler on an exact ring of eight Gaussians under the linear schedule; yields the part that is done."""
    mixture, path = ring(), make_path(make("linear"), "trailing", setting.steps)
    found, nfe = [], 0
    for seed in range(runs):
        for last in sample(unconditional(mixture), path, setting.sampler, unit_noise(points, 2, seed=seed)):
            if last.index % 50 == 49:
                yield (seed + (last.index + 1) / setting.steps) / runs
        found.append(distance(last.x_next, mixture, path.levels[-1]))
        nfe = last.nfe
    return OnRing(nfe, over_runs(np.maximum(found, 0)))


def differs(a: Interval, b: Interval) -> bool:
    """Whether two 95 % intervals do not overlap; False where one has none."""
    bounds = (a.low, a.high, b.low, b.high)
    return all(map(math.isfinite, bounds)) and (a.low > b.high or b.low > a.high)
