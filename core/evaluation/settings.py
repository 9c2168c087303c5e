"""What guidance scale, sampler and number of steps do to the model's own pictures: fidelity and diversity, each with its interval.

    fidelity    CLIP score of pictures and prompts (`core.adherence`); precision against training pictures (`core.metrics`)
    diversity   1 − cos among the seeds of a prompt (`core.adherence`); recall of the training pictures
    both        kernel distance to the training pictures: unbiased at every number, so that few pictures do; Frechet distance
                where they fill the dimensions of their features

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
from core.evaluation.critics import array, joined
from core.evaluation.damage import measured
from core.evaluation.gallery import Gallery, caption
from core.metrics import METRICS, Interval, clip_scores, frechet_distance
from core.perfect import some_indices
from core.pipeline import TextToImage
from core.recipe import Recipe
from core.sampling import SAMPLERS

SEEDS = 4  # of each prompt
TOGETHER = 2  # prompts in a batch
SHOWN = 8  # pictures of each setting
GAMMAS = (0.0, 1.0, 2.0, 4.0, 8.0)
STEPS = (2, 4, 8, 16, 32)
NOTHING = Interval(math.nan, math.nan, math.nan)
STORED = ("precision", "recall", "kernel_distance", "frechet_distance")


class Setting(NamedTuple):
    """A way to sample."""

    sampler: str
    steps: int
    gamma: float = 0.0

    @property
    def nfe(self) -> int:
        """Network evaluations of one picture: the last move, which ends clean, takes one prediction whatever the sampler."""
        calls = SAMPLERS[self.sampler].calls
        return (1 + bool(self.gamma)) * (calls * self.steps - (calls - 1))

    def recipe(self, prompt: str, seed: int) -> Recipe:
        """The run of one prompt."""
        return Recipe(prompt=prompt, seed=seed, batch=SEEDS, sampler=self.sampler, steps=self.steps, gamma=self.gamma)


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
    frechet_distance: Interval  # NaN where the pictures are too few
    features: np.ndarray  # [n, D], row i of the same caption and seed at every setting
    scores: np.ndarray  # CLIP scores, [n]
    lacks: str  # why there is no Frechet distance, if there is none
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
    lacks = frechet_distance(gallery.real.features, seen.features, allow_few=True).note
    could_be, covered, kernel, frechet = (
        NOTHING if lacks and name == "frechet_distance" else measured(METRICS[name], gallery.real, seen) or NOTHING
        for name in STORED
    )  # fmt: skip
    scores = clip_scores(seen.by_clip, words)
    score, apart = adherence(scores.reshape(shape)), diversity(seen.by_clip.reshape(*shape, -1))
    return Quality(setting, nfe, seconds, len(seen), score, apart, could_be, covered, kernel, frechet, seen.features, scores, lacks,
                   shown)  # fmt: skip
