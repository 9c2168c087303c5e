"""What the Latents tab shows, as tables that its scripts draw: pure functions of latents, pictures, axes and costs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from core.costs import Operations, Size
from core.extras import Origin, TrainingSet
from core.latents import Axes, in_bands, rings
from core.metrics import psnr
from core.pipeline import to_images
from core.training.packages import LICENCES, SOURCES
from studio.figures.guidance import grid, number
from studio.figures.run import data_uri

SHOWN = 256  # pixels of the longer side of a picture on the page
REACH, BINS = 5.0, 40  # histograms reach from −5 to 5; what lies beyond is counted at the ends
BANDS = (0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # cycles a pixel; 1 is beyond the corner, √½
ARTISTS = {source.package: source for source in SOURCES}


# ------------------------------------------------------------------------------------------------------- pictures


def source_of(image: Image.Image) -> str:
    """A picture as the text of an <img src>, large ones smaller."""
    small = image.copy()
    small.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
    return data_uri(small)


def picture(x: Tensor) -> str:
    """The first of some pictures [B, 3, H, W] in [−1, 1]."""
    return source_of(to_images(x[:1])[0])


def difference(x: Tensor, other: Tensor) -> dict[str, Any]:
    """other − x around grey, strengthened by the power of two that cuts off no more than one value in a hundred."""
    error = other - x
    most = float(error.abs().flatten().quantile(0.99))
    gain = 2 ** int(np.clip(np.floor(-np.log2(max(most, 1e-6))), 0, 6))
    return {"src": picture(error * gain), "gain": gain, "psnr": number(float(psnr(x, other)), 2)}


# ------------------------------------------------------------------------------------------------------- channels


def channel(values: Tensor) -> dict[str, Any]:
    """One channel [h, w] (or any number of them): its mean, its standard deviation and its histogram as a density."""
    return {"mean": number(float(values.mean()), 3), "std": number(float(values.std()), 3), "density": density(values)}


def density(values: Tensor) -> list[float]:
    """The share of values in every bin over the bin's width, to be laid beside the density of N(0, 1)."""
    clipped = values.float().flatten().cpu().numpy().clip(-REACH, REACH)
    counts, _ = np.histogram(clipped, BINS, (-REACH, REACH))
    return [round(float(count) / len(clipped) * BINS / (2 * REACH), 4) for count in counts]


def channels(z: Tensor, training: TrainingSet | None) -> dict[str, Any]:
    """Every channel of latents [1, C, h, w] as a map with its histogram, beside that of all training pictures."""
    own = [channel(one) | {"map": grid(one[None, None])} for one in z[0]]
    return {"channels": own, "reach": REACH, "training": None if training is None else of_all(training)}


@functools.lru_cache(maxsize=4)
def of_all(training: TrainingSet) -> list[dict[str, Any]]:
    """The same statistics over all training latents, channel by channel."""
    return [channel(training.latents[:, c]) for c in range(training.latents.shape[1])]


# ------------------------------------------------------------------------------------------------------- the map


def hundredths(values: Tensor) -> list[int]:
    """Numbers as whole hundredths: short, and finer than a pixel."""
    return (values.detach().cpu() * 100).round().int().tolist()


def cloud(axes: Axes, training: TrainingSet) -> dict[str, Any]:
    """Every training latent as a point, with its style and its kind, and which part of all variance the axes show."""
    places = axes.project(training.latents)
    groups = {"style": [one.style for one in training.origins], "kind": [one.subgroup.split("-")[0] for one in training.origins]}
    named = {name: grouped(words) for name, words in groups.items() if any(words)}
    shares = [number(100 * float(share), 2) for share in axes.shares[:10]]
    return {"x": hundredths(places[:, 0]), "y": hundredths(places[:, 1]), "groups": named, "shares": shares}


def grouped(words: Sequence[str]) -> dict[str, Any]:
    """Words as a list of different ones and the place of each in it."""
    names = sorted(set(words))
    place = {name: i for i, name in enumerate(names)}
    return {"names": names, "of": [place[word] for word in words]}


def path(axes: Axes, x: Tensor, x0: Tensor, times: Sequence[float]) -> dict[str, Any]:
    """A run on the map: x_t [N + 1] from noise to picture, and the predicted x0 [N] at every step."""
    return {
        "x": list(zip(*map(hundredths, axes.project(x).T), strict=True)),
        "x0": list(zip(*map(hundredths, axes.project(x0).T), strict=True)),
        "t": [number(t, 0) for t in times],
    }


def credit(origin: Origin) -> dict[str, str]:
    """Whose picture it is, where it was published and what may be done with it."""
    known = ARTISTS.get(origin.package)
    return {
        "label": origin.label, "style": origin.style, "package": f"{origin.package} {origin.version}",
        "artist": known.author if known else origin.package, "home": known.home if known else "",
        "licence": origin.licence, "terms": LICENCES.get(origin.licence, ""),
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------- what is lost


def spectrum(x: Tensor, back: Tensor) -> dict[str, Any]:
    """The mean power of a wave at every frequency, of a picture, its reconstruction and their difference [1, 3, H, W]."""
    found = {"original": rings(x[0]), "back": rings(back[0]), "error": rings(back[0] - x[0])}
    inside = found["original"].frequency <= 0.5  # beyond, rings are cut off at the corners
    inside[0] = False
    power = {
        name: [float(f"{value:.4g}") for value in (one.energy / np.maximum(one.waves, 1))[inside] / x.shape[1]]
        for name, one in found.items()
    }
    places = [round(float(f), 5) for f in found["original"].frequency[inside]]
    return {"frequency": places, "power": power, "bands": bands(x, back)}


def bands(x: Tensor, back: Tensor) -> list[dict[str, Any]]:
    """Every band of frequencies: its share of the picture's energy without the mean, how much is kept, how large the error is."""
    original, kept, error = (in_bands(rings(one[0]), BANDS) for one in (x, back, back - x))
    whole = max(float(original.sum()), 1e-30)
    return [
        {"low": low, "high": high, "share": number(100 * o / whole, 3)}
        | {name: number(100 * e / o, 1) if o > 1e-9 * whole else None for name, e in (("kept", k), ("error", e))}
        for low, high, o, k, e in zip(BANDS, BANDS[1:], original, kept, error, strict=False)
    ]


# ------------------------------------------------------------------------------------------------------- sizes


def sized(one: Size) -> dict[str, Any]:
    """One size for the page; JSON's numbers are exact far beyond these."""
    return one._asdict() | {"factor": one.factor, "pixel_weights": one.pixel_weights, "latent_weights": one.latent_weights}


def operations(side: int, on_pixels: Operations, on_latents: Operations, decoder: Operations) -> dict[str, Any]:
    """What one call of the U-Net takes both ways, and what it takes to decode the finished latents once."""
    return {
        "side": side, "pixels": on_pixels.total, "latents": on_latents.total, "decoder": decoder.total,
        "pixel_attention": on_pixels.attention, "latent_attention": on_latents.attention,
    }  # fmt: skip


def stacked(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of any size [N, H, W, 3] no longer than SHOWN a side, for a sheet."""
    found = np.concatenate(tiles)
    if max(found.shape[1:3]) <= SHOWN:
        return found
    factor = SHOWN / max(found.shape[1:3])
    size = (round(found.shape[2] * factor), round(found.shape[1] * factor))
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.LANCZOS)) for one in found])


def lengths(rows: Tensor) -> list[float | None]:
    """The root mean square of every row: 1 for noise, whatever its size."""
    return [number(float(value), 4) for value in rows.float().flatten(1).square().mean(1).sqrt()]
