"""Error against network calls: the race finds the orders that samplers declare, and each measure fits its closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from core import SAMPLERS, SCHEDULES
from core.errors import UserError
from core.recipe import Recipe
from core.schedules import make_path
from core.toy import TOYS, GaussianMixture
from core.tradeoff import (
    FINE,
    FINE_STEPS_ON_NETWORK,
    HIGH,
    LOW,
    Point,
    PointNoise,
    by_noise,
    deterministic,
    distance,
    distances,
    ends,
    fan,
    fine,
    fitted,
    floor,
    ladder,
    on_ladder,
    one_thread,
    race,
    relative_error,
    spread,
    stochastic,
)

COSINE, SCALED = SCHEDULES["cosine"](), SCHEDULES["scaled_linear"]()
RING = TOYS["ring"]()


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def raced() -> list[Point]:
    return list(race(RING, COSINE, deterministic(), (40, 80, 160, 320), points=24))


def of(points: list[Point], name: str) -> dict[int, Point]:
    return {point.steps: point for point in points if point.sampler == name}


# ------------------------------------------------------------------------------------------------------- the measures


def test_a_ladder_falls_from_one_level_to_the_other_and_a_finer_one_holds_the_coarser() -> None:
    coarse, fine = ladder(5, 50, 0.1), ladder(10, 50, 0.1)
    assert (coarse[0], coarse[-1], len(coarse)) == (50, 0.1, 6)
    assert fine[::2] == pytest.approx(coarse) and list(fine) == sorted(fine, reverse=True)
    with pytest.raises(UserError, match="at least one step"):
        ladder(0)
    with pytest.raises(UserError, match="0 < low < high"):
        ladder(5, 0.1, 50)


def test_the_ends_of_a_race_lie_where_the_schedule_was_trained() -> None:
    assert ends(COSINE) == (HIGH, LOW)
    assert ends(SCALED) == pytest.approx((SCALED.at(999).nsr, SCALED.at(0).nsr))


@pytest.mark.parametrize("order", [1, 2.5, 4])
def test_the_fit_finds_the_slope_of_a_power_law_and_leaves_rounding_out(order: float) -> None:
    points = [Point("x", n, 2 * n, 3 * (2 * n) ** -order) for n in (5, 20, 40, 80)]
    fit = fitted([*points, Point("x", 160, 320, 1e-14), Point("x", 1, 1, math.nan)])
    assert fit.order == pytest.approx(order) and fit.at(10) == pytest.approx(3 * 10**-order)


def test_there_is_no_fit_through_fewer_than_two_runs() -> None:
    assert fitted([]) is None and fitted([Point("x", 5, 5, 0.1)]) is None
    assert fitted([Point("x", 5, 5, 0.1), Point("x", 5, 5, 0.1)]) is None


def test_a_relative_error_is_a_share_of_the_truth() -> None:
    truth = torch.tensor([3.0, 4.0])
    assert relative_error(truth, truth) == 0
    assert relative_error(1.1 * truth, truth) == pytest.approx(0.1)


def test_what_each_noise_tells_averages_to_the_log_error_and_is_what_leaving_it_out_changes() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(400, 3, generator=generator, dtype=torch.float64)
    x = truth + 0.1 * torch.randn(400, 3, generator=generator, dtype=torch.float64) ** 2
    logs = np.array(by_noise(x, truth))
    assert logs.mean() == pytest.approx(math.log(relative_error(x, truth)))
    kept = [[other for other in range(400) if other != one] for one in range(400)]
    without = np.array([math.log(relative_error(x[rows], truth[rows])) for rows in kept])
    assert np.corrcoef(logs, -without)[0, 1] > 0.999  # the jackknife's own pseudo-values
    assert np.std(logs, ddof=1) / 20 == pytest.approx(math.sqrt(399 / 400 * ((without - without.mean()) ** 2).sum()), rel=0.03)
    assert np.isnan(by_noise(truth, truth)).all()


def test_an_interval_of_an_error_and_of_an_order_holds_the_true_one_as_often_as_it_says() -> None:
    random, held, orders = np.random.default_rng(1), 0, 0
    for _ in range(400):
        sizes = random.standard_normal((3, 5)) * 0.3 + random.standard_normal(5)  # 5 noises, alike at every number of steps
        logs = sizes - 2 * np.log([[10], [20], [40]])
        runs = [Point("x", n, n, math.exp(of.mean()), tuple(of)) for n, of in zip((10, 20, 40), logs, strict=True)]
        interval, fit = runs[0].interval, fitted(runs)
        held += interval.low < 10**-2 < interval.high
        orders += fit.low < 2 < fit.high
        assert fit.low < fit.order < fit.high
    assert 370 <= held <= 390 and 370 <= orders <= 390  # 95 % of 400, and two standard deviations on either side
    assert math.isnan(Point("x", 1, 1, 0.1).interval.low) and math.isnan(fitted([Point("x", n, n, 1 / n) for n in (1, 2)]).low)


def test_shifted_points_lie_as_far_as_the_shift_seen_from_all_sides() -> None:
    """Along u every point moves by shift·u, whose mean size over all directions is 2/π of the shift."""
    mixture = GaussianMixture.of([[0.3, -0.2]], 0.5)
    at = COSINE.at(100)
    x = at.alpha * mixture.sample(20_000, torch.Generator().manual_seed(0))
    x = x + at.sigma * PointNoise(20_000, seed=1)(0)
    assert distance(x, mixture, at) < 0.01
    shift = torch.tensor([0.4, 0.3], dtype=torch.float64)
    assert distance(x + shift, mixture, at) == pytest.approx(0.5 * 2 / math.pi, abs=0.01)


def test_the_floor_falls_with_the_root_of_the_number_of_points() -> None:
    at = COSINE.at(10)
    few, many = (sum(floor(RING, at, n, seed) for seed in range(6)) for n in (250, 4000))
    assert few / many == pytest.approx(4, rel=0.35)


def test_after_one_thread_there_are_as_many_as_ever_whatever_others_had_set_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.tradeoff.THREADS", 2)
    torch.set_num_threads(1)  # as a Python thread finds it that is born while another is in here
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


# ------------------------------------------------------------------------------------------------------- the race


@pytest.mark.parametrize("name", deterministic())
def test_in_the_race_every_deterministic_sampler_has_the_order_that_it_declares(name: str, raced: list[Point]) -> None:
    slope, order = fitted([point for point in raced if point.sampler == name]).order, SAMPLERS[name].order
    most = 4 if name == "lms" else order  # whose first, coarse moves show only in the limit, as its docstring says
    assert order - 0.25 < slope < most + 0.25


def test_dpmpp_2m_at_40_evaluations_beats_ddim_at_160(raced: list[Point]) -> None:
    assert of(raced, "dpmpp_2m")[40].nfe == 40 and of(raced, "ddim")[160].nfe == 160
    assert of(raced, "dpmpp_2m")[40].error < of(raced, "ddim")[160].error


@pytest.mark.parametrize("name", deterministic())
def test_calls_are_counted_not_steps(name: str, raced: list[Point]) -> None:
    assert all(point.nfe == SAMPLERS[name].calls * steps for steps, point in of(raced, name).items())


def test_the_samplers_are_told_apart_by_what_the_registry_says() -> None:
    assert set(deterministic()) | set(stochastic()) == set(SAMPLERS) and not set(deterministic()) & set(stochastic())


@pytest.mark.parametrize("name", stochastic())
def test_a_stochastic_sampler_comes_down_to_what_chance_leaves(name: str) -> None:
    coarse, fine = distances(RING, COSINE, [name], (4, 60), points=1000)
    least = max(floor(RING, make_path(COSINE, sigmas=ladder(60)).levels[-1], 1000, seed) for seed in range(4))
    assert fine.error < 2 * least < coarse.error


# ------------------------------------------------------------------------------------------------------- fresh noise


def test_without_eta_a_fan_is_one_line_and_with_more_it_opens() -> None:
    made = [fan(RING, COSINE, eta, steps=15, starts=60) for eta in (0, 0.1, 0.3, 0.6)]
    assert made[0].shape == (60, 8, 16, 2) and torch.equal(made[0][:, :1].expand_as(made[0]), made[0])
    spreads = [spread(one[:, :, -1]) for one in made]
    assert spreads[0] == 0 and spreads == sorted(spreads)
    assert all(torch.equal(one[:, :, 0], made[0][:, :, 0]) for one in made)


def test_at_eta_1_a_fan_forgets_where_it_began() -> None:
    """The ends of one fan then lie about their middle as all points of the ring lie about the ring's."""
    ends_of = fan(RING, COSINE, 1.0, steps=40, starts=80)[:, :, -1]
    around = (ends_of.reshape(-1, 2)).square().sum(-1).mean().sqrt().item()
    unbiased = spread(ends_of) * math.sqrt(8 / 7)
    assert unbiased == pytest.approx(around, rel=0.15)


# ------------------------------------------------------------------------------------------------------- on a network


def test_recipes_on_the_ladder_keep_all_but_sampler_and_levels() -> None:
    recipe = on_ladder(Recipe(prompt="x", spacing="karras", steps=99), COSINE, "heun", 7)
    assert recipe.steps == 7 and recipe.sigmas == ladder(7, *ends(COSINE)) and recipe.spacing == "karras"


def test_every_run_of_a_race_goes_between_the_same_levels_and_keeps_words_and_seed() -> None:
    recipe = Recipe(prompt="a cat", seed=3, gamma=2, sampler="ddim", knobs={"eta": 0.5}, batch=4)
    truth, *runs = made = [fine(recipe, SCALED), on_ladder(recipe, SCALED, "ddim", 4), on_ladder(recipe, SCALED, "heun", 8)]
    assert (truth.sampler, truth.steps) == (FINE, FINE_STEPS_ON_NETWORK) and [one.steps for one in runs] == [4, 8]
    assert all((one.prompt, one.seed, one.gamma, one.batch, one.knobs) == ("a cat", 3, 2, 1, {}) for one in made)
    assert {(one.sigmas[0], one.sigmas[-1]) for one in made} == {ends(SCALED)}
