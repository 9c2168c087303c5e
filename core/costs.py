"""What a picture of s × s pixels costs, as pixels and as latents.

    (1)  numbers      3·s²  against  4·(s/f)²:  the factor between them is 3·f²/4, 48 for f = 8
    (2)  attention    n tokens look at n tokens: n² weights a head, n = s² over pixels, (s/f)² over latents; so s⁴, and f⁴ between
    (3)  operations   of the same U-Net: a + b·n + c·n²; convolutions and linear layers are in b, attention among tokens in c
    (4)  multiply-adds   convolution: outputs · in · k²;  linear layer: outputs · in;  attention: 2 · queries · keys · features

An operation is a multiplication or an addition, as everyone counts FLOPs. They are counted by running the network on PyTorch's
meta device, where tensors have shapes and no numbers.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from core.nets.attention import Attention
from core.nets.configs import UNetConfig, VAEConfig
from core.nets.unet import UNet
from core.nets.vae import AutoencoderKL

COLOURS = 3
BYTES = 4  # of a number in float32


class Size(NamedTuple):
    """Equations (1) and (2) for one side."""

    side: int
    pixels: int  # numbers of the picture
    latents: int  # numbers of its latents
    pixel_tokens: int
    latent_tokens: int

    @property
    def factor(self) -> float:
        """How many times fewer numbers the latents have."""
        return self.pixels / self.latents

    @property
    def pixel_weights(self) -> int:
        """Bytes of one head's attention weights over pixels."""
        return BYTES * self.pixel_tokens**2

    @property
    def latent_weights(self) -> int:
        """Bytes of one head's attention weights over latents."""
        return BYTES * self.latent_tokens**2


def size(side: int, factor: int = 8, channels: int = 4) -> Size:
    """What a picture of this side consists of."""
    cells = (side // factor) ** 2
    return Size(side, COLOURS * side**2, channels * cells, side**2, cells)


class Operations(NamedTuple):
    """How many operations a call takes, and how many of them are attention's two products, the only ones that grow with n²."""

    total: int
    attention: int


def on_pixels(config: UNetConfig) -> UNetConfig:
    """The same U-Net, but for pictures: three channels in and out."""
    return replace(config, in_channels=COLOURS, out_channels=COLOURS)


def unet_operations(config: UNetConfig, side: int, length: int = 77) -> Operations:
    """Equation (3) of one call for one picture whose side is `side` cells, under a text of `length` tokens."""
    with torch.device("meta"):
        network = UNet(config)
        given = torch.empty(1, config.in_channels, side, side), torch.zeros(1), torch.empty(1, length, config.context_dim)
    return counted(network, lambda: network(*given))


def decoder_operations(config: VAEConfig, side: int) -> Operations:
    """What it takes to decode latents whose side is `side` cells."""
    with torch.device("meta"):
        network = AutoencoderKL(config)
        z = torch.empty(1, config.latent_channels, side, side)
    return counted(network, lambda: network.decode(z))


@torch.no_grad()
def counted(network: nn.Module, call: Callable[[], object]) -> Operations:
    """The operations of a call, by PyTorch's own counter."""
    with FlopCounterMode(display=False) as counter:
        call()
    found = counter.get_flop_counts().get("Global", {})
    products = (torch.ops.aten.bmm, torch.ops.aten.baddbmm)  # of queries with keys, and of weights with values
    attention = sum(count for kind, count in found.items() if kind in products or "attention" in str(kind))
    return Operations(counter.get_total_flops(), attention)


@torch.no_grad()
def multiply_adds(network: nn.Module, call: Callable[[], object]) -> dict[str, int]:
    """Equation (4) for every layer of a network during a call, by its name; half of what `counted` counts.

    By hooks on this network alone: PyTorch's counter sets its own on all networks of all threads while it tells layers apart.
    """
    found: dict[str, int] = {}
    hooks = [
        module.register_forward_hook(lambda layer, args, out, name=name: found.update({name: layer_cost(layer, args, out)}))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear | Attention)
    ]
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def layer_cost(layer: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> int:
    """Equation (4) of one layer; of an attention only its two products, since its linear layers count for themselves."""
    if isinstance(layer, nn.Conv2d):
        return out.numel() * layer.weight[0].numel()
    if isinstance(layer, nn.Linear):
        return out.numel() * layer.in_features
    return 2 * args[0].numel() * args[-1].shape[1]


def widened(network: UNet) -> UNet:
    """The very same layers for pictures: only the first and the last convolution are new, so it costs no memory."""
    made = copy.copy(network)
    made._modules = dict(network._modules)
    like, width = network.conv_in.weight, network.config.channels[0]
    with torch.random.fork_rng(devices=[]):
        made.conv_in = nn.Conv2d(COLOURS, width, 3, padding=1).to(like)
        made.conv_out = nn.Conv2d(width, COLOURS, 3, padding=1).to(like)
    return made


def seconds(network: UNet, side: int, context: Tensor) -> float:
    """How long one call for one picture takes, after one that is not counted where it is short."""
    first = once(network, side, context)
    return min(once(network, side, context) for _ in range(3)) if first < 1 else first


@torch.no_grad()
def once(network: UNet, side: int, context: Tensor) -> float:
    """The seconds of this one call for one picture."""
    weight = network.conv_in.weight
    x, t = torch.zeros(1, weight.shape[1], side, side).to(weight), torch.zeros(1, device=weight.device)
    begun = time.perf_counter()
    network(x, t, context).sum().item()  # a device that works ahead has finished when it can tell a number
    return time.perf_counter() - begun
