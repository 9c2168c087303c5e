"""Work of the lab "Inside" for the engine: a run, what a part does at one of its steps, and what is lost without a part.

What is switched off is off within one call of the network only: between two steps the engine may serve others.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from torch import Tensor

from core.errors import UserError
from core.inside import effects, looks
from core.inside.effects import Effect, finished, losses_told
from core.inside.parts import Map, map_of
from core.inside.switches import Switch, family, single
from core.observe import words
from core.pipeline import TextToImage
from core.recipe import Recipe
from core.sampling import Step
from studio.figures import inside as figures
from studio.figures.labs import number
from studio.figures.latents import source_of
from studio.figures.run import data_uri
from studio.service.engine import Engine
from studio.service.jobs import Run
from studio.widgets.status import Partial, View
from studio.work.film import small
from studio.work.labs import Work, kept

CHOSEN = "part"  # what is off: the part chosen on the map
MOST_WORDS = 8


def network_map(pipe: TextToImage) -> Map:
    """The map of the loaded network at the size that it was trained at."""
    side = pipe.unet.config.sample_size
    return map_of(pipe.unet.config, side, side, pipe.tokenizer.length)


def ran(engine: Engine, recipe: Recipe) -> Work:
    """A run of one picture: what the network takes it for at every step, first roughly, then finely."""
    run = yield from kept(engine, recipe)
    pipe, steps = engine.pipe, run.steps
    frames = [data_uri(pipe.preview(step.x0)[0]) for step in steps]
    view: View = {"frames": frames, "steps": [{"t": round(step.cur.t), "nsr": number(step.cur.nsr)} for step in steps]}
    if small(pipe, steps):
        for index in sorted(range(len(steps)), key=lambda i: (-(i % 4 == 0), i)):
            frames = [*frames[:index], source_of(pipe.pictures(steps[index].x0)[0]), *frames[index + 1 :]]
            view = view | {"frames": frames}
            yield Partial(view, f"step {index + 1} is fine", 0.3 + 0.7 * (index + 1) / len(steps))
    return view | {"line": "Choose a part of the map: what it puts out at this step stands below it."}


def step_of(run: Run, k: int) -> Step:
    """Step k of a run, counted from 1; its last one where it has fewer."""
    return run.steps[min(k, len(run.steps)) - 1]


def looked(engine: Engine, recipe: Recipe, k: int, name: str) -> Work:
    """What a part puts out at a step, or what a skip carries."""
    run, pipe = (yield from kept(engine, recipe)), engine.pipe
    found, step = network_map(pipe), step_of(run, k)
    source = next((skip.source for skip in found.skips if f"skip:{skip.target}" == name), name)
    view = {"part": name, "step": min(k, len(run.steps)), **figures.activations(looks.activation(pipe, recipe, step, source))}
    if name == source and found.part(name).kind == "resnet":
        yield None
        view["norms"] = [*view["norms"], figures.normalisation(looks.normalised(pipe, recipe, step, name))]
    return view


def attending(engine: Engine, recipe: Recipe, k: int, name: str, down: float, right: float) -> Work:
    """Where the position at these shares of height and width looks in a part's self-attention."""
    run = yield from kept(engine, recipe)
    row = looks.attended(engine.pipe, recipe, step_of(run, k), name, down, right)
    return {"part": name, "step": min(k, len(run.steps)), "at": [down, right], **figures.heat(row)}


# ------------------------------------------------------------------------------------------------- switched off


def switches(pipe: TextToImage, recipe: Recipe, what: str, part: str) -> list[Switch]:
    """What is to be switched off, one after the other; raises UserError where there is nothing."""
    found = network_map(pipe)
    if what == CHOSEN:
        return [single(part, found)]
    return family(what, found, words(pipe.tokenizer, recipe.prompt)[:MOST_WORDS])


def switched(engine: Engine, recipe: Recipe, k: int, what: str, part: str) -> Work:
    """Loss, spectrum and finished picture with each of some switches, beside the whole network's."""
    pipe = engine.pipe
    chosen = switches(pipe, recipe, what, part)
    run = yield from kept(engine, recipe)
    at, last = step_of(run, k).evaluations[0].at, run.steps[-1].x_next
    if at.alpha == 0:
        raise UserError("At this step there is nothing but noise, and no loss to measure: choose a later one.")
    trial = (effects.of_prompt if what == "words" else effects.trial)(pipe, at, recipe, last)
    truth, found, pictures = effects.spectrum(trial.z), list[Effect](), [source_of(run.images[0])]
    view: View = {"of": trial.of, "t": number(at.t)}
    for effect in effects.effects(pipe, trial, chosen):
        found.append(effect)
        view = view | {"gallery": figures.gallery(found, pictures), "charts": [figures.spectra(truth, found)]}
        yield Partial(view, f"measured: {figures.label(effect)}", 0.4 * len(found) / (len(chosen) + 1))
    if what == "time":
        told = []
        for one in losses_told(pipe, trial):
            told.append(one)
            view = view | {"charts": [figures.spectra(truth, found), figures.told_times(told, at.t)]}
            yield Partial(view, f"told t = {one[0]}", 0.4)
    for effect in found[1:]:
        z = yield from without(pipe, run.recipe, effect.switch)
        pictures.append(source_of(pipe.pictures(z)[0]))
        view = view | {"gallery": figures.gallery(found, pictures)}
        yield Partial(view, f"finished {figures.label(effect)}", 0.4 + 0.6 * (len(pictures) - 1) / len(chosen))
    return view | {"line": summary(found)}


def without(pipe: TextToImage, recipe: Recipe, switch: Switch | None) -> Generator[None, None, Tensor]:
    """The latents [1, C, h, w] that a run ends with when something is off all the way."""
    steps = []
    for step in finished(pipe, recipe, switch):
        steps = [step]
        yield None
    return steps[0].x_next


def summary(found: Sequence[Effect]) -> str:
    """Which switch costs most, and whether that is sure."""
    worst = max(found[1:], key=lambda one: one.change.value)
    sure = "more than chance" if worst.change.low > 0 else "no more than chance may do"
    most = "The loss grows" if len(found) == 2 else "The loss grows most"
    return f"{most} {figures.label(worst)}: {figures.change(worst)}, {sure}."
