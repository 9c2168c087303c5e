"""A small U-Net on a handful of training pictures, learnt live, with and without dropped captions.

    v_theta(x_t, t, c) is trained as the embedded model is; a share p of the captions is replaced by the empty one        (1)
    loss = E ‖eps − eps_theta(x_t, t, c)‖²/D ≥ E ‖eps − eps*(x_t, c)‖²/D      eps* that of the perfect denoiser           (2)
    lost = E ‖eps_theta(x_t, t, ∅) − eps*(x_t)‖²/D        how far the empty prompt is from all pictures together          (3)

A caption is a name, told to the network as one token: a unit vector a name, and one for the empty prompt, which a network that
always heard a name (p = 0) has never met. Guidance subtracts what it says there. Latents are folded, 2×2 cells into one of four
times the channels: distances and noise stay what they are, and a step costs a quarter.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.assumptions.line import over_runs
from core.clock import Clock
from core.errors import UserError
from core.extras import TrainingSet
from core.guidance import classifier_free
from core.latents import distances
from core.metrics import Interval, binomial
from core.nets.configs import UNetConfig
from core.nets.unet import UNet
from core.noise import Noise
from core.prediction import Cond, Denoiser, NetworkModel
from core.sampling import sample
from core.schedules import Schedule, make_path
from core.toy import FiniteData
from core.training.denoising import Latents, draw_noised
from core.training.loop import WHOLE, RunConfig, Trainer

LEAST, MOST_NAMES, MOST = 2, 4, 16  # names at least and at most, pictures at most
DROPS = (0.05, 0.5)  # the shares p that may be asked for; the other network always has p = 0
FOLD = 2  # cells a side that are folded into one
BATCH, RATE, AVERAGE = 14, 4e-3, 0.98
LEARNING, SECONDS = 75.0, 90.0  # of training, and of everything, guidance on both networks too, at most
TIMES = (100, 300, 500, 700)  # of a thousand, at which (2) and (3) are measured
EACH = 8  # pictures at each of them
MOVES = 14  # steps of DDIM of a sample


@dataclass(frozen=True, eq=False)
class Few:
    """Some training pictures: folded latents [N, 4C, h/2, w/2], the place of each one's name, the names, its row among all."""

    latents: Tensor
    labels: Tensor
    names: tuple[str, ...]
    rows: tuple[int, ...]

    @classmethod
    def of(cls, training: TrainingSet, text: str) -> Few:
        """The pictures with these names, written with commas. Raises UserError for a name that no picture bears."""
        names = tuple(dict.fromkeys(" ".join(part.lower().split()) for part in text.split(",") if part.strip()))
        if not LEAST <= len(names) <= MOST_NAMES:
            raise UserError(f"{len(names)} names are given; write {LEAST} to {MOST_NAMES} with commas, as “red apple, rocket”.")
        found = [[row for row, one in enumerate(training.origins) if one.label.lower() == name] for name in names]
        for name, rows in zip(names, found, strict=True):
            if not rows:
                raise UserError(f"No training picture is called “{name[:60]}”; take a name of the vocabulary, as “red apple”.")
        found = [rows[: MOST // len(names)] for rows in found]
        rows = [row for part in found for row in part]
        labels = torch.tensor([place for place, part in enumerate(found) for _ in part])
        return cls(F.pixel_unshuffle(training.latents[rows].float(), FOLD), labels, names, tuple(rows))

    @property
    def empty(self) -> int:
        """The place of the empty prompt."""
        return len(self.names)

    def told(self, labels: Tensor) -> Cond:
        """One token a picture: [B] -> [B, 1, D], of unit variance."""
        tokens = F.one_hot(labels, len(self.names) + 1).float() * (len(self.names) + 1) ** 0.5
        return Cond(tokens[:, None])

    @cached_property
    def perfect(self) -> FiniteData:
        """The perfect denoiser of these pictures."""
        return FiniteData.of(self.latents, self.labels)

    def unfolded(self, z: Tensor) -> Tensor:
        """Latents as the VAE has them: [B, 4C, h/2, w/2] -> [B, C, h, w]."""
        return F.pixel_shuffle(z, FOLD)

    def nearest(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The picture next to each of z [B, C, h, w], and its root mean square distance."""
        least = distances(z, self.latents).min(1)
        return least.indices, least.values


class Task:
    """Denoise a few pictures under their names: the training loop's task."""

    part = "few pictures"

    def __init__(self, few: Few, schedule: Schedule, drop: float, run: RunConfig) -> None:
        self.few, self.schedule, self.drop, self.run = few, schedule, drop, run
        c, side = few.latents.shape[1], few.latents.shape[-1]
        config = UNetConfig(
            channels=(32, 64), attends=(False, True), heads=(4, 4), layers=1, context_dim=len(few.names) + 1,
            in_channels=c, out_channels=c, groups=8, sample_size=side,
        )  # fmt: skip
        self.network = UNet(config)
        self.latents = Latents(few.latents, few.labels.numpy(), np.zeros(0))

    def loss(
        self, rng: np.random.Generator, generator: torch.Generator, share: slice = WHOLE
    ) -> tuple[Tensor, dict[str, float]]:
        drawn = draw_noised(self.latents, self.schedule, self.run.batch, rng, generator)
        labels = torch.from_numpy(np.where(rng.random(self.run.batch) < self.drop, self.few.empty, self.latents.row[drawn.rows]))
        drawn, labels = drawn[share], labels[share]
        return (self.network(drawn.x, drawn.t, self.few.told(labels).context) - drawn.v).square().mean(), {}


class Marks(NamedTuple):
    """Equations (2) and (3) of one network, over pictures."""

    loss: Interval
    lost: Interval


class Learnt(NamedTuple):
    """Where the networks stand after so many steps, p = 0 first; `least` is (2) of the perfect denoiser."""

    step: int
    marks: tuple[Marks, ...]
    least: Interval
    models: tuple[NetworkModel, ...]


def learnt(
    few: Few, schedule: Schedule, steps: int, drop: float, clock: Clock, every: int = 25, seed: int = 0
) -> Iterator[Learnt | None]:
    """Train networks with p = 0 and p = drop from the same weights on the same pictures and noise; None after each step that is
    not measured. Ends when the clock is over.
    """
    run = RunConfig(steps, BATCH, RATE, warmup=20, cooldown=steps // 3, ema=AVERAGE, seed=seed)
    trainers, exam = [], Exam.of(few, schedule, seed)
    for p in (0.0, drop):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed CUDA too
            trainers.append(Trainer(Task(few, schedule, p, run), None, torch.device("cpu")))
    shown = [copy.deepcopy(trainer.network).eval().requires_grad_(False) for trainer in trainers]
    models = tuple(NetworkModel(network, schedule, "v") for network in shown)
    for step in range(1, steps + 1):
        with clock:
            for trainer in trainers:
                trainer.advance()
        if step % every and step not in (3, 10, steps) and not clock.over:
            yield None
            continue
        with clock:
            for network, trainer in zip(shown, trainers, strict=True):
                network.load_state_dict(trainer.average)
            marks = tuple(exam.marks(few, model) for model in models)
        yield Learnt(step, marks, exam.least, models)
        if clock.over:
            return


@dataclass(frozen=True, eq=False)
class Exam:
    """Noisy pictures at TIMES, EACH at every one of them, with what the perfect denoiser says with and without their names."""

    labels: Tensor  # [EACH], the same at every time
    levels: tuple[tuple[float, Tensor, Tensor, Tensor, Tensor], ...]  # t, x, eps, exact with names, exact without
    least: Interval

    @classmethod
    def of(cls, few: Few, schedule: Schedule, seed: int = 0) -> Exam:
        """The pictures are spread evenly over the names."""
        which = torch.linspace(0, len(few.latents) - 1, EACH).round().long()
        labels, x0, found, losses = few.labels[which], few.latents[which], [], []
        for place in TIMES:
            at = schedule.at(place * (len(schedule) - 1) / 1000)
            eps = Noise(range(seed + place, seed + place + EACH), tuple(x0.shape[1:]))(0)
            x = at.alpha * x0 + at.sigma * eps
            named = torch.cat([few.perfect(x[i : i + 1], at, (int(label),))[0].eps for i, label in enumerate(labels)])
            found.append((at.t, x, eps, named, few.perfect(x, at, (None,))[0].eps))
            losses.append(apart(named, eps))
        return cls(labels, tuple(found), over_runs(np.mean(losses, 0)))

    @torch.no_grad()
    def marks(self, few: Few, model: NetworkModel) -> Marks:
        """Equations (2) and (3)."""
        conds = (few.told(self.labels), few.told(torch.full_like(self.labels, few.empty)))
        losses, losts = [], []
        for t, x, eps, _, without in self.levels:
            named, empty = model(x, model.schedule.at(t), conds)
            losses.append(apart(named.eps, eps))
            losts.append(apart(empty.eps, without))
        return Marks(over_runs(np.mean(losses, 0)), over_runs(np.mean(losts, 0)))


def apart(a: Tensor, b: Tensor) -> np.ndarray:
    """Mean square difference of each row."""
    return np.asarray((a - b).square().flatten(1).mean(1).double().numpy())


class Made(NamedTuple):
    """Samples [B, C, h, w], and for each: the name asked for, the picture nearest to it, and how far that is."""

    z: Tensor
    asked: Tensor
    nearest: Tensor
    distance: Tensor

    def right(self, few: Few) -> Interval:
        """The share whose nearest picture bears the name that was asked for."""
        return binomial(int((few.labels[self.nearest] == self.asked).sum()), len(self.asked))

    def far(self, few: Few) -> Interval:
        """The mean distance from the nearest picture, over the seeds."""
        return over_runs(self.distance.double().reshape(-1, len(few.names)).mean(1).numpy())


def made(few: Few, model: NetworkModel, gamma: float, seeds: Sequence[int]) -> Made:
    """A picture of every name from each seed, by DDIM under guidance; gamma −1 hears the empty prompt alone."""
    asked = torch.arange(len(few.names)).repeat(len(seeds))
    noise = Noise([seed for seed in seeds for _ in few.names], tuple(few.latents.shape[1:]))
    denoise: Denoiser = classifier_free(model, few.told(asked), few.told(torch.full_like(asked, few.empty)), gamma)
    *_, last = sample(denoise, make_path(model.schedule, "trailing", MOVES), "ddim", noise)
    return Made(last.x_next, asked, *few.nearest(last.x_next))
