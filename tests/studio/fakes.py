"""A pipeline that needs no weights: the same interface, a coloured square out of noise, as slow as it is told."""

import time
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
from PIL import Image

from core.recipe import Recipe


class FakePipeline:
    """Pictures whose colour is decided by seed and prompt; `log` lists every step that was really computed."""

    name, hash, size = "fake-128", "0123456789", 128

    def __init__(self, seconds_a_step: float = 0.0) -> None:
        self.seconds, self.log, self.closed, self.faults = seconds_a_step, [], 0, {}

    def complete(self, recipe: Recipe) -> Recipe:
        return recipe.replace(
            model=self.name,
            schedule=recipe.schedule or "cosine",
            spacing=recipe.spacing or "trailing",
            width=recipe.width or self.size,
            height=recipe.height or self.size,
        )

    def run(self, recipe: Recipe) -> Iterator[SimpleNamespace]:
        try:
            for index in range(recipe.steps):
                time.sleep(self.seconds)
                if (recipe.prompt, index) in self.faults:
                    raise self.faults[recipe.prompt, index]
                self.log.append((recipe.prompt, recipe.seed, index))
                clean = np.stack([self.latent(recipe, i) for i in range(recipe.batch)])
                part = (index + 1) / recipe.steps
                level = SimpleNamespace(t=999 * (1 - part), nsr=15 * (1 - part))
                noise = np.random.default_rng(recipe.seed).normal(size=clean.shape)
                x0 = clean * part + noise * (1 - part)
                yield SimpleNamespace(index=index, cur=level, nxt=level, x=x0, x_next=clean, x0=x0, nfe=2 * (index + 1))
        finally:
            self.closed += 1

    def latent(self, recipe: Recipe, index: int) -> np.ndarray:
        colour = np.random.default_rng([recipe.seed + index, *recipe.prompt.encode()]).uniform(-1, 1, 3)
        square = np.ones((16, 16, 3))
        square[4:12, 4:12] = colour
        return square

    def pictures(self, latents: np.ndarray) -> list[Image.Image]:
        return [image.resize((self.size, self.size), Image.Resampling.NEAREST) for image in self.preview(latents)]

    def preview(self, latents: np.ndarray) -> list[Image.Image]:
        return [Image.fromarray(np.uint8(np.clip(latent * 0.5 + 0.5, 0, 1) * 255)) for latent in latents]

    def notes(self, recipe: Recipe) -> list[str]:
        return ["These words did not fit: the end"] if recipe.prompt.endswith("the end") else []
