"""Claims about the U-Net: shapes, levels, skips, and how it is told the time."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from core.assumptions.closed_world import shapes
from core.assumptions.line import exactly, over_runs
from core.claims import Finding, Progress, claim, decided, verdict
from core.inside.doubling import left, nearest, transposed
from core.inside.effects import mistimed
from core.inside.hooks import changed, inputs, outputs
from core.inside.parts import Map, map_of
from core.inside.switches import family, off
from core.nets.layers import time_embedding
from core.perfect import eps_errors, noised, predicted, some_of
from core.schedules import Level

if TYPE_CHECKING:
    from core.pipeline import TextToImage

PICTURES, AT, WRONG = 8, 300, 700


@claim(
    1,
    says="ε_θ(x_t, t) takes a noisy image of the same spatial dimensions as the data, and outputs a noise estimate of identical "
         "spatial "
         "dimensions.",
    asks="Of five sizes of input, at how many does the output have the input's shape?",
    unit="of 5 sizes", paper="1505.04597",
    link="?v=1&tab=denoise&prompt=red+apple%2C+flat&sampler=ddim&steps=12&gamma=2&seed=3",
)  # fmt: skip
def same_shape(pipe: TextToImage) -> Generator[Progress, None, Finding]:
    """Ask the U-Net at five sizes, odd ones among them; and measure its error at four times, on training pictures and on drawn
    shapes that it never saw.
    """
    sizes = ((8, 8), (16, 16), (9, 15), (16, 24), (24, 24))
    at, same = pipe.schedule.at(AT), 0
    for height, width in sizes:
        x = torch.randn(1, pipe.unet.config.in_channels, height, width, generator=torch.Generator().manual_seed(0))
        same += predicted(pipe, x.to(pipe.device), at, [""]).eps.shape == x.shape
    errors, unseen = {}, pipe.encode(shapes(PICTURES, pipe.size))
    for t in (50, 300, 600, 900):
        errors[t] = [float(eps_errors(pipe, z, pipe.schedule.at(t)).mean()) for z in (some_of(pipe, PICTURES), unseen)]
        yield Progress(f"t = {t}", len(errors) / 4)
    own, new = (", ".join(f"{pair[i]:.2f} at t = {t}" for t, pair in errors.items()) for i in range(2))
    told = (f"{same} of {len(sizes)} sizes come back as they went in. Mean square error of ε (guessing 0 costs 1): {own} on "
            f"training pictures; {new} on drawn shapes, which it never saw.")  # fmt: skip
    holds = same == len(sizes) and max(map(max, errors.values())) < 1
    return Finding(exactly(same), verdict(holds), told, {"sizes": [list(s) for s in sizes]}, {"prompt": "a red apple"})


@claim(
    2,
    says="Encoder: convolutional blocks progressively halve spatial resolution while increasing feature channel depth: "
         "H×W×C → H/2×W/2×2C.",
    asks="At how many of its levels does this U-Net double the channels of the level above, at half the side?",
    unit="of its steps down", paper="1505.04597",
    link="?v=1&tab=labs&view.page=inside",
    note="Doubling is a habit, no rule: Stable Diffusion multiplies its 320 channels by 1, 2, 4 and 4.",
)  # fmt: skip
def halving_and_doubling(pipe: TextToImage) -> Finding:
    """Read the shape that each level of the encoder puts out, by hooks; the same of Stable Diffusion's configuration."""
    from core.nets.configs import UNetConfig

    levels = {str(i): cast(nn.ModuleList, level.resnets)[-1] for i, level in enumerate(pipe.unet.down_blocks)}
    side = pipe.unet.config.sample_size
    with outputs(levels) as seen:
        predicted(pipe, torch.zeros(1, pipe.unet.config.in_channels, side, side, device=pipe.device), pipe.schedule.at(AT), [""])
    shapes = [tuple(seen[name].shape[1:]) for name in levels]
    both = [b[0] == 2 * a[0] and b[1] == a[1] // 2 for a, b in itertools.pairwise(shapes)]
    sd = UNetConfig().channels
    told = (f"{' → '.join(f'{h}×{w}×{c}' for c, h, w in shapes)}: {sum(both)} of {len(both)} steps halve and double. Stable "
            f"Diffusion's "
            f"channels: {', '.join(map(str, sd))}.")  # fmt: skip
    return Finding(exactly(sum(both)), verdict(all(both)), told, {"levels": len(shapes)})


@claim(
    3,
    says="Bottleneck: a compact representation at the lowest spatial resolution.",
    asks="How many times larger is the error of ε without what the bottleneck adds?",
    unit="× error", paper="1505.04597",
    link="?v=1&tab=labs&view.page=inside&view.off=middle",
)  # fmt: skip
def bottleneck(pipe: TextToImage) -> Finding:
    """Switch the middle off (what goes in comes out) at t = 600 and measure the error of ε; count what passes through it."""
    found, latents, at = whole_map(pipe), some_of(pipe, PICTURES), pipe.schedule.at(600)
    whole = eps_errors(pipe, latents, at).double().numpy()
    with off(pipe.unet, family("middle", found)[0]):
        less = eps_errors(pipe, latents, at).double().numpy()
    value, (channels, side, _) = over_runs(less / whole), found.part("mid_block.resnets.1").shape
    lowest = side == pipe.unet.config.sample_size // 2 ** (len(pipe.unet.config.channels) - 1)
    told = f"{side}×{side} positions of {channels} channels; the error goes from {whole.mean():.3f} to {less.mean():.3f}."
    return Finding(value, decided(value, low=1) if lowest else verdict(False), told, {"t": 600})


@claim(
    4,
    says="Decoder: progressively restores spatial resolution via transposed convolutions or bilinear upsampling.",
    asks="A constant input: what share of a transposed convolution's output is a checkerboard?",
    unit="share of the energy", paper="1505.04597",
    link="?v=1&tab=labs&view.page=inside&view.part=up_blocks.0.upsamplers.0",
    note="True of the original U-Net, which has transposed convolutions; not of this model: like Stable Diffusion it repeats each "
         "pixel (nearest neighbour) and convolves, because transposed convolutions leave a checkerboard.",
)  # fmt: skip
def upsampling(pipe: TextToImage) -> Finding:
    """Feed a constant to random transposed convolutions and to nearest neighbour with a convolution; and look which of them the
    model has.
    """
    kinds = [type(module).__name__ for module in pipe.unet.modules()]
    has = kinds.count("ConvTranspose2d")
    value, other = (over_runs(left(way, 3)) for way in (transposed, nearest))
    told = (f"{100 * value.value:.0f} % of the energy alternates at the stride after a transposed convolution, "
            f"{100 * other.value:.0f} % after "
            f"nearest neighbour and convolution. This U-Net has {has} transposed convolutions and "
            f"{kinds.count('Upsample')} of the other kind.")  # fmt: skip
    return Finding(value, verdict(has > 0), told, {"kernel": 3, "stride": 2})


@claim(
    5,
    says="Skip connections preserve fine-grained spatial detail that would otherwise be lost during downsampling.",
    asks="What share of the fine detail of the predicted x0 is left without the finest skip?",
    unit="share of detail", paper="1505.04597",
    link="?v=1&tab=labs&view.page=inside&view.off=skips",
)  # fmt: skip
def skips(pipe: TextToImage) -> Generator[Progress, None, Finding]:
    """Take the skips of each level away at t = 300, one level at a time, and measure what the predicted x0 misses of the true
    fine detail.
    """
    latents = some_of(pipe, PICTURES).to(pipe.device)
    x, _ = noised(latents, at := pipe.schedule.at(AT))
    truth = fine(latents)

    def explained() -> Tensor:
        """The share of the true fine detail's energy that the prediction accounts for; noise taken for detail counts against it."""
        missed = fine(predicted(pipe, x, at, [""] * len(x)).x0) - truth
        return (1 - missed.square().flatten(1).sum(1) / truth.square().flatten(1).sum(1)).double().cpu()

    whole, left = explained(), []
    switches = family("skips", whole_map(pipe))
    for switch in switches:
        with off(pipe.unet, switch):
            left.append((explained() / whole).numpy())
        yield Progress(f"without {switch.title}", len(left) / len(switches))
    value = over_runs(left[0])
    names = ", ".join(f"{100 * part.mean():.0f} % without level {level + 1}'s" for level, part in enumerate(left))
    told = f"The whole network finds {100 * whole.mean():.0f} % of the fine detail; of that, {names} (1 is the finest)."
    return Finding(value, decided(value, high=1), told, {"t": AT})


def whole_map(pipe: TextToImage) -> Map:
    """The map of the loaded network at the size that it was trained at."""
    side = pipe.unet.config.sample_size
    return map_of(pipe.unet.config, side, side)


def fine(z: Tensor) -> Tensor:
    """What a 2×2 mean takes away."""
    coarse = nn.functional.avg_pool2d(z.float(), 2)
    return z.float() - nn.functional.interpolate(coarse, size=z.shape[-2:])


@claim(
    6,
    says="PE(t, 2i) = sin(t/10000^{2i/d}), PE(t, 2i+1) = cos(t/10000^{2i/d}).",
    asks="By how much does this studio's embedding in float64 differ from the formula, once sines and cosines are sorted?",
    unit="largest difference", paper="1706.03762",
    link="?v=1&tab=schedules&view.page=time&view.time=300",
    note="The order differs: Stable Diffusion puts all cosines first, then all sines; the document interleaves them.",
)  # fmt: skip
def sinusoids() -> Finding:
    """Compute the formula in float64 for t from 0 to 999, sort it as the network has it, and compare; compare products of
    shifted times; and see what float32, in which networks compute it, rounds away.
    """
    d, t = 64, np.arange(1000)
    angle = t[:, None] / 10000 ** (2 * np.arange(d // 2) / d)
    formula = np.empty((1000, d))
    formula[:, 0::2], formula[:, 1::2] = np.sin(angle), np.cos(angle)
    ours = time_embedding(torch.arange(1000), d, torch.float64).numpy()
    off = float(np.abs(ours - np.concatenate([formula[:, 1::2], formula[:, 0::2]], 1)).max())
    rounded = float(np.abs(time_embedding(torch.arange(1000), d).double().numpy() - ours).max())
    plain = float(np.abs(ours - formula).max())
    products = ours @ ours.T
    shift = float(max(np.ptp(np.diagonal(products, k)) for k in (1, 10, 100)))
    told = (f"Off by {off:.0e} when sorted, by {plain:.1f} as it is written. PE(t)·PE(t + k) varies by {shift:.0e} over t: it "
            f"depends on k alone. Networks take the angles in float32, which moves the values by up to {rounded:.0e}.")  # fmt: skip
    return Finding(exactly(off), verdict(max(off, shift) < 1e-6 and rounded < 1e-3), told, {"d": d})


@claim(
    7,
    says="The time embeddings are added to the feature maps at each resolution level, conditioning the network's behavior on the "
         "noise "
         "level.",
    asks="The network is told a wrong t: at what distance from the true 300 is its error least?",
    unit="steps from the true t", paper="2006.11239",
    link="?v=1&tab=labs&view.page=inside&view.off=time",
)  # fmt: skip
def told_the_time(pipe: TextToImage) -> Generator[Progress, None, Finding]:
    """Noise training pictures to t = 300 and tell the network other times, and then each of its levels alone; watch where W·SiLU
    of the embedding is added.
    """
    told_times = (0, 100, 200, 250, 300, 350, 400, 500, 700, 999)
    latents = some_of(pipe, PICTURES).to(pipe.device)
    x, eps = noised(latents, at := pipe.schedule.at(AT))
    found = []
    for place in told_times:
        found.append((mistimed(pipe, x, at, place, [""] * len(x)).eps - eps).square().flatten(1).mean(1).double().cpu().numpy())
        yield Progress(f"told t = {place}", len(found) / (len(told_times) + 4))
    errors, right = np.stack(found), found[told_times.index(AT)]
    missed, blocks, wrong = added(pipe, x, at), by_level(pipe), {}
    for level, names in blocks.items():
        off_by = told_alone(pipe, x, at, WRONG, names) - eps
        wrong[level] = over_runs(off_by.square().flatten(1).mean(1).double().cpu().numpy() / right)
    best = np.array(told_times)[errors.argmin(0)]
    value = over_runs(np.abs(best - AT))
    curve = ", ".join(f"{e:.2f} told {t}" for t, e in zip(told_times, errors.mean(1), strict=True))
    alone = ", ".join(f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}] at level {level + 1} ({len(blocks[level])} blocks)"
                      for level, one in wrong.items())  # fmt: skip
    told = (f"Error at t = {AT}: {curve}. With t = {WRONG} told to one level alone it is this many times as large: {alone}; 1 is "
            f"the finest. In every block W·SiLU of the embedding is added between the convolutions (to {missed:.0e}).")  # fmt: skip
    least = abs(told_times[int(errors.mean(1).argmin())] - AT) <= 50
    helps = max(one.low for one in wrong.values()) > 1 and min(one.high for one in wrong.values()) > 1  # nowhere the reverse
    return Finding(value, verdict(missed < 1e-3 and least and helps), told, {"t": AT, "wrong t": WRONG})


def by_level(pipe: TextToImage) -> dict[int, list[str]]:
    """The residual blocks of each level by name; the middle's are at the coarsest."""
    blocks = [part for part in whole_map(pipe).parts if part.kind == "resnet"]
    return {level: [part.name for part in blocks if part.level == level] for level in sorted({part.level for part in blocks})}


@torch.no_grad()
def told_alone(pipe: TextToImage, x: Tensor, at: Level, wrong: float, names: Sequence[str]) -> Tensor:
    """What the network takes ε for when these blocks alone are told another time."""
    modules = dict(pipe.unet.named_modules())
    layers = {name: modules[f"{name}.time_emb_proj"] for name in names}
    with outputs(layers) as heard:
        mistimed(pipe, x, at, wrong, [""] * len(x))
    wrongly = dict(heard)
    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.enter_context(changed(layer, functools.partial(instead, wrongly[name])))
        return predicted(pipe, x, at, [""] * len(x)).eps


def instead(one: Tensor, *_: object) -> Tensor:
    """One and the same, whatever a module has put out."""
    return one


@torch.no_grad()
def added(pipe: TextToImage, x: Tensor, at: Level) -> float:
    """Over all residual blocks: by how much what norm2 is given, less what conv1 put out, misses W·SiLU(temb)."""
    modules = dict(pipe.unet.named_modules())
    blocks = [name for names in by_level(pipe).values() for name in names]
    first = {name: modules[name] for name in ("time_embedding", *(f"{block}.conv1" for block in blocks))}
    with outputs(first, copied=True) as out, inputs({block: modules[f"{block}.norm2"] for block in blocks}) as summed:
        predicted(pipe, x, at, [""] * len(x))
    temb, worst = nn.functional.silu(out["time_embedding"]), 0.0
    for block in blocks:
        layer = cast(nn.Linear, modules[f"{block}.time_emb_proj"])
        both = out[f"{block}.conv1"] + nn.functional.linear(temb, layer.weight, layer.bias)[:, :, None, None]
        worst = max(worst, float((summed[block] - both).abs().max()))
    return worst
