"""What can be set on a tab, stated once: which widget holds which field of Recipe, and which hold what no recipe knows.

Links, what is kept in the browser, hiding and resetting (page.py) all follow from that statement. Whatever comes back from a
link or a browser is a stranger's word: each widget says itself what it can hold.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr

from core.errors import UserError
from core.recipe import Recipe, allowed, clean_text
from studio.formats.infotext import short
from studio.formats.links import MOST_VALUE, Link, from_query, reachable, to_query
from studio.widgets import controls

PAGE = "page"  # the view name of the page within a tab
UNSEEN = "labs-hidden"  # the class of a widget that only keeps what a drawing shows, and that nobody sees
PICTURES = ("image", "mask", "strength")  # of an upload, which a link cannot bring along


@dataclass(frozen=True)
class Settings:
    """The widgets of a tab, by what they set."""

    fields: Mapping[str, Any] = field(default_factory=dict)  # by field of Recipe
    sampler: controls.SamplerWidgets | None = None
    view: Mapping[str, Any] = field(default_factory=dict)  # by name in a link, after "view."
    rest: gr.State | None = None  # takes the fields that a link gives and no widget holds
    pages: gr.Tabs | None = None  # the pages within the tab
    kept: gr.Textbox | None = None  # what the browser keeps of `rest`, as the query of a link: see `held`
    made: gr.State | None = None  # the recipe of what is shown, as JSON: its seed may have been drawn, its branch made on the page

    @functools.cached_property
    def widgets(self) -> dict[str, Any]:
        """All of them by a name of their own: seed, sampler, knob.ddim.eta, view.quantity."""
        sampler = self.sampler
        knobs = {f"knob.{owner}.{knob}": slider for (owner, knob), slider in sampler.knobs.items()} if sampler else {}
        chosen = {"sampler": sampler.choice} if sampler else {}
        kept = {"rest": self.kept} if self.kept else {}
        return {**self.fields, **chosen, **knobs, **{f"view.{name}": widget for name, widget in self.view.items()}, **kept}

    @functools.cached_property
    def initial(self) -> dict[str, Any]:
        """What the widgets hold before anybody touches them."""
        return {name: widget.value for name, widget in self.widgets.items()}

    @property
    def names(self) -> dict[str, str]:
        """What `hide` can name, with the words on the widget; all knobs are one."""
        seen = {name: widget for name, widget in self.widgets.items() if UNSEEN not in widget.elem_classes}
        told = {hidden_name(name): str(widget.label) for name, widget in seen.items()}
        told |= {"knobs": "The sampler's own settings"} if "knobs" in told else {}
        often = [label for label in told.values()]
        return {name: label if often.count(label) == 1 else f"{label} ({name})" for name, label in told.items()}

    def restored(self, saved: Any) -> dict[str, Any]:
        """What was saved of this tab, as far as the widgets can still hold it."""
        saved = saved if isinstance(saved, dict) else {}
        return {
            name: fitting(widget, saved.get(name), self.initial[name], name if name in self.fields else "")
            for name, widget in self.widgets.items()
        }

    def recalled(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the browser kept of `rest`, as far as a recipe may have it."""
        return self.of_link(from_query(dict(parse_qsl(values.get("rest", "")))))[1]

    def of_link(self, link: Link) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
        """What the widgets hold by a link, what goes into `rest`, and the names of what this tab cannot use."""
        values, rest, odd = dict(self.initial), {}, []
        told = link.recipe.model_dump()
        given = link.given | ({"steps"} if "sigmas" in link.given else set())  # levels of one's own decide how many
        for name in (name for name in Recipe.model_fields if name in given):
            if name in self.fields:
                values[name] = shown(name, told[name])
            elif name == "sampler" and self.sampler:
                values[name] = told[name]
            elif name == "knobs" and self.sampler:
                values |= {f"knob.{link.recipe.sampler}.{knob}": number for knob, number in told[name].items()}
            elif self.rest is not None and name not in PICTURES:
                rest[name] = told[name]
            elif name != "model":
                odd.append(name)
        for name, text in link.view.items():
            if name in self.view:
                try:
                    values[f"view.{name}"] = value_of(self.view[name], text)
                except (ValueError, KeyError):
                    odd.append(f"view.{name}")
            elif name != PAGE or text not in self.page_ids:
                odd.append(f"view.{name}"[:40])
        return values | ({"rest": held(rest)} if self.kept else {}), rest, odd

    @property
    def page_ids(self) -> list[str]:
        return [str(page.id) for page in self.pages.children] if self.pages else []  # type: ignore[attr-defined]

    def query(
        self, values: Mapping[str, Any], page: str = "", rest: Mapping[str, Any] | None = None, made: str = "", **places: str
    ) -> str:
        """The link to these values, without what a tab begins with; raises UserError for what no recipe may have.

        Where they are those of the recipe `made`, the link leads to that very picture.
        """
        changed = {name for name, value in values.items() if value != self.initial[name]}
        asked = {name: values[name] for name in self.fields} | dict(rest or {})
        if self.sampler:
            chosen = values["sampler"]
            within = f"knob.{chosen}."
            knobs = {name.removeprefix(within): value for name, value in values.items() if name.startswith(within)}
            asked |= {"sampler": chosen, "knobs": knobs}
        recipe = controls.recipe_of(**{"prompt": ""} | asked)
        written = {name for name in asked if name in changed or name in (rest or ())} | ({"knobs"} if recipe.knobs else set())
        if made and (there := shown_by(made, recipe, drawn="seed" in self.fields and "seed" not in changed)):
            recipe, written = there, written | {"prompt", "seed"} | ({"branch"} if there.branch else set())
        view = {name: text_of(values[f"view.{name}"]) for name in self.view if f"view.{name}" in changed}
        if page in self.page_ids[1:]:
            view = {PAGE: page} | view
        return to_query(recipe, written, view, **places)

    def updates(self, values: Mapping[str, Any], fresh: bool) -> list[Any]:
        """The widgets with these values; on a fresh page only those that begin otherwise, since somebody may be typing already."""
        return [
            gr.skip() if fresh and values[name] == self.initial[name] else changed(widget, values[name])
            for name, widget in self.widgets.items()
        ]


def held(rest: Mapping[str, Any]) -> str:
    """Fields without a widget as the query of a link; "" where there are none, or none that stand without the others."""
    least = {} if "sigmas" in rest else {"steps": rest["branch"]["step"] + 1 if rest.get("branch") else 1}
    try:
        return to_query(Recipe(prompt="", **rest, **least), {*rest, *least}) if rest else ""
    except UserError:
        return ""


def shown_by(made: str, asked: Recipe, drawn: bool) -> Recipe | None:
    """The recipe made, if it answers what is asked for now; `drawn`: any seed does."""
    recipe = Recipe.from_json(made)
    wanted = asked.replace(branch=None, **({"seed": recipe.seed} if drawn else {}))  # it may end before the branch
    return recipe if wanted.digest == recipe.replace(branch=None).digest else None


def changed(widget: Any, value: Any) -> Any:
    """The widget with another value; a slider shows what is sensible, and reaches as far as its value does."""
    reach = {"maximum": max(widget.maximum, value)} if isinstance(widget, gr.Slider) else {}
    return gr.update(value=value, **reach)


def hidden_name(name: str) -> str:
    """What `hide` calls a widget: seed, knobs for every knob, quantity for view.quantity."""
    return "knobs" if name.startswith("knob.") else name.removeprefix("view.")


def shown(name: str, value: Any) -> Any:
    """A field of Recipe as its widget has it: see `controls.recipe_of` for the way back."""
    return str(value) if name == "seed" else controls.MODELS_OWN if value is None else value


def fitting(widget: Any, value: Any, otherwise: Any, name: str = "") -> Any:
    """The value if this widget can hold it: one of its choices, a number in its range, or in that of the field `name` of Recipe."""
    if isinstance(widget, gr.CheckboxGroup):
        known = [choice for _, choice in widget.choices]
        return value if isinstance(value, list) and all(one in known for one in value) else otherwise
    if isinstance(widget, (gr.Dropdown, gr.Radio)):
        return value if value in [choice for _, choice in widget.choices] else otherwise
    if isinstance(widget, gr.Checkbox):
        return value if isinstance(value, bool) else otherwise
    if isinstance(widget, (gr.Slider, gr.Number)):
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        limits = allowed(name) if name else {}
        low = limits.get("minimum", widget.minimum)
        high = limits.get("maximum", widget.maximum)
        return value if number and (low is None or low <= value) and (high is None or value <= high) else otherwise
    return clean_text(value) if isinstance(value, str) and len(value) <= (widget.max_length or MOST_VALUE) else otherwise


def text_of(value: Any) -> str:
    """A widget's value as a link writes it."""
    if isinstance(value, list):
        return ",".join(map(text_of, value))
    return str(int(value)) if isinstance(value, bool) else short(value) if isinstance(value, float) else str(value)


def value_of(widget: Any, text: str) -> Any:
    """What a link's text means to a widget; raises ValueError or KeyError for what it cannot hold."""
    by_text = {text_of(choice): choice for _, choice in getattr(widget, "choices", ())}
    if isinstance(widget, gr.CheckboxGroup):
        return [by_text[one] for one in text.split(",") if one]
    if isinstance(widget, (gr.Dropdown, gr.Radio)):
        return by_text[text]
    if isinstance(widget, gr.Checkbox):
        return {"0": False, "1": True}[text]
    value: Any = text
    if isinstance(widget, (gr.Slider, gr.Number)):
        value = float(text)
        value = int(value) if value.is_integer() else value
    if fitting(widget, value, None) is None:
        raise ValueError(text)
    return value


def address_of(request: gr.Request) -> str:
    """The address of the page, without its query, as others can open it."""
    page = request.headers.get("referer", "").partition("?")[0]
    served = request.request.app.get_blocks() if getattr(request, "request", None) else None
    return reachable(page, served.server_name, served.share_url) if served else page


def marked(settings: Iterable[Settings]) -> None:
    """Give every widget the class by which `hide` finds it: set-seed, set-knobs."""
    for one in settings:
        for name, widget in one.widgets.items():
            widget.elem_classes = [*widget.elem_classes, f"set-{hidden_name(name)}"]
