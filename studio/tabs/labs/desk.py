"""What every lab is laid out with: a canvas that draws its own value, the buttons of its work."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.service.engine import Engine
from studio.widgets.base import PRIVATE, scripts
from studio.widgets.subpage import Page, press

PRICE = 3.0 * 20 * 128 * 128  # steps × pixels: some seconds


def canvas(name: str, script: str, value: dict[str, Any], **props: Any) -> gr.HTML:
    """A piece of page that draws its value itself, by assets/scripts/<script>.js, which may use the charts of labs-charts.js."""
    frame = f'<div class="lab {name}"></div><div class="g-line" role="status"></div>'
    code = scripts("draw", "labs-charts", "labs-kept", script)
    return gr.HTML(value, html_template=frame, js_on_load=code, apply_default_css=False, elem_id=f"labs-{name}", **props)


def buttons(label: str, name: str) -> tuple[gr.Button, gr.Button]:
    """Start and stop, in a row."""
    with gr.Row(elem_classes="g-controls"):
        return press(label, name)


def worked(engine: Engine, stage: gr.HTML, pair: tuple[gr.Button, gr.Button]) -> Page:
    """A canvas that shows the work which these buttons start and stop."""
    made = Page(engine, stage, *pair)
    made.halt.click(made.stop, queue=False, **PRIVATE)
    return made
