"""What is lost when something is switched off: in the loss, in the spectrum of the predicted picture, in a finished picture.

    loss      L(t) = E ‖v − v_θ(x_t, t, c)‖²/D,  x_t = alpha·x_0 + sigma·eps,  v = alpha·eps − sigma·x_0                (1)
    change    the mean over pictures of L without − L with, from the same noise: paired, so that its interval is narrow   (2)
    spectrum  the mean power of a wave of the predicted x_0, by spatial frequency: E_r of core/latents.py over its waves  (3)

Where a model brings no training pictures, (1) and (2) are taken over draws of noise in the picture that a run of its own made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.assumptions.line import over_runs
from core.inside.switches import Switch, denoiser, told
from core.latents import rings
from core.metrics import Interval
from core.noise import Noise
from core.perfect import Perfect, some_indices
from core.pipeline import TextToImage
from core.prediction import READ, Prediction
from core.recipe import Recipe
from core.sampling import Step, sample
from core.schedules import Level
from core.training.captions import prompt

PICTURES, NOISES = 16, 4  # training pictures; draws of noise where one picture is all there is
TOLD = (0, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 999)


@dataclass(frozen=True)
class Trial:
    """What a loss is measured on: clean latents [B, C, h, w], the noise in them, a level, and the words of each row."""

    z: Tensor
    eps: Tensor
    at: Level
    texts: tuple[str, ...]
    of: str  # in words

    @property
    def x(self) -> Tensor:
        return self.at.alpha * self.z + self.at.sigma * self.eps

    @property
    def v(self) -> Tensor:
        return self.at.alpha * self.eps - self.at.sigma * self.z


def trial(pipe: TextToImage, at: Level, recipe: Recipe, last: Tensor, count: int = PICTURES) -> Trial:
    """Training pictures under their own captions; where a model brings none, the picture `last` of a run of its own."""
    if pipe.extras.missing("latents"):
        return of_one(last[:1].to(pipe.device).expand(NOISES, -1, -1, -1), at, recipe.prompt, "the picture of this run")
    latents, origins = pipe.extras.training.latents, pipe.extras.training.origins
    rows = some_indices(len(latents), min(count, len(latents)))
    texts = tuple(prompt(origins[row].label, origins[row].style) for row in rows)
    return with_noise(latents[rows], at, texts, f"{len(rows)} training pictures")


def of_prompt(pipe: TextToImage, at: Level, recipe: Recipe, last: Tensor, count: int = PICTURES) -> Trial:
    """Pictures that a prompt names, all under the prompt, as for leaving out its words; else the picture `last` of a run."""
    if not pipe.extras.missing("latents") and (label := (perfect := Perfect.of(pipe)).named(recipe.prompt)) is not None:
        rows = (perfect.data.labels == label).nonzero().flatten()[:count]
        if len(rows) > 1:
            z = pipe.extras.training.latents[rows]
            return with_noise(z, at, (recipe.prompt,) * len(z), f"{len(z)} training pictures of “{perfect.names[label]}”")
    return of_one(last[:1].to(pipe.device).expand(NOISES, -1, -1, -1), at, recipe.prompt, "the picture of this run")


def of_one(z: Tensor, at: Level, text: str, of: str) -> Trial:
    return with_noise(z, at, (text,) * len(z), f"{of} under {len(z)} draws of noise")


def with_noise(z: Tensor, at: Level, texts: tuple[str, ...], of: str) -> Trial:
    """A trial with a seed a row."""
    z = z.float()
    return Trial(z, Noise(range(len(z)), tuple(z.shape[1:]), device=z.device)(0), at, texts, of)


# ------------------------------------------------------------------------------------------------- measured


def losses(trial: Trial, said: Prediction) -> np.ndarray:
    """Equation (1) for each row, [B]."""
    return np.asarray((trial.v - said.v.to(trial.v)).square().flatten(1).mean(1).double().cpu().numpy())


@dataclass(frozen=True)
class Spectrum:
    """Equation (3): frequencies in cycles a cell, and the power of a wave there."""

    frequency: np.ndarray
    power: np.ndarray


def spectrum(z: Tensor) -> Spectrum:
    """Equation (3) over the rows and channels of latents [B, C, h, w]; ring 0, the mean, is left out."""
    found = [rings(one) for one in z]
    power = np.mean([one.energy / np.maximum(one.waves, 1) / z.shape[1] for one in found], 0)
    return Spectrum(found[0].frequency[1:], power[1:])


@dataclass(frozen=True)
class Effect:
    """What a switch does on a trial; of the whole network the change is 0."""

    switch: Switch | None
    loss: Interval
    change: Interval
    spectrum: Spectrum


def effects(pipe: TextToImage, trial: Trial, switches: Sequence[Switch]) -> Iterator[Effect]:
    """The whole network first, then each switch alone."""
    whole: np.ndarray | None = None
    for switch in (None, *switches):
        said = told(pipe, trial.x, trial.at, trial.texts, switch)
        found = losses(trial, said)
        whole = found if whole is None else whole
        yield Effect(switch, over_runs(found), over_runs(found - whole), spectrum(said.x0))


def finished(pipe: TextToImage, recipe: Recipe, switch: Switch | None) -> Iterator[Step]:
    """The run of a recipe with something off from its first step to its last, from the same noise."""
    recipe = pipe.complete(recipe)
    yield from sample(denoiser(pipe, recipe, switch), pipe.path(recipe), recipe.sampler, pipe.noise([recipe]), None, **recipe.knobs)


# ------------------------------------------------------------------------------------------------- told a wrong time


@torch.no_grad()
def mistimed(pipe: TextToImage, x: Tensor, at: Level, told: float, texts: Sequence[str]) -> Prediction:
    """What the network says of x at a level when it is told another time."""
    context = pipe.text_states(texts)
    said = pipe.unet(x.to(context), torch.full((len(x),), float(told), device=x.device), context).to(x)
    return READ[pipe.parts.prediction](x, said, at)


def losses_told(pipe: TextToImage, trial: Trial, times: Sequence[int] = TOLD) -> Iterator[tuple[int, Interval]]:
    """The loss on a trial for each time that the network is told instead of the true one."""
    for t in times:
        yield t, over_runs(losses(trial, mistimed(pipe, trial.x, trial.at, t, trial.texts)))
