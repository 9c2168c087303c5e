"""From a finished run to a film: work for the engine's thread, which hands out what is ready as it goes.

First what costs no network: numbers, rough pictures by one linear map, latents, and every move taken apart. Then, where the VAE
is small enough for every frame, the decoded pictures, view by view; of a large model a frame is decoded when it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from core.observe import Anatomy, anatomy, updates
from core.recipe import Recipe
from core.sampling import SAMPLERS, Step
from studio.figures import strip
from studio.figures.run import scale
from studio.formats.links import to_run

if TYPE_CHECKING:
    from core.pipeline import TextToImage

SMALL = 32 * 32  # latent cells up to which every frame is decoded
AT_ONCE = 4  # pictures decoded between two chances to stop
WEIGHED = ("eps", "correction")
FILLED = ("model", "schedule", "spacing", "end", "width", "height")  # what a complete recipe has of the model
FIRST = ("x0", "x", "eps")  # decoded for every film; the two halves of guidance when they are looked at


@dataclass(frozen=True)
class Progress:
    """How many pictures of how many are decoded, and the views that are complete."""

    film: dict[str, Any]
    pictures: dict[str, strip.Sheet]
    done: int
    total: int


def small(pipe: TextToImage, steps: Sequence[Step]) -> bool:
    """Whether every frame of these steps is decoded."""
    return steps[0].x.shape[-1] * steps[0].x.shape[-2] <= SMALL


def frames(steps: Sequence[Step], view: str) -> Tensor:
    """The latents of one view, a frame each [N, 4, h, w]; x and x0 have one more, where the run ended."""
    kept = strip.chosen_frames(len(steps))
    found = [strip.views(steps[k]).get(view, steps[k].eps) for k in kept]  # where guidance pauses, eps is all there is
    return torch.cat([*found, steps[-1].x_next] if view in ("x", "x0") else found)


def develop(
    pipe: TextToImage, recipe: Recipe, steps: Sequence[Step], beside: Sequence[Step] | None = None
) -> Generator[Progress, None, Progress]:
    """The whole film, its parts as they become ready; of a branch, with how far it is from the run `beside` it."""
    made = film(pipe, recipe, steps)
    if beside is not None:
        made |= {"of": recipe.replace(branch=None).digest[:12], "apart": apart(steps, beside)}
    wanted = {view: frames(steps, view) for view in FIRST if small(pipe, steps)}
    total = sum(map(len, wanted.values()))
    yield Progress(made, {}, 0, total)
    return Progress(made, (yield from decoded(pipe, wanted, strip.sheet, made)), total, total)


def decoded(
    pipe: TextToImage, wanted: Mapping[str, Tensor], finish: Callable[[np.ndarray], Any], film: dict[str, Any] | None = None
) -> Generator[Progress, None, dict[str, Any]]:
    """Latents by name as pictures [N, H, W, 3], a few at a time, each name's `finish`ed when it has all of its own."""
    ready: dict[str, Any] = {}
    done, total = 0, sum(map(len, wanted.values()))
    for name, latents in wanted.items():
        tiles = []
        for part in latents.split(AT_ONCE):
            tiles.append(strip.eight_bits(pipe.decode(part)))
            done += len(part)
            yield Progress(film or {}, dict(ready), done, total)
        ready[name] = finish(np.concatenate(tiles))
    return ready


def film(pipe: TextToImage, recipe: Recipe, steps: Sequence[Step]) -> dict[str, Any]:
    """All of a film but its decoded pictures, as the page's script reads it."""
    kept = strip.chosen_frames(len(steps))
    moves = taken_apart(pipe, recipe, steps, kept)
    about = [strip.numbers(steps[k], k) | {"hand": strip.hand_numbers(one)} for k, one in zip(kept, moves, strict=True)]
    cells = {view: frames(steps, view) for view in strip.VIEWS if any(view in strip.views(step) for step in steps)}
    f = pipe.vae.factor
    then = recipe.branched
    return {
        "id": recipe.digest[:12],
        "steps": len(steps),
        "frames": [*about, strip.last_numbers(steps[-1], len(steps))],
        "size": [steps[0].x.shape[-1] * f, steps[0].x.shape[-2] * f],
        "small": small(pipe, steps),
        "branch": recipe.branch.step if recipe.branch else None,
        "sampler": SAMPLERS[recipe.sampler].label,
        "after": SAMPLERS[then.sampler].label,
        "scale": scale(then.gamma),
        "gamma": then.gamma,
        "prompt": then.prompt,
        "guided": "uncond" in cells,
        "rough": {view: strip.small_sheet(rough(pipe, values)) for view, values in cells.items()},
        "latents": {view: strip.latent_sheet(values) for view, values in cells.items()},
        "hand": hand_sheets(pipe, moves),
        "strength": strength(moves),
        "beside": beside_perfect(pipe, recipe),
    }


def beside_perfect(pipe: TextToImage, recipe: Recipe) -> str:
    """The link to this run beside the perfect denoiser, without what the model has anyway; "" where that lab cannot show it."""
    own = pipe.complete(Recipe(prompt="", sampler=recipe.sampler))
    if recipe.branch is not None or recipe.image or (recipe.width, recipe.height) != (own.width, own.height):
        return ""
    if pipe.extras.missing("latents"):
        return ""
    filled = [name for name in FILLED if getattr(recipe, name) == getattr(own, name)]
    return "?" + to_run(recipe.replace(**dict.fromkeys(filled)), "labs", {"page": "perfect"})


def taken_apart(pipe: TextToImage, recipe: Recipe, steps: Sequence[Step], kept: Sequence[int]) -> list[Anatomy]:
    """The chosen moves as sums of terms, their noise drawn anew from its address."""
    noise = pipe.noise([recipe])
    made = updates(pipe, recipe, steps)
    return [anatomy(steps, made[k], noise) for k in kept]


def apart(steps: Sequence[Step], beside: Sequence[Step]) -> list[float]:
    """‖x − x'‖ / ‖x‖ for every frame of two runs."""
    pairs = [(steps[k].x, beside[k].x) for k in strip.chosen_frames(len(steps))] + [(steps[-1].x_next, beside[-1].x_next)]
    return [strip.exact(float((x - other).norm() / other.norm())) for x, other in pairs]


def strength(moves: Sequence[Anatomy]) -> int:
    """How many times as strong the corrections of a run are drawn, so that the greatest is about as strong as the noise."""
    norms = {name: max((float(t.value.norm()) for m in moves for t in m.terms if t.name == name), default=0.0) for name in WEIGHED}
    return 1 if not norms["correction"] else 10 ** max(0, round(math.log10(norms["eps"] / norms["correction"])))


def hand_sheets(pipe: TextToImage, moves: Sequence[Anatomy]) -> dict[str, strip.Sheet]:
    """The terms of every move through the linear part of one map, grey where they are 0, so that the pictures add as they do."""
    found: dict[str, list[Tensor]] = {"next": [one.x_next for one in moves]}
    for name in dict.fromkeys(term.name for one in moves for term in one.terms):
        found[name] = [
            next((term.value.float() for term in one.terms if term.name == name), torch.zeros_like(one.x_next)) for one in moves
        ]
    if "correction" in found:
        found["correction"] = [value * strength(moves) for value in found["correction"]]
    return {name: strip.small_sheet(linear(pipe, torch.cat(values))) for name, values in found.items()}


def rough(pipe: TextToImage, latents: Tensor) -> np.ndarray:
    """What latents look like, a pixel a cell."""
    return strip.eight_bits(pipe.rough(strip.shrunk(latents, strip.ROUGH_SIDE)))


def linear(pipe: TextToImage, latents: Tensor) -> np.ndarray:
    """The same map without what it adds to everything, at half its strength, so that noise is not cut off."""
    cells = strip.shrunk(latents, strip.LATENT_SIDE)
    return strip.eight_bits((pipe.rough(cells) - pipe.rough(torch.zeros_like(cells[:1]))) / 2)


@dataclass(frozen=True)
class Cut:
    """What a film file is made of: pictures [N, H, W, 3] of x_t and of the predicted x0, and the numbers of each frame."""

    x: np.ndarray
    x0: np.ndarray
    numbers: list[dict[str, Any]]


def cut(pipe: TextToImage, recipe: Recipe, steps: Sequence[Step]) -> Generator[Progress, None, Cut]:
    """Every frame decoded, for a file."""
    numbers = [strip.numbers(steps[k], k) for k in strip.chosen_frames(len(steps))]
    found = yield from decoded(pipe, {view: frames(steps, view) for view in ("x0", "x")}, lambda tiles: tiles)
    return Cut(found["x"], found["x0"], [*numbers, strip.last_numbers(steps[-1], len(steps))])


def more(
    pipe: TextToImage, recipe: Recipe, steps: Sequence[Step], views: Sequence[str], k: int | None = None
) -> Generator[Progress, None, dict[str, Any]]:
    """Pictures that a film lacks: whole views, or of one frame."""
    wanted = {view: frames(steps, view) for view in views if k is not None or small(pipe, steps)}
    if k is not None:
        at = frame_of(len(steps), k)
        wanted = {f"{view}{k}": latents[at : at + 1] for view, latents in wanted.items() if at < len(latents)}
    return {"views" if k is None else "single": (yield from decoded(pipe, wanted, strip.sheet))}


def frame_of(moves: int, k: int) -> int:
    """Which frame shows the run after k moves."""
    kept = [*strip.chosen_frames(moves), moves]
    return kept.index(k) if k in kept else len(kept)
