"""The tab of latents: what a picture becomes between encoder and decoder, what can be done with it there, and why anyone would.

One column holds the picture that every page looks at, five pages look. The endpoints `/encode` and `/decode` do it for programs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from core.costs import size
from core.errors import UserError
from core.latents import Edit
from core.recipe import MAX_TEXT, Recipe, clean_text
from studio.endpoints import latents as latents_endpoint
from studio.figures import latents as figures_latents
from studio.figures.noising import drawn_example, square
from studio.formats import photos
from studio.service.engine import Engine, cost
from studio.service.jobs import Done, Failed
from studio.widgets import controls
from studio.widgets.base import ENGINE, PRIVATE, texts
from studio.widgets.checks import one_of, real, whole
from studio.widgets.settings import Settings
from studio.widgets.subpage import Page, formula, page, press
from studio.widgets.uploads import SafeImage
from studio.work import latents as work
from studio.work.latents import Bench, Held
from studio.work.walks import NOISES, PICTURES, PROMPTS, Walk, between_pictures, walk_cost, walked

TEXTS = texts("latents")
PROMPT, OTHER_PROMPT, SEED, OTHER_SEED, STEPS = "a red apple", "a blue car", "7", "8", 12
FRAMES, MOST_FRAMES = 9, 17
MOST_SCALE, MOST_SHIFT = 3.0, 3.0
SIDES = (64, 96, 128, 192, 256, 384, 512, 768, 1024)


def tab(engine: Engine, demo: gr.Blocks) -> Settings:
    """Lay out the column and the pages."""
    bench = Bench(engine)
    with gr.Row(elem_id="latents"):
        with gr.Column(elem_id="l-ask"):
            column = ask(bench)
        with gr.Column(elem_id="l-show"), gr.Tabs(elem_id="l-pages", overflow_behavior="wrap") as pages:
            with gr.Tab("Channels", id="channels"):
                channels = page_of_channels(bench, column)
            with gr.Tab("Between", id="between"):
                view = page_of_between(bench, column)
            with gr.Tab("Map", id="map"):
                page_of_map(bench, column)
            with gr.Tab("What is lost", id="lost"):
                page_of_lost(bench, column)
            with gr.Tab("Why", id="why"):
                page_of_sizes(bench)
    column.connect(bench, channels)
    latents_endpoint.lay_out(bench)
    return Settings(column.words, view=view, pages=pages)


# ------------------------------------------------------------------------------------------------------- the picture


@dataclass(frozen=True)
class Column:
    """The picture that all pages look at: an upload, or one of the model's."""

    held: gr.State
    picture: SafeImage
    words: dict[str, Any]  # prompt, seed, steps: what the model makes one of
    go: gr.Button

    def recipe(self, prompt: Any, seed: Any, steps: Any) -> Recipe:
        return controls.recipe_of(prompt=prompt, seed=seed, steps=steps)

    def connect(self, bench: Bench, channels: Page) -> None:
        """A new picture is taken apart at once."""

        async def make(request: gr.Request, *values: Any) -> AsyncIterator[dict[Any, Any]]:
            """A picture of the model's, with the recipe that tells its run."""
            ready = {self.go: gr.update(interactive=True)}
            try:
                recipe = bench.pipe.complete(self.recipe(*values))
                yield {self.go: gr.update(interactive=False)}
                with bench.engine.submit(recipe, controls.visitor(request)) as job:
                    async for event in job:
                        if isinstance(event, Failed):
                            raise UserError(event.sentence)
                        if isinstance(event, Done):
                            image = event.value.images[0]
                            yield {self.held: Held(image, event.value.recipe), self.picture: image}
            except Exception as error:
                yield ready
                raise controls.fault(error) from None
            yield ready

        def take(image: Image.Image | None, held: Held) -> Any:
            """What was uploaded, as a square; a picture that the model just made is held already."""
            if image is None or photos.digest(image) == photos.digest(held.image):
                return gr.skip()
            if "notice" in image.info:
                gr.Info(image.info["notice"])
            return Held(square(image, bench.pipe.size))

        async def apart(request: gr.Request, held: Held) -> AsyncIterator[dict[Any, Any]]:
            async for update in channels.follow(request, lambda: channels_work(bench, held)):
                yield update

        asked = list(self.words.values())
        gr.on([self.go.click, self.words["prompt"].submit], make, asked, [self.held, self.picture, self.go], trigger_mode="once",
              **ENGINE, **PRIVATE)  # fmt: skip
        self.picture.change(take, [self.picture, self.held], self.held, **PRIVATE)
        gr.on([channels.go.click, self.held.change], apart, self.held, channels.outputs, trigger_mode="once", **ENGINE, **PRIVATE)


def ask(bench: Bench) -> Column:
    """The picture, and what the model would make one from."""
    start = drawn_example(bench.pipe.size)
    held = gr.State(Held(start))
    picture = SafeImage(start, label="The picture, or yours", height=260, elem_id="l-picture")
    prompt = gr.Textbox(PROMPT, label="Or one of the model's", max_lines=2, max_length=MAX_TEXT, elem_id="l-prompt")
    with gr.Row(elem_id="l-numbers"):
        seed = controls.seed_box("l-")
        seed.value = SEED
        steps = controls.number_slider("steps", "Steps", most=50, within="l-")
        steps.value, steps.info = STEPS, None
    return Column(held, picture, {"prompt": prompt, "seed": seed, "steps": steps}, gr.Button("Make", elem_id="l-make"))


# ------------------------------------------------------------------------------------------------------- channels


def channels_work(bench: Bench, held: Held) -> tuple[Any, float]:
    return lambda: work.taken_apart(bench, held.image), 3 * work.picture_cost(bench, None)


def page_of_channels(bench: Bench, column: Column) -> Page:
    """The channels as maps with histograms; changed, the picture follows."""
    formula("z = s · E(x), &nbsp; x ≈ D(z/s) &nbsp;·&nbsp; z′<sub>c</sub> = scale · z<sub>from(c)</sub> + shift")
    with gr.Row(elem_classes="g-controls l-controls"):
        buttons = press("Encode", "l-channels")
    made = page(bench.engine, "l-channels", "latents-channels", TEXTS[0], buttons, {}, edited=None,
                most=[MOST_SCALE, MOST_SHIFT])  # fmt: skip

    async def change(request: gr.Request, event: gr.EventData, held: Held) -> AsyncIterator[Any]:
        """Decode what the page's script has made of the channels."""
        data = event._data if isinstance(event._data, dict) else {}
        try:
            edits = edits_of(data.get("edits"), bench.pipe.vae.config.latent_channels)
            with bench.engine.compute(lambda: work.changed(bench, held.image, edits), controls.visitor(request),
                                      work.picture_cost(bench, None)) as job:  # fmt: skip
                async for happened in job:
                    if isinstance(happened, Failed):
                        raise UserError(happened.sentence)
                    if isinstance(happened, Done):
                        yield gr.update(edited=happened.value | {"edits": data["edits"]})
        except Exception as error:
            raise controls.fault(error) from None

    made.stage.edit(change, column.held, made.stage, trigger_mode="always_last", **ENGINE, **PRIVATE)
    return made


def edits_of(given: Any, channels: int) -> list[Edit]:
    """The edits that a page asks for; raises UserError."""
    if not isinstance(given, list) or len(given) != channels:
        raise UserError(f"There must be one edit for each of the {channels} channels: reload the page.")
    rows = [one if isinstance(one, dict) else {} for one in given]
    return [
        Edit(whole("from", row.get("takes"), 0, channels - 1), real("scale", row.get("scale"), -MOST_SCALE, MOST_SCALE),
             real("shift", row.get("shift"), -MOST_SHIFT, MOST_SHIFT))
        for row in rows
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------- between two


def page_of_between(bench: Bench, column: Column) -> dict[str, Any]:
    """From one noise, prompt or picture to another, the straight way and around the sphere; returns what a link can set."""
    formula("linear (1 − s) a + s b &nbsp;·&nbsp; spherical (sin((1 − s)θ) a + sin(sθ) b)/sin θ")
    kinds = [("pictures", PICTURES), ("noises", NOISES), ("prompts", PROMPTS)]
    with gr.Row(elem_classes="g-controls l-controls"):
        kind = gr.Radio(kinds, value=NOISES, label="Between two", info="the first is in the column", elem_id="l-kind")
        frames = gr.Slider(3, MOST_FRAMES, FRAMES, step=2, label="Frames", elem_id="l-frames", min_width=120)
        seed = gr.Textbox(OTHER_SEED, label="The other seed", max_lines=1, max_length=20, elem_id="l-other-seed", min_width=110)
        prompt = gr.Textbox(OTHER_PROMPT, label="The other prompt", max_lines=1, max_length=MAX_TEXT, visible=False,
                            elem_id="l-other-prompt", min_width=150)  # fmt: skip
        buttons = press("Walk", "l-between")
    other = SafeImage(None, label="The other picture (without one, the model makes it of the other prompt)", height=150,
                      visible=False, elem_id="l-other-picture")  # fmt: skip
    made = page(bench.engine, "l-between", "latents-between", TEXTS[1], buttons, {})

    def choose(kind: Any) -> list[Any]:
        return [gr.update(visible=kind == NOISES), gr.update(visible=kind != NOISES), gr.update(visible=kind == PICTURES)]

    def asked(kind: Any, frames: Any, seed: Any, prompt: Any, other: Any, held: Held, *words: Any) -> tuple[Any, float]:
        kind = one_of("kind", kind, (PICTURES, NOISES, PROMPTS))
        frames = whole("frames", frames, 3, MOST_FRAMES)
        recipe = bench.pipe.complete(column.recipe(*words))
        if kind == PICTURES:
            second = recipe.replace(prompt=clean_text(str(prompt or "")))
            image = None if other is None else square(other, bench.pipe.size)
            walk = Walk(kind, second, "", frames)
            price = walk_cost(bench, walk) + (cost(second) if image is None else 0)
            return lambda: between_pictures(bench, held, image, second, frames), price
        second = controls.recipe_of(prompt=str(prompt or ""), seed=seed)  # raises for what no recipe may have
        walk = Walk(kind, recipe, second.seed if kind == NOISES else second.prompt, frames)
        return lambda: walked(bench, walk), walk_cost(bench, walk)

    async def go(request: gr.Request, *values: Any) -> AsyncIterator[dict[Any, Any]]:
        async for update in made.follow(request, lambda: asked(*values)):
            yield update

    kind.change(choose, kind, [seed, prompt, other], queue=False, **PRIVATE)
    inputs = [kind, frames, seed, prompt, other, column.held, *column.words.values()]
    gr.on([made.go.click, seed.submit, prompt.submit], go, inputs, made.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    return {"between": kind, "frames": frames, "other_seed": seed, "other_prompt": prompt}


# ------------------------------------------------------------------------------------------------------- the map


def page_of_map(bench: Bench, column: Column) -> None:
    """All training latents on two axes, the picture's run among them, and its nearest neighbours with their credit."""
    formula("c<sub>i</sub> = axis<sub>i</sub> · (z − mean), &nbsp; the axes of greatest variance")
    missing = bench.pipe.extras.missing("latents")
    with gr.Row(elem_classes="g-controls l-controls"):
        buttons = press("Draw the map", "l-map")
    made = page(bench.engine, "l-map", "latents-map", TEXTS[2], buttons, {"missing": missing}, look=None)

    async def draw(request: gr.Request, held: Held) -> AsyncIterator[dict[Any, Any]]:
        price = work.picture_cost(bench, held.recipe)
        async for update in made.follow(request, lambda: (lambda: work.mapped(bench, held), price)):
            yield update

    async def look(request: gr.Request, event: gr.EventData) -> AsyncIterator[Any]:
        """A training picture whose point was clicked."""
        data = event._data if isinstance(event._data, dict) else {}
        try:
            i = whole("i", data.get("i"), 0, len(bench.pipe.extras.training.origins) - 1)
            with bench.engine.compute(lambda: work.looked_up(bench, i), controls.visitor(request),
                                      work.picture_cost(bench, None)) as job:  # fmt: skip
                async for happened in job:
                    if isinstance(happened, Failed):
                        raise UserError(happened.sentence)
                    if isinstance(happened, Done):
                        yield gr.update(look=happened.value)
        except Exception as error:
            raise controls.fault(error) from None

    made.go.click(draw, column.held, made.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    made.stage.select(look, None, made.stage, trigger_mode="always_last", **ENGINE, **PRIVATE)


# ------------------------------------------------------------------------------------------------------- lost and saved


def page_of_lost(bench: Bench, column: Column) -> None:
    """What 48 times fewer numbers leave out, by spatial frequency."""
    formula("E<sub>r</sub> = Σ<sub>k in ring r</sub> |FFT(x)<sub>k</sub>|²/(H·W) &nbsp;·&nbsp; PSNR = 10 log<sub>10</sub>(2²/MSE)")
    with gr.Row(elem_classes="g-controls l-controls"):
        buttons = press("Compare", "l-lost")
    made = page(bench.engine, "l-lost", "latents-lost", TEXTS[3], buttons, {})

    async def go(request: gr.Request, held: Held) -> AsyncIterator[dict[Any, Any]]:
        price = 6 * work.picture_cost(bench, None)
        async for update in made.follow(request, lambda: (lambda: work.lost(bench, held.image), price)):
            yield update

    made.go.click(go, column.held, made.outputs, trigger_mode="once", **ENGINE, **PRIVATE)


def page_of_sizes(bench: Bench) -> None:
    """What a picture costs as pixels and as latents, at the size of the slider."""
    formula("3·s² against 4·(s/8)²: &nbsp; 48 times fewer numbers, &nbsp; 8⁴ = 4,096 times less attention")
    with gr.Row(elem_classes="g-controls l-controls"):
        buttons = press("Count and time", "l-why")
    vae = bench.pipe.vae
    sizes = [figures_latents.sized(size(side, vae.factor, vae.config.latent_channels)) for side in SIDES]
    made = page(bench.engine, "l-why", "latents-size", TEXTS[4], buttons, {}, sizes=sizes)

    async def go(request: gr.Request) -> AsyncIterator[dict[Any, Any]]:
        async for update in made.follow(request, lambda: (lambda: work.measured(bench), 40 * work.picture_cost(bench, None))):
            yield update

    made.go.click(go, None, made.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
