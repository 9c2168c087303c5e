"""How metrics behave: clouds against closed forms, damage against independent filters, intervals against what chance does."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core import load_pipeline
from core.errors import UserError
from core.evaluation import bias
from core.evaluation.clouds import clouds
from core.evaluation.critics import Critic, Seen, floats_of
from core.evaluation.damage import (
    BETTER,
    KINDS,
    SAME,
    WORSE,
    Damage,
    Scored,
    applied,
    blurred,
    classes,
    compared_with,
    judged,
    kept,
    measured,
    memberships,
    noisy,
    scored,
)
from core.evaluation.gallery import BATCH, Gallery, caption
from core.evaluation.settings import SEEDS, Setting, prompts_of, quality
from core.metrics import METRICS, Interval, bootstrap, bootstraps, frechet_distance, frechet_floor, kernel_distance, statistics
from tests.core.tiny import COUNT, GROUPS, write_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(Path(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def gallery(folder: Path) -> Gallery:
    made = Gallery.of(Critic(load_pipeline(folder, device="cpu")))
    assert sum(map(len, made.fill())) == COUNT
    return made


def last(work: Iterator[Any]) -> Any:
    *_, end = work
    return end


def returned(work: Any) -> Any:
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def seen(features: np.ndarray, fine: np.ndarray | None = None) -> Seen:
    return Seen(torch.zeros(len(features), 3, 2, 2, dtype=torch.uint8), features, features, fine)


# ------------------------------------------------------------------------------------------------- clouds


@pytest.mark.parametrize("degrees", [0, 30, 90])
def test_the_parts_of_two_clouds_are_those_of_the_closed_form_at_every_angle(degrees: float) -> None:
    made = clouds(1.5, 2.0, 0.5, degrees, 50)
    assert made.exact.mean == pytest.approx(1.5**2) and made.exact.cov == pytest.approx((2 - 1) ** 2 + (0.5 - 1) ** 2)


def test_what_many_points_give_is_near_the_exact_parts_and_few_give_too_much() -> None:
    many = clouds(1.0, 2.0, 0.5, 20, 1000)
    assert many.mean.low <= many.exact.mean <= many.mean.high and many.cov.value == pytest.approx(many.exact.cov, rel=0.25)
    few = np.mean([clouds(0, 1, 1, 0, 5, seed=seed).cov.value for seed in range(20)])
    assert few > 10 * np.mean([clouds(0, 1, 1, 0, 200, seed=seed).cov.value for seed in range(20)])


def test_points_on_a_cross_have_the_mean_and_the_covariance_of_a_gaussian_and_are_none() -> None:
    made = clouds(0, 1, 1, 0, 1000, cross=True)
    assert np.abs(made.generated[:, 0]) == pytest.approx(np.abs(made.generated[:, 1]))
    assert made.exact.value == pytest.approx(0, abs=1e-12) and made.mean.value + made.cov.value < 0.03
    assert kernel_distance(made.real, made.generated).value < 0.2  # cubic: it does not see the fourth moment either


def test_two_points_span_no_plane() -> None:
    with pytest.raises(UserError, match="at least 3 points"):
        clouds(0, 1, 1, 0, 2)


# ------------------------------------------------------------------------------------------------- the gallery


def test_the_halves_share_no_picture_and_each_is_what_the_networks_say(gallery: Gallery) -> None:
    pipe, rows = gallery.pipe, gallery.rows
    assert len(set(rows)) == len(rows) == 2 * gallery.each == len(gallery.tested) + len(gallery.real)
    pictures = pipe.decode(pipe.extras.training.latents[list(rows[: gallery.each])])
    expected = pipe.extras.eyes.of_pictures(pictures).double().numpy()
    np.testing.assert_allclose(gallery.tested.features, expected, atol=1e-5)
    texts = [caption(pipe.extras.training.origins[row]) for row in rows[: gallery.each]]
    np.testing.assert_allclose(gallery.tested.words, pipe.extras.eyes.of_words(texts).double().numpy(), atol=1e-5)
    assert gallery.tested.fine is not None and gallery.tested.fine.sum(1) == pytest.approx(1)
    np.testing.assert_allclose(floats_of(gallery.tested.pictures).numpy(), pictures.numpy(), atol=1 / 255)


def test_two_who_fill_it_in_turns_look_at_no_picture_twice(folder: Path) -> None:
    made = Gallery.of(Critic(load_pipeline(folder, device="cpu")))
    one, other = made.fill(), made.fill()
    looked = [len(part) for pair in itertools.zip_longest(one, other) for part in pair if part is not None]
    assert sum(looked) == made.done == COUNT and max(looked) <= BATCH and list(made.fill()) == []


def test_a_model_without_pictures_or_without_a_clip_is_told_so(folder: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("latents*"))
    with pytest.raises(UserError, match="no training latents"):
        Gallery.of(Critic(load_pipeline(bare, device="cpu")))


def test_a_model_without_a_classifier_has_every_metric_but_the_inception_score(folder: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("classifier"))
    made = Gallery.of(Critic(load_pipeline(bare, device="cpu")))
    last(made.fill())
    found = {name for name, metric in METRICS.items() if measured(metric, made.real, made.tested, 2)}
    assert found == set(METRICS) - {"inception_score"} and not memberships(made).keys() & set(GROUPS)


# ------------------------------------------------------------------------------------------------- damage


def test_blur_agrees_with_scipy_and_leaves_flat_pictures_as_they_are() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x = torch.rand(2, 3, 24, 24, dtype=torch.float64) * 2 - 1
    for std in (1.0, 2.0):
        theirs = ndimage.gaussian_filter(x.numpy(), (0, 0, std, std), mode="nearest", truncate=3.0)
        np.testing.assert_allclose(blurred(x, std).numpy(), theirs, atol=1e-6)
    assert torch.equal(blurred(x, 0), x)
    np.testing.assert_allclose(blurred(torch.full((1, 3, 8, 8), 0.3), 16).numpy(), 0.3, atol=1e-6)  # wider than the picture


def test_noise_has_the_deviation_that_is_asked_for_and_stays_among_colours() -> None:
    x = torch.zeros(4, 3, 32, 32)
    assert float(noisy(x, 0.2, 0).std()) == pytest.approx(0.2, rel=0.03)
    assert float(noisy(x, 5.0, 0).abs().max()) == 1 and not torch.equal(noisy(x, 0.2, 0), noisy(x, 0.2, 1))
    assert torch.equal(noisy(x, 0, 0), x)


def test_copies_are_as_many_of_each_and_one_copy_is_every_picture(gallery: Gallery) -> None:
    assert sorted(kept(gallery, Damage("duplicate", 1))) == list(range(gallery.each))
    rows, counts = np.unique(kept(gallery, Damage("duplicate", 3)), return_counts=True)
    assert len(rows) == gallery.each // 3 and counts.max() - counts.min() <= 1 and counts.sum() == gallery.each


def test_dropping_a_class_and_keeping_only_it_divide_the_pictures(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.evaluation.damage.LEAST", 0)
    for name, member in memberships(gallery).items():
        without, only = (kept(gallery, Damage(kind, group=name)) for kind in ("drop", "keep"))
        assert sorted([*without, *only]) == list(range(gallery.each)) and list(only) == list(np.flatnonzero(member))
    assert set(classes(gallery.pipe)) <= set(memberships(gallery))


@pytest.mark.parametrize(("group", "says"), [("<b>", "is no class"), ("", "is no class"), ("style flat", "would be left")])
def test_a_class_that_cannot_be_taken_is_refused_in_a_sentence(gallery: Gallery, group: str, says: str) -> None:
    kind = "keep" if group else "drop"
    with pytest.raises(UserError, match=says):
        kept(gallery, Damage(kind, group=group))


@pytest.mark.parametrize("kind", KINDS[:3])
def test_damage_of_no_strength_changes_no_metric(gallery: Gallery, kind: str) -> None:
    after = last(applied(gallery, Damage(kind, 1.0 if kind == "duplicate" else 0.0)))
    after = after if after.fine is not None else last(judged(gallery, after))
    for metric in METRICS.values():
        one = scored(metric, gallery.real, gallery.tested, after, together=True, draws=5)
        assert one is not None and one.change.value == pytest.approx(0, abs=2e-2), metric.id  # one rounding of 256 colours
        assert one.before.low <= one.before.value <= one.before.high


def test_damaged_pictures_grow_until_all_are_there_under_their_captions(gallery: Gallery) -> None:
    *_, after = applied(gallery, Damage("noise", 0.5))
    assert len(after) == gallery.each and np.array_equal(after.words, gallery.tested.words)
    assert not np.allclose(after.features, gallery.tested.features, atol=1e-3)
    assert len(compared_with(gallery, after)) == gallery.each and len(compared_with(gallery, after.take(np.arange(4)))) == 4


# ------------------------------------------------------------------------------------------------- verdicts


def test_several_values_of_the_same_resamples_are_each_what_they_are_alone() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 2))
    one, two = bootstraps(lambda a: (a.mean(), a.std()), (rows,), 50)
    assert one == pytest.approx(bootstrap(lambda a: a.mean(), (rows,), 50))
    assert two == pytest.approx(bootstrap(lambda a: a.std(), (rows,), 50))


def test_the_change_is_after_less_before_and_pairs_tell_it_more_surely() -> None:
    random = np.random.default_rng(0)
    real, before = random.normal(size=(2, 80, 4))
    after = before + 0.1
    together, apart = (
        scored(METRICS["frechet_distance"], seen(real), seen(before), seen(after), pairs, draws=100) for pairs in (True, False)
    )
    assert together is not None and apart is not None
    assert together.change.value == pytest.approx(together.after.value - together.before.value)
    assert together.before.value == pytest.approx(frechet_distance(real, before).value)
    assert together.change.high - together.change.low < 0.7 * (apart.change.high - apart.change.low)


def test_metrics_of_pairs_and_of_probabilities_are_taken_of_the_judged_half_alone() -> None:
    random = np.random.default_rng(1)
    real, before, after = (seen(random.normal(size=(40, 5)), random.dirichlet(np.ones(3), 40)) for _ in range(3))
    for name in ("clip_score", "inception_score"):
        for pairs in (True, False):
            one = scored(METRICS[name], real, before, after, pairs, draws=5)
            assert one is not None and one.after.value == pytest.approx(float(METRICS[name].function(
                *((after.features, after.words) if name == "clip_score" else (after.fine,)))))  # fmt: skip
            assert one == scored(METRICS[name], before, before, after, pairs, draws=5)


def test_a_verdict_says_which_way_is_worse_and_nothing_where_0_is_possible() -> None:
    def of(name: str, low: float, high: float) -> str:
        middle = Interval((low + high) / 2, low, high)
        return Scored(METRICS[name], middle, middle, middle).verdict

    assert of("frechet_distance", 1, 2) == of("recall", -2, -1) == WORSE
    assert of("frechet_distance", -2, -1) == of("recall", 1, 2) == BETTER
    assert of("frechet_distance", -1, 2) == of("recall", 0, 0) == SAME


def test_where_nothing_was_damaged_a_metric_seldom_notices_and_where_much_was_it_does() -> None:
    alarms, hits = [], []
    for seed in range(40):
        random = np.random.default_rng(seed)
        real, before, after = random.normal(size=(3, 60, 4))
        for name in ("frechet_distance", "kernel_distance"):
            metric = METRICS[name]
            for found, moved in ((alarms, after), (hits, after + 1)):
                one = scored(metric, seen(real), seen(before), seen(moved), False, draws=40)
                assert one is not None
                found.append(one.verdict != SAME)
    assert np.mean(alarms) < 0.15 and np.mean(hits) > 0.95


def test_intervals_stay_within_what_a_metric_can_be() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3))
    for name, (low, high) in {"precision": (0, 1), "recall": (0, 1), "frechet_distance": (0, math.inf)}.items():
        found = measured(METRICS[name], seen(rows), seen(rows[::-1] + 1e-9), 20)
        assert found is not None and low <= found.low <= found.value <= found.high <= high


# ------------------------------------------------------------------------------------------------- a peer


class OwnClip:
    """Our CLIP under the interface that torchmetrics asks a CLIP for; pictures and texts come as the numbers of themselves."""

    config = None

    def __init__(self, pipe: Any) -> None:
        self.eyes = pipe.extras.eyes

    def to(self, _: Any) -> OwnClip:
        return self

    def get_image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        return 3 * self.eyes.of_pictures(pixels).double()  # of any length

    def get_text_features(self, ids: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return self.eyes.clip.embed_text(ids).double()

    def process(self, images: Any = None, text: Any = None, **_: Any) -> dict[str, torch.Tensor]:
        if images is not None:
            return {"pixel_values": torch.stack(list(images))}
        ids = self.eyes.tokenizer.encode(list(text))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_the_clip_score_of_pictures_and_captions_agrees_with_torchmetrics(gallery: Gallery) -> None:
    peer = pytest.importorskip("torchmetrics.functional.multimodal.clip_score").clip_score
    own, origins = OwnClip(gallery.pipe), gallery.pipe.extras.training.origins
    texts = [caption(origins[row]) for row in gallery.rows[: gallery.each]]
    with torch.no_grad():
        theirs = peer(list(floats_of(gallery.tested.pictures)), texts, model_name_or_path=lambda: (own, own.process))
        features = own.eyes.of_pictures(floats_of(gallery.tested.pictures)).double()
    assert METRICS["clip_score"].function(features, gallery.tested.words).value == pytest.approx(float(theirs), rel=1e-6)


# ------------------------------------------------------------------------------------------------- numbers of pictures


def test_the_distance_of_like_sets_falls_as_foretold_and_the_kernel_distance_stays_at_0() -> None:
    random = np.random.default_rng(0)
    real, like, other = random.normal(size=(400, 8)), random.normal(size=(400, 8)), random.normal(size=(400, 8)) + 0.5
    found = list(bias.curve(real, like, other))
    assert [one.n for one in found] == bias.sizes(400) and [one.enough for one in found] == [one.n > 8 for one in found]
    middle = found[4]  # half of the pool on each side, so that draws still differ
    assert middle.frechet.value == pytest.approx(middle.floor, rel=0.25)
    assert middle.floor == pytest.approx(2 * frechet_floor(statistics(np.concatenate([real, like])), middle.n))
    assert all(abs(one.kernel.value) < 3 * (one.kernel.high - one.kernel.low) for one in found)
    assert found[-1].frechet_other.low > found[-1].frechet.high and found[0].frechet.value > 5 * found[-1].frechet.value


# ------------------------------------------------------------------------------------------------- settings


def test_a_setting_is_measured_with_intervals_on_pictures_that_its_recipes_make(gallery: Gallery) -> None:
    prompts, setting = prompts_of(gallery.pipe, 3), Setting("ddim", 3, 1.0)
    work = quality(gallery, setting, prompts)
    first = next(work)
    assert 0 < first.part < 1 and len(first.x0) == 2 * SEEDS
    found = returned(work)
    assert (found.setting, found.nfe, found.n) == (setting, setting.nfe, 12) == (setting, 6, 12) and found.seconds > 0
    assert found.features.shape == (12, 16) and found.scores.mean() == pytest.approx(found.score.value)
    assert math.isnan(found.frechet_distance.value) and "6 pictures cannot fill 16 dimensions" in found.lacks  # the real ones
    for value in (found.score, found.diversity, found.precision, found.recall, found.kernel_distance):
        assert value.low <= value.value <= value.high
    pictures = gallery.pipe.images(setting.recipe(prompts[0], 0))
    assert np.abs(np.asarray(pictures[0], dtype=int) - found.pictures[0].permute(1, 2, 0).numpy()).max() <= 1
