"""One training loop for every part: a generator of TrainState that resumes after a kill at any moment.

    learning rate   lr · min(1, step/warmup) · min(1, (steps − step)/cooldown)
    EMA             θ̄ ← d·θ̄ + (1 − d)·θ  with d = min(ema, (1 + step)/(10 + step))

What a step sees depends on (seed, step) alone, so a resumed run is the run that was never interrupted. A checkpoint is a
folder renamed into place when it is complete.

Started by torchrun, every process draws the same batch, computes its share of it and averages the gradients with the others:

    g = 1/P · Σ_p ∇loss(rows p, p + P, p + 2P, …)   which is the gradient over the whole batch
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.errors import UserError
from core.training.muon import Muon, takes


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
    muon: bool = False  # the large matrices take Muon's steps, the rest AdamW's
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


WHOLE = slice(None)


class Task(Protocol):
    """One part to train: its network and the loss of one step, drawn from the step's own generator.

    `share` says which rows of the batch to compute: everything else is drawn for the whole batch, so that shares fit together.
    """

    part: str
    run: RunConfig

    @property
    def network(self) -> nn.Module: ...

    def loss(
        self, rng: np.random.Generator, generator: torch.Generator, share: slice = WHOLE
    ) -> tuple[Tensor, dict[str, float]]: ...


@dataclass(frozen=True)
class Team:
    """The processes that torchrun started, seen from one of them; Accelerate connects them. Alone, nothing is imported."""

    rank: int = 0
    size: int = 1
    accelerator: Any = None

    @classmethod
    def here(cls) -> Team:
        """The team of this process."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        from accelerate import Accelerator

        accelerator = Accelerator(cpu=not torch.cuda.is_available())
        return cls(accelerator.process_index, accelerator.num_processes, accelerator)

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """The rows of a batch that this process computes."""
        return slice(self.rank, None, self.size)

    def mean(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The means over the team of tensors that every process has, in one exchange."""
        if self.size == 1:
            return list(values)
        flat = self.accelerator.reduce(torch.cat([value.reshape(-1) for value in values]), reduction="mean")
        return [part.view(value.shape) for part, value in zip(flat.split([v.numel() for v in values]), values, strict=True)]

    def wait(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            self.accelerator.wait_for_everyone()


class Trainer:
    """Network, optimiser and averaged weights of one task, on one device, with checkpoints in a folder, or without any."""

    def __init__(self, task: Task, folder: Path | None, device: torch.device) -> None:
        self.task, self.folder, self.device, self.team = task, folder, device, Team.here()
        run = task.run
        if run.batch % self.team.size:
            raise UserError(f"The batch of {run.batch} does not divide among {self.team.size} processes: start a number that does.")
        self.network = task.network.to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if run.compiled:
            self.network.compile()  # type: ignore[no-untyped-call]
        self.optimisers = optimisers(self.network, run)
        self.average = {k: v.detach().clone().float() for k, v in self.network.state_dict().items()}
        self.step, self.seconds = 0, 0.0
        self.curve: list[tuple[int, float]] = []  # (step, mean loss of the last hundred), kept for the model card
        self.resume()

    def advance(self) -> TrainState:
        """One optimiser step."""
        began, run = time.perf_counter(), self.task.run
        for group in (group for optimiser in self.optimisers for group in optimiser.param_groups):
            group["lr"] = run.lr_at(self.step)
        rng = np.random.default_rng((run.seed, self.step))
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**63)))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=run.bf16 and bf16_is_quick(self.device)):
            loss, terms = self.task.loss(rng, generator, self.team.share)
        self.network.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        loss = self.agree(loss.detach())
        nn.utils.clip_grad_norm_(self.network.parameters(), run.clip_norm)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        decay = min(run.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            values = [value.float() for value in self.network.state_dict().values()]
            torch._foreach_lerp_(list(self.average.values()), values, 1 - decay)
        self.seconds += time.perf_counter() - began
        return TrainState(self.task.part, self.step, run.steps, loss.item(), self.seconds, terms)

    def agree(self, loss: Tensor) -> Tensor:
        """Average gradients and loss over the team, and return that loss."""
        if self.team.size == 1:
            return loss
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        *means, loss = self.team.mean([*gradients, loss.float()])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean)
        return loss

    def moments(self) -> dict[str, dict[str, Tensor]]:
        """What the optimisers remember of each weight, by its name."""
        names = {p.data_ptr(): n for n, p in self.network.named_parameters()}
        return {names[p.data_ptr()]: o.state[p] for o in self.optimisers for group in o.param_groups for p in group["params"]}

    def save(self) -> None:
        """Write a checkpoint beside the last one, then drop the last one; in a team, its first process does."""
        if self.folder is None or not self.team.leads:
            return
        target = self.folder / f"checkpoint-{self.step:08d}"
        if target.exists():
            return
        moments = {
            f"{name}|{k}": v.detach().cpu().reshape(v.shape).contiguous()
            for name, remembered in self.moments().items()
            for k, v in remembered.items()
        }
        network = {k: v.detach().cpu().contiguous() for k, v in self.network.state_dict().items()}
        average = {k: v.cpu().contiguous() for k, v in self.average.items()}
        state = {"step": self.step, "seconds": self.seconds, "run": asdict(self.task.run), "curve": self.curve}
        write_checkpoint(target, network, average, moments, state)

    def resume(self) -> None:
        """Take up the newest checkpoint, if there is one."""
        found = sorted(self.folder.glob("checkpoint-*")) if self.folder else []
        if not found:
            return
        self.network.load_state_dict(load_file(found[-1] / "network.safetensors"))
        stored = load_file(found[-1] / "average.safetensors")
        self.average = {k: stored[k].to(self.device) for k in self.average}  # in the network's order
        moments = self.moments()
        for key, value in load_file(found[-1] / "optimiser.safetensors").items():
            name, moment = key.rsplit("|", 1)
            moments[name][moment] = value.to(self.device)
        state: dict[str, Any] = json.loads((found[-1] / "state.json").read_text())
        self.step, self.seconds = state["step"], state["seconds"]
        self.curve = [(int(s), float(v)) for s, v in state["curve"]]


def optimisers(network: nn.Module, run: RunConfig) -> list[torch.optim.Optimizer]:
    """AdamW, which does not shrink vectors, and Muon where a run asks for it."""
    weights = list(network.parameters())
    matrices = [p for p in weights if run.muon and takes(p)]
    rest = [p for p in weights if not (run.muon and takes(p))]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": run.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=run.lr, betas=(0.9, run.beta2), fused=True)
    return [adamw, Muon(matrices, run.lr, run.weight_decay)] if matrices else [adamw]


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
            over = torch.tensor(float(minutes is not None and now - began > 60 * minutes), device=device)
            if trainer.team.mean([over])[0] > 0:  # together or not at all
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
    shutil.rmtree(target, ignore_errors=True)  # restoring twice gives the same step again
    part.rename(target)
    for old in sorted(target.parent.glob("checkpoint-*"))[:-1]:
        shutil.rmtree(old)


def trained_weights(folder: Path) -> dict[str, Tensor]:
    """The averaged weights of the newest checkpoint; raises FileNotFoundError when there is none."""
    found = sorted(folder.glob("checkpoint-*"))
    if not found:
        raise FileNotFoundError(f"No checkpoint in {folder}: train that part first.")
    return load_file(found[-1] / "average.safetensors")
