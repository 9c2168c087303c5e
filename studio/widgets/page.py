"""The page around the tabs: its head, links and their codes for phones, what is kept in the browser, and resetting.

All of it follows from what each tab states in its `Settings`. A link decides the tab that it names; whatever else there is to
set is as this browser kept it. Reloading, as a page also does when the server was restarted, brings back what was there last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
import segno

from studio.formats.lessons import find, words
from studio.formats.links import HERE_ONLY, Link, from_query
from studio.service.engine import Engine
from studio.widgets import controls
from studio.widgets.base import LATEX, PRIVATE, asset, scripts
from studio.widgets.settings import PAGE, Settings, address_of, marked

SCRIPTS = "".join(f"<script>{asset(f'{name}.js')}</script>" for name in ("nodes", "page", "lesson"))
KEY = "diffusion-studio"  # fixed, so that a new server reads what an old one kept; what is kept is no secret
MOST_CODED = 1_200  # bytes: a finer code is not read from a projector
CODE = '<img alt="QR code of the link above" hidden><p class="told" role="status"></p>'
DOCK = '<div class="dock"></div>'
BEGIN = "kept => [studio.begin(kept)]"
AFRESH = "() => [{reset: true}]"
TURN = "kept => [{...kept, turn: studio.lesson.query}]"  # to another step of a lesson


@dataclass(frozen=True)
class Head:
    """What stands above the tabs."""

    share: gr.Button
    reset: gr.Button
    projector: gr.Button
    dark: gr.Button
    renew: gr.Button
    hide: gr.CheckboxGroup
    link: gr.Textbox
    code: gr.HTML
    dock: gr.HTML  # the step of a lesson, over whatever tab it is about
    words: gr.Markdown
    turn: gr.Button


def head(name: str, notes: Sequence[str] = ()) -> Head:
    """The title, the model's name, what was assumed about it when it was loaded, and what concerns every tab."""
    with gr.Row(elem_id="head"):
        gr.Markdown("# Diffusion Studio")
        gr.Markdown(name, elem_id="model")
        with gr.Row(elem_id="tools"):
            small: dict[str, Any] = {"size": "sm", "min_width": 60}
            share = gr.Button("Share", elem_id="share-button", **small)
            notation = gr.Button("Notation", elem_id="notation-button", **small)
            projector = gr.Button("Larger", elem_id="projector", **small)
            dark = gr.Button("Dark", elem_id="dark", **small)
            reset = gr.Button("Reset", elem_id="reset", **small)
    if assumed := [controls.untagged(note) for note in notes if "is assumed" in note]:
        gr.Markdown(" ".join(assumed), elem_id="assumed")
    with gr.Row(elem_id="share", elem_classes="drawer"):
        with gr.Column(scale=3):
            link = gr.Textbox(label="Link to this tab as it is now", max_lines=3, buttons=["copy"], interactive=False,
                              elem_id="share-link")  # fmt: skip
            renew = gr.Button("Renew", elem_id="share-renew")
            hide = gr.CheckboxGroup([], label="Hide from whoever opens it", elem_id="share-hide")
        code = gr.HTML({}, html_template=CODE, js_on_load=scripts("share"), apply_default_css=False, elem_id="share-code")
    with gr.Row(elem_id="notation", elem_classes="drawer"):
        gr.Markdown(asset("notation.md"), latex_delimiters=LATEX)
    with gr.Column(elem_id="lesson"):
        dock = gr.HTML({}, html_template=DOCK, js_on_load=scripts("lesson-dock"), apply_default_css=False, elem_id="lesson-dock")
        words = gr.Markdown("", latex_delimiters=LATEX, elem_id="lesson-words")
        turn = gr.Button("Go", elem_id="lesson-turn")
    notation.click(None, js="() => { studio.panel('notation') }", **PRIVATE)
    return Head(share, reset, projector, dark, renew, hide, link, code, dock, words, turn)


def connect(demo: gr.Blocks, engine: Engine, head: Head, tabs: gr.Tabs, settings: Mapping[str, Settings]) -> None:
    """Connect the head with all that the tabs state."""
    marked(settings.values())
    page = Page(engine.pipe.name, settings)
    kept = gr.BrowserState({}, storage_key=KEY, secret=KEY)
    widgets = [widget for one in settings.values() for widget in one.widgets.values()]
    rests = [one.rest for one in settings.values() if one.rest is not None]
    mades = [one.made for one in settings.values() if one.made is not None]
    inner = [one.pages for one in settings.values() if one.pages is not None]
    outputs = [tabs, *inner, head.dock, head.words, *rests, *widgets]
    opening = demo.load(page.open, kept, outputs, js=BEGIN, **PRIVATE)
    head.turn.click(page.open, kept, outputs, js=TURN, **PRIVATE)
    head.reset.click(page.open, kept, outputs, js=AFRESH, **PRIVATE).then(page.told, **PRIVATE)
    for name, one in settings.items():  # apart, since Gradio looks for each widget of an event in the whole page
        own = list(one.widgets.values())
        moved = [widget.change for widget in own] + ([one.pages.select] if one.pages else [])
        gr.on(moved, None, [kept, *own], kept, js=keep(page.names_of(name)), trigger_mode="always_last", **PRIVATE)
    tabs.select(None, kept, kept, js=keep([]), trigger_mode="always_last", **PRIVATE)
    opening.then(None, js="() => studio.ready()", **PRIVATE).then(
        None, [kept, *widgets], kept, js=keep(page.names), **PRIVATE
    )
    for button, name in ((head.projector, "projector"), (head.dark, "dark")):
        button.click(None, kept, kept, js=f"kept => studio.turn(kept, '{name}')", **PRIVATE)
    head.share.click(None, js="() => { if (studio.panel('share')) studio.renew(); }", **PRIVATE)
    head.hide.input(None, js="() => studio.renew()", **PRIVATE)
    place = "(kept, ...rest) => [{place: studio.place(), lesson: studio.lesson.place}, ...rest]"
    head.renew.click(page.share, [kept, head.hide, *rests, *mades, *widgets], [head.link, head.hide, head.code], js=place,
                     queue=False, **PRIVATE)  # fmt: skip


def keep(names: Sequence[str]) -> str:
    """The function of the page that keeps the values of these widgets beside what is kept already."""
    return f"(kept, ...values) => studio.keep(kept, {json.dumps(names)}, values)"


@dataclass(frozen=True)
class Page:
    """The handlers of the page."""

    model: str
    settings: Mapping[str, Settings]  # by tab

    @property
    def names(self) -> list[str]:
        """Every widget of every tab by name: denoise.seed."""
        return [name for tab in self.settings for name in self.names_of(tab)]

    def names_of(self, tab: str) -> list[str]:
        return [f"{tab}.{name}" for name in self.settings[tab].widgets]

    def open(self, request: gr.Request, kept: Any) -> list[Any]:
        """What everything is set to when the page opens, or is reset: by the link, or as it was kept.

        A lesson that turns to another step brings a link too, which sets its own tab and leaves the others alone.
        """
        kept = kept if isinstance(kept, dict) else {}
        turn = kept.get("turn")
        if isinstance(turn, str):
            return self.turned(from_query(dict(parse_qsl(turn.removeprefix("?")))))
        saved, again, reset = kept.get("settings"), kept.get("again") is True, kept.get("reset") is True
        saved = saved if isinstance(saved, dict) else {}
        link, tab = self.addressed(from_query(begun(dict(request.query_params))))
        rests: dict[str, dict[str, Any]] = {}
        widgets: list[Any] = []
        odd: list[str] = []
        for name, one in self.settings.items():
            values = one.restored({key.removeprefix(f"{name}."): saved[key] for key in saved})
            rests[name] = one.recalled(values)
            if name == tab and (link.given or link.view or link.places.get("hide")):
                told, rest, odd = one.of_link(link)
                values = values if again else told
                rests[name] = rests[name] if again and one.kept else rest
            widgets += one.updates(values, fresh=not reset)
        if not reset:
            self.notice(link, odd, {} if self.settings[tab].kept else rests[tab])  # where it is kept, it is shown too
        place = [self.first] if reset else kept.get("place") if again else [tab, link.view.get(PAGE)]
        held = [rests[name] for name, one in self.settings.items() if one.rest is not None]
        return [*self.selected(place), *lesson_of(link), *held, *widgets]

    def turned(self, link: Link) -> list[Any]:
        """Another step of a lesson: what it says, and the tab that it is about, set as its link has it."""
        link, tab = self.addressed(link)
        held: list[Any] = []
        widgets: list[Any] = []
        stays = "tab" not in link.places
        pages = [gr.skip() if stays else gr.Tabs(selected=tab)]
        for name, one in self.settings.items():
            values, rest, _ = one.of_link(link)
            here = not stays and name == tab
            widgets += one.updates(values, fresh=False) if here else [gr.skip() for _ in one.widgets]
            held += [rest if here else gr.skip()] if one.rest is not None else []
            if one.pages is not None:
                within = link.view.get(PAGE, one.page_ids[0])
                pages += [gr.Tabs(selected=within) if here and within in one.page_ids else gr.skip()]
        return [*pages, *lesson_of(link), *held, *widgets]

    def addressed(self, link: Link) -> tuple[Link, str]:
        """The link and the tab that it speaks of."""
        tab = link.places.get("tab", self.first)
        if tab in self.settings:
            return link, tab
        return replace(link, odd=(*link.odd, "tab")), self.first

    @property
    def first(self) -> str:
        return next(iter(self.settings))

    def notice(self, link: Link, odd: list[str], rest: Mapping[str, Any]) -> None:
        """One notice about all that this page cannot do for a link, or does without showing it."""
        hidden = [name for name in link.places.get("hide", "").split(",") if name]
        known = {name for one in self.settings.values() for name in one.names}
        odd += ["hide"] if set(hidden) - known else []
        told = replace(link, odd=(*link.odd, *odd)).notice
        model = link.recipe.model
        if model not in (None, self.model):
            told += f" The link was made with the model {model}; here is {self.model}."
        if rest:
            told += f" The link also sets {', '.join(rest)}, which no control shows here; that holds while the page's address does."
        if told:
            gr.Warning(controls.untagged(told.strip()), title="About this link")

    def selected(self, place: Any) -> list[Any]:
        """The tab and the page within it, where they are not the first that there is."""
        at, *within = place if isinstance(place, list) and place else [self.first]
        known = at in list(self.settings)[1:]
        return [gr.Tabs(selected=at) if known else gr.skip()] + [
            gr.Tabs(selected=within[0]) if name == at and within and within[0] in one.page_ids[1:] else gr.skip()
            for name, one in self.settings.items() if one.pages is not None
        ]  # fmt: skip

    def told(self) -> None:
        """What Reset has done."""
        gr.Info("Everything is set as it was in the beginning. Pictures stay.", title="Reset")

    def share(self, request: gr.Request, kept: Any, hidden: Any, *values: Any) -> list[Any]:
        """The link to the tab that is open, what it can hide, and its code for phones."""
        tab, *within = [str(name) for name in kept["place"]] or [self.first]
        left = iter(values)
        rests = {name: next(left) for name, one in self.settings.items() if one.rest is not None}
        mades = {name: next(left) for name, one in self.settings.items() if one.made is not None}
        one, told = self.settings[tab], dict(zip(self.names, left, strict=True))
        hidden = [name for name in hidden or () if name in one.names]
        lesson = str(kept.get("lesson") or "")
        lesson = lesson if find(lesson) else ""
        try:
            own = {name: told[f"{tab}.{name}"] for name in one.widgets}
            query = one.query(own, "".join(within[:1]), rests.get(tab), mades.get(tab, ""), tab=tab, hide=",".join(hidden),
                              lesson=lesson)  # fmt: skip
        except Exception as error:
            raise controls.fault(error) from None
        link = f"{address_of(request)}?{query}"
        choices = [(label, name) for name, label in one.names.items()]
        return [link, gr.update(choices=choices, value=hidden), coded(link)]


def begun(query: dict[str, str]) -> dict[str, str]:
    """The address that a fresh page is opened at: a step of a lesson that names no tab is about that of the steps before it."""
    found = None if "tab" in query else find(query.get("lesson", ""))
    return query if found is None else dict(parse_qsl(found[0].state(found[1]).removeprefix("?"))) | query


def lesson_of(link: Link) -> list[Any]:
    """The dock and the words of the step that a link names; empty where it names none."""
    found = find(link.places.get("lesson", ""))
    if found is None:
        return [{}, ""]
    lesson, at = found
    step = lesson.steps[at]
    turns = [lesson.address(number) if 0 <= number < len(lesson.steps) else "" for number in (at - 1, at + 1)]
    return [{"place": f"{lesson.name}.{at + 1}", "title": lesson.title, "heading": step.heading, "asks": step.asks,
             "at": at + 1, "steps": len(lesson.steps), "turns": turns, "words": words(lesson.language)}, step.text]  # fmt: skip


def coded(link: str) -> dict[str, str]:
    """The link as a QR code, or why there is none."""
    if any(f"//{name}" in link for name in HERE_ONLY):
        return {"told": "This studio answers on this computer only. Start it with --host 0.0.0.0 for a code that phones can open."}
    if len(link.encode()) > MOST_CODED:
        return {"told": f"The link is too long for a code ({len(link):,} characters): take fewer words, or copy it."}
    code = segno.make(link, error="m", micro=False)
    return {"code": code.svg_data_uri(scale=8, border=4, dark="#000", light="#fff", xmldecl=False),
            "told": "A phone in the same network opens it with its camera."}  # fmt: skip
