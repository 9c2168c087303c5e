"""The tab of schedules: how noise grows, where a run puts its steps, what a level does to a picture, how a network hears of t.

Four pages of one thought each. All but "make one with the model" is arithmetic of microseconds, so nothing here waits for the
engine. `/schedule` gives programs the same numbers.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from core.errors import UserError
from core.recipe import Recipe
from core.schedules import ENDS, SCHEDULES, Schedule
from studio.endpoints.schedule import endpoint
from studio.figures import noising
from studio.figures import schedules as figures
from studio.figures.schedules import QUANTITIES
from studio.formats.links import to_query
from studio.service.engine import Engine
from studio.service.jobs import Done, Failed
from studio.widgets import controls, downloads
from studio.widgets.base import ENGINE, LATEX, PRIVATE, scripts, texts
from studio.widgets.checks import one_of, real, some_of, whole
from studio.widgets.settings import Settings
from studio.widgets.uploads import SafeImage

SCRIPT = scripts("schedules")
TEXTS = texts("schedules")
LIVE: dict[str, Any] = PRIVATE | {"trigger_mode": "always_last"}
SIDE = 192  # pixels of a noised picture: enough for a projector, little for a phone
DIMS = (32, 64, 128, 256, 320)


def tab(engine: Engine, demo: gr.Blocks) -> Settings:
    """Lay out the four pages."""
    own: Schedule = engine.pipe.schedule
    view: dict[str, Any] = {}
    with gr.Tabs(elem_id="schedules", overflow_behavior="wrap") as pages:
        with gr.Tab("Curves", id="curves"):
            view |= curves_page(own)
        with gr.Tab("Steps", id="steps"):
            view |= steps_page(own, engine.pipe.parts.steps_offset)
        with gr.Tab("Noising", id="noising"):
            view |= noising_page(engine, own)
        with gr.Tab("Time", id="time"):
            view |= time_page(engine.pipe.unet.config.channels[0])
    gr.api(endpoint(own, engine.pipe.parts.steps_offset), api_name="schedule")
    return Settings(view=view, pages=pages)


def told(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A handler whose faults become a sentence on the page."""

    @functools.wraps(handler)
    def safe(*values: Any) -> Any:
        try:
            return handler(*values)
        except Exception as error:
            raise controls.fault(error) from None

    return safe


def choices_of(known: dict[str, str]) -> list[tuple[str, str]]:
    return [(label, name) for name, label in known.items()]


def canvas(name: str, value: dict[str, Any] | None = None) -> gr.HTML:
    """A piece of page that draws its value itself, with the script of this tab; without one it asks when it is first shown."""
    return gr.HTML(value, html_template=f'<div class="{name}"></div>', js_on_load=SCRIPT, apply_default_css=False, elem_id=name)


# ------------------------------------------------------------------------------------------------------- curves


def curves_page(own: Schedule) -> dict[str, Any]:
    """Any quantity of any schedules, overlaid, against t and against lambda."""
    known = figures.known_schedules(own)
    tints = figures.colours(list(known.values()))

    def chosen(names: Any, zero: Any) -> dict[str, Schedule]:
        ids = some_of("schedules", names, known)
        return {known[name]: figures.schedule_of(name, bool(zero), own) for name in ids}

    @told
    def draw(names: Any, zero: Any, quantity: Any) -> list[Any]:
        try:
            schedules, quantity = chosen(names, zero), one_of("quantity", quantity, QUANTITIES)
        except UserError as error:  # asked for in one request, so that it follows at once, and such a one cannot bring a toast
            return [gr.skip(), gr.skip(), str(error)]
        plots = [figures.curves(schedules, quantity, against) for against in ("t", "lambda")]
        return [*plots, QUANTITIES[quantity].formula]

    def saved(kind: str, names: Any, zero: Any, quantity: Any) -> tuple[str, bytes]:
        quantity = one_of("quantity", quantity, QUANTITIES)
        return f"schedules-{quantity}.{kind}", figures.drawn(figures.curves_figure(chosen(names, zero), quantity), kind)

    choices = choices_of(known)
    with gr.Row(elem_classes="choices"):
        names = gr.CheckboxGroup(choices, value=list(known), label="Schedules", scale=5, elem_id="curve-schedules")
        zero = gr.Checkbox(False, label="Zero terminal SNR", info="nothing of x₀ is left at T", scale=2, elem_id="curve-zero")
    quantity = gr.Radio([(q.label, name) for name, q in QUANTITIES.items()], value="alpha_bar", label="Quantity",
                        elem_id="curve-quantity")  # fmt: skip
    formula = gr.Markdown(QUANTITIES["alpha_bar"].formula, elem_classes="formula", elem_id="curve-formula")
    gr.HTML(figures.legend(tints), elem_id="curve-legend")  # a plot's own has no room for four names on a phone
    with gr.Row(elem_classes="plots"):
        plots = [
            gr.LinePlot(
                figures.curves(chosen(list(known), False), "alpha_bar", against), x="x", y="y", color="schedule", color_map=tints,
                x_title=title, y_title="the chosen quantity", height=320, tooltip="axis", elem_id=f"curve-{against}",
                colors_in_legend=[], buttons=["fullscreen"],
            )
            for against, title in (("t", "time t: data → noise"), ("lambda", "λ = log(α/σ): noise → data"))
        ]  # fmt: skip
    gr.Markdown(TEXTS[0], elem_classes="lesson")
    gr.on([names.change, zero.change, quantity.change], draw, [names, zero, quantity], [*plots, formula], queue=False, **LIVE)
    downloads.buttons(saved, [names, zero, quantity])
    return {"schedules": names, "zero": zero, "quantity": quantity}


# ------------------------------------------------------------------------------------------------------- steps


def steps_page(own: Schedule, offset: int) -> dict[str, Any]:
    """A row of ticks for each spacing, and one for levels that are typed in."""
    known = figures.known_schedules(own)

    def placed(name: Any, zero: Any, steps: Any, end: Any, text: Any) -> tuple[Schedule, dict[str, Any]]:
        schedule = figures.schedule_of(one_of("schedule", name, known), bool(zero), own)
        steps, end = whole("steps", steps, 1, len(schedule)), one_of("end", end, ENDS)
        return schedule, figures.paths(schedule, steps, end, offset, figures.typed_sigmas(text))

    @told
    def draw(name: Any, zero: Any, steps: Any, end: Any, text: Any) -> dict[str, Any]:
        try:
            schedule, paths = placed(name, zero, steps, end, text)
        except UserError as error:  # while somebody types, a sentence under the box is enough
            schedule, paths = placed(name, zero, steps, end, "")
            return figures.rulers(schedule, paths) | {"fault": str(error)}
        sigmas = figures.typed_sigmas(text)
        return figures.rulers(schedule, paths) | {"link": "?" + link_to(name, sigmas) if sigmas else ""}

    def saved(kind: str, *values: Any) -> tuple[str, bytes]:
        schedule, paths = placed(*values)
        return f"steps-{schedule.name}.{kind}", figures.drawn(figures.rulers_figure(schedule, paths), kind)

    first = next(iter(name for name, label in known.items() if "(own)" in label or name == figures.OWN))
    with gr.Row(elem_classes="choices"):
        name = gr.Dropdown(choices_of(known), value=first, label="Schedule", elem_id="steps-schedule")
        steps = gr.Slider(1, 100, 10, step=1, label="Steps", info="how many times the sampler moves", elem_id="steps-count")
        end = gr.Radio([("clean, σ = 0", "clean"), ("at ᾱ(0)", "first")], value="clean", label="End", elem_id="steps-end",
                       info="no noise left, or the least of training, where Stable Diffusion's DDIM ends")  # fmt: skip
        zero = gr.Checkbox(False, label="Zero terminal SNR", info="nothing of x₀ is left at T", elem_id="steps-zero")
    text = gr.Textbox("", label="Your own levels", info="σ/α, the noisiest first, falling; 0 is clean", max_lines=3,
                      placeholder="14.6, 5, 2.2, 1, 0.45, 0.15, 0", elem_id="steps-own")  # fmt: skip
    start = figures.rulers(own, figures.paths(own, 10, "clean", offset))
    rulers = canvas("rulers", start)
    gr.Markdown(TEXTS[1], elem_classes="lesson")
    inputs = [name, zero, steps, end, text]
    gr.on([name.change, zero.change, steps.change, end.change, text.change], draw, inputs, rulers, **LIVE)
    downloads.buttons(saved, inputs)
    return {"schedule": name, "steps": steps, "end": end, "steps_zero": zero, "sigmas": text}


def link_to(name: Any, sigmas: tuple[float, ...]) -> str:
    """The query that opens these levels where pictures are made."""
    own = {"schedule": name} if name in SCHEDULES else {}
    return to_query(Recipe(prompt="", sigmas=sigmas, steps=len(sigmas) - 1, **own), {"sigmas", "steps", *own}, tab="denoise")


# ------------------------------------------------------------------------------------------------------- noising


def noising_page(engine: Engine, own: Schedule) -> dict[str, Any]:
    """One picture at one time under two schedules, side by side."""
    known = figures.known_schedules(own)
    start = noising.drawn_example(SIDE)

    @told
    def draw(held: Image.Image, t: Any, zero: Any, seed: Any, *names: Any) -> dict[str, Any]:
        x0 = noising.pixels(held)
        eps = noising.noise_like(x0, whole("seed", seed, 0, 2**32 - 1))
        return noised_view(x0, eps, real("t", t, 0, 999), [
            (known[one_of("schedule", name, known)], figures.schedule_of(name, bool(zero), own)) for name in names
        ])  # fmt: skip

    def take(picture: Image.Image | None) -> Image.Image:
        if picture is not None and "notice" in picture.info:
            gr.Info(picture.info["notice"])
        return start if picture is None else noising.square(picture, SIDE)

    async def make(request: gr.Request, prompt: Any) -> AsyncIterator[Any]:
        """A picture of the model's, in place of the uploaded one."""
        try:
            with engine.submit(controls.recipe_of(prompt=prompt), controls.visitor(request)) as job:
                async for event in job:
                    if isinstance(event, Failed):
                        raise UserError(event.sentence)
                    if isinstance(event, Done):
                        yield event.value.images[0]
        except Exception as error:
            raise controls.fault(error) from None

    held = gr.State(start)
    with gr.Row(elem_id="noising-desk"):
        with gr.Column(elem_id="noising-ask"):
            t = gr.Slider(0, 999, 300, step=1, label="Time t", info="0: least noise, 999: most", elem_id="noising-t")
            names = [
                gr.Dropdown(choices_of(known), value=value, label=label, elem_id=f"noising-{place}")
                for place, label, value in (("left", "Left", "linear"), ("right", "Right", "cosine"))
            ]  # fmt: skip
            zero = gr.Checkbox(False, label="Zero terminal SNR", info="rescale both", elem_id="noising-zero")
            seed = gr.Number(0, label="Seed of ε", precision=0, minimum=0, maximum=2**32 - 1, elem_id="noising-seed")
            picture = SafeImage(label="Your picture: PNG, JPEG or WebP", height=150, elem_id="noising-picture")
            with gr.Row(elem_id="noising-make"):
                prompt = gr.Textbox("a red apple", label="Or one of the model's", max_lines=1, elem_id="noising-prompt")
                go = gr.Button("Make", size="sm", elem_id="noising-go")
        with gr.Column(elem_id="noising-show"):
            view = canvas("noised")
            gr.Markdown(TEXTS[2], elem_classes="lesson", latex_delimiters=LATEX)
    inputs = [held, t, zero, seed, *names]
    moved = [widget.change for widget in inputs]
    gr.on(moved, draw, inputs, view, **LIVE)
    view.open(draw, inputs, view, **PRIVATE)
    picture.change(take, picture, held, **PRIVATE)
    gr.on([go.click, prompt.submit], make, prompt, picture, **ENGINE,
          trigger_mode="once", api_visibility="private")  # fmt: skip
    return {"t": t, "left": names[0], "right": names[1], "noising_zero": zero, "noising_seed": seed, "noising_prompt": prompt}


def noised_view(x0: np.ndarray, eps: np.ndarray, t: float, schedules: list[tuple[str, Schedule]]) -> dict[str, Any]:
    """x0 and eps, and x_t under each schedule with its equation."""
    panes = []
    for label, schedule in schedules:
        at = schedule.at(min(t, len(schedule) - 1))
        x = noising.noised(x0, eps, at)
        panes.append({"name": label, "src": noising.jpeg_uri(noising.shown(x)), "equation": noising.equation(at),
                      "numbers": noising.levels_apart(at)})  # fmt: skip
    given = [("x₀", "the clean picture", x0), ("ε", "the noise, N(0, 1)", eps)]
    return {"given": [{"name": name, "about": about, "src": noising.jpeg_uri(noising.shown(x))} for name, about, x in given],
            "panes": panes}  # fmt: skip


# ------------------------------------------------------------------------------------------------------- time


def time_page(channels: int) -> dict[str, Any]:
    """The sinusoidal embedding of t as a heat-map, and how alike two times look."""
    dims = sorted({*DIMS, channels})

    @told
    def draw(dim: Any, times: Any, t: Any) -> list[Any]:
        dim, times, t = one_dim(dim), whole("times", times, 1, 1000), whole("t", t, 0, 999)
        return [heat_view(dim, times, t), noising.likeness(t, 1000, dim), noising.pairs(dim)]

    def one_dim(dim: Any) -> int:
        return int(one_of("features", str(dim), map(str, dims)))

    def saved(kind: str, dim: Any, times: Any, t: Any) -> tuple[str, bytes]:
        dim, times = one_dim(dim), whole("times", times, 1, 1000)
        return f"time-embedding-{dim}.{kind}", figures.drawn(noising.embedding_figure(times, dim), kind)

    with gr.Row(elem_classes="choices"):
        own = {channels: f"{channels} (this model's)"}
        dim = gr.Dropdown([(own.get(d, str(d)), str(d)) for d in dims], value=str(channels), label="Features", elem_id="time-dim")
        times = gr.Radio([("all 1000 times", 1000), ("the first 100", 100)], value=1000, label="Rows", elem_id="time-rows")
        t = gr.Slider(0, 999, 500, step=1, label="Time t", info="the marked row, compared with all t'", elem_id="time-t")
    with gr.Row(elem_id="time-desk"):
        heat = canvas("heat")
        with gr.Column():
            gr.Markdown(TEXTS[3], elem_classes="lesson")
            like = gr.LinePlot(noising.likeness(500, 1000, channels), x="t", y="likeness", y_title="PE(t)·PE(t') / (d/2)",
                               x_title="t'", height=230, tooltip="axis", elem_id="likeness", buttons=["fullscreen"])  # fmt: skip
            pairs = gr.Markdown(noising.pairs(channels), elem_classes="lesson", elem_id="pairs")
    gr.on([dim.change, times.change, t.change], draw, [dim, times, t], [heat, like, pairs], **LIVE)
    heat.open(draw, [dim, times, t], [heat, like, pairs], **PRIVATE)
    downloads.buttons(saved, [dim, times, t])
    return {"features": dim, "rows": times, "time": t}


@functools.lru_cache(maxsize=32)
def heat_source(dim: int, times: int) -> str:
    """The heat-map as an address: it does not change while t is dragged."""
    from studio.figures.run import data_uri

    return data_uri(noising.heat_map(noising.embedding(times, dim)))


def heat_view(dim: int, times: int, t: int) -> dict[str, Any]:
    """What the page needs to draw the heat-map and to say its numbers."""
    return {"src": heat_source(dim, times), "dim": dim, "times": times, "t": t}
