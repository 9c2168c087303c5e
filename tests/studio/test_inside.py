"""The lab "Inside" without a browser: the map, looks and switches as the page gets them, and refusals in sentences."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from core import Recipe, load_pipeline
from core.errors import UserError
from core.inside.parts import map_of
from core.nets.configs import SD1_UNET
from studio.figures import inside as figures
from studio.service.engine import Engine
from studio.tabs.labs import inside
from studio.work import inside as work
from tests.core.tiny import write_tiny
from tests.studio.fakes import shown

RUN = Recipe(prompt="a red cat", steps=4, sampler="ddim", gamma=2, seed=1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(load_pipeline(write_tiny(Path(tmp_path_factory.mktemp("tiny"))), device="cpu"))
    yield made
    made.close()





def pixels(source: str) -> np.ndarray:
    import base64

    return np.asarray(Image.open(BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))


# ------------------------------------------------------------------------------------------------- doubled


def test_a_transposed_convolution_makes_a_checkerboard_of_a_constant_and_the_others_one_colour() -> None:
    view = inside.drawn_doubled(3, 0, False)
    colours = {tile["name"]: len(np.unique(pixels(tile["images"][0]).reshape(-1, 3), axis=0)) for tile in view["tiles"]}
    assert colours == {"given": 1, "transposed convolution": 4, "bilinear": 1, "nearest neighbour, then a convolution": 1}
    assert [tile["told"].split(" %")[0] for tile in view["tiles"][2:]] == ["0", "0"]
    json.dumps(view, allow_nan=False)


def test_with_all_weights_alike_the_sides_that_the_stride_divides_are_safe() -> None:
    alike = next(one for one in figures.share_chart()["series"] if one["name"] == "transposed, all alike")
    assert [side for side, share, *_ in alike["points"] if share < 1e-12] == [2, 4, 6, 8]
    told = {side: inside.drawn_doubled(side, 3, True)["tiles"][1]["told"] for side in (3, 4)}
    assert told[4].startswith("0 %") and told[3].startswith("19 %")


@pytest.mark.parametrize("values", [(1, 0, False), (3, 99, False), (3, None, False), ("x", 0, True)])
def test_a_kernel_that_cannot_be_is_refused_in_a_sentence(values: tuple[Any, ...]) -> None:
    with pytest.raises(gr.Error, match="must be a"):
        inside.drawn_doubled(*values)


# ------------------------------------------------------------------------------------------------- the map


@pytest.mark.parametrize("sizes", ["tiny", "SD 1"])
def test_every_row_of_the_map_holds_maps_of_one_size(engine: Engine, sizes: str) -> None:
    found = work.network_map(engine.pipe) if sizes == "tiny" else map_of(SD1_UNET, 64, 64)
    made = figures.map_view(found)
    for row in range(made["rows"]):
        assert len({tuple(part["shape"][1:]) for part in made["parts"] if part["row"] == row and part["kind"] != "time"}) == 1
    named = {part["name"]: part for part in made["parts"]}
    for skip in made["skips"]:  # so that no skip has to cross a row
        assert named[skip["source"]]["row"] == named[skip["target"]]["row"] == skip["row"]
    json.dumps(made)


def test_every_part_and_skip_can_be_chosen_by_words_of_its_own(engine: Engine) -> None:
    choices = dict(figures.choices(engine.pipe.unet))
    made = figures.map_view(work.network_map(engine.pipe))
    both = {one["name"]: one["title"] for one in (*made["parts"], *made["skips"])}
    assert {name: title for title, name in choices.items()} == both and len(set(both.values())) == len(both)
    assert inside.FIRST in both


# ------------------------------------------------------------------------------------------------- looks


def test_a_run_has_a_picture_for_every_step(engine: Engine) -> None:
    seen, view = shown(work.ran(engine, RUN))
    assert len(view["frames"]) == len(view["steps"]) == 4 and seen[-1].part == 1
    assert [step["t"] for step in view["steps"]] == sorted((step["t"] for step in view["steps"]), reverse=True)


def test_every_part_and_skip_is_looked_into(engine: Engine) -> None:
    for _, name in figures.choices(engine.pipe.unet):
        _, view = shown(work.looked(engine, RUN, 2, name))
        assert view["part"] == name and view["step"] == 2 and np.isfinite(view["rms"])
        assert ("grid" in view) == (name != "time_embedding")
        assert len(view["norms"]) == (2 if ".resnets." in name and not name.startswith("skip") else 1)
    assert shown(work.looked(engine, RUN, 50, "conv_out"))[1]["step"] == 4  # a shorter run has its last step


def test_a_channel_s_own_greatest_value_has_the_strongest_colour_and_nought_is_grey() -> None:
    x = torch.zeros(2, 16, 16)
    x[0, 0, 0], x[1, 0, 0] = 5, -0.01
    grid = pixels(figures.grid(x))
    assert grid.shape == (18, 16 * 18, 3)
    orange, blue, grey = grid[1, 1].astype(int), grid[1, 19].astype(int), grid[9, 9].astype(int)
    assert orange[0] > orange[2] + 100 and blue[2] > blue[0] + 100 and np.ptp(grey) < 8


@pytest.mark.parametrize("shape", [(3, 2, 2), (70, 96, 96), (5, 8, 24), (1, 1, 1)])
def test_channels_of_any_size_make_a_grid(shape: tuple[int, int, int]) -> None:
    view = figures.activations(torch.randn(shape))
    assert len(view["shown"]) == min(64, shape[0]) and view["channels"] == shape[0]
    assert [one[0] for one in view["shown"]] == sorted(one[0] for one in view["shown"])


def test_a_position_s_look_reaches_the_page(engine: Engine) -> None:
    _, view = shown(work.attending(engine, RUN, 2, inside.FIRST, 0.2, 0.9))
    assert len(view["v"]) == view["h"] * view["w"] and max(view["v"]) == 255 and view["even"] <= view["most"] <= 1
    with pytest.raises(UserError, match="no attention"):
        shown(work.attending(engine, RUN, 2, "conv_in", 0.2, 0.9))


# ------------------------------------------------------------------------------------------------- switched off


@pytest.mark.parametrize("what", [name for _, name in inside.OFF])
def test_each_switch_has_its_loss_its_curve_and_its_picture(engine: Engine, what: str) -> None:
    seen, view = shown(work.switched(engine, RUN, 2, what, "skip:up_blocks.0.resnets.0"))
    first, *rest = view["gallery"]
    assert first["name"] == "nothing off" and first["change"] is None and rest
    for one in rest:
        value, low, high = one["change"]
        assert low <= value <= high and one["src"] != first["src"] and one["src"].startswith("data:image/png")
    assert len(view["charts"][0]["series"]) == 2 + len(rest) and len(view["charts"]) == (2 if what == "time" else 1)
    assert [event.part for event in seen] == sorted(event.part for event in seen) and "without" in view["line"]


def test_a_model_without_training_pictures_is_measured_on_the_picture_of_the_run(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    (folder / "latents.safetensors").unlink()
    made = Engine(load_pipeline(folder, device="cpu"))
    try:
        _, view = shown(work.switched(made, RUN, 2, "middle", ""))
        assert "picture of this run under 4 draws" in view["of"] and len(view["gallery"]) == 2
    finally:
        made.close()


# ------------------------------------------------------------------------------------------------- the page


def answers(running: Any) -> list[Any]:
    async def all_of() -> list[Any]:
        return [one async for one in running]

    return asyncio.run(all_of())


def test_what_is_not_on_the_map_is_refused_in_a_sentence(engine: Engine) -> None:
    request = gr.Request(session_hash="somebody")
    for wrong in ("__class__", None, 3, "skip:conv_in"):
        with pytest.raises(gr.Error, match="part is"):
            inside.picked(engine, gr.EventData(None, {"name": wrong}))
        with pytest.raises(gr.Error, match="part is"):
            answers(inside.look(engine, request, RUN, wrong, 2))
    for wrong in ({"down": 2, "right": 0}, {"down": float("nan"), "right": 0}, {}, "x"):
        with pytest.raises(gr.Error, match="must be a number"):
            answers(inside.attend(engine, request, gr.EventData(None, wrong), RUN, inside.FIRST, 2))
    with pytest.raises(gr.Error, match="step is"):
        answers(inside.look(engine, request, RUN, inside.FIRST, 2.5))


def test_before_a_run_a_part_is_only_marked_and_after_it_looked_into(engine: Engine) -> None:
    request = gr.Request(session_hash="somebody")
    assert len(answers(inside.look(engine, request, None, "conv_in", 3))) == 1
    marked, seen = answers(inside.look(engine, request, RUN, "conv_in", 3))
    assert marked["chosen"] == ["conv_in", 3] and seen["look"]["part"] == "conv_in"
    (heat,) = answers(inside.attend(engine, request, gr.EventData(None, {"down": 0.5, "right": 0.5}), RUN, inside.FIRST, 3))
    assert heat["heat"]["at"] == [0.5, 0.5]


def test_the_step_ends_where_the_run_does() -> None:
    assert {name: inside.ended(12, 30)[name] for name in ("maximum", "value")} == {"maximum": 12, "value": 12}
    for kept in (inside.ended(40, 30), inside.ended(40)):
        assert kept["maximum"] == 40 and "value" not in kept
    with pytest.raises(gr.Error, match="steps"):
        inside.ended("many", 3)
