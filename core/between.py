"""Runs between two runs: every picture with a start and with text of its own.

    x_T(s) = way(noise_a, noise_b, s)  under one prompt;   c(s) = way(c_a, c_b, s)  from one noise                 (1)

c are the text encoder's states [L, D]; their way is taken token by token. At s = 0 and s = 1 these are the runs themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from core.latents import WAYS
from core.pipeline import TextToImage
from core.recipe import Recipe
from core.sampling import Step, sample


def between_noises(pipe: TextToImage, recipe: Recipe, seed: int, shares: Sequence[float], way: str) -> Tensor:
    """The starts [N, C, h, w] between the noise of a recipe and that of another seed."""
    a, b = (pipe.noise([recipe.replace(seed=one, batch=1)])(0) for one in (recipe.seed, seed))
    return torch.cat([WAYS[way](a, b, s) for s in shares])


def between_prompts(pipe: TextToImage, recipe: Recipe, prompt: str, shares: Sequence[float], way: str) -> Tensor:
    """The text states [N, L, D] between the prompt of a recipe and another one."""
    a, b = pipe.text_states([recipe.prompt, prompt]).float().split(1)
    return torch.cat([WAYS[way](a, b, s, (-1,)) for s in shares]).to(pipe.dtype)


def run_from(pipe: TextToImage, recipe: Recipe, starts: Tensor | None = None, states: Tensor | None = None) -> Iterator[Step]:
    """A recipe run as one batch, its pictures with these starts and text states; what is not given is the recipe's own.

    Fresh noise of a stochastic sampler is the same for all of them. Raises UserError for text states under a classifier.
    """
    count = len(starts if starts is not None else states if states is not None else [recipe])
    rows = [pipe.complete(recipe).replace(batch=1)] * count
    return sample(pipe.denoiser(rows, states), pipe.path(rows[0]), recipe.sampler, pipe.noise(rows), starts, **recipe.knobs)
