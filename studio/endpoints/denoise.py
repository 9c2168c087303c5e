"""The function behind `/denoise`: one run as a film for programs, with the numbers of every step."""

# No `from __future__ import annotations`: Gradio reads the types of the endpoint as objects.
import asyncio
import inspect
import tempfile
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio.data_classes import FileData

from core.errors import UserError
from core.recipe import Recipe, allowed
from core.sampling import SAMPLERS
from core.schedules import SPACINGS
from studio.formats import movie
from studio.handlers.darkroom import FORMS, told, written
from studio.service.engine import Engine, cost
from studio.service.jobs import Done, Failed, Run, Stopped
from studio.widgets import controls
from studio.work import film


def endpoint(engine: Engine) -> Callable[..., Any]:
    """The function behind `/denoise`, its choices read from the registries."""
    default = {name: allowed(name)["default"] for name in ("sampler", "steps", "gamma", "rng")}

    async def denoise(
        request: gr.Request,
        prompt: str,
        negative: str = "",
        sampler: Literal[tuple(SAMPLERS)] = default["sampler"],  # type: ignore[valid-type]
        knobs: dict | None = None,
        spacing: Literal[("model", *SPACINGS)] = "model",  # type: ignore[valid-type]
        steps: int = default["steps"],
        gamma: float = default["gamma"],
        seed: int = -1,
        width: int | None = None,
        height: int | None = None,
        rng: Literal["nv", "cpu"] = default["rng"],
        branch: dict | None = None,
        form: Literal[tuple(FORMS.values())] = "gif",  # type: ignore[valid-type]
    ) -> AsyncIterator[Any]:
        """Make one picture and tell every step of the way: noise levels, norms, and the terms that each move is the sum of.

        Args:
            prompt: What the picture shows, at most 2,000 characters; empty for an unconditional picture.
            negative: What it should not show; takes the place of the empty prompt in guidance.
            sampler: How to move from one noise level to the next.
            knobs: The sampler's own settings, such as {"eta": 0.5}; what is left out has its default.
            spacing: Where the steps lie; "model" for what the model's own configuration says.
            steps: How many times the sampler moves, 1 to 1000.
            gamma: Guidance scale, -1 to 49; the CFG scale of other programs is 1 + gamma.
            seed: Decides the noise, 0 to 2**64-1; -1 draws one.
            width: In pixels, a multiple of 8; nothing for the model's own size.
            height: In pixels, a multiple of 8; nothing for the model's own size.
            rng: Whose random numbers the seed means: nv as on a GPU, cpu as PyTorch's CPU generator.
            branch: What changes in the middle, such as {"step": 8, "changes": {"prompt": "a pear"}}; nothing for one run.
            form: The film as a gif, an animated webp, an mp4 (needs PyAV), or a sheet with all frames as PNG.

        Returns:
            The film as a file: x_t and the predicted clean picture of every step.
            The recipe, network evaluations (nfe), seconds, and for every frame its numbers; before, where it stands.
        """
        given = {"negative": negative, "sampler": sampler, "knobs": knobs or {}, "spacing": spacing, "steps": steps}
        given |= {"gamma": gamma, "seed": seed, "width": width, "height": height, "rng": rng, "branch": branch}
        try:
            recipe = engine.pipe.complete(controls.recipe_of(prompt=prompt, **given))
            with tempfile.TemporaryDirectory() as folder:
                async for answer in answers(engine, recipe, form, controls.visitor(request), Path(folder)):
                    yield answer
        except Exception as error:
            raise controls.fault(error) from None

    # An asynchronous generator's outputs are what it yields, which its annotation cannot say to Gradio.
    outputs = inspect.signature(denoise).replace(return_annotation=tuple[dict, dict])
    denoise.__signature__ = outputs  # type: ignore[attr-defined]
    return denoise


async def answers(engine: Engine, recipe: Recipe, form: str, visitor: str, folder: Path) -> AsyncIterator[Any]:
    """What the endpoint says while it works, and at last the film and its numbers."""
    if form not in FORMS.values():
        raise UserError(f"form is {str(form)[:40]!r}; it must be one of {', '.join(FORMS.values())}.")
    movie.possible(form)
    with engine.compute(lambda: filmed(engine, recipe), visitor, 2 * cost(recipe)) as job:
        async for event in job:
            if isinstance(event, (Failed, Stopped)):
                raise UserError(event.sentence if isinstance(event, Failed) else "Stopped on request.")
            if not isinstance(event, Done):
                yield None, {name: value for name, value in told(event, {}).items() if name in ("state", "line")}
    run, done, frames = event.value
    path = await asyncio.to_thread(written, form, done, recipe, folder)
    yield FileData(path=str(path)).model_dump(), {
        "state": "done", "recipe": recipe.model_dump(mode="json"), "nfe": run.nfe, "seconds": round(run.seconds, 3),
        "frames": frames, "notes": list(run.notes),
    }  # fmt: skip


def filmed(engine: Engine, recipe: Recipe) -> Generator[Any, None, tuple[Run, film.Cut, list[dict[str, Any]]]]:
    """A run with its pictures and numbers, for the endpoint."""
    run = yield from engine.run(recipe)
    about = film.film(engine.pipe, run.recipe, run.steps)["frames"]
    return run, (yield from film.cut(engine.pipe, run.recipe, run.steps)), about
