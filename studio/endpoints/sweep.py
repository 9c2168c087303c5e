"""The function behind `/guidance_sweep`: the sweep of the guidance tab for programs, its choices read from the registries."""

# No `from __future__ import annotations`: Gradio reads the types of the endpoint as objects.
import inspect
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio.data_classes import FileData

from core.errors import UserError
from core.recipe import allowed, clean_text
from core.sampling import SAMPLERS
from core.schedules import SPACINGS
from studio.figures import guidance as figures
from studio.formats.whole import write_png
from studio.service.engine import Engine
from studio.service.jobs import Done, Failed, Queued, Stopped
from studio.widgets import controls
from studio.work.sweep import Progress, Sweep, numbers, swept


def endpoint(engine: Engine) -> Callable[..., Any]:
    """The function behind `/guidance_sweep`."""

    async def guidance_sweep(
        request: gr.Request,
        prompts: list[str],
        gammas: list[float],
        seeds: int = 4,
        seed: int = 1,
        negative: str = "",
        sampler: Literal[tuple(SAMPLERS)] = allowed("sampler")["default"],  # type: ignore[valid-type]
        spacing: Literal[("model", *SPACINGS)] = "model",  # type: ignore[valid-type]
        steps: int = 12,
        interval: list[float] | None = None,
        rescale: float = 0,
        label: str = "",
    ) -> AsyncIterator[Any]:
        """Make the same pictures at several guidance scales, and measure how well they fit the words and how much they differ.

        Args:
            prompts: What the pictures show, 1 to 3 texts.
            gammas: Guidance scales, 1 to 9 different numbers from -1 to 49; the CFG scale of other programs is 1 + gamma.
            seeds: How many pictures for every prompt and scale, 1 to 8.
            seed: The first seed; the others follow it.
            negative: What the pictures should not show; takes the place of the empty prompt.
            sampler: How to move from one noise level to the next.
            spacing: Where the steps lie; "model" for what the model's own configuration says.
            steps: How many times the sampler moves, 1 to 1000.
            interval: [low, high]: guide only where low <= sigma/alpha <= high; nothing for everywhere.
            rescale: Share of the rescaled prediction, 0 to 1.
            label: A class of the model's classifier whose probability is measured too; "auto" for what each prompt names.

        Returns:
            All pictures as one PNG, a row a scale.
            One entry a scale: gamma, cfg_scale, and [value, low, high] of the CLIP score, of 1 - cos between the pictures'
            features (diversity) and of the class's probability, with 95 % intervals over seeds; spread, the standard
            deviation of the finished latents. While it runs: where it stands.
        """
        given = {"negative": negative, "sampler": sampler, "spacing": spacing, "steps": steps, "seed": seed, "batch": seeds}
        try:
            guidance = {"interval": interval, "rescale": rescale}
            base = engine.pipe.complete(controls.recipe_of(prompt="", guidance=guidance, **given))
            asked = Sweep(base, texts(prompts), numbers(scales(gammas)), label)
            with engine.compute(lambda: swept(engine, asked), controls.visitor(request), asked.cost) as job:
                async for event in job:
                    if isinstance(event, (Failed, Stopped)):
                        raise UserError(event.sentence if isinstance(event, Failed) else "Stopped on request.")
                    with tempfile.TemporaryDirectory() as folder:
                        yield answer(event, asked, Path(folder))
        except Exception as error:
            raise controls.fault(error) from None

    # An asynchronous generator's outputs are what it yields, which its annotation cannot say to Gradio.
    guidance_sweep.__signature__ = inspect.signature(guidance_sweep).replace(  # type: ignore[attr-defined]
        return_annotation=tuple[dict, dict]
    )
    return guidance_sweep


def texts(prompts: Any) -> tuple[str, ...]:
    """A list of texts from a program; raises UserError."""
    if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
        raise UserError('prompts must be a list of texts, such as ["a red apple"].')
    return tuple(map(clean_text, prompts))


def scales(gammas: Any) -> str:
    """A list of numbers from a program, as they would be typed; raises UserError."""
    if not isinstance(gammas, list) or any(isinstance(g, bool) or not isinstance(g, int | float) for g in gammas):
        raise UserError("gammas must be a list of numbers, such as [0, 2, 6].")
    return " ".join(map(repr, gammas))


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
