"""The function behind `/sampler_race`: the race of the Samplers tab for programs, its choices read from the registries."""

# No `from __future__ import annotations`: Gradio reads the types of the endpoint as objects.
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import gradio as gr

from core.errors import UserError
from core.recipe import allowed
from core.sampling import SAMPLERS
from core.tradeoff import STEPS, Point
from studio.figures import samplers as figures
from studio.service.engine import Engine
from studio.service.jobs import Done, Failed, Stopped
from studio.widgets import controls
from studio.widgets.status import followed
from studio.work.contests import MODEL, PLANAR, race_work


def endpoint(engine: Engine) -> Callable[..., Any]:
    """The function behind `/sampler_race`, its choices read from the registries."""

    async def sampler_race(
        request: gr.Request,
        on: Literal[(*PLANAR, MODEL)] = "ring",  # type: ignore[valid-type]
        samplers: list[str] | None = None,
        steps: list[int] | None = None,
        prompt: str = "a red apple",
        gamma: float = allowed("gamma")["default"],
        seed: int = 7,
    ) -> AsyncIterator[Any]:
        """Race diffusion samplers: error against network evaluations, with the order of convergence that fits.

        Args:
            on: An exact two-dimensional mixture (seconds), or "model" for the loaded model (minutes).
            samplers: Ids of samplers; nothing for all. On the model only deterministic ones are compared.
            steps: How many steps each of them takes, in turn; nothing for 5 to 320, on the model 5 to 40.
            prompt: What the picture shows, on the model.
            gamma: Guidance scale on the model, -1 to 49; the CFG scale of other programs is 1 + gamma.
            seed: Decides the noise on the model, 0 to 2**64-1; -1 draws one.

        Returns:
            points with sampler, steps, nfe and error; orders, measured and declared; before, where it stands.
        """
        counts = steps or ([5, 10, 20, 40] if on == MODEL else list(STEPS))
        try:
            recipe = controls.recipe_of(prompt=prompt, gamma=gamma, seed=seed)
            work, cost = race_work(engine, on, samplers or list(SAMPLERS), counts, recipe)
            with engine.compute(work, controls.visitor(request), cost) as job:
                async for event, view in followed(job, {}, lambda value: value[0]):
                    if isinstance(event, (Failed, Stopped)):
                        raise UserError(event.sentence if isinstance(event, Failed) else "Stopped on request.")
                    yield race_answer(event.value[1]) if isinstance(event, Done) else view.get("status", {})
        except Exception as error:
            raise controls.fault(error) from None

    # An asynchronous generator's outputs are what it yields, which its annotation cannot say to Gradio.
    sampler_race.__signature__ = inspect.signature(sampler_race).replace(return_annotation=dict)  # type: ignore[attr-defined]
    return sampler_race


def race_answer(points: list[Point]) -> dict[str, Any]:
    """A finished race as the endpoint tells it."""
    made = figures.lines(points, lambda *_: "")
    orders = {line["name"]: {"measured": line["fit"] and line["fit"]["order"], "declared": line["declared"]} for line in made}
    return {"state": "done", "points": [point._asdict() for point in points], "orders": orders}
