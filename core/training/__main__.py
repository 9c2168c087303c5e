"""`python -m core.training PART`: draw the data, train a part, or everything in order, with progress on the terminal.

On several processors or GPUs: `torchrun --nproc-per-node N -m core.training PART`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from core.errors import UserError
from core.training.data import prepare
from core.training.export import export, restore
from core.training.loop import Team, TrainState
from core.training.parts import CONFIGS, PARTS, Plan, encode_latents, train

ORDER = ("data", "vae", "latents", "clip", "eyes", "unet", "classifier", "export")


def main(arguments: list[str] | None = None) -> int:
    """Run one part or all; returns the exit code, 2 for what the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m core.training", description=__doc__)
    parser.add_argument("part", choices=(*ORDER, "all", "restore"), help="restore: go on from the model that ships in --out")
    parser.add_argument("--plan", default="two_cores", choices=sorted(p.name for p in CONFIGS.iterdir() if p.is_dir()))
    parser.add_argument("--data", type=Path, default=Path(".data"), help="where the art is (made by the part data)")
    parser.add_argument("--work", type=Path, default=Path(".train"), help="where checkpoints go")
    parser.add_argument("--out", type=Path, default=Path("assets/emoji-128"), help="the model that export writes")
    parser.add_argument("--minutes", type=float, help="stop a part after so many minutes; the same command goes on")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    if options.device == "cpu":
        torch.set_flush_denormal(True)
    elif "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    plan = Plan(options.plan, options.data / "emoji-128", options.work, torch.device(options.device))
    try:
        for part in ORDER if options.part == "all" else [options.part]:
            run_part(part, plan, options)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped; the same command goes on from here.\n")
        return 130
    return 0


def run_part(part: str, plan: Plan, options: Any) -> None:
    """Run one part of ORDER to its end, showing how far it is; what is not a training, one process does for all."""
    team = Team.here()
    if part not in PARTS and not team.leads:
        return team.wait()
    steps: Iterable[Any] = {
        "data": lambda: prepare(options.data),
        "latents": lambda: encode_latents(plan),
        "export": lambda: export(plan, options.out),
        "restore": lambda: restore(plan, options.out),
    }.get(part, lambda: train(part, plan, options.minutes))()
    shown = 0.0
    for state in steps:
        if team.leads and time.monotonic() - shown > 10:
            shown = time.monotonic()
            sys.stderr.write(line(state) + "\n")
    team.wait()


def line(state: Any) -> str:
    """A training's or a preparation's state in one line."""
    if not isinstance(state, TrainState):
        return f"{state.stage} {state.done}/{state.total}"
    terms = "  ".join(f"{k} {v:.4g}" for k, v in state.terms.items())
    left = state.seconds / state.step * (state.steps - state.step) / 60
    return f"{state.part} {state.step}/{state.steps}  loss {state.loss:.4f}  {terms}  about {left:.0f} min left"


if __name__ == "__main__":
    raise SystemExit(main())
