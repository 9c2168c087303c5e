"""Every sampler against the implementation that it names: same levels, same denoiser, same noise, move by move.

The denoiser is an exact mixture in float64, asked for eps or v. A path is built from the peer's own timesteps or sigmas
(which diffusers rounds to float32, so ours are those rounded values), and x is compared after every move, at unit
variance: largest difference over largest value. Theirs has our alpha_bar in float64 and runs twice: with the casts of x
to float32 that several classes make in every step, and with `torch.float32` in their module read as float64, which
leaves only real differences. The largest of each stand in the table at the end of the run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from core import SAMPLERS
from core.prediction import READ, Prediction
from core.sampling import sample
from core.schedules import CLEAN, FLOOR, Level, Path, Schedule, make, make_path, zero_terminal_snr
from core.toy import GaussianMixture
from tests.conftest import Parity

CAST, EXACT = 1e-4, 1e-9  # what the largest difference may be
STEPS = (10, 20, 50)
MIXTURE = GaussianMixture.of([[-1.0, 0.3], [1.2, -0.4], [0.2, 1.0]], [0.3, 0.2, 0.4], weights=[0.3, 0.3, 0.4])
SCHEDULES = {name: make(name) for name in ("scaled_linear", "cosine")}  # Stable Diffusion's, the embedded model's
BETAS = {"scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
K_SPACINGS = ("trailing", "karras")
KARRAS, EVEN = {"use_karras_sigmas": True}, {"use_exponential_sigmas": True}


class Case(NamedTuple):
    """A peer's class and options; `ratios`: it works on x/alpha over sigma/alpha; `calls`: of step() a move."""

    kind: str
    spacings: tuple[str, ...]
    options: dict[str, Any] = {}  # noqa: RUF012
    ratios: bool = False
    calls: int = 1
    knobs: dict[str, float] = {}  # noqa: RUF012
    more: tuple[dict[str, Any], ...] = ()  # spacings that the peer has as options


ALL = ("leading", "trailing", "linspace")
BETA = {"beta_start": 0.00085, "beta_end": 0.012}
PLAIN = {"clip_sample": False, "steps_offset": 1}
DDIM = PLAIN | {"set_alpha_to_one": False}
DPM = {"algorithm_type": "dpmsolver++", "solver_order": 2}
SDE = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}
CASES = {
    "ddpm": Case("DDPMScheduler", ALL[:2], PLAIN),
    "ddim": Case("DDIMScheduler", ALL[:2], DDIM),  # on linspace theirs jumps by T//n, past the levels it visits
    "ddim eta 1": Case("DDIMScheduler", ALL[:2], DDIM, knobs={"eta": 1.0}),
    "euler": Case("EulerDiscreteScheduler", ALL, ratios=True, more=(KARRAS, EVEN)),
    "euler_ancestral": Case("EulerAncestralDiscreteScheduler", ALL, ratios=True),
    "heun": Case("HeunDiscreteScheduler", ALL, ratios=True, calls=2, more=(KARRAS, EVEN)),
    "dpmpp_2m": Case("DPMSolverMultistepScheduler", ALL, DPM, more=(KARRAS, EVEN)),
    "dpmpp_2m_sde": Case("DPMSolverMultistepScheduler", ALL, SDE, more=(KARRAS,)),
    "lms": Case("LMSDiscreteScheduler", ALL[:2], ratios=True, more=(KARRAS,)),
    "uni_pc": Case("UniPCMultistepScheduler", ALL, {"solver_order": 2}, more=(KARRAS, EVEN)),
}
ZERO = ("ddim", "ddim eta 1", "euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "uni_pc")  # theirs know of it


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def noise(draw: int) -> Tensor:
    return torch.randn(8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(draw))


def asked(x: Tensor, at: Level, predicts: str) -> Tensor:
    """What a network that predicts eps or v would say."""
    (p,) = MIXTURE(x, at, (None,))
    return getattr(p, predicts)


def ours(name: str, path: Path, predicts: str, **knobs: float) -> list[Tensor]:
    def denoise(x: Tensor, at: Level) -> Prediction:
        return READ[predicts](x, asked(x, at, predicts), at)

    return [step.x_next for step in sample(denoise, path, name, noise, **knobs)]


def difference(one: list[Tensor], two: list[Tensor]) -> float:
    assert len(one) == len(two)
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(one, two, strict=True))


# -------------------------------------------------------------------------------------------------------- diffusers


class WithoutFloat32:
    """The module torch, but whoever asks it for float32 gets float64."""

    def __getattr__(self, name: str) -> Any:
        return torch.float64 if name == "float32" else getattr(torch, name)


@contextlib.contextmanager
def fed(module: types.ModuleType, exact: bool) -> Iterator[dict[str, int]]:
    """A module of diffusers whose fresh noise is ours, of the draw that is set in the dictionary."""
    state = {"draw": 0}
    with contextlib.ExitStack() as stack:
        if hasattr(module, "randn_tensor"):
            given = lambda *_, dtype=None, **__: noise(state["draw"]).to(dtype)  # noqa: E731
            stack.enter_context(mock.patch.object(module, "randn_tensor", given))
        if exact:
            stack.enter_context(mock.patch.object(module, "torch", WithoutFloat32()))
        yield state


def built(case: Case, schedule: Schedule, spacing: dict[str, Any], predicts: str, steps: int) -> Any:
    """The peer, ready to run, on our alpha_bar in float64 where it would have its own in float32."""
    diffusers = pytest.importorskip("diffusers")
    kind = getattr(diffusers, case.kind)
    zero = {"rescale_betas_zero_snr": True} if schedule.alpha_bar[-1] == 0 else {}
    names = {"eps": "epsilon", "v": "v_prediction"}
    peer = kind(beta_schedule=BETAS[schedule.name], prediction_type=names[predicts], **BETA, **case.options,
                **spacing, **zero)  # fmt: skip
    floor = FLOOR if zero and hasattr(peer, "sigmas") else 0
    peer.alphas_cumprod = torch.from_numpy(schedule.alpha_bar).clamp(min=floor)
    if "set_alpha_to_one" in case.options:
        peer.final_alpha_cumprod = peer.alphas_cumprod[0]
    peer.set_timesteps(steps)
    if hasattr(peer, "sigmas"):
        peer.sigmas = peer.sigmas.double()
        peer.set_begin_index(0)  # where a rounded time occurs twice it would begin at the second
    return peer


def levels(peer: Any, case: Case, schedule: Schedule) -> Path:
    """The peer's own levels as a path of ours."""
    if not hasattr(peer, "sigmas"):
        end = schedule.at(0) if "set_alpha_to_one" in case.options else CLEAN
        return Path(schedule, (*(schedule.at(int(t)) for t in peer.timesteps), end))
    sigmas = peer.sigmas.tolist()
    if case.calls == 2:  # Heun's repeats what lies between the ends
        sigmas = [sigmas[0], *sigmas[1:-1:2], sigmas[-1]]
    return make_path(schedule, sigmas=sigmas)


def theirs(peer: Any, case: Case, path: Path, predicts: str, exact: bool) -> list[Tensor]:
    """x after every move of the peer's, brought to unit variance."""
    x, made = noise(0), []
    x = x / path.levels[0].alpha if case.ratios else x
    timesteps = iter(peer.timesteps)
    with fed(sys.modules[type(peer).__module__], exact) as state:
        for move, (cur, nxt) in enumerate(path):
            state["draw"] = move + 1
            for call in range(case.calls if nxt.sigma else 1):
                t, at = next(timesteps), (cur, nxt)[call]
                seen = peer.scale_model_input(x, t).double() if case.ratios else x
                x = peer.step(asked(seen, at, predicts), t, x, **case.knobs).prev_sample.double()
            made.append(x * nxt.alpha if case.ratios else x)
    return made


def compared(name: str, schedule: Schedule, predicts: str, steps: int, spacing: dict[str, Any]) -> tuple[float, float]:
    """The largest difference to the peer with its casts to float32, and to the peer in float64."""
    case = CASES[name]
    found = []
    for exact in (False, True):
        if not found or found[0] > EXACT:  # what is as close as this makes no such casts
            peer = built(case, schedule, spacing, predicts, steps)
            path = levels(peer, case, schedule)
            assert len(path) == steps
            mine = ours(name.split()[0], path, predicts, **case.knobs)
            found.append(difference(mine, theirs(peer, case, path, predicts, exact)))
    return found[0], found[-1]


def allowed(case: Case, schedule: Schedule, predicts: str, spacing: dict[str, Any]) -> float:
    """What a peer's float32 may cost: eps says little of x0 at sigma/alpha = 20,291, where cosine ends."""
    coarse = schedule.name == "cosine" and predicts == "eps" and case.ratios
    return 1e-3 if coarse and spacing.get("timestep_spacing") != "leading" else CAST


def spacings(case: Case) -> list[dict[str, Any]]:
    return [*({"timestep_spacing": name} for name in case.spacings), *case.more]


@pytest.mark.parametrize("predicts", ["eps", "v"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", CASES)
def test_a_sampler_makes_the_moves_of_the_class_of_diffusers_that_it_names(
    name: str, schedule: str, predicts: str, parity: Parity
) -> None:
    case = CASES[name]
    assert SAMPLERS[name.split()[0]].same_as.startswith(case.kind)
    for spacing in spacings(case):
        limit = allowed(case, SCHEDULES[schedule], predicts, spacing)
        where = "" if limit == CAST else ", eps in almost pure noise"
        for steps in STEPS:
            cast, exact = compared(name, SCHEDULES[schedule], predicts, steps, spacing)
            parity("sampler", name, f"{case.kind}{where}", cast, limit)
            parity("sampler", name, f"{case.kind}{where}, in float64", exact, EXACT)


@pytest.mark.parametrize("name", ZERO)
def test_from_pure_noise_a_sampler_makes_its_peers_moves_too(name: str, parity: Parity) -> None:
    """Zero terminal SNR, v: theirs begin at alpha_bar = 0 (DDIM) or 2⁻²⁴, and so do ours on their own path."""
    case = CASES[name]
    schedule = zero_terminal_snr(SCHEDULES["scaled_linear"])
    for steps in STEPS:
        peer = built(case, schedule, {"timestep_spacing": "trailing"}, "v", steps)
        path = make_path(schedule, "trailing", steps, end=SAMPLERS[name.split()[0]].end)
        wanted = [level.nsr for level in levels(peer, case, schedule).levels]
        np.testing.assert_allclose([level.nsr for level in (path.finite() if hasattr(peer, "sigmas") else path).levels],
                                   wanted, rtol=1e-6)  # fmt: skip
        path = levels(peer, case, schedule)
        mine = ours(name.split()[0], path, "v", **case.knobs)
        made = theirs(peer, case, path, "v", exact=True)
        parity("sampler", name, f"{case.kind}, from pure noise", difference(mine, made), 1e-7)  # the root of a rounding error


def test_the_comparison_finds_a_difference_of_one_part_in_a_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.samplers import extrapolated

    monkeypatch.setattr("core.samplers.extrapolated", lambda *arguments: 1.001 * extrapolated(*arguments))
    assert compared("dpmpp_2m", SCHEDULES["scaled_linear"], "v", 20, {"timestep_spacing": "trailing"})[1] > CAST


# ------------------------------------------------------------------------------------------------------ k-diffusion


def k_sampling() -> types.ModuleType:
    """k_diffusion/sampling.py alone: it is installed without what the rest of the package needs."""
    package = importlib.util.find_spec("k_diffusion")
    if package is None or not package.submodule_search_locations:
        pytest.skip("k-diffusion is not installed (requirements-peers.txt)")
    file = f"{package.submodule_search_locations[0]}/sampling.py"
    stubs = {name: types.ModuleType(name) for name in ("k_diffusion", "k_diffusion.utils", "torchdiffeq", "torchsde")}
    stubs["k_diffusion"].utils = stubs["k_diffusion.utils"]  # type: ignore[attr-defined]
    stubs["torchdiffeq"].odeint = None  # type: ignore[attr-defined]
    spec = importlib.util.spec_from_file_location("k_diffusion.sampling", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, stubs):
        spec.loader.exec_module(module)
    return module


def k_compared(order: int, schedule: Schedule, predicts: str, steps: int, spacing: str) -> float:
    """To k-diffusion's solver of that order, on x/alpha, from level to level; it cannot end clean."""
    path = make_path(schedule, spacing, steps, end="first")

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        at = Level.of_nsr(0, sigma[0].item())
        return READ[predicts](at.alpha * x, asked(at.alpha * x, at, predicts), at).x0

    solver = k_sampling().DPMSolver(model)
    one = getattr(solver, f"dpm_solver_{order}_step")
    x, made = noise(0) / path.levels[0].alpha, []
    for cur, nxt in path:
        x, _ = one(x, *(torch.tensor(level.lam, dtype=torch.float64) for level in (cur, nxt)))
        made.append(nxt.alpha * x)
    return difference(ours(f"dpm_solver_{order}", path, predicts), made)


@pytest.mark.parametrize("predicts", ["eps", "v"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("order", [2, 3])
def test_dpm_solver_makes_the_steps_of_k_diffusion(order: int, schedule: str, predicts: str, parity: Parity) -> None:
    assert SAMPLERS[f"dpm_solver_{order}"].same_as == f"k-diffusion's dpm_solver_{order}_step"
    for spacing in K_SPACINGS:
        for steps in STEPS:
            found = k_compared(order, SCHEDULES[schedule], predicts, steps, spacing)
            parity("sampler", f"dpm_solver_{order}", f"k-diffusion {order}_step, in float64", found, EXACT)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_is_compared_with_somebody(name: str) -> None:
    """One that joins may wait for its row; the eleven may not lose theirs."""
    compared = {case.split()[0] for case in CASES} | {"dpm_solver_2", "dpm_solver_3"}
    assert len(compared & set(SAMPLERS)) >= 11
    if name not in compared:
        pytest.skip(f"nobody has compared {name} with {SAMPLERS[name].same_as} yet: add a row to CASES")
