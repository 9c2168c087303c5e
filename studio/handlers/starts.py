"""The picture that a run starts from, and the mask drawn on it: from an upload to what the model takes.

The middle of the picture is cut to the shape of what is made, and scaled to its size; the digests in a Recipe name these pixels.
White in a mask is painted anew, black is kept, grey in that proportion.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps

from core.errors import UserError
from studio.formats.photos import as_mask, decode, digest
from studio.widgets.uploads import uploaded

PREFIX = "data:image/png;base64,"
KEPT = ("What is not painted over is kept as the VAE gives it back: its finest detail changes a little.")


@dataclass(frozen=True)
class Start:
    """A picture of the size of what is made, and perhaps a mask of that size; `notice` says what was left out of the upload."""

    image: Image.Image
    mask: Image.Image | None = None
    notice: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """Its fields of a Recipe."""
        masked = {} if self.mask is None else {"mask": digest(self.mask)}
        return {"image": digest(self.image)} | masked

    @property
    def pictures(self) -> Mapping[str, Image.Image]:
        """What the digests stand for."""
        return dict(zip(self.fields.values(), filter(None, (self.image, self.mask)), strict=True))


def from_files(image: Any, mask: Any, size: tuple[int, int]) -> Start | None:
    """What a program hands in: an uploaded picture and perhaps an uploaded mask of it; both are cut alike. Raises UserError."""
    if image is None:
        if mask is not None:
            raise UserError("mask is given without an image; give the picture that it belongs to.")
        return None
    picture = decode(uploaded(image))
    drawn = None if mask is None else as_mask(decode(uploaded(mask)), picture.size)
    return Start(fitted(picture, size), drawn and fitted(drawn, size), picture.info.get("notice", ""))


def from_page(value: Any, size: tuple[int, int]) -> Start | None:
    """What the board of the page holds: {file, mask}, the mask drawn in the page and sent as a data URI. Raises UserError."""
    if not isinstance(value, dict) or not value.get("file"):
        return None
    picture = decode(uploaded(value["file"]))
    drawn = decode(pixels_of(value["mask"])) if value.get("mask") else None
    return Start(fitted(picture, size), drawn and as_mask(drawn, size), picture.info.get("notice", ""))


def fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The middle of a picture in this shape, scaled to this size."""
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def pixels_of(uri: Any) -> bytes:
    """The bytes of a PNG in a data URI; raises UserError for anything else."""
    try:
        if not isinstance(uri, str) or not uri.startswith(PREFIX):
            raise ValueError
        return base64.b64decode(uri.removeprefix(PREFIX), validate=True)
    except (ValueError, binascii.Error):
        raise UserError("The mask did not arrive as a PNG; clear it, and paint it again.") from None
