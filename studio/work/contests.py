"""Many runs as one piece of work for the engine: whatever is finished is shown at once, and what fails leaves the rest alone.

Each is a generator of Partials, cumulative, so that a page which sees only some of them misses nothing.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from core.assumptions.line import over_runs
from core.errors import UserError
from core.recipe import BUDGET, MAX_SEED, Recipe
from core.sampling import SAMPLERS
from core.schedules import Schedule, make_path
from core.toy import TOYS
from core.tradeoff import (
    FINE,
    FINE_STEPS_ON_NETWORK,
    Point,
    by_noise,
    deterministic,
    distances,
    ends,
    fine,
    floor,
    ladder,
    on_ladder,
    race,
    relative_error,
)
from studio.figures import samplers as figures
from studio.figures.run import duration
from studio.formats.grids import Grid, numbers
from studio.formats.links import to_run
from studio.service.engine import cost
from studio.widgets.checks import one_of, some_of, whole
from studio.widgets.status import Partial

if TYPE_CHECKING:
    from torch import Tensor

    from studio.service.engine import Engine
    from studio.service.jobs import Preview, Run

View = dict[str, Any]
MOST_STOCHASTIC = 80  # steps: finer runs only measure chance
PLANAR = [name for name, make in TOYS.items() if make().means.shape[1] == 2]
MODEL = "model"  # where a race is run, if not on an exact mixture
MOST_RUNS, MOST_STEPS, MOST_STEPS_ON_MODEL = 100, 1000, 100
COARSE = (5, 10, 20, 40)  # the steps of a race on the model, which takes minutes
NOISES, MOST_NOISES = 4, 8  # that a race on the model begins with
CERTAIN = "Brackets and whiskers: 95 % over the starting noises."
NO_TRUTH = ("With fresh noise at every step each run ends elsewhere, and a guided network gives it no known law: there is no truth "
            "to measure it by. The exact mixture has one; their pictures stand under Pictures.")  # fmt: skip
FLOORS = 4  # draws of the data itself, which tell what chance leaves


# ------------------------------------------------------------------------------------------------- grids


@dataclass(frozen=True)
class Piece:
    """One picture of a grid: which it is, what part of all the work is done before and after it, and when that began."""

    index: int
    count: int
    before: float
    after: float
    begun: float

    def at(self, share: float) -> tuple[float, str]:
        """The part of the whole that is done with this share of the picture, and the clock: what went by, what is to come."""
        part, seconds = self.before + share * (self.after - self.before), time.perf_counter() - self.begun
        left = f", about {duration(seconds * (1 - part) / part)} to go" if 0.02 <= part < 1 else ""
        return part, f"{duration(seconds)}{left}"


def pieces(made: Grid) -> list[Piece]:
    """The pictures of a grid, each taking as much of the time as it asks of the network."""
    calls = [SAMPLERS[cell.recipe.sampler].calls * cost(cell.recipe) for cell in made.cells]
    done, begun = [0.0, *itertools.accumulate(calls)], time.perf_counter()
    ends = [each / done[-1] for each in done]
    return [Piece(index, len(calls), *between, begun) for index, between in enumerate(itertools.pairwise(ends))]


def painted(engine: Engine, made: Grid, link: Callable[[Recipe], str]) -> Generator[Partial | None, None, View]:
    """Every cell of a grid, one after the other; a cell that cannot be made says why in its place."""
    view, begun = figures.grid_view(made), time.perf_counter()
    nfe = 0
    spent: list[tuple[int, float]] = []  # evaluations and seconds of what was really computed
    yield Partial(view, "Starting …", 0)
    for piece, cell in zip(pieces(made), made.cells, strict=True):
        cells = view["cells"]
        try:
            run, computed = yield from _seen(engine, cell.recipe, view, figures.key(cell), piece)
            shown = figures.cell_view(cell.recipe, run.images[0], run.nfe, run.seconds, link(cell.recipe))
            cells = cells | {figures.key(cell): shown}
            nfe += run.nfe
            spent += [(run.nfe, run.seconds)] if computed else []
        except UserError as error:
            cells = cells | {figures.key(cell): {"fault": str(error)}}
        view = view | {"cells": cells, "forming": None}
        part, clock = piece.at(1)
        yield Partial(view, f"{piece.index + 1} of {piece.count} pictures · {clock}", part)
    return view | {"told": told(len(made.cells), nfe, time.perf_counter() - begun, spent)}


def _seen(
    engine: Engine, recipe: Recipe, view: View, key: str, piece: Piece
) -> Generator[Partial | None, None, tuple[Run, bool]]:
    """One run, with its rough pictures while they form; and whether it had to be computed."""
    running, computed = engine.run(recipe), False
    while True:
        try:
            preview = next(running)
        except StopIteration as end:
            return end.value, computed
        computed = True
        yield None if preview is None else _forming(preview, view, key, piece)


def _forming(preview: Preview, view: View, key: str, piece: Piece) -> Partial:
    part, clock = piece.at(preview.step / preview.steps)
    line = f"picture {piece.index + 1} of {piece.count} · step {preview.step}/{preview.steps} · {preview.nfe} NFE · {clock}"
    return Partial(view | {"forming": {"key": key, "src": figures.small_uri(preview.images[0])}}, line, part)


def told(count: int, nfe: int, seconds: float, spent: Sequence[tuple[int, float]]) -> str:
    """What a grid cost, and what DDPM's thousand steps would."""
    text = f"{count} pictures, {nfe} network evaluations (NFE), {duration(seconds)}."
    if spent:
        each = sum(seconds for _, seconds in spent) / sum(nfe for nfe, _ in spent)
        text += f" {1000 * each:.0f} ms an evaluation: a thousand guided steps (2000) would take {duration(2000 * each)}."
    return text


# ------------------------------------------------------------------------------------------------- races


def raced_exactly(
    toy: str, schedule: Schedule, samplers: Sequence[str], steps: Sequence[int], link: figures.Link
) -> Generator[Partial, None, tuple[View, list[Point]]]:
    """A race on an exact mixture: deterministic samplers against the truth, stochastic ones against the law of the data."""
    mixture = TOYS[toy]()
    still = [name for name in samplers if not SAMPLERS[name].stochastic]
    moved = [name for name in samplers if SAMPLERS[name].stochastic]
    few = [count for count in steps if count <= MOST_STOCHASTIC] if moved else []
    total = len(still) * len(steps) + len(moved) * len(few)
    view: View = {"on": "mixture", "lines": [], "apart": [], "floor": None}
    points: list[Point] = []
    yield Partial(view, "Solving very finely, for the truth …", 0)
    if few:
        at = make_path(schedule, sigmas=ladder(2, *ends(schedule))).levels[-1]
        view["floor"] = list(over_runs([floor(mixture, at, seed=seed) for seed in range(FLOORS)]))
    runs = [race(mixture, schedule, still, steps)] if still else []
    for run in [*runs, distances(mixture, schedule, moved, few)]:
        for point in run:
            points.append(point)
            view = view | race_lines(points, link)
            yield Partial(view, f"{len(points)} of {total} runs", len(points) / total)
    return view | {"told": f"{len(points)} runs on the exact mixture. {CERTAIN}"}, points


def raced_on_model(
    engine: Engine, recipe: Recipe, samplers: Sequence[str], steps: Sequence[int], noises: int, link: Callable[[Recipe], str]
) -> Generator[Partial | None, None, tuple[View, list[Point]]]:
    """A race of one prompt's latents on the loaded model, from several noises as one batch: minutes, each run seen once finished.

    Stochastic samplers are left out, and the view says so.
    """
    schedule = engine.pipe.schedule
    still = [name for name in samplers if not SAMPLERS[name].stochastic]
    runs = [on_ladder(recipe, schedule, name, count) for count in sorted(steps) for name in still]
    view: View = {"on": "model", "lines": [], "apart": [], "floor": None, "left": left_out(samplers)}
    points: list[Point] = []
    links = {(one.sampler, one.steps): link(one) for one in runs}
    begun, truth = time.perf_counter(), fine(recipe, schedule)
    calls = [SAMPLERS[one.sampler].calls * one.steps for one in (truth, *runs)]
    done = [sum(calls[:index]) / sum(calls) for index in range(len(calls) + 1)]
    best = yield from _ends(engine, truth, noises, view, "the fine solve that counts as the truth", done[0], done[1])
    for index, one in enumerate(runs, 1):
        name = f"{SAMPLERS[one.sampler].label}, {one.steps} steps"
        run = yield from _ends(engine, one, noises, view, name, done[index], done[index + 1])
        points.append(Point(one.sampler, one.steps, run.nfe, relative_error(run.x, best.x), by_noise(run.x, best.x)))
        view = view | race_lines(points, lambda name, count: links[name, count])
        yield Partial(view, f"{index} of {len(runs)} runs", done[index + 1])
    took, sure = duration(time.perf_counter() - begun), CERTAIN if noises > 1 else "From a single noise there is no interval."
    return view | {"told": f"{len(points)} runs on {engine.pipe.name} in {took}. {sure}"}, points


def left_out(samplers: Sequence[str]) -> str:
    """Which samplers have no place in a race on the model, and why."""
    names = [SAMPLERS[name].label for name in samplers if SAMPLERS[name].stochastic]
    return f"Not raced: {', '.join(names)}. {NO_TRUTH}" if names else ""


def race_lines(points: Sequence[Point], link: figures.Link) -> Mapping[str, Any]:
    """The lines of a race so far, stochastic samplers apart."""
    made = figures.lines(points, link)
    return {"lines": [line for line in made if not line["dashed"]], "apart": [line for line in made if line["dashed"]]}


class Ends(NamedTuple):
    """Where runs from several noises end, [noises, C, H, W], and the evaluations that each took."""

    x: Tensor
    nfe: int


def _ends(
    engine: Engine, recipe: Recipe, noises: int, view: View, name: str, before: float, after: float
) -> Generator[Partial | None, None, Ends]:
    """The runs of a race from one seed and those after it; they take the job from one part of the work to another."""
    running = engine.run_beside([recipe.replace(seed=(recipe.seed + more) % (MAX_SEED + 1)) for more in range(noises)])
    while True:
        try:
            preview = next(iter(next(running).values()), None)
        except StopIteration as end:
            runs = [run.with_steps() for run in end.value]
            return Ends(torch.cat([run.steps[-1].x_next for run in runs]), runs[0].nfe)
        if preview is None:
            yield None
        else:
            line = f"{name} · step {preview.step}/{preview.steps} · {preview.nfe} evaluations (NFE) from each noise"
            yield Partial(view, line, before + (after - before) * preview.step / preview.steps)


# ------------------------------------------------------------------------------------------------- what may be asked for


def address(recipe: Recipe) -> str:
    """The link that opens a run where it can be looked at step by step."""
    return "?" + to_run(recipe, "denoise")


def race_work(
    engine: Engine, where: Any, names: Any, steps: Any, noises: Any, recipe: Recipe
) -> tuple[Callable[[], Generator], float]:
    """The work of a race and what it costs; raises UserError for what cannot be raced."""
    names = some_of("samplers", names, SAMPLERS)
    given = numbers(steps, whole=True) if isinstance(steps, str) else steps if isinstance(steps, list) else []
    most = MOST_STEPS_ON_MODEL if where == MODEL else MOST_STEPS
    counts = sorted({whole("steps", count, 1, most) for count in given})
    if not counts:
        raise UserError("steps is empty; write numbers such as 5, 10, 20, 40.")
    if where == MODEL and not set(names) & set(deterministic()):
        raise UserError("On the model only deterministic samplers can be compared with a fine solve: choose one of them.")
    if len(names) * len(counts) > MOST_RUNS:
        raise UserError(f"The race has {len(names) * len(counts)} runs; it may have {MOST_RUNS}: take fewer samplers or steps.")
    if where != MODEL:
        toy = one_of("mixture", where, PLANAR)

        def link(name: str, count: int) -> str:
            return address(recipe.replace(sampler=name, steps=count))

        return lambda: raced_exactly(toy, engine.pipe.schedule, names, counts, link), 0.2 * 20 * 128 * 128
    noises, price = whole("noises", noises, 1, MOST_NOISES), price_on_model(engine, recipe, names, counts)
    if noises * price > BUDGET:
        raise UserError(f"The race costs {noises * price:,.0f} steps × pixels; it may cost {BUDGET:,}: take fewer noises, samplers "
                        "or steps.")  # fmt: skip
    return lambda: raced_on_model(engine, recipe, names, counts, noises, address), noises * price


def price_on_model(engine: Engine, recipe: Recipe, names: Sequence[str], steps: Sequence[int]) -> float:
    """What a race on the model costs for each noise, the fine solve with it: calls × pixels."""
    calls = sum(SAMPLERS[name].calls * count for name in names if name in deterministic() for count in steps)
    size = (recipe.width or engine.pipe.size) * (recipe.height or engine.pipe.size)
    return float(size * (SAMPLERS[FINE].calls * FINE_STEPS_ON_NETWORK + calls))


def noises_allowed(engine: Engine) -> int:
    """The noises that a whole race on the model begins with, if nobody says: NOISES, or fewer where pictures are large."""
    return max(1, min(NOISES, int(BUDGET // price_on_model(engine, Recipe(prompt=""), deterministic(), COARSE))))
