"""Walks between two noises, two prompts or two pictures: frames made once, each way, for a page that scrubs through them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.between import between_noises, between_prompts, run_from
from core.errors import UserError
from core.latents import WAYS, linear
from core.recipe import BUDGET, Recipe
from core.sampling import Step
from studio.figures import latents as figures
from studio.figures import strip
from studio.formats import photos
from studio.service.engine import TOGETHER
from studio.widgets.status import Partial, View
from studio.work.latents import Bench, Coded, Held, Work

PICTURES, NOISES, PROMPTS = "pictures", "noises", "prompts"
PIXELS = "pixels, linear"


@dataclass(frozen=True)
class Walk:
    """Between which two, in how many frames; `other` is a seed, a prompt or a picture's digest, by `kind`."""

    kind: str
    recipe: Recipe
    other: int | str
    frames: int
    first: str = ""  # of two pictures, the digest of the first

    @property
    def shares(self) -> list[float]:
        return [i / (self.frames - 1) for i in range(self.frames)]


def walked(bench: Bench, walk: Walk, pictures: Sequence[Image.Image] = ()) -> Work:
    """Frames between two noises, prompts or pictures, each way; they are shown as they are finished."""
    return bench.remembered(walk, _walked(bench, walk, pictures))


def _walked(bench: Bench, walk: Walk, pictures: Sequence[Image.Image]) -> Work:
    ends: list[Coded] = []
    for image in pictures:
        ends.append((yield from bench.coded(image)))
    ways = [*([PIXELS] if ends else []), *WAYS]
    view: View = {"kind": walk.kind, "shares": walk.shares, "names": names(walk), "lanes": []}
    rows = max(1, int(TOGETHER.get(bench.pipe.device.type, 0) // pixels_of(bench, walk)))
    for index, way in enumerate(ways):
        given, long = material(bench, walk, way, ends)
        tiles: list[np.ndarray] = []
        for begin in range(0, walk.frames, rows):
            part = given[begin : begin + rows]
            where = f"{way}: frames {begin + 1} to {begin + len(part)} of {walk.frames}"
            for share in formed(bench, walk, way, part, tiles):
                done = (index + (begin + share * len(part)) / walk.frames) / len(ways)
                yield Partial({}, where, done)
            lane = {"way": way, "sheet": strip.sheet(figures.stacked(tiles), 90), "frames": begin + len(part), "length": long}
            view = view | {"lanes": [*view["lanes"][:index], lane]}
            yield Partial(view, where, (index + (begin + len(part)) / walk.frames) / len(ways))
    return view | {"line": f"{len(ways)} × {walk.frames} frames are here: drag the slider, nobody is asked any more."}


def between_pictures(bench: Bench, held: Held, other: Image.Image | None, recipe: Recipe, frames: int) -> Work:
    """The walk from the picture held to another one, or to what the model makes of a recipe."""
    if other is None:
        other = (yield from bench.engine.run(recipe)).images[0]
    walk = Walk(PICTURES, recipe, photos.digest(other), frames, photos.digest(held.image))
    return (yield from walked(bench, walk, (held.image, other)))


def pixels_of(bench: Bench, walk: Walk) -> int:
    return (walk.recipe.width or bench.pipe.size) * (walk.recipe.height or bench.pipe.size)


def names(walk: Walk) -> list[str]:
    """What stands at both ends."""
    if walk.kind == NOISES:
        return [f"seed {walk.recipe.seed}", f"seed {walk.other}"]
    return [walk.recipe.prompt, str(walk.other)] if walk.kind == PROMPTS else ["your picture", "the other picture"]


def material(bench: Bench, walk: Walk, way: str, ends: Sequence[Coded]) -> tuple[Tensor, list[float | None]]:
    """What lies along the way, a row a frame, and how long each row is (the root mean square of its numbers)."""
    if walk.kind == NOISES:
        given = between_noises(bench.pipe, walk.recipe, int(walk.other), walk.shares, way)
    elif walk.kind == PROMPTS:
        given = between_prompts(bench.pipe, walk.recipe, str(walk.other), walk.shares, way)
    elif way == PIXELS:
        given = torch.cat([linear(ends[0].x, ends[1].x, s) for s in walk.shares])
    else:
        given = torch.cat([WAYS[way](ends[0].z, ends[1].z, s) for s in walk.shares])
    return given, figures.lengths(given)


def formed(bench: Bench, walk: Walk, way: str, part: Tensor, tiles: list[np.ndarray]) -> Iterator[float]:
    """Make pictures of a few frames and add them to the tiles, telling how much of it is done."""
    if walk.kind == PICTURES:
        tiles.append(strip.eight_bits(part if way == PIXELS else bench.decoded(part)))
        return
    given = {"starts": part} if walk.kind == NOISES else {"states": part}
    step: Step | None = None
    for step in run_from(bench.pipe, walk.recipe, **given):
        yield (step.index + 1) / walk.recipe.steps
    assert step is not None
    if not bool(step.x_next.isfinite().all()):
        raise UserError("The pictures became NaN on the way: try --dtype fp32, or a smaller guidance scale.")
    tiles.append(strip.eight_bits(bench.decoded(step.x_next)))


def walk_cost(bench: Bench, walk: Walk) -> float:
    """steps × pixels, as the engine counts. Raises UserError for what would hold everybody up."""
    steps = 1 if walk.kind == PICTURES else walk.recipe.steps
    cost = steps * pixels_of(bench, walk) * walk.frames * 2
    if cost > BUDGET:
        raise UserError(f"This way costs {cost:,} steps × pixels; it may cost {BUDGET:,}: take fewer frames or steps.")
    return cost
