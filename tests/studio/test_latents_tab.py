"""The Latents tab without a browser: what its pages say of a picture is what encoder and decoder really did."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core import Recipe
from core.costs import size
from core.errors import UserError
from core.latents import Edit, edited, without
from core.metrics import psnr
from core.pipeline import TextToImage, to_images, to_tensor
from studio.endpoints.latents import latents_of, rounded, side_of
from studio.figures import latents as figures
from studio.figures.noising import drawn_example
from studio.service.engine import Engine
from studio.tabs.latents import edits_of
from studio.work import latents as work
from studio.work.latents import Bench, Held
from studio.work.walks import NOISES, PICTURES, PROMPTS, Walk, between_pictures, walked
from tests.core.tiny import COUNT, origin
from tests.studio.fakes import ended

RECIPE = Recipe(prompt="a red cat", steps=3, sampler="ddim", seed=3)


@pytest.fixture
def bench(pipe: TextToImage) -> Iterator[Bench]:
    engine = Engine(pipe)
    yield Bench(engine)
    engine.close()


@pytest.fixture
def image(pipe: TextToImage) -> Image.Image:
    return drawn_example(pipe.size)


def opened(source: str) -> np.ndarray:
    """The pixels of a picture for the page."""
    with Image.open(BytesIO(base64.b64decode(source.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGB"))


# ------------------------------------------------------------------------------------------------------- channels


def test_the_channels_on_the_page_are_those_of_the_encoder(bench: Bench, pipe: TextToImage, image: Image.Image) -> None:
    shown, view = ended(work.taken_apart(bench, image))
    z = pipe.encode(image)
    for c, told in enumerate(view["channels"]):
        np.testing.assert_allclose(np.array(told["map"]["v"]) / 100, z[0, c].numpy().ravel(), atol=0.0051)
        assert told["mean"] == pytest.approx(float(z[0, c].mean()), abs=6e-4)
        assert told["std"] == pytest.approx(float(z[0, c].std()), abs=6e-4)
    assert view["numbers"] == [3 * 32 * 32, 4 * 16 * 16] and view["factor"] == 3
    assert view["error"]["psnr"] == pytest.approx(psnr(to_tensor([image]), pipe.decode(z)), abs=0.006)
    assert len(view["training"]) == 4
    assert [len(event.view["without"]) for event in shown if event is not None] == [0, 1, 2, 3, 4]


def test_what_is_shown_without_a_channel_is_decoded_without_it(bench: Bench, pipe: TextToImage, image: Image.Image) -> None:
    _, view = ended(work.taken_apart(bench, image))
    z = pipe.encode(image)
    left = pipe.decode(edited(z, without(2, 4)))
    np.testing.assert_array_equal(opened(view["without"][2]["picture"]), np.asarray(to_images(left)[0]))
    assert view["without"][2]["psnr"] == pytest.approx(psnr(pipe.decode(z), left), abs=0.006)


def test_unchanged_channels_change_nothing_and_a_swap_is_decoded(bench: Bench, pipe: TextToImage, image: Image.Image) -> None:
    _, same = ended(work.changed(bench, image, [Edit(c) for c in range(4)]))
    assert same["psnr"] is None and (opened(same["src"]) == 128).all()  # no error at all: infinite, which JSON has not
    swap = [Edit(1), Edit(0), Edit(2), Edit(3, 0.5, 1)]
    _, told = ended(work.changed(bench, image, swap))
    wanted = pipe.decode(edited(pipe.encode(image), swap))
    np.testing.assert_array_equal(opened(told["picture"]), np.asarray(to_images(wanted)[0]))


def test_a_density_sums_to_one_and_follows_the_normal_one() -> None:
    told = figures.density(torch.randn(200_000))
    width = 2 * figures.REACH / figures.BINS
    assert sum(told) * width == pytest.approx(1, abs=1e-3)
    places = (np.arange(figures.BINS) + 0.5) * width - figures.REACH
    np.testing.assert_allclose(told, np.exp(-(places**2) / 2) / np.sqrt(2 * np.pi), atol=0.01)
    assert figures.density(torch.tensor([-99.0, 99.0]))[0] == figures.density(torch.tensor([-99.0, 99.0]))[-1] == 0.5 / width


def test_a_difference_is_strengthened_until_it_can_be_seen() -> None:
    x = torch.zeros(1, 3, 8, 8)
    faint, strong = figures.difference(x, x + 0.1), figures.difference(x, x + 0.9)
    assert (faint["gain"], strong["gain"]) == (8, 1)
    assert opened(faint["src"])[0, 0, 0] == round((0.8 + 1) * 127.5)


@pytest.mark.parametrize(
    "given",
    [None, [], [{}] * 4, [{"takes": 4, "scale": 1, "shift": 0}] * 4, [{"takes": 0, "scale": "1", "shift": 0}] * 4,
     [{"takes": 0, "scale": float("nan"), "shift": 0}] * 4, [{"takes": 0, "scale": 1, "shift": 99}] * 4, ["x"] * 4,
     [{"takes": 0, "scale": 1, "shift": 0}] * 3],
)  # fmt: skip
def test_edits_that_no_page_makes_are_refused_in_a_sentence(given: Any) -> None:
    with pytest.raises(UserError, match=r"\.$"):
        edits_of(given, 4)


def test_edits_are_read_as_the_page_sends_them() -> None:
    assert edits_of([{"takes": 3 - c, "scale": -1, "shift": 0.5} for c in range(4)], 4) == [Edit(3 - c, -1, 0.5) for c in range(4)]


# ------------------------------------------------------------------------------------------------------- between two


@pytest.fixture
def uncompressed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sheets that hold their tiles as they are: WebP is not made for noise."""
    monkeypatch.setattr("studio.figures.strip.sheet", lambda tiles, quality: {"tiles": tiles})


@pytest.mark.parametrize(("kind", "other"), [(NOISES, 9), (PROMPTS, "a blue apple")])
def test_a_walk_fills_lane_by_lane_and_ends_at_both_runs(
    bench: Bench, pipe: TextToImage, kind: str, other: Any, uncompressed: None
) -> None:
    recipe = pipe.complete(RECIPE)
    shown, view = ended(walked(bench, Walk(kind, recipe, other, 3)))
    counts = [sum(lane["frames"] for lane in event.view["lanes"]) for event in shown if event.view]
    assert counts == sorted(counts) and [lane["way"] for lane in view["lanes"]] == ["linear", "spherical"]
    last = recipe.replace(seed=other) if kind == NOISES else recipe.replace(prompt=other)
    for lane in view["lanes"]:
        tiles = lane["sheet"]["tiles"].astype(float)
        assert len(tiles) == lane["frames"] == 3
        for place, end in ((0, recipe), (2, last)):
            assert np.abs(tiles[place] - np.asarray(pipe.images(end)[0])).max() <= 1


def test_halfway_between_noises_the_straight_way_is_too_short(bench: Bench, pipe: TextToImage) -> None:
    _, view = ended(walked(bench, Walk(NOISES, pipe.complete(RECIPE), 9, 3)))
    linear, spherical = (lane["length"] for lane in view["lanes"])
    assert linear[0] == spherical[0] and linear[2] == spherical[2]
    assert linear[1] < 0.8 < 0.95 < spherical[1]


def test_between_pictures_the_pixels_are_blended_too_and_a_missing_one_is_made(
    bench: Bench, pipe: TextToImage, uncompressed: None
) -> None:
    held, recipe = Held(drawn_example(pipe.size)), pipe.complete(RECIPE)
    _, view = ended(between_pictures(bench, held, None, recipe, 3))
    assert [lane["way"] for lane in view["lanes"]] == ["pixels, linear", "linear", "spherical"]
    made = np.asarray(pipe.images(recipe)[0], float)
    middle = view["lanes"][0]["sheet"]["tiles"][1]
    assert np.abs(middle - (made + np.asarray(held.image, float)) / 2).max() <= 1
    assert view["kind"] == PICTURES


def test_a_walk_is_not_walked_twice(bench: Bench, pipe: TextToImage, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = Walk(NOISES, pipe.complete(RECIPE), 9, 3)
    _, first = ended(walked(bench, walk))
    monkeypatch.setattr(TextToImage, "decode", None)
    assert ended(walked(bench, walk)) == ([], first)


def test_what_is_remembered_is_bounded(bench: Bench, pipe: TextToImage) -> None:
    for shade in range(work.REMEMBERED + 3):
        ended(bench.coded(Image.new("RGB", (pipe.size, pipe.size), (shade, 0, 0))))
    assert len(bench.known) == work.REMEMBERED


# ------------------------------------------------------------------------------------------------------- the map


def test_the_map_shows_every_training_picture_and_the_whole_run(bench: Bench, pipe: TextToImage) -> None:
    recipe = pipe.complete(RECIPE)
    _, view = ended(work.mapped(bench, Held(pipe.images(recipe)[0], recipe)))
    training = pipe.extras.training
    axes = work.axes_of(training)
    assert len(view["cloud"]["x"]) == COUNT and view["cloud"]["groups"]["style"]["names"] == ["flat", "minimal"]
    steps = list(pipe.run(recipe))
    assert len(view["path"]["x"]) == 4 and len(view["path"]["x0"]) == 3
    x, y = axes.project(steps[-1].x_next)[0] * 100
    assert view["here"] == view["path"]["x"][-1] == (pytest.approx(float(x), abs=0.51), pytest.approx(float(y), abs=0.51))
    far = (training.latents - steps[-1].x_next).square().mean((1, 2, 3)).sqrt()
    assert [one["far"] for one in view["nearest"]] == pytest.approx(sorted(far.tolist())[:6], abs=6e-4)
    assert view["nearest"][0]["i"] == int(far.argmin())


def test_a_picture_that_nobody_here_made_has_a_place_but_no_run(bench: Bench, image: Image.Image) -> None:
    _, view = ended(work.mapped(bench, Held(image)))
    assert "path" not in view and len(view["here"]) == 2 and len(view["nearest"]) == 6


def test_a_neighbour_comes_with_artist_and_licence(bench: Bench, pipe: TextToImage) -> None:
    _, told = ended(work.looked_up(bench, 3))
    wanted = origin(3)
    assert (told["label"], told["style"], told["licence"]) == (wanted["label"], wanted["style"], "MIT")
    assert told["terms"].startswith("https://") and told["package"] == "p 1.0" and told["artist"] == "p"  # no package of ours
    decoded = to_images(pipe.decode(pipe.extras.training.latents[3:4]))[0]
    np.testing.assert_array_equal(opened(told["src"]), np.asarray(decoded))


def test_every_package_of_ours_has_an_artist_and_a_home() -> None:
    provenance = Path(__file__).parents[2] / "assets" / "emoji-128" / "provenance.jsonl"
    from core.extras import read_origins

    for one in {(o.package, o.licence): o for o in read_origins(provenance)}.values():
        told = figures.credit(one)
        assert told["artist"] != one.package and told["home"].startswith("https://") and told["terms"].startswith("https://")


# ------------------------------------------------------------------------------------------------------- lost and saved


def test_what_is_lost_adds_up(bench: Bench, pipe: TextToImage, image: Image.Image) -> None:
    _, view = ended(work.lost(bench, image))
    x, back = to_tensor([image]), pipe.decode(pipe.encode(image))
    assert sum(band["share"] for band in view["bands"]) == pytest.approx(100, abs=0.01)
    moved = (x - x.mean((2, 3), keepdim=True)).square().sum()
    error = back - x
    wrong = (error - error.mean((2, 3), keepdim=True)).square().sum()
    told = sum(band["share"] * band["error"] for band in view["bands"] if band["error"] is not None) / 100
    assert told == pytest.approx(100 * float(wrong / moved), rel=0.01)
    value, low, high = view["own"]["psnr"]
    assert low <= value <= high and view["own"]["count"] == COUNT


def test_a_flat_picture_has_no_bands_and_breaks_nothing() -> None:
    flat = torch.full((1, 3, 16, 16), 0.25)
    told = figures.spectrum(flat, flat)
    assert all(band["kept"] is None for band in told["bands"]) and len(told["frequency"]) == 8


def test_the_numbers_of_the_source_stand_on_the_page() -> None:
    told = figures.sized(size(512))
    assert (told["pixels"], told["latents"], told["factor"]) == (786_432, 16_384, 48)
    assert told["pixel_weights"] == 4 * 262_144**2


@pytest.mark.slow
def test_the_same_network_costs_more_on_pixels_at_every_size(bench: Bench) -> None:
    shown, view = ended(work.measured(bench))
    assert [row["side"] for row in view["counted"]] == list(work.SIDES)
    assert all(row["pixels"] > row["latents"] and row["pixel_attention"] > row["latent_attention"] for row in view["counted"])
    assert {row["kind"] for row in view["timed"]} == {"pixels", "latents"} and all(row["seconds"] > 0 for row in view["timed"])
    assert len(shown) == len(view["counted"]) + len(view["timed"])


# ------------------------------------------------------------------------------------------------------- programs


def test_latents_go_to_a_program_and_back(pipe: TextToImage, image: Image.Image) -> None:
    z = pipe.encode(image)
    back = latents_of(rounded(z[0]), 4)
    assert back.shape == z.shape and float((back - z).abs().max()) < 6e-6


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "list of 4"), ("x", "list of 4"), ([], "list of 4"), ([[[1.0]]] * 3, "list of 4"), ({"a": 1}, "list of 4"),
        ([[["1"]]] * 4, "list of 4"), ([[[True]]] * 4, "list of 4"), ([[[None]]] * 4, "list of 4"),
        ([[[10**400]]] * 4, "list of 4"), ([[[1.0], [1.0, 2.0]]] * 4, "differ in length"),
        ([[[0.0] * 129]] * 4, "129×1"), ([[[]]] * 4, "0×1"),
        ([[[float("nan")]]] * 4, "finite"), ([[[1e9]]] * 4, "at most 1000"),
    ],
)  # fmt: skip
def test_what_are_no_latents_is_refused_in_a_sentence(given: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        latents_of(given, 4)


@pytest.mark.parametrize("side", [-8, 7, 1.5, float("nan"), 10**9, "64", True])
def test_a_side_that_cannot_be_is_refused(bench: Bench, side: Any) -> None:
    with pytest.raises(UserError, match="side is"):
        side_of(bench, side)
    assert side_of(bench, 0) == bench.pipe.size and side_of(bench, 64.0) == 64
