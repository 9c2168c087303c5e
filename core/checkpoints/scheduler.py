"""How a checkpoint was trained: its noise schedule, what its network predicts, and the spacing its authors sample with.

A folder says so in scheduler/scheduler_config.json (diffusers' keys). A single file may say what it predicts in its
metadata, or in a .yaml or .json of the same name beside it (`parameterization: "v"`); the rest is Stable Diffusion's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.checkpoints.read import show
from core.errors import UserError
from core.files import read_text
from core.schedules import Schedule, make, zero_terminal_snr

PREDICTS = {
    "eps": "eps", "epsilon": "eps", "v": "v", "v_prediction": "v", "x0": "x0", "sample": "x0",
}  # fmt: skip
KINDS = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine", "sigmoid": "sigmoid"}
# Classes of diffusers whose timestep_spacing is linspace where the config does not say; the others' is leading.
LINSPACE = {
    "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler",
    "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler",
    "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler",
}  # fmt: skip
MOST_STEPS = 10_000
SILENT = (
    "The scheduler's config lets the picture vanish before the last time, or lets no noise in at some time, so that levels cannot "
    "be told apart: correct its beta_start, beta_end or trained_betas."
)
_SAYS = re.compile(r"""["']?(?:parameterization|prediction_type)["']?\s*:\s*["']?(\w+)""")


@dataclass(frozen=True)
class Training:
    """What a pipeline must know of how its U-Net was trained."""

    schedule: Schedule
    prediction: str
    spacing: str = "leading"
    steps_offset: int = 1
    notes: tuple[str, ...] = ()

    def predicting(self, prediction: str) -> Training:
        """The same with another prediction; what was noted about the old one is dropped."""
        return replace(self, prediction=prediction, notes=tuple(note for note in self.notes if "predicts" not in note))


def read_prediction(said: str) -> str:
    """One of "eps", "v" and "x0" from the many names for them."""
    if str(said) not in PREDICTS:
        raise UserError(f"A network predicts eps, v or x0, not {show(str(said))}: correct the scheduler's config or --prediction.")
    return PREDICTS[str(said)]


def read_scheduler(data: Mapping[str, Any]) -> Training:
    """Schedule, prediction and spacing from a scheduler_config.json; a UserError names the key that cannot be used."""
    notes = []
    if "prediction_type" not in data:
        notes.append("The scheduler's config does not say what the network predicts: eps is assumed.")
    spacing = data.get("timestep_spacing", "linspace" if str(data.get("_class_name")) in LINSPACE else "leading")
    if spacing not in ("leading", "trailing", "linspace"):
        raise _bad("timestep_spacing", spacing, "leading, trailing or linspace")
    offset = data.get("steps_offset", 0)
    if type(offset) is not int or not 0 <= offset <= 10:
        raise _bad("steps_offset", offset, "a whole number from 0 to 10")
    with np.errstate(divide="ignore", invalid="ignore"):
        schedule = _schedule(data)
        if not (np.isfinite(schedule.log_nsr).all() and (np.diff(schedule.log_nsr) > 0).all()):
            raise UserError(SILENT)
    prediction = read_prediction(data.get("prediction_type", "eps"))
    if data.get("use_karras_sigmas"):
        notes.append("The model's scheduler asks for Karras' spacing: choose it where pictures should match.")
    return Training(schedule, prediction, spacing, offset, tuple(notes))


def prediction_beside(path: Path, metadata: Mapping[str, str]) -> str | None:
    """What a single file's metadata or the .yaml or .json of its name says that the network predicts, if anything."""
    said = metadata.get("modelspec.prediction_type")
    if said in PREDICTS:
        return PREDICTS[said]
    for ending in (".yaml", ".yml", ".json"):
        beside = path.with_suffix(ending)
        if beside.is_file() and (match := _SAYS.search(read_text(beside))):
            return read_prediction(match[1])
    return None


def _schedule(data: Mapping[str, Any]) -> Schedule:
    trained = data.get("trained_betas")
    if trained is not None:
        return _trained(trained, bool(data.get("rescale_betas_zero_snr")))
    kind = str(data.get("beta_schedule", "linear"))
    if kind not in KINDS:
        raise _bad("beta_schedule", kind, ", ".join(KINDS))
    steps = data.get("num_train_timesteps", 1000)
    if type(steps) is not int or not 2 <= steps <= MOST_STEPS:
        raise _bad("num_train_timesteps", steps, f"a whole number from 2 to {MOST_STEPS:,}")
    low, high = data.get("beta_start", 0.0001), data.get("beta_end", 0.02)
    if not all(type(beta) in (int, float) and math.isfinite(beta) for beta in (low, high)) or not 0 < low <= high < 1:
        raise _bad("beta_start, beta_end", (low, high), "two numbers with 0 < beta_start <= beta_end < 1")
    schedule = make(KINDS[kind], steps, low, high)
    return zero_terminal_snr(schedule) if data.get("rescale_betas_zero_snr") else schedule


def _trained(betas: Any, rescale: bool) -> Schedule:
    ok = isinstance(betas, list) and 2 <= len(betas) <= MOST_STEPS and all(type(b) in (int, float) and 0 < b <= 1 for b in betas)
    if not ok:
        raise _bad("trained_betas", betas, f"a list of 2 to {MOST_STEPS:,} numbers above 0 and up to 1")
    schedule = Schedule("trained", np.asarray(betas, dtype=np.float64))
    return zero_terminal_snr(schedule) if rescale else schedule


def _bad(key: str, value: Any, allowed: str) -> UserError:
    return UserError(f"The scheduler's config says {key} = {show(str(value))}; allowed: {allowed}.")


STABLE_DIFFUSION = Training(make("scaled_linear", 1000, 0.00085, 0.012), "eps")
