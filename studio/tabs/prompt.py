"""The first tab: words in, a picture out, and everything that decides it within reach.

At first there is a box for words and the place where the picture appears; what the model reads, a picture to start from, another
prompt beside the first and a picture's own recipe open on demand. The views' scripts fill them with text and image addresses
only, never with HTML, because prompts are written by strangers. `/generate` and `/read_png` do the same for programs.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from core.recipe import MAX_TEXT, Recipe
from studio.endpoints.generate import generate_endpoint, read_endpoint
from studio.handlers.desk import Desk
from studio.service.engine import Engine
from studio.widgets import controls
from studio.widgets.base import ENGINE, PRIVATE, asset, scripts
from studio.widgets.kept import unseen
from studio.widgets.settings import Settings

IDLE = {"state": "idle", "line": "Say what you would like to see, and press Generate."}
QUICK: dict[str, Any] = PRIVATE | {"concurrency_limit": None}  # no device is needed


def tab(engine: Engine, demo: gr.Blocks) -> Settings:
    """Lay out the tab and connect it with the engine."""
    tried = controls.examples(engine)
    with gr.Row(elem_id="desk"):
        with gr.Column(elem_id="ask"):
            prompt = controls.prompt_box(tried[0])
            with gr.Row(elem_id="buttons"):
                go = gr.Button("Generate", variant="primary", elem_id="generate")
                halt = gr.Button("Stop", interactive=False, elem_id="stop")
            gr.Examples([[text] for text in tried], [prompt], label="Try", api_visibility="private")
        with gr.Column(elem_id="show"):
            stage, visit, text, link, reader = shown()
        with gr.Column(elem_id="settings"):
            words, board, board_box, strength, other, other_box = on_demand()
            sampler = controls.sampler_widgets()
            steps = controls.number_slider("steps", "Steps", most=100)
            gamma, _ = controls.gamma_slider()
            with gr.Row(elem_id="seeds"):
                seed = controls.seed_box()
                keep = gr.Button("Keep this seed", size="sm", elem_id="keep")
            batch = controls.number_slider("batch", "Pictures", most=4)
            force = gr.Markdown("", elem_id="in-force")
            clear = gr.Button("Clear what has no control here", size="sm", visible=False, elem_id="clear-rest")
            with gr.Accordion("More", open=False):
                negative = controls.negative_box()
                spacing = controls.spacing_choice(engine.pipe.complete(Recipe(prompt="")).spacing or "leading")
    fields = {
        "prompt": prompt, "negative": negative, "spacing": spacing, "steps": steps, "gamma": gamma, "seed": seed,
        "batch": batch, "strength": strength,
    }  # fmt: skip
    rest, made, kept = gr.State({}), gr.State(""), unseen(gr.Textbox, "", "What has no control here", elem_id="rest")
    desk = Desk(engine, fields, sampler, stage, board, board_box, visit, reader, go, halt, text, link, made)
    inputs = [rest, board, other, *fields.values(), *sampler.inputs]
    outputs = [stage, go, halt, text, link, made, visit]
    filled = [rest, other, *fields.values(), *sampler.inputs]
    press: dict[str, Any] = ENGINE | PRIVATE | {"api_name": "press"}  # /generate is the endpoint's
    gr.on([go.click, prompt.submit, other.submit], desk.generate, inputs, outputs, trigger_mode="once", **press)
    halt.click(desk.stop, queue=False, **PRIVATE)
    keep.click(desk.keep, made, seed, queue=False, **PRIVATE)
    prompt.change(None, js="() => { document.dispatchEvent(new Event('prompt')); }", **PRIVATE)
    words.input(desk.read_words, None, words, queue=False, trigger_mode="always_last", **PRIVATE)
    gr.on([board.upload, stage.select], desk.take, rest, [board, board_box], **QUICK)
    visit.select(desk.reopen, None, [board, *filled], **QUICK).success(desk.generate, inputs, outputs, **press)
    reader.upload(desk.read, board, [reader, *filled], **QUICK)
    other.change(lambda text: gr.update(open=True) if text else gr.skip(), other, other_box, queue=False, **PRIVATE)
    rest.change(desk.in_force, rest, [force, clear, kept], queue=False, **PRIVATE)
    clear.click(lambda: {}, None, rest, **QUICK)  # past the queue, no state would be told of as changed
    gr.api(generate_endpoint(engine), api_name="generate", **ENGINE)
    gr.api(read_endpoint(engine), api_name="read_png", concurrency_limit=None)
    return Settings(fields, sampler, view={"other": other}, rest=rest, kept=kept, made=made)


def shown() -> tuple[Any, ...]:
    """The stage, the pictures of this visit, and on demand the recipe of the last picture and that of any other."""
    stage, visit = view("stage", IDLE), view("visit", None)
    with gr.Accordion("Recipe", open=False, elem_id="recipe"):
        still: dict[str, Any] = {"buttons": ["copy"], "interactive": False}
        text = gr.Textbox(label="As other programs read it", lines=4, elem_id="infotext", **still)
        link = gr.Textbox(label="Link to this picture", max_lines=1, elem_id="link", **still)
    with gr.Accordion("Take a recipe from a picture", open=False, elem_id="take"):
        reader = view("reader", {}, "drop")
    return stage, visit, text, link, reader


def on_demand() -> tuple[Any, ...]:
    """What a prompt becomes, a picture to start from, and another prompt beside the first."""
    with gr.Accordion("What the model reads", open=False, elem_id="reads"):
        words = view("words", {})
    with gr.Accordion("Start from a picture", open=False, elem_id="start") as board_box:
        board = view("board", None, "drop", picture=None)
        strength = controls.number_slider("strength", "Strength", step=0.05)
    with gr.Accordion("Another prompt beside it", open=False, elem_id="beside") as other_box:
        other = gr.Textbox("", label="The other prompt", lines=1, max_lines=6, max_length=MAX_TEXT, elem_id="other",
                           info="The same noise and settings under other words: what differs, the words did.")  # fmt: skip
    return words, board, board_box, strength, other, other_box


def view(name: str, value: Any, *before: str, **props: Any) -> gr.HTML:
    """A view with its template and script from assets; scripts that it shares come before its own."""
    return gr.HTML(value, html_template=asset(f"{name}.html"), js_on_load=scripts(*before, name), elem_id=name,
                   apply_default_css=False, **props)  # fmt: skip
