"""One run as a film: every step scrubbed in the page, taken apart, watched, continued otherwise, and taken along.

The film is one HTML component whose script has all frames and asks nobody; what needs the network (attention, a branch, more
pictures) is asked of the engine with the step that the film shows. `/denoise` gives programs the same.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from core.recipe import Recipe, allowed
from studio.endpoints.denoise import endpoint
from studio.handlers.darkroom import FORMS, Desk
from studio.service.engine import Engine
from studio.widgets import controls
from studio.widgets.base import ENGINE, PRIVATE, asset, scripts
from studio.widgets.settings import Settings

IDLE = {"state": "idle", "line": "Press Generate: the whole run comes as a film, and every step of it can be looked into."}
UNSEEN = {"state": "idle", "line": "Choose a step in the film, then ask where its words look."}
UNASKED = {"state": "idle", "line": "Does it find a noise that we know? And does the same run come out twice?"}
SHOWN = "(at, ...rest) => [(f => f?.dataset.k ? f.dataset.k + f.dataset.lane : '')(document.querySelector('#film .film')), ...rest]"
HERE: dict[str, Any] = ENGINE | PRIVATE | {"js": SHOWN, "trigger_mode": "once"}


def tab(engine: Engine, demo: gr.Blocks) -> Settings:
    """Lay out the tab and connect it with the engine."""
    with gr.Row(elem_id="film-desk"):
        with gr.Column(elem_id="film-ask"):
            prompt = controls.prompt_box(controls.examples(engine)[0], within="film-")
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
                    form = gr.Dropdown(list(FORMS), value="GIF", label="File form", elem_id="film-form")
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
    rest, made, shot, at = gr.State({}), gr.State(""), gr.State({}), gr.Textbox("", visible=False)
    desk = Desk(engine, tuple(fields), sampler, other, strip_view, words_view, probe_view, go, halt, made, shot, file, link)
    outputs = [strip_view, go, halt, made, shot, link, *other.values()]
    asked = [rest, *fields.values(), *sampler.inputs]
    gr.on([go.click, prompt.submit], desk.generate, asked, outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    halt.click(desk.stop, queue=False, **PRIVATE)
    strip_view.develop(desk.develop, [shot], [strip_view, go, halt], **ENGINE, **PRIVATE)
    look.click(desk.look, [at, shot], [words_view, go, halt], **HERE)
    leave.click(desk.leave_out, [at, shot], [words_view, go, halt], **HERE)
    on.click(desk.branch, [at, made, *other.values()], outputs, **HERE)
    noise.click(desk.known_noise, [at, shot], [probe_view, go, halt], **HERE)
    again.click(desk.same_again, [at, shot], [probe_view, go, halt], **HERE)
    make.click(desk.export, [at, shot, form], [file, strip_view, go, halt], **HERE)
    gr.api(endpoint(engine), api_name="denoise", **ENGINE)
    return Settings(fields, sampler, view={"form": form}, rest=rest, made=made)


def html(template: str, value: dict[str, Any], elem_id: str, names: tuple[str, ...], **props: Any) -> gr.HTML:
    """A view with a script of its own, from assets."""
    return gr.HTML(value, html_template=asset(f"{template}.html"), js_on_load=scripts(*names), elem_id=elem_id,
                   apply_default_css=False, **props)  # fmt: skip


def other_widgets() -> tuple[dict[str, Any], gr.Button]:
    """What may change from a step on, by field of Recipe; the widgets follow the film until they are changed."""
    prompt = controls.prompt_box(within="film-other-")
    with gr.Row():
        first = allowed("sampler")["default"]
        sampler = gr.Dropdown(controls.samplers(), value=first, label="Sampler", elem_id="film-other-sampler")
        with gr.Column():
            gamma, _ = controls.gamma_slider(within="film-other-")
    go = gr.Button("Continue from this step with these", elem_id="film-branch")
    return {"prompt": prompt, "sampler": sampler, "gamma": gamma}, go
