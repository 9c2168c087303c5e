"""The denoising U-Net with cross-attention: eps_theta(x_t, t, c) of 2112.10752, built from a UNetConfig.

Down: at each level `layers` residual blocks (each followed by a transformer where the level attends), then halve.
Middle: residual block, transformer, residual block. Up: one more block a level, each fed a skip from the way down.
Source of the shape: 1505.04597; of its modern parts: 2105.05233.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nets.attention import SpatialTransformer
from core.nets.configs import UNetConfig
from core.nets.layers import Downsample, ResnetBlock, TimeEmbedding, Upsample, like_rows, time_embedding


class Stage(nn.Module):
    """Residual blocks of one resolution, with transformers where it attends and a resampling at its end."""

    def __init__(self, cfg: UNetConfig, level: int, widths: list[tuple[int, int]]) -> None:
        super().__init__()
        temb = 4 * cfg.channels[0]
        self.resnets = nn.ModuleList([ResnetBlock(i, o, cfg.groups, cfg.eps, temb) for i, o in widths])
        if cfg.attends[level]:
            self.attentions = nn.ModuleList([_transformer(cfg, level) for _ in widths])

    def block(self, i: int, x: Tensor, temb: Tensor, context: Tensor) -> Tensor:
        x = self.resnets[i](x, temb)
        return self.attentions[i](x, context) if hasattr(self, "attentions") else x


class DownStage(Stage):
    """One level of the encoder; hands out every map it makes, for the skips."""

    def __init__(self, cfg: UNetConfig, level: int) -> None:
        cin, cout = cfg.channels[max(level - 1, 0)], cfg.channels[level]
        super().__init__(cfg, level, [(cin if i == 0 else cout, cout) for i in range(cfg.layers)])
        if level < len(cfg.channels) - 1:
            self.downsamplers = nn.ModuleList([Downsample(cout)])

    def forward(self, x: Tensor, temb: Tensor, context: Tensor) -> list[Tensor]:
        maps = []
        for i in range(len(self.resnets)):
            x = self.block(i, x, temb, context)
            maps.append(x)
        if hasattr(self, "downsamplers"):
            maps.append(self.downsamplers[0](x))
        return maps


class UpStage(Stage):
    """One level of the decoder; each block concatenates a skip."""

    def __init__(self, cfg: UNetConfig, level: int) -> None:
        top = len(cfg.channels) - 1
        below = cfg.channels[min(level + 1, top)]
        skips = [cfg.channels[level]] * cfg.layers + [cfg.channels[max(level - 1, 0)]]
        cout = cfg.channels[level]
        super().__init__(cfg, level, [((below if i == 0 else cout) + skip, cout) for i, skip in enumerate(skips)])
        if level > 0:
            self.upsamplers = nn.ModuleList([Upsample(cout)])

    def forward(self, x: Tensor, skips: list[Tensor], temb: Tensor, context: Tensor) -> Tensor:
        for i in range(len(self.resnets)):
            skip = like_rows(skips.pop(), x.shape[0])
            x = self.block(i, torch.cat([x, skip], dim=1), temb, context)
        if hasattr(self, "upsamplers"):
            x = self.upsamplers[0](x, size=tuple(skips[-1].shape[-2:]))
        return x


class Middle(nn.Module):
    """The bottleneck: the only place where every position meets every other at the coarsest level."""

    def __init__(self, cfg: UNetConfig) -> None:
        super().__init__()
        width, temb = cfg.channels[-1], 4 * cfg.channels[0]
        self.resnets = nn.ModuleList([ResnetBlock(width, width, cfg.groups, cfg.eps, temb) for _ in range(2)])
        self.attentions = nn.ModuleList([_transformer(cfg, len(cfg.channels) - 1)])

    def forward(self, x: Tensor, temb: Tensor, context: Tensor) -> Tensor:
        x = self.resnets[0](x, temb)
        return self.resnets[1](self.attentions[0](x, context), temb)


class UNet(nn.Module):
    """Predict the noise (or v, or x0) in x at time t under a text context.

    forward: x [B, C, H, W], t [B] or a number, context [B, L, D] -> [B, C, H, W]. With context [G, B, L, D], G conditions of
    the same x, it answers [G, B, C, H, W] and computes what they share once. H and W are any size of at least 1.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels[0]
        levels = range(len(config.channels))
        self.conv_in = nn.Conv2d(config.in_channels, width, 3, padding=1)
        self.time_embedding = TimeEmbedding(width, 4 * width)
        self.down_blocks = nn.ModuleList([DownStage(config, i) for i in levels])
        self.mid_block = Middle(config)
        self.up_blocks = nn.ModuleList([UpStage(config, i) for i in reversed(levels)])
        self.conv_norm_out = nn.GroupNorm(config.groups, width, config.eps)
        self.conv_out = nn.Conv2d(width, config.out_channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor | float, context: Tensor) -> Tensor:
        conditions = context.shape[0] if context.ndim == 4 else None
        context = context.flatten(0, 1) if conditions else context  # (G B) L D
        t = torch.as_tensor(t, dtype=torch.float32, device=x.device).expand(x.shape[0])
        temb = self.time_embedding(time_embedding(t, self.config.channels[0]).to(x.dtype))
        h = self.conv_in(x)
        skips = [h]
        for down in self.down_blocks:
            skips += down(skips[-1], temb, context)
        h = self.mid_block(skips[-1], temb, context)
        for up in self.up_blocks:
            h = up(h, skips, temb, context)
        out = self.conv_out(F.silu(self.conv_norm_out(h)))
        return out.unflatten(0, (conditions, -1)) if conditions else out


def _transformer(cfg: UNetConfig, level: int) -> SpatialTransformer:
    return SpatialTransformer(
        cfg.channels[level], cfg.heads[level], cfg.context_dim, cfg.groups, cfg.linear_projection
    )
