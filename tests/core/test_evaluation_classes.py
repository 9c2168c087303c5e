"""The inception score taken apart: what a classifier says of one picture, of all, and of one picture for each class."""

from __future__ import annotations

import math

import numpy as np
import pytest

from core import load_pipeline
from core.errors import UserError
from core.evaluation.classes import divergences, marginal, of_one, one_of_each, product
from core.evaluation.critics import Critic
from core.evaluation.damage import SAME, WORSE, Damage, applied, kept, scored
from core.evaluation.gallery import Gallery
from core.metrics import METRICS, inception_score
from tests.core.test_evaluation import seen
from tests.core.tiny import write_tiny

SURE = np.tile(np.eye(10), (20, 1))


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    made = Gallery.of(Critic(load_pipeline(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu")))
    *_, _ = made.fill()
    return made


def some(n: int = 40, classes: int = 7, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), n)


# ------------------------------------------------------------------------------------------------- the score taken apart


def test_the_score_is_exp_of_the_mean_divergence_and_the_quotient_of_two_counts_of_classes() -> None:
    for p in (some(), SURE, np.full((5, 4), 0.25)):
        assert math.exp(divergences(p).mean()) == pytest.approx(float(inception_score(p)))
        made = product(p)
        assert made.in_all.value / made.in_one.value == pytest.approx(made.score.value) == pytest.approx(float(inception_score(p)))


def test_divergences_are_those_of_scipy() -> None:
    entropy = pytest.importorskip("scipy.stats").entropy
    p = some()
    assert divergences(p) == pytest.approx([entropy(row, p.mean(0)) for row in p])


def test_ten_classes_met_equally_often_and_for_sure_are_ten_in_all_and_one_in_each() -> None:
    made = product(SURE)
    assert [part.value for part in made] == pytest.approx([10, 1, 10])
    assert all(part.low <= part.value <= part.high for part in made) and made.in_all.high <= 10 and made.in_one.low >= 1
    assert divergences(SURE) == pytest.approx(math.log(10)) and [one.value for one in product(np.full((9, 10), 0.1))] == (
        pytest.approx([10, 10, 1]))  # fmt: skip


def test_the_marginal_shows_its_largest_classes_with_intervals_that_hold_them() -> None:
    p = some(200, 30)
    found = marginal(p, 12)
    assert len(found) == 12 and [one.share.value for one in found] == pytest.approx(sorted(p.mean(0), reverse=True)[:12])
    assert all(p.mean(0)[one.number] == pytest.approx(one.share.value) for one in found)
    assert all(0 <= one.share.low < one.share.value < one.share.high <= 1 for one in found)
    few = marginal(p[:10], 12)
    assert few[0].share.high - few[0].share.low > 2 * (found[0].share.high - found[0].share.low)


def test_one_picture_shows_its_likeliest_classes_and_no_chance() -> None:
    row = np.array([0.1, 0.6, 0.0, 0.3])
    assert [(one.number, one.share.value) for one in of_one(row, 3)] == [(1, 0.6), (3, 0.3), (0, 0.1)]
    assert all(math.isnan(one.share.low) for one in of_one(row)) and len(of_one(row)) == 4


# ------------------------------------------------------------------------------------------------- one of each class


def test_every_place_is_taken_by_one_and_the_same_picture_of_its_class() -> None:
    p = some(60)
    rows, judged = one_of_each(p), p.argmax(1)
    assert np.array_equal(judged[rows], judged)
    assert all(len(set(rows[judged == number])) == 1 for number in set(judged)) and len(set(rows)) == len(set(judged))
    drawn = {tuple(one_of_each(p, seed)) for seed in range(5)}
    assert len(drawn) == 5 and np.array_equal(one_of_each(p, 3), one_of_each(p, 3))


def test_one_of_each_class_keeps_the_inception_score_and_loses_recall_and_distance() -> None:
    random = np.random.default_rng(0)
    centres = 4 * random.standard_normal((10, 8))
    real, made = (np.repeat(centres, 30, 0) + random.standard_normal((300, 8)) for _ in range(2))
    logits = -((made[:, None] - centres) ** 2).sum(-1) / 2
    p = np.exp(logits - logits.max(1, keepdims=True))
    before = seen(made, p / p.sum(1, keepdims=True))
    after = before.take(one_of_each(before.fine))
    found = {name: scored(METRICS[name], seen(real), before, after, False, 30)
             for name in ("inception_score", "recall", "frechet_distance")}  # fmt: skip
    assert {name: one.verdict for name, one in found.items() if one} == {
        "inception_score": SAME, "recall": WORSE, "frechet_distance": WORSE}  # fmt: skip
    score, distance = found["inception_score"], found["frechet_distance"]
    assert score and distance and score.after.value == pytest.approx(score.before.value, rel=0.02)
    assert distance.after.value > 3 * distance.before.value


def test_the_damage_leaves_as_many_pictures_each_from_the_judged_half(gallery: Gallery) -> None:
    tested, damage = gallery.tested, Damage("single")
    *_, after = applied(gallery, damage)
    assert tested.fine is not None and after.fine is not None and len(after) == len(tested) and not damage.repaints
    rows = kept(gallery, damage)
    assert np.array_equal(after.features, tested.features[rows])
    assert np.array_equal(after.fine.argmax(1), tested.fine.argmax(1))
    assert len(np.unique(after.features, axis=0)) == len(set(tested.fine.argmax(1))) < len(tested)


def test_where_nobody_judged_there_is_no_class_to_take_one_of() -> None:
    with pytest.raises(UserError, match="needs a model with a classifier"):
        one_of_each(None)


def test_classes_are_called_as_the_classifier_calls_them(gallery: Gallery) -> None:
    fine = gallery.tested.fine
    assert fine is not None and len(gallery.critic.class_names) == fine.shape[1]
    assert tuple(gallery.critic.class_names) == gallery.pipe.extras.judge.network.config.subclasses
