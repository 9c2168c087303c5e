"""What a run needs of memory beside the weights, counted before the first step.

    (1)  needs  = bytes of a number · (pictures · a · cells of the U-Net + decoded at once · b · cells of the VAE + kept)
    (2)  kept   = 2 · moves · pictures · cells · channels · (2 + 6 · calls a move), once more while it is remembered
                + 2 · pictures · pixels · 3 colours
    (3)  a      = 95 · width of the U-Net's top level, 136 where that level attends
         b      = 11 · width of the VAE's top level · pixels of a cell

Most is alive at once at the top level: a few maps of its width, the skips, and where it attends a feed-forward of eight times
the width. How many there are was counted for the embedded model and for Stable Diffusion 1.5; what the fast convolutions take
besides was measured as the peak of a process on the embedded model: 3.4 times as much in the U-Net, 1.8 times in the VAE. The
two add up: at 512² the process kept 167 MB of the U-Net's 186 when the VAE began, and that took 194 MB more.
"""

from __future__ import annotations

from core.nets.configs import UNetConfig, VAEConfig
from core.nets.vae import TILE, together
from core.recipe import Recipe
from core.sampling import SAMPLERS

PLAIN, ATTENDING, DECODING = 95, 136, 11  # equation (3), guided: two conditions at once
CHANNELS, COLOURS = 4, 3


def footprint(recipe: Recipe, unet: UNetConfig, vae: VAEConfig, itemsize: int) -> int:
    """Bytes by equations (1) to (3) for a complete recipe and numbers of `itemsize` bytes."""
    pixels = 4 ** (len(vae.channels) - 1)  # of a cell
    cells = (recipe.width or 0) * (recipe.height or 0) // pixels
    at_once = together(cells)
    decoded = TILE**2 if at_once == 1 else cells * min(at_once, recipe.batch)
    a = (ATTENDING if unet.attends[0] else PLAIN) * unet.channels[0]
    b = DECODING * vae.channels[0] * pixels
    held = CHANNELS * recipe.moves * (2 + 6 * SAMPLERS[recipe.sampler].calls) + COLOURS * pixels
    return itemsize * (recipe.batch * a * cells + b * decoded + 2 * recipe.batch * cells * held)
