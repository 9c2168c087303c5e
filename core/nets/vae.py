"""The variational autoencoder between pictures and latents (2112.10752 §3.1; 1312.6114).

    (1)  q(z | x) = N(mean, exp(logvar));  mean, logvar = quant_conv(Encoder(x))
    (2)  x ≈ Decoder(post_quant_conv(z))

Pictures are [B, 3, H, W] in [−1, 1]; latents [B, 4, H/f, W/f] with f = 2^(levels − 1). Scaling by `scaling_factor` is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nets.attention import MapAttention
from core.nets.configs import VAEConfig
from core.nets.layers import Downsample, ResnetBlock, Upsample

EPS = 1e-6  # of every norm in the autoencoder
TILED_ABOVE, TILE = 96 * 96, 64  # latent cells: of a picture above which it is decoded in tiles, and of a side of one


@dataclass(frozen=True)
class Posterior:
    """The Gaussian of equation (1), by its mean and log-variance [B, C, h, w]."""

    mean: Tensor
    logvar: Tensor

    @property
    def std(self) -> Tensor:
        return (0.5 * self.logvar).exp()

    def kl(self) -> Tensor:
        """KL(q ‖ N(0, 1)) = ½ Σ (mean² + var − 1 − logvar), in nats, one value a picture [B]."""
        return 0.5 * (self.mean**2 + self.logvar.exp() - 1 - self.logvar).flatten(1).sum(1)


class Stage(nn.Module):
    """Residual blocks of one resolution."""

    def __init__(self, cin: int, cout: int, layers: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock(cin if i == 0 else cout, cout, groups, EPS) for i in range(layers)])

    def forward(self, x: Tensor) -> Tensor:
        for resnet in self.resnets:
            x = resnet(x)
        return x


class EncoderStage(Stage):
    def __init__(self, cin: int, cout: int, layers: int, groups: int, last: bool) -> None:
        super().__init__(cin, cout, layers, groups)
        self.downsamplers = None if last else nn.ModuleList([Downsample(cout, one_sided=True)])

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x if self.downsamplers is None else self.downsamplers[0](x)


class DecoderStage(Stage):
    def __init__(self, cin: int, cout: int, layers: int, groups: int, last: bool) -> None:
        super().__init__(cin, cout, layers, groups)
        self.upsamplers = None if last else nn.ModuleList([Upsample(cout)])

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x if self.upsamplers is None else self.upsamplers[0](x)


class Middle(nn.Module):
    """Two residual blocks, with attention over the whole map between them unless the config leaves it out."""

    def __init__(self, channels: int, groups: int, attention: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock(channels, channels, groups, EPS) for _ in range(2)])
        self.attentions = nn.ModuleList([MapAttention(channels, groups, EPS)] if attention else [])

    def forward(self, x: Tensor) -> Tensor:
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        return self.resnets[1](x)


class Encoder(nn.Module):
    """Pictures to the two halves of equation (1)."""

    def __init__(self, cfg: VAEConfig) -> None:
        super().__init__()
        widths = [cfg.channels[0], *cfg.channels]
        last = len(cfg.channels) - 1
        self.conv_in = nn.Conv2d(cfg.image_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            [EncoderStage(widths[i], widths[i + 1], cfg.layers, cfg.groups, i == last) for i in range(last + 1)]
        )
        self.mid_block = Middle(widths[-1], cfg.groups, cfg.mid_attention)
        self.conv_norm_out = nn.GroupNorm(cfg.groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], 2 * cfg.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    """Latents back to pictures."""

    def __init__(self, cfg: VAEConfig) -> None:
        super().__init__()
        widths = [cfg.channels[-1], *reversed(cfg.channels)]
        last = len(cfg.channels) - 1
        self.conv_in = nn.Conv2d(cfg.latent_channels, widths[0], 3, padding=1)
        self.mid_block = Middle(widths[0], cfg.groups, cfg.mid_attention)
        self.up_blocks = nn.ModuleList(
            [DecoderStage(widths[i], widths[i + 1], cfg.layers + 1, cfg.groups, i == last) for i in range(last + 1)]
        )
        self.conv_norm_out = nn.GroupNorm(cfg.groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], cfg.image_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        z = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            z = level(z)
        return self.conv_out(F.silu(self.conv_norm_out(z)))


class AutoencoderKL(nn.Module):
    """Encoder and decoder with the two 1×1 convolutions between them."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.latent_channels
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.post_quant_conv = nn.Conv2d(channels, channels, 1)

    @property
    def factor(self) -> int:
        """Pixels a latent cell spans on each side."""
        return 2 ** (len(self.config.channels) - 1)

    def encode(self, x: Tensor) -> Posterior:
        """Pictures [B, 3, H, W] in [−1, 1] to the posterior over unscaled latents [B, 4, H/f, W/f]."""
        mean, logvar = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(-30, 20))

    def decode(self, z: Tensor) -> Tensor:
        """Unscaled latents [B, 4, h, w] to pictures [B, 3, f·h, f·w], nominally in [−1, 1]."""
        return self.decoder(self.post_quant_conv(z))

    def decode_tiled(self, z: Tensor, tile: int = TILE, overlap: int = 16) -> Tensor:
        """Decode a large latent in overlapping tiles blended linearly, so that memory stays that of one tile."""
        rows, columns = (_starts(side, tile, overlap) for side in z.shape[-2:])
        f = self.factor
        total = z.new_zeros(z.shape[0], self.config.image_channels, z.shape[-2] * f, z.shape[-1] * f)
        weight = z.new_zeros(1, 1, *total.shape[-2:])
        for top in rows:
            for left in columns:
                picture = self.decode(z[..., top : top + tile, left : left + tile])
                h, w = picture.shape[-2:]
                ramp = _ramp(h, overlap * f, z)[:, None] * _ramp(w, overlap * f, z)[None]
                here = (..., slice(top * f, top * f + h), slice(left * f, left * f + w))
                total[here] += picture * ramp
                weight[here] += ramp
        return total / weight


def together(cells: int) -> int:
    """How many pictures of so many latent cells are decoded at once: four, or a large one in tiles."""
    return 1 if cells > TILED_ABOVE else 4


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    if side <= tile:
        return [0]
    return [*range(0, side - tile, tile - overlap), side - tile]


def _ramp(n: int, overlap: int, like: Tensor) -> Tensor:
    """A trapezoid that rises over the overlap: the weight of each row or column of a tile."""
    position = torch.arange(n, device=like.device, dtype=like.dtype) + 1
    return torch.minimum(position, position.flip(0)).clamp(max=overlap) / overlap
