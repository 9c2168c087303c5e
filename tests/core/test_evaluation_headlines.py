"""The headline claims: rows cost what they say, and rows that share their noise are compared by differences, which see more."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core import load_pipeline
from core.assumptions.line import over_runs, unit_noise
from core.evaluation.critics import Critic, Seen
from core.evaluation.gallery import Gallery
from core.evaluation.headlines import (
    HEADLINES,
    PAIRS,
    OnRing,
    less,
    moments,
    on_ring,
    paired,
    set_paired,
    told_apart,
)
from core.evaluation.settings import NOTHING, Quality, Setting, prompts_of, quality
from core.metrics import Interval, bootstrap, frechet_distance, kernel_distance
from core.prediction import unconditional
from core.sampling import SAMPLERS, sample
from core.schedules import make, make_path
from core.toy import TOYS, ring
from tests.core.test_evaluation import returned
from tests.core.tiny import write_tiny


def row(features: np.ndarray, scores: np.ndarray, lacks: str = "") -> Quality:
    """A row of the table that holds these pictures' features and scores."""
    return Quality(Setting("ddim", 5), 5, 0.1, len(features), *[NOTHING] * 6, features, scores, lacks, torch.zeros(0))


def width(value: Interval) -> float:
    return value.high - value.low


# ------------------------------------------------------------------------------------------------- what a row costs


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_setting_names_the_calls_that_its_run_takes(name: str) -> None:
    for steps in (4, 9):
        path = make_path(make("linear"), "trailing", steps)
        *_, last = sample(unconditional(ring()), path, name, unit_noise(2, 2))
        assert Setting(name, steps).nfe == last.nfe and Setting(name, steps, 1.0).nfe == 2 * last.nfe


def test_the_sampler_that_the_source_names_has_as_many_calls_as_its_order_allows_below_10_and_20() -> None:
    rows = {(one.sampler, one.nfe) for one in HEADLINES}
    assert {("dpm_solver_2", 9), ("dpm_solver_2", 19), ("dpmpp_2m", 10), ("dpmpp_2m", 20), ("ddim", 50), ("ddpm", 1000)} <= rows
    assert len(HEADLINES) == len(set(HEADLINES)) and {one for pair in PAIRS for one in pair} <= set(HEADLINES)
    assert all(few.nfe < many.nfe for few, many in PAIRS)


def test_the_pipeline_takes_the_calls_that_the_row_names_and_enough_pictures_have_a_frechet_distance(tmp_path: Path) -> None:
    gallery, setting = Gallery.of(Critic(load_pipeline(write_tiny(tmp_path / "tiny"), device="cpu"))), Setting("dpm_solver_2", 3)
    real = np.random.default_rng(0).normal(size=(40, 16))
    gallery.real = Seen(torch.zeros(40, 3, 2, 2, dtype=torch.uint8), real)
    found = returned(quality(gallery, setting, prompts_of(gallery.pipe, 5)))
    assert found.nfe == setting.nfe == 5 and found.n == 20 and found.lacks == ""
    assert found.frechet_distance.value == pytest.approx(frechet_distance(real, found.features).value)
    assert found.frechet_distance.low < found.frechet_distance.value < found.frechet_distance.high


# ------------------------------------------------------------------------------------------------- on the ring


def test_on_the_ring_more_steps_end_nearer_to_the_data_and_cost_what_they_say() -> None:
    few, many = (returned(on_ring(Setting("ddim", steps), runs=2, points=300)) for steps in (3, 30))
    assert (few.nfe, many.nfe) == (3, 30) and few.distance.value > 2 * many.distance.value
    assert few.frechet.value > 2 * many.frechet.value and len(few.distances) == len(few.frechets) == 2
    assert few.distance.low <= few.distance.value <= few.distance.high


@pytest.mark.parametrize("name", TOYS)
def test_the_moments_of_a_mixture_are_those_of_many_of_its_points(name: str) -> None:
    mixture = TOYS[name]()
    points = mixture.sample(40_000, torch.Generator().manual_seed(0))
    exact = moments(mixture)
    assert exact.mean == pytest.approx(points.mean(0).numpy(), abs=0.03)
    assert exact.cov == pytest.approx(np.cov(points.numpy(), rowvar=False).reshape(exact.cov.shape), abs=0.03)


def test_on_the_ring_pairs_tell_apart_what_two_intervals_cannot() -> None:
    few, many = (returned(on_ring(Setting(name, steps), runs=4, points=1000)) for name, steps in (("dpmpp_2m", 20), ("ddim", 50)))
    assert few.distance.low < many.distance.high  # the intervals overlap
    change = paired(few.distances, many.distances)
    assert told_apart(change) and change.value == pytest.approx(few.distance.value - many.distance.value)
    assert width(change) < 0.4 * math.hypot(width(few.distance), width(many.distance))


# ------------------------------------------------------------------------------------------------- pairs


def test_a_mean_over_seeds_is_compared_seed_by_seed_as_the_formula_says() -> None:
    few, many = np.array([3.0, 5.0, 8.0, 9.0]), np.array([2.5, 4.6, 7.3, 8.6])
    assert paired(few, many) == pytest.approx(over_runs(few - many))
    with pytest.raises(ValueError, match="shorter"):
        paired(few, many[:3])


@pytest.mark.parametrize(("name", "function"), [("kernel_distance", kernel_distance), ("frechet_distance", frechet_distance)])
def test_sets_of_common_seeds_are_told_apart_more_surely_than_sets_of_their_own(name: str, function: Any) -> None:
    random = np.random.default_rng(0)
    real, many = random.normal(size=(2, 120, 4))
    few = many + 0.15 + 0.05 * random.normal(size=many.shape)
    change = set_paired(name, real, few, many, 100)
    assert change.value == pytest.approx(float(function(real, few)) - float(function(real, many)))
    alone = [bootstrap(function, (real, side), 100) for side in (few, many)]
    assert width(change) < 0.7 * math.hypot(*map(width, alone))
    assert told_apart(set_paired(name, real, many + 0.5, many, 100)) and not told_apart(set_paired(name, real, many, many, 20))


def test_where_two_samplers_are_one_a_difference_is_seldom_told() -> None:
    alarms = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        real, few, many = random.normal(size=(3, 60, 4))
        alarms.append(told_apart(set_paired("kernel_distance", real, few, many, 60)))
        alarms.append(told_apart(paired(few[:, 0], many[:, 0])))
    assert np.mean(alarms) < 0.15


def test_too_few_pictures_have_no_frechet_distance_and_so_no_difference_of_it() -> None:
    random = np.random.default_rng(1)
    real, few, many = random.normal(size=(3, 30, 4))
    rings = (OnRing(5, (0.2, 0.3), (0.02, 0.03)), OnRing(50, (0.1, 0.1), (0.01, 0.01)))
    for lacks in ("", "8 pictures cannot fill 192 dimensions"):
        found = less(real, row(few, few[:, 0], lacks), row(many, many[:, 0], lacks), rings, 5)
        assert math.isnan(found.frechet_distance.value) is bool(lacks) and math.isfinite(found.kernel_distance.value)
        assert (found.ring.value, found.ring_frechet.value) == pytest.approx((0.15, 0.015))
        assert found.score.value == pytest.approx((few - many)[:, 0].mean())


def test_a_difference_is_told_only_by_an_interval_that_leaves_out_0() -> None:
    assert told_apart(Interval(1, 0.5, 1.5)) and told_apart(Interval(-1, -1.5, -0.5))
    assert not any(told_apart(one) for one in (Interval(1, -0.5, 2), Interval(0, 0, 0), Interval(1, math.nan, math.nan)))
