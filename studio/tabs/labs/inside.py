"""Inside the U-Net: its map to click, what a part does at a step of a run, and what is lost when it is switched off."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from core.errors import UserError
from core.inside.doubling import DRAWS, SIDES
from core.recipe import MAX_TEXT, Recipe
from studio.figures import inside as figures
from studio.service.engine import Engine, cost
from studio.service.jobs import Done, Failed
from studio.tabs.labs.desk import PRICE, buttons, canvas, worked
from studio.widgets import controls
from studio.widgets.base import ENGINE, LATEX, PRIVATE, texts
from studio.widgets.checks import one_of, real, whole
from studio.widgets.kept import remembered, unseen
from studio.widgets.settings import Settings
from studio.widgets.subpage import Page
from studio.work import inside as work

MOST_STEPS = 50
FIRST = "mid_block.attentions.0"
OFF = (("the part chosen on the map", work.CHOSEN), ("skips, level by level", "skips"), ("the bottleneck (the middle)", "middle"),
       ("attention, level by level", "attention"), ("self-attention only, level by level", "self"),
       ("cross-attention only, level by level", "cross"), ("the time embedding", "time"),
       ("a word of the prompt, one after the other", "words"))  # fmt: skip
IDLE = {"idle": "Every box of the map can be clicked. Press Run: then it shows what it puts out at each step."}


def page(engine: Engine) -> Settings:
    """Lay out the run's settings, the map with the part chosen on it, and what can be switched off."""
    text, off_text, doubling_text = texts("labs-inside")
    gr.Markdown(text, elem_classes="lesson", latex_delimiters=LATEX)
    with gr.Row(elem_classes="labs-row"):
        prompt = gr.Textbox("red apple, flat", label="Prompt", max_lines=1, max_length=MAX_TEXT, scale=4, elem_id="inside-prompt")
        steps = gr.Slider(2, MOST_STEPS, 20, step=1, label="Steps of DDIM", scale=2, elem_id="inside-steps")
        gamma = gr.Slider(-1, 14, 2, step=0.5, label="Guidance γ", scale=2, elem_id="inside-gamma")
        seed = gr.Textbox("3", label="Seed", max_lines=1, max_length=20, scale=1, elem_id="inside-seed")
    held, pair = gr.State(None), buttons("Run", "inside")
    with gr.Row(elem_classes="labs-row"):
        part = gr.Dropdown(figures.choices(engine.pipe.unet), value=FIRST, label="Part", scale=3, elem_id="inside-part")
        step = gr.Slider(1, MOST_STEPS, 8, step=1, label="Step of the run", scale=2, elem_id="inside-step")
    shown = canvas("inside", "labs-inside", IDLE, look=None, heat=None, chosen=[FIRST, 8])
    run = worked(engine, shown, pair)
    down, right = (unseen(gr.Number, -1, f"Clicked position: {side}", minimum=-1, maximum=1) for side in ("down", "right"))
    pixel = remembered(shown, pixel_down=down, pixel_right=right)
    kernels = doubling(part, doubling_text)
    gr.Markdown(off_text, elem_classes="lesson", latex_delimiters=LATEX)
    what = gr.Dropdown(list(OFF), value="skips", label="Switch off", elem_id="inside-off")
    pair = buttons("Measure", "switched")
    switched = worked(engine, canvas("switched", "labs-switched", {}), pair)
    settings, place = [prompt, steps, gamma, seed], [held, part, step]
    ran = running(engine, run, held, settings)
    looking(engine, shown, place, ran)
    for event in (steps.change, shown.open):  # of a link too, which brings a step of its own
        event(ended, steps, step, queue=False, **PRIVATE)
    steps.input(ended, [steps, step], step, queue=False, **PRIVATE)
    switching(engine, switched, [what, part, step, *settings])
    view = {"scene": prompt, "scene_steps": steps, "scene_gamma": gamma, "scene_seed": seed, "part": part, "at": step, "off": what}
    return Settings(view={**view, **pixel, **kernels})


def ended(steps: Any, step: Any = 1) -> Any:
    """The slider of the step ends where the run does, and a step beyond it becomes the last."""
    try:
        most = whole("steps", steps, 2, MOST_STEPS)
        return gr.update(maximum=most, **({"value": most} if whole("step", step, 1, MOST_STEPS) > most else {}))
    except Exception as error:
        raise controls.fault(error) from None


def doubling(part: gr.Dropdown, text: str) -> dict[str, Any]:
    """Ways to double a side, shown where the chosen part doubles one."""
    with gr.Column(visible=False, elem_id="inside-doubling") as box:
        gr.Markdown(text, elem_classes="lesson", latex_delimiters=LATEX)
        with gr.Row(elem_classes="labs-row"):
            side = gr.Slider(SIDES[0], SIDES[-1], 3, step=1, label="Side of the kernel", elem_id="doubling-side")
            draw = gr.Slider(0, DRAWS - 1, 0, step=1, label="Which weights", elem_id="doubling-draw")
            alike = gr.Checkbox(False, label="All weights alike", elem_id="doubling-alike")
        stage = canvas("doubling", "labs-doubling", {})
    kernel = [side, draw, alike]

    def choose(part: Any, *values: Any) -> list[Any]:
        doubles = isinstance(part, str) and "upsamplers" in part
        return [gr.update(visible=doubles), drawn_doubled(*values) if doubles else gr.skip()]

    part.change(choose, [part, *kernel], [box, stage], queue=False, **PRIVATE)
    moved = [event for slider in (side, draw) for event in (slider.change, slider.release)]
    gr.on([*moved, alike.change], drawn_doubled, kernel, stage, queue=False, trigger_mode="always_last", **PRIVATE)
    return {"kernel": side, "weights": draw, "alike": alike}


def drawn_doubled(side: Any, draw: Any, alike: Any) -> dict[str, Any]:
    """What each way to double makes of a constant and of a disc."""
    try:
        seed = None if alike is True else whole("weights", draw, 0, DRAWS - 1)
        return figures.doubled(whole("side", side, SIDES[0], SIDES[-1]), seed)
    except Exception as error:
        raise controls.fault(error) from None


def running(engine: Engine, run: Page, held: gr.State, settings: list[Any]) -> Any:
    """Connect Run; `held` then keeps which run is looked into, whatever the settings say meanwhile."""

    async def go(request: gr.Request, *values: Any) -> AsyncIterator[dict[Any, Any]]:
        recipes: list[Recipe] = []

        def make() -> tuple[Any, float]:
            recipes.append(engine.pipe.complete(recipe_of(*values)))
            return functools.partial(work.ran, engine, recipes[0]), cost(recipes[0])

        async for update in run.follow(request, make):
            yield update | ({held: recipes[0]} if recipes else {})

    return run.go.click(go, settings, [*run.outputs, held], trigger_mode="once", **ENGINE, **PRIVATE)


def looking(engine: Engine, shown: gr.HTML, place: list[Any], ran: Any) -> None:
    """Connect the map, the chosen part and step, and the picture."""

    def opened() -> dict[str, Any]:
        return {**IDLE, "map": figures.map_view(work.network_map(engine.pipe))}

    def pick(event: gr.EventData) -> Any:
        return picked(engine, event)

    async def see(request: gr.Request, held: Any, part: Any, step: Any) -> AsyncIterator[Any]:
        async for update in look(engine, request, held, part, step):
            yield update

    async def point(request: gr.Request, event: gr.EventData, held: Any, part: Any, step: Any) -> AsyncIterator[Any]:
        async for update in attend(engine, request, event, held, part, step):
            yield update

    _, part, step = place
    shown.open(opened, None, shown, queue=False, **PRIVATE)
    shown.pick(pick, None, part, queue=False, **PRIVATE)
    shown.attend(point, place, shown, trigger_mode="always_last", **ENGINE, **PRIVATE)
    ran.then(see, place, shown, **ENGINE, **PRIVATE)
    gr.on([part.change, step.change], see, place, shown, trigger_mode="always_last", **ENGINE, **PRIVATE)


def switching(engine: Engine, switched: Page, inputs: list[Any]) -> None:
    """Connect Measure, on the run that the settings describe."""

    async def measure(request: gr.Request, what: Any, part: Any, step: Any, *values: Any) -> AsyncIterator[dict[Any, Any]]:
        def make() -> tuple[Any, float]:
            kind, k = one_of("switch", what, [name for _, name in OFF]), whole("step", step, 1, MOST_STEPS)
            return functools.partial(work.switched, engine, recipe_of(*values), k, kind, known(engine, part)), 4 * PRICE

        async for update in switched.follow(request, make):
            yield update

    switched.go.click(measure, inputs, switched.outputs, trigger_mode="once", **ENGINE, **PRIVATE)


def recipe_of(prompt: Any, steps: Any, gamma: Any, seed: Any) -> Recipe:
    """The run that is looked into; raises UserError."""
    return controls.recipe_of(
        prompt=prompt, steps=whole("steps", steps, 2, MOST_STEPS), gamma=gamma, seed=seed, sampler="ddim"
    )  # fmt: skip


def known(engine: Engine, part: Any) -> str:
    return one_of("part", part, [name for _, name in figures.choices(engine.pipe.unet)])


def picked(engine: Engine, event: gr.EventData) -> Any:
    """The part that was clicked on the map becomes the chosen one."""
    try:
        return known(engine, event._data.get("name") if isinstance(event._data, dict) else None)
    except Exception as error:
        raise controls.fault(error) from None


async def look(engine: Engine, request: gr.Request, held: Any, part: Any, step: Any) -> AsyncIterator[Any]:
    """What the chosen part puts out at the chosen step; before there is a run the map alone tells of it."""
    try:
        name, k = known(engine, part), whole("step", step, 1, MOST_STEPS)
        yield gr.update(chosen=[name, k])
        if isinstance(held, Recipe):
            async for found in asked(engine, request, held, functools.partial(work.looked, engine, held, k, name)):
                yield gr.update(look=found)
    except Exception as error:
        raise controls.fault(error) from None


async def attend(engine: Engine, request: gr.Request, event: gr.EventData, held: Any, part: Any, step: Any) -> AsyncIterator[Any]:
    """Where the position that was clicked on the picture looks."""
    data = event._data if isinstance(event._data, dict) else {}
    try:
        name, k = known(engine, part), whole("step", step, 1, MOST_STEPS)
        down, right = (real(side, data.get(side), 0, 1) for side in ("down", "right"))
        if isinstance(held, Recipe):
            question = functools.partial(work.attending, engine, held, k, name, down, right)
            async for found in asked(engine, request, held, question):
                yield gr.update(heat=found)
    except Exception as error:
        raise controls.fault(error) from None


async def asked(engine: Engine, request: gr.Request, held: Recipe, question: Any) -> AsyncIterator[Any]:
    """The answer to a question about a run, which is made anew where it was forgotten."""
    with engine.compute(question, controls.visitor(request), cost(held)) as job:
        async for happened in job:
            if isinstance(happened, Failed):
                raise UserError(happened.sentence)
            if isinstance(happened, Done):
                yield happened.value
