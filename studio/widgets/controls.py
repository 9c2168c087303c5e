"""Widgets made from the fields of Recipe and from the registries: what may be chosen is written down once, in core.

A new sampler, spacing or knob appears here by itself; limits, defaults and help texts are those that Recipe checks. `within`
goes before the ids of a tab's widgets, which are unique on the page.
"""

from __future__ import annotations

import errno
import logging
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import UserError
from core.recipe import MAX_TEXT, NAMED, Recipe, allowed, cleaned, draw_seed
from core.sampling import SAMPLERS
from core.schedules import SPACINGS
from studio.figures.run import scale
from studio.formats.whole import FULL
from studio.service.engine import Engine
from studio.service.limits import CALLER

log = logging.getLogger(__name__)

ANYBODYS = ("a red apple", "a cat on a chair", "a lighthouse at night", "a blue car")  # for a model that brings no examples
MODELS_OWN = "model"  # a drop-down cannot hold None
SCALE_JS = "g => `γ ${g} = CFG scale ${Math.round((1 + Number(g)) * 1e6) / 1e6}`"


def help_of(name: str) -> str:
    """The description of a field, as a sentence begins."""
    text = allowed(name)["description"]
    return text[:1].upper() + text[1:]


def examples(engine: Engine) -> tuple[str, ...]:
    """Prompts that the model does well, the first of them what a tab begins with: one press away from a picture."""
    return engine.pipe.extras.examples or ANYBODYS


def prompt_box(value: str = "", within: str = "") -> gr.Textbox:
    """Where the words go in; Enter asks for the picture. Only one on the page takes the focus when it opens."""
    return gr.Textbox(
        value, label="Prompt", placeholder="a red apple", lines=1, max_lines=6, max_length=MAX_TEXT, submit_btn=False,
        autofocus=not within, elem_id=f"{within}prompt",
    )  # fmt: skip


def negative_box(within: str = "") -> gr.Textbox:
    return gr.Textbox(
        "", label="Negative prompt", info=help_of("negative"), lines=1, max_lines=4, max_length=MAX_TEXT,
        elem_id=f"{within}negative",
    )  # fmt: skip


def number_slider(name: str, label: str, most: float | None = None, step: float = 1, within: str = "") -> gr.Slider:
    """A slider for a field of Recipe, within what Recipe allows (or less, where less is sensible)."""
    limits = allowed(name)
    return gr.Slider(
        limits["minimum"], most or limits["maximum"], limits["default"], step=step, label=label, info=help_of(name),
        elem_id=f"{within}{name}",
    )  # fmt: skip


def gamma_slider(within: str = "") -> tuple[gr.Slider, gr.Markdown]:
    """The guidance scale, and the line that shows it as gamma and as CFG scale while it is dragged."""
    slider = number_slider("gamma", "Guidance γ", most=14, step=0.5, within=within)
    both = gr.Markdown(scale(slider.value), elem_id=f"{within}both-scales", elem_classes="set-gamma")
    slider.change(None, slider, both, js=SCALE_JS, show_progress="hidden", api_visibility="private")
    return slider, both


def spacing_choice(own: str, within: str = "") -> gr.Dropdown:
    """Where the steps lie; first what the model's own configuration says."""
    choices = [(f"the model's own ({own})", MODELS_OWN), *((name.capitalize(), name) for name in SPACINGS)]
    return gr.Dropdown(choices, value=MODELS_OWN, label="Spacing", info=help_of("spacing"), elem_id=f"{within}spacing")


def seed_box(within: str = "") -> gr.Textbox:
    """Text, because a browser's numbers are exact only to 2⁵³ and seeds go to 2⁶⁴."""
    return gr.Textbox("-1", label="Seed", info="−1 draws one", max_lines=1, max_length=20, elem_id=f"{within}seed")


@dataclass(frozen=True)
class SamplerWidgets:
    """The drop-down of samplers, the line about the chosen one, and every sampler's knobs, shown when it is chosen."""

    choice: gr.Dropdown
    about: gr.Markdown
    knobs: dict[tuple[str, str], gr.Slider]  # (sampler, knob)

    @property
    def inputs(self) -> list[Any]:
        return [self.choice, *self.knobs.values()]

    def values(self, sampler: Any, positions: Sequence[Any]) -> dict[str, Any]:
        """The knobs of this sampler among the positions of all sliders."""
        return {knob: value for (owner, knob), value in zip(self.knobs, positions, strict=True) if owner == sampler}


def samplers() -> list[tuple[str, str]]:
    """The registered samplers as choices: label and name."""
    return [(entry.label, entry.id) for entry in SAMPLERS.values()]


def sampler_widgets(within: str = "") -> SamplerWidgets:
    """The samplers as they are registered, with label, first sentence, order, paper and knobs."""
    default = allowed("sampler")["default"]
    choice = gr.Dropdown(samplers(), value=default, label="Sampler", elem_id=f"{within}sampler")
    about = gr.Markdown(about_sampler(default), elem_id=f"{within}about-sampler", elem_classes="set-sampler")
    knobs = {
        (entry.id, knob.name): gr.Slider(
            knob.low, knob.high, knob.default, step=0.01 * (knob.high - knob.low), label=f"{entry.label}: {knob.name}",
            info=knob.says or None, visible=entry.id == default, elem_classes="knob",
        )
        for entry in SAMPLERS.values()
        for knob in entry.knobs
    }  # fmt: skip

    def choose(sampler: str) -> list[Any]:
        return [about_sampler(sampler), *(gr.update(visible=owner == sampler) for owner, _ in knobs)]

    choice.change(
        choose, choice, [about, *knobs.values()], show_progress="hidden", queue=False, api_visibility="private"
    )
    return SamplerWidgets(choice, about, knobs)


def about_sampler(sampler: str) -> str:
    """One sentence about a sampler, its order and its paper, from the registry."""
    entry = SAMPLERS.get(sampler)
    if entry is None:
        return ""
    order = "stochastic" if entry.stochastic else f"order {entry.order}" if entry.order else ""
    paper = f"[arXiv {entry.paper}](https://arxiv.org/abs/{entry.paper})" if entry.paper else ""
    return " · ".join(part for part in (entry.doc, order, paper) if part)


def seed_of(text: Any) -> Any:
    """The number in the seed box, or one made up for −1; whatever else it holds, Recipe will say what is wrong."""
    if isinstance(text, str):
        try:
            text = int(text.strip().replace("−", "-") or -1)
        except ValueError:
            return text[:40]
    return draw_seed() if text == -1 and not isinstance(text, bool) else text


def recipe_of(**fields: Any) -> Recipe:
    """The Recipe that widgets or an API call describe: -1 is a seed to be drawn, the name "model" what the model has."""
    fields["seed"] = seed_of(fields.get("seed", -1))
    own = {name: None for name in NAMED if fields.get(name) == MODELS_OWN}
    return Recipe(**cleaned(fields | own))


def fault(error: Exception) -> gr.Error:
    """Any error as a toast: a sentence for what a user can mend, else a code whose trace is in the log."""
    if isinstance(error, UserError):
        return gr.Error(untagged(str(error)), title="Not possible", print_exception=False)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        log.error("the disk is full: %s", error)
        return gr.Error(FULL, title="Disk full", print_exception=False)
    code = secrets.token_hex(3).upper()
    log.error("unexpected fault, code %s", code, exc_info=error)
    return gr.Error(f"Something went wrong, code {code}.", title="Error", print_exception=False)


def untagged(sentence: str) -> str:
    """A sentence that may repeat a stranger's words, for a toast: toasts take tags for HTML, and would fetch their pictures."""
    return re.sub("<(?=[A-Za-z/!?])", "‹", sentence)


def visitor(request: gr.Request | None) -> str:
    """Who asks, and after an @ from where: a page by its session, a program without one by its address alone.

    Gradio makes up a session for every call of such a program, so that each would be somebody new. Calls by MCP all come in
    the studio's own session and from its own address; where they began stands in a header of ours.
    """
    if request is None:
        return "nobody"
    client, url, headers = (getattr(request, name, None) for name in ("client", "url", "headers"))  # not all from a network
    if caller := (headers or {}).get(CALLER):
        return f"a program by MCP@{caller}"
    address = client.host if client else "here"
    return f"a program@{address}" if "/call/" in str(url) else f"{request.session_hash}@{address}"


def leaving(engine: Engine) -> Callable[[gr.Request], None]:
    """What happens when a page is closed: all that it has running or waiting is stopped, within a step."""

    def left(request: gr.Request) -> None:
        engine.stop(visitor(request))

    return left
