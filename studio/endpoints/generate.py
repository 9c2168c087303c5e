"""The functions behind `/generate` and `/read_png`: the first tab for programs, its choices read from the registries."""

# No `from __future__ import annotations`: Gradio reads the types of the endpoint as objects.
import asyncio
import inspect
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio.data_classes import FileData

from core.errors import UserError
from core.recipe import allowed
from core.sampling import SAMPLERS
from core.schedules import SPACINGS
from studio.formats.infotext import infotext
from studio.handlers import restored, stage, starts
from studio.service.engine import Engine
from studio.service.jobs import Done, Failed, Preview, Queued, Stopped
from studio.widgets import controls
from studio.widgets.uploads import uploaded


def generate_endpoint(engine: Engine) -> Callable[..., Any]:
    """The function behind `/generate`."""
    default = {name: allowed(name)["default"] for name in ("sampler", "steps", "gamma", "rng", "batch", "strength")}

    async def generate(
        request: gr.Request,
        prompt: str,
        negative: str = "",
        sampler: Literal[tuple(SAMPLERS)] = default["sampler"],  # type: ignore[valid-type]
        knobs: dict | None = None,
        spacing: Literal[("model", *SPACINGS)] = "model",  # type: ignore[valid-type]
        steps: int = default["steps"],
        gamma: float = default["gamma"],
        seed: int = -1,
        batch: int = default["batch"],
        width: int | None = None,
        height: int | None = None,
        rng: Literal["nv", "cpu"] = default["rng"],
        image: FileData = None,  # type: ignore[assignment]
        mask: FileData = None,  # type: ignore[assignment]
        strength: float = default["strength"],
    ) -> AsyncIterator[Any]:
        """Make pictures from words with the loaded diffusion model, and say how they were made.

        Args:
            prompt: What the picture shows, at most 2,000 characters; empty for an unconditional picture. Weights as in
                "a (red:1.3) apple".
            negative: What it should not show; takes the place of the empty prompt in guidance.
            sampler: How to move from one noise level to the next.
            knobs: The sampler's own settings, such as {"eta": 0.5}; what is left out has its default.
            spacing: Where the steps lie; "model" for what the model's own configuration says.
            steps: How many times the sampler moves, 1 to 1000.
            gamma: Guidance scale, -1 to 49; the CFG scale of other programs is 1 + gamma.
            seed: Decides the noise, 0 to 2**64-1; picture i of a batch has seed + i; -1 draws one.
            batch: How many pictures.
            width: In pixels, a multiple of 8; nothing for the model's own size.
            height: In pixels, a multiple of 8; nothing for the model's own size.
            rng: Whose random numbers the seed means: nv as on a GPU, cpu as PyTorch's CPU generator.
            image: A PNG, JPEG or WebP to start from, its middle cut to the shape of the result; nothing to start from noise. An
                upload, or by MCP its address here or the picture itself as a data: URI; other addresses are not fetched.
            mask: A picture of what to paint anew in the image: white is painted anew, black kept, grey in that proportion.
                Handed in as the image is.
            strength: How much of the image may change, 0 to 1: the share of the steps that are run, at least one.

        Returns:
            The first picture as a PNG with its recipe inside.
            All pictures, the recipe, its text form, network evaluations (nfe), seconds, notes; before, where it stands.
        """
        given = {"prompt": prompt, "negative": negative, "sampler": sampler, "knobs": knobs or {}, "spacing": spacing}
        given |= {"steps": steps, "gamma": gamma, "seed": seed, "batch": batch, "width": width, "height": height, "rng": rng}
        try:
            async for told in answers(engine, given | {"strength": strength}, image, mask, controls.visitor(request)):
                yield told
        except Exception as error:
            raise controls.fault(error) from None

    # An asynchronous generator's outputs are what it yields, which its annotation cannot say to Gradio.
    outputs = inspect.signature(generate).replace(return_annotation=tuple[dict, dict])
    generate.__signature__ = outputs  # type: ignore[attr-defined]
    return generate


async def answers(engine: Engine, given: dict[str, Any], image: Any, mask: Any, visitor: str) -> AsyncIterator[Any]:
    """What `/generate` says while it works, and at last the pictures and how they were made."""
    recipe = controls.recipe_of(**given)
    size = recipe.width or engine.pipe.size, recipe.height or engine.pipe.size
    start = await asyncio.to_thread(starts.from_files, image, mask, size)
    recipe = recipe.replace(**start.fields) if start else recipe.replace(strength=allowed("strength")["default"])
    pictures = start.pictures if start else None
    model_hash = await asyncio.to_thread(lambda: engine.pipe.hash)  # it may read the whole file
    with engine.submit(recipe, visitor, pictures) as job, tempfile.TemporaryDirectory() as folder:
        async for event in job:
            if isinstance(event, (Failed, Stopped)):
                raise UserError(event.sentence if isinstance(event, Failed) else "Stopped on request.")
            yield answer(event, Path(folder), model_hash, start)


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
