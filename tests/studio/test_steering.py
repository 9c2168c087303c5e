"""Accuracy against the scale without a browser: points come one by one, known runs are not made again, nonsense is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core import Recipe
from core.errors import UserError
from core.evaluation.steering import CLASSIFIER, FREE, KINDS, Steered, recipe_at, steered
from core.metrics import Interval, binomial
from core.pipeline import TextToImage
from studio.figures import steering as figures
from studio.service.engine import Engine
from studio.work.steered import Bench, against_scale, checked_scales
from studio.work.sweep import AUTO, Sweep, swept
from tests.studio.fakes import ended, shown, stated

FEW = Recipe(prompt="red cat", steps=3, sampler="ddim", seed=3, batch=2)
CLASS = "animal-bug"


def test_every_point_is_shown_when_it_is_there_and_is_that_of_its_own_pictures(engine: Engine, pipe: TextToImage) -> None:
    seen, view = shown(against_scale(Bench(engine), pipe.complete(FEW), CLASS, (0.0, 4.0), 3))
    counts = [len(one.view["strips"]) for one in seen if "strips" in one.view]
    assert counts == sorted(counts) and set(counts) == {1, 2, 3, 4}
    parts = [one.part for one in seen]
    assert parts == sorted(parts) and parts[-1] == pytest.approx(1)
    assert [(one["scale"], one["kind"]) for one in view["strips"]] == [(s, kind) for s in (0, 4) for kind in KINDS]
    assert all(len(one["pictures"]) == len(one["right"]) == 3 for one in view["strips"]) and view["forming"] is None
    label = pipe.extras.judge.find(CLASS)
    recipe = recipe_at(pipe.complete(FEW), label, CLASSIFIER, 4.0)
    z = torch.cat([[*pipe.run(recipe.replace(seed=seed, batch=1))][-1].x_next for seed in (3, 4, 5)])
    wanted = steered(pipe, label, CLASSIFIER, 4.0, z, 3)
    assert view["strips"][2]["right"] == list(wanted.right) and view["strips"][2]["nfe"] == 3 and view["strips"][3]["nfe"] == 6
    accuracy = next(one for one in view["charts"][0]["series"] if one["name"] == figures.NAMES[CLASSIFIER])
    assert accuracy["points"][1] == pytest.approx([4.0, *wanted.accuracy], abs=1e-5)
    assert f"the classifier sees {CLASS} in {sum(wanted.right)} of 3 pictures" in view["line"]
    assert view["strips"][0]["pictures"] == view["strips"][1]["pictures"]  # at scale 0 both are the model without words


def test_what_the_trade_off_made_is_not_made_again(engine: Engine, pipe: TextToImage, monkeypatch: pytest.MonkeyPatch) -> None:
    free = pipe.complete(FEW)
    ended(swept(engine, Sweep(free, ("red cat",), (3.0,))))
    asked, run_many = [], TextToImage.run_many

    def counted(self: TextToImage, recipes: Any, *more: Any) -> Any:
        asked.append((recipes[0].guidance.kind, recipes[0].gamma))
        return run_many(self, recipes, *more)

    monkeypatch.setattr(TextToImage, "run_many", counted)
    bench = Bench(engine)
    ended(against_scale(bench, free, CLASS, (4.0,), 2))
    assert asked == [(CLASSIFIER, 4.0)]
    ended(against_scale(bench, free, CLASS, (4.0,), 2))
    assert len(asked) == 1


def test_what_is_stopped_keeps_the_points_that_it_showed(engine: Engine, pipe: TextToImage) -> None:
    work = against_scale(Bench(engine), pipe.complete(FEW), CLASS, (1.0, 2.0), 2)
    first = next(event for event in work if event is not None and event.view.get("charts"))
    work.close()
    assert len(first.view["strips"]) == 1 and len(first.view["charts"][0]["series"]) == 1


@pytest.mark.parametrize(
    ("scales", "count", "says"),
    [((), 4, "1 to 9 scales"), ((1.0, 1.0), 4, "each once"), ((-1.0,), 4, "A scale is -1"), ((99.0,), 4, "gamma is 99"),
     (tuple(map(float, range(10))), 4, "1 to 9 scales")],
)  # fmt: skip
def test_scales_that_cannot_be_are_refused_in_a_sentence(scales: tuple[float, ...], count: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        checked_scales(scales, FEW, count)


def test_what_takes_too_long_and_what_names_no_class_is_refused(engine: Engine, pipe: TextToImage) -> None:
    with pytest.raises(UserError, match="too long"):
        checked_scales((1.0, 2.0), FEW.replace(steps=1000, width=512, height=512, batch=1), 32)
    with pytest.raises(UserError, match="names nothing that was trained"):
        ended(against_scale(Bench(engine), pipe.complete(FEW.replace(prompt="a spaceship")), AUTO, (1.0,), 2))


def test_charts_have_a_curve_for_each_kind_with_wilsons_intervals_and_one_for_the_witness_only_where_it_can_tell() -> None:
    apart = Interval(0.5, 0.4, 0.6)
    found = [Steered(FREE, 4, 6, (True, True), (True, False), apart), Steered(CLASSIFIER, 4, 3, (True, False), None, apart),
             Steered(FREE, 1, 3, (False, False), (False, False), apart)]  # fmt: skip
    by_classifier, by_clip, diversity = figures.charts(found, "food-fruit")
    free = next(one for one in by_classifier["series"] if one["name"] == "classifier-free guidance")
    assert [point[0] for point in free["points"]] == [1, 4]  # in the order of the scales
    assert free["points"][1] == pytest.approx([4, *binomial(2, 2)], abs=1e-5)
    assert [one["name"] for one in by_clip["series"]] == ["classifier-free guidance"]
    assert len(diversity["series"]) == 2 and diversity["series"][0]["points"][0] == [4, 0.5, 0.4, 0.6]
    assert "CLIP" not in " ".join(one["title"] for one in figures.charts(found[1:2], "food-fruit"))
    strip = figures.strip(found[0], "food-fruit", "Red apple", ["a", "b"])
    assert strip["title"] == "Classifier-free guidance: Red apple" and strip["long"] == "γ 3 = CFG scale 4"


def test_the_scales_and_the_scale_that_is_shown_are_part_of_a_link(engine: Engine) -> None:
    held = stated(engine)["guidance"].initial
    assert held["view.strengths"].startswith("0, 1") and held["view.pictures"] == 16 and held["view.scale"] == -1
