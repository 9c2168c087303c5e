"""Guidance under the glass: work for the engine that shows one run's triangle, an interval and a rescale, a classifier.

Each is a generator of what to show meanwhile that returns a view; runs that are known already are not computed again.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import torch

from core.errors import UserError
from core.judge import Label
from core.pipeline import TextToImage
from core.recipe import Recipe
from studio.figures import guidance as figures
from studio.figures.run import data_uri
from studio.service.engine import Engine
from studio.service.jobs import Preview, Run
from studio.widgets.status import Partial, View
from studio.work.sweep import AUTO, class_of

Work = Generator[Any, None, View]


def triangle(engine: Engine, recipe: Recipe, row: int = 0) -> Work:
    """The plane of eps_0 and eps_c at every step of a run."""
    if recipe.gamma in (-1, 0):
        raise UserError("At this scale the network is asked only once, so there is no triangle: take a γ other than −1 and 0.")
    run = yield from kept(engine, recipe, "")
    return {"triangle": figures.triangle(run, row, engine.pipe.rough)}


def variants(recipe: Recipe, low: float, high: float, rescale: float) -> dict[str, Recipe]:
    """The same run guided everywhere, in an interval, rescaled, and both."""
    named: dict[str, dict[str, Any]] = {"everywhere": {}, "in the interval": {"interval": (low, high)}}
    if rescale:
        named |= {"rescaled": {"rescale": rescale}, "both": {"interval": (low, high), "rescale": rescale}}
    return {name: recipe.replace(guidance=guidance) for name, guidance in named.items()}


def effects(engine: Engine, recipes: Mapping[str, Recipe]) -> Work:
    """Variants of one run side by side, each shown when it is there; the first one is guided everywhere."""
    found: list[dict[str, Any]] = []
    view: View = {}
    for done, (name, recipe) in enumerate(recipes.items()):
        work = kept(engine, recipe, name)
        while True:
            try:
                event = next(work)
            except StopIteration as end:
                run: Run = end.value
                break
            if event is not None:
                yield Partial(view | event.view, event.line, (done + event.part) / len(recipes), event.step)
        found.append(figures.effect(name, run))
        if not view:
            view = {"conditional": figures.conditional_spread(run), **figures.both(recipe.gamma)}
        view = view | {"effects": list(found)}
        yield Partial(view, f"{name}: finished", (done + 1) / len(recipes))
    return view


def classifier(engine: Engine, free: Recipe, judged: Recipe) -> Work:
    """Both kinds of guidance from one noise, and at every step where each pushes; the second's prompt is a class or AUTO."""
    pipe, judge = engine.pipe, engine.pipe.extras.judge
    label = target(pipe, free.prompt, judged.prompt)
    judged = judged.replace(prompt=label.name)
    first = yield from kept(engine, free, "classifier-free")
    second = yield from kept(engine, judged, "classifier")
    steps = []
    for one, two in zip(first.steps, second.steps, strict=True):
        p, q, at = one.evaluations[0], two.evaluations[0], one.cur
        x = one.x.to(pipe.device)
        gradient = judge.gradient(x, at, [label]).cpu()
        told = figures.pushes(p, q, at, gradient, pipe.rough) | {"step": one.index + 1, "t": figures.number(at.t, 1)}
        steps.append(told | {"nsr": figures.number(at.nsr), "sure": [sureness(pipe, step, label) for step in (one, two)]})
        yield None
    pictures = [figures.tile(run.images[0]) for run in (first, second)]
    cost = [run.nfe for run in (first, second)]
    names = {"prompt": free.prompt, "label": label.name, "free": figures.both(free.gamma), "judged": figures.judged(judged.gamma)}
    return {"classifier": names | {"steps": steps, "pictures": pictures, "nfe": cost, "seed": str(free.seed)}}


def target(pipe: TextToImage, prompt: str, chosen: str) -> Label:
    """The class that is guided to: the chosen one or, for AUTO, that of what the prompt names."""
    label = class_of(pipe, prompt) if chosen == AUTO else pipe.extras.judge.find(chosen)
    if label is None:
        raise UserError(f"{prompt[:40]!r} names nothing that was trained, so its class is not known: choose one.")
    return label


@torch.no_grad()
def sureness(pipe: TextToImage, step: Any, label: Any) -> float | None:
    """p(y | x_t) of one step's x."""
    log_prob = pipe.extras.judge.log_prob(step.x.to(pipe.device), step.cur, [label])
    return figures.number(float(log_prob.exp()), 4)


def kept(engine: Engine, recipe: Recipe, name: str) -> Generator[Partial | None, None, Run]:
    """A run with its steps, seen while it forms."""
    work = engine.run_with_steps(recipe)
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            return end.value
        yield None if event is None else forming(event, name)


def forming(event: Preview, name: str) -> Any:
    """A rough picture on its way."""
    line = f"{name + ': ' if name else ''}step {event.step}/{event.steps}"
    return Partial({"forming": data_uri(event.images[0])}, line, event.step / event.steps, event.step)
