"""The functions behind `/generate` and `/read_png`: the first tab for programs."""

# No `from __future__ import annotations`: Gradio reads the types of the endpoint as objects.
import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from core.errors import UserError
from studio.endpoints.fields import asked, takes
from studio.formats.infotext import infotext
from studio.handlers import restored, stage, starts
from studio.service.engine import Engine
from studio.service.jobs import Done, Failed, Preview, Queued, Stopped
from studio.widgets import controls
from studio.widgets.uploads import uploaded


def generate_endpoint(engine: Engine) -> Callable[..., Any]:
    """The function behind `/generate`."""

    @takes(tuple[dict, dict])
    async def generate(request: gr.Request, **fields: Any) -> AsyncIterator[Any]:
        """Make pictures from words with the loaded diffusion model, and say how they were made.

        Args:
            fields: Those of Recipe.

        Returns:
            The first picture as a PNG with its recipe inside.
            All pictures, the recipe, its text form, network evaluations (nfe), seconds, notes; before, where it stands.
        """
        async for told in answers(engine, fields, controls.visitor(request)):
            yield told

    return generate


async def answers(engine: Engine, fields: dict[str, Any], visitor: str) -> AsyncIterator[Any]:
    """What `/generate` says while it works, and at last the pictures and how they were made."""
    recipe, start = await asked(engine, fields)
    pictures = start.pictures if start else None
    model_hash = await asyncio.to_thread(lambda: engine.pipe.hash)  # it may read the whole file
    with engine.submit(recipe, visitor, pictures) as job, tempfile.TemporaryDirectory() as folder:
        async for event in job:
            if isinstance(event, (Failed, Stopped)):
                raise UserError(event.sentence if isinstance(event, Failed) else "Stopped on request.")
            yield await asyncio.to_thread(answer, event, Path(folder), model_hash, start)


def answer(event: Any, folder: Path, model_hash: str | None, start: starts.Start | None) -> tuple[Any, dict[str, Any]]:
    """An event as the endpoint tells it."""
    if isinstance(event, Queued):
        return None, {"state": "queued", "position": event.position, "seconds": event.seconds}
    if isinstance(event, Preview):
        return None, {"state": "running", "step": event.step, "steps": event.steps, "nfe": event.nfe, "t": event.t}
    assert isinstance(event, Done)
    run = event.value
    pictures, notes = stage.finished(run, folder, model_hash)
    files = [picture["file"] for picture in pictures if "file" in picture]
    if not files:
        raise UserError(notes[0])
    return files[0], {
        "state": "done", "pictures": files, "recipe": run.recipe.model_dump(mode="json"),
        "parameters": infotext(run.recipe, model_hash), "seed": run.recipe.seed, "nfe": run.nfe,
        "seconds": round(run.seconds, 3), "cached": event.cached, "notes": [*run.notes, *notes, *stage.told(start)],
    }  # fmt: skip


def read_endpoint(engine: Engine) -> Callable[..., Any]:
    """The function behind `/read_png`."""

    def read_png(picture: FileData) -> dict:
        """Read how a picture was made: from the text that this studio, AUTOMATIC1111, ComfyUI, InvokeAI and Fooocus leave in it.

        Args:
            picture: A PNG, or a JPEG or WebP with the text in its EXIF comment. An upload, or by MCP its address here or the
                picture itself as a data: URI; other addresses are not fetched.

        Returns:
            The program that wrote it ("" for none); the recipe as it can be made here (null for none); what was understood,
            field by field; notes on what was not; what differs here; and the text itself.
        """
        try:
            found = restored.from_picture(uploaded(picture), engine.pipe)
        except Exception as error:
            raise controls.fault(error) from None
        recipe = found.recipe and found.recipe.model_dump(mode="json")
        return found.view | {"recipe": recipe, "understood": dict(found.understood)}

    return read_png
