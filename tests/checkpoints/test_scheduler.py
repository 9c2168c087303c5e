"""What scheduler_config.json says, against diffusers' own schedulers made from the same file."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from typing import Any

import numpy as np
import pytest

from core.checkpoints.load import load_checkpoint
from core.checkpoints.scheduler import STABLE_DIFFUSION, read_prediction, read_scheduler
from core.errors import UserError

CONFIGS = {
    "SD 1.5": {"beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000},
    "defaults": {},
    "cosine": {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction", "timestep_spacing": "trailing"},
    "zero terminal SNR": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
                          "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    "linear, 400 steps": {"beta_schedule": "linear", "num_train_timesteps": 400, "beta_start": 0.001, "beta_end": 0.03},
    "trained": {"trained_betas": [0.1, 0.2, 0.3, 0.4]},
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_schedule_is_the_one_that_diffusers_makes_of_the_same_config(name: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    peer = diffusers.DDIMScheduler.from_config(CONFIGS[name])
    ours = read_scheduler(CONFIGS[name])
    assert np.allclose(ours.schedule.alpha_bar, peer.alphas_cumprod.double().numpy(), rtol=1e-4, atol=1e-6)
    assert ours.prediction == {"epsilon": "eps", "v_prediction": "v"}[peer.config.prediction_type]
    assert ours.spacing == peer.config.timestep_spacing and ours.steps_offset == peer.config.steps_offset


@pytest.mark.parametrize("kind", [
    "PNDMScheduler", "DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler", "LMSDiscreteScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler",
    "DPMSolverSinglestepScheduler", "DEISMultistepScheduler", "KDPM2DiscreteScheduler",
])  # fmt: skip
def test_a_spacing_that_is_not_said_is_the_default_of_the_class(kind: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    peer = getattr(diffusers, kind)()
    default = getattr(peer.config, "timestep_spacing", "linspace")  # the single-step solver knows only that one
    assert read_scheduler({"_class_name": kind}).spacing == default


def test_an_unsaid_prediction_is_assumed_aloud_and_an_argument_ends_the_assumption() -> None:
    training = read_scheduler({})
    assert training.prediction == "eps" and "assumed" in training.notes[0]
    assert training.predicting("v").prediction == "v" and not training.predicting("v").notes
    assert not STABLE_DIFFUSION.notes and not read_scheduler({"prediction_type": "epsilon"}).notes


@pytest.mark.parametrize(("data", "says"), [
    ({"beta_schedule": "exp"}, "beta_schedule = 'exp'"), ({"beta_schedule": ["linear"]}, "beta_schedule"),
    ({"num_train_timesteps": 10**9}, "num_train_timesteps"), ({"num_train_timesteps": 0}, "num_train_timesteps"),
    ({"num_train_timesteps": 1.5}, "num_train_timesteps"), ({"beta_start": -1}, "beta_start"),
    ({"beta_end": math.nan}, "beta_end"), ({"beta_start": "0.1"}, "beta_start"), ({"beta_end": 2}, "beta_end"),
    ({"trained_betas": "x"}, "trained_betas"), ({"trained_betas": [0.1, -1]}, "trained_betas"),
    ({"trained_betas": [0.1] * 20_000}, "trained_betas"), ({"timestep_spacing": "random"}, "timestep_spacing"),
    ({"steps_offset": -5}, "steps_offset"), ({"steps_offset": None}, "steps_offset"), ({"prediction_type": 1}, "'1'"),
    ({"prediction_type": None}, "'None'"), ({"prediction_type": {"a": 1}}, "eps, v or x0"),
])  # fmt: skip
def test_an_impossible_value_is_refused_by_the_name_of_its_key(data: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as error:
        read_scheduler(data)
    assert says in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("data", [
    {"trained_betas": [0.1, 1.0, 0.3, 0.4]}, {"trained_betas": [0.9] * 1000}, {"beta_start": 0.9, "beta_end": 0.9},
    {"trained_betas": [1e-18, 0.1, 0.2]}, {"beta_start": 1e-18, "beta_end": 1e-18, "rescale_betas_zero_snr": True},
    {"trained_betas": [0.1, 1.0, 0.3, 0.4], "rescale_betas_zero_snr": True},
])  # fmt: skip
def test_a_schedule_whose_levels_cannot_be_told_apart_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="cannot be told apart: correct its beta_start"):
        read_scheduler(data)


def test_pure_noise_at_the_last_time_alone_is_no_fault() -> None:
    levels = [read_scheduler({"trained_betas": [0.1, 0.2, 0.3, 1.0]}).schedule.at(t) for t in range(4)]
    assert [level.alpha for level in levels][-1] == 0 and all(a.nsr < b.nsr for a, b in itertools.pairwise(levels))


def test_every_name_of_a_prediction_is_understood() -> None:
    names = {"eps": "eps", "epsilon": "eps", "v": "v", "v_prediction": "v", "x0": "x0", "sample": "x0"}
    assert {name: read_prediction(name) for name in names} == names


def test_a_folder_without_a_scheduler_is_given_stable_diffusions_and_says_so(written: Any, tmp_path: Any) -> None:
    folder = shutil.copytree(written[1].folder, tmp_path / "x")
    shutil.rmtree(folder / "scheduler")
    parts = load_checkpoint(folder)
    assert parts.schedule is STABLE_DIFFUSION.schedule and any("assumed" in note for note in parts.notes)


def test_a_folders_own_spacing_and_schedule_are_handed_on(written: Any, tmp_path: Any) -> None:
    folder = shutil.copytree(written[1].folder, tmp_path / "x")
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(CONFIGS["cosine"]))
    parts = load_checkpoint(folder)
    assert (parts.schedule.name, parts.prediction, parts.spacing, parts.steps_offset) == ("cosine", "v", "trailing", 0)
