"""Live trainings for the engine: after every slice of a fraction of a second somebody else may have a turn, or it is stopped.

Every generator yields Partial, or None where there is nothing new to show, and returns the view that it came to. Each of these
views is whole: a slow page skips some.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from torch import Tensor

from core.claims.table import number as said
from core.clock import Clock
from core.errors import UserError
from core.live import pictures, points
from core.metrics import Interval
from core.pipeline import TextToImage, to_images
from core.prediction import NetworkModel
from core.schedules import make
from studio.figures import train as figures
from studio.figures.run import data_uri
from studio.formats.dots import Cells
from studio.widgets.status import Partial, View

Work = Generator[Partial | None, None, View]
Far = dict[tuple[float, float], Interval]  # by share of dropped captions and scale: mean distance to the nearest picture
SHOW_EVERY = 0.3  # seconds
STEPS = {"points": (100, 6000), "pictures": (30, 900)}  # that may be asked for
GAMMAS = (-1.0, 0.0, 2.0, 6.0)
SEEDS = (1, 2, 3)
COLUMNS = 7  # of the strip of samples that improve
THUMB = 64  # pixels a side


def of_points(cells: Cells, width: int, steps: int) -> Work:
    """A small network learns the drawn points."""
    data, schedule = points.mixture(cells), make("linear")
    exact = points.exact(data)
    best = figures.samples(points.samples(data, schedule, exact))
    fixed = {"grid": figures.GRID, "cells": figures.flat(data.means), "best": best}
    found: list[points.Learnt] = []
    shown, view, clock = -SHOW_EVERY, dict(fixed), Clock(points.SECONDS)
    for now in points.learnt(data, schedule, width, steps, clock):
        found.append(now)
        if time.perf_counter() - shown < SHOW_EVERY and now.step < steps and not clock.over:
            yield None
            continue
        shown = time.perf_counter()
        with clock:
            denoise = now.nets.denoiser(0)
            fields = [points.field(data, schedule.at_nsr(nsr), denoise) for nsr in points.FIELDS]
            view = fixed | {
                "charts": [figures.loss_chart(thinned(found)), figures.error_chart(thinned(found))],
                "fields": [figures.field(one) for one in fields],
                "made": figures.samples(points.samples(data, schedule, denoise)),
            }
        yield Partial(view, f"{now.step} of {steps} training steps · loss {now.loss.value:.3f}", now.step / steps)
    last = found[-1]
    line = (f"{early(last.step, steps)}{last.step} steps: loss {last.loss.value:.3f}, and no answer has less than "
            f"{last.least.value:.3f}. The learnt ε is off by {100 * last.error.value ** 0.5:.0f} % of the exact one.")  # fmt: skip
    return view | {"line": line}


def early(step: int, steps: int) -> str:
    """What the last line begins with where the time was over before the steps were."""
    return "" if step == steps else f"Ended at {step} of {steps} steps: this machine is slow. "


def thinned(found: Sequence[Any], most: int = 30) -> list[Any]:
    """At most so many of a curve's points, its ends among them."""
    if len(found) <= most:
        return list(found)
    return [found[round(i * (len(found) - 1) / (most - 1))] for i in range(most)]


# ------------------------------------------------------------------------------------------------- pictures


def of_pictures(pipe: TextToImage, names: str, steps: int, drop: float) -> Work:
    """Two small U-Nets learn the pictures with these names, one with dropped captions; then guidance is tried on both."""
    if lacks := pipe.extras.missing("latents"):
        raise UserError(lacks)
    few = pictures.Few.of(pipe.extras.training, names)
    found: list[pictures.Learnt] = []
    strip, clock = Strip(pipe, few), Clock(pictures.LEARNING)
    view: View = {"strip": strip.view()}
    yield Partial(view, f"{len(few.latents)} pictures of {len(few.names)} names", 0)
    for now in pictures.learnt(few, pipe.schedule, steps, drop, clock):
        if now is None:
            yield None
            continue
        found.append(now)
        view = {"charts": figures.few_charts(thinned(found), (0.0, drop)), "strip": strip.view()}
        line = f"{now.step} of {steps} training steps of both networks"
        yield Partial(view, line, 0.8 * now.step / steps)
        if strip.wants(now.step, steps) or clock.over:
            with clock:
                strip.add(now.step, now.models[-1])
            view |= {"strip": strip.view()}
            yield Partial(view, line, 0.8 * now.step / steps)
    far: Far = {}
    for rows, far in guided(pipe, few, found[-1], (0.0, drop), Clock(pictures.SECONDS - clock.spent)):
        view |= {"guided": {"gammas": list(GAMMAS), "names": list(few.names), "rows": rows}}
        yield Partial(view, "guidance on both networks", 0.8 + 0.1 * len(far) / len(GAMMAS))
    return view | {"line": early(found[-1].step, steps) + verdict(far, drop)}


class Strip:
    """Samples of the network that hears the empty prompt too, as they improve; beside the last the nearest training pictures."""

    def __init__(self, pipe: TextToImage, few: pictures.Few) -> None:
        self.pipe, self.few = pipe, few
        self.steps: list[int] = []
        self.cells: list[list[str]] = []
        self.near: list[tuple[str, str]] = []

    def wants(self, step: int, steps: int) -> bool:
        """Whether samples are due: at the first measurement, then evenly, and at the end."""
        return len(self.steps) < 1 + (COLUMNS - 1) * step / steps - 1e-9 or step == steps

    def add(self, step: int, model: NetworkModel) -> None:
        now = pictures.made(self.few, model, 0.0, SEEDS[:1])
        self.steps.append(step)
        self.cells.append(thumbs(self.pipe, self.few.unfolded(now.z)))
        known = thumbs(self.pipe, self.few.unfolded(self.few.latents[now.nearest]))
        self.near = [(source, said(float(d))) for source, d in zip(known, now.distance, strict=True)]

    def view(self) -> View:
        return {"names": list(self.few.names), "steps": list(self.steps), "cells": list(self.cells), "near": list(self.near)}


def guided(
    pipe: TextToImage, few: pictures.Few, last: pictures.Learnt, drops: Sequence[float], clock: Clock
) -> Iterator[tuple[list[View], Far]]:
    """Both networks under every scale until the clock is over: pictures of each name, how many are nearest to one of the name
    asked for, and how far from it.
    """
    rows: list[View] = [{"name": figures.arm(drop), "cells": []} for drop in drops]
    far: Far = {}
    for gamma in GAMMAS:
        for row, drop, model in zip(rows, drops, last.models, strict=True):
            with clock:
                made = pictures.made(few, model, gamma, SEEDS)
                far[drop, gamma] = made.far(few)
                shown = thumbs(pipe, few.unfolded(made.z[: len(few.names)]))
            told = {"right": figures.interval(made.right(few)), "far": figures.interval(far[drop, gamma])}
            row["cells"].append({"src": shown} | told)
            yield [dict(one, cells=list(one["cells"])) for one in rows], far
            if clock.over:
                return


def verdict(far: Far, drop: float) -> str:
    """What the greatest scale above 0, where guidance begins, that both were tried at did to them, in a sentence."""
    tried = [gamma for gamma in GAMMAS if gamma > 0 and (drop, gamma) in far]
    if not tried:
        return "There was no time to try guidance on both networks."
    without, dropped = (far[p, tried[-1]] for p in (0.0, drop))
    return (f"At γ = {said(tried[-1])} the pictures lie {within(without)} from the nearest training picture if no caption was "
            f"dropped, {within(dropped)} if {100 * drop:.0f} % were.")  # fmt: skip


def within(value: Interval) -> str:
    return f"{said(value.value)} [{said(value.low)}, {said(value.high)}]"


def thumbs(pipe: TextToImage, z: Tensor) -> list[str]:
    """Latents [B, C, h, w] as small pictures for the page."""
    found = to_images(pipe.decode(z))
    for image in found:
        image.thumbnail((THUMB, THUMB))
    return [data_uri(image) for image in found]
