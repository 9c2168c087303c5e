"""One training loop for every part: a generator of TrainState that resumes after a kill at any moment.

    learning rate   lr · min(1, step/warmup) · min(1, (steps − step)/cooldown)
    EMA             θ̄ ← d·θ̄ + (1 − d)·θ  with d = min(ema, (1 + step)/(10 + step))

What a step sees depends on (seed, step) alone, so a resumed run is the run that was never interrupted. A checkpoint is a
folder renamed into place when it is complete.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


@dataclass(frozen=True)
class RunConfig:
    """How long and how fast one part is trained."""

    steps: int
    batch: int
    lr: float
    warmup: int = 100
    cooldown: int = 0  # the last steps, over which the learning rate falls to zero
    weight_decay: float = 0.01
    beta2: float = 0.99
    clip_norm: float = 1.0
    ema: float = 0.999
    seed: int = 0
    bf16: bool = False  # where the device multiplies it quickly; elsewhere fp32
    compiled: bool = False  # minutes to begin, then a fifth faster on two cores
    save_seconds: float = 120.0

    def lr_at(self, step: int) -> float:
        """The learning rate of the step after `step` completed ones."""
        rise = min(1.0, (step + 1) / max(self.warmup, 1))
        fall = min(1.0, (self.steps - step) / self.cooldown) if self.cooldown else 1.0
        return self.lr * rise * max(fall, 0.0)


@dataclass(frozen=True)
class TrainState:
    """Where a training stands after a step: what the command line and the app show."""

    part: str
    step: int
    steps: int
    loss: float
    seconds: float  # of training so far, earlier sessions counted in
    terms: dict[str, float] = field(default_factory=dict)


def bf16_is_quick(device: torch.device) -> bool:
    """Whether a device has instructions for products of bfloat16; a CPU without them is a hundred times slower at it."""
    if device.type != "cpu":
        return True
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


class Task(Protocol):
    """One part to train: its network and the loss of one step, drawn from the step's own generator."""

    part: str
    run: RunConfig

    @property
    def network(self) -> nn.Module: ...

    def loss(self, rng: np.random.Generator, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]: ...


class Trainer:
    """Network, optimiser and averaged weights of one task, on one device, with checkpoints in a folder."""

    def __init__(self, task: Task, folder: Path, device: torch.device) -> None:
        self.task, self.folder, self.device = task, folder, device
        run = task.run
        self.network = task.network.to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if run.compiled:
            self.network.compile()  # type: ignore[no-untyped-call]
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": run.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=run.lr, betas=(0.9, run.beta2), fused=True)
        self.average = {k: v.detach().clone().float() for k, v in self.network.state_dict().items()}
        self.step, self.seconds = 0, 0.0
        self.curve: list[tuple[int, float]] = []  # (step, mean loss of the last hundred), kept for the model card
        self.resume()

    def advance(self) -> TrainState:
        """One optimiser step."""
        began, run = time.perf_counter(), self.task.run
        for group in self.optimiser.param_groups:
            group["lr"] = run.lr_at(self.step)
        rng = np.random.default_rng((run.seed, self.step))
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**63)))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=run.bf16 and bf16_is_quick(self.device)):
            loss, terms = self.task.loss(rng, generator)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), run.clip_norm)
        self.optimiser.step()
        self.step += 1
        decay = min(run.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            values = [value.float() for value in self.network.state_dict().values()]
            torch._foreach_lerp_(list(self.average.values()), values, 1 - decay)
        self.seconds += time.perf_counter() - began
        return TrainState(self.task.part, self.step, run.steps, loss.item(), self.seconds, terms)

    def save(self) -> None:
        """Write a checkpoint beside the last one, then drop the last one."""
        target = self.folder / f"checkpoint-{self.step:08d}"
        if target.exists():
            return
        names = {id(p): n for n, p in self.network.named_parameters()}
        moments = {
            f"{names[id(p)]}|{k}": v.detach().cpu().reshape(v.shape).contiguous()
            for p, s in self.optimiser.state.items()
            for k, v in s.items()
        }
        network = {k: v.detach().cpu().contiguous() for k, v in self.network.state_dict().items()}
        average = {k: v.cpu().contiguous() for k, v in self.average.items()}
        state = {"step": self.step, "seconds": self.seconds, "run": asdict(self.task.run), "curve": self.curve}
        write_checkpoint(target, network, average, moments, state)

    def resume(self) -> None:
        """Take up the newest checkpoint, if there is one."""
        found = sorted(self.folder.glob("checkpoint-*"))
        if not found:
            return
        self.network.load_state_dict(load_file(found[-1] / "network.safetensors"))
        stored = load_file(found[-1] / "average.safetensors")
        self.average = {k: stored[k].to(self.device) for k in self.average}  # in the network's order
        parameters = dict(self.network.named_parameters())
        for key, value in load_file(found[-1] / "optimiser.safetensors").items():
            name, moment = key.rsplit("|", 1)
            self.optimiser.state[parameters[name]][moment] = value.to(self.device)
        state: dict[str, Any] = json.loads((found[-1] / "state.json").read_text())
        self.step, self.seconds = state["step"], state["seconds"]
        self.curve = [(int(s), float(v)) for s, v in state["curve"]]


def fit(task: Task, folder: Path, device: torch.device, minutes: float | None = None) -> Iterator[TrainState]:
    """Train a task to its last step, or for so many minutes; resumes, saves as it goes and at its end."""
    trainer = Trainer(task, folder, device)
    began = saved = time.perf_counter()
    recent: list[float] = []
    try:
        while trainer.step < task.run.steps:
            state = trainer.advance()
            recent.append(state.loss)
            if state.step % 100 == 0:
                trainer.curve.append((state.step, float(np.mean(recent))))
                recent.clear()
            yield state
            now = time.perf_counter()
            if now - saved > task.run.save_seconds:
                trainer.save()
                saved = now
            if minutes is not None and now - began > 60 * minutes:
                break
    finally:
        trainer.save()


def write_checkpoint(
    target: Path, network: dict[str, Tensor], average: dict[str, Tensor], moments: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Write a checkpoint, complete or not at all, and drop the ones before it."""
    part = target.with_name("part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(network, part / "network.safetensors")
    save_file(average, part / "average.safetensors")
    save_file(moments, part / "optimiser.safetensors")
    (part / "state.json").write_text(json.dumps(state))
    part.rename(target)
    for old in sorted(target.parent.glob("checkpoint-*"))[:-1]:
        shutil.rmtree(old)


def trained_weights(folder: Path) -> dict[str, Tensor]:
    """The averaged weights of the newest checkpoint; raises FileNotFoundError when there is none."""
    found = sorted(folder.glob("checkpoint-*"))
    if not found:
        raise FileNotFoundError(f"No checkpoint in {folder}: train that part first.")
    return load_file(found[-1] / "average.safetensors")
