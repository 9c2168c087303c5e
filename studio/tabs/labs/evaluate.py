"""Evaluate: what metrics of pictures see and what they miss, and what the model's own settings do to them."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import gradio as gr

from core.evaluation.clouds import clouds
from core.evaluation.critics import INCEPTION, OWN
from core.evaluation.damage import GROUPED, KINDS, Damage, classes
from core.evaluation.gallery import NEEDS
from core.evaluation.headlines import HEADLINES
from core.evaluation.settings import GAMMAS, SEEDS, STEPS, Setting
from core.metrics import METRICS
from core.recipe import BUDGET
from studio.figures import evaluate as figures
from studio.service.engine import USUAL, Engine
from studio.tabs.labs.desk import PRICE, buttons, canvas, worked
from studio.widgets import controls
from studio.widgets.base import ENGINE, LATEX, PRIVATE, texts
from studio.widgets.checks import one_of, real, some_of, whole
from studio.widgets.settings import Settings
from studio.work.evaluate import Room, headlines, losses, noticed, numbered, swept

NOTICES, METRICS_PART, NUMBER, LOSS, SETTINGS, CLAIMS = PARTS = ("notices", "metrics", "number", "loss", "settings", "headlines")
LABELS = ("Which metric notices?", "The metrics", "How many pictures?", "The loss against t", "Guidance and steps",
          "The headline claims")  # fmt: skip
TEXTS = dict(zip(PARTS, texts("labs-evaluate"), strict=True))
FEATURES = dict(zip((OWN, INCEPTION), texts("labs-evaluate-features"), strict=True))
KNOBS = {"blur": ("blur", 16.0), "noise": ("noise", 1.0), "duplicate": ("copies", 64.0)}  # what a damage is set by, and its most
AGAINST = (("guidance scale γ", "gamma"), ("number of evaluations (NFE)", "nfe"))
MOST_SHIFT, MOST_SPREAD, MOST_POINTS, MOST_PROMPTS = 4.0, 3.0, 1000, 16
MOST_ROWS = 50  # captions of a row of the headline table on a machine of one's own: enough for a Frechet distance of 192 features
COST = 20 * USUAL
SCALE, STEPPED = 2.0, 10  # of the curves against NFE, and of those against gamma


def page(engine: Engine) -> Settings:
    """Lay out the choice of parts, each with what it can be given and what it comes to."""
    room = Room(engine)
    part = gr.Radio(list(zip(LABELS, PARTS, strict=True)), value=NOTICES, label="Evaluate", elem_id="evaluate-part")
    lesson = gr.Markdown(texts_of(room)[NOTICES], elem_classes="lesson", latex_delimiters=LATEX, elem_id="evaluate-text")
    lacks = next((told for what in NEEDS if (told := engine.pipe.extras.missing(what))), "")
    columns: dict[str, gr.Column] = {}
    view: dict[str, Any] = {"evaluate": part}
    parts = {NOTICES: part_of_notices, METRICS_PART: part_of_metrics, NUMBER: part_of_number, LOSS: part_of_loss,
             SETTINGS: part_of_settings, CLAIMS: part_of_headlines}  # fmt: skip
    redraw: dict[str, Any] = {}
    for name, lay_out in parts.items():
        with gr.Column(visible=name == NOTICES, elem_id=f"evaluate-{name}") as columns[name]:
            if lacks and name != METRICS_PART:
                gr.Markdown(lacks, elem_classes="lesson")
            elif name == METRICS_PART:
                redraw = lay_out(room)
                view |= redraw["view"]
            else:
                view |= lay_out(room)

    def choose(name: Any, *sliders: Any) -> list[Any]:
        name = name if name in TEXTS else NOTICES
        drawn = drawn_clouds(*sliders) if name == METRICS_PART else gr.skip()
        return [texts_of(room)[name], drawn, *(gr.update(visible=each == name) for each in columns)]

    part.change(choose, [part, *redraw["inputs"]], [lesson, redraw["stage"], *columns.values()], queue=False, **PRIVATE)
    return Settings(view=view)


def texts_of(room: Room) -> dict[str, str]:
    """What each part says, and whose features its numbers are of: the two clouds and the loss have none."""
    whose = FEATURES[room.critic.kind]
    return {part: text if part in (METRICS_PART, LOSS) else f"{text.rstrip()} {whose}" for part, text in TEXTS.items()}


def staged(room: Room, name: str, idle: str, make: Callable[..., tuple[Any, float]], inputs: Sequence[Any]) -> None:
    """A canvas, and the buttons that start and stop the work which `make` gives, with its cost, for what the inputs hold."""
    pair = buttons("Measure", name)
    made = worked(room.engine, canvas(name, "labs", {"idle": idle}), pair)

    async def measure(request: gr.Request, *values: Any) -> AsyncIterator[dict[Any, Any]]:
        async for update in made.follow(request, lambda: make(*values)):
            yield update

    made.go.click(measure, list(inputs), made.outputs, trigger_mode="once", **ENGINE, **PRIVATE)


# ------------------------------------------------------------------------------------------------- which metric notices?


def part_of_notices(room: Room) -> dict[str, Any]:
    """The damage, the prediction, and every metric before and after."""
    with gr.Row(elem_classes="labs-row"):
        damage = gr.Radio([(figures.NAMES[kind], kind) for kind in KINDS], value="blur", label="Damage", elem_id="evaluate-damage")
        blur = gr.Slider(0, 16, 4, step=0.5, label="Blur, in pixels", elem_id="evaluate-blur")
        noise = gr.Slider(0, 1, 0.3, step=0.05, label="Standard deviation of the noise", visible=False, elem_id="evaluate-noise")
        copies = gr.Slider(1, 64, 8, step=1, label="Copies of each", visible=False, elem_id="evaluate-copies")
        known = classes(room.engine.pipe)
        group = gr.Dropdown(known, value=known[0] if known else None, label="Class", visible=False, elem_id="evaluate-group")
    named = [(metric.label, name) for name, metric in room.critic.metrics.items()]
    foreseen = gr.CheckboxGroup(named, value=[], label="Predict first: which will notice?", elem_id="evaluate-foreseen")
    inputs = [damage, blur, noise, copies, group, foreseen]

    def knobs(kind: Any) -> list[Any]:
        return [gr.update(visible=kind == one) for one in KNOBS] + [gr.update(visible=kind in GROUPED)]

    def work(*values: Any) -> tuple[Any, float]:
        return functools.partial(noticed, room, *damage_of(*values)), COST

    damage.change(knobs, damage, [blur, noise, copies, group], queue=False, **PRIVATE)
    staged(room, "notices", "Tick what you expect to notice; then press Measure.", work, inputs)
    return dict(zip(("damage", "blur", "noise", "copies", "group", "foreseen"), inputs, strict=True))


def damage_of(kind: Any, blur: Any, noise: Any, copies: Any, group: Any, foreseen: Any) -> tuple[Damage, list[str]]:
    """The damage and the prediction that the widgets say; raises UserError."""
    kind, given = one_of("damage", kind, KINDS), {"blur": blur, "noise": noise, "duplicate": copies}
    guesses = some_of("prediction", foreseen, METRICS) if foreseen else []
    if kind not in KNOBS:
        return Damage(kind, group=str(group) if kind in GROUPED else ""), guesses
    name, most = KNOBS[kind]
    strength = whole(name, given[kind], 1, int(most)) if kind == "duplicate" else real(name, given[kind], 0, most)
    return Damage(kind, strength), guesses


# ------------------------------------------------------------------------------------------------- the metrics


def part_of_metrics(room: Room) -> dict[str, Any]:
    """Two clouds in the plane, drawn anew whenever a slider moves."""
    with gr.Row(elem_classes="labs-row"):
        shift = gr.Slider(0, MOST_SHIFT, 1.5, step=0.1, label="Means apart", elem_id="evaluate-shift")
        long = gr.Slider(0.1, MOST_SPREAD, 1.5, step=0.1, label="Long spread", elem_id="evaluate-long")
        short = gr.Slider(0.1, MOST_SPREAD, 0.5, step=0.1, label="Short spread", elem_id="evaluate-short")
        turn = gr.Slider(0, 90, 30, step=5, label="Turn (°)", elem_id="evaluate-turn")
        points = gr.Slider(3, MOST_POINTS, 200, step=1, label="Points", elem_id="evaluate-points")
        cross = gr.Checkbox(False, label="Generated on a cross", elem_id="evaluate-cross")
    stage = canvas("clouds", "labs", {})
    inputs = [shift, long, short, turn, points, cross]
    moved = [part for slider in inputs[:-1] for part in (slider.change, slider.release)]
    gr.on([*moved, cross.change], drawn_clouds, inputs, stage, queue=False, trigger_mode="always_last", **PRIVATE)
    names = ("shift", "long", "short", "turn", "cloud_points", "cross")
    return {"view": dict(zip(names, inputs, strict=True)), "inputs": inputs, "stage": stage}


def drawn_clouds(shift: Any, long: Any, short: Any, turn: Any, points: Any, cross: Any) -> dict[str, Any]:
    """Both clouds and the parts of their distance, for a page."""
    try:
        return figures.clouds_view(clouds(
            real("shift", shift, 0, MOST_SHIFT), real("long", long, 0.1, MOST_SPREAD), real("short", short, 0.1, MOST_SPREAD),
            real("turn", turn, 0, 90), whole("points", points, 3, MOST_POINTS), cross is True,
        ))  # fmt: skip
    except Exception as error:
        raise controls.fault(error) from None


# ------------------------------------------------------------------------------------------------- numbers and settings


def part_of_number(room: Room) -> dict[str, Any]:
    """Both distances against the number of pictures."""
    idle = "How far apart are two sets from the same distribution? Guess; then press Measure."
    staged(room, "number", idle, lambda: (functools.partial(numbered, room), COST), [])
    return {}


def part_of_loss(room: Room) -> dict[str, Any]:
    """The loss at each time, under captions and without."""
    idle = "At which t is the noise hardest to tell, and at which do words help? Guess; then press Measure."
    staged(room, "loss", idle, lambda: (functools.partial(losses, room.engine.pipe), PRICE), [])
    return {}


def part_of_settings(room: Room) -> dict[str, Any]:
    """Fidelity and diversity against guidance scale or number of evaluations."""
    with gr.Row(elem_classes="labs-row"):
        against = gr.Radio(list(AGAINST), value="gamma", label="Against", elem_id="evaluate-against")
        count = gr.Slider(2, MOST_PROMPTS, 8, step=1, label=f"Captions, {SEEDS} seeds each", elem_id="evaluate-captions")

    def work(against: Any, count: Any) -> tuple[Any, float]:
        against, count = one_of("against", against, [name for _, name in AGAINST]), whole("captions", count, 2, MOST_PROMPTS)
        settings = settings_of(against)
        return functools.partial(swept, room, settings, count, against), price(settings, count)

    staged(room, "quality", "What does it buy, and what does it cost? Guess; then press Measure.", work, [against, count])
    return {"against": against, "captions": count}


def settings_of(against: str) -> list[Setting]:
    """The settings along one axis, the cheap ones first."""
    if against == "gamma":
        return [Setting("dpmpp_2m", STEPPED, gamma) for gamma in GAMMAS]
    return [Setting(name, steps, SCALE) for steps in STEPS for name in ("ddim", "dpmpp_2m")]


def price(settings: Sequence[Setting], count: int) -> float:
    """Steps × pixels of so many captions at every setting."""
    return sum(setting.steps for setting in settings) * count * SEEDS * 128.0 * 128


def part_of_headlines(room: Room) -> dict[str, Any]:
    """The headline claims as one table."""
    most = int(BUDGET / price(HEADLINES, 1)) if room.engine.shared else MOST_ROWS
    with gr.Row(elem_classes="labs-row"):
        count = gr.Slider(2, most, 4, step=1, label=f"Captions, {SEEDS} seeds each", elem_id="evaluate-rows")

    def work(count: Any) -> tuple[Any, float]:
        count = whole("captions", count, 2, most)
        return functools.partial(headlines, room, count), price(HEADLINES, count)

    staged(room, "headlines", "Press Measure: the ring takes seconds, the model minutes.", work, [count])
    return {"table_captions": count}
