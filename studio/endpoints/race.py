"""The function behind `/sampler_race`: the race of the Samplers tab for programs, its choices read from the registries."""

# No `from __future__ import annotations`: Gradio reads the types of the endpoint as objects.
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import gradio as gr

from core.errors import UserError
from core.sampling import SAMPLERS
from core.tradeoff import STEPS, Point
from studio.endpoints.fields import asked, takes
from studio.figures import samplers as figures
from studio.service.engine import Engine
from studio.service.jobs import Done, Failed, Stopped
from studio.widgets import controls
from studio.widgets.status import followed
from studio.work.contests import COARSE, MODEL, PLANAR, noises_allowed, race_work


def endpoint(engine: Engine) -> Callable[..., Any]:
    """The function behind `/sampler_race`, its choices read from the registries."""

    @takes(dict, prompt="a red apple", seed=7, without=(
        "sampler", "knobs", "schedule", "spacing", "end", "sigmas", "steps", "batch", "image", "mask", "strength", "branch",
    ))  # fmt: skip
    async def sampler_race(
        request: gr.Request,
        on: Literal[(*PLANAR, MODEL)] = "ring",  # type: ignore[valid-type]
        samplers: list[str] | None = None,
        steps: list[int] | None = None,
        noises: int | None = None,
        **fields: Any,
    ) -> AsyncIterator[Any]:
        """Race diffusion samplers: error against network evaluations, with the order of convergence that fits.

        Args:
            on: An exact two-dimensional mixture (seconds), or "model" for the loaded model (minutes).
            samplers: Ids of samplers; nothing for all. On the model only deterministic ones are compared, and left_out says why.
            steps: How many steps each of them takes, in turn; nothing for 5 to 320, on the model 5 to 40.
            noises: How many starting noises a race on the model has, from the seed on; nothing for 4, or fewer of large pictures.
            fields: Those of Recipe; they count on the model.

        Returns:
            points with sampler, steps, nfe, error and its interval; orders, measured with their interval and declared; left_out;
            before, where it stands.
        """
        counts = steps or list(COARSE if on == MODEL else STEPS)
        noises = noises_allowed(engine) if noises is None else noises
        recipe, _ = await asked(engine, fields)
        work, cost = race_work(engine, on, samplers or list(SAMPLERS), counts, noises, recipe)
        with engine.compute(work, controls.visitor(request), cost) as job:
            async for event, view in followed(job, {}, lambda value: value[0]):
                if isinstance(event, (Failed, Stopped)):
                    raise UserError(event.sentence if isinstance(event, Failed) else "Stopped on request.")
                yield race_answer(*event.value) if isinstance(event, Done) else view.get("status", {})

    return sampler_race


def race_answer(view: dict[str, Any], points: list[Point]) -> dict[str, Any]:
    """A finished race as the endpoint tells it."""
    made = figures.lines(points, lambda *_: "")
    orders = {line["name"]: {"measured": line["fit"] and line["fit"]["order"], "between": line["fit"] and line["fit"]["between"],
                             "declared": line["declared"]} for line in made}  # fmt: skip
    return {"state": "done", "points": [figures.numbers_of(point) for point in points], "orders": orders,
            "left_out": view.get("left", "")}  # fmt: skip
