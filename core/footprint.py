"""What a run needs of memory beside the weights, counted before the first step.

    (1)  needs  = max(pictures · a · cells of the U-Net, decoded at once · b · cells of the VAE) + kept
    (2)  kept   = 2 · moves · pictures · cells · channels · 4 bytes · (2 + 6 · calls a move), once more while it is remembered
                + 2 · pictures · pixels · 3 colours · 4 bytes

a and b are counted once for a model, on PyTorch's meta device, where tensors have shapes and no numbers: the most bytes that are
alive at once while the network is run, times what the fast convolutions were measured to take besides.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core.nets.configs import UNetConfig, VAEConfig
from core.nets.unet import UNet
from core.nets.vae import TILE, AutoencoderKL, together
from core.recipe import Recipe
from core.sampling import SAMPLERS

SIDE = 16  # cells at which is counted; a meta tensor's attention is written out, so that n² would show above
UNET_BESIDES, VAE_BESIDES = 2.7, 1.8  # measured on a processor, from 32 cells to 128
NUMBER = 4  # bytes
CHANNELS, COLOURS = 4, 3


@dataclass(frozen=True)
class Footprint:
    """Bytes a latent cell of a picture takes, for networks that compute in numbers of 4 bytes."""

    unet: float  # guided: two conditions at once
    vae: float

    def needs(self, recipe: Recipe, factor: int, itemsize: int = NUMBER) -> int:
        """Equations (1) and (2) of a complete recipe, for pictures of `factor` pixels a cell and numbers of `itemsize` bytes."""
        cells = (recipe.width or 0) * (recipe.height or 0) // factor**2
        at_once = together(cells)
        decoded = TILE**2 if at_once == 1 else cells * min(at_once, recipe.batch)
        held = CHANNELS * recipe.moves * (2 + 6 * SAMPLERS[recipe.sampler].calls) + COLOURS * factor**2
        computed = max(recipe.batch * self.unet * cells, self.vae * decoded) / NUMBER
        return round(itemsize * (computed + 2 * recipe.batch * cells * held))


@functools.cache
def footprint(unet: UNetConfig, vae: VAEConfig, length: int) -> Footprint:
    """Count a and b of equation (1)."""
    with torch.device("meta"):
        denoiser, autoencoder = UNet(unet), AutoencoderKL(vae)
        x, context = torch.empty(1, unet.in_channels, SIDE, SIDE), torch.empty(2, 1, length, unet.context_dim)
        z, t = torch.empty(1, vae.latent_channels, SIDE, SIDE), torch.zeros(1)
    guided, decoded = peak(denoiser, lambda: denoiser(x, t, context)), peak(autoencoder, lambda: autoencoder.decode(z))
    return Footprint(UNET_BESIDES * guided / SIDE**2, VAE_BESIDES * decoded / SIDE**2)


@torch.no_grad()
def peak(network: nn.Module, call: Callable[[], object]) -> int:
    """The most bytes of new tensors that are alive at once during a call."""
    alive = Alive({weight.untyped_storage()._cdata for weight in network.state_dict().values()})
    with alive:
        call()
    return alive.most


class Alive(TorchDispatchMode):
    """Counts the bytes of storages from when an operation makes them until nobody holds them."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self._known, self._now, self.most = known, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and (key := tensor.untyped_storage()._cdata) not in self._known:
                self._known.add(key)
                self._now += tensor.untyped_storage().nbytes()
                self.most = max(self.most, self._now)
                weakref.finalize(tensor.untyped_storage(), self._gone, key, tensor.untyped_storage().nbytes())
        return out

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size
