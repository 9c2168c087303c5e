"""Work of assumption 6 for the engine: pictures from inside and outside of the model's world, each kind as it is measured."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from torch import Tensor

from core.assumptions import closed_world
from core.errors import UserError
from core.perfect import Near
from core.pipeline import TextToImage, to_images, to_tensor
from studio.figures import labs as figures
from studio.figures.run import data_uri
from studio.widgets.status import Partial, View
from studio.work.clip import squared

if TYPE_CHECKING:
    from PIL.Image import Image

Work = Generator[Partial | None, None, View]
COUNT, SHOWN = 6, 4  # pictures of a kind that are measured, and shown
THUMB = 128  # pixels a side


def measured(pipe: TextToImage, image: Image | None = None) -> Work:
    """Every kind of picture in turn, a visitor's last; then words."""
    if lacks := pipe.extras.missing("latents"):
        raise UserError(lacks)
    own = None if image is None else to_tensor([squared(image).resize((pipe.size, pipe.size))])
    worlds: list[closed_world.World] = []
    pictures: list[View] = []
    for world in closed_world.worlds(pipe, own, COUNT):
        worlds.append(world)
        rows = [[small(x) for x in part[:SHOWN]] for part in (world.pictures, world.again)]
        pictures.append({"name": world.name, "rows": rows, "near": [neighbour(pipe, near) for near in world.near[:SHOWN]]})
        yield Partial(figures.world_rows(worlds, None) | {"pictures": pictures}, world.name, len(worlds) / (4 + (own is not None)))
    gap = closed_world.gap(worlds)
    return figures.world_rows(worlds, closed_world.heard(pipe)) | {
        "pictures": pictures,
        "line": f"Photo-like textures lose {gap.value:.0f} dB [{gap.low:.0f}, {gap.high:.0f}] more in the VAE than training "
                "pictures do. Those have been through it once already.",
    }  # fmt: skip


def neighbour(pipe: TextToImage, near: Near) -> View:
    """A training picture, what it is called, where it is from, and how far away."""
    training = pipe.extras.training
    origin = training.origins[near.row]
    return {
        "src": small(pipe.decode(training.latents[near.row : near.row + 1])[0].float()),
        "name": f"{origin.label}, {origin.style}: {origin.package} ({origin.licence})",
        "away": figures.number(near.value),
    }


def small(x: Tensor) -> str:
    """A picture [3, H, W] as the page gets it."""
    image = to_images(x[None])[0]
    image.thumbnail((THUMB, THUMB))
    return data_uri(image)
