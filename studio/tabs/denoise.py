"""One run as a film: every step scrubbed in the page, taken apart, watched, continued otherwise, and taken along.

The film is one HTML component whose script has all frames and asks nobody; what needs the network (attention, a branch, more
pictures) is asked of the engine with the step that the film shows. The endpoint `/denoise` gives programs the same.
"""

# No `from __future__ import annotations`: Gradio reads the types of the endpoint as objects.
import asyncio
import inspect
import tempfile
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio.data_classes import FileData

from core.errors import UserError
from core.recipe import Recipe, allowed
from core.sampling import SAMPLERS
from core.schedules import SPACINGS
from studio.formats import movie
from studio.handlers.darkroom import FORMS, Desk, told, written
from studio.service.engine import Engine, cost
from studio.service.jobs import Done, Failed, Run, Stopped
from studio.widgets import controls
from studio.widgets.base import ENGINE, PRIVATE, asset, scripts
from studio.widgets.settings import Settings
from studio.work import film

IDLE = {"state": "idle", "line": "Press Generate: the whole run comes as a film, and every step of it can be looked into."}
UNSEEN = {"state": "idle", "line": "Choose a step in the film, then ask where its words look."}
UNASKED = {"state": "idle", "line": "Does it find a noise that we know? And does the same run come out twice?"}
SHOWN = "(at, ...rest) => [(f => f?.dataset.k ? f.dataset.k + f.dataset.lane : '')(document.querySelector('#film .film')), ...rest]"
HERE: dict[str, Any] = ENGINE | PRIVATE | {"js": SHOWN, "trigger_mode": "once"}


def tab(engine: Engine, demo: gr.Blocks) -> Settings:
    """Lay out the tab and connect it with the engine."""
    with gr.Row(elem_id="film-desk"):
        with gr.Column(elem_id="film-ask"):
            prompt = prompt_box("film-prompt")
            with gr.Row(elem_id="film-buttons"):
                go = gr.Button("Generate", variant="primary", elem_id="film-go")
                halt = gr.Button("Stop", interactive=False, elem_id="film-stop")
        with gr.Column(elem_id="film-show"):
            big = dict.fromkeys(("film", "pictures", "other", "others", "extra"))
            strip_view = html("denoise", IDLE, "film", ("denoise_draw", "denoise"), **big)
            with gr.Accordion("Where the words look", open=False, elem_id="film-looks"):
                with gr.Row():
                    look = gr.Button("Show the attention at this step", elem_id="film-look")
                    leave = gr.Button("Leave out each word in turn", elem_id="film-leave")
                words_view = html("denoise_looks", UNSEEN, "looks", ("denoise_looks",), looks=None, without=None)
            with gr.Accordion("Another future from this step", open=False, elem_id="film-future"):
                other, on = other_widgets()
            with gr.Accordion("Ask the network yourself", open=False, elem_id="film-ask-it"):
                with gr.Row():
                    noise = gr.Button("Hide a known noise at every t", elem_id="film-known")
                    again = gr.Button("Run it again and compare", elem_id="film-again")
                probe_view = html("denoise_probe", UNASKED, "probe", ("denoise_probe",), probe=None)
            with gr.Accordion("Take it along", open=False, elem_id="film-export"):
                with gr.Row():
                    form = gr.Dropdown(list(FORMS), value="GIF", label="As", elem_id="film-form")
                    make = gr.Button("Make the file", elem_id="film-make")
                file = gr.File(label="The film", visible=False, interactive=False, elem_id="film-file")
                link = gr.Textbox(label="Link to this film", max_lines=1, buttons=["copy"], interactive=False, elem_id="film-link")
        with gr.Column(elem_id="film-settings"):
            sampler = controls.sampler_widgets(within="film-")
            steps = controls.number_slider("steps", "Steps", most=100, within="film-")
            gamma, _ = controls.gamma_slider(within="film-")
            seed = controls.seed_box(within="film-")
            with gr.Accordion("More", open=False):
                negative = controls.negative_box(within="film-")
                own = engine.pipe.complete(Recipe(prompt="")).spacing or "leading"
                spacing = controls.spacing_choice(own, within="film-")
    fields = {"prompt": prompt, "negative": negative, "spacing": spacing, "steps": steps, "gamma": gamma, "seed": seed}
    rest, shot, at = gr.State({}), gr.State({}), gr.Textbox("", visible=False)
    desk = Desk(engine, tuple(fields), sampler, other, strip_view, words_view, probe_view, go, halt, shot, file, link)
    outputs = [strip_view, go, halt, shot, link, *other.values()]
    asked = [rest, *fields.values(), *sampler.inputs]
    gr.on([go.click, prompt.submit], desk.generate, asked, outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    halt.click(desk.stop, queue=False, **PRIVATE)
    strip_view.develop(desk.develop, [shot], [strip_view, go, halt], **ENGINE, **PRIVATE)
    look.click(desk.look, [at, shot], [words_view, go, halt], **HERE)
    leave.click(desk.leave_out, [at, shot], [words_view, go, halt], **HERE)
    on.click(desk.branch, [at, shot, *other.values()], outputs, **HERE)
    noise.click(desk.known_noise, [at, shot], [probe_view, go, halt], **HERE)
    again.click(desk.same_again, [at, shot], [probe_view, go, halt], **HERE)
    make.click(desk.export, [at, shot, form], [file, strip_view, go, halt], **HERE)
    gr.api(endpoint(engine), api_name="denoise", **ENGINE)
    return Settings(fields, sampler, rest=rest)


def prompt_box(elem_id: str) -> gr.Textbox:
    """The shared prompt box under this tab's own name, without the page's focus."""
    box = controls.prompt_box()
    box.elem_id, box.autofocus = elem_id, False
    return box


def html(template: str, value: dict[str, Any], elem_id: str, names: tuple[str, ...], **props: Any) -> gr.HTML:
    """A view with a script of its own, from assets."""
    return gr.HTML(value, html_template=asset(f"{template}.html"), js_on_load=scripts(*names), elem_id=elem_id,
                   apply_default_css=False, **props)  # fmt: skip


def other_widgets() -> tuple[dict[str, Any], gr.Button]:
    """What may change from a step on, by field of Recipe; the widgets follow the film until they are changed."""
    prompt = prompt_box("film-other-prompt")
    with gr.Row():
        choices = [(entry.label, entry.id) for entry in SAMPLERS.values()]
        sampler = gr.Dropdown(choices, value=allowed("sampler")["default"], label="Sampler", elem_id="film-other-sampler")
        with gr.Column():
            gamma, _ = controls.gamma_slider(within="film-other-")
    go = gr.Button("Continue from this step with these", elem_id="film-branch")
    return {"prompt": prompt, "sampler": sampler, "gamma": gamma}, go


def endpoint(engine: Engine) -> Callable[..., Any]:
    """The function behind `/denoise`, its choices read from the registries."""
    default = {name: allowed(name)["default"] for name in ("sampler", "steps", "gamma", "rng")}

    async def denoise(
        request: gr.Request,
        prompt: str,
        negative: str = "",
        sampler: Literal[tuple(SAMPLERS)] = default["sampler"],  # type: ignore[valid-type]
        knobs: dict | None = None,
        spacing: Literal[("model", *SPACINGS)] = "model",  # type: ignore[valid-type]
        steps: int = default["steps"],
        gamma: float = default["gamma"],
        seed: int = -1,
        width: int | None = None,
        height: int | None = None,
        rng: Literal["nv", "cpu"] = default["rng"],
        branch: dict | None = None,
        form: Literal[tuple(FORMS.values())] = "gif",  # type: ignore[valid-type]
    ) -> AsyncIterator[Any]:
        """Make one picture and tell every step of the way: noise levels, norms, and the terms that each move is the sum of.

        Args:
            prompt: What the picture shows, at most 2,000 characters; empty for an unconditional picture.
            negative: What it should not show; takes the place of the empty prompt in guidance.
            sampler: How to move from one noise level to the next.
            knobs: The sampler's own settings, such as {"eta": 0.5}; what is left out has its default.
            spacing: Where the steps lie; "model" for what the model's own configuration says.
            steps: How many times the sampler moves, 1 to 1000.
            gamma: Guidance scale, -1 to 49; the CFG scale of other programs is 1 + gamma.
            seed: Decides the noise, 0 to 2**64-1; -1 draws one.
            width: In pixels, a multiple of 8; nothing for the model's own size.
            height: In pixels, a multiple of 8; nothing for the model's own size.
            rng: Whose random numbers the seed means: nv as on a GPU, cpu as PyTorch's CPU generator.
            branch: What changes in the middle, such as {"step": 8, "changes": {"prompt": "a pear"}}; nothing for one run.
            form: The film as a gif, an animated webp, an mp4 (needs PyAV), or a sheet with all frames as PNG.

        Returns:
            The film as a file: x_t and the predicted clean picture of every step.
            The recipe, network evaluations (nfe), seconds, and for every frame its numbers; before, where it stands.
        """
        given = {"negative": negative, "sampler": sampler, "knobs": knobs or {}, "spacing": spacing, "steps": steps}
        given |= {"gamma": gamma, "seed": seed, "width": width, "height": height, "rng": rng, "branch": branch}
        try:
            recipe = engine.pipe.complete(controls.recipe_of(prompt=prompt, **given))
            with tempfile.TemporaryDirectory() as folder:
                async for answer in answers(engine, recipe, form, controls.visitor(request), Path(folder)):
                    yield answer
        except Exception as error:
            raise controls.fault(error) from None

    # An asynchronous generator's outputs are what it yields, which its annotation cannot say to Gradio.
    outputs = inspect.signature(denoise).replace(return_annotation=tuple[dict, dict])
    denoise.__signature__ = outputs  # type: ignore[attr-defined]
    return denoise


async def answers(engine: Engine, recipe: Recipe, form: str, visitor: str, folder: Path) -> AsyncIterator[Any]:
    """What the endpoint says while it works, and at last the film and its numbers."""
    if form not in FORMS.values():
        raise UserError(f"form is {str(form)[:40]!r}; it must be one of {', '.join(FORMS.values())}.")
    movie.possible(form)
    with engine.compute(lambda: filmed(engine, recipe), visitor, 2 * cost(recipe)) as job:
        async for event in job:
            if isinstance(event, (Failed, Stopped)):
                raise UserError(event.sentence if isinstance(event, Failed) else "Stopped on request.")
            if not isinstance(event, Done):
                yield None, {name: value for name, value in told(event, {}).items() if name in ("state", "line")}
    run, done, frames = event.value
    path = await asyncio.to_thread(written, form, done, recipe, folder)
    yield FileData(path=str(path)).model_dump(), {
        "state": "done", "recipe": recipe.model_dump(mode="json"), "nfe": run.nfe, "seconds": round(run.seconds, 3),
        "frames": frames, "notes": list(run.notes),
    }  # fmt: skip


def filmed(engine: Engine, recipe: Recipe) -> Generator[Any, None, tuple[Run, film.Cut, list[dict[str, Any]]]]:
    """A run with its pictures and numbers, for the endpoint."""
    run = yield from engine.run(recipe)
    about = film.film(engine.pipe, run.recipe, run.steps)["frames"]
    return run, (yield from film.cut(engine.pipe, run.recipe, run.steps)), about
