"""The one decoder for pictures that strangers hand in: nothing else in the studio opens one.

Only PNG, JPEG and WebP are ever parsed, and what is too big is refused from its header, before a pixel is decoded. What comes
out is a fresh RGB image: upright, transparency laid on white, 16 bits scaled to 8, of an animation the first frame. Nothing
else of the file comes along: no EXIF, no place, no profile, no text.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from core.errors import UserError

log = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "WEBP")
MOST_BYTES, MOST_PIXELS = 16_000_000, 16_000_000
LEAST_SIDE, MOST_RATIO = 16, 8  # pixels; longer side to shorter
LARGEST = 2048  # pixels of the longer side that are kept: more than any model here takes
ORIENTATION = 0x0112
SHORT = 3  # of the types of what an EXIF tag holds; bytes that one of each takes
WIDTHS = {1: 1, 2: 1, SHORT: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
UPRIGHT = dict(enumerate(
    ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"), 2
))  # fmt: skip
UNREADABLE = "This cannot be read as a picture; PNG, JPEG or WebP, please."
BROKEN = "The picture breaks off before its end or is damaged; save it again as PNG, JPEG or WebP and upload that."


def decode(source: str | Path | bytes) -> Image.Image:
    """A picture from a file or its bytes; `info["notice"]` is a sentence where something was left out, else it is missing.

    Raises UserError with one sentence for anything that is no picture, too big, too small or too long.
    """
    with opened(source) as image:
        check_shape(*image.size)
        try:
            return _plain(image)
        except Exception as error:
            log.info("refused an upload: %r", error)
            raise UserError(BROKEN) from None


def opened(source: str | Path | bytes) -> Image.Image:
    """A picture whose header alone has been read, its pixels not yet; raises UserError for what is none, or too big."""
    data = _bytes(source)
    if (size := webp_size(data)) is not None:  # Pillow makes room for a whole WebP when it opens one
        check_pixels(*size)
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise UserError(_too_many("more than 179")) from None
    except UnidentifiedImageError:
        raise UserError(UNREADABLE) from None
    except Exception as error:  # whatever a parser may stumble over, the visitor's file is at fault
        log.info("refused an upload: %r", error)
        raise UserError(UNREADABLE) from None
    check_pixels(*image.size)
    return image


def check_pixels(width: int, height: int) -> None:
    """Raise UserError for a picture that has too many pixels."""
    if width * height > MOST_PIXELS:
        raise UserError(_too_many(f"{width * height / 1e6:.0f}"))


def check_shape(width: int, height: int) -> None:
    """Raise UserError for a picture that is too small or too long."""
    short, long = sorted((width, height))
    if short < LEAST_SIDE:
        raise UserError(f"The picture is {width}×{height} pixels; each side needs at least {LEAST_SIDE}: take a larger one.")
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
    order, kind, value = exif_value(exif, ORIENTATION)
    return int(struct.unpack(f"{order}H", value)[0]) if kind == SHORT and len(value) == 2 else 1


def exif_value(exif: Any, *tags: int) -> tuple[str, int, bytes]:
    """What EXIF data holds under a tag, all but the last of `tags` leading to inner tables: byte order, type and bytes.

    Type 0 and no bytes where there is no such tag, or nothing that can be understood; the other tags are passed over, unread.
    """
    tiff = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""
    order, kind, number, place = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4], ""), 0, 0, tiff[4:8]
    for tag in tags:
        start = struct.unpack(f"{order}I", place)[0] if order and len(place) == 4 else len(tiff)
        if start + 2 > len(tiff):
            return order, 0, b""
        (count,) = struct.unpack(f"{order}H", tiff[start : start + 2])
        table = tiff[start + 2 : start + 2 + 12 * count]
        rows = struct.iter_unpack(f"{order}HHI4s", table[: len(table) // 12 * 12])
        kind, number, place = next((row[1:] for row in rows if row[0] == tag), (0, 0, b""))
    size = WIDTHS.get(kind, 0) * number
    if size <= 4:
        return order, kind, place[:size]
    (start,) = struct.unpack(f"{order}I", place)
    return order, kind, tiff[start : start + size]
