"""The function behind `/denoise`: one run as a film for programs, with the numbers of every step."""

# No `from __future__ import annotations`: Gradio reads the types of the endpoint as objects.
import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio.data_classes import FileData

from core.errors import UserError
from core.recipe import Recipe
from studio.endpoints.fields import asked, takes
from studio.formats import movie
from studio.handlers import darkroom, stage
from studio.handlers.darkroom import FORMS
from studio.handlers.starts import Start
from studio.service.engine import Engine, cost
from studio.service.jobs import Done, Failed, Run, Stopped
from studio.widgets import controls
from studio.work import film


def endpoint(engine: Engine) -> Callable[..., Any]:
    """The function behind `/denoise`."""

    @takes(tuple[dict, dict], without=("batch",))  # a film is of one picture
    async def denoise(
        request: gr.Request,
        form: Literal[tuple(FORMS.values())] = "gif",  # type: ignore[valid-type]
        **fields: Any,
    ) -> AsyncIterator[Any]:
        """Make one picture and tell every step of the way: noise levels, norms, and the terms that each move is the sum of.

        Args:
            form: The film as a gif, an animated webp, an mp4 (needs PyAV), or a sheet with all frames as PNG.
            fields: Those of Recipe.

        Returns:
            The film as a file: x_t and the predicted clean picture of every step.
            The recipe, network evaluations (nfe), seconds, and for every frame its numbers; before, where it stands.
        """
        recipe, start = await asked(engine, fields)
        with tempfile.TemporaryDirectory() as folder:
            async for answer in answers(engine, engine.pipe.complete(recipe), start, form, controls.visitor(request), Path(folder)):
                yield answer

    return denoise


async def answers(
    engine: Engine, recipe: Recipe, start: Start | None, form: str, visitor: str, folder: Path
) -> AsyncIterator[Any]:
    """What the endpoint says while it works, and at last the film and its numbers."""
    if form not in FORMS.values():
        raise UserError(f"form is {str(form)[:40]!r}; it must be one of {', '.join(FORMS.values())}.")
    movie.possible(form)
    with engine.compute(lambda: filmed(engine, recipe, start), visitor, 2 * cost(recipe)) as job:
        async for event in job:
            if isinstance(event, (Failed, Stopped)):
                raise UserError(event.sentence if isinstance(event, Failed) else "Stopped on request.")
            if not isinstance(event, Done):
                yield None, {name: value for name, value in darkroom.told(event, {}).items() if name in ("state", "line")}
    run, done, frames = event.value
    path = await asyncio.to_thread(darkroom.written, form, done, recipe, folder)
    yield FileData(path=str(path)).model_dump(), {
        "state": "done", "recipe": recipe.model_dump(mode="json"), "nfe": run.nfe, "seconds": round(run.seconds, 3),
        "frames": frames, "notes": [*run.notes, *stage.told(start)],
    }  # fmt: skip


def filmed(
    engine: Engine, recipe: Recipe, start: Start | None
) -> Generator[Any, None, tuple[Run, film.Cut, list[dict[str, Any]]]]:
    """A run with its pictures and numbers, for the endpoint."""
    run = yield from engine.run_with_steps(recipe, start.pictures if start else None)
    about = film.film(engine.pipe, run.recipe, run.steps)["frames"]
    return run, (yield from film.cut(engine.pipe, run.recipe, run.steps)), about
