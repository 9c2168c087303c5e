"""A page of a tab: a view that a script draws from its value, a button that begins a piece of work, and one that stops it.

The engine does the work; the page shows each state of it, keeps what was there when it is stopped or fails, and gets its
buttons back whatever happens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from studio.service.engine import Engine
from studio.service.jobs import Done
from studio.widgets import controls
from studio.widgets.status import View, followed, status

ASSETS = Path(__file__).parents[2] / "assets"
ENGINE: dict[str, Any] = {"concurrency_id": "engine", "concurrency_limit": 64}
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

Work = Callable[[], Generator[Any, None, View]]


@dataclass(frozen=True)
class Page:
    """The view and its two buttons."""

    engine: Engine
    stage: gr.HTML
    go: gr.Button
    halt: gr.Button

    @property
    def outputs(self) -> list[Any]:
        return [self.stage, self.go, self.halt]

    async def follow(self, request: gr.Request, make: Callable[[], tuple[Work, float]]) -> AsyncIterator[dict[Any, Any]]:
        """Queue the work that `make` gives with its cost, and hand out every state of the view."""
        view: View = {"status": status("queued", "On its way …")}
        try:
            work, cost = make()
            yield {self.stage: view, self.go: gr.update(interactive=False), self.halt: gr.update(interactive=True)}
            with self.engine.compute(work, controls.visitor(request), cost) as job:
                async for event, now in followed(job, view, lambda value: value or {}):
                    view = now
                    if not isinstance(event, Done):  # the last state comes with the buttons
                        yield {self.stage: view}
        except Exception as error:
            view = view | {"status": status("failed", controls.fault(error).message)}
        yield {self.stage: view, self.go: gr.update(interactive=True), self.halt: gr.update(interactive=False)}

    def stop(self, request: gr.Request) -> None:
        self.engine.stop(controls.visitor(request))


def press(label: str, name: str) -> tuple[gr.Button, gr.Button]:
    """The button that begins, and the one that stops."""
    go = gr.Button(label, variant="primary", elem_id=f"{name}-go", elem_classes="g-go", min_width=60)
    return go, gr.Button("Stop", interactive=False, elem_id=f"{name}-stop", elem_classes="g-halt", min_width=60)


def page(
    engine: Engine, name: str, script: str, text: str, buttons: tuple[gr.Button, gr.Button], view: View, **props: Any
) -> Page:
    """A view drawn by assets/<script>.js, the sentences for students under it, and Stop connected."""
    go, halt = buttons
    frame = '<div class="g-view"></div><div class="g-line" role="status"></div>'
    code = "\n".join((ASSETS / f"{part}.js").read_text(encoding="utf-8") for part in ("draw", script))
    idle = {"status": status("idle", f"Press {go.value}.")} | view
    stage = gr.HTML(idle, html_template=frame, js_on_load=code, apply_default_css=False, elem_id=name, **props)
    gr.Markdown(text, elem_classes="g-lesson", latex_delimiters=[{"left": "$", "right": "$", "display": False}])
    made = Page(engine, stage, go, halt)
    halt.click(made.stop, queue=False, **PRIVATE)
    return made
