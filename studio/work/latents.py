"""Latents under the glass: work for the engine that encodes, edits, maps, and measures what is lost and what is saved.

Each is a generator of what to show meanwhile that returns a view. What was encoded last is remembered.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.costs import decoder_operations, on_pixels, seconds, unet_operations, widened
from core.extras import TrainingSet
from core.latents import Axes, Edit, edited, nearest, principal, usual_distance, without
from core.metrics import bootstrap, psnr
from core.pipeline import TextToImage, to_images, to_tensor
from core.recipe import Recipe
from studio.figures import latents as figures
from studio.figures.guidance import interval, number
from studio.formats import photos
from studio.service.engine import Engine, cost
from studio.service.jobs import Run
from studio.widgets.status import Partial, View

Work = Generator[Any, None, View]
REMEMBERED, REMEMBERED_BYTES = 16, 64 << 20  # a picture of 1024×1024 pixels and what is decoded of it have 25 MB
NEAREST = 6
OWN = 12  # training pictures that tell what this VAE usually loses
SIDES = (64, 128, 256, 512, 1024)
PATIENCE = 2.5  # seconds that one timed call may be expected to take


@dataclass(frozen=True, eq=False)
class Coded:
    """A picture [1, 3, H, W], its latents, and what the decoder makes of them."""

    x: Tensor
    z: Tensor
    back: Tensor

    @property
    def bytes(self) -> int:
        return self.x.nbytes + self.z.nbytes + self.back.nbytes


@dataclass(frozen=True, eq=False)
class Held:
    """The picture that the tab looks at, and the recipe that made it, if the model did; each is another, whatever it shows."""

    image: Image.Image
    recipe: Recipe | None = None


@dataclass(frozen=True, eq=False)
class Bench:
    """The engine, and what this tab has lately come to with it."""

    engine: Engine
    known: OrderedDict[Any, Any] = field(default_factory=OrderedDict)

    @property
    def pipe(self) -> TextToImage:
        return self.engine.pipe

    def remembered(self, key: Any, make: Generator[Any, None, Any]) -> Generator[Any, None, Any]:
        """What the work came to when it was last done for this key, or what it comes to now."""
        if key in self.known:
            self.known.move_to_end(key)
            make.close()
            return self.known[key]
        found = self.known[key] = yield from make
        while len(self.known) > REMEMBERED or sum(map(weight, self.known.values())) > REMEMBERED_BYTES:
            self.known.popitem(last=False)
        return found

    def coded(self, image: Image.Image) -> Generator[None, None, Coded]:
        """A picture encoded and decoded again."""
        return self.remembered(photos.digest(image), self._coded(image))

    def _coded(self, image: Image.Image) -> Generator[None, None, Coded]:
        z = self.pipe.encode(image).float().cpu()
        yield None
        return Coded(to_tensor([image]), z, self.decoded(z))

    def decoded(self, z: Tensor) -> Tensor:
        return self.pipe.decode(z).float().cpu()

    @property
    def training(self) -> TrainingSet | None:
        """The training latents, None where the model brings none."""
        extras = self.pipe.extras
        return None if extras.missing("latents") else extras.training


def weight(value: Any) -> int:
    """The bytes of what is remembered: a coded picture, or a view, which is long where it has pictures as text."""
    if isinstance(value, Coded):
        return value.bytes
    if isinstance(value, (dict, list, tuple)):
        return sum(map(weight, value.values() if isinstance(value, dict) else value))
    return len(value) if isinstance(value, str) else 8


# ------------------------------------------------------------------------------------------------------- channels


def taken_apart(bench: Bench, image: Image.Image) -> Work:
    """The channels of a picture with their histograms, its reconstruction, and what each channel is needed for."""
    one = yield from bench.coded(image)
    numbers = (one.x.numel(), one.z.numel())
    view: View = {
        "id": photos.digest(image), "original": figures.source_of(image), "back": figures.picture(one.back),
        "error": figures.difference(one.x, one.back), "pixels": [image.width, image.height], "cells": list(one.z.shape[1:]),
        "numbers": list(numbers), "factor": number(numbers[0] / numbers[1], 2), "without": [],
        **figures.channels(one.z, bench.training),
    }  # fmt: skip
    yield Partial(view, "encoded and decoded", 1 / (1 + one.z.shape[1]))
    for c in range(one.z.shape[1]):
        left = bench.decoded(edited(one.z, without(c, one.z.shape[1])))
        found = figures.difference(one.back, left) | {"picture": figures.picture(left)}
        view = view | {"without": [*view["without"], found]}
        yield Partial(view, f"decoded without channel {c + 1}", (c + 2) / (1 + one.z.shape[1]))
    return view | {"line": "Change a channel: the picture follows."}


def changed(bench: Bench, image: Image.Image, edits: Sequence[Edit]) -> Work:
    """What the decoder makes of edited latents, and how that differs from the unedited ones."""
    one = yield from bench.coded(image)
    back = bench.decoded(edited(one.z, edits))
    return figures.difference(one.back, back) | {"id": photos.digest(image), "picture": figures.picture(back)}


# ------------------------------------------------------------------------------------------------------- the map


@functools.lru_cache(maxsize=2)
def axes_of(training: TrainingSet) -> Axes:
    """The two principal axes of the training latents."""
    return principal(training.latents.cpu(), 2)


@functools.lru_cache(maxsize=2)
def usual(training: TrainingSet) -> float:
    return usual_distance(training.latents)


def mapped(bench: Bench, held: Held) -> Work:
    """The training latents on their two principal axes, a picture's place among them, its run, and its nearest neighbours."""
    training = bench.pipe.extras.training
    axes = axes_of(training)
    view: View = {"cloud": figures.cloud(axes, training)}
    yield Partial(view, "the map is drawn", 0.2)
    view = view | {"ends": ends(bench, axes)}
    yield Partial(view, "the ends of the axes are decoded", 0.4)
    if held.recipe is None:
        z = (yield from bench.coded(held.image)).z
    else:
        run = yield from bench.engine.run_with_steps(held.recipe)
        z = run.steps[-1].x_next.float()
        view = view | {"path": path(axes, run)} | {"prompt": held.recipe.prompt}
    view = view | {"here": next(zip(*map(figures.hundredths, axes.project(z).T), strict=True))}
    far, places = nearest(z.to(training.latents), training.latents, NEAREST)
    pictures = to_images(bench.decoded(training.latents[places]))
    rows = zip(places.tolist(), far.tolist(), pictures, strict=True)
    found = [shown(training, i, image) | {"far": number(d, 3)} for i, d, image in rows]
    view = view | {"own": figures.source_of(held.image), "nearest": found, "usual": number(usual(training), 3)}
    return view | {"line": "Click a point to see its picture."}


def path(axes: Axes, run: Run) -> dict[str, Any]:
    """The first picture of a run on the map."""
    x = torch.cat([step.x[:1] for step in run.steps] + [run.steps[-1].x_next[:1]])
    x0 = torch.cat([step.x0[:1] for step in run.steps])
    return figures.path(axes, x, x0, [step.cur.t for step in run.steps])


def ends(bench: Bench, axes: Axes) -> list[str]:
    """What lies two standard deviations from the mean along each axis: left, right, down, up."""
    far = 2 * axes.variance[:2].sqrt()
    there = torch.stack([-far[0] * E_X, far[0] * E_X, -far[1] * E_Y, far[1] * E_Y])
    shape = bench.pipe.extras.training.latents.shape[1:]
    return [figures.source_of(one) for one in to_images(bench.decoded(axes.at(there).float().view(-1, *shape)))]


E_X, E_Y = torch.eye(2).double()


def shown(training: TrainingSet, i: int, image: Image.Image) -> dict[str, Any]:
    """A training picture, decoded from its latents, with its credit."""
    return figures.credit(training.origins[i]) | {"i": i, "src": figures.source_of(image)}


def looked_up(bench: Bench, i: int) -> Work:
    """One training picture of the map."""
    yield None
    training = bench.pipe.extras.training
    return shown(training, i, to_images(bench.decoded(training.latents[i : i + 1]))[0])


# ------------------------------------------------------------------------------------------------------- what is lost


def lost(bench: Bench, image: Image.Image) -> Work:
    """A picture, its reconstruction and their difference by spatial frequency, and how much of the VAE's own world is lost."""
    one = yield from bench.coded(image)
    view: View = {
        "original": figures.source_of(image), "back": figures.picture(one.back), "error": figures.difference(one.x, one.back),
        "side": max(image.size), "cell": bench.pipe.vae.factor, **figures.spectrum(one.x, one.back),
    }  # fmt: skip
    yield Partial(view, "encoded and decoded", 0.3)
    if bench.training is not None:
        found = yield from bench.remembered(("own", bench.training), own_world(bench, bench.training))
        view = view | {"own": found}
    return view


def own_world(bench: Bench, training: TrainingSet) -> Generator[Any, None, dict[str, Any]]:
    """The PSNR of training pictures (decoded, so that they have been through once already), with its 95 % interval."""
    values = []
    for done, i in enumerate(torch.linspace(0, len(training.latents) - 1, OWN).long().unique()):
        (image,) = to_images(bench.decoded(training.latents[i : i + 1]))
        x = to_tensor([image])
        values.append(float(psnr(x, bench.decoded(bench.pipe.encode(image).float()))))
        yield Partial({}, f"for comparison: training picture {done + 1}", 0.3 + 0.7 * (done + 1) / OWN)
    found = bootstrap(lambda rows: float(rows.mean()), [np.array(values)[:, None]])
    return {"psnr": interval(found), "count": len(values)}


# ------------------------------------------------------------------------------------------------------- what is saved


def measured(bench: Bench) -> Work:
    """The operations of the same U-Net on pixels and on latents, counted at every size and timed where that is quick."""
    unet, f = bench.pipe.unet, bench.pipe.vae.factor
    context = bench.pipe.text_states([""])
    length = context.shape[1]
    rows: list[dict[str, Any]] = []
    for done, side in enumerate(SIDES):
        counts = unet_operations(on_pixels(unet.config), side, length), unet_operations(unet.config, side // f, length)
        rows.append(figures.operations(side, *counts, decoder_operations(bench.pipe.vae.config, side // f)))
        yield Partial({"counted": list(rows)}, f"counted at {side} pixels", (done + 1) / (2 * len(SIDES)))
    timed: list[dict[str, Any]] = []
    for kind, network, cell in (("latents", unet, f), ("pixels", widened(unet), 1)):
        rate = 0.0
        for row in rows:
            if rate * row[kind] > PATIENCE:
                break
            took = seconds(network, row["side"] // cell, context)
            rate = took / row[kind]
            timed.append({"side": row["side"], "kind": kind, "seconds": float(f"{took:.3g}")})
            yield Partial({"counted": rows, "timed": list(timed)}, f"timed on {kind} at {row['side']} pixels",
                          0.5 + len(timed) / (4 * len(SIDES)))  # fmt: skip
    line = "Counted at every size; timed where one call was expected to take less than 2.5 s."
    return {"counted": rows, "timed": timed, "line": line}


def picture_cost(bench: Bench, recipe: Recipe | None) -> float:
    """What it costs to look at a picture: a run if it may have been forgotten, else a few calls of the VAE."""
    side = bench.pipe.size
    return 2.0 * side * side if recipe is None else cost(bench.pipe.complete(recipe))
