"""A pipeline that needs no weights: the same interface, a coloured square out of noise, as slow as it is told."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from typing import Any

import gradio as gr
import numpy as np
import orjson
import pytest
import torch
from PIL import Image

from core.prediction import Prediction
from core.recipe import Recipe
from core.sampling import Step
from core.schedules import Level
from studio import app
from studio.service.engine import Engine
from studio.widgets import page
from studio.widgets.settings import Settings
from studio.widgets.status import Partial


def ended(work: Generator[Any, None, Any]) -> tuple[list[Any], Any]:
    """What a piece of work showed, and what it came to."""
    shown = []
    while True:
        try:
            shown.append(next(work))
        except StopIteration as end:
            return shown, end.value


def changes(handler: AsyncIterator[Any]) -> tuple[list[Any], gr.Error | None]:
    """All that a handler yields, and the error it ends with."""

    async def read() -> tuple[list[Any], gr.Error | None]:
        seen = []
        try:
            async for change in handler:
                seen.append(change)
        except gr.Error as error:
            return seen, error
        return seen, None

    return asyncio.run(asyncio.wait_for(read(), 60))


def worked(work: Any) -> tuple[list[Partial | None], dict[str, Any]]:
    """All that a piece of work yields, None for a turn of others, and its last view; every view has to be JSON, without NaN."""
    seen, last = ended(work)
    for view in [last, *(one.view for one in seen if one is not None)]:
        orjson.dumps(view)  # as Gradio sends it: every key is a text
        json.dumps(view, allow_nan=False)
    return seen, last


def shown(work: Any) -> tuple[list[Partial], dict[str, Any]]:
    """What a piece of work shows meanwhile, and its last view."""
    seen, view = worked(work)
    return [one for one in seen if one is not None], view


def stated(engine: Engine) -> dict[str, Settings]:
    """What every tab of the app states."""
    found: dict[str, Settings] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "connect", lambda demo, engine, head, tabs, settings: found.update(settings))
        app.build(engine)
    return found


@contextlib.contextmanager
def occupied(engine: Engine) -> Iterator[None]:
    """The worker is busy until the block is left: whatever is asked for within waits, and begins together."""
    begun, over = threading.Event(), threading.Event()

    def work() -> Iterator[None]:
        begun.set()
        over.wait(60)
        yield

    engine.compute(work, "nobody", cost=0)  # so little that nothing passes it
    assert begun.wait(60)
    try:
        yield
    finally:
        over.set()


class FakePipeline:
    """Pictures whose colour is decided by seed and prompt; `log` lists every step that was really computed."""

    name, hash, size = "fake-128", "0123456789", 128
    device = torch.device("cpu")

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

    def run_many(self, recipes: Sequence[Recipe], pictures: Any = None, trunk: Sequence[Step] = ()) -> Iterator[Step]:
        try:
            for index in range(recipes[0].steps):
                time.sleep(self.seconds)
                for recipe in recipes:
                    if (recipe.prompt, index) in self.faults:
                        raise self.faults[recipe.prompt, index]
                    self.log.append((recipe.prompt, recipe.seed, index))
                clean = torch.cat([self.latents(recipe) for recipe in recipes])
                part = (index + 1) / recipes[0].steps
                level = Level(999 * (1 - part), part, 1 - part)
                x0 = part * clean + (1 - part) * torch.randn(clean.shape)
                yield Step(index, level, level, x0, clean, (Prediction(x0, x0, level),), 2 * (index + 1))
        finally:
            self.closed += 1

    def memory(self, recipe: Recipe) -> int:
        """Bytes: a gigabyte for a picture of a million pixels."""
        return 1000 * recipe.batch * (recipe.width or self.size) * (recipe.height or self.size)

    def latents(self, recipe: Recipe) -> torch.Tensor:
        """A square [B, 16, 16, 3] for every picture, its colour drawn from seed and prompt."""
        squares = np.ones((recipe.batch, 16, 16, 3))
        for index, square in enumerate(squares):
            colour = np.random.default_rng([recipe.seed + index, *recipe.prompt.encode()]).uniform(-1, 1, 3)
            square[4:12, 4:12] = colour
        return torch.from_numpy(squares)

    def pictures(self, latents: torch.Tensor) -> list[Image.Image]:
        return [image.resize((self.size, self.size), Image.Resampling.NEAREST) for image in self.preview(latents)]

    def preview(self, latents: torch.Tensor) -> list[Image.Image]:
        return [Image.fromarray(np.uint8(np.clip(latent * 0.5 + 0.5, 0, 1) * 255)) for latent in latents.numpy()]

    def notes(self, recipe: Recipe) -> list[str]:
        return ["These words did not fit: the end"] if recipe.prompt.endswith("the end") else []
