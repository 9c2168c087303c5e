"""A page of a tab: a view that a script draws from its value, a button that begins a piece of work, and one that stops it.

The engine does the work; the page shows each state of it, keeps what was there when it is stopped or fails, and gets its
buttons back whatever happens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.service.engine import Engine
from studio.service.jobs import Done
from studio.widgets import controls
from studio.widgets.base import LATEX, PRIVATE, scripts
from studio.widgets.status import View, followed, status

Work = Callable[[], Generator[Any, None, Any]]


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

    async def follow(
        self, request: gr.Request, make: Callable[[], tuple[Work, float]], begin: View | None = None,
        show: Callable[[Any], View] = lambda value: value or {},
    ) -> AsyncIterator[dict[Any, Any]]:  # fmt: skip
        """Queue the work that `make` gives with its cost, and hand out every state of the view, from `begin` on.

        `show` makes entries of the view of what the work yields and returns.
        """
        view: View = {"status": status("queued", "On its way …")} | (begin or {})
        try:
            work, cost = make()
            yield {self.stage: view, self.go: gr.update(interactive=False), self.halt: gr.update(interactive=True)}
            with self.engine.compute(work, controls.visitor(request), cost) as job:
                async for event, now in followed(job, view, show):
                    view = now
                    if not isinstance(event, Done):  # the last state comes with the buttons
                        yield {self.stage: view}
        except Exception as error:
            view = view | {"status": status("failed", controls.fault(error).message)}
        yield {self.stage: view, self.go: gr.update(interactive=True), self.halt: gr.update(interactive=False)}

    def stop(self, request: gr.Request) -> None:
        self.engine.stop(controls.visitor(request))


def formula(text: str) -> None:
    """What the page is about."""
    gr.Markdown(text, elem_classes="g-formula")


def press(label: str, name: str) -> tuple[gr.Button, gr.Button]:
    """The button that begins, and the one that stops."""
    go = gr.Button(label, variant="primary", elem_id=f"{name}-go", elem_classes="g-go", min_width=60)
    return go, gr.Button("Stop", interactive=False, elem_id=f"{name}-stop", elem_classes="g-halt", min_width=60)


def page(
    engine: Engine, name: str, script: str, text: str, buttons: tuple[gr.Button, gr.Button], view: View,
    *, after: tuple[str, ...] = (), **props: Any,
) -> Page:  # fmt: skip
    """A view drawn by assets/scripts/<script>.js, `after` others, the sentences for students under it, and Stop connected."""
    go, halt = buttons
    frame = '<div class="g-view"></div><div class="g-line" role="status"></div>'
    idle = {"status": status("idle", f"Press {go.value}.")} | view
    code = scripts("draw", *after, script)
    stage = gr.HTML(idle, html_template=frame, js_on_load=code, apply_default_css=False, elem_id=name, **props)
    gr.Markdown(text, elem_classes="g-lesson", latex_delimiters=LATEX)
    made = Page(engine, stage, go, halt)
    halt.click(made.stop, queue=False, **PRIVATE)
    return made
