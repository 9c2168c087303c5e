"""The driver: what a Step tells, how a run stops and branches, and how a sampler joins the registry."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path as File
from typing import Annotated

import pytest
import torch
from torch import Tensor

from core import SAMPLERS, SCHEDULES, Recipe
from core.errors import UserError
from core.guidance import classifier_free, interval
from core.noise import Noise
from core.prediction import Denoiser, Prediction, unconditional
from core.sampling import Fresh, Range, Step, sample, sampler
from core.schedules import Level, Path, make_path
from core.toy import ring

SCHEDULE = SCHEDULES["scaled_linear"]()
PATH = make_path(SCHEDULE, "trailing", 6)
MIXTURE = ring()
NOISE = Noise([1, 2, 3], (2,), dtype=torch.float64)
ONE_STEP = ["ddpm", "ddim", "euler", "euler_ancestral", "heun", "dpm_solver_2", "dpm_solver_3"]  # without memory


class Counted:
    """A denoiser that keeps where it was called."""

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise, self.levels = denoise, []

    def __call__(self, x: Tensor, at: Level) -> Prediction:
        self.levels.append(at)
        return self.denoise(x, at)


def run(name: str, path: Path = PATH, noise: Fresh = NOISE, x: Tensor | None = None, **knobs: float) -> list[Step]:
    return list(sample(unconditional(MIXTURE), path, name, noise, x, **knobs))


# ------------------------------------------------------------------------------------------------------------ steps


@pytest.mark.parametrize("name", SAMPLERS)
def test_steps_are_numbered_and_chained_and_follow_the_path(name: str) -> None:
    steps = run(name)
    assert [step.index for step in steps] == list(range(6))
    assert [(step.cur, step.nxt) for step in steps] == list(PATH)
    assert torch.equal(steps[0].x, NOISE(0))  # a run starts from unit noise
    for step, following in itertools.pairwise(steps):
        assert step.x_next is following.x


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_step_keeps_every_call_that_was_really_made(name: str) -> None:
    counted = Counted(unconditional(MIXTURE))
    steps = list(sample(counted, PATH, name, NOISE))
    assert [p.at for step in steps for p in step.evaluations] == counted.levels
    assert steps[-1].nfe == len(counted.levels)
    calls = SAMPLERS[name].calls
    *counts, last = [len(step.evaluations) for step in steps]
    assert counts == [calls] * 5 and 1 <= last <= calls
    first = MIXTURE(steps[2].x, steps[2].cur, (None,))[0]
    torch.testing.assert_close(steps[2].x0, first.x0)
    torch.testing.assert_close(steps[2].eps, first.eps)


@pytest.mark.parametrize(("name", "calls"), [("heun", 2), ("dpm_solver_2", 2), ("dpm_solver_3", 3)])
def test_all_calls_of_a_step_are_seen_and_a_last_one_that_ends_clean_needs_one(name: str, calls: int) -> None:
    first = make_path(SCHEDULE, "trailing", 6, end="first")
    assert [step.nfe for step in run(name)] == [*range(calls, 6 * calls, calls), 5 * calls + 1]
    assert [step.nfe for step in run(name, first)] == list(range(calls, 6 * calls + 1, calls))


def test_heun_asks_at_both_ends_of_its_step() -> None:
    first = run("heun")[0]
    assert [p.at for p in first.evaluations] == [first.cur, first.nxt]


def test_a_guided_call_counts_once_a_condition_and_one_outside_the_interval_once() -> None:
    guided, plain = (classifier_free(MIXTURE, 3, None, gamma) for gamma in (2, 0))
    assert [step.nfe for step in sample(guided, PATH, "euler", NOISE)] == [2, 4, 6, 8, 10, 12]
    assert [step.nfe for step in sample(plain, PATH, "euler", NOISE)] == [1, 2, 3, 4, 5, 6]
    low, high = PATH.levels[3].nsr, PATH.levels[2].nsr
    some = interval(guided, plain, low, high)
    assert [step.nfe for step in sample(some, PATH, "euler", NOISE)] == [1, 2, 4, 6, 7, 8]


@pytest.mark.parametrize("name", SAMPLERS)
def test_closing_a_run_stops_its_calls(name: str) -> None:
    counted = Counted(unconditional(MIXTURE))
    steps = sample(counted, PATH, name, NOISE)
    next(steps), next(steps)
    made = len(counted.levels)
    assert made == 2 * SAMPLERS[name].calls  # nothing is computed ahead
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)
    assert len(counted.levels) == made


def test_a_run_records_no_gradients_and_leaves_the_listeners_mode_alone() -> None:
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)

    def denoise(x: Tensor, at: Level) -> Prediction:
        return Prediction.from_x0(x, weight * x, at)

    for step in sample(denoise, PATH, "heun", NOISE):
        assert torch.is_grad_enabled()
        assert not step.x_next.requires_grad and not step.x0.requires_grad


# ----------------------------------------------------------------------------------------- seeds, batches, branches


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_seed_gives_the_same_run_to_the_bit_and_another_seed_another(name: str) -> None:
    one, two = run(name)[-1].x_next, run(name)[-1].x_next
    assert torch.equal(one, two)
    assert not torch.equal(one, run(name, noise=Noise([4, 5, 6], (2,), dtype=torch.float64))[-1].x_next)


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_image_is_the_same_alone_and_in_any_batch(name: str) -> None:
    together = run(name)[-1].x_next
    for i, seed in enumerate(NOISE.seeds):
        alone = run(name, noise=Noise([seed], (2,), dtype=torch.float64))[-1].x_next
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ONE_STEP)
@pytest.mark.parametrize("k", [1, 3, 5])
def test_a_run_that_is_taken_up_again_goes_on_as_if_never_broken(name: str, k: int) -> None:
    knobs = {"eta": 0.5} if name in ("ddim", "euler_ancestral") else {}
    whole, before = run(name, **knobs), run(name, PATH[:k], **knobs)
    after = run(name, PATH[k:], x=before[-1].x_next, **knobs)
    assert [step.index for step in before + after] == list(range(6))
    for one, two in zip(whole, before + after, strict=True):
        assert torch.equal(one.x_next, two.x_next)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_moves_before_a_branch_are_those_of_the_run_that_it_leaves(name: str) -> None:
    whole = run(name)
    for one, two in zip(whole, run(name, PATH[:3]), strict=False):
        assert torch.equal(one.x_next, two.x_next) and one.nfe == two.nfe


@pytest.mark.parametrize("name", ["ddpm", "euler_ancestral", "dpmpp_2m_sde"])
def test_the_fresh_noise_of_move_k_is_draw_k_plus_1(name: str) -> None:
    drawn: list[int] = []

    def noise(draw: int) -> Tensor:
        drawn.append(draw)
        return NOISE(draw)

    run(name, noise=noise)
    assert drawn == [0, 1, 2, 3, 4, 5]  # the move to the clean level needs none
    drawn.clear()
    run(name, PATH[4:], noise, x=NOISE(0))
    assert drawn == [5]


# --------------------------------------------------------------------------------------------------------- registry


def test_whoever_asks_for_the_registry_finds_every_sampler_in_it() -> None:
    code = "from core.sampling import SAMPLERS; print(len(SAMPLERS))"
    root = File(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(SAMPLERS) >= 11


def test_adding_a_sampler_touches_one_file() -> None:
    """Ten lines under the decorator; then it is known to the driver, to Recipe and by its knobs and its sentence."""
    try:

        @sampler("Midpoint", order=2, paper="2206.00364", same_as="a closed form", calls=2)
        def probe_of_this_test(
            denoise: Denoiser, path: Path, x: Tensor, noise: Fresh, *, r: Annotated[float, Range(0.1, 1)] = 0.5
        ) -> Iterator[Tensor]:
            """Midpoint: the slope part of the way stands for the whole step."""
            for cur, nxt in path:
                p = denoise(x, cur)
                mid = path.schedule.at_nsr(cur.nsr + r * (nxt.nsr - cur.nsr))
                eps = denoise(mid.alpha * p.x0 + mid.sigma * p.eps, mid).eps if nxt.sigma else p.eps
                x = nxt.alpha * (x / cur.alpha + (nxt.nsr - cur.nsr) * eps)
                yield x

        entry = SAMPLERS["probe_of_this_test"]
        assert entry.doc == "Midpoint: the slope part of the way stands for the whole step."
        assert [(knob.name, knob.low, knob.high, knob.default) for knob in entry.knobs] == [("r", 0.1, 1, 0.5)]
        assert Recipe(prompt="x", sampler="probe_of_this_test", knobs={"r": 0.7}).knobs == {"r": 0.7}
        with pytest.raises(UserError, match=r"0\.1 to 1"):
            Recipe(prompt="x", sampler="probe_of_this_test", knobs={"r": 2})
        fine = run("euler", make_path(SCHEDULE, "karras", 500, end="first"))[-1].x_next
        coarse = make_path(SCHEDULE, "karras", 40, end="first")
        ours, plain = (run(name, coarse)[-1].x_next for name in ("probe_of_this_test", "euler"))
        assert (ours - fine).norm() < (plain - fine).norm()
        assert not torch.equal(run("probe_of_this_test", r=0.7)[-1].x_next, run("probe_of_this_test")[-1].x_next)
        assert run("probe_of_this_test")[-1].nfe == 11
    finally:
        SAMPLERS.pop("probe_of_this_test", None)
    with pytest.raises(UserError, match="sampler"):
        Recipe(prompt="x", sampler="probe_of_this_test")


def test_a_knob_without_a_range_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="needs a range"):

        @sampler("Bad", order=1, paper="", same_as="")
        def bad(denoise: Denoiser, path: Path, x: Tensor, noise: Fresh, *, strength: float = 1) -> Iterator[Tensor]:
            yield x

    assert "bad" not in SAMPLERS


@pytest.mark.parametrize(
    ("name", "knobs", "said"),
    [("eular", {}, "eular.*ddpm, ddim"), ("ddim", {"eta": 1.5}, "from 0 to 1"), ("euler", {"eta": 0.5}, "none"),
     ("ddim", {"eta": float("nan")}, "from 0 to 1"), ("ddim", {"churn": 1}, "it has eta")],
)  # fmt: skip
def test_a_wrong_name_or_knob_is_refused_with_what_is_allowed(name: str, knobs: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        next(sample(unconditional(MIXTURE), PATH, name, NOISE, **knobs))
