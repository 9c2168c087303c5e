"""The parts that U-Net, VAE and classifier share: residual blocks, resampling, the embedding of t.

    (1)  ResnetBlock: h = conv2(SiLU(norm2(conv1(SiLU(norm1(x))) + W·SiLU(temb))));  out = shortcut(x) + h
    (2)  time_embedding: PE(t) = [cos(t·f_0), …, cos(t·f_{d/2-1}), sin(t·f_0), …],  f_i = 10000^{-2i/d}

Parameter names are those of the diffusers layout, so that checkpoints load by identity.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def time_embedding(t: Tensor, dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Sinusoidal embedding of the time t [B] -> [B, dim], cosines first as Stable Diffusion has them.

    PE(t) = [cos(t·f), sin(t·f)] with f_i = 10000^(-2i/dim). Source: 1706.03762 §3.5, which interleaves sines and cosines.
    Networks are trained with angles in float32, which are up to 999·2⁻²⁴ off; for the formula itself ask for float64.
    """
    half = dim // 2
    freqs = torch.exp(torch.arange(half, dtype=dtype, device=t.device) * (-math.log(10000) / half))
    angles = t.to(dtype)[:, None] * freqs[None]  # [B, dim/2]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)  # [B, dim]


def like_rows(x: Tensor, rows: int) -> Tensor:
    """Repeat the batch of x until it has the given rows: one shared computation meets several conditions.

    x [B, …] -> [G·B, …], conditions outermost, as `context [G, B, L, D]` is flattened.
    """
    return x if x.shape[0] == rows else x.repeat(rows // x.shape[0], *[1] * (x.ndim - 1))


class TimeEmbedding(nn.Module):
    """The two-layer perceptron behind the sinusoids: [B, dim] -> [B, out]."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(dim, out)
        self.linear_2 = nn.Linear(out, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class ResnetBlock(nn.Module):
    """Equation (1): two normalised 3×3 convolutions around a shortcut; without `temb_dim` it ignores t (VAE)."""

    def __init__(self, cin: int, cout: int, groups: int, eps: float, temb_dim: int | None = None) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, cin, eps)
        self.conv1 = nn.Conv2d(cin, cout, 3, padding=1)
        if temb_dim is not None:
            self.time_emb_proj = nn.Linear(temb_dim, cout)
        self.norm2 = nn.GroupNorm(groups, cout, eps)
        self.conv2 = nn.Conv2d(cout, cout, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(cin, cout, 1) if cin != cout else None

    def forward(self, x: Tensor, temb: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if temb is not None:
            h = h + like_rows(self.time_emb_proj(F.silu(temb)), h.shape[0])[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Downsample(nn.Module):
    """Halve the sides by a strided convolution; `one_sided` pads right and below only, as the VAE does."""

    def __init__(self, channels: int, one_sided: bool = False) -> None:
        super().__init__()
        self.one_sided = one_sided
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=0 if one_sided else 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.one_sided else x)


class Upsample(nn.Module):
    """Nearest neighbour, then a convolution; `size` wins over doubling where a side was odd."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        return self.conv(F.interpolate(x, size=size or (2 * x.shape[-2], 2 * x.shape[-1]), mode="nearest"))
