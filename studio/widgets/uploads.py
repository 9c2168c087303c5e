"""The one decoder for pictures that strangers hand in: nothing else in the studio opens an upload.

Only PNG, JPEG and WebP are ever parsed, and what is too big is refused from its header, before a pixel is decoded. What comes
out is a fresh RGB image: upright, transparency laid on white, 16 bits scaled to 8, of an animation the first frame. Nothing
else of the file comes along: no EXIF, no place, no profile, no text.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import struct
from abc import ABCMeta
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.utils import get_upload_folder
from PIL import Image, UnidentifiedImageError

from core.errors import UserError
from studio.widgets import controls

log = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "WEBP")
MOST_BYTES, MOST_PIXELS = 16_000_000, 16_000_000
LEAST_SIDE, MOST_RATIO = 16, 8  # pixels; longer side to shorter
LARGEST = 2048  # pixels of the longer side that are kept: more than any model here takes
ORIENTATION = 0x0112
UPRIGHT = dict(enumerate(
    ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"), 2
))  # fmt: skip
UNREADABLE = "This cannot be read as a picture; PNG, JPEG or WebP, please."
BROKEN = "The picture breaks off before its end or is damaged; save it again as PNG, JPEG or WebP and upload that."


def decode(source: str | Path | bytes) -> Image.Image:
    """A picture from a file or its bytes; `info["notice"]` is a sentence where something was left out, else it is missing.

    Raises UserError with one sentence for anything that is no picture, too big, too small or too long.
    """
    data = _bytes(source)
    if (size := webp_size(data)) is not None:  # Pillow makes room for a whole WebP when it opens one
        check_size(*size)
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise UserError(_too_many("more than 179")) from None
    except UnidentifiedImageError:
        raise UserError(UNREADABLE) from None
    except Exception as error:  # whatever a parser may stumble over, the visitor's file is at fault
        log.info("refused an upload: %r", error)
        raise UserError(UNREADABLE) from None
    with image:
        check_size(*image.size)
        try:
            return _plain(image)
        except Exception as error:
            log.info("refused an upload: %r", error)
            raise UserError(BROKEN) from None


def uploaded(file: Any) -> Path:
    """Where an uploaded file lies: what a page or a program hands in as {"path": …}, or its path alone.

    Raises UserError for whatever was not uploaded to this app: another path of this machine, an address, nothing at all.
    """
    path = file.get("path") if isinstance(file, dict) else getattr(file, "path", file)
    try:
        found = Path(path).resolve()
        if not found.is_relative_to(Path(get_upload_folder()).resolve()):
            raise ValueError
    except (TypeError, ValueError, OSError, RuntimeError):
        raise UserError("The picture must be uploaded as a file: choose one, or let the client's handle_file do it.") from None
    return found


def check_size(width: int, height: int) -> None:
    """Raise UserError for a picture that has too many pixels, is too small or too long."""
    short, long = sorted((width, height))
    if short < LEAST_SIDE:
        raise UserError(f"The picture is {width}×{height} pixels; each side needs at least {LEAST_SIDE}: take a larger one.")
    if width * height > MOST_PIXELS:
        raise UserError(_too_many(f"{width * height / 1e6:.0f}"))
    if long > MOST_RATIO * short:
        raise UserError(f"The picture is {width}×{height} pixels; its longer side may be at most {MOST_RATIO} times the "
                        "shorter one: crop it.")  # fmt: skip


def digest(image: Image.Image) -> str:
    """A picture's name in a Recipe: 32 hexadecimal digits of SHA-256 over its size and pixels."""
    rgb = image.convert("RGB")
    return hashlib.sha256(f"{rgb.width}x{rgb.height}:".encode() + rgb.tobytes()).hexdigest()[:32]


def as_mask(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture as the mask of another of this size: white is painted anew, black kept, grey in that proportion."""
    return image.convert("L").resize(size, Image.Resampling.BILINEAR)


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


def webp_size(data: bytes) -> tuple[int, int] | None:
    """The size that a WebP file's header states; None for any other file."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _bytes(source: str | Path | bytes) -> bytes:
    try:
        size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
        if size > MOST_BYTES:
            most = MOST_BYTES // 10**6
            raise UserError(f"The picture's file has {size / 1e6:.0f} MB; it may have at most {most}: save it smaller.")
        return source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError:
        raise UserError("The uploaded picture is no longer here; upload it again.") from None


def _too_many(pixels: str) -> str:
    return f"The picture has {pixels} million pixels; it may have at most {MOST_PIXELS // 10**6}: make it smaller and try again."


def _plain(image: Image.Image) -> Image.Image:
    """The first frame as 8-bit RGB, upright, at most LARGEST a side, with nothing of the file about it."""
    frames = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    image.draft("RGB", (LARGEST, LARGEST))  # a JPEG may decode at a half or a quarter of its size
    image.seek(0)
    image.load()
    rgb = _rgb(image)
    rgb.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    turn = UPRIGHT.get(orientation(image.info.get("exif", b"")))
    rgb = rgb.transpose(Image.Transpose[turn]) if turn else rgb
    fresh = Image.frombytes("RGB", rgb.size, rgb.tobytes())
    if frames > 1:
        fresh.info["notice"] = f"This is an animation of {frames} frames; the first one is used."
    return fresh


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion would clip them
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert("RGB")


def orientation(exif: Any) -> int:
    """The orientation 1 to 8 that EXIF data states for its picture; 1 where it says nothing that can be understood."""
    tiff = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    (start,) = struct.unpack(f"{order}I", tiff[4:8])
    if start + 2 > len(tiff):
        return 1
    (count,) = struct.unpack(f"{order}H", tiff[start : start + 2])
    table = tiff[start + 2 : start + 2 + 12 * count]
    for tag, kind, number, value in struct.iter_unpack(f"{order}HHIH2x", table[: len(table) // 12 * 12]):
        if tag == ORIENTATION and kind == 3 and number == 1:
            return int(value)
    return 1
