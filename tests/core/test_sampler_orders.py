"""Every sampler on exact models: its measured order, the identities between them, and what they do in closed form.

Orders are measured as diffrax measures them: the same run with more and more steps against a reference that another
method made (an eighth-order Runge-Kutta of scipy's, in float64 to 1e-12), down to a fixed ratio of noise to signal.
"""

from __future__ import annotations

import functools
import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor

from core import SAMPLERS, SCHEDULES
from core.prediction import Prediction, unconditional
from core.samplers import adams_bashforth, along, lambda_line, posterior_std, step, towards
from core.sampling import Sampler, sample
from core.schedules import CLEAN, Level, make_path
from core.toy import FiniteData, GaussianMixture

SCHEDULE = SCHEDULES["scaled_linear"]()
MIXTURE = GaussianMixture.of([[-1.0, 0.3], [1.2, -0.4], [0.2, 1.0]], [0.5, 0.35, 0.6], weights=[0.3, 0.3, 0.4])
HIGH, LOW = 12.0, 0.05  # the ratios between which orders are measured
F64 = {"dtype": torch.float64}
DETERMINISTIC = [name for name, entry in SAMPLERS.items() if not entry.stochastic]
ETA = [name for name, entry in SAMPLERS.items() if any(knob.name == "eta" for knob in entry.knobs)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def unit(draw: int, n: int = 12, d: int = 2) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(draw), **F64)


def run(name: str, path, denoise=None, x: Tensor | None = None, noise=unit, **knobs: float) -> Tensor:
    *_, last = sample(denoise or unconditional(MIXTURE), path, name, noise, x, **knobs)
    return last.x_next


# ----------------------------------------------------------------------------------------------------------- orders


@functools.cache
def reference() -> Tensor:
    """The end of the flow from unit(0) at HIGH to LOW: d(x/alpha)/d log nsr = nsr·eps, by another method."""
    integrate = pytest.importorskip("scipy.integrate")

    def slope(log_nsr: float, y: np.ndarray) -> np.ndarray:
        at = Level.of_nsr(0, math.exp(log_nsr))
        (p,) = MIXTURE(at.alpha * torch.tensor(y).view(12, 2), at, (None,))
        return at.nsr * p.eps.numpy().ravel()

    start = (unit(0) / Level.of_nsr(0, HIGH).alpha).numpy().ravel()
    solved = integrate.solve_ivp(slope, np.log([HIGH, LOW]), start, method="DOP853", rtol=1e-12, atol=1e-13)
    return Level.of_nsr(0, LOW).alpha * torch.tensor(solved.y[:, -1]).view(12, 2)


def error(name: str, steps: int, **knobs: float) -> float:
    """Of a run over levels that are even in neither t nor lam, so that no lucky symmetry helps."""
    path = make_path(SCHEDULE, sigmas=np.linspace(HIGH ** (1 / 7), LOW ** (1 / 7), steps + 1) ** 7)
    return (run(name, path, x=unit(0), **knobs) - reference()).square().mean().sqrt().item()


def measured(name: str, **knobs: float) -> float:
    """The slope between a run and one of twice as many steps, many enough for it to have settled."""
    steps = 1200 if name == "lms" else 80  # its order comes down from above to that of its first move
    return math.log2(error(name, steps, **knobs) / error(name, 2 * steps, **knobs))


def fits(slope: float, order: int) -> bool:
    return abs(slope - order) < 0.25


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_sampler_converges_with_the_order_that_it_declares_and_with_no_other(name: str) -> None:
    slope, order = measured(name), SAMPLERS[name].order
    assert fits(slope, order) and not fits(slope, order + 1) and not fits(slope, order - 1), slope


@pytest.mark.parametrize(("name", "order"), [("euler_ancestral", 1), ("dpmpp_2m_sde", 2)])
def test_without_fresh_noise_a_stochastic_sampler_has_the_order_of_its_deterministic_twin(
    name: str, order: int
) -> None:
    assert fits(measured(name, eta=0), order)


SLIPS = {  # one thing wrong in each
    "dpmpp_2m": ("extrapolated", lambda p, last, cur, nxt: p.x0 if last is None else p.x0 + (p.x0 - last.x0)),
    "uni_pc": ("predicted", lambda x, history, cur, nxt: towards(x, history[0].x0, cur, nxt)),
    "heun": ("along", lambda x, eps, cur, nxt: nxt.alpha * (x / cur.alpha + (nxt.sigma - cur.sigma) * eps)),
    "dpm_solver_3": ("lambda_line", lambda x, eps, cur, nxt: lambda_line(x, 1.001 * eps, cur, nxt)),
}


@pytest.mark.parametrize("name", SLIPS)
def test_the_measurement_finds_a_slip(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"core.samplers.{SLIPS[name][0]}", SLIPS[name][1])
    slope = measured(name)
    assert math.isfinite(slope) and slope < SAMPLERS[name].order - 0.5


def test_one_gaussian_is_carried_along_its_closed_form() -> None:
    """x keeps its place in units of the spread: (x − alpha·m)/√(alpha²s² + sigma²) stands still."""
    mean, std = torch.tensor([[0.7, -0.3]], **F64), 0.6
    denoise = unconditional(GaussianMixture.of(mean, std))
    path = make_path(SCHEDULE, "trailing", 400, end="first")
    spread = [math.sqrt((level.alpha * std) ** 2 + level.sigma**2) for level in path.levels]
    first, last = path.levels[0], path.levels[-1]
    wanted = last.alpha * mean + spread[-1] / spread[0] * (unit(0) - first.alpha * mean)
    for name in DETERMINISTIC:
        torch.testing.assert_close(run(name, path, denoise), wanted, rtol=0, atol=3e-2 if name == "lms" else 1e-2)


def test_lms_weighs_equally_spaced_slopes_as_adams_and_bashforth_do() -> None:
    for nodes, wanted in (([0], [1]), ([0, -1], [3 / 2, -1 / 2]), ([0, -1, -2], [23 / 12, -16 / 12, 5 / 12]),
                          ([0, -1, -2, -3], [55 / 24, -59 / 24, 37 / 24, -9 / 24])):  # fmt: skip
        assert adams_bashforth([float(n) for n in nodes], 0, 1) == pytest.approx(wanted)


# ------------------------------------------------------------------------------------------------------- identities


PATHS = {f"{spacing}, {end}": make_path(SCHEDULE, spacing, 9, end=end)
         for spacing in ("leading", "karras") for end in ("clean", "first")}  # fmt: skip


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_euler_is_ddim_without_noise_to_the_bit(path) -> None:
    assert torch.equal(run("euler", path), run("ddim", path))
    assert torch.equal(run("euler", path), run("euler_ancestral", path, eta=0))


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_euler_ancestral_ddpm_and_ddim_at_eta_1_are_one_formula_to_the_bit(path) -> None:
    assert torch.equal(run("euler_ancestral", path), run("ddpm", path))
    assert torch.equal(run("ddim", path, eta=1), run("ddpm", path))
    assert not torch.equal(run("ddpm", path), run("euler", path))


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_dpmpp_2m_sde_without_noise_is_dpmpp_2m(path) -> None:
    torch.testing.assert_close(run("dpmpp_2m_sde", path, eta=0), run("dpmpp_2m", path), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ETA)
def test_with_eta_towards_nothing_the_fresh_noise_fades_in_proportion(name: str) -> None:
    """The std of the fresh noise is proportional to eta, and in DPM++ 2M SDE to its square root."""
    path = make_path(SCHEDULE, "karras", 9, end="first")
    still = run(name, path, eta=0)
    far, near = ((run(name, path, eta=eta) - still).norm().item() for eta in (1e-4, 1e-8))
    power = 0.5 if name == "dpmpp_2m_sde" else 1
    assert math.log(far / near) / math.log(1e4) == pytest.approx(power, abs=0.02)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_single_data_point_is_recovered_exactly(name: str, steps: int) -> None:
    point = torch.tensor([[0.3, -1.7]], **F64)
    path = make_path(SCHEDULE, "trailing", steps)
    torch.testing.assert_close(
        run(name, path, unconditional(FiniteData.of(point))), point.expand(12, 2), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_move_to_the_clean_level_is_the_predicted_x0(name: str) -> None:
    path = make_path(SCHEDULE, "trailing", 1)
    (p,) = MIXTURE(unit(0), path.levels[0], (None,))
    torch.testing.assert_close(run(name, path), p.x0, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0, 0.3, 1])
@pytest.mark.parametrize("name", SAMPLERS)
def test_on_a_single_data_point_x_has_the_spread_of_its_level_after_every_move(name: str, eta: float) -> None:
    """x − alpha·a is a sum of the first noise and of all fresh ones; the squares of its weights sum to sigma².

    Row k of the batch gets a 1 where draw k enters and 0 from all other draws, so it holds the weight of that draw.
    """
    steps, point = 6, torch.tensor([[0.4]], **F64)
    path = make_path(SCHEDULE, "trailing", steps, end="first")
    first = path.levels[0]

    def impulse(draw: int) -> Tensor:
        return torch.eye(steps + 1, **F64)[:, draw : draw + 1]

    knobs = {"eta": eta} if name in ETA else {}
    start = first.alpha * point + first.sigma * impulse(0)
    for made in sample(unconditional(FiniteData.of(point)), path, name, impulse, start, **knobs):
        weights = made.x_next - made.nxt.alpha * point
        assert weights.square().sum().item() == pytest.approx(made.nxt.sigma**2, rel=1e-9)


# ------------------------------------------------------------------------------------------------------ the formulas


@pytest.mark.parametrize("name", SCHEDULES)
def test_between_consecutive_times_ddpm_has_the_posterior_of_its_betas(name: str) -> None:
    """2006.11239 eq. 7, in betas: the variance for every t, and the mean."""
    schedule = SCHEDULES[name]()
    bar, beta = schedule.alpha_bar, schedule.beta
    levels = [schedule.at(t) for t in range(1000)]
    ours = [posterior_std(levels[t], levels[t - 1]) ** 2 for t in range(1, 1000)]
    np.testing.assert_allclose(ours, (1 - bar[:-1]) / (1 - bar[1:]) * beta[1:], rtol=1e-8)
    x0, x = unit(1), unit(2)
    for t in (1, 500, 999):
        mean = (math.sqrt(bar[t - 1]) * beta[t] * x0 + math.sqrt(1 - beta[t]) * (1 - bar[t - 1]) * x) / (1 - bar[t])
        p = Prediction.from_x0(x, x0, levels[t])
        torch.testing.assert_close(
            step(p, levels[t], levels[t - 1], posterior_std(levels[t], levels[t - 1])), mean, rtol=1e-8, atol=1e-8
        )
    assert posterior_std(levels[0], CLEAN) == 0


def test_a_step_has_three_terms_towards_x0_along_eps_and_fresh_noise() -> None:
    cur, nxt = SCHEDULE.at(700), SCHEDULE.at(400)
    p, noise, std = Prediction.from_x0(unit(1), unit(2), cur), unit(3), 0.2
    bar = SCHEDULE.alpha_bar[400]
    wanted = math.sqrt(bar) * p.x0 + math.sqrt(1 - bar - std**2) * p.eps + std * noise  # 2010.02502 eq. 12
    torch.testing.assert_close(step(p, cur, nxt, std, noise), wanted)
    weights = nxt.sigma**2 - std**2, std**2
    assert sum(weights) == pytest.approx(nxt.sigma**2)  # whatever std, the spread is that of the level


@pytest.mark.parametrize("nxt", [SCHEDULE.at(400), SCHEDULE.at(0), CLEAN], ids=["middle", "first", "clean"])
def test_for_one_slope_every_way_to_move_is_the_same(nxt: Level) -> None:
    cur = SCHEDULE.at(700)
    x = unit(1)
    p = Prediction.from_x0(x, unit(2), cur)
    wanted = step(p, cur, nxt)
    torch.testing.assert_close(along(x, p.eps, cur, nxt), wanted, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(towards(x, p.x0, cur, nxt), wanted, rtol=1e-11, atol=1e-11)
    if nxt.sigma:
        torch.testing.assert_close(lambda_line(x, p.eps, cur, nxt), wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("entry", SAMPLERS.values(), ids=SAMPLERS)
def test_every_sampler_says_what_it_is_where_it_comes_from_and_what_it_is_held_to(entry: Sampler) -> None:
    assert entry.doc.endswith(".") and entry.doc.count("\n") == 0 and len(entry.doc) < 200
    assert entry.label and entry.same_as and re.fullmatch(r"(\d{4}\.\d{5})?", entry.paper)


def test_the_eleven_ids_that_other_programs_use_are_registered() -> None:
    ids = "ddpm ddim euler euler_ancestral heun dpm_solver_2 dpm_solver_3 dpmpp_2m dpmpp_2m_sde lms uni_pc"
    assert set(ids.split()) <= set(SAMPLERS)
    assert {name for name in ids.split() if SAMPLERS[name].stochastic} == {"ddpm", "euler_ancestral", "dpmpp_2m_sde"}
