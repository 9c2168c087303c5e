"""The perfect denoiser of the training pictures beside the network, at every step of a run."""

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
from studio.widgets.checks import one_of, whole
from studio.widgets.settings import Settings
from studio.work.labs import compared, errors_against_t

MOST_STEPS = 50
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
        steps = gr.Slider(2, MOST_STEPS, 20, step=1, label="Steps of DDIM", scale=2, elem_id="perfect-steps")
        gamma = gr.Slider(-1, 14, 2, step=0.5, label="Guidance γ", scale=2, elem_id="perfect-gamma")
        seed = gr.Textbox("3", label="Seed", max_lines=1, max_length=20, scale=1, elem_id="perfect-seed")
    among = gr.Radio([("all training pictures", ALL), ("those that the prompt names", NAMED)], value=ALL, elem_id="perfect-among",
                     label="The perfect denoiser knows")  # fmt: skip
    pair = buttons("Compare", "perfect")
    run = worked(engine, canvas("perfect", "labs-perfect", {"idle": IDLE}), pair)
    gr.Markdown(error_text, elem_classes="lesson", latex_delimiters=LATEX)
    pair = buttons("Measure", "errors")
    curve = worked(engine, canvas("errors", "labs", {}), pair)

    def work(prompt: Any, steps: Any, gamma: Any, seed: Any, among: Any) -> tuple[Any, float]:
        steps = whole("steps", steps, 2, MOST_STEPS)
        recipe = controls.recipe_of(prompt=prompt, steps=steps, gamma=gamma, seed=seed, sampler="ddim")
        return functools.partial(compared, engine, recipe, one_of("among", among, (ALL, NAMED)) == NAMED), 3 * cost(recipe)

    async def compare(request: gr.Request, *values: Any) -> AsyncIterator[dict[Any, Any]]:
        async for update in run.follow(request, lambda: work(*values)):
            yield update

    async def measure(request: gr.Request) -> AsyncIterator[dict[Any, Any]]:
        async for update in curve.follow(request, lambda: (functools.partial(errors_against_t, engine.pipe), PRICE)):
            yield update

    run.go.click(compare, [prompt, steps, gamma, seed, among], run.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    curve.go.click(measure, None, curve.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    return Settings({"prompt": prompt, "steps": steps, "gamma": gamma, "seed": seed}, view={"among": among})
