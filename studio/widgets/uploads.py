"""Pictures that visitors upload: the component that takes them, and the page whose functions get no file but an upload.

What they hold goes through the one safe decoder (formats/photos.py) before any handler sees it.
"""

from __future__ import annotations

import functools
from abc import ABCMeta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import gradio as gr
from gradio.utils import get_upload_folder
from gradio_client.utils import async_traverse
from PIL import Image

from core.errors import UserError
from studio.formats.photos import decode
from studio.widgets import controls

SERVED = "/gradio_api/file="  # stands before its path in the address of an upload, which is what MCP clients hand in
NOT_UPLOADED = ("The picture must be uploaded as a file, since no address is fetched: choose one, or let the client's handle_file "
                "do it.")  # fmt: skip


def uploaded(file: Any) -> Path:
    """Where an uploaded file lies: what a page or a program hands in as {"path": …}, or its path alone.

    Raises UserError for whatever was not uploaded to this app: another path of this machine, an address, nothing at all.
    """
    path = file.get("path") if isinstance(file, dict) else getattr(file, "path", file)
    try:
        if isinstance(path, str) and path.startswith(("http://", "https://")):  # whose machine it names does not matter
            path = unquote(path.partition(SERVED)[2])
        found = Path(path).resolve()
        if not found.is_relative_to(Path(get_upload_folder()).resolve()):
            raise ValueError
    except (TypeError, ValueError, OSError, RuntimeError):
        raise UserError(NOT_UPLOADED) from None
    return found


class UploadsOnly(gr.Blocks):
    """gr.Blocks whose functions are handed no file but what was uploaded here.

    Gradio itself would fetch whatever address stands for a file anywhere in the arguments, of any size, before our function runs.
    """

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *more: Any, **options: Any) -> Any:
        """What the functions get of what was sent."""
        try:
            inputs = await async_traverse(inputs, _own, _is_file)
        except UserError as error:
            raise controls.fault(error) from None
        return await super().preprocess_data(block_fn, inputs, *more, **options)


async def _own(file: dict[str, Any]) -> dict[str, Any]:
    return file | {"path": str(uploaded(file)), "url": None, "meta": {"_type": "gradio.FileData"}}


def _is_file(value: Any) -> bool:
    """Whether Gradio may take this for a file."""
    return isinstance(value, dict) and "meta" in value and bool({"path", "url"} & value.keys())


class Unstubbed(type(gr.Image)):  # type: ignore[misc]
    """Gradio's metaclass writes a stub file beside the source of every new component; a running app leaves its code alone."""

    def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> Any:
        return ABCMeta.__new__(cls, name, bases, attributes)


class SafeImage(gr.Image, metaclass=Unstubbed):
    """gr.Image whose uploads go through `decode`: handlers get an RGB image or None, visitors a sentence."""

    @functools.wraps(gr.Image.__init__)  # Gradio tells the page what the signature names
    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **{"format": "png", "type": "pil", "sources": ["upload", "clipboard"]} | more)

    def get_block_name(self) -> str:
        return "image"  # the page shows it as what it is

    def preprocess(self, payload: Any) -> Image.Image | None:
        """What a handler gets for what a visitor uploaded."""
        if payload is None:
            return None
        try:
            if payload.path is None:
                raise UserError("The picture must be uploaded as a file, not written into the request.")
            return decode(payload.path)
        except UserError as error:
            raise gr.Error(controls.untagged(str(error)), title="Not this picture", print_exception=False) from None
