"""The function behind `/guidance_sweep`: the sweep of the guidance tab for programs."""

# No `from __future__ import annotations`: Gradio reads the types of the endpoint as objects.
import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from core.errors import UserError
from core.recipe import allowed, clean_text
from studio.endpoints.fields import asked, takes
from studio.figures import guidance as figures
from studio.formats.whole import write_png
from studio.service.engine import Engine
from studio.service.jobs import Done, Failed, Queued, Stopped
from studio.widgets import controls
from studio.widgets.checks import real
from studio.work.sweep import Progress, Sweep, numbers, swept


def endpoint(engine: Engine) -> Callable[..., Any]:
    """The function behind `/guidance_sweep`."""

    @takes(tuple[dict, dict], steps=12, seed=1,
           without=("prompt", "gamma", "guidance", "batch", "image", "mask", "strength", "branch"))  # fmt: skip
    async def guidance_sweep(
        request: gr.Request,
        prompts: list[str],
        gammas: list[float],
        seeds: int = 4,
        interval: list[float] | None = None,
        rescale: float = 0,
        label: str = "",
        **fields: Any,
    ) -> AsyncIterator[Any]:
        """Make the same pictures at several guidance scales, and measure how well they fit the words and how much they differ.

        Args:
            prompts: What the pictures show, 1 to 3 texts.
            gammas: Guidance scales, 1 to 9 different numbers from -1 to 49; the CFG scale of other programs is 1 + gamma.
            seeds: How many pictures for every prompt and scale, 1 to 8.
            interval: [low, high]: guide only where low <= sigma/alpha <= high; nothing for everywhere.
            rescale: Share of the rescaled prediction, 0 to 1.
            label: A class of the model's classifier whose probability is measured too; "auto" for what each prompt names.
            fields: Those of Recipe.

        Returns:
            All pictures as one PNG, a row a scale.
            One entry a scale: gamma, cfg_scale, and [value, low, high] of the CLIP score, of 1 - cos between the pictures'
            features (diversity) and of the class's probability, with 95 % intervals over seeds; spread, the standard
            deviation of the finished latents. While it runs: where it stands.
        """
        guidance = {"interval": interval, "rescale": rescale}
        base, _ = await asked(engine, fields | {"prompt": "", "guidance": guidance, "batch": seeds})
        sweep = Sweep(engine.pipe.complete(base), texts(prompts), numbers(scales(gammas)), label)
        with engine.compute(lambda: swept(engine, sweep), controls.visitor(request), sweep.cost) as job:
            async for event in job:
                if isinstance(event, (Failed, Stopped)):
                    raise UserError(event.sentence if isinstance(event, Failed) else "Stopped on request.")
                with tempfile.TemporaryDirectory() as folder:
                    yield await asyncio.to_thread(answer, event, sweep, Path(folder))

    return guidance_sweep


def texts(prompts: Any) -> tuple[str, ...]:
    """A list of texts from a program; raises UserError."""
    if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
        raise UserError('prompts must be a list of texts, such as ["a red apple"].')
    return tuple(map(clean_text, prompts))


def scales(gammas: Any) -> str:
    """A list of numbers from a program, as they would be typed; raises UserError."""
    if not isinstance(gammas, list):
        raise UserError("gammas must be a list of numbers, such as [0, 2, 6].")
    limits = allowed("gamma")
    return " ".join(repr(real("gamma", gamma, limits["minimum"], limits["maximum"])) for gamma in gammas)


def answer(event: Any, asked: Sweep, folder: Path) -> tuple[Any, dict[str, Any]]:
    """An event as the endpoint tells it."""
    if isinstance(event, Queued):
        return None, {"state": "queued", "position": event.position, "seconds": event.seconds}
    now: Progress = event.value if isinstance(event, Done) else event
    points = [{"cfg_scale": round(1 + one["gamma"], 10)} | one for one in figures.sweep_points(now.points)]
    kept = ("gamma", "cfg_scale", "score", "diversity", "probability", "spread")
    told = {"scales": [{name: one[name] for name in kept} for one in points], "step": now.step, "steps": now.steps,
            "nfe": now.nfe, "seconds": round(now.seconds, 3), "classes": list(now.classes)}  # fmt: skip
    if not isinstance(event, Done):
        return None, {"state": "running"} | told
    path = write_png(folder / "sweep.png", figures.sheet(now.cells, asked.gammas))
    return FileData(path=str(path)).model_dump(), {"state": "done", "recipe": asked.base.model_dump(mode="json")} | told
