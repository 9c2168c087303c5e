"""The Claim Bench: every statement of the source as a card; predict, measure, compare."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from core.claims import CLAIMS
from studio.figures import labs as figures
from studio.service.engine import USUAL, Engine
from studio.service.jobs import LAST, Failed
from studio.tabs.labs.desk import canvas
from studio.widgets import controls
from studio.widgets.base import ENGINE, PRIVATE, texts
from studio.widgets.checks import one_of
from studio.widgets.kept import remembered, unseen
from studio.widgets.settings import Settings
from studio.widgets.status import followed, status
from studio.work.labs import measured


def page(engine: Engine) -> Settings:
    """Lay out the cards; the page asks for them when it is opened."""
    gr.Markdown(texts("labs-claims")[0], elem_classes="lesson")
    shown = canvas("bench", "labs-bench", {})
    view = remembered(shown, claim=unseen(gr.Dropdown, "", "Card that is marked", choices=["", *CLAIMS]))
    shown.open(lambda: {"cards": figures.cards()}, None, shown, queue=False, **PRIVATE)

    async def measure(request: gr.Request, event: gr.EventData) -> AsyncIterator[Any]:
        async for view in measuring(engine, request, event):
            yield view

    def halt(request: gr.Request) -> None:
        engine.stop(controls.visitor(request))

    shown.measure(measure, None, shown, **ENGINE, **PRIVATE)
    shown.halt(halt, None, None, queue=False, **PRIVATE)
    return Settings(view=view)


async def measuring(engine: Engine, request: gr.Request, event: gr.EventData) -> AsyncIterator[dict[str, Any]]:
    """Measure the claim whose button was pressed; the page keeps what it was told of the others."""
    asked, view = event._data if isinstance(event._data, dict) else {}, dict[str, Any]()
    try:
        name = one_of("claim", asked.get("id"), CLAIMS)
        cost = USUAL * (20 if CLAIMS[name].slow else 1)
        with engine.compute(functools.partial(measured, engine, name), controls.visitor(request), cost) as job:
            yield (view := {"running": name, "status": status("queued", "On its way …")})
            async for told, now in followed(job, view):
                view = now
                yield view | ({"running": ""} if isinstance(told, LAST) else {})
    except Exception as error:
        fault = controls.fault(error)
        yield view | {"running": "", "status": status("failed", fault.message)}
        raise fault from None
    if isinstance(told, Failed):
        raise gr.Error(controls.untagged(told.sentence), title="Not measured", print_exception=False)
