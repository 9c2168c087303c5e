"""What the lab "Inside" shows, as tables that its scripts draw: the map, activations, where a position looks, what is lost."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.nn.functional as F
from PIL import Image

from core.claims import typeset
from core.inside import doubling
from core.inside.parts import Map, kind, modules_of, place, skips
from core.nets.unet import UNet
from studio.figures import strip
from studio.figures.labs import axis, chart, number, series
from studio.figures.run import data_uri

if TYPE_CHECKING:
    from torch import Tensor

    from core.inside.effects import Effect, Spectrum
    from core.inside.looks import Normalised
    from core.metrics import Interval

SHOWN, CELLS, COLUMNS = 64, 16, 16  # channels of a grid, cells of a channel's side, channels in a row
NAMES = {"conv": "convolution", "time": "time embedding", "resnet": "residual block", "attention": "attention",
         "downsample": "halving", "upsample": "doubling"}  # fmt: skip
KINDS = ("", "second", "third", "fourth", "fifth")
BINS = 40


# ------------------------------------------------------------------------------------------------- the map


def title(name: str, what: str, way: str, level: int) -> str:
    """A part as one says it: level 1 down: residual block 2."""
    if what == "time":
        return "time embedding"
    if what == "conv":
        return "first convolution" if name == "conv_in" else "last convolution"
    where = "middle" if way == "middle" else f"level {level + 1} {way}"
    last = f" {int(name.rpartition('.')[2]) + 1}" if what in ("resnet", "attention") else ""
    return f"{where}: {NAMES[what]}{last}"


def choices(unet: UNet) -> list[tuple[str, str]]:
    """Everything that can be chosen on the map of a network, in words and by name."""
    top = len(unet.config.channels) - 1
    titles = {name: title(name, kind(module), *place(name, top)) for name, module in modules_of(unet).items()}
    across = [(f"skip to {titles[target]}", f"skip:{target}") for _, target in skips(unet)]
    return [*((words, name) for name, words in titles.items()), *across]


def map_view(found: Map) -> dict[str, Any]:
    """The map for the page; what halves or doubles stands in the row of the size that it makes."""
    moved = {"downsample": 1, "upsample": -1}
    named = {part.name: title(part.name, part.kind, part.way, part.level) for part in found.parts}
    return {
        "parts": [
            {"name": part.name, "title": named[part.name], "kind": part.kind, "way": part.way,
             "row": part.level + moved.get(part.kind, 0), "shape": list(part.shape), "parameters": part.parameters,
             "multiply_adds": part.multiply_adds}
            for part in found.parts
        ],
        "skips": [
            {"name": f"skip:{skip.target}", "title": f"skip to {named[skip.target]}", "source": skip.source,
             "target": skip.target, "row": skip.level, "shape": list(skip.shape)}
            for skip in found.skips
        ],
        "rows": found.levels,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------- activations


def activations(x: Tensor) -> dict[str, Any]:
    """What a part puts out, [C, h, w] or [D]: its strongest channels as a picture, and numbers of all."""
    maps = x[:, None, None] if x.ndim == 1 else x
    norms = maps.square().mean((1, 2)).sqrt()
    order = norms.argsort(descending=True)[:SHOWN].sort().values if x.ndim == 3 else None
    view: dict[str, Any] = {
        "channels": len(maps), "mean": number(float(x.mean())), "std": number(float(x.std(unbiased=False))),
        "rms": number(float(x.square().mean().sqrt())),
        "norms": [chart("Strength of every channel", "Root mean square over its positions", axis("channel"),
                        axis("root mean square", low=0), series("", enumerate(norms.tolist(), 1), "thin"))],
    }  # fmt: skip
    if order is not None:
        view |= {"grid": grid(maps[order]), "columns": COLUMNS, "shown": [[int(i) + 1, number(float(norms[i]))] for i in order]}
    return view


def grid(maps: Tensor) -> str:
    """Channels [C, h, w] side by side, blue below 0 and orange above, each from minus to plus its own greatest value."""
    small = strip.shrunk(maps[None], CELLS)[0]
    small = F.interpolate(small[None], scale_factor=max(1, CELLS // max(small.shape[-2:])), mode="nearest")[0]
    most = small.abs().amax((1, 2), keepdim=True).clamp(min=1e-12)
    colours = strip.palette()
    index = ((small / most + 1) / 2 * (len(colours) - 1)).round().long().numpy()
    height, width = index.shape[1:]
    rows = -(-len(index) // COLUMNS)
    room = np.full((rows * COLUMNS, height + 2, width + 2, 3), 255, np.uint8)
    room[: len(index), 1:-1, 1:-1] = colours[index]
    pixels = room.reshape(rows, COLUMNS, height + 2, width + 2, 3).swapaxes(1, 2).reshape(rows * (height + 2), -1, 3)
    return data_uri(Image.fromarray(np.ascontiguousarray(pixels)))


def normalisation(found: Normalised) -> dict[str, Any]:
    """The numbers of a residual block before GroupNorm, after it, and after SiLU, as densities."""
    curves = []
    for name, values, how in (("before", found.before, "third dashed"), ("after GroupNorm", found.normalised, ""),
                              ("after scale, shift and SiLU", found.after, "second")):  # fmt: skip
        counts, edges = np.histogram(values.numpy(), bins=BINS, range=(-4, 4))  # what lies beyond is not drawn
        heights = counts / values.numel() / (edges[1] - edges[0])
        curves.append(series(name, zip((edges[1:] + edges[:-1]) / 2, heights, strict=True), how))
    groups = found.normalised.reshape(found.groups, -1)
    note = typeset(f"{found.groups} groups: mean of a group at most {float(groups.mean(1).abs().max()):.0e} from 0, variance "
                   f"{float(groups.var(1, unbiased=False).mean()):.3f}")  # fmt: skip
    return chart("GroupNorm and SiLU at the block's beginning", note, axis("value"), axis("density", low=0), *curves)


def heat(row: Tensor) -> dict[str, Any]:
    """Where a position looks, [heads, h, w]: the mean over the heads in 255ths of its greatest value."""
    mean = row.mean(0)
    most = float(mean.max())
    return {"h": mean.shape[0], "w": mean.shape[1], "heads": len(row), "most": number(most), "even": number(1 / mean.numel()),
            "v": (mean / max(most, 1e-12) * 255).round().int().flatten().tolist()}  # fmt: skip


# ------------------------------------------------------------------------------------------------- doubled


def doubled(side: int, seed: int | None) -> dict[str, Any]:
    """A constant and a disc, and what each way to double makes of them with the weights of a seed; its share for every side."""
    weights, given = doubling.kernel(side, seed), [made(2 * side + 10) for made in (doubling.constant, doubling.disc)]
    tiles = [{"name": "given", "told": "a constant, and a disc; blue is below 0", "images": [signed(x[0, 0]) for x in given]}]
    for name, way in doubling.WAYS.items():
        made = [doubling.inner(way(x, weights), side) for x in given]
        tiles.append({"name": name, "told": f"{100 * doubling.share(made[0]):.0f} % of the constant's energy alternates",
                      "images": [signed(y[0, 0]) for y in made]})  # fmt: skip
    return {"tiles": tiles, "charts": [share_chart()]}


@functools.cache
def share_chart() -> dict[str, Any]:
    """The checkerboard of each way against the side of the kernel, which no setting changes."""
    alike = [(side, doubling.left(doubling.transposed, side, [None])[0]) for side in doubling.SIDES]
    return chart(
        "The checkerboard in a constant, by the side of the kernel", f"Share of the energy; random weights: {doubling.DRAWS} draws",
        axis("side of the kernel"), axis("share", low=0, high=1),
        series("transposed, random weights", doubling.by_side(doubling.transposed)),
        series("transposed, all alike", alike, "second"),
        series("nearest neighbour, then a convolution", doubling.by_side(doubling.nearest), "third"),
    )  # fmt: skip


def signed(x: Tensor) -> str:
    """Numbers [h, w] as a picture: blue below 0 and orange above, to the greatest of them."""
    colours = strip.palette()
    index = ((x / x.abs().max().clamp(min=1e-12) + 1) / 2 * (len(colours) - 1)).round().long().numpy()
    return data_uri(Image.fromarray(np.ascontiguousarray(colours[index])))


# ------------------------------------------------------------------------------------------------- switched off


def label(effect: Effect) -> str:
    return f"without {effect.switch.title}" if effect.switch else "nothing off"


def gallery(found: Sequence[Effect], pictures: Sequence[str]) -> list[dict[str, Any]]:
    """The whole network, then each switch: its loss, the change of it, and the finished picture where it is ready."""
    rows = [{"name": label(one), "loss": triple(one.loss), "change": triple(one.change) if one.switch else None} for one in found]
    return [row | {"src": pictures[i] if i < len(pictures) else ""} for i, row in enumerate(rows)]


def triple(value: Interval) -> list[float | None]:
    return [number(part) for part in value]


def change(effect: Effect) -> str:
    """The change of the loss with its interval, in words."""
    low, high = effect.change[1:]
    told = f"{effect.change.value:+.3f}" + (f" [{low:+.3f}, {high:+.3f}]" if low < high else "")
    return told.replace("-", "−")


def spectra(truth: Spectrum, found: Sequence[Effect]) -> dict[str, Any]:
    """Power of the predicted x0 by spatial frequency, beside the true one's."""
    drawn = [(label(one), one.spectrum) for one in found]
    return chart(
        "Spectrum of the predicted x₀", "Power of a wave by its frequency: fine detail is on the right", axis("cycles a cell"),
        axis("power", log=True), series("the true x₀", zip(truth.frequency, truth.power, strict=True), "dashed"),
        *(series(name, zip(one.frequency, one.power, strict=True), KINDS[i % len(KINDS)]) for i, (name, one) in enumerate(drawn)),
    )  # fmt: skip


def told_times(found: Iterable[tuple[int, Interval]], t: float) -> dict[str, Any]:
    """The loss against the time that the network is told."""
    return chart(
        "Told another time", f"The picture has the noise of t = {t:.0f}; the network is told the t below", axis("told t"),
        axis("loss", low=0), series("mean |v − v_θ|²", found),
    )  # fmt: skip
