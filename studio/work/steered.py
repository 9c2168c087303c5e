"""Accuracy and diversity against the scale, by a classifier and without: work that shows each point when it is there.

Pictures are made in runs of as many seeds as the tab's column says, so that what the trade-off made already is not made again.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import torch

from core.errors import UserError
from core.evaluation.steering import KINDS, Steered, Witness, recipe_at, steered, witness
from core.recipe import BUDGET, Recipe
from studio.figures import steering as figures
from studio.service.engine import Engine, cost
from studio.service.jobs import Run
from studio.widgets.status import Partial, View
from studio.work.guided import Work, forming, target
from studio.work.sweep import MOST_GAMMAS, finished

READING = 0.1  # of the progress, where the witness has to read first


class Bench:
    """Where points are measured; only the engine's worker enters. It remembers what the witness has read."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._witness: list[Witness | None] = []

    def by(self) -> Generator[Partial, None, Witness | None]:
        """The witness of this model, who reads once."""
        if not self._witness:
            work = witness(self.engine.pipe)
            while True:
                try:
                    part = next(work)
                except StopIteration as end:
                    self._witness.append(end.value)
                    break
                yield Partial({}, f"CLIP reads the names that were trained, this once: {100 * part:.0f} %", READING * part)
        return self._witness[0]


def checked_scales(scales: Sequence[float], free: Recipe, count: int) -> float:
    """The cost of so many pictures at every scale; raises UserError for what cannot be."""
    if not 1 <= len(scales) <= MOST_GAMMAS or len(set(scales)) < len(scales):
        raise UserError(f"Give 1 to {MOST_GAMMAS} scales, each once.")
    if min(scales) < 0:
        raise UserError(f"A scale is {min(scales):g}; here 0 is a model without words, and guidance begins above it.")
    for scale in scales:
        free.replace(gamma=scale)  # raises for what no recipe may have
    if (price := len(scales) * len(KINDS) * count * cost(free.replace(batch=1))) > BUDGET:
        raise UserError("That is too long (steps × pixels × pictures): take fewer scales, pictures or steps.")
    return price


def against_scale(bench: Bench, free: Recipe, chosen: str, scales: Sequence[float], count: int) -> Work:
    """Both kinds of guidance at every scale: so many pictures each, from the same noise; `free` says words, seeds and steps."""
    engine, pipe = bench.engine, bench.engine.pipe
    label = target(pipe, free.prompt, chosen)
    by = yield from bench.by()
    found: list[Steered] = []
    strips: list[dict[str, Any]] = []
    points = [(scale, kind) for scale in scales for kind in KINDS]
    view: View = {"forming": None}
    for done, (scale, kind) in enumerate(points):
        runs: list[Run] = []
        recipe = recipe_at(free, label, kind, scale)
        for start in range(0, count, free.batch):
            seed, batch = (free.seed + start) % 2**64, min(free.batch, count - start)
            work = engine.run(recipe.replace(seed=seed, batch=batch))
            while True:
                try:
                    event = next(work)
                except StopIteration as end:
                    runs.append(end.value)
                    break
                if event is None:
                    yield None
                    continue
                part = (start + batch * event.step / event.steps) / count
                now = forming(event, f"{figures.NAMES[kind]}, scale {scale:g}")
                yield Partial(view | now.view, now.line, READING + (1 - READING) * (done + part) / len(points))
        latents = torch.cat([finished(pipe, run) for run in runs])
        found.append(steered(pipe, label, kind, scale, latents, runs[0].nfe, by))
        pictures = figures.tiles([image for run in runs for image in run.images])
        strips.append(figures.strip(found[-1], label.name, free.prompt, pictures))
        view = {"forming": None, "name": label.name, "charts": figures.charts(found, label.name), "strips": list(strips)}
        yield Partial(view, f"scale {scale:g} measured", READING + (1 - READING) * (done + 1) / len(points))
    return view | {"line": figures.told(found, label.name)}
