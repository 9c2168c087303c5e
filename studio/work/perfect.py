"""Work of the lab "Perfect denoiser" for the engine: a run as both denoisers see it, and what each of them makes alone.

Every generator yields Partial and returns the view that it came to. Each of these views is whole: a slow page skips some.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from core.errors import UserError
from core.perfect import COPY, PLACES, Look, Near, Perfect, decided, error_curve, reach
from core.pipeline import TextToImage
from core.recipe import Recipe
from core.sampling import Step
from studio.figures import labs as figures
from studio.figures.run import data_uri
from studio.figures.strip import chosen_frames
from studio.service.engine import Engine
from studio.service.jobs import Run
from studio.widgets.status import Partial, View
from studio.work.labs import Work, kept

NO_NAME = "The prompt has no trained name in it; choose “all training pictures”, or name one, as “red apple”."
NO_BRANCH = "This run continues otherwise from some step on, which is not shown here: take the run that it began as."


@dataclass(frozen=True)
class Both:
    """The network's run and the perfect denoiser's own, from the same noise, at the steps that have a frame."""

    run: Run
    alone: Sequence[Step]
    places: Sequence[int]
    looks: Sequence[Look]
    near: Sequence[Near]  # the training picture next to the x0 of the perfect denoiser's own run
    ends: tuple[tuple[Near, ...], tuple[Near, ...]]  # those next to what the network and the perfect denoiser end in
    milliseconds: float  # a step of the perfect denoiser


def compared(engine: Engine, recipe: Recipe, named: bool) -> Work:
    """A run of one picture, and at each step what the perfect denoiser says and makes; the pictures become fine one by one."""
    pipe = engine.pipe
    perfect, label = Perfect.of(pipe), check(pipe, recipe, named)
    run = yield from kept(engine, recipe)
    both = yield from beside(pipe, perfect, run, label)
    view = steps_view(pipe, perfect, both, label)
    yield Partial(view, "the perfect denoiser has answered; the pictures become fine", 0.3)
    places, looks = both.places, both.looks
    for index in sorted(range(len(looks)), key=lambda i: (-(i % 4 == 0), i)):
        latents = (looks[index].network, looks[index].perfect, both.alone[places[index]].x0)
        fine = figures.frame(*(pipe.pictures(z)[0] for z in latents))
        view = view | {"frames": [*view["frames"][:index], fine, *view["frames"][index + 1 :]]}
        yield Partial(view, f"step {places[index] + 1} is fine", 0.3 + 0.7 * (index + 1) / len(looks))
    return view | {"line": summary(perfect, both)}


def check(pipe: TextToImage, recipe: Recipe, named: bool) -> int | None:
    """The label that the perfect denoiser keeps to, None for all; raises UserError for a run that it cannot stand beside."""
    perfect, side = Perfect.of(pipe), (pipe.size, pipe.size)
    label = perfect.named(recipe.prompt) if named else None
    if named and label is None:
        raise UserError(NO_NAME)
    if recipe.branch is not None:
        raise UserError(NO_BRANCH)
    if (recipe.width or pipe.size, recipe.height or pipe.size) != side:
        raise UserError(f"The training pictures are {pipe.size}×{pipe.size} pixels: the run must have that size too.")
    return label


def beside(
    pipe: TextToImage, perfect: Perfect, run: Run, label: int | None
) -> Generator[Partial | None, None, Both]:
    """What the perfect denoiser says of the network's run, and its own from the same noise."""
    begun, seconds, alone = time.perf_counter(), 0.0, []
    for step in perfect.run(pipe, run.recipe, label):
        seconds += time.perf_counter() - begun
        alone.append(step)
        yield None  # somebody else's turn is not counted
        begun = time.perf_counter()
    milliseconds = 1000 * seconds / len(alone)
    places = chosen_frames(len(alone))
    looks, near = [], []
    for k in places:
        looks.append(perfect.look(run.steps[k], label))
        near.append(perfect.nearest(alone[k].x0)[0])
        yield None
    ends = perfect.nearest(run.steps[-1].x_next), perfect.nearest(alone[-1].x_next)
    return Both(run, alone, places, looks, near, ends, milliseconds)


def steps_view(pipe: TextToImage, perfect: Perfect, both: Both, label: int | None) -> View:
    """Everything about a run's steps, its pictures still rough."""
    looks, last = both.looks, both.alone[-1]
    rows = {near.row for look in looks for near in (look.weights[0], *look.nearest[:2])}
    rows |= {near.row for near in both.near} | {end[0].row for end in both.ends}
    rough = [
        [pipe.preview(z)[0].resize((96, 96), 0) for z in (look.network, look.perfect, both.alone[k].x0)]
        for k, look in zip(both.places, looks, strict=True)
    ]  # fmt: skip
    ends = [both.run.images[0], pipe.pictures(last.x_next)[0]]
    beside = [pipe.pictures(pipe.extras.training.latents[near[0].row : near[0].row + 1])[0] for near in both.ends]
    return {
        "frames": [figures.frame(*images) for images in rough],
        "steps": [
            {"k": k + 1, "t": round(step.cur.t), "nsr": figures.number(step.cur.nsr), "entropy": figures.number(look.entropy),
             "apart": figures.number(look.apart), "reach": figures.number(look.reach), "first": look.weights[0].row,
             "share": figures.number(look.weights[0].value), "near": pair(look.nearest[0]), "alone": pair(near)}
            for k, look, near in zip(both.places, looks, both.near, strict=True) for step in [both.run.steps[k]]
        ],
        "nearest": {str(row): known(pipe, row) for row in sorted(rows)},
        "ends": [
            {"src": data_uri(image), "beside": data_uri(other), "near": pair(near[0])}
            for image, other, near in zip(ends, beside, both.ends, strict=True)
        ],
        "left": figures.number(last.nxt.sigma), "moves": len(both.alone),
        "decided": decided(looks), "usual": figures.number(perfect.usual), "copy": COPY,
        "open": figures.number(float(len(perfect) if label is None else int((perfect.data.labels == label).sum()))),
        "named": None if label is None else perfect.names[label],
    }  # fmt: skip


def known(pipe: TextToImage, row: int) -> dict[str, str]:
    """A training picture and where it comes from."""
    training = pipe.extras.training
    origin = training.origins[row]
    return {"src": data_uri(pipe.preview(training.latents[row : row + 1])[0]), "name": f"{origin.label}, {origin.style}",
            "licence": f"{origin.package} ({origin.licence})"}  # fmt: skip


def pair(near: Near) -> list[float | int | None]:
    """A training picture and how far it is, for JSON."""
    return [near.row, figures.number(near.value)]


def summary(perfect: Perfect, both: Both) -> str:
    """What both came to, in a few sentences."""
    when, (network, alone) = decided(both.looks), both.ends
    moves = len(both.alone)
    first = "It is never decided which picture it will be." if when is None else (
        f"Decided from step {both.places[when] + 1} of {moves} on.")  # fmt: skip
    copied = "a copy" if reach(network) < COPY else "no copy"
    return (f"{first} The network's picture is {network[0].value:.2f} from the nearest training picture (they lie "
            f"{perfect.usual:.2f} apart) and {copied}; the perfect denoiser's own is {alone[0].value:.2f} from one. "
            f"{both.milliseconds:.0f} ms a step for the perfect denoiser.")  # fmt: skip


def errors_against_t(pipe: TextToImage) -> Work:
    """The error of network and perfect denoiser at every t."""
    perfect, found, view = Perfect.of(pipe), [], {}
    for one in error_curve(pipe, perfect):
        found.append(one)
        view = {"charts": [figures.errors_chart(found)]}
        yield Partial(view, f"t = {one.t:.0f}", len(found) / len(PLACES))
    return view | {"line": "Eight training pictures, without words; 95 % intervals over the pictures."}
