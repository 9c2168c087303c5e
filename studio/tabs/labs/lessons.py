"""Lessons: a list to begin from, a worksheet for paper, and an answer key that the app measures.

A lesson itself goes over all tabs, in a panel of the page (page.py): gradio's Walkthrough would hold its steps inside of itself,
away from what they are about.
"""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from studio.formats.lessons import find, languages, lessons, words
from studio.service.engine import USUAL, Engine
from studio.service.jobs import LAST
from studio.tabs.labs.desk import canvas
from studio.widgets import controls
from studio.widgets.base import ENGINE, PRIVATE, texts
from studio.widgets.kept import remembered, unseen
from studio.widgets.settings import Settings
from studio.widgets.status import followed, status
from studio.work.labs import keyed


def page(engine: Engine) -> Settings:
    """Lay out the list; the page asks for it when it is opened."""
    gr.Markdown(texts("labs-lessons")[0], elem_classes="lesson")
    known = languages()
    language = gr.Dropdown(known, value=known[0], label="Language", visible=len(known) > 1, elem_id="lessons-language")
    shown = canvas("lessons", "labs-lessons", {})
    names = [one.name for each in known for one in lessons(each)]
    papers = [f"{kind}-{name}" for kind in ("worksheet", "key") for name in names]
    sheet = remembered(shown, sheet=unseen(gr.Dropdown, "", "Paper that lies open", choices=["", *papers]))

    def listed(language: Any) -> dict[str, Any]:
        chosen = language if language in known else known[0]
        return {"lessons": overview(chosen), "words": words(chosen)}

    async def measure(request: gr.Request, event: gr.EventData, language: Any) -> AsyncIterator[Any]:
        async for view in measuring(engine, request, event):
            yield listed(language) | view

    def halt(request: gr.Request) -> None:
        engine.stop(controls.visitor(request))

    shown.open(listed, language, shown, queue=False, **PRIVATE)
    language.change(listed, language, shown, queue=False, **PRIVATE)
    shown.measure(measure, language, shown, **ENGINE, **PRIVATE)
    shown.halt(halt, None, None, queue=False, **PRIVATE)
    return Settings(view={"language": language, **sheet})


def overview(language: str) -> list[dict[str, Any]]:
    """Every lesson with what its worksheet asks."""
    return [
        {"name": one.name, "title": one.title, "minutes": one.minutes, "about": one.about, "begin": one.address(0),
         "steps": [{"heading": step.heading, "asks": step.asks or plain(step.text), "open": not step.asks,
                    "claims": list(step.claims), "answer": step.answer} for step in one.steps]}
        for one in lessons(language)
    ]  # fmt: skip


def plain(text: str) -> str:
    """What a step says, without Markdown's marks: a worksheet is paper."""
    return " ".join(re.sub(r"[*$]", "", text).split())


async def measuring(engine: Engine, request: gr.Request, event: gr.EventData) -> AsyncIterator[dict[str, Any]]:
    """Measure the answers of one lesson."""
    asked = event._data if isinstance(event._data, dict) else {}
    name = str(asked.get("lesson", ""))[:10]
    found = find(name)
    if found is None:
        raise gr.Error("There is no such lesson; choose one of the list.", title="Not possible", print_exception=False)
    claims = list(dict.fromkeys(claim for step in found[0].steps for claim in step.claims))
    first: dict[str, Any] = {"keyed": name, "running": True, "key": {}, "status": status("queued", "On its way …")}
    try:
        yield first
        with engine.compute(functools.partial(keyed, engine, claims), controls.visitor(request), 20 * USUAL * len(claims)) as job:
            async for told, view in followed(job, first):
                yield view | ({"running": False} if isinstance(told, LAST) else {})
    except Exception as error:
        yield first | {"running": False, "status": status("failed", str(controls.fault(error).message))}
