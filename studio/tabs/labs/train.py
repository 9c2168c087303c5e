"""Train live: a small network on points that one draws, and two small U-Nets on a handful of training pictures."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from core.live.pictures import DROPS
from core.live.points import FIELDS, MOST, SIDE
from core.recipe import MAX_TEXT
from studio.formats import dots
from studio.service.engine import USUAL, Engine
from studio.tabs.labs.desk import buttons, canvas, worked
from studio.widgets import controls
from studio.widgets.base import ENGINE, LATEX, PRIVATE, scripts, texts
from studio.widgets.checks import one_of, real, whole
from studio.widgets.kept import remembered, unseen
from studio.widgets.settings import Settings
from studio.work.train import STEPS, of_pictures, of_points

POINTS, PICTURES = "points", "emoji"
WIDTHS = ("16", "64", "128")
FIRST = "moons"
PRICES = {POINTS: 4 * USUAL, PICTURES: 24 * USUAL}  # so that a picture may pass either
IDLE = {POINTS: "Draw, and press Train: loss, field and samples appear while it learns.",
        PICTURES: "Press Train: two networks learn side by side, about a minute on two cores."}  # fmt: skip


def page(engine: Engine) -> Settings:
    """Lay out both trainings, of which one is shown."""
    about = texts("labs-train")
    what = gr.Radio([("points that you draw", POINTS), ("a handful of emoji", PICTURES)], value=POINTS, label="Train on",
                    elem_id="train-what")  # fmt: skip
    with gr.Column() as first:
        gr.Markdown(about[0], elem_classes="lesson", latex_delimiters=LATEX)
        settings = drawing(engine)
    with gr.Column(visible=False) as second:
        if lacks := engine.pipe.extras.missing("latents"):
            gr.Markdown(lacks, elem_classes="lesson")
        else:
            gr.Markdown(about[1], elem_classes="lesson", latex_delimiters=LATEX)
            settings |= handful(engine)

    def choose(what: Any) -> list[Any]:
        return [gr.update(visible=what != PICTURES), gr.update(visible=what == PICTURES)]

    what.change(choose, what, [first, second], queue=False, **PRIVATE)
    return Settings(view={"what": what, **settings})


def drawing(engine: Engine) -> dict[str, Any]:
    """The pad, the network's size, and what it learns."""
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            pad = board()
        with gr.Column(scale=1, min_width=240):
            width = gr.Radio(WIDTHS, value="128", label="Width of the network", info="two hidden layers of so many numbers",
                             elem_id="train-width")  # fmt: skip
            low, high = STEPS["points"]
            steps = gr.Slider(low, high, 3000, step=100, label="Training steps", info="256 noisy points each",
                              elem_id="train-steps")  # fmt: skip
            pair = buttons("Train", "points")
    made = worked(engine, canvas("points", "labs-points", {"idle": IDLE[POINTS]}), pair)
    most = len(FIELDS) - 1
    view = remembered(made.stage, level=unseen(gr.Number, 2, "Noise level of the field", minimum=0, maximum=most, precision=0))
    points = unseen(gr.Textbox, FIRST, "Drawn points", max_length=2 * MOST, elem_id="train-points")

    def draw(event: gr.EventData) -> str:
        data = event._data if isinstance(event._data, dict) else {}
        try:
            return one_of("shape", data["shape"], dots.SHAPES) if "shape" in data else dots.written(data.get("points"))
        except Exception as error:
            raise controls.fault(error) from None

    def show(text: Any) -> Any:
        try:
            return gr.update(points=dots.read(text))
        except Exception as error:
            raise controls.fault(error) from None

    def work(text: Any, width: Any, steps: Any) -> tuple[Any, float]:
        wide = int(one_of("width", width, WIDTHS))
        return functools.partial(of_points, dots.read(text), wide, whole("steps", steps, *STEPS["points"])), PRICES[POINTS]

    async def train(request: gr.Request, *values: Any) -> AsyncIterator[dict[Any, Any]]:
        async for update in made.follow(request, lambda: work(*values)):
            yield update

    pad.draw(draw, None, points, queue=False, **PRIVATE)
    points.change(show, points, pad, queue=False, **PRIVATE)
    made.go.click(train, [points, width, steps], made.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    return {"points": points, "width": width, "training": steps, **view}


def board() -> gr.HTML:
    """Where points are drawn; what is drawn is told by the event draw."""
    return gr.HTML(
        {}, html_template='<div class="pad"></div>', js_on_load=scripts("labs-pad"),
        apply_default_css=False, elem_id="labs-pad", points=dots.read(FIRST), shapes=list(dots.SHAPES), side=SIDE, most=MOST,
    )  # fmt: skip


def handful(engine: Engine) -> dict[str, Any]:
    """The names, how long, and what comes of it."""
    with gr.Row(elem_classes="labs-row"):
        names = gr.Textbox("red apple, rocket, cat face, tulip", label="Names of emoji, with commas", max_lines=1,
                           max_length=MAX_TEXT, scale=4, elem_id="train-names")  # fmt: skip
        low, high = STEPS["pictures"]
        steps = gr.Slider(low, high, 480, step=30, label="Training steps", info="of both networks, 14 noisy pictures each", scale=2,
                          elem_id="train-rounds")  # fmt: skip
        drop = gr.Slider(*DROPS, 0.2, step=0.05, label="Dropped captions", info="share, of the second network", scale=2,
                         elem_id="train-drop")  # fmt: skip
    pair = buttons("Train", "few")
    made = worked(engine, canvas("few", "labs-few", {"idle": IDLE[PICTURES]}), pair)

    def work(names: Any, steps: Any, drop: Any) -> tuple[Any, float]:
        text, count = str(names or "")[:MAX_TEXT], whole("steps", steps, *STEPS["pictures"])
        share = real("share of dropped captions", drop, *DROPS)
        return functools.partial(of_pictures, engine.pipe, text, count, share), PRICES[PICTURES]

    async def train(request: gr.Request, *values: Any) -> AsyncIterator[dict[Any, Any]]:
        async for update in made.follow(request, lambda: work(*values)):
            yield update

    made.go.click(train, [names, steps, drop], made.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    return {"names": names, "rounds": steps, "drop": drop}
