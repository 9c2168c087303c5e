"""The tab of guidance: what a scale buys and costs, the plane it moves in, when it acts, and guidance by a classifier.

One column says what is made, four pages show it. The endpoint `/guidance_sweep` gives programs the sweep.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import UserError
from core.recipe import MAX_TEXT, Recipe, clean_text
from studio.endpoints.sweep import endpoint
from studio.figures import guidance as figures
from studio.figures.run import duration
from studio.service.engine import Engine, cost
from studio.widgets import controls
from studio.widgets.base import ENGINE, PRIVATE, texts
from studio.widgets.checks import real, whole
from studio.widgets.kept import remembered, unseen
from studio.widgets.settings import Settings
from studio.widgets.status import status
from studio.widgets.subpage import Page, formula, page, press
from studio.work import guided, steered
from studio.work.sweep import AUTO, MOST_SEEDS, Progress, Sweep, numbers, swept, trained

TEXTS = texts("guidance")
ID = "g-"  # before the ids of this tab's widgets
JUDGED_JS = (
    "(a, b) => `classifier-free γ ${a} = CFG scale ${Math.round((1 + Number(a)) * 1e6) / 1e6}"
    " · classifier γ ${b}, as CFG scale ${b}`"
)
SCALES = "−1, 0, 1, 2, 4, 8"
STRENGTHS, MOST_PICTURES = "0, 1, 2, 4, 8, 16", 32
PROMPT = "red apple, flat"
E0, EC = "ε<sub>0</sub>", "ε<sub>c</sub>"


def tab(engine: Engine, demo: gr.Blocks) -> Settings:
    """Lay out the column and the pages."""
    with gr.Row(elem_id="guidance"):
        with gr.Column(elem_id="g-ask"):
            column = ask(engine)
        with gr.Column(elem_id="g-show"), gr.Tabs(elem_id="g-pages", overflow_behavior="wrap") as pages:
            with gr.Tab("Trade-off", id="sweep"):
                sweep_page = page_of_sweep(engine, column)
            with gr.Tab("Triangle", id="triangle"):
                triangle_page, gamma = page_of_triangle(engine, column)
            with gr.Tab("Interval and rescale", id="effects"):
                effects = page_of_effects(engine, column)
            with gr.Tab("Classifier", id="classifier"):
                classifier = page_of_classifier(engine, column)
                if not engine.pipe.extras.missing("classifier"):
                    classifier |= part_of_scales(engine, column, classifier["target"])
    chosen = Opening(engine, triangle_page, gamma, pages)
    sweep_page.stage.select(chosen.open, sweep_page.last, [pages, gamma, *triangle_page.outputs], **ENGINE, **PRIVATE)
    gr.api(endpoint(engine), api_name="guidance_sweep", **ENGINE)
    return Settings({**column.named, "gamma": gamma}, column.sampler, sweep_page.view | effects | classifier, pages=pages)


# ------------------------------------------------------------------------------------------------------- what is made


@dataclass(frozen=True)
class Column:
    """The widgets that say what is made, and the recipe that they describe."""

    named: Mapping[str, Any]  # the plain widgets, by field of Recipe
    sampler: controls.SamplerWidgets

    @property
    def inputs(self) -> list[Any]:
        return [*self.named.values(), *self.sampler.inputs]

    def recipe(self, values: tuple[Any, ...], **more: Any) -> Recipe:
        """The first line of the prompts, with what else the column says."""
        plain, (chosen, *knobs) = values[: len(self.named)], values[len(self.named) :]
        made = dict(zip(self.named, plain, strict=True)) | {"sampler": chosen}
        made["prompt"] = prompts_of(made["prompt"])[0]
        return controls.recipe_of(**made, knobs=self.sampler.values(chosen, knobs), **more)


def prompts_of(text: Any) -> tuple[str, ...]:
    """The lines of a text; the empty ones are left out, unless there is no other."""
    return tuple(filter(None, map(clean_text, str(text or "").splitlines()))) or ("",)


def ask(engine: Engine) -> Column:
    """What every page of this tab makes its pictures from."""
    prompt = gr.Textbox(PROMPT, label="Prompts", info="one a line; the other pages take the first", lines=2, max_lines=4,
                        max_length=3 * MAX_TEXT, elem_id=f"{ID}prompt")  # fmt: skip
    with gr.Row(elem_id="g-seeds"):
        seed = controls.seed_box(ID)
        seed.label, seed.value = "First seed", "1"
        batch = gr.Slider(1, MOST_SEEDS, 4, step=1, label="Seeds", info="pictures a scale", elem_id=f"{ID}batch")
    steps = controls.number_slider("steps", "Steps", most=50, within=ID)
    sampler = controls.sampler_widgets(ID)
    with gr.Accordion("More", open=False):
        negative = controls.negative_box(ID)
        spacing = controls.spacing_choice(engine.pipe.complete(Recipe(prompt="")).spacing or "leading", ID)
    steps.value = 12  # seconds on a laptop, and like the first seed the same for everybody: the second visitor waits for nothing
    named = {"prompt": prompt, "seed": seed, "batch": batch, "steps": steps, "negative": negative, "spacing": spacing}
    return Column(named, sampler)


# ------------------------------------------------------------------------------------------------------- pages


def gamma_slider(name: str, value: float = 4, label: str = "Guidance γ", least: float = -1) -> gr.Slider:
    return gr.Slider(least, 14, value, step=0.5, label=label, elem_id=f"g-{name}-gamma", min_width=225)


def told(sliders: list[gr.Slider], text: str, js: str) -> None:
    """The line that says both scales while a slider is dragged."""
    line = gr.Markdown(text, elem_classes="g-both")
    gr.on([slider.change for slider in sliders], None, sliders, line, js=js, show_progress="hidden", api_visibility="private")


@dataclass(frozen=True)
class SweepPage:
    """The sweep's view, the sweep that it shows, and what is set on it."""

    stage: gr.HTML
    last: gr.State
    view: dict[str, Any]


def page_of_sweep(engine: Engine, column: Column) -> SweepPage:
    """Scales × seeds × prompts as a grid, and what each scale came to as a point."""
    judged = not engine.pipe.extras.missing("classifier")
    formula(f"ε = {E0} + w ({EC} − {E0}), &nbsp; w = 1 + γ = CFG scale")
    with gr.Row(elem_classes="g-controls"):
        scales = gr.Textbox(SCALES, label="Scales γ", info="CFG scale is γ + 1", max_lines=1, max_length=200, elem_id="g-scales")
        label = class_choice(engine, "Judge's class", "p(class | picture)", visible=judged, elem_id="g-class")
        go, halt = press("Sweep", "g-sweep")
    lacks = [engine.pipe.extras.missing(what) for what in ("clip", "classifier")]
    made = page(engine, "g-sweep", "guidance-sweep", TEXTS[0], (go, halt), {"notes": notes(lacks)})
    last = gr.State(None)

    async def sweep(request: gr.Request, scales: Any, label: Any, *values: Any) -> AsyncIterator[Any]:
        asked = checked(lambda: asked_for(engine, column.recipe(values), prompts_of(values[0]), numbers(scales), label))
        view = figures.sweep_rows(asked.gammas, asked.prompts, asked.base) | {"cells": {}, "points": [], "notes": notes(lacks)}
        view |= {"trained": trained(engine.pipe)}
        first, drawn = {last: asked}, {}

        def show(now: Progress) -> dict[str, Any]:
            return sweep_view(now, drawn)

        async for update in made.follow(request, lambda: (lambda: swept(engine, asked), asked.cost), view, show):
            yield update | first
            first = {}

    gr.on([go.click, scales.submit], sweep, [scales, label, *column.inputs], [*made.outputs, last], trigger_mode="once",
          **ENGINE, **PRIVATE)  # fmt: skip
    return SweepPage(made.stage, last, {"scales": scales, "class": label})


def notes(sentences: list[str]) -> list[str]:
    return [sentence for sentence in sentences if sentence]


def class_choice(engine: Engine, label: str, info: str | None, **more: Any) -> gr.Dropdown:
    """The classes of the classifier, and first the one of what the prompt names."""
    names = [] if engine.pipe.extras.missing("classifier") else [one.name for one in engine.pipe.extras.judge.labels]
    choices = [("by the prompt", AUTO), *((name, name) for name in names)]
    return gr.Dropdown(choices, value=AUTO, label=label, info=info, **more)


def asked_for(engine: Engine, base: Recipe, prompts: tuple[str, ...], gammas: tuple[float, ...], label: Any) -> Sweep:
    """The sweep that is asked for, all of it checked."""
    if label != AUTO:
        engine.pipe.extras.judge.find(str(label))
    made = Sweep(engine.pipe.complete(base), prompts, gammas, str(label))
    for g in range(len(gammas)):
        for p in range(len(prompts)):
            made.recipe(g, p)  # raises for what no recipe may have
    return made


def sweep_view(now: Progress, drawn: dict[tuple[int, int], list[str]]) -> dict[str, Any]:
    """The state of a sweep for the page: finished tiles (drawn once), the row that forms, the points so far."""
    for at, images in now.cells.items():
        if at not in drawn:
            drawn[at] = [figures.tile(image) for image in images]
    cells = {f"{g},{p}": sources for (g, p), sources in drawn.items()}
    if now.forming:
        cells[f"{now.forming[0]},{now.forming[1]}"] = [figures.tile(image) for image in now.rough]
    line = f"{len(now.points)} scales measured · {now.nfe} network evaluations (NFE) · {duration(now.seconds)}"
    line += f" · {now.known} runs remembered from before" if now.known else ""
    return {"line": line, "cells": cells, "points": figures.sweep_points(now.points), "forming": now.forming and list(now.forming),
            "classes": list(now.classes), "status": status("running", line, now.step / now.steps)}  # fmt: skip


# ------------------------------------------------------------------------------------------------------- one run


def page_of_triangle(engine: Engine, column: Column) -> tuple[Page, gr.Slider]:
    """One run's predictions in their plane, and the scale that they are for."""
    formula(f"0, {E0}, {EC} and ε = {E0} + w ({EC} − {E0}) in their own plane")
    with gr.Row(elem_classes="g-controls"):
        gamma = gamma_slider("triangle")
        go, halt = press("Show", "g-triangle")
    told([gamma], figures.both(gamma.value)["long"], controls.SCALE_JS)
    made = page(engine, "g-triangle", "guidance-triangle", TEXTS[1], (go, halt), {})

    async def show(request: gr.Request, gamma: Any, *values: Any) -> AsyncIterator[Any]:
        recipe = checked(lambda: engine.pipe.complete(column.recipe(values, gamma=gamma).replace(batch=1)))
        async for update in made.follow(request, lambda: (lambda: guided.triangle(engine, recipe), cost(recipe))):
            yield update

    go.click(show, [gamma, *column.inputs], made.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    return made, gamma


@dataclass(frozen=True)
class Opening:
    """A picture of the sweep that is clicked opens its run's triangle, which is known already."""

    engine: Engine
    page: Page
    gamma: gr.Slider
    pages: gr.Tabs

    async def open(self, request: gr.Request, event: gr.EventData, asked: Sweep | None) -> AsyncIterator[Any]:
        data = event._data if isinstance(event._data, dict) else {}

        def chosen() -> tuple[Recipe, int]:
            if asked is None:
                raise UserError("There is no sweep yet; press Sweep first.")
            g, p = (whole(name, data.get(name), 0, len(of) - 1) for name, of in (("g", asked.gammas), ("p", asked.prompts)))
            return asked.recipe(g, p), whole("seed", data.get("i"), 0, asked.base.batch - 1)

        recipe, row = checked(chosen)
        scale = recipe.gamma if recipe.gamma <= self.gamma.maximum else gr.skip()  # a sweep may go farther than the slider
        first = {self.pages: gr.Tabs(selected="triangle"), self.gamma: scale}
        async for update in self.page.follow(request, lambda: (lambda: guided.triangle(self.engine, recipe, row), cost(recipe))):
            yield update | first
            first = {}


def page_of_effects(engine: Engine, column: Column) -> dict[str, Any]:
    """Where along the run guidance acts, and how much of its overshoot is taken back."""
    formula("w acts where low ≤ σ/α ≤ high; &nbsp; y · (r · std(y<sub>c</sub>)/std(y) + 1 − r), &nbsp; y: ε or v")
    with gr.Row(elem_classes="g-controls"):
        gamma = gamma_slider("effects", 8)  # where the overshoot is seen
        low = gr.Number(0.3, label="Guide from σ/α", minimum=0, elem_id="g-low", min_width=80)
        high = gr.Number(5, label="to σ/α", minimum=0, elem_id="g-high", min_width=80)
        rescale = gr.Slider(0, 1, 0.7, step=0.05, label="Rescale r", elem_id="g-rescale", min_width=150)
        go, halt = press("Compare", "g-effects")
    told([gamma], figures.both(gamma.value)["long"], controls.SCALE_JS)

    def ruler(low: Any, high: Any, *values: Any) -> dict[str, Any]:
        recipe = column.recipe(values, guidance={"interval": (low, high)})
        return {"ruler": figures.ruler(engine.pipe.path(recipe), *recipe.guidance.interval)}  # type: ignore[misc]

    start = {"ruler": figures.ruler(engine.pipe.path(Recipe(prompt="", steps=12)), 0.3, 5)}
    made = page(engine, "g-effects", "guidance-effects", TEXTS[2], (go, halt), start)

    def redraw(low: Any, high: Any, *values: Any) -> Any:
        try:
            return start | ruler(low, high, *values)
        except UserError:  # while somebody types
            return gr.skip()

    async def compare(request: gr.Request, gamma: Any, low: Any, high: Any, rescale: Any, *values: Any) -> AsyncIterator[Any]:
        def asked() -> tuple[Recipe, dict[str, Recipe]]:
            recipe = engine.pipe.complete(column.recipe(values, gamma=gamma).replace(batch=1))
            return recipe, guided.variants(recipe, low, high, real("rescale", rescale, 0, 1))

        recipe, recipes = checked(asked)
        view = ruler(low, high, *values)
        price = len(recipes) * cost(recipe)
        async for update in made.follow(request, lambda: (lambda: guided.effects(engine, recipes), price), view):
            yield update

    settings = [low, high, *column.inputs]
    gr.on([low.change, high.change, column.named["steps"].change], redraw, settings, made.stage, queue=False,
          trigger_mode="always_last", **PRIVATE)  # fmt: skip
    go.click(compare, [gamma, low, high, rescale, *column.inputs], made.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    return {"effects_gamma": gamma, "low": low, "high": high, "rescale": rescale}


def page_of_classifier(engine: Engine, column: Column) -> dict[str, Any]:
    """Both kinds of guidance from one noise, step by step."""
    lacks = engine.pipe.extras.missing("classifier")
    formula(f"ε = {E0} + (1 + γ)({EC} − {E0}) &nbsp; beside &nbsp; ε = {E0} − σ γ ∇ log p(y | x)")
    with gr.Row(elem_classes="g-controls", visible=not lacks):
        label = class_choice(engine, "Class y", None, elem_id="g-target", min_width=150)
        gamma = gamma_slider("free", label="CFG γ")
        judged = gamma_slider("judged", 5, "Classifier γ", least=0)
        go, halt = press("Compare", "g-classifier")
    if not lacks:
        told([gamma, judged], f"classifier-free {figures.both(4)['long']} · classifier {figures.judged(5)['long']}", JUDGED_JS)
    made = page(engine, "g-classifier", "guidance-classifier", TEXTS[3], (go, halt), {"notes": notes([lacks])})

    async def compare(request: gr.Request, label: Any, gamma: Any, scale: Any, *values: Any) -> AsyncIterator[Any]:
        def asked() -> tuple[Recipe, Recipe]:
            free = engine.pipe.complete(column.recipe(values, gamma=gamma).replace(batch=1))
            return free, free.replace(prompt=str(label), gamma=scale, guidance={"kind": "classifier"})

        free, judged = checked(asked)
        async for update in made.follow(request, lambda: (lambda: guided.classifier(engine, free, judged), 2 * cost(free))):
            yield update

    go.click(compare, [label, gamma, judged, *column.inputs], made.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    return {"target": label, "free_gamma": gamma, "judged_gamma": judged}


def part_of_scales(engine: Engine, column: Column, label: gr.Dropdown) -> dict[str, Any]:
    """How often the class comes, and how alike its pictures are, against the scale of either guidance."""
    bench = steered.Bench(engine)
    formula("scale w: &nbsp; classifier γ = w &nbsp; beside &nbsp; classifier-free γ = w − 1")
    with gr.Row(elem_classes="g-controls"):
        scales = gr.Textbox(STRENGTHS, label="Scales w", max_lines=1, max_length=200, elem_id="g-strengths")
        count = gr.Slider(4, MOST_PICTURES, 16, step=4, label="Pictures a scale", elem_id="g-count", min_width=150)
        go, halt = press("Measure", "g-scales")
    made = page(engine, "g-steering", "guidance-steering", TEXTS[4], (go, halt), {}, after=("labs-charts", "labs-kept"))

    async def measure(request: gr.Request, label: Any, scales: Any, count: Any, *values: Any) -> AsyncIterator[Any]:
        def asked() -> tuple[Recipe, tuple[float, ...], int, float]:
            free, given = engine.pipe.complete(column.recipe(values)), numbers(scales)
            pictures = whole("pictures a scale", count, 4, MOST_PICTURES)
            return free, given, pictures, steered.checked_scales(given, free, pictures)

        free, given, pictures, price = checked(asked)
        work = functools.partial(steered.against_scale, bench, free, str(label), given, pictures)
        async for update in made.follow(request, lambda: (work, price)):
            yield update

    gr.on([go.click, scales.submit], measure, [label, scales, count, *column.inputs], made.outputs, trigger_mode="once",
          **ENGINE, **PRIVATE)  # fmt: skip
    shown = remembered(made.stage, scale=unseen(gr.Number, -1, "Scale whose pictures are shown", minimum=-1))
    return {"strengths": scales, "pictures": count, **shown}


def checked(make: Callable[[], Any]) -> Any:
    """What is asked for, or a sentence as a toast; nothing of the page is lost."""
    try:
        return make()
    except Exception as error:
        raise controls.fault(error) from None
