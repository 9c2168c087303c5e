"""The guidance tab without a browser: what its sweeps, triangles and comparisons say is what the runs really did."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core import Recipe
from core.adherence import diversity
from core.errors import UserError
from core.metrics import clip_scores
from core.pipeline import TextToImage, to_tensor
from studio.endpoints.sweep import answer
from studio.figures import guidance as figures
from studio.service.engine import Engine
from studio.service.jobs import Done, Run
from studio.work import guided
from studio.work.sweep import AUTO, Progress, Sweep, class_of, numbers, swept
from tests.studio.fakes import ended

BASE = Recipe(prompt="", steps=4, sampler="ddim", seed=3, batch=3)


def run_of(engine: Engine, recipe: Recipe) -> Run:
    return ended(engine.run(recipe))[1]


# ---------------------------------------------------------------------------------------------------------- the sweep


def test_a_sweep_fills_row_by_row_and_its_points_are_those_of_its_own_pictures(engine: Engine, pipe: TextToImage) -> None:
    sweep = Sweep(BASE, ("a red cat", "blue apple"), (-1.0, 2.0))
    shown, whole = ended(swept(engine, sweep))
    counts = [len(event.cells) for event in shown if event is not None]
    assert counts == sorted(counts) and set(whole.cells) == {(g, p) for g in (0, 1) for p in (0, 1)}
    assert whole.nfe == 3 * 4 * 2 * (1 + 2) and whole.step == whole.steps == 4 * 4
    eyes = pipe.extras.eyes
    seen = [eyes.of_pictures(to_tensor(whole.cells[1, p])) for p in (0, 1)]
    words = eyes.of_words(sweep.prompts)
    scores = [clip_scores(f, w.expand(3, -1)).mean() for f, w in zip(seen, words, strict=True)]
    assert whole.points[1].score.value == pytest.approx(np.mean(scores))
    assert whole.points[1].diversity.value == pytest.approx(diversity(torch.stack(seen).numpy()).value)
    assert whole.points[0].probability is None


def test_a_second_sweep_computes_only_what_is_new(engine: Engine, pipe: TextToImage, monkeypatch: pytest.MonkeyPatch) -> None:
    ended(swept(engine, Sweep(BASE, ("a cat",), (0.0, 2.0))))
    asked, run_many = [], TextToImage.run_many

    def counted(self: TextToImage, recipes: Any, *more: Any) -> Any:
        asked.append(recipes[0].gamma)
        return run_many(self, recipes, *more)

    monkeypatch.setattr(TextToImage, "run_many", counted)
    _, whole = ended(swept(engine, Sweep(BASE, ("a cat",), (0.0, 5.0, 2.0))))
    assert asked == [5.0] and whole.known == 2


def test_a_sweep_that_is_stopped_keeps_what_it_showed(engine: Engine) -> None:
    work = swept(engine, Sweep(BASE, ("a cat",), (0.0, 2.0)))
    now = next(event for event in work if event is not None and event.points)
    work.close()
    assert len(now.cells) == 1 and len(now.points) == 1


def test_the_judge_is_asked_for_the_class_of_what_the_prompt_names(engine: Engine, pipe: TextToImage) -> None:
    label = class_of(pipe, "a Red Cat, flat")
    assert label in pipe.extras.judge.labels and label.head == "fine"
    assert class_of(pipe, "a spaceship") is None
    _, whole = ended(swept(engine, Sweep(BASE, ("red cat",), (1.0,), AUTO)))
    latents = run_of(engine, BASE.replace(prompt="red cat", gamma=1.0)).steps[-1].x_next
    known = pipe.extras.judge.log_prob(latents, pipe.schedule.at(0), [label] * 3).exp().mean()
    assert whole.points[0].probability.value == pytest.approx(float(known), rel=1e-5) and whole.classes == (label.name,)


@pytest.mark.parametrize(
    ("prompts", "gammas", "base", "says"),
    [
        ((), (1.0,), BASE, "0 prompts; a sweep takes 1 to 3"),
        (("a",), tuple(map(float, range(10))), BASE, "10 scales; a sweep takes 1 to 9"),
        (("a",), (1.0, 1.0), BASE, "twice"),
        (("a",), (1.0,), BASE.replace(batch=9), "seeds is 9"),
        (("a",), (99.0,), BASE, "gamma is 99"),
        (("a",), (1.0, 2.0, 3.0), BASE.replace(steps=1000, width=512, height=512, batch=4), "too long"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_in_a_sentence(prompts: Any, gammas: Any, base: Recipe, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Sweep(base, prompts, gammas)


def test_scales_are_read_as_they_are_typed() -> None:
    assert numbers("−1, 0 2.5;7") == (-1, 0, 2.5, 7)
    for text, says in (("1, x", "'x' is no number"), ("nan", "gamma is nan"), ("1e999", "gamma is 1e999")):
        with pytest.raises(UserError, match=says):
            numbers(text)


def test_programs_get_all_pictures_as_one_and_the_numbers_of_every_scale(engine: Engine, tmp_path: Any) -> None:
    sweep = Sweep(BASE, ("a", "b"), (0.0, 3.0))
    _, whole = ended(swept(engine, sweep))
    file, told = answer(Done(whole), sweep, tmp_path)
    with Image.open(file["path"]) as image:
        assert image.size == (100 + 6 * 36, 2 * 36)
        row = np.asarray(image)[36:68, 100:132]
    assert np.array_equal(row, np.asarray(whole.cells[1, 0][0]))
    assert [one["cfg_scale"] for one in told["scales"]] == [1, 4] and told["state"] == "done"
    assert answer(Progress(), sweep, tmp_path)[1]["state"] == "running"


# ------------------------------------------------------------------------------------------------------- one run


@pytest.mark.parametrize("gamma", [-0.5, 3.0])
def test_the_pages_straight_line_of_pictures_is_what_the_run_predicted(engine: Engine, pipe: TextToImage, gamma: float) -> None:
    recipe = BASE.replace(prompt="a cat", gamma=gamma)
    _, view = ended(guided.triangle(engine, recipe, row=1))
    run, w = run_of(engine, recipe), 1 + gamma
    for told, step in zip(view["triangle"]["steps"][1:], run.steps[1:], strict=True):  # at pure noise x0 is beyond the page
        empty, cond = (np.array(told[name]["v"]) / 100 for name in ("empty", "cond"))
        wanted = pipe.rough(step.evaluations[0].x0[1:2]).numpy().ravel()
        np.testing.assert_allclose(empty + w * (cond - empty), wanted, atol=0.005 * (1 + 2 * abs(w)) + 0.005)
        assert told["off"] < 1e-5
    assert view["triangle"]["seed"] == "4"


def test_a_run_that_asks_once_has_no_triangle_and_says_so(engine: Engine) -> None:
    for gamma in (-1.0, 0.0):
        with pytest.raises(UserError, match="asked only once"):
            ended(guided.triangle(engine, BASE.replace(gamma=gamma)))
    _, view = ended(guided.triangle(engine, BASE.replace(gamma=2.0, guidance={"interval": (0.1, 2)}, batch=1)))
    steps = view["triangle"]["steps"]
    assert ["only" in step for step in steps] == [not 0.1 <= step["nsr"] <= 2 for step in steps]


def test_the_ruler_counts_the_evaluations_that_the_run_then_makes(engine: Engine, pipe: TextToImage) -> None:
    recipe = pipe.complete(BASE.replace(prompt="a cat", gamma=6.0, batch=1))
    recipes = guided.variants(recipe, 0.1, 2, 0.7)
    ruler = figures.ruler(pipe.path(recipe), 0.1, 2)
    _, view = ended(guided.effects(engine, recipes))
    nfe = {one["name"]: one["nfe"] for one in view["effects"]}
    assert nfe["everywhere"] == ruler["full"] and nfe["in the interval"] == nfe["both"] == ruler["nfe"] < ruler["full"]
    for step in run_of(engine, recipes["rescaled"].replace(guidance={"rescale": 1.0})).steps:
        made, cond = (getattr(one, pipe.parts.prediction) for one in (step.evaluations[0], step.evaluations[0].parts["cond"]))
        assert float(made.std()) == pytest.approx(float(cond.std()), rel=1e-3)  # wholly rescaled, the spread is the conditional one
    with pytest.raises(UserError, match="interval"):
        guided.variants(recipe, 3, 2, 0.7)


def test_both_guidances_are_compared_at_the_same_x(engine: Engine, pipe: TextToImage) -> None:
    free = pipe.complete(BASE.replace(prompt="a cat", gamma=3.0, batch=1))
    judged = free.replace(prompt="animal-bug", gamma=4.0, guidance={"kind": "classifier"})
    _, view = ended(guided.classifier(engine, free, judged))
    step, run = view["classifier"]["steps"][2], run_of(engine, free)
    x, at, call = run.steps[2].x, run.steps[2].cur, run.steps[2].evaluations[0]
    judge = pipe.extras.judge
    push = -at.sigma * judge.gradient(x, at, [judge.find("animal-bug")])
    pull = call.parts["cond"].eps - call.parts["uncond"].eps
    cosine = float((push * pull).sum() / push.norm() / pull.norm())
    assert step["alike"]["cosine"] == pytest.approx(cosine, abs=2e-3)
    assert step["sure"][0] == pytest.approx(float(judge.log_prob(x, at, [judge.find("animal-bug")]).exp()), abs=1e-4)
    assert view["classifier"]["nfe"] == [8, 4]
    with pytest.raises(UserError, match="names nothing that was trained"):
        ended(guided.classifier(engine, free.replace(prompt="a spaceship"), judged.replace(prompt=AUTO)))


# ------------------------------------------------------------------------------------------------------- figures


def test_tiles_are_small_pngs_and_scales_stand_there_twice() -> None:
    head, _, data = figures.tile(Image.new("RGB", (512, 256))).partition(",")
    with Image.open(BytesIO(base64.b64decode(data))) as image:
        assert (image.size, head) == ((160, 80), "data:image/png;base64")
    assert figures.both(-1) == {"gamma": -1, "name": "γ −1", "cfg": "CFG 0", "long": "γ −1 = CFG scale 0"}
    assert figures.both(0.1)["cfg"] == "CFG 1.1"


def test_a_direction_is_shown_around_grey_and_a_large_map_is_averaged_down() -> None:
    direction = torch.randn(1, 4, 8, 8)
    shown = figures.coloured(direction, lambda z: z[:, :3] * 0.3 + 0.7)  # an offset that must not show
    values = np.array(shown["v"]) / 100
    np.testing.assert_allclose(values, (-direction[0, :3] / direction[0, :3].abs().max()).ravel(), atol=0.006)
    large = torch.rand(1, 3, 64, 128)
    small = figures.grid(large)
    assert (small["h"], small["w"], small["c"]) == (16, 32, 3)
    assert np.mean(small["v"]) / 100 == pytest.approx(float(large.mean()), abs=0.01)
