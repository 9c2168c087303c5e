"""A film as a file: GIF, animated WebP, MP4, or all frames on one sheet; pure functions from pictures to bytes.

A frame shows x_t and the predicted x0 side by side, with a line that says where the run stands.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from core.errors import UserError

RATE = 10  # frames a second
HOLD = 15  # frames that the last picture stays
SIDE, BAND, GAP = 256, 30, 6  # pixels
INK, PAPER = (40, 44, 60), (255, 255, 255)
NO_VIDEO = (
    "MP4 needs PyAV, which is not installed here: run pip install av (or install the extra, diffusion-studio[video]) and start "
    "the studio again, or choose GIF or WebP."
)


def composed(x: np.ndarray, x0: np.ndarray, line: str) -> Image.Image:
    """One frame of the film, of even size as video wants it."""
    left, right = enlarged(x), enlarged(x0)
    width, height = left.width + GAP + right.width, left.height + BAND
    frame = Image.new("RGB", (width + width % 2, height + height % 2), PAPER)
    frame.paste(left, (0, 0))
    frame.paste(right, (left.width + GAP, 0))
    ImageDraw.Draw(frame).text((8, left.height + 7), line, fill=INK, font=font(13))
    return frame


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Letters that have γ, σ and ×, which Pillow's own lack: DejaVu Sans, as matplotlib brings it."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def enlarged(pixels: np.ndarray) -> Image.Image:
    """A picture at a whole multiple of its size, near 256 pixels."""
    image = Image.fromarray(pixels)
    times = max(1, SIDE // max(image.size))
    how = Image.Resampling.BICUBIC if times < 4 else Image.Resampling.NEAREST
    return image.resize((image.width * times, image.height * times), how)


def caption(numbers: dict[str, float | None], steps: int) -> str:
    """Where a frame stands: step, t, and the ratio of signal to noise."""
    db = numbers["db"]
    noise = "clean" if numbers["snr"] is None else "pure noise" if db is None else f"SNR {db:.1f} dB"
    return f"step {numbers['k']} of {steps}{moment(numbers)}    {noise}    (left: x_t, right: predicted x0)"


def moment(numbers: dict[str, float | None]) -> str:
    """The t of a frame, to be said behind its step; after the last one there is none."""
    t = numbers["t"]
    return "" if t is None or t < 0 else f", t = {t:.0f}"


def gif(frames: Sequence[Image.Image]) -> bytes:
    """An animated GIF of 256 colours a frame."""
    return _animated(frames, "GIF", optimize=False)


def webp(frames: Sequence[Image.Image]) -> bytes:
    """An animated WebP."""
    return _animated(frames, "WEBP", quality=85, method=2)


def _animated(frames: Sequence[Image.Image], form: str, **how: object) -> bytes:
    file, duration = BytesIO(), 1000 // RATE
    times = [duration] * (len(frames) - 1) + [duration * HOLD]
    frames[0].save(file, form, save_all=True, append_images=frames[1:], duration=times, loop=0, **how)
    return file.getvalue()


def possible(form: str) -> None:
    """Raise UserError for a form that this machine cannot write, before any work is done for it."""
    if form == "mp4" and find_spec("av") is None:
        raise UserError(NO_VIDEO)


def mp4(frames: Sequence[Image.Image]) -> bytes:
    """An H.264 video; raises UserError where PyAV is not installed."""
    possible("mp4")
    import av

    file = BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264" if "libx264" in av.codecs_available else "mpeg4", rate=RATE)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, RATE)
        for frame in [*frames, *[frames[-1]] * HOLD]:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
    return file.getvalue()


def contact_sheet(pictures: Sequence[np.ndarray], lines: Sequence[str], title: str) -> Image.Image:
    """Every frame beside the others, each over its line, under a title."""
    tiles = [Image.fromarray(pixels) for pixels in pictures]
    width, height = tiles[0].width + GAP, tiles[0].height + 22
    columns = math.ceil(math.sqrt(len(tiles) * 1.4))
    rows = math.ceil(len(tiles) / columns)
    page = Image.new("RGB", (columns * width + GAP, rows * height + 34), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((GAP + 2, 8), title, fill=INK, font=font(14))
    for index, (tile, line) in enumerate(zip(tiles, lines, strict=True)):
        left, top = GAP + index % columns * width, 34 + index // columns * height
        page.paste(tile, (left, top))
        draw.text((left + 2, top + tile.height + 3), line, fill=INK, font=font(11))
    return page


FORMS = {"gif": gif, "webp": webp, "mp4": mp4}
