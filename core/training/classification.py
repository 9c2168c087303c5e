"""Training of the classifier of noisy latents: which group and subgroup, told t (2105.05233 §4).

    loss = CE(coarse) + CE(fine) on x_t = alpha·x0 + sigma·eps, t uniform
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.nets.classifier import NoisyClassifier
from core.nets.configs import ClassifierConfig
from core.schedules import Schedule
from core.training.denoising import Latents, draw_noised
from core.training.loop import WHOLE, RunConfig


class ClassifierTask:
    """Classify latents at every noise level; `labels` int64 [2, rows]: group and subgroup of each row of the base list."""

    part = "classifier"

    def __init__(
        self, config: ClassifierConfig, run: RunConfig, schedule: Schedule, latents: Latents, labels: Tensor
    ) -> None:
        self.run, self.latents, self.labels, self.schedule = run, latents, labels, schedule
        self.network = NoisyClassifier(config)

    def loss(
        self, rng: np.random.Generator, generator: torch.Generator, share: slice = WHOLE
    ) -> tuple[Tensor, dict[str, float]]:
        drawn = draw_noised(self.latents, self.schedule, self.run.batch, rng, generator)[share]
        coarse, fine = self.labels[:, torch.from_numpy(self.latents.row[drawn.rows])].to(generator.device)
        logits = self.network(drawn.x, drawn.t)
        right = (logits.fine.argmax(1) == fine).float().tensor_split(3)
        terms = {name: part.mean().item() for name, part in zip(("clean", "middle", "noisy"), right, strict=True)}
        return F.cross_entropy(logits.coarse.float(), coarse) + F.cross_entropy(logits.fine.float(), fine), terms
