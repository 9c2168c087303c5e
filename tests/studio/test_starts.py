"""The picture that a run starts from: cut and scaled once, its mask with it, named by digests, and only ever an upload."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio.data_classes import FileData
from PIL import Image

from core.errors import UserError
from core.recipe import Recipe
from studio.handlers import starts
from studio.widgets.uploads import uploaded

SIZE = (64, 32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that uploads lie in."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads" / "hash").mkdir(parents=True)
    return tmp_path / "uploads"


def put(folder: Path, image: Image.Image, name: str = "a.png") -> dict[str, str]:
    image.save(folder / "hash" / name)
    return {"path": str(folder / "hash" / name)}


def halves(width: int, height: int) -> Image.Image:
    """Black on the left, white on the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, width // 2 :] = 255
    return Image.fromarray(pixels)


def uri(image: Image.Image) -> str:
    file = BytesIO()
    image.save(file, "PNG")
    return starts.PREFIX + base64.b64encode(file.getvalue()).decode()


def test_the_middle_of_a_picture_is_cut_to_the_shape_and_scaled(folder: Path) -> None:
    bands = np.zeros((400, 400, 3), np.uint8)
    bands[100:300] = 255  # exactly the middle half, which the shape 2:1 keeps
    start = starts.from_files(put(folder, Image.fromarray(bands)), None, SIZE)
    assert start is not None and start.image.size == SIZE and start.mask is None
    inside = np.asarray(start.image)[4:-4]
    assert inside.min() > 250


def test_a_mask_is_cut_with_its_picture_whatever_its_own_size(folder: Path) -> None:
    start = starts.from_files(put(folder, halves(400, 300)), put(folder, halves(80, 60), "m.png"), SIZE)
    assert start is not None and start.mask is not None and start.mask.size == SIZE and start.mask.mode == "L"
    picture, mask = np.asarray(start.image)[..., 0] / 255, np.asarray(start.mask) / 255
    assert np.abs(picture - mask)[:, [*range(28), *range(36, 64)]].max() < 0.02  # but for the blurred edge
    Recipe(prompt="", **start.fields)
    assert set(start.pictures) == set(start.fields.values())


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_mask_of_one_grey_stays_that_grey(folder: Path, grey: int) -> None:
    board = {"file": put(folder, halves(90, 90)), "mask": uri(Image.new("L", (64, 32), grey))}
    start = starts.from_page(board, SIZE)
    assert start is not None and start.mask is not None and start.mask.getextrema() == (grey, grey)


def test_digests_name_what_the_model_sees(folder: Path) -> None:
    files = [put(folder, halves(400, 200)), put(folder, halves(400, 200), "again.png"), put(folder, halves(200, 400), "other.png")]
    same, again, other = (starts.from_page({"file": file}, SIZE) for file in files)
    assert same and again and other and same.fields == again.fields != other.fields


@pytest.mark.parametrize("nothing", [None, {}, {"file": None}, "x", {"mask": "x"}])
def test_without_a_picture_a_run_starts_from_noise(nothing: Any) -> None:
    assert starts.from_page(nothing, SIZE) is None and starts.from_files(None, None, SIZE) is None


def test_a_mask_alone_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="mask is given without an image; give the picture"):
        starts.from_files(None, put(folder, halves(40, 40)), SIZE)


@pytest.mark.parametrize("mask", ["data:text/html,<b>", "data:image/png;base64,%%%", 7, ["x"]])
def test_a_mask_that_is_no_png_is_refused(folder: Path, mask: Any) -> None:
    with pytest.raises(UserError, match="paint it again"):
        starts.from_page({"file": put(folder, halves(40, 40)), "mask": mask}, SIZE)
    with pytest.raises(UserError, match="PNG, JPEG or WebP"):
        starts.from_page({"file": put(folder, halves(40, 40)), "mask": starts.PREFIX + "aGVsbG8="}, SIZE)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../etc/passwd", "http://127.0.0.1/a.png", "data:image/png;base64,aGVsbG8=", "", "a\0b", 3, None]
)
def test_only_an_upload_is_ever_opened(folder: Path, path: Any) -> None:
    for file in (path, {"path": path}, FileData(path=path) if isinstance(path, str) else {"path": path, "url": "http://x"}):
        with pytest.raises(UserError, match="must be uploaded as a file"):
            uploaded(file)


def test_a_link_out_of_the_folder_of_uploads_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    (folder / "hash" / "out.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UserError, match="must be uploaded"):
        uploaded({"path": str(folder / "hash" / "out.png")})
    assert uploaded(put(folder, halves(40, 40))) == (folder / "hash" / "a.png").resolve()


def test_an_upload_that_is_gone_is_told(folder: Path) -> None:
    with pytest.raises(UserError, match="no longer here; upload it again"):
        starts.from_page({"file": {"path": str(folder / "hash" / "gone.png")}}, SIZE)
