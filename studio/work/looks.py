"""Where the words of a prompt look, and what becomes of the picture without one: work for the engine's thread, done on demand.

The page gets, for every layer, a small grey map a word, and lays them over the predicted picture itself.
"""

from __future__ import annotations

import base64
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import UserError
from core.observe import Layer, Word, asked_then, attention, by_words, left_out, words
from core.recipe import Recipe
from core.sampling import Step
from studio.figures import strip
from studio.work.film import small

if TYPE_CHECKING:
    from core.pipeline import TextToImage

SIDE = 32  # cells of a map; finer ones are averaged
MOST_WORDS = 24
REST = "start, end and padding"
PLACES = {"down_blocks": "down", "mid_block": "middle", "up_blocks": "up"}


def look(pipe: TextToImage, recipe: Recipe, steps: Sequence[Step], k: int) -> Generator[None, None, dict[str, Any]]:
    """What every word looks at in the step after k moves, in every layer and on average."""
    step = chosen(steps, k)
    found = spoken(pipe, recipe, step)
    yield None
    layers = attention(pipe, recipe, step)
    yield None
    return about(step, k, pipe.pictures(step.x0) if small(pipe, steps) else pipe.preview(step.x0)) | heat(layers, found)


@dataclass(frozen=True)
class Asked:
    """How many questions of how many the network has answered."""

    done: int
    total: int


def leave_out(
    pipe: TextToImage, recipe: Recipe, steps: Sequence[Step], k: int
) -> Generator[Asked | None, None, dict[str, Any]]:
    """`look`, and the predicted picture of the step without each word in turn, with the share of its norm that changed."""
    seen = yield from look(pipe, recipe, steps, k)
    step = chosen(steps, k)
    found = spoken(pipe, recipe, step)
    whole = left_out(pipe, recipe, step)
    made = []
    for done, word in enumerate(found):
        yield Asked(done, len(found))
        x0 = left_out(pipe, recipe, step, word)
        image = (pipe.pictures(x0) if small(pipe, steps) else pipe.preview(x0))[0]
        change = float((x0 - whole).norm() / whole.norm())
        made.append({"src": strip.sheet(np.asarray(image)[None])["src"], "change": strip.exact(change)})
    return {"looks": seen, "without": made}


def chosen(steps: Sequence[Step], k: int) -> Step:
    """The step after k moves; raises UserError where the run is over."""
    if not 0 <= k < len(steps):
        raise UserError("The run is over at this frame, and the network is asked nothing: go one step back.")
    return steps[k]


def spoken(pipe: TextToImage, recipe: Recipe, step: Step) -> list[Word]:
    """The words that held at a step; raises UserError where there are none."""
    found = words(pipe.tokenizer, asked_then(pipe, recipe, step).prompt)[:MOST_WORDS]
    if not found:
        raise UserError("The prompt has no words to look for: write some, and press Generate.")
    return found


def about(step: Step, k: int, images: Sequence[Any]) -> dict[str, Any]:
    """Which frame this is of, and its picture."""
    return {"k": k, "t": strip.exact(step.cur.t), "src": strip.sheet(np.asarray(images[0])[None], 85)["src"]}


def heat(layers: Sequence[Layer], found: Sequence[Word]) -> dict[str, Any]:
    """The maps of every layer, their average first, each from its least to its greatest value, with its mean as the share."""
    maps = [(layer.name, by_words(layer, found)[:, 0]) for layer in layers]  # [words + 1, h, w]
    grids = [("all layers", average([one for _, one in maps])), *((title(name), one) for name, one in maps)]
    return {
        "words": [*(word.text for word in found), REST],
        "layers": [
            {
                "name": f"{name}, {one.shape[-1]}×{one.shape[-2]}",
                "w": cells.shape[-1], "h": cells.shape[-2],
                "maps": [base64.b64encode(grey(cell)).decode() for cell in cells],
                "share": [strip.exact(float(value)) for value in one.mean((1, 2))],
                "range": [[strip.exact(float(cell.min())), strip.exact(float(cell.max()))] for cell in one],
            }
            for name, one in grids
            for cells in (strip.shrunk(one[:, None], SIDE)[:, 0],)
        ],
    }  # fmt: skip


def average(maps: Sequence[Tensor]) -> Tensor:
    """Maps of several sizes as one of the largest, their mean; still they sum to one over the words."""
    size = max((tuple(one.shape[-2:]) for one in maps), key=lambda shape: shape[0] * shape[1])
    return torch.stack([F.interpolate(one[:, None], size, mode="nearest-exact")[:, 0] for one in maps]).mean(0)


def grey(cells: Tensor) -> bytes:
    """A map as bytes, its least value 0 and its greatest 255."""
    least, most = cells.min(), cells.max()
    return ((cells - least) / (most - least).clamp(min=1e-12) * 255).round().to(torch.uint8).numpy().tobytes()


def title(name: str) -> str:
    """up_blocks.0.attentions.1 as one says it."""
    place, *numbers = name.replace("attentions.", "").split(".")
    if place == "mid_block":
        return PLACES[place]
    level, layer = (int(number) + 1 for number in numbers)
    return f"{PLACES.get(place, place)} {level}, layer {layer}"
