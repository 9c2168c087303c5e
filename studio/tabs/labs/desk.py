"""What every lab is laid out with: a canvas that draws its own value and is remembered as it stands, the buttons of its work."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.service.engine import Engine
from studio.widgets.base import PRIVATE, scripts
from studio.widgets.settings import UNSEEN, fitting
from studio.widgets.subpage import Page, press

PRICE = 3.0 * 20 * 128 * 128  # steps × pixels: some seconds


def canvas(name: str, script: str, value: dict[str, Any], **props: Any) -> gr.HTML:
    """A piece of page that draws its value itself, by assets/scripts/<script>.js, which may use the charts of labs-charts.js."""
    frame = f'<div class="lab {name}"></div><div class="g-line" role="status"></div>'
    code = scripts("draw", "labs-charts", "labs-kept", script)
    return gr.HTML(value, html_template=frame, js_on_load=code, apply_default_css=False, elem_id=f"labs-{name}", **props)


def unseen(make: type[Any], value: Any, label: str, **more: Any) -> Any:
    """A widget that nobody sees, for `remembered`."""
    return make(value=value, label=label, elem_classes=UNSEEN, **more)


def remembered(shown: gr.HTML, **widgets: Any) -> dict[str, Any]:
    """Widgets that nobody sees keep what a canvas shows of its value, so that links, reloads and Reset have it, by view name.

    The script hands what was chosen over by the event `remember`, and hears of what others chose by the prop of that name: see
    assets/scripts/labs-kept.js.
    """

    def remember(event: gr.EventData) -> dict[Any, Any]:
        told = event._data if isinstance(event._data, dict) else {}
        return {widget: told[name] for name, widget in widgets.items() if fitting(widget, told.get(name), None) is not None}

    def hear(*values: Any) -> Any:
        return gr.update(**dict(zip(widgets, values, strict=True)))

    kept = list(widgets.values())
    shown.props |= {name: widget.value for name, widget in widgets.items()}
    shown.remember(remember, None, kept, queue=False, **PRIVATE)
    gr.on([widget.change for widget in kept], hear, kept, shown, queue=False, trigger_mode="always_last", **PRIVATE)
    return widgets


def buttons(label: str, name: str) -> tuple[gr.Button, gr.Button]:
    """Start and stop, in a row."""
    with gr.Row(elem_classes="g-controls"):
        return press(label, name)


def worked(engine: Engine, stage: gr.HTML, pair: tuple[gr.Button, gr.Button]) -> Page:
    """A canvas that shows the work which these buttons start and stop."""
    made = Page(engine, stage, *pair)
    made.halt.click(made.stop, queue=False, **PRIVATE)
    return made
