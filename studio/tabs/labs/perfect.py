"""The perfect denoiser of the training pictures beside the network, at every step of a run, and each alone to its end."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from core.recipe import MAX_TEXT
from studio.service.engine import Engine, cost
from studio.tabs.labs.desk import PRICE, buttons, canvas, worked
from studio.widgets import controls
from studio.widgets.base import ENGINE, LATEX, PRIVATE, texts
from studio.widgets.checks import one_of
from studio.widgets.kept import remembered, unseen
from studio.widgets.settings import Settings
from studio.work.perfect import compared, errors_against_t

ALL, NAMED = "all", "named"
IDLE = "Press Compare: one run, and at each of its steps what the network and what the perfect denoiser take the picture for."


def page(engine: Engine) -> Settings:
    """Lay out the run's settings, the steps side by side, and the error against t."""
    text, error_text = texts("labs-perfect")
    if lacks := engine.pipe.extras.missing("latents"):
        gr.Markdown(lacks, elem_classes="lesson")
        return Settings()
    gr.Markdown(text, elem_classes="lesson", latex_delimiters=LATEX)
    with gr.Row(elem_classes="labs-row"):
        prompt = gr.Textbox("red apple, flat", label="Prompt", max_lines=1, max_length=MAX_TEXT, scale=4, elem_id="perfect-prompt")
        seed = gr.Textbox("3", label="Seed", max_lines=1, max_length=20, scale=1, elem_id="perfect-seed")
    with gr.Row(elem_classes="labs-row"):
        with gr.Column():
            sampler = controls.sampler_widgets(within="perfect-")
        with gr.Column():
            steps = controls.number_slider("steps", "Steps", most=100, within="perfect-")
        with gr.Column():
            gamma, _ = controls.gamma_slider(within="perfect-")
    among = gr.Radio([("all training pictures", ALL), ("those that the prompt names", NAMED)], value=ALL, elem_id="perfect-among",
                     label="The perfect denoiser knows")  # fmt: skip
    pair = buttons("Compare", "perfect")
    run = worked(engine, canvas("perfect", "labs-perfect", {"idle": IDLE}), pair)
    step = remembered(run.stage, step=unseen(gr.Number, 0, "Step that is shown", minimum=0, precision=0))
    gr.Markdown(error_text, elem_classes="lesson", latex_delimiters=LATEX)
    pair = buttons("Measure", "errors")
    curve = worked(engine, canvas("errors", "labs", {}), pair)
    rest, fields = gr.State({}), {"prompt": prompt, "steps": steps, "gamma": gamma, "seed": seed}

    def work(rest: dict[str, Any], among: Any, *values: Any) -> tuple[Any, float]:
        plain, (chosen, *knobs) = values[: len(fields)], values[len(fields) :]
        made = dict(zip(fields, plain, strict=True)) | {"sampler": chosen, "knobs": sampler.values(chosen, knobs)}
        recipe = controls.recipe_of(**rest | made)
        return functools.partial(compared, engine, recipe, one_of("among", among, (ALL, NAMED)) == NAMED), 3 * cost(recipe)

    async def compare(request: gr.Request, *values: Any) -> AsyncIterator[dict[Any, Any]]:
        async for update in run.follow(request, lambda: work(*values)):
            yield update

    async def measure(request: gr.Request) -> AsyncIterator[dict[Any, Any]]:
        async for update in curve.follow(request, lambda: (functools.partial(errors_against_t, engine.pipe), PRICE)):
            yield update

    asked = [rest, among, *fields.values(), *sampler.inputs]
    run.go.click(compare, asked, run.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    curve.go.click(measure, None, curve.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    return Settings(fields, sampler, {"among": among, **step}, rest)
