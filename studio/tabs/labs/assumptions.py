"""The six assumptions of the framework, each with what justifies it and what limits it, measured on the spot."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from core.assumptions.line import Line
from core.assumptions.moves import lost, posterior
from core.schedules import CLEAN
from core.toy import two_peaks
from studio.figures import labs as figures
from studio.service.engine import Engine
from studio.tabs.labs.desk import PRICE, buttons, canvas, worked
from studio.widgets import controls
from studio.widgets.base import ENGINE, LATEX, PRIVATE, texts
from studio.widgets.checks import one_of, real
from studio.widgets.settings import Settings
from studio.widgets.uploads import SafeImage
from studio.work.closed_world import measured
from studio.work.labs import ASSUMPTIONS, of

if TYPE_CHECKING:
    from PIL.Image import Image

WORLD, SMALL = "world", "small"
CHOICES = (("1 Gaussian forward process", "forward"), ("2 Small steps", SMALL), ("3 Markov structure", "markov"),
           ("4 Gaussian reverse", "reverse"), ("5 Universal approximation", "approximation"),
           ("6 Closed world", WORLD))  # fmt: skip
IDLE = {"idle": "Make up your mind what the curves will look like; then press Measure."}
TEXTS = dict(zip((name for _, name in CHOICES), texts("labs-assumptions"), strict=True))


def page(engine: Engine) -> Settings:
    """Lay out the choice of assumptions, what it can be given, and its curves."""
    chosen = gr.Radio(list(CHOICES), value="forward", label="Assumption", elem_id="labs-assumption")
    lesson = gr.Markdown(TEXTS["forward"], elem_classes="lesson", latex_delimiters=LATEX, elem_id="labs-assumption-text")
    with gr.Row(visible=False) as small:
        beta = gr.Slider(0.001, 0.5, 0.2, step=0.001, label="β of one step", elem_id="labs-beta")
        at = gr.Slider(-2, 2, 0.1, step=0.05, label="xₜ: where the step begins", elem_id="labs-x")
    with gr.Row(visible=False) as world:
        own = SafeImage(label="Your own picture, if you like: PNG, JPEG or WebP", height=180, elem_id="labs-own")
    one = canvas("posterior", "labs", {})
    pair = buttons("Measure", "assumption")
    made = worked(engine, canvas("curves", "labs", IDLE, chosen="forward"), pair)

    def choose(name: Any, beta: Any, at: Any) -> list[Any]:
        name = name if name in TEXTS else "forward"
        first = one_step(beta, at) if name == SMALL else {}
        return [TEXTS[name], gr.update(visible=name == SMALL), gr.update(visible=name == WORLD), first, gr.update(chosen=name)]

    async def measure(request: gr.Request, name: Any, image: Any) -> AsyncIterator[dict[Any, Any]]:
        async for update in made.follow(request, lambda: (work_of(engine, name, image), PRICE)):
            yield update

    chosen.change(choose, [chosen, beta, at], [lesson, small, world, one, made.stage], queue=False, **PRIVATE)
    moved = [part for slider in (beta, at) for part in (slider.change, slider.release)]
    gr.on(moved, one_step, [beta, at], one, queue=False, trigger_mode="always_last", **PRIVATE)
    made.go.click(measure, [chosen, own], made.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    return Settings(view={"assumption": chosen, "beta": beta, "x": at})


def work_of(engine: Engine, name: Any, image: Image | None) -> Any:
    """The work of one assumption; raises UserError for none of them."""
    name = one_of("assumption", name, TEXTS)
    return functools.partial(of, name, ASSUMPTIONS[name] if name != WORLD else functools.partial(measured, engine.pipe, image))


def one_step(beta: Any, at: Any) -> dict[str, Any]:
    """The exact posterior of one reverse step to the data, and its Gaussian."""
    try:
        beta, at = real("β", beta, 0.001, 0.5), real("x_t", at, -2, 2)
        q = posterior(Line.of(two_peaks(), CLEAN), beta, np.array([at]))
        row = Line(*(part[0] for part in q))
        mean, spread = float(row.weights @ row.means), row.variance**0.5
        y = np.linspace(mean - 4.5 * spread, mean + 4.5 * spread, 121)
        gaussian = Line(np.ones(1), np.array([mean]), np.array([spread])).density(y)
        return {"charts": [figures.posterior_chart(y, row.density(y), gaussian, float(lost(q)[0]), beta, at)]}
    except Exception as error:
        raise controls.fault(error) from None
