"""Attention over tokens and the transformer that sits in a feature map.

    (1)  attention(q, k, v) = softmax(q·kᵀ / √d)·v, in heads of d features
    (2)  TransformerBlock: x += self(norm1 x);  x += cross(norm2 x, context);  x += GEGLU(norm3 x)

Everything before the first cross-attention is the same for all conditions of one x, so it is computed once: the rows of
x are repeated for the rows of the context only there (`like_rows`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from core.nets.layers import like_rows

SHORT = 256  # keys


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """Equation (1) for q [B, heads, queries, d] and k, v [B, heads, keys, d]; causal: no query sees the keys behind it.

    While gradients are recorded on a CPU, short rows are computed as it is written: the fused kernel's way back would take a
    fifth of a training step of the embedded model there.
    """
    if q.device.type == "cpu" and torch.is_grad_enabled() and k.shape[-2] <= SHORT:
        logits = q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)
        if causal:
            logits = logits + torch.full_like(logits[0, 0], -torch.inf).triu(1)
        return logits.softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


class Attention(nn.Module):
    """Multi-head attention, equation (1); keys and values come from `context`, or from x itself."""

    def __init__(self, dim: int, heads: int, context_dim: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context_dim or dim, dim, bias=False)
        self.to_v = nn.Linear(context_dim or dim, dim, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b l (h d) -> b h l d", h=self.heads)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        source = x if context is None else context
        q, k, v = self.split(self.to_q(x)), self.split(self.to_k(source)), self.split(self.to_v(source))
        out = attend(q, k, v)  # B heads L d
        return self.to_out[0](rearrange(out, "b h l d -> b l (h d)"))

    def weights(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The softmax of equation (1), [B, heads, queries, keys]; each row sums to one."""
        source = x if context is None else context
        q, k = self.split(self.to_q(x)), self.split(self.to_k(source))
        return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)


class GEGLU(nn.Module):
    """a·GELU(b) with a, b = W·x (2002.05202)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.proj(x).chunk(2, dim=-1)
        return a * F.gelu(b)


class FeedForward(nn.Module):
    """GEGLU and a linear layer; index 1 of `net` is where others keep dropout."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([GEGLU(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net:
            x = layer(x)
        return x


class TransformerBlock(nn.Module):
    """Equation (2)."""

    def __init__(self, dim: int, heads: int, context_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, heads, context_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        x = like_rows(x, context.shape[0])  # from here on each condition has rows of its own
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """A transformer over the H·W positions of a feature map, in and out by `proj_in` and `proj_out`."""

    def __init__(self, channels: int, heads: int, context_dim: int, groups: int, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, heads, context_dim)])
        self.proj_out = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        height = x.shape[-2]
        h = self.norm(x)
        h = rearrange(h if self.linear else self.proj_in(h), "b c h w -> b (h w) c")
        h = self.proj_in(h) if self.linear else h
        for block in self.transformer_blocks:
            h = block(h, context)
        h = self.proj_out(h) if self.linear else h
        h = rearrange(h, "b (h w) c -> b c h w", h=height)
        return like_rows(x, h.shape[0]) + (h if self.linear else self.proj_out(h))


class MapAttention(nn.Module):
    """Single-head self-attention of a VAE's feature map, with its own norm and shortcut."""

    def __init__(self, channels: int, groups: int, eps: float) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, eps)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        h = rearrange(self.group_norm(x), "b c h w -> b 1 (h w) c")
        h = self.to_out[0](F.scaled_dot_product_attention(self.to_q(h), self.to_k(h), self.to_v(h)))
        return x + rearrange(h, "b 1 (h w) c -> b c h w", h=x.shape[-2])
