"""Schedules and paths: closed forms, inverses, and each of them held to the class of diffusers that it names."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.sampling import SAMPLERS
from core.schedules import CLEAN, ENDS, FLOOR, SCHEDULES, SPACINGS, Level, Path, make, make_path, zero_terminal_snr

BUILT = {name: build() for name, build in SCHEDULES.items()}
PEER_NAME = {"cosine": "squaredcos_cap_v2"}
TIMES = st.floats(0, 998.5)  # of T = 1000, below where cosine is held at alpha_bar = 2⁻²⁴


def peer(name: str, kind: str = "DDIMScheduler", **config):
    diffusers = pytest.importorskip("diffusers")
    return getattr(diffusers, kind)(beta_schedule=name, num_train_timesteps=1000, **config)


# ------------------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_has_the_betas_of_diffusers(name: str) -> None:
    """Theirs are in float32, and 0.0001 to 0.02 where a config says nothing."""
    ours, theirs = make(name, 1000, 0.0001, 0.02), peer(PEER_NAME.get(name, name), "DDPMScheduler")
    np.testing.assert_allclose(ours.beta, theirs.betas.double(), rtol=3e-6)
    np.testing.assert_allclose(ours.alpha_bar, theirs.alphas_cumprod.double(), rtol=2e-4)


def test_stable_diffusions_schedule_has_its_own_two_numbers_by_default() -> None:
    assert BUILT["scaled_linear"].beta[[0, -1]] == pytest.approx([0.00085, 0.012])
    assert np.diff(np.sqrt(BUILT["scaled_linear"].beta), 2) == pytest.approx(0, abs=1e-15)


def test_linear_beta_grows_evenly_and_the_sigmoid_is_odd_about_its_middle() -> None:
    assert BUILT["linear"].beta[[0, -1]] == pytest.approx([0.0001, 0.02])
    assert np.diff(BUILT["linear"].beta, 2) == pytest.approx(0, abs=1e-15)
    assert BUILT["sigmoid"].beta + BUILT["sigmoid"].beta[::-1] == pytest.approx(0.0201)


def test_cosine_alpha_bar_is_a_squared_cosine_until_beta_is_capped() -> None:
    t = np.arange(1, 1000)
    wanted = np.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 / np.cos(0.008 / 1.008 * math.pi / 2) ** 2
    np.testing.assert_allclose(BUILT["cosine"].alpha_bar[:-1], wanted, rtol=1e-9)
    assert BUILT["cosine"].beta[-1] == 0.999


@pytest.mark.parametrize("name", SCHEDULES)
def test_noise_grows_all_the_way_in_every_schedule(name: str) -> None:
    schedule = BUILT[name]
    assert ((schedule.beta > 0) & (schedule.beta < 1)).all()
    assert (np.diff(schedule.log_nsr) > 0).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rescaled_schedule_is_diffusers_and_ends_in_pure_noise_and_keeps_its_first_level(name: str) -> None:
    pytest.importorskip("diffusers")
    from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

    schedule = BUILT[name]
    ours = zero_terminal_snr(schedule)
    np.testing.assert_allclose(ours.beta, rescale_zero_terminal_snr(torch.tensor(schedule.beta)).numpy(), rtol=1e-6)
    assert ours.alpha_bar[-1] == 0 and ours.at(999) == Level(999.0, 0.0, 1.0)
    assert ours.alpha_bar[0] == pytest.approx(schedule.alpha_bar[0], rel=1e-12)
    assert ours.at(999).nsr == math.inf and ours.at(999).lam == -math.inf


@pytest.mark.parametrize("name", SCHEDULES)
def test_pure_noise_becomes_the_level_of_2_to_the_minus_24_or_less_where_ratios_must_be_finite(name: str) -> None:
    path = make_path(zero_terminal_snr(BUILT[name]), "trailing", 1000)
    finite = path.finite()
    assert finite.levels[1:] == path.levels[1:] and finite.levels[0].t == 999
    assert 0 < finite.levels[0].alpha ** 2 <= FLOOR * (1 + 1e-12)
    assert finite.levels[0].alpha < finite.levels[1].alpha
    assert make_path(BUILT[name]).finite() == make_path(BUILT[name])
    if name in ("scaled_linear", "cosine"):  # where the level before has more signal than that
        assert finite.levels[0].alpha ** 2 == pytest.approx(FLOOR, rel=1e-12)


# ---------------------------------------------------------------------------------------------------------- levels


@pytest.mark.parametrize("name", SCHEDULES)
@settings(max_examples=30, deadline=None)
@given(t=TIMES)
def test_a_level_can_be_found_again_by_its_ratio_and_by_its_lam(name: str, t: float) -> None:
    schedule = BUILT[name]
    level = schedule.at(t)
    assert level.alpha**2 + level.sigma**2 == pytest.approx(1, abs=1e-12)
    assert level.lam == pytest.approx(math.log(level.alpha / level.sigma), abs=1e-12)
    for again in (schedule.at_nsr(level.nsr), schedule.at_lam(level.lam)):
        assert again == pytest.approx(level, abs=1e-6)
        assert again.nsr == pytest.approx(level.nsr, rel=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
@settings(max_examples=30, deadline=None)
@given(t=st.integers(0, 997), share=st.floats(0, 1))
def test_between_trained_times_log_nsr_is_linear_in_t(name: str, t: int, share: float) -> None:
    schedule = BUILT[name]
    low, high = schedule.at(t).lam, schedule.at(t + 1).lam
    assert schedule.at(t + share).lam == pytest.approx(low + share * (high - low), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(nsr=st.floats(1e-6, 1e6))
def test_a_ratio_beyond_what_was_trained_is_kept_and_only_its_t_is_held(nsr: float) -> None:
    schedule = BUILT["scaled_linear"]
    level = schedule.at_nsr(nsr)
    assert level.nsr == pytest.approx(nsr, rel=1e-12) and 0 <= level.t <= 999


def test_the_ends_of_all_levels_are_clean_and_pure_noise() -> None:
    schedule = BUILT["linear"]
    assert schedule.at(-1) == schedule.at_nsr(0) == schedule.at_lam(math.inf) == CLEAN
    assert (CLEAN.nsr, CLEAN.lam) == (0, math.inf)
    assert schedule.at_nsr(math.inf) == schedule.at_lam(-math.inf) == Level(999.0, 0.0, 1.0)


@pytest.mark.parametrize("t", [-2, -0.5, 999.5, 1000, math.nan, math.inf])
def test_a_time_that_was_not_trained_is_refused(t: float) -> None:
    with pytest.raises(UserError, match="from 0 to 999"):
        BUILT["linear"].at(t)


# -------------------------------------------------------------------------------------------------------- spacings


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_whole_times_lie_where_ddim_of_diffusers_has_them(spacing: str, offset: int) -> None:
    theirs = peer("scaled_linear", timestep_spacing=spacing, steps_offset=offset)
    for steps in [1, 2, 3, 7, 10, 20, 50, 333, 999]:
        if spacing == "linspace" and steps == 1:
            continue  # there theirs takes its one step from the clean end
        theirs.set_timesteps(steps)
        path = make_path(BUILT["scaled_linear"], spacing, steps, offset=offset)
        assert [level.t for level in path.levels] == [*theirs.timesteps.tolist(), -1]


@pytest.mark.parametrize("steps", [2, 10, 20, 50])
@pytest.mark.parametrize(("spacing", "option"), [("karras", "use_karras_sigmas"),
                                                 ("exponential", "use_exponential_sigmas")])  # fmt: skip
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear"])
def test_ratios_lie_where_euler_of_diffusers_has_them(schedule: str, spacing: str, option: str, steps: int) -> None:
    built = BUILT[schedule]
    theirs = peer(schedule, "EulerDiscreteScheduler", beta_start=built.beta[0], beta_end=built.beta[-1],
                  timestep_spacing="linspace", **{option: True})  # fmt: skip
    theirs.set_timesteps(steps)
    path = make_path(built, spacing, steps)
    np.testing.assert_allclose([level.nsr for level in path.levels], theirs.sigmas, rtol=2e-4)
    np.testing.assert_allclose([level.t for level in path.levels[:-1]], theirs.timesteps, atol=0.05)


def test_karras_and_exponential_are_even_in_their_own_measure() -> None:
    for spacing, measure in (("karras", lambda level: level.nsr ** (1 / 7)), ("exponential", lambda level: level.lam)):
        levels = make_path(BUILT["scaled_linear"], spacing, 12).levels[:-1]
        assert np.diff([measure(level) for level in levels], 2) == pytest.approx(0, abs=1e-12)
        assert [levels[0].t, levels[-1].t] == pytest.approx([999, 0])


def test_a_single_step_starts_at_the_noisy_end_wherever_that_end_is_visited() -> None:
    for spacing in ("trailing", "linspace", "karras", "exponential"):
        assert make_path(BUILT["linear"], spacing, 1).levels[0].t == pytest.approx(999)


@pytest.mark.parametrize("spacing", SPACINGS)
@settings(max_examples=40, deadline=None)
@given(steps=st.integers(1, 60), end=st.sampled_from(list(ENDS)), offset=st.integers(0, 1), times=st.integers(60, 300))
def test_a_path_falls_at_every_move_and_has_as_many_as_asked(
    spacing: str, steps: int, end: str, offset: int, times: int
) -> None:
    schedule = make("linear", times)
    if steps == times and end == "first":
        return
    path = make_path(schedule, spacing, steps, end=end, offset=offset)
    assert len(path) == len(list(path)) == steps
    assert all(a.lam + 1e-6 < b.lam and a.t > b.t for a, b in itertools.pairwise(path.levels))


def test_a_run_over_every_time_visits_every_time() -> None:
    for spacing, offset in itertools.product(["leading", "trailing", "linspace"], [0, 1]):
        path = make_path(BUILT["linear"], spacing, 1000, offset=offset)
        assert [level.t for level in path.levels] == list(range(999, -2, -1))


# ------------------------------------------------------------------------------------------------------------ ends


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_run_ends_clean_or_at_the_first_trained_level_in_as_many_moves(spacing: str) -> None:
    schedule = BUILT["scaled_linear"]
    clean, first = (make_path(schedule, spacing, 10, end=end) for end in ("clean", "first"))
    assert len(clean) == len(first) == 10
    assert clean.levels[-1] == CLEAN
    assert first.levels[-1].sigma ** 2 == pytest.approx(1 - schedule.alpha_bar[0], rel=1e-12)
    assert all(a.lam + 1e-6 < b.lam for path in (clean, first) for a, b in path)  # no call is spent on standing still


def test_ddim_ends_where_stable_diffusions_ddim_ends_and_all_others_end_clean() -> None:
    theirs = peer("scaled_linear", beta_start=0.00085, beta_end=0.012, set_alpha_to_one=False, steps_offset=1)
    path = make_path(BUILT["scaled_linear"], "leading", 20, end=SAMPLERS["ddim"].end, offset=1)
    assert path.levels[-1].alpha ** 2 == pytest.approx(float(theirs.final_alpha_cumprod), rel=1e-6)
    assert {entry.end for name, entry in SAMPLERS.items() if name != "ddim"} == {"clean"}


def test_a_run_over_every_time_has_nothing_left_to_end_at() -> None:
    with pytest.raises(UserError, match="end it clean"):
        make_path(BUILT["linear"], "leading", 1000, end="first")


def test_ones_own_levels_end_where_the_last_of_them_says() -> None:
    for last in (0, 0.5):
        path = make_path(BUILT["linear"], sigmas=[10, 2, last])
        assert len(path) == 2 and path.levels[-1].nsr == last


@pytest.mark.parametrize("sigmas", [[], [1.0], [1, 1], [1, 2], [2, 1, -1], [2, math.nan, 0]])
def test_levels_that_do_not_fall_are_refused(sigmas: list[float]) -> None:
    with pytest.raises(UserError, match="falling"):
        make_path(BUILT["linear"], sigmas=sigmas)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"spacing": "even"}, "leading, trailing"), ({"end": "last"}, "clean, first"), ({"steps": 0}, "1 to 1000"),
     ({"steps": 1001}, "1 to 1000")],
)  # fmt: skip
def test_what_cannot_be_a_path_is_refused_and_what_can_is_said(arguments: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_path(BUILT["linear"], **arguments)
    with pytest.raises(UserError, match="linear, scaled_linear, cosine, sigmoid"):
        make("quadratic")


# ----------------------------------------------------------------------------------------------------------- paths


def test_a_piece_of_a_path_keeps_the_numbers_of_its_moves() -> None:
    path = make_path(BUILT["linear"], "trailing", 10)
    assert [*path[:4], *path[4:]] == [*path]
    assert (path[:4].first, path[4:].first, path[4:][2:].first) == (0, 4, 6)
    assert len(path[10:]) == 0 and list(path[10:]) == []


@given(r=st.floats(0, 1))
def test_between_two_levels_the_share_is_one_of_lam(r: float) -> None:
    path = Path(BUILT["linear"], (BUILT["linear"].at(800), BUILT["linear"].at(300)))
    cur, nxt = path.levels
    assert path.between(cur, nxt, r).lam == pytest.approx(cur.lam + r * (nxt.lam - cur.lam), abs=1e-12)
