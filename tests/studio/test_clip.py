"""The lab "CLIP" without a browser: its matrix, an upload among names, a training, and refusals in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from core import contrast, load_pipeline
from core.errors import UserError
from core.pipeline import TextToImage
from studio.work import clip as work
from tests.core.tiny import write_tiny
from tests.studio.fakes import shown


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TextToImage]:
    yield load_pipeline(write_tiny(Path(tmp_path_factory.mktemp("tiny"))), device="cpu")





def test_the_matrix_comes_with_pictures_captions_and_both_losses(pipe: TextToImage) -> None:
    seen, view = shown(work.matched(pipe, 2, 0))
    made = view["matrix"]
    assert len(made["pictures"]) == len(made["captions"]) == len(made["cosines"]) == len(seen) == 2
    told = contrast.forms(torch.tensor(made["cosines"]), made["tau"])
    assert made["losses"]["total"] == pytest.approx(told.total, rel=1e-4)
    assert made["losses"]["mean"] == pytest.approx(told.total / 2, rel=1e-4)
    assert all(-1 <= value <= 1 for row in made["cosines"] for value in row)


@pytest.mark.parametrize("size", [(64, 64), (40, 90)])
def test_an_upload_is_compared_with_typed_names_or_all_that_are_known(pipe: TextToImage, size: tuple[int, int]) -> None:
    image, known = Image.new("RGB", size, "red"), dict[str, Tensor]()
    _, typed = shown(work.classified(pipe, image, ["a red cat", "qzxv thing"], known))
    assert typed["zero"]["count"] == 2 and not known
    assert sum(row[2] for row in typed["zero"]["guesses"]) == pytest.approx(1, abs=1e-4)
    first, own = shown(work.classified(pipe, image, [], known))
    assert own["zero"]["count"] == 2 and set(known) == {"red cat", "blue apple"} and first
    assert not shown(work.classified(pipe, image, [], known))[0]  # they are read once


def test_the_middle_square_is_what_is_seen() -> None:
    wide = Image.new("RGB", (30, 10), "black")
    wide.paste("white", (10, 0, 20, 10))
    assert np.asarray(work.squared(wide)).min() == 255 and work.squared(wide).size == (10, 10)


@pytest.mark.parametrize(("text", "names"), [("", []), (" , \n,", []), ("a, b\nb, c", ["a", "b", "c"])])
def test_names_stand_between_commas_or_on_lines(text: str, names: list[str]) -> None:
    assert work.names_of(text) == names


@pytest.mark.parametrize(("text", "why"), [("cat", "only name"), (",".join(map(str, range(61))), "at most 60")])
def test_one_name_and_too_many_are_refused(text: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        work.names_of(text)


def test_a_training_shows_its_curves_from_the_first_step_on(pipe: TextToImage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrast.taught, "__defaults__", (0, 12, 60.0))
    seen, view = shown(work.taught(pipe, 0))
    loss, held = seen[0].view["charts"]
    assert loss["series"][0]["points"][0][0] == 0 and loss["series"][1]["points"][0][1] == pytest.approx(2 * math.log(2), rel=1e-5)
    assert held["series"][1]["points"][0][1] == 0.5 and [event.part for event in seen] == sorted(event.part for event in seen)
    assert all("of those held out find their caption" in event.line for event in seen) and "by chance 1/2, 50.0 %." in view["line"]
    assert len(view["shares"]["v"]) == view["shares"]["n"] ** 2 and view["line"].startswith("From ")


def test_a_long_training_reaches_the_page_as_few_points() -> None:
    losses = tuple((step, 6.9) for step in range(1501))
    now = contrast.Course(1500, 1.0, 32, losses, losses[::10], torch.eye(32), 0.1)
    curve, share = (one["series"][0]["points"] for one in work.course(now)["charts"])
    assert len(curve) <= 260 and len(share) <= 160


def test_a_model_without_eyes_says_so(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    (folder / "clip" / "model.safetensors").unlink()
    blind = load_pipeline(folder, device="cpu")
    with pytest.raises(UserError, match="no CLIP that sees"):
        shown(work.matched(blind, 2, 0))
    assert "no CLIP" in work.lacks(blind)
