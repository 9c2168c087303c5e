"""Files made when somebody asks for them: a button, and a piece of page that hands the bytes to the browser's own saving.

Nothing lies on the server's disk, and nothing is drawn before it is wanted.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from studio.widgets import controls
from studio.widgets.base import scripts

SCRIPT = scripts("download")
KINDS = {"png": "image/png", "svg": "image/svg+xml", "csv": "text/csv"}


def buttons(make: Callable[..., tuple[str, bytes]], inputs: Sequence[Any], kinds: Sequence[str] = ("png", "svg")) -> None:
    """A row of buttons, one a kind of file; make(kind, *inputs) gives the file's name and bytes when one is pressed."""
    with gr.Row(elem_classes="downloads"):
        saver = gr.HTML(None, html_template='<span class="saver"></span>', js_on_load=SCRIPT, apply_default_css=False)
        for kind in kinds:

            def press(*values: Any, kind: str = kind) -> dict[str, str]:
                try:
                    name, data = make(kind, *values)
                except Exception as error:
                    raise controls.fault(error) from None
                uri = f"data:{KINDS[kind]};base64,{base64.b64encode(data).decode()}"
                return {"name": name, "data": uri, "press": secrets.token_hex(4)}  # a second press is a new file

            button = gr.Button(f"Save as {kind.upper()}", size="sm", elem_classes="download")
            button.click(press, list(inputs), saver, api_visibility="private", show_progress="hidden")
