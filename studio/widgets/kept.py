"""What a drawing shows of its value, kept by widgets that nobody sees, so that links, reloads and Reset have it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from studio.widgets.base import PRIVATE
from studio.widgets.settings import UNSEEN, fitting


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
