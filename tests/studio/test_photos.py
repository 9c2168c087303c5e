"""The decoder held to table I of the fault list: what is accepted comes out right, what is not is refused in a sentence."""

import random
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from core.errors import UserError
from studio.formats.photos import LARGEST, MOST_BYTES, SHORT, as_mask, decode, digest, orientation, webp_size
from studio.formats.png import USER_COMMENT, read_png


def saved(image: Image.Image, kind: str = "PNG", **more: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def flag(width: int = 64, height: int = 48) -> Image.Image:
    """Four quarters that no turning leaves alone: red, green / blue, white."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for colour, x, y in (("red", 0, 0), ("lime", 1, 0), ("blue", 0, 1)):
        draw.rectangle((x * width // 2, y * height // 2, (x + 1) * width // 2 - 1, (y + 1) * height // 2 - 1), colour)
    return image


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *extra: bytes, rows: bytes = b"") -> bytes:
    """A PNG put together by hand, of one bit a pixel, with other chunks before its pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    body = zlib.compress(rows or bytes((width + 7) // 8 + 1) * height, 9)
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours of the four quarters, each channel as 0 or 1."""
    points = ((1 / 4, 1 / 4), (3 / 4, 1 / 4), (1 / 4, 3 / 4), (3 / 4, 3 / 4))
    found = [image.getpixel((int(x * image.width), int(y * image.height))) for x, y in points]
    return [tuple(round(value / 255) for value in colour) for colour in found]


FLAG = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)]


# ------------------------------------------------------------------------------------------------ what is refused


def canvas(side: int) -> bytes:
    """A WebP of a few pixels whose header states a canvas of this side."""
    small = saved(Image.new("RGBA", (16, 16), (1, 2, 3, 4)), "WEBP", lossless=True)
    body = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + (side - 1).to_bytes(3, "little") * 2 + small[12:]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


MEASURE = """
import sys, time, warnings
from pathlib import Path
from core.errors import UserError
from studio.formats.photos import decode
from studio.formats.png import read_png
warnings.simplefilter("ignore")
def peak():  # of this program; ru_maxrss would keep the peak of whoever started it
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
decode(Path(sys.argv[1]).read_bytes()), read_png(Path(sys.argv[1]))  # what a first picture brings into memory is no bomb's
for bomb in sys.argv[2:]:
    for opening in (decode, read_png):
        before, spent = peak(), []
        for _ in range(3):
            began = time.process_time()
            try:
                opening(bomb)
            except UserError as error:
                spent.append(time.process_time() - began)
                said = error
        print(min(spent), peak() - before, said, sep="|")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux tells it")
def test_bombs_are_refused_from_their_headers_in_little_memory(tmp_path: Path) -> None:
    """By the decoder and by /read_png alike; in a process of its own, whose greatest memory they would raise."""
    files = {"small.png": saved(flag()), "canvas.webp": canvas(16383)}
    files |= {f"{side}.png": png(side, side) for side in (10_000, 13_000, 20_000)}
    for name, data in files.items():
        assert len(data) < 160_000
        (tmp_path / name).write_bytes(data)
    done = subprocess.run([sys.executable, "-c", MEASURE, *(str(tmp_path / name) for name in files)], cwd=Path(__file__).parents[2],
                          capture_output=True, text=True)  # fmt: skip
    rows = [line.split("|") for line in done.stdout.splitlines()]
    assert len(rows) == 2 * (len(files) - 1), done.stderr
    for seconds, kibibytes, sentence in rows:
        assert float(seconds) < 0.05 and int(kibibytes) < 20_000
        assert "million pixels; it may have at most 16: make it smaller" in sentence


def test_a_webp_bomb_is_refused_before_its_canvas_is_made() -> None:
    for opening in (decode, read_png):
        with pytest.raises(UserError, match="268 million pixels"):
            opening(canvas(16383))


@pytest.mark.parametrize("settings", [{"lossless": True}, {"quality": 80}, {"save_all": True, "append_images": [flag()]}])
def test_the_size_in_a_webp_header_is_read_as_pillow_reads_it(settings: dict) -> None:
    assert webp_size(saved(flag(), "WEBP", **settings)) == (64, 48)


@pytest.mark.parametrize(
    ("width", "height", "says"),
    [(1, 1, "at least 16"), (1, 20_000, "at least 16"), (8192, 16, "at most 8 times"), (15, 200, "at least 16")],
)
def test_a_picture_too_small_or_too_long_is_refused_with_the_rule(width: int, height: int, says: str) -> None:
    with pytest.raises(UserError, match=rf"{width}×{height} pixels; .*{says}"):
        decode(png(width, height))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"hello", b"\x89PNG\r\n\x1a\n", b"%PDF-1.7", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", b"8BPS\0\1",
        b'<svg xmlns="http://www.w3.org/2000/svg" onload="x()"><script>x()</script></svg>', b"<html><img src=x></html>",
        b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        *(saved(flag(), kind) for kind in ("GIF", "TIFF", "BMP", "ICO", "PPM", "TGA", "PCX", "DDS")),
    ],
)  # fmt: skip
def test_what_is_no_png_jpeg_or_webp_is_refused(data: bytes) -> None:
    with pytest.raises(UserError, match="PNG, JPEG or WebP"):
        decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_that_breaks_off_is_refused(kind: str) -> None:
    whole = saved(Image.effect_noise((200, 200), 50).convert("RGB"), kind)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(UserError, match="PNG, JPEG or WebP"):
            decode(whole[: int(share * len(whole))])


def test_a_file_of_too_many_bytes_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "big.png").write_bytes(saved(flag()) + bytes(MOST_BYTES))
    for source in (tmp_path / "big.png", (tmp_path / "big.png").read_bytes()):
        with pytest.raises(UserError, match="may have at most 16: save it smaller"):
            decode(source)
    with pytest.raises(UserError, match="upload it again"):
        decode(tmp_path / "gone.png")


def exif(*tags: tuple[int, int, int, bytes], inner: tuple[tuple[int, int, int, bytes], ...] = ()) -> bytes:
    """EXIF data of these tags (number, type, count, four bytes), and of those in the table of the camera's own."""
    def table(rows: tuple[tuple[int, int, int, bytes], ...]) -> bytes:
        return struct.pack(">H", len(rows)) + b"".join(struct.pack(">HHI4s", *row) for row in rows) + bytes(4)

    where = 8 + 2 + 12 * (len(tags) + 1) + 4
    return b"Exif\0\0MM\0*\0\0\0\x08" + table((*tags, (0x8769, 4, 1, struct.pack(">I", where)))) + table(inner)


def spent_on(opening: Callable[[bytes], object], bomb: bytes) -> float:
    """Seconds of the processor for what is refused or ignored."""
    began = time.process_time()
    try:
        opening(bomb)
    except UserError as error:
        assert "PNG, JPEG or WebP" in str(error)
    return time.process_time() - began


def test_bombs_beside_the_pixels_are_refused_or_ignored_quickly() -> None:
    text = zlib.compress(bytes(100_000_000), 9)
    jpeg, many = saved(flag(), "JPEG"), tuple((tag, 1, 1, b"\7\0\0\0") for tag in range(65_534))
    some = exif(*many[:5_000])
    segment = b"\xff\xe1" + struct.pack(">H", len(some) + 2) + some
    icc = b"\xff\xe2" + struct.pack(">H", 60_002) + b"ICC_PROFILE\0\1\1" + bytes(60_000 - 14)
    small = bytes(3) * 16
    for bomb in (
        png(16, 16, chunk(b"zTXt", b"a\0\0" + text), rows=small),
        png(16, 16, chunk(b"iTXt", b"a\0\1\0\0\0" + text), rows=small),
        png(16, 16, chunk(b"iCCP", b"a\0\0" + text), rows=small),
        jpeg[:2] + segment * 12 + jpeg[2:],
        jpeg[:2] + icc * 200 + jpeg[2:],
        *(saved(flag(), kind, exif=data) for kind in ("PNG", "WEBP") for data in (exif(*many[:-1]), exif(inner=many))),
    ):
        for opening in (decode, read_png):
            assert min(spent_on(opening, bomb) for _ in range(3)) < 0.2, (opening.__name__, bomb[:60])  # others' work may slow one


@given(st.integers(0, 65_535), st.integers(0, 2**32 - 1), st.binary(min_size=4, max_size=4), st.sampled_from(["JPEG", "WEBP"]))
@example(SHORT, 1, b"\0\7\0\0", "JPEG")
@example(4, 1, b"\0\0\0\7", "JPEG")
@example(5, 1, b"\0\0\0\x08", "WEBP")
@example(7, 2**32 - 1, b"\xff\xff\xff\xff", "JPEG")
@settings(max_examples=150, deadline=None)
def test_exif_tags_of_any_type_and_count_are_a_picture_and_no_settings(kind: int, count: int, value: bytes, form: str) -> None:
    """A comment that is a number, an orientation that is a text, lengths beyond the file: other programs' fault, never ours."""
    data = saved(flag(), form, exif=exif((0x0112, kind, count, value), inner=((USER_COMMENT[-1], kind, count, value),)))
    assert decode(data).mode == "RGB" and read_png(data).recipe is None


@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_a_picture_or_a_sentence_never_another_fault(kind: str, seed: int) -> None:
    luck, data = random.Random(seed), bytearray(saved(flag(), kind))
    for _ in range(luck.randint(1, 8)):
        data[luck.randrange(len(data))] = luck.randrange(256)
    for opening in (decode, read_png):
        try:
            opening(bytes(data))
        except UserError as error:
            assert str(error).endswith(".")


# ------------------------------------------------------------------------------------------------ what is accepted


@pytest.mark.parametrize("turned", range(1, 9))
def test_a_photo_stands_upright_whatever_its_camera_did(turned: int) -> None:
    # What the camera stores when it says "orientation n": the upright picture with n's correction undone.
    undo = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_90", "TRANSVERSE", "ROTATE_270")
    stored = flag() if turned == 1 else flag().transpose(Image.Transpose[undo[turned - 2]])
    exif = Image.Exif()
    exif[0x0112], exif[0x8825] = turned, {1: "N", 2: (48.0, 51.0, 30.0)}
    for kind in ("JPEG", "PNG", "WEBP"):
        made = decode(saved(stored, kind, exif=exif))
        assert corners(made) == FLAG and made.size == (64, 48)
        assert not made.info and not made.getexif()  # nothing of where it was taken


def test_a_phone_photo_of_12_million_pixels_comes_out_smaller() -> None:
    made = decode(saved(flag(4000, 3000), "JPEG", quality=90))
    assert made.size == (LARGEST, LARGEST * 3 // 4) and corners(made) == FLAG


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"MM\0*\0\0\0\x08", None])
def test_exif_that_cannot_be_understood_turns_nothing(exif: bytes | None) -> None:
    assert orientation(exif) == 1


@pytest.mark.parametrize(("kind", "name"), [("PNG", "animated PNG"), ("WEBP", "animated WebP")])
def test_of_an_animation_the_first_frame_is_used_and_said(kind: str, name: str) -> None:
    others = [Image.new("RGB", (64, 48), colour) for colour in ("black", "yellow")]
    made = decode(saved(flag(), kind, save_all=True, append_images=others, lossless=True))
    assert corners(made) == FLAG and made.info["notice"] == "This is an animation of 3 frames; the first one is used."


def test_every_kind_of_pixel_comes_out_in_its_right_colour() -> None:
    assert corners(decode(saved(flag().convert("CMYK"), "JPEG", quality=95))) == FLAG
    assert corners(decode(saved(flag().quantize(8)))) == FLAG
    for mode, value, shown in (("1", 1, 255), ("L", 116, 116), ("I;16", 30_000, 116), ("I;16", 65_535, 255)):
        made = decode(saved(Image.new(mode, (20, 20), value)))
        assert made.getpixel((9, 9)) == (shown,) * 3
    for see_through in (Image.new("RGBA", (20, 20), (255, 0, 0, 51)), Image.new("LA", (20, 20), (0, 51))):
        made = decode(saved(see_through))
        assert np.allclose(made.getpixel((9, 9)), np.array(see_through.convert("RGB").getpixel((9, 9))) * 0.2 + 255 * 0.8, atol=1)


def test_transparent_colours_of_a_palette_lie_on_white() -> None:
    palette = flag().quantize(8)
    red = palette.getpixel((1, 1))
    assert corners(decode(saved(palette, transparency=red))) == [(1, 1, 1), *FLAG[1:]]
    grey = Image.new("L", (20, 20), 7)
    assert decode(saved(grey, transparency=7)).getpixel((9, 9)) == (255, 255, 255)


def test_a_mask_fits_its_picture_and_grey_stays_grey() -> None:
    for value in (0, 128, 255):
        mask = as_mask(decode(saved(Image.new("L", (40, 80), value))), (64, 48))
        assert mask.mode == "L" and mask.size == (64, 48) and mask.getextrema() == (value, value)


def test_a_digest_names_the_pixels_and_not_the_file() -> None:
    text = PngInfo()
    text.add_text("parameters", "hello")
    same = [decode(saved(flag())), decode(saved(flag(), pnginfo=text)), decode(saved(flag(), "WEBP", lossless=True))]
    assert len({digest(image) for image in same}) == 1
    assert digest(flag()) != digest(flag(48, 64)) and len(digest(flag())) == 32
