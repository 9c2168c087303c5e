"""Claims about latent diffusion: sizes, costs, and what the autoencoder keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from core.assumptions.closed_world import shapes, textures
from core.assumptions.line import exactly, over_runs
from core.claims import CONFIRMED, OPEN, Finding, Progress, claim, decided, together, verdict
from core.costs import on_pixels, once, unet_operations, widened
from core.metrics import psnr
from core.nets.attention import Attention
from core.perfect import eps_errors, some_indices, some_of
from core.schedules import Level

if TYPE_CHECKING:
    from core.pipeline import TextToImage

PICTURES, BANDS = 8, 8
TURNS, UNSTEADY, MOST_TIMED = 3, 3, 2e11  # of evaluations; between their ratios; operations of one that is timed
WEIGHTS: dict[str, Callable[[Level], float]] = {  # of |eps − eps_theta|², where a network says something else
    "v": lambda at: 1 / at.alpha**2, "x0": lambda at: at.nsr**2,
}  # fmt: skip


def flops(network: nn.Module, *inputs: Tensor) -> int:
    """What one call computes, counted without computing it."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*inputs)
    return counter.get_total_flops()


@claim(
    23,
    says="Pixel space at 512×512×3: the U-Net must process ~786,000-dimensional vectors, and self-attention has O(n²) complexity "
         "in "
         "spatial resolution.",
    asks="Twice the side of the picture: how many times the work of self-attention's two products?",
    unit="× the work", paper="2112.10752",
    link="?v=1&tab=latents&view.page=why",
    note="n is tokens, one a position: the square of the side. So attention grows with the fourth power of the side.",
)  # fmt: skip
def pixels() -> Finding:
    """Count the operations of one self-attention layer over feature maps of 16, 32 and 64 a side, less those of its projections."""
    sides, width = (16, 32, 64), 32
    with torch.device("meta"):
        layer = Attention(width, 4)
        products = [flops(layer, torch.empty(1, side**2, width)) - 4 * 2 * side**2 * width**2 for side in sides]
    tokens = float(np.polyfit(np.log([side**2 for side in sides]), np.log(products), 1)[0])
    power = float(np.polyfit(np.log(sides), np.log(products), 1)[0])
    value = products[-1] / products[-2]
    numbers = 512 * 512 * 3
    told = (f"512·512·3 = {numbers:,} numbers. Twice the side takes {value:g} times the products: they grow as tokens to the "
            f"power {tokens:.2f}, as the side to the power {power:.2f}.")  # fmt: skip
    return Finding(exactly(value), verdict(numbers == 786_432 and abs(tokens - 2) < 0.01), told, {"sides": list(sides)})


@claim(
    24,
    says="The encoder compresses 512×512×3 images to 64×64×4 latent codes (a factor-48 reduction in dimensionality).",
    asks="By which factor does this model's encoder shrink its pictures?",
    unit="× fewer numbers", paper="2112.10752",
    link="?v=1&tab=latents&view.page=why",
)  # fmt: skip
def factor_48(pipe: TextToImage) -> Finding:
    """Divide the numbers of a picture by the numbers of its latents, at 512 and at this model's own size."""
    factor, channels = pipe.vae.factor, pipe.unet.config.in_channels
    found = {side: 3 * side**2 / (channels * (side // factor) ** 2) for side in (512, pipe.size)}
    sums = [f"{3 * side**2:,}/{channels * (side // factor) ** 2:,} = {ratio:g}" for side, ratio in found.items()]
    return Finding(exactly(found[pipe.size]), verdict(set(found.values()) == {48.0}), "; ".join(sums) + ".", {"sides": list(found)})


@torch.no_grad()
def through(pipe: TextToImage, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures [B, 3, H, W] as latents, and given back."""
    z = pipe.encode(pictures)
    return z.float().cpu(), pipe.decode(z).float().cpu()


@claim(
    25,
    says="An encoder z = E(x) compresses images to latent codes, and a decoder x̃ = D(z) reconstructs pixel-space images from "
         "latents.",
    asks="How many dB does the VAE reach on drawn shapes that it never saw? (above 30 hardly any difference is seen)",
    unit="dB", paper="2112.10752",
    link="?v=1&tab=latents",
    note="Drawn shapes stand for what is new: the drawings that were held out of training do not ship. What the VAE reaches on "
         "them is in the model's card.",
)  # fmt: skip
def encoder_and_decoder(pipe: TextToImage) -> Generator[Progress, None, Finding]:
    """Send drawn shapes through the VAE and back, and zero one channel of their latents after the other."""
    pictures = shapes(PICTURES, pipe.size)
    z, again = through(pipe, pictures)
    value = over_runs(psnr(again, pictures).numpy())
    without = []
    for channel in range(z.shape[1]):
        less = z.clone()
        less[:, channel] = 0
        without.append(float(psnr(pipe.decode(less).float().cpu(), pictures).mean()))
        yield Progress(f"without channel {channel}", (channel + 1) / z.shape[1])
    told = (f"{list(pictures.shape[1:])} → {list(z.shape[1:])} → {list(again.shape[1:])}: {value.value:.1f} dB; with one channel "
            f"at zero "
            f"{', '.join(f'{v:.1f}' for v in without)} dB.")  # fmt: skip
    holds = again.shape == pictures.shape and max(without) < value.value
    return Finding(value, decided(value, low=20) if holds else verdict(False), told, {"pictures": PICTURES})


@claim(
    26,
    says="The latent loss: L_LDM = E‖ε − ε_θ(z_t, t, c)‖².",
    asks="What is the loss on training pictures, averaged evenly over all t? (guessing ε = 0 costs 1)",
    unit="loss a number", paper="2112.10752",
    link="?v=1&tab=labs&view.page=evaluate&view.evaluate=loss",
    note="The document leaves out the scale factor: latents are multiplied by it, so that the standard deviation of all that was "
         "trained on is 1. Of the pictures that ship, on white, it is a little less.",
)  # fmt: skip
def latent_loss(pipe: TextToImage) -> Generator[Progress, None, Finding]:
    """The loss of the network under its captions at ten times that stand for a tenth of all t each, on training latents; the same
    as the loss that it was trained on; and the spread of the scaled latents.
    """
    origins, latents = pipe.extras.training.origins, some_of(pipe, PICTURES)
    captions = [f"{origins[i].label}, {origins[i].style}" for i in some_indices(len(origins), PICTURES)]
    length = len(pipe.schedule)
    places, kind, found = tuple((2 * i + 1) * length // 20 for i in range(10)), pipe.parts.prediction, []
    for t in places:
        found.append(eps_errors(pipe, latents, pipe.schedule.at(t), captions))
        yield Progress(f"t = {t}", len(found) / len(places))
    errors = torch.stack(found)  # [T, B]
    value, std = over_runs(errors.mean(0).double().numpy()), float(pipe.extras.training.latents.std())
    curve = ", ".join(f"{e:.2f} at t = {t}" for t, e in zip(places, errors.mean(1).tolist(), strict=True))
    told = f"Loss {curve}. Standard deviation of the scaled latents of the pictures that ship: {std:.2f}."
    if kind in WEIGHTS:
        weights = torch.tensor([WEIGHTS[kind](pipe.schedule.at(t)) for t in places])
        other = over_runs((weights[:, None] * errors).mean(0).double().numpy())
        told += (f" This network was trained on the loss |{kind} − {kind}_θ|², which comes to {other.value:.2f} [{other.low:.2f}, "
                 f"{other.high:.2f}].")  # fmt: skip
    return Finding(value, decided(value, high=1) if abs(std - 1) < 0.3 else verdict(False), told, {"t": list(places)})


@claim(
    27,
    says="Diffusion in latent space reduces computational cost by orders of magnitude.",
    asks="How many times cheaper is one evaluation of this model's U-Net on latents than on pixels?",
    unit="× operations", paper="2112.10752",
    link="?v=1&tab=latents&view.page=why",
)  # fmt: skip
def cheaper_latents(pipe: TextToImage) -> Finding:
    """Count the operations of the same U-Net on the model's latents and on its pixels, with weights of no memory, and time both by
    turns where that takes seconds.
    """
    config, side = pipe.unet.config, pipe.size // pipe.vae.factor
    sizes = ((config, side), (on_pixels(config), pipe.size))
    counted = [unet_operations(config, side).total for config, side in sizes]
    value = counted[1] / counted[0]
    told, clock = by_the_clock(in_turns(pipe)) if counted[1] < MOST_TIMED else ("A call on pixels is too long to be timed.", [])
    told = (f"{counted[0] / 1e9:.1f} against {counted[1] / 1e9:.0f} GFLOP an evaluation: {math.log10(value):.1f} orders of "
            f"magnitude. {told}")  # fmt: skip
    decision = together(verdict(value >= 10**1.5), *clock)  # two orders, rounded
    return Finding(exactly(value), decision, told, {"latents": side, "pixels": pipe.size})


def in_turns(pipe: TextToImage) -> np.ndarray:
    """Seconds [TURNS, 2] of an evaluation on latents and of one on pixels, by turns: what slows this machine slows both."""
    side, context = pipe.size // pipe.vae.factor, pipe.text_states([""])
    wide = widened(pipe.unet)
    once(pipe.unet, side, context)  # warms up
    return np.array([(once(pipe.unet, side, context), once(wide, pipe.size, context)) for _ in range(TURNS)])


def by_the_clock(seconds: np.ndarray) -> tuple[str, list[str]]:
    """What seconds [TURNS, 2] say and decide: nothing where the clock is too coarse for them or the turns disagree.

    They never refute: where the small map leaves most of a machine idle, the time does not show what it costs.
    """
    if seconds.min() <= 0 or np.ptp(np.log(ratios := seconds[:, 1] / seconds[:, 0])) > math.log(UNSTEADY):
        return "Timed, they tell nothing: the clock is too coarse, or other work keeps this machine busy.", []
    few, many = 1000 * np.median(seconds, 0)
    told = (f"Timed {TURNS} times by turns, {few:.3g} against {many:.3g} ms: {np.median(ratios):.3g} times as long "
            f"(from {ratios.min():.3g} to {ratios.max():.3g}).")  # fmt: skip
    return told, [CONFIRMED if ratios.min() > 10 else OPEN]


@claim(
    28,
    says="The VAE compresses away imperceptible high-frequency detail while retaining semantically meaningful structure.",
    asks="What share of the highest frequencies' energy is left in photo-like textures?",
    unit="share kept at the top", paper="2112.10752",
    link="?v=1&tab=latents&view.page=lost",
    note="What the eye does not see is not measured here. Drawings keep what counts in them; photo-like textures lose detail that "
         "it does see.",
)  # fmt: skip
def lost_detail(pipe: TextToImage) -> Finding:
    """Radial spectra of photo-like textures and drawn shapes before and after the VAE, and of what it gets wrong, band by band."""
    pictures = textures(PICTURES, pipe.size)
    before, kept, wrong = bands(pictures, through(pipe, pictures)[1])
    drawn = shapes(PICTURES, pipe.size)
    _, _, off = bands(drawn, through(pipe, drawn)[1])
    value, held, lost = over_runs(kept[:, -1]), over_runs(wrong[:, 0]), over_runs(wrong[:, -1])
    share = before[:, BANDS // 2 :].sum(1) / before.sum(1)
    told = (f"Energy of textures kept from the lowest to the highest band: {percent(kept)}. The error's energy beside the "
            f"original's: {percent(wrong)} for textures, {percent(off)} for drawn shapes. The upper half of the bands has "
            f"{100 * share.mean():.0f} % of a texture's energy.")  # fmt: skip
    return Finding(value, together(decided(value, high=0.5), decided(held, high=0.5), decided(lost, low=0.5)), told,
                   {"bands": BANDS, "pictures": PICTURES})  # fmt: skip


def percent(rows: np.ndarray) -> str:
    """The mean of shares [B, BANDS] band by band."""
    return ", ".join(f"{100 * share:.0f} %" for share in rows.mean(0))


def bands(before: Tensor, after: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By bands, [B, BANDS]: the energy of pictures, and those of the pictures given back and of the error as shares of it."""
    whole, back, error = (np.stack([spectrum(one) for one in some]) for some in (before, after, after - before))
    return whole, back / whole, error / whole


def spectrum(picture: Tensor) -> np.ndarray:
    """The energy of a picture [3, H, W] in bands of radial frequency, its mean left out."""
    power = torch.fft.fft2(picture - picture.mean((1, 2), keepdim=True)).abs().square().sum(0).numpy()
    side = power.shape[-1]
    f = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side)] * 2))
    band = np.minimum((f / 0.5 * BANDS).astype(int), BANDS - 1)
    return np.bincount(band.ravel(), power.ravel(), BANDS)
