"""A classifier of noisy latents, p(y | x_t, t), for classifier guidance (2105.05233 §4).

The encoder half of a U-Net without attention, pooled over the map, with one linear head for the coarse and one for the
fine label set.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nets.configs import ClassifierConfig
from core.nets.layers import Downsample, ResnetBlock, TimeEmbedding, time_embedding


class Logits(NamedTuple):
    """Unnormalised log-probabilities of both label sets: [B, classes] and [B, subclasses]."""

    coarse: Tensor
    fine: Tensor


class NoisyClassifier(nn.Module):
    """forward: x [B, C, H, W] noisy latents, t [B] -> Logits."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        width, temb = config.channels[0], 4 * config.channels[0]
        self.conv_in = nn.Conv2d(config.in_channels, width, 3, padding=1)
        self.time_embedding = TimeEmbedding(width, temb)
        self.resnets = nn.ModuleList()
        self.downsamplers = nn.ModuleList()
        for level, out in enumerate(config.channels):
            for _ in range(config.layers):
                self.resnets.append(ResnetBlock(width, out, config.groups, config.eps, temb))
                width = out
            if level < len(config.channels) - 1:
                self.downsamplers.append(Downsample(out))
        self.norm_out = nn.GroupNorm(config.groups, width, config.eps)
        self.coarse = nn.Linear(width, len(config.classes))
        self.fine = nn.Linear(width, len(config.subclasses))

    def forward(self, x: Tensor, t: Tensor | float) -> Logits:
        t = torch.as_tensor(t, dtype=torch.float32, device=x.device).expand(x.shape[0])
        temb = self.time_embedding(time_embedding(t, self.config.channels[0]).to(x.dtype))
        h = self.conv_in(x)
        for level in range(len(self.config.channels)):
            for i in range(self.config.layers):
                h = self.resnets[level * self.config.layers + i](h, temb)
            if level < len(self.downsamplers):
                h = self.downsamplers[level](h)
        h = F.silu(self.norm_out(h)).mean(dim=(2, 3))  # B width
        return Logits(self.coarse(h), self.fine(h))
