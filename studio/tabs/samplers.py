"""The tab of samplers: what each buys for its network calls, in pictures and on log-log axes.

Races and grids are pieces of work for the engine that show whatever is finished; stopping keeps it. `/sampler_race` races for
programs.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from typing import Any

import gradio as gr

from core.errors import UserError
from core.recipe import Recipe, allowed
from core.sampling import SAMPLERS
from core.schedules import SPACINGS
from core.toy import TOYS
from core.tradeoff import STEPS, Point, fan, on_ladder, spread
from studio.endpoints.race import endpoint
from studio.figures import samplers as figures
from studio.figures.run import scale
from studio.figures.schedules import drawn
from studio.formats.grids import KINDS, NOTHING, Grid, axis, grid
from studio.service.engine import Engine
from studio.service.jobs import LAST, Done, Failed
from studio.widgets import controls, downloads
from studio.widgets.base import ENGINE, LATEX, PRIVATE, scripts, texts
from studio.widgets.checks import one_of, real, some_of, whole
from studio.widgets.settings import Settings
from studio.widgets.status import followed, status
from studio.work import contests
from studio.work.contests import COARSE, MODEL, MOST_NOISES, PLANAR, address, noises_allowed, race_work

SCRIPT = scripts("samplers")
TEXTS = texts("samplers")
LADDER = "ladder"
ETAS = (0, 0.1, 0.2, 0.3, 0.5, 0.75, 1)
USED = "for pictures, and races on this model"


def tab(engine: Engine, demo: gr.Blocks) -> Settings:
    """Lay out the pages; what they race and paint is set once above them."""
    with gr.Row(elem_id="samplers-base"):
        prompt = gr.Textbox("a red apple", label="Prompt", info=USED, max_lines=1, scale=4, elem_id="samplers-prompt")
        usual = allowed("gamma")
        gamma = gr.Slider(usual["minimum"], 14, usual["default"], step=0.5, label=scale(usual["default"]), info=USED,
                          scale=3, elem_id="samplers-gamma")  # fmt: skip
        seed = gr.Textbox("7", label="Seed: one noise for all", info=USED, max_lines=1, scale=2, elem_id="samplers-seed")
    base = [prompt, gamma, seed]
    gamma.change(lambda value: gr.update(label=scale(value)), gamma, gamma, queue=False, trigger_mode="always_last", **PRIVATE)
    view: dict[str, Any] = {}
    with gr.Tabs(elem_id="samplers", overflow_behavior="wrap") as pages:
        with gr.Tab("Race", id="race"):
            view |= race_page(engine, base)
        with gr.Tab("Pictures", id="pictures"):
            view |= pictures_page(engine, base)
        with gr.Tab("X/Y/Z", id="xyz"):
            view |= xyz_page(engine, base)
        with gr.Tab("Fresh noise", id="fresh"):
            view |= fan_page(engine)
        with gr.Tab("All samplers", id="all"):
            heads = ("sampler", "how it moves", "order", "calls a step", "paper")
            gr.Markdown(figures.markdown_table(heads, figures.registry_rows()), elem_id="samplers-table")
    gr.api(endpoint(engine), api_name="sampler_race", **ENGINE)
    return Settings({"prompt": prompt, "gamma": gamma, "seed": seed}, view=view, pages=pages)


def base_of(prompt: Any, gamma: Any, seed: Any, **more: Any) -> Recipe:
    return controls.recipe_of(prompt=prompt, gamma=gamma, seed=seed, **more)


def canvas(name: str, idle: str) -> gr.HTML:
    """A piece of page that draws its value itself, with the script of this tab."""
    return gr.HTML({"idle": idle}, html_template=f'<div class="{name}"></div>', js_on_load=SCRIPT, apply_default_css=False)


def buttons(name: str, go: str) -> tuple[gr.Button, gr.Button]:
    with gr.Row(elem_classes="samplers-buttons"):
        return (gr.Button(go, variant="primary", scale=3, elem_id=f"{name}-go"),
                gr.Button("Stop", interactive=False, elem_id=f"{name}-stop"))  # fmt: skip


def connect(engine: Engine, shown: gr.HTML, go: gr.Button, halt: gr.Button, work: Callable[..., Any], inputs: Sequence[Any],
            more: Sequence[tuple[Any, Callable[[Any], Any]]] = ()) -> None:  # fmt: skip
    """A button that hands work(*inputs) = (generator, cost) to the engine and shows all that it yields; one that stops it.

    `more`: other components with what they show of the work's return value.
    """

    def stop(request: gr.Request) -> None:
        engine.stop(controls.visitor(request))

    async def run(request: gr.Request, *values: Any) -> AsyncIterator[Any]:
        ready = {go: gr.update(interactive=True), halt: gr.update(interactive=False)}
        view: dict[str, Any] = {}  # until something is shown
        try:
            make, cost = work(*values)
            with engine.compute(make, controls.visitor(request), cost) as job:
                view = {"status": status("queued", "On its way …")}
                yield {shown: view, go: gr.update(interactive=False), halt: gr.update(interactive=True)}
                async for event, now in followed(job, view, lambda value: value[0]):
                    view, ended = now, ready if isinstance(event, LAST) else {}
                    if isinstance(event, Done):
                        ended = ended | {component: show(event.value[1]) for component, show in more}
                    yield {shown: view} | ended
        except Exception as error:
            told = controls.fault(error)
            yield ready | ({shown: view | {"status": status("failed", told.message)}} if view else {})
            raise told from None
        if isinstance(event, Failed):
            raise gr.Error(controls.untagged(event.sentence), title="Not finished", print_exception=False)

    outputs = [shown, go, halt, *(component for component, _ in more)]
    go.click(run, list(inputs), outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    halt.click(stop, queue=False, **PRIVATE)


# ------------------------------------------------------------------------------------------------------- the race


def race_page(engine: Engine, base: Sequence[Any]) -> dict[str, Any]:
    """Error against NFE, on an exact mixture or on the loaded model, and the orders that come of it."""
    places = [(f"exact: {name.replace('_', ' ')}", name) for name in PLANAR]
    with gr.Row(elem_classes="samplers-desk"):
        with gr.Column():
            on = gr.Radio([("the exact 2-D mixture (seconds)", "mixture"), ("this model (minutes)", MODEL)], value="mixture",
                          label="On", elem_id="race-on")  # fmt: skip
            toy = gr.Dropdown(places, value="ring", label="Mixture", elem_id="race-toy")
            noises = gr.Slider(1, MOST_NOISES, noises_allowed(engine), step=1, label="Starting noises", visible=False,
                               info="this seed and those after it: several give an interval", elem_id="race-noises")  # fmt: skip
            go, halt = buttons("race", "Race")
            names = gr.CheckboxGroup(controls.samplers(), value=list(SAMPLERS), label="Samplers", elem_id="race-samplers")
            steps = gr.Textbox(", ".join(map(str, STEPS)), label="Steps", info="numbers or ranges such as 5-25 (+5)", max_lines=1,
                               elem_id="race-steps")  # fmt: skip
        with gr.Column():
            shown = canvas("race", "Press Race: every sampler from the same noise, against a very fine solve.")
            held = gr.State([])
            downloads.buttons(race_file, [held], ("png", "svg", "csv"))
            gr.Markdown(TEXTS[0], elem_classes="lesson")
            orders = gr.Markdown("", elem_id="samplers-orders")
    on.change(lambda where: [gr.update(visible=where != MODEL), gr.update(visible=where == MODEL)], on, [toy, noises], queue=False,
              **PRIVATE)  # fmt: skip
    on.input(lambda where: ", ".join(map(str, COARSE if where == MODEL else STEPS)), on, steps, queue=False, **PRIVATE)

    def work(where: Any, toy: Any, names: Any, steps: Any, noises: Any, *values: Any) -> tuple[Callable[[], Generator], float]:
        return race_work(engine, MODEL if where == MODEL else toy, names, steps, noises, base_of(*values))

    def table(points: list[Point]) -> str:
        heads = ("sampler", "declared order", "measured order", "NFE to 1 %", "finest error")
        return figures.markdown_table(heads, figures.orders(points)) if points else ""

    connect(engine, shown, go, halt, work, [on, toy, names, steps, noises, *base], [(orders, table), (held, list)])
    return {"on": on, "toy": toy, "race_samplers": names, "race_steps": steps, "race_noises": noises}


def race_file(kind: str, points: list[Point]) -> tuple[str, bytes]:
    """A finished race as a file."""
    if not points:
        raise UserError("There is no race to save yet; press Race and let it finish.")
    if kind == "csv":
        return "race.csv", figures.points_csv(points)
    return f"race.{kind}", drawn(figures.race_figure(points, "error against network evaluations"), kind)


# ------------------------------------------------------------------------------------------------------- pictures


def pictures_page(engine: Engine, base: Sequence[Any]) -> dict[str, Any]:
    """Samplers as rows, steps as columns, one noise; and the thousand steps of DDPM beside fifty of DDIM."""
    with gr.Row(elem_classes="samplers-desk"):
        with gr.Column():
            go, halt = buttons("pictures", "Paint them all")
            names = gr.CheckboxGroup(controls.samplers(), value=["ddim", "heun", "dpmpp_2m", "euler_ancestral"], label="Samplers",
                                     elem_id="pictures-samplers")  # fmt: skip
            steps = gr.Textbox("3, 5, 10, 20", label="Steps", info="numbers or ranges", max_lines=1, elem_id="pictures-steps")
            ways = [("as in the race: σ/α from 80 to 0.02", LADDER), *((name.capitalize(), name) for name in SPACINGS)]
            spacing = gr.Dropdown(ways, value=LADDER, label="Spacing", info="where the steps lie", elem_id="pictures-spacing")
            gr.Markdown("The source's claim: fifty steps of DDIM for a thousand of DDPM.")
            twenty = gr.Button("DDIM 50 beside DDPM 1000", size="sm", elem_id="pictures-twenty")
        with gr.Column():
            shown = canvas("pictures", "Press the button: each picture appears when it is finished, and Stop keeps what is there.")
            gr.Markdown(TEXTS[1], elem_classes="lesson")

    def work(names: Any, steps: Any, spacing: Any, *values: Any) -> tuple[Callable[[], Generator], float]:
        spacing = one_of("spacing", spacing, (LADDER, *SPACINGS))
        recipe = base_of(*values, spacing=None if spacing == LADDER else spacing)
        rows = ", ".join(SAMPLERS[name].label for name in some_of("samplers", names, SAMPLERS))
        # A single value is no change to the recipe, but still a row or a column.
        made = grid(recipe, axis("Steps", steps, recipe), axis("Sampler", rows, recipe), strict=False)
        if spacing == LADDER:
            cells = [(cell.recipe, cell.recipe.sampler, cell.recipe.steps) for cell in made.cells]
            made = made.with_recipes([on_ladder(one, engine.pipe.schedule, name, count) for one, name, count in cells])
        return grid_work(engine, made)

    def beside(*values: Any) -> tuple[Callable[[], Generator], float]:
        recipe = base_of(*values, spacing="trailing")
        made = grid(recipe, axis("Sampler", "DDIM, DDPM", recipe))
        cells = [(cell, 50 if cell.recipe.sampler == "ddim" else 1000) for cell in made.cells]
        return grid_work(engine, made.with_recipes([cell.recipe.replace(steps=count) for cell, count in cells]))

    connect(engine, shown, go, halt, work, [names, steps, spacing, *base])
    connect(engine, shown, twenty, halt, beside, base)
    return {"samplers": names, "steps": steps, "spacing": spacing}


def grid_work(engine: Engine, made: Grid) -> tuple[Callable[[], Generator], float]:
    """The work of a grid and what it costs."""
    work = made.work(engine.pipe.size)

    def paint() -> Generator:
        view = yield from contests.painted(engine, made, address)
        return view, None

    return paint, work


# ------------------------------------------------------------------------------------------------------- X/Y/Z


def xyz_page(engine: Engine, base: Sequence[Any]) -> dict[str, Any]:
    """Any three settings against each other."""
    starts = (("Sampler", "DDIM, DPM++ 2M"), ("Steps", "4, 8, 16"), (NOTHING, ""))
    with gr.Row(elem_classes="samplers-desk"):
        with gr.Column():
            axes: list[Any] = []
            for letter, (kind, text) in zip("XYZ", starts, strict=True):
                with gr.Row():
                    chosen = gr.Dropdown([NOTHING, *KINDS], value=kind, label=f"{letter} axis", scale=2, min_width=120,
                                         elem_id=f"xyz-kind-{letter.lower()}")  # fmt: skip
                    typed = gr.Textbox(text, label="Values", max_lines=2, scale=3, min_width=150,
                                       elem_id=f"xyz-values-{letter.lower()}")  # fmt: skip
                chosen.input(example, chosen, typed, queue=False, **PRIVATE)  # a link brings values of its own
                axes += [chosen, typed]
            go, halt = buttons("xyz", "Paint the grid")
            gr.Markdown(TEXTS[2], elem_classes="lesson")
        with gr.Column():
            shown = canvas("pictures", "Choose what varies along each axis, and press the button.")

    def work(kx: Any, tx: Any, ky: Any, ty: Any, kz: Any, tz: Any, *values: Any) -> tuple[Callable[[], Generator], float]:
        recipe = base_of(*values)
        made = [axis(kind, text, recipe) for kind, text in ((kx, tx), (ky, ty), (kz, tz))]
        return grid_work(engine, grid(recipe, *made))

    connect(engine, shown, go, halt, work, [*axes, *base])
    return dict(zip(("x", "x_values", "y", "y_values", "z", "z_values"), axes, strict=True))


def example(kind: Any) -> Any:
    """What stands in the box of values, and in an empty one, when a visitor chooses another kind of axis."""
    text = KINDS[kind].example if kind in KINDS else ""
    return gr.update(placeholder=text, value=text)


# ------------------------------------------------------------------------------------------------------- fresh noise


def fan_page(engine: Engine) -> dict[str, Any]:
    """Eight runs from one point with different fresh noise, for any eta."""
    schedule = engine.pipe.schedule

    def view(eta: Any, steps: Any, start: Any, toy: Any) -> dict[str, Any]:
        eta, steps = real("eta", eta, 0, 1), whole("steps", steps, 2, 60)
        start, toy = whole("start", start, 0, 9999), one_of("mixture", toy, PLANAR)
        paths = fan(TOYS[toy](), schedule, eta, steps, seed=start)[0]
        made = figures.fan_view(paths, figures.cloud(toy), eta, spread(paths[None, :, -1]), spreads(toy, steps))
        return made | {"near": min(ETAS, key=lambda known: abs(known - eta))}

    @functools.lru_cache(maxsize=64)
    def spreads(toy: str, steps: int) -> dict[float, float]:
        return {eta: spread(fan(TOYS[toy](), schedule, eta, steps, starts=64)[:, :, -1]) for eta in ETAS}

    def draw(*values: Any) -> dict[str, Any]:
        try:
            return view(*values)
        except Exception as error:
            raise controls.fault(error) from None

    with gr.Row(elem_classes="choices"):
        eta = gr.Slider(0, 1, 0.3, step=0.05, label="η", info="0 is DDIM, 1 is DDPM", elem_id="fan-eta")
        steps = gr.Slider(2, 60, 20, step=1, label="Steps", elem_id="fan-steps")
        start = gr.Slider(0, 50, 3, step=1, label="Starting point", info="another seed, another point", elem_id="fan-start")
        toy = gr.Dropdown([(name.replace("_", " "), name) for name in PLANAR], value="ring", label="Mixture", elem_id="fan-toy")
    shown = gr.HTML(view(0.3, 20, 3, "ring"), html_template='<div class="fan"></div>', js_on_load=SCRIPT, apply_default_css=False,
                    elem_id="fan")  # fmt: skip
    gr.Markdown(TEXTS[3], elem_classes="lesson", latex_delimiters=LATEX)
    asked = [eta, steps, start, toy]
    gr.on([widget.change for widget in asked], draw, asked, shown, trigger_mode="always_last", **PRIVATE)
    return {"eta": eta, "fan_steps": steps, "start": start, "fan_toy": toy}
