"""The page "Evaluate" without a browser: each piece shows what it has, ends in numbers with intervals, and refuses in sentences."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
import numpy as np
import pytest

from core import load_pipeline
from core.errors import UserError
from core.evaluation import bias, settings
from core.evaluation.classes import divergences
from core.evaluation.clouds import clouds
from core.evaluation.damage import Damage
from core.evaluation.headlines import FIFTY, HEADLINES, PAIRS, Less, OnRing
from core.evaluation.settings import NOTHING, Quality, Setting
from core.metrics import METRICS, Interval
from core.perfect import PLACES
from studio.figures import evaluate as figures
from studio.formats.links import from_query
from studio.service.engine import Engine
from studio.tabs.labs import evaluate
from studio.work import evaluate as evaluate_work
from studio.work.evaluate import Room
from tests.core.tiny import SUBGROUPS, write_tiny
from tests.studio.fakes import shown


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    engine = Engine(load_pipeline(write_tiny(Path(tmp_path_factory.mktemp("tiny"))), device="cpu"))
    yield Room(engine)
    engine.close()





# ------------------------------------------------------------------------------------------------- which metric notices?


@pytest.mark.parametrize("damage", [Damage("noise", 1.0), Damage("duplicate", 6)], ids=lambda one: one.kind)
def test_every_metric_is_shown_before_and_after_with_the_pictures_beside_it(room: Room, damage: Damage) -> None:
    seen, view = shown(evaluate_work.noticed(room, damage, ["recall"]))
    assert [one["id"] for one in view["changes"]] == list(METRICS)
    assert [strip["name"] for strip in view["strips"]] == ["Before", "After"]
    assert view["strips"][0]["images"] != view["strips"][1]["images"]
    for one in view["changes"]:
        assert one["before"][1] <= one["before"][0] <= one["before"][2] and one["verdict"] in ("worse", "better", "not noticed")
        assert one["foreseen"] is (one["id"] == "recall")
    titles = [bars["title"] for bars in view["bars"]]
    assert [title.split(", ")[-1] for title in titles[2:]] == ["before", "after"] * 3
    assert all(one["most"] == other["most"] for one, other in zip(view["bars"][::2], view["bars"][1::2], strict=True))
    assert [len(bars["bars"]) for bars in view["bars"]] == [2, 2, 3, 3, 3, 3, 3, 3]  # the tiny classifier has three classes
    assert "You foresaw" in view["line"] and "cannot fill 16 dimensions" in view["line"]
    assert [event.part for event in seen] == sorted(event.part for event in seen) and seen[-1].part < 1


def test_the_classes_of_one_picture_and_of_all_lead_to_the_inception_score(room: Room) -> None:
    _, view = shown(evaluate_work.noticed(room, Damage("single"), []))
    one, all_of_them, score = view["bars"][2:7:2]
    assert {name for name, *_ in one["bars"]} == {name for name, *_ in all_of_them["bars"]} == set(SUBGROUPS)
    assert sum(value for _, value, *_ in one["bars"]) == pytest.approx(1, abs=1e-4)
    fine = room.gallery.tested.fine
    assert fine is not None and {name: value for name, value, *_ in all_of_them["bars"]} == pytest.approx(
        dict(zip(SUBGROUPS, fine.mean(0), strict=True)), abs=1e-4)  # fmt: skip
    told = next(change for change in view["changes"] if change["id"] == "inception_score")
    assert score["bars"][2][1] == pytest.approx(told["before"][0], rel=1e-4)
    assert f"exp({divergences(fine).mean():.3g}) = " in score["unit"]
    assert view["bars"][7]["bars"][2][1] == pytest.approx(told["after"][0], rel=1e-4)


def test_who_predicted_nothing_is_not_told_how_right_that_was(room: Room) -> None:
    _, view = shown(evaluate_work.noticed(room, Damage("duplicate", 6), []))
    assert {one["foreseen"] for one in view["changes"]} == {None} and "You foresaw" not in view["line"]


def test_the_pictures_are_looked_at_once(room: Room) -> None:
    shown(evaluate_work.noticed(room, Damage("blur", 1.0), []))
    seen, _ = shown(evaluate_work.noticed(room, Damage("blur", 1.0), []))
    assert not [event for event in seen if "this once" in event.line]


def test_work_that_is_left_half_way_goes_on_where_it_was(tmp_path: Path) -> None:
    engine = Engine(load_pipeline(write_tiny(tmp_path / "tiny"), device="cpu"))
    room = Room(engine)
    work = evaluate_work.noticed(room, Damage("blur", 1.0), [])
    next(work)
    work.close()
    assert 0 < (before := room.gallery.done) < len(room.gallery.rows)
    _, view = shown(evaluate_work.noticed(room, Damage("blur", 1.0), []))
    assert room.gallery.done == len(room.gallery.rows) > before and len(view["changes"]) == len(METRICS)
    engine.close()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (("smear", 1, 1, 1, "", []), "damage is"), (("blur", math.nan, 1, 1, "", []), "blur is"),
        (("blur", 17, 1, 1, "", []), "blur is"),
        (("noise", 1, "much", 1, "", []), "noise is"), (("duplicate", 1, 1, 2.5, "", []), "whole number"),
        (("blur", 1, 1, 1, "", ["beauty"]), "prediction is"), ((None, 1, 1, 1, "", []), "damage is"),
    ],
)  # fmt: skip
def test_damage_that_cannot_be_is_refused_in_a_sentence(values: tuple[Any, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        evaluate.damage_of(*values)


def test_damage_is_what_its_own_knob_says() -> None:
    assert evaluate.damage_of("noise", 9, 0.3, 8, "x", ["recall", "precision"]) == (Damage("noise", 0.3), ["precision", "recall"])
    assert evaluate.damage_of("duplicate", 9, 0.3, 8, "x", None) == (Damage("duplicate", 8), [])
    assert evaluate.damage_of("drop", 9, 0.3, 8, "style 3d", []) == (Damage("drop", group="style 3d"), [])
    assert figures.named(Damage("drop", group="style 3d")) == "Without a class: style 3d"
    single, _ = evaluate.damage_of("single", 9, 0.3, 8, "x", [])
    assert single.kind == "single" and figures.named(single) == "One of each class"


# ------------------------------------------------------------------------------------------------- clouds and numbers


def test_clouds_are_drawn_with_both_parts_exact_and_measured() -> None:
    view = evaluate.drawn_clouds(1.5, 2, 0.5, 30, 100, False)
    values = {name: value for name, value, *_ in view["bars"][0]["bars"]}
    assert values["means, exact"] == pytest.approx(2.25) and values["covariances, exact"] == pytest.approx(1.25)
    lows = {name: low for name, _, low, _ in view["bars"][0]["bars"]}
    assert lows["means, exact"] is None and lows["means, measured"] is not None  # chance has no part in the exact one
    json.dumps(view, allow_nan=False)


def test_the_ellipse_of_points_holds_their_two_deviations() -> None:
    made = clouds(0, 2.0, 0.5, 40, 1000)
    line = np.array(figures.ellipse(made.generated)) - made.generated.mean(0)
    inverse = np.linalg.inv(np.cov(made.generated, rowvar=False))
    assert np.einsum("ni,ij,nj->n", line, inverse, line) == pytest.approx(4)


@pytest.mark.parametrize("values", [(9, 1, 1, 0, 9, 0), (1, 0, 1, 0, 9, 0), (1, 1, 1, 0, 2, 0), (1, 1, 1, "x", 9, 0)])
def test_clouds_that_cannot_be_are_refused_in_a_sentence(values: tuple[Any, ...]) -> None:
    with pytest.raises(gr.Error, match="must be a"):
        evaluate.drawn_clouds(*values)


def test_both_distances_are_drawn_against_the_number_of_pictures(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bias.curve, "__defaults__", (2, 0))
    seen, view = shown(evaluate_work.numbered(room))
    frechet, kernel = view["charts"]
    assert [len(chart["series"]) for chart in (frechet, kernel)] == [3, 2] and "too few everywhere" in frechet["note"]
    assert [point[0] for point in frechet["series"][0]["points"]] == bias.sizes(room.gallery.each)
    assert "16 dimensions" in view["line"] and seen[-1].part == pytest.approx(1)


def test_the_loss_is_drawn_at_every_t_with_captions_and_without(room: Room) -> None:
    seen, view = shown(evaluate_work.losses(room.engine.pipe))
    loss, worth = view["charts"]
    assert [[len(one["points"]) for one in chart["series"]] for chart in (loss, worth)] == [[len(PLACES)] * 2] * 2
    parts = [event.part for event in seen]
    assert len(view["bars"][0]["bars"]) == 4 and len(parts) == len(PLACES) and parts == sorted(parts) and parts[-1] == 1
    best = max(worth["series"][0]["points"], key=lambda point: point[1])
    assert f"worth most at t = {best[0]:.0f}: it saves" in view["line"]


# ------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("against", ["gamma", "nfe"])
def test_each_setting_is_a_point_and_is_made_once(room: Room, against: str) -> None:
    room.known.clear()
    chosen = [Setting("ddim", 2, 1.0), Setting("dpmpp_2m", 3, 2.0)]
    seen, view = shown(evaluate_work.swept(room, chosen, 2, against))
    assert len(view["charts"]) == (6 if against == "gamma" else 5) and len(view["strips"]) == 2
    places = [point[0] for one in view["charts"][0]["series"] for point in one["points"]]
    assert places == ([1, 2] if against == "gamma" else [4, 6])
    made = [strip["name"] for event in seen for strip in event.view.get("strips", [])]
    assert any("forming" in name for name in made)
    again, _ = shown(evaluate_work.swept(room, chosen, 2, against))
    assert len(again) == 2 and set(chosen) == {setting for setting, count in room.known if count == 2}


def test_the_settings_of_both_axes_are_recipes_and_the_cheap_ones_come_first() -> None:
    for against in ("gamma", "nfe"):
        made = evaluate.settings_of(against)
        assert [one.steps for one in made] == sorted(one.steps for one in made)
        assert all(one.recipe("a red cat", 0).sampler == one.sampler for one in made)
    assert evaluate.price(made, 4) > evaluate.price(made, 2) > 0


def made_up(setting: Setting, pictures: Any, n: int = 8, lacks: str = "") -> Quality:
    """A row whose pictures are the nearer to the real ones the more calls it has."""
    value, random = Interval(0.001 * setting.steps, 0.0, 0.1), np.random.default_rng(0)
    features = random.normal(size=(n, 16)) + 5 / setting.nfe
    return Quality(setting, setting.nfe, 0.1, n, *[value] * 6, features, features[:, 0], lacks, pictures)


def test_the_headline_claims_are_one_table_that_fills_row_by_row(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def quick(setting: Setting) -> Iterator[float]:
        yield 0.5
        return OnRing(setting.nfe, *[tuple(1 / setting.nfe + 0.001 * run for run in range(4))] * 2)

    def known(_: Any, setting: Setting, prompts: list[str]) -> Iterator[settings.Making]:
        yield from ()
        return made_up(setting, room.gallery.tested.pictures[:2], 4 * len(prompts))

    monkeypatch.setattr(evaluate_work, "on_ring", quick)
    monkeypatch.setattr(evaluate_work, "quality", known)
    seen, view = shown(evaluate_work.headlines(room, 2))
    table, apart = view["tables"]
    rows = {row[0]: row for row in table["rows"]}
    assert [rows[name][1:3] for name in ("DPM-Solver-2, 9 calls", "DPM-Solver-2, 19 calls", "DPM++ 2M, 20 calls", "DDIM, 50 calls",
                                         "DDPM, 1,000 calls")] == [["5", "111×"], ["10", "53×"], ["20", "50×"], ["50", "20×"],
                                                                   ["1,000", "1×"]]  # fmt: skip
    assert len(rows) == len(HEADLINES) and all(len(row) == len(figures.head()) and "–" not in row for row in rows.values())
    name = figures.calls_name
    assert [row[0] for row in apart["rows"]] == [f"{name(few)}, less {name(many)}" for few, many in PAIRS]
    assert all(len(row) == len(apart["head"]) and "–" not in row for row in apart["rows"])
    assert apart["rows"][0][1] == figures.said(Interval(*[1 / 50 - 1 / 1000] * 3))  # pairs on one noise: chance has no part
    first = next(event for event in seen if event.view.get("tables"))
    assert {cell for row in first.view["tables"][0]["rows"] for cell in row[2:]} == {"–"}
    assert {cell for row in first.view["tables"][1]["rows"] for cell in row[1:]} == {"–"}
    compared = [event.line for event in seen if event.line.endswith("compared")]
    assert len(compared) == len(PAIRS) and compared[-1].startswith("DDIM")  # the thousand steps come last
    assert [event.part for event in seen] == sorted(event.part for event in seen)


def test_the_verdict_is_of_the_differences_and_says_what_so_few_pictures_can_tell() -> None:
    def value(middle: float, half: float) -> Interval:
        return Interval(middle, middle - half, middle + half)

    lacks = "16 pictures cannot fill 192 dimensions: take at least 193."
    known = {one: made_up(one, None, 16, lacks) for one in HEADLINES}
    far, unsure = Less(*[value(0.02, 0.005)] * 5), Less(*[value(0.001, 0.004)] * 5)
    found = {pair: unsure if pair[0] == FIFTY else far for pair in PAIRS}
    line = figures.verdicts(known, found)
    assert "50 calls are 20× fewer than DDPM's 1,000: not told apart on the ring, not told apart on this model." in line
    assert "DPM-Solver-2, 9 calls: farther from the data on the ring, farther from the data on this model" in line
    assert "With 16 pictures a row DDIM's difference from DDPM is known to ±4 thousandths" in line and line.endswith(lacks)
    table = figures.headline_table(HEADLINES, {}, known)
    assert table["note"].endswith(lacks) and "two calls of the network" in table["note"]
    bare = {pair: one._replace(frechet_distance=NOTHING) for pair, one in found.items()}
    assert [row[4] for row in figures.less_table(bare)["rows"]] == ["–"] * len(PAIRS)


def test_numbers_in_words_carry_their_interval_and_nothing_is_a_dash() -> None:
    assert figures.said(Interval(-0.5, -1, 0)) == "−0.5 [−1, 0]" and figures.said(Interval(math.nan, math.nan, math.nan)) == "–"
    assert figures.said(Interval(2, math.nan, math.nan)) == "2"


def test_every_part_has_its_text() -> None:
    assert set(evaluate.TEXTS) == set(evaluate.PARTS) and len(evaluate.LABELS) == len(evaluate.PARTS)
    assert all(text.strip().startswith("**") for text in evaluate.TEXTS.values())


def test_a_model_without_training_pictures_is_told_so_and_has_the_clouds(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny")
    (folder / "latents.safetensors").unlink()
    engine = Engine(load_pipeline(folder, device="cpu"))
    with gr.Blocks():
        made = evaluate.page(engine)
    assert {"evaluate", "shift", "cross"} <= set(made.view) and "damage" not in made.view
    engine.close()


def test_a_link_carries_what_is_set_on_the_page(room: Room) -> None:
    with gr.Blocks():
        made = evaluate.page(room.engine)
    values = made.initial | {"view.evaluate": "settings", "view.foreseen": ["recall", "precision"], "view.cross": True}
    values |= {"view.damage": "drop", "view.turn": 45, "view.group": "food-drink", "view.noise": 0.5, "view.against": "nfe"}
    link = from_query(dict(parse_qsl(made.query(values, tab="labs"))))
    assert made.of_link(link) == (values, {}, []) and not link.odd
