"""The first tab: words in, a picture out, and everything that decides it within reach.

One stage shows what happens: a rough picture while it forms, the finished ones in the same place. Its script fills it
with text and image addresses only, never with HTML, because prompts are written by strangers. The endpoint `/generate`
makes the same pictures for programs.
"""

# No `from __future__ import annotations`: Gradio reads the types of the endpoint as objects.
import inspect
import logging
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio.data_classes import FileData

from core.errors import UserError
from core.recipe import Recipe, allowed
from core.sampling import SAMPLERS
from core.schedules import SPACINGS
from studio import controls
from studio.engine import Engine
from studio.figures import data_uri, duration, file_name, scale, summary
from studio.infotext import infotext
from studio.jobs import LAST, Done, Failed, Preview, Queued, Run, Stopped
from studio.links import from_query, to_query
from studio.png import alone, save_png

log = logging.getLogger(__name__)

SCRIPT = (Path(__file__).parents[2] / "assets" / "stage.js").read_text(encoding="utf-8")
STAGE = '<div class="tiles" role="group" aria-label="Pictures"></div><div class="line" role="status"></div>'
IDLE = {"state": "idle", "line": "Say what you would like to see, and press Generate."}
EXAMPLES = ("a red apple", "a smiling cat face", "a rocket, 3d", "una casa", "a blue car on a yellow background")
ENGINE: dict[str, Any] = {"concurrency_id": "engine", "concurrency_limit": 64}
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
REST = ("schedule", "end", "guidance", "rng", "width", "height", "tier")  # kept from a link without a widget


def tab(engine: Engine, demo: gr.Blocks) -> None:
    """Lay out the tab and connect it with the engine."""
    with gr.Row(elem_id="desk"):
        with gr.Column(elem_id="ask"):
            prompt = controls.prompt_box()
            with gr.Row(elem_id="buttons"):
                go = gr.Button("Generate", variant="primary", elem_id="generate")
                halt = gr.Button("Stop", interactive=False, elem_id="stop")
            gr.Examples([[text] for text in EXAMPLES], [prompt], label="Try", api_visibility="private")
        with gr.Column(elem_id="show"):
            stage = gr.HTML(IDLE, html_template=STAGE, js_on_load=SCRIPT, elem_id="stage", apply_default_css=False)
            with gr.Accordion("Recipe", open=False, elem_id="recipe"):
                shown: dict[str, Any] = {"buttons": ["copy"], "interactive": False}
                text = gr.Textbox(label="As other programs read it", lines=4, elem_id="infotext", **shown)
                link = gr.Textbox(label="Link to this picture", max_lines=1, elem_id="link", **shown)
        with gr.Column(elem_id="settings"):
            sampler = controls.sampler_widgets()
            steps = controls.number_slider("steps", "Steps", most=100)
            gamma, both = controls.gamma_slider()
            with gr.Row(elem_id="seeds"):
                seed = controls.seed_box()
                keep = gr.Button("Keep", size="sm", elem_id="keep")
            batch = controls.number_slider("batch", "Pictures", most=4)
            with gr.Accordion("More", open=False):
                negative = controls.negative_box()
                spacing = controls.spacing_choice(engine.pipe.complete(Recipe(prompt="")).spacing or "leading")
    fields = {
        "prompt": prompt, "negative": negative, "spacing": spacing, "steps": steps, "gamma": gamma, "seed": seed,
        "batch": batch,
    }  # fmt: skip
    rest, drawn = gr.State({}), gr.State("-1")
    desk = Desk(engine, tuple(fields), sampler, stage, go, halt, text, link, drawn)
    inputs = [rest, *fields.values(), *sampler.inputs]
    outputs = [stage, go, halt, text, link, drawn]
    gr.on([go.click, prompt.submit], desk.generate, inputs, outputs, api_name="press", trigger_mode="once", **ENGINE, **PRIVATE)
    halt.click(desk.stop, queue=False, **PRIVATE)
    keep.click(lambda number: number, drawn, seed, queue=False, **PRIVATE)
    demo.load(desk.open_link, None, [*inputs, both], **PRIVATE)
    gr.api(endpoint(engine), api_name="generate", **ENGINE)


@dataclass(frozen=True)
class Desk:
    """The handlers of this tab and the widgets they write to."""

    engine: Engine
    fields: tuple[str, ...]  # which field of Recipe each plain widget holds
    sampler: controls.SamplerWidgets
    stage: gr.HTML
    go: gr.Button
    halt: gr.Button
    text: gr.Textbox
    link: gr.Textbox
    drawn: gr.State

    async def generate(self, request: gr.Request, rest: dict[str, Any], *values: Any) -> AsyncIterator[Any]:
        """Every event of the engine as a state of the stage; whatever happens, the buttons come back."""
        view: dict[str, Any] = {"state": "queued", "line": "On its way …"}
        ready = {self.go: gr.update(interactive=True), self.halt: gr.update(interactive=False)}
        try:
            recipe = self._recipe(rest, values)
            with self.engine.submit(recipe, controls.visitor(request)) as job, tempfile.TemporaryDirectory() as folder:
                yield {self.stage: view, self.go: gr.update(interactive=False), self.halt: gr.update(interactive=True)}
                async for event in job:
                    view = staged(event, view, Path(folder), self.engine.pipe.hash)
                    ended = self._ended(event, request) | ready if isinstance(event, LAST) else {}
                    yield {self.stage: view} | ended  # Gradio copies the files before it comes back here
        except Exception as error:
            raise controls.fault(error) from None
        if isinstance(event, Failed):
            raise gr.Error(controls.untagged(event.sentence), title="No picture", print_exception=False)

    def _recipe(self, rest: dict[str, Any], values: tuple[Any, ...]) -> Recipe:
        plain, (chosen, *knobs) = values[: len(self.fields)], values[len(self.fields) :]
        made = dict(zip(self.fields, plain, strict=True)) | {"sampler": chosen}
        return controls.recipe_of(**rest, **made, knobs=self.sampler.values(chosen, knobs))

    def _ended(self, event: Any, request: gr.Request) -> dict[Any, Any]:
        """What else to show when a run is finished: its recipe as text and as a link, and the seed to keep."""
        if not isinstance(event, Done):
            return {}
        page = request.headers.get("referer", "").partition("?")[0]
        recipe = event.value.recipe
        return {
            self.text: infotext(recipe, self.engine.pipe.hash),
            self.link: f"{page}?{to_query(recipe, tab='prompt')}",
            self.drawn: str(recipe.seed),
        }

    def stop(self, request: gr.Request) -> None:
        """The Stop button; the run itself tells the page how far it came."""
        self.engine.stop(controls.visitor(request))

    def open_link(self, request: gr.Request) -> list[Any]:
        """Set the widgets to what the page's address says; whatever cannot be used is told in one notice."""
        width = 1 + len(self.fields) + len(self.sampler.inputs) + 1
        link = from_query(dict(request.query_params))
        if link.places.get("tab", "prompt") != "prompt" or not (link.given or link.notice):
            return [gr.skip()] * width
        recipe, notice = link.recipe, link.notice
        lost = sorted(link.given & {"sigmas", "image", "mask", "strength", "branch"})
        if lost:
            notice += f" This tab does not show {', '.join(lost)} yet."
        if recipe.model not in (None, self.engine.pipe.name):
            notice += f" The link was made with the model {recipe.model}; here is {self.engine.pipe.name}."
        if notice:
            gr.Warning(controls.untagged(notice.strip()), title="About this link")
        values = {name: getattr(recipe, name) for name in self.fields}
        values |= {"seed": str(recipe.seed) if "seed" in link.given else "-1", "spacing": recipe.spacing or "model"}
        for name in ("steps", "gamma", "batch"):  # the sliders show what is sensible; a link may go as far as Recipe does
            if values[name] != allowed(name)["default"]:
                values[name] = gr.update(value=values[name], maximum=allowed(name)["maximum"])
        knobs = [
            gr.update(visible=owner == recipe.sampler, value=recipe.knobs.get(name, slider.value))
            if owner == recipe.sampler else gr.update(visible=False)
            for (owner, name), slider in self.sampler.knobs.items()
        ]  # fmt: skip
        rest = {name: value for name, value in recipe.model_dump(exclude_defaults=True).items() if name in REST}
        return [rest, *values.values(), recipe.sampler, *knobs, scale(recipe.gamma)]


def staged(event: Any, before: dict[str, Any], folder: Path, model_hash: str | None) -> dict[str, Any]:
    """An event as the stage shows it; pictures that are finished are written to the folder."""
    if isinstance(event, Queued):
        place = "Next in line" if event.position <= 1 else f"{event.position} in line"
        wait = "" if event.seconds is None else f", about {duration(event.seconds)}"
        return before | {"state": "queued", "line": "Starting …" if not event.position else f"{place}{wait} …"}
    if isinstance(event, Preview):
        numbers = f"step {event.step}/{event.steps} · {event.nfe} evaluations (NFE) · t = {event.t:.0f}"
        pictures = [{"src": data_uri(image), "alt": "a rough preview"} for image in event.images]
        line = f"{numbers} · {duration(event.seconds)}"
        return {"state": "running", "line": line, "part": event.step / event.steps, "pictures": pictures}
    if isinstance(event, Stopped):
        return before | {"state": "stopped", "line": f"Stopped at {event.step}/{event.steps}."}
    if isinstance(event, Failed):
        return before | {"state": "failed", "line": event.sentence}
    run = event.value
    pictures, notes = finished(run, folder, model_hash)
    line = f"{run.recipe.steps} steps, {run.nfe} network evaluations (NFE), {duration(run.seconds)}"
    line += ", remembered from before." if event.cached else "."
    return {"state": "done", "line": line, "part": 1, "pictures": pictures, "notes": [*run.notes, *notes]}


def finished(run: Run, folder: Path, model_hash: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    """The pictures as files with their recipe inside; where the disk is full, without a file but still shown."""
    pictures, notes = [], []
    for index, image in enumerate(run.images):
        recipe = alone(run.recipe, index)
        words = {"alt": recipe.prompt, "title": recipe.prompt, "text": f"seed {recipe.seed} · {summary(recipe)}"}
        try:
            path = save_png(folder / file_name(recipe), image, recipe, model_hash=model_hash)
            pictures.append(words | {"name": path.name, "file": FileData(path=str(path)).model_dump()})
        except OSError as error:
            log.error("cannot write a picture: %s", error)
            notes = ["The picture could not be stored (is the disk full?), so it cannot be saved with its recipe."]
            pictures.append(words | {"src": data_uri(image)})
    return pictures, notes


def endpoint(engine: Engine) -> Callable[..., Any]:
    """The function behind `/generate`, its choices read from the registries."""
    default = {name: allowed(name)["default"] for name in ("sampler", "steps", "gamma", "rng", "batch")}

    async def generate(
        request: gr.Request,
        prompt: str,
        negative: str = "",
        sampler: Literal[tuple(SAMPLERS)] = default["sampler"],  # type: ignore[valid-type]
        knobs: dict | None = None,
        spacing: Literal[("model", *SPACINGS)] = "model",  # type: ignore[valid-type]
        steps: int = default["steps"],
        gamma: float = default["gamma"],
        seed: int = -1,
        batch: int = default["batch"],
        width: int | None = None,
        height: int | None = None,
        rng: Literal["nv", "cpu"] = default["rng"],
    ) -> AsyncIterator[Any]:
        """Make pictures from words with the loaded diffusion model, and say how they were made.

        Args:
            prompt: What the picture shows, at most 2,000 characters; empty for an unconditional picture.
            negative: What it should not show; takes the place of the empty prompt in guidance.
            sampler: How to move from one noise level to the next.
            knobs: The sampler's own settings, such as {"eta": 0.5}; what is left out has its default.
            spacing: Where the steps lie; "model" for what the model's own configuration says.
            steps: How many times the sampler moves, 1 to 1000.
            gamma: Guidance scale, -1 to 49; the CFG scale of other programs is 1 + gamma.
            seed: Decides the noise, 0 to 2**64-1; picture i of a batch has seed + i; -1 draws one.
            batch: How many pictures.
            width: In pixels, a multiple of 8; nothing for the model's own size.
            height: In pixels, a multiple of 8; nothing for the model's own size.
            rng: Whose random numbers the seed means: nv as on a GPU, cpu as PyTorch's CPU generator.

        Returns:
            The first picture as a PNG with its recipe inside.
            All pictures, the recipe, its text form, network evaluations (nfe), seconds, notes; before, where it stands.
        """
        given = {"negative": negative, "sampler": sampler, "knobs": knobs or {}, "spacing": spacing, "steps": steps}
        given |= {"gamma": gamma, "seed": seed, "batch": batch, "width": width, "height": height, "rng": rng}
        try:
            recipe = controls.recipe_of(prompt=prompt, **given)
            with engine.submit(recipe, controls.visitor(request)) as job, tempfile.TemporaryDirectory() as folder:
                async for event in job:
                    if isinstance(event, (Failed, Stopped)):
                        raise UserError(event.sentence if isinstance(event, Failed) else "Stopped on request.")
                    yield answer(event, Path(folder), engine.pipe.hash)
        except Exception as error:
            raise controls.fault(error) from None

    # An asynchronous generator's outputs are what it yields, which its annotation cannot say to Gradio.
    outputs = inspect.signature(generate).replace(return_annotation=tuple[dict, dict])
    generate.__signature__ = outputs  # type: ignore[attr-defined]
    return generate


def answer(event: Any, folder: Path, model_hash: str | None) -> tuple[Any, dict[str, Any]]:
    """An event as the endpoint tells it."""
    if isinstance(event, Queued):
        return None, {"state": "queued", "position": event.position, "seconds": event.seconds}
    if isinstance(event, Preview):
        return None, {"state": "running", "step": event.step, "steps": event.steps, "nfe": event.nfe, "t": event.t}
    assert isinstance(event, Done)
    run = event.value
    pictures, notes = finished(run, folder, model_hash)
    files = [picture["file"] for picture in pictures if "file" in picture]
    if not files:
        raise UserError(notes[0])
    return files[0], {
        "state": "done", "pictures": files, "recipe": run.recipe.model_dump(mode="json"),
        "parameters": infotext(run.recipe, model_hash), "seed": run.recipe.seed, "nfe": run.nfe,
        "seconds": round(run.seconds, 3), "cached": event.cached, "notes": [*run.notes, *notes],
    }  # fmt: skip
