"""Training of the U-Net: predict v on latents noised to a random t, with captions dropped for guidance.

    x_t = alpha·x0 + sigma·eps,   v = alpha·eps − sigma·x0,   loss = E ‖v_theta(x_t, t, c) − v‖²        (2202.00512, 2112.10752)

A share `drop` of the captions is replaced by the empty one, so that one network learns both eps(x, c) and eps(x, ∅)
(2207.12598). The text encoder is frozen.

    ‖v_theta − v‖² = (SNR + 1)·‖x0_theta − x0‖²,   p(t) ∝ (min(SNR, cap) + 1) / (SNR + 1)

Drawn from p(t) the loss weighs the error of x0 by min(SNR, cap) + 1 (min-SNR, 2303.09556): where a latent is nearly clean
already, no caption helps and little is left to learn. Without a cap t is uniform.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError
from core.nets.clip import TextEncoder
from core.nets.configs import UNetConfig
from core.nets.unet import UNet
from core.schedules import Schedule
from core.training.captions import CaptionTable
from core.training.loop import WHOLE, RunConfig


@dataclass(frozen=True)
class Latents:
    """Encoded art in memory: values float16 [N, C, h, w], the row of the base list and the colour behind it (−1: white)."""

    values: Tensor
    row: np.ndarray
    colour: np.ndarray


@dataclass(frozen=True)
class Noised:
    """A batch of noised latents: which of the latents, their times, what the network sees, and the v it should answer."""

    rows: np.ndarray
    t: Tensor
    x: Tensor
    v: Tensor

    def __getitem__(self, share: slice) -> Noised:
        return Noised(self.rows[share], self.t[share], self.x[share], self.v[share])


def draw_noised(
    latents: Latents, schedule: Schedule, batch: int, rng: np.random.Generator, generator: torch.Generator,
    snr_cap: float = math.inf,
) -> Noised:  # fmt: skip
    """Draw latents at random and noise each to a t of its own, from p(t).

    Batch row i takes t from the i-th of `batch` equally probable parts of the range: p(t) over all, with less variance.
    """
    device = generator.device
    rows = rng.integers(len(latents.values), size=batch)
    x0 = latents.values[torch.from_numpy(rows)].to(device, torch.float32, memory_format=torch.channels_last)
    t = times(schedule.alpha_bar, (np.arange(batch) + rng.random(batch)) / batch, snr_cap)
    eps = torch.randn(x0.shape, generator=generator, device=device)
    alpha_bar = torch.from_numpy(schedule.alpha_bar[t])[:, None, None, None]
    alpha, sigma = alpha_bar.sqrt().float().to(device), (1 - alpha_bar).sqrt().float().to(device)
    return Noised(rows, torch.from_numpy(t).to(device), alpha * x0 + sigma * eps, alpha * eps - sigma * x0)


def times(alpha_bar: np.ndarray, shares: np.ndarray, snr_cap: float) -> np.ndarray:
    """Give the t below which these shares, 0 ≤ share < 1, of p(t) lie: int64."""
    snr = alpha_bar / (1 - alpha_bar)
    below = np.cumsum((np.minimum(snr, snr_cap) + 1) / (snr + 1))
    return np.searchsorted(below, shares * below[-1], side="right")


class States:
    """The frozen text encoder's states of texts, float16 [B, L, D]: the first `most` texts drawn are remembered."""

    def __init__(self, text: TextEncoder, tokens: Tensor, most: int = 100_000) -> None:
        self.text, self.tokens = text.eval().requires_grad_(False), tokens
        self.place = torch.full((len(tokens),), -1)  # of each text among the remembered ones
        self.known = 0
        # Only what is written takes memory.
        self.values = torch.empty(min(most, len(tokens)), tokens.shape[1], text.config.width, dtype=torch.float16)

    @torch.no_grad()
    def __call__(self, texts: Tensor) -> Tensor:
        every, back = texts.unique(return_inverse=True)
        out = torch.empty(len(every), *self.values.shape[1:], dtype=torch.float16)
        new = self.place[every] < 0
        out[~new] = self.values[self.place[every[~new]]]
        if new.any():
            ids = self.tokens[every[new]].long().to(next(self.text.parameters()).device)
            out[new] = self.text(ids).states.cpu().half()
            kept = min(int(new.sum()), len(self.values) - self.known)
            here = slice(self.known, self.known + kept)
            self.values[here] = out[new][:kept]
            self.place[every[new][:kept]] = torch.arange(here.start, here.stop)
            self.known += kept
        return out[back]


class UNetTask:
    """Denoise latents under their captions."""

    part = "unet"

    def __init__(
        self,
        config: UNetConfig,
        run: RunConfig,
        schedule: Schedule,
        latents: Latents,
        captions: CaptionTable,
        text: TextEncoder,
        drop: float = 0.1,
        snr_cap: float = math.inf,
    ) -> None:
        self.run, self.schedule, self.latents, self.captions = run, schedule, latents, captions
        self.drop, self.snr_cap = drop, snr_cap
        self.network = UNet(config)
        if captions.tokens is None:
            raise UserError("This table of captions has no tokens: call tokenised(tokenizer.encode) on it first.")
        self.states = States(text, captions.tokens)

    def loss(
        self, rng: np.random.Generator, generator: torch.Generator, share: slice = WHOLE
    ) -> tuple[Tensor, dict[str, float]]:
        whole = draw_noised(self.latents, self.schedule, self.run.batch, rng, generator, self.snr_cap)
        said = self.captions.draw(self.latents.row[whole.rows], self.latents.colour[whole.rows], rng, self.drop)[share]
        drawn = whole[share]
        context = self.states(torch.from_numpy(said)).to(generator.device, torch.float32)
        error = (self.network(drawn.x, drawn.t, context).float() - drawn.v).square().flatten(1).mean(1)
        thirds = [part.mean().item() for part in error.detach().tensor_split(3)]
        return error.mean(), dict(zip(("clean", "middle", "noisy"), thirds, strict=True))
