"""Assumption 6, the closed world: a model among what it was trained on, and outside of it.

    PSNR = 10·log10(4 / mean square error)            of pictures in [−1, 1] through the VAE and back                   (1)
    error = E ‖eps − eps_theta‖²/D                    of the network on the pictures' latents, without words            (2)
    heard = ‖eps_c − eps_0‖ / ‖eps_0‖                 how much words change what the network says                       (3)
    away = min_i ‖z − x_i‖/√D                         of a picture's latents z from the nearest training picture's      (4)

Three worlds: training pictures, shapes drawn by a rule, which nobody trained on but which look alike, and textures with the
spectrum of photographs (power ~ 1/f²). The training pictures are those that the VAE makes of their latents: they have passed
through it once, and lose little the second time. In (4) a training picture leaves itself out: its neighbours are the measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from core.assumptions.line import difference, over_runs
from core.metrics import Interval, psnr
from core.perfect import Near, Perfect, eps_errors, noised, predicted, some_indices, some_of
from core.pipeline import TextToImage

COUNT = 8
TRAINED, PHOTO = "training pictures", "photo-like textures"
PLACES = (100, 300, 500)  # t of (2)
WORDS_AT = 600  # t of (3)
STRANGE = ("qzxv blorft", "ein Haufen Steuererklärungen", "the smell of rain on Tuesday", "x7#k2 w9&p", "a derivative",
           "crowded street at night, 35mm", "lorem ipsum dolor sit", "photograph of a senator")  # fmt: skip


class World(NamedTuple):
    """One kind of picture: (1), (2) and (4) with intervals over the pictures, the pictures, and each one's nearest."""

    name: str
    psnr: Interval
    error: Interval
    away: Interval
    pictures: Tensor  # [B, 3, H, W]
    again: Tensor  # through the VAE and back
    near: tuple[Near, ...]  # the training picture next to each, by (4)


class Heard(NamedTuple):
    """Equation (3) for words that were trained, for words that were not, and for the gap between them."""

    known: Interval
    strange: Interval


def shapes(count: int, side: int, seed: int = 0) -> Tensor:
    """Discs, rings and boxes of one colour on white, [count, 3, side, side]."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
    made = []
    for index in range(count):
        a, b, c = torch.rand(3, generator=generator).tolist()
        cx, cy, r = a / 2 - 0.25, b / 2 - 0.25, 0.35 + 0.3 * c
        colour = torch.rand(3, generator=generator) * 1.6 - 1
        away = torch.hypot(x - cx, y - cy) if index % 3 < 2 else torch.maximum((x - cx).abs(), (y - cy).abs())
        inside = (away < r) & ((away > r / 2) if index % 3 == 1 else torch.ones_like(away, dtype=torch.bool))
        made.append(torch.where(inside, colour[:, None, None], torch.ones(3, 1, 1)))
    return torch.stack(made)


def textures(count: int, side: int, seed: int = 0) -> Tensor:
    """Grey noise of power 1/f², tinted a little, in [−1, 1]: the spectrum of photographs without their subjects."""
    generator = torch.Generator().manual_seed(seed)
    fy, fx = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]
    falling = 1 / torch.hypot(fy, fx).clamp(min=1 / side)
    white = torch.randn(count, 4, side, side, generator=generator)
    smooth = torch.fft.irfft2(torch.fft.rfft2(white) * falling, s=(side, side))
    smooth = smooth / smooth.std((2, 3), keepdim=True)
    return (0.4 * smooth[:, :1] + 0.15 * smooth[:, 1:]).clamp(-1, 1)


@torch.no_grad()
def worlds(pipe: TextToImage, own: Tensor | None = None, count: int = COUNT) -> Iterator[World]:
    """Each kind of picture in turn; `own` are a visitor's, [B, 3, H, W]."""
    perfect = Perfect.of(pipe)
    kinds: list[tuple[str, Callable[[], Tensor]]] = [
        (TRAINED, lambda: pipe.decode(some_of(pipe, count)).cpu()),
        ("drawn shapes", lambda: shapes(count, pipe.size)),
        (PHOTO, lambda: textures(count, pipe.size)),
    ]
    if own is not None:
        kinds.append(("your picture", lambda: own))
    for name, make in kinds:
        yield world(pipe, perfect, name, make(), some_indices(len(perfect), count) if name == TRAINED else ())


@torch.no_grad()
def world(pipe: TextToImage, perfect: Perfect, name: str, pictures: Tensor, rows: Sequence[int] = ()) -> World:
    """Equations (1), (2) and (4) of some pictures; `rows` are their own among the training pictures, if they are such."""
    latents = pipe.encode(pictures)
    again = pipe.decode(latents).float().cpu()
    kept = over_runs(psnr(again, pictures).numpy())
    errors = torch.stack([eps_errors(pipe, latents.float(), pipe.schedule.at(t)) for t in PLACES]).mean(0)
    near = tuple(
        next(one for one in perfect.nearest(z[None].float()) if one.row != row)
        for z, row in zip(latents, rows or [-1] * len(latents), strict=True)
    )
    away = over_runs([one.value for one in near])
    return World(name, kept, over_runs(errors.double().numpy()), away, pictures, again, near)


def gap(found: Sequence[World]) -> Interval:
    """By how many dB (1) of photo-like textures is below that of training pictures."""
    kept = {one.name: one.psnr for one in found}
    return difference(kept[TRAINED], kept[PHOTO])


def heard(pipe: TextToImage, strange: Sequence[str] = STRANGE, count: int = COUNT) -> Heard:
    """Equation (3) for the pictures' own names and for words from elsewhere, on the same noisy latents."""
    origins = pipe.extras.training.origins
    names = [f"{origins[i].label}, {origins[i].style}" for i in some_indices(len(origins), count)]
    x, _ = noised(some_of(pipe, count).to(pipe.device), at := pipe.schedule.at(WORDS_AT))
    empty = predicted(pipe, x, at, [""] * len(x)).eps

    def change(texts: Sequence[str]) -> Interval:
        said = predicted(pipe, x, at, texts).eps
        share = (said - empty).flatten(1).norm(dim=1) / empty.flatten(1).norm(dim=1)
        return over_runs(share.double().cpu().numpy())

    return Heard(change(names), change([strange[i % len(strange)] for i in range(count)]))
