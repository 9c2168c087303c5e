"""The perfect denoiser of the training pictures, beside the network that learnt from them.

    x0* = Σ w_i x_i,   w = softmax of −‖x − alpha·x_i‖²/(2 sigma²)      what the training loss asks for on its own pictures  (1)
    H = −Σ w log w                          log N while everything is open, 0 once it is decided which picture it will be  (2)
    error(t) = E ‖eps − eps_theta‖²/D       and the same for (1), which nothing can undercut on these pictures            (3)
    reach = ‖z − x_1‖ / ‖z − x_2‖           of the nearest and the second training picture: near 0, z is a copy           (4)

(1) is the ideal denoiser of 2206.00364 (appendix B.3, eq. 57) in our alpha and sigma; 2310.02664 samples by it.
(1) only ever ends in a training picture. Whatever a network makes that is new comes of its error against (1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from core.assumptions.line import over_runs
from core.emphasis import named_in
from core.latents import nearest, usual_distance
from core.metrics import Interval
from core.noise import Noise
from core.pipeline import TextToImage
from core.prediction import Cond, NetworkModel, Prediction, unconditional
from core.recipe import Recipe
from core.sampling import Step, sample
from core.schedules import Level
from core.toy import FiniteData

NEAREST = 3
COPY = 1 / 3  # (4) below this counts as a copy, as in 2310.02664
PLACES = (10, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 990)


class Near(NamedTuple):
    """A training picture and how much of it is in x0*, or how far away it is."""

    row: int
    value: float


def reach(nearest: Sequence[Near]) -> float:
    """Equation (4) of the training pictures next to some latents, nearest first."""
    return nearest[0].value / max(nearest[1].value, 1e-30)


@dataclass(frozen=True)
class Look:
    """One step of a run as both see it."""

    network: Tensor  # x0 [1, C, h, w]
    perfect: Tensor
    entropy: float  # (2), in nats
    weights: tuple[Near, ...]  # the greatest of (1)
    nearest: tuple[Near, ...]  # to the network's x0, by distance
    apart: float  # root mean square of network − perfect

    @property
    def reach(self) -> float:
        """Equation (4) of what the network says."""
        return reach(self.nearest)


@dataclass(frozen=True)
class Perfect:
    """Equation (1) for the training pictures of a model, and what they are called."""

    data: FiniteData
    names: tuple[str, ...]

    @classmethod
    def of(cls, pipe: TextToImage) -> Perfect:
        """Raises UserError for a model without training latents."""
        training = pipe.extras.training
        known = {name: number for number, name in enumerate(dict.fromkeys(origin.label for origin in training.origins))}
        return cls(FiniteData.of(training.latents, [known[origin.label] for origin in training.origins]), tuple(known))

    def named(self, prompt: str) -> int | None:
        """The label of the longest trained name in a prompt; None, all pictures, where there is none."""
        found = named_in(prompt, self.names)
        return None if found is None else self.names.index(found)

    def __len__(self) -> int:
        return len(self.data.flat)

    def look(self, step: Step, label: int | None = None) -> Look:
        """A step of a run of one picture; the network as its prompt (without, the empty one) alone has it, before guidance."""
        call, x = step.evaluations[0], step.x[:1]
        at, said = call.at, call.parts.get("cond", call.parts.get("uncond", call)).x0[:1]
        weights = self.data.weights(x, at, label)
        perfect = (weights @ self.data.flat + self.data.mean).reshape(x.shape)
        w = weights[0].topk(min(NEAREST, len(self)))
        return Look(
            said, perfect, float(torch.special.entr(weights).sum()),
            tuple(Near(int(i), float(v)) for v, i in zip(w.values, w.indices, strict=True)), self.nearest(said),
            float((said.to(perfect) - perfect).square().mean().sqrt()),
        )  # fmt: skip

    def run(self, pipe: TextToImage, recipe: Recipe, label: int | None = None) -> Iterator[Step]:
        """A run of (1) in the network's place: the recipe's sampler, levels and noise; of its words at most a label."""
        recipe = pipe.complete(recipe)
        denoise, noise = unconditional(self.data, label), pipe.noise([recipe])
        return sample(denoise, pipe.path(recipe), recipe.sampler, noise, None, **recipe.knobs)

    def nearest(self, z: Tensor) -> tuple[Near, ...]:
        """The training pictures next to latents z [1, C, h, w], by root mean square distance."""
        far, places = nearest(z.flatten(1).to(self.data.flat) - self.data.mean, self.data.flat, NEAREST)
        return tuple(Near(i, d) for i, d in zip(places.tolist(), far.tolist(), strict=True))

    @cached_property
    def usual(self) -> float:
        """How far a training picture's nearest neighbour is, in the median over some of them."""
        return usual_distance(self.data.flat)


def decided(looks: Sequence[Look]) -> int | None:
    """The moment of decision: the first step from which (2) stays below log 2, the doubt between two."""
    open_steps = [index for index, look in enumerate(looks) if look.entropy >= math.log(2)]
    first = open_steps[-1] + 1 if open_steps else 0
    return first if first < len(looks) else None


# ------------------------------------------------------------------------------------------------- errors against t


@torch.no_grad()
def predicted(pipe: TextToImage, x: Tensor, at: Level, texts: Sequence[str]) -> Prediction:
    """What the network says of x [B, C, h, w] at a level, each row under its own words."""
    model = NetworkModel(pipe.unet, pipe.schedule, pipe.parts.prediction)
    return model(x.to(pipe.device), at, (Cond(pipe.text_states(texts)),))[0]


def noised(latents: Tensor, at: Level, seed: int = 0) -> tuple[Tensor, Tensor]:
    """x_t of latents [B, C, h, w] and the noise in it, a seed a row."""
    eps = Noise(range(seed, seed + len(latents)), tuple(latents.shape[1:]), device=latents.device)(0)
    return at.alpha * latents + at.sigma * eps, eps


def eps_errors(pipe: TextToImage, latents: Tensor, at: Level, texts: Sequence[str] | None = None, seed: int = 0) -> Tensor:
    """Equation (3) of the network for each row, [B]; without texts it hears the empty prompt."""
    x, eps = noised(latents.to(pipe.device), at, seed)
    return (predicted(pipe, x, at, texts or [""] * len(x)).eps - eps).square().flatten(1).mean(1).cpu()


class Errors(NamedTuple):
    """Equation (3) at one time, for both, and how far they are from each other."""

    t: float
    network: Interval
    perfect: Interval
    apart: Interval


def error_curve(pipe: TextToImage, perfect: Perfect, count: int = 8, places: Sequence[int] = PLACES) -> Iterator[Errors]:
    """Equation (3) on some training pictures at each t, without words, so that both answer for all pictures."""
    latents = some_of(pipe, count)
    for place in places:
        at = pipe.schedule.at(place)
        x, eps = noised(latents.to(pipe.device), at)
        network = predicted(pipe, x, at, [""] * len(x)).eps
        best = perfect.data(x, at, (None,))[0].eps
        pairs = (network - eps, best - eps, network - best)
        yield Errors(at.t, *(over_runs(pair.square().flatten(1).mean(1).cpu().numpy()) for pair in pairs))


def some_of(pipe: TextToImage, count: int) -> Tensor:
    """So many training latents, evenly from the whole list."""
    latents = pipe.extras.training.latents
    return latents[some_indices(len(latents), count)]


def some_indices(length: int, count: int) -> list[int]:
    """So many numbers below `length`, evenly apart, the first half a stride in."""
    return [int((i + 0.5) * length / count) for i in range(count)]
