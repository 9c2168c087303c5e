"""Work of the labs for the engine: assumptions, a run with its steps, claims, each showing what it has so far.

Every generator yields Partial and returns the view that it came to. Each of these views is whole: a slow page skips some.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

from core.assumptions import approximation, forward, likelihood, moves, walks
from core.claims import CLAIMS, Finding
from core.claims.table import number as said
from core.errors import UserError
from core.recipe import Recipe
from core.schedules import CLEAN, make, make_path
from core.toy import ring, two_peaks
from studio.figures import labs as figures
from studio.figures.run import duration
from studio.formats.links import to_run
from studio.service.engine import Engine
from studio.service.jobs import Preview, Run
from studio.widgets.status import Partial, View

Work = Generator[Partial | None, None, View]
LINEAR = "linear"  # DDPM's own schedule, which the labs on exact models run on


# ------------------------------------------------------------------------------------------------- the six assumptions


def gaussian_forward() -> Work:
    """Assumption 1."""
    schedule = make(LINEAR)
    back = forward.posteriors(schedule, two_peaks())
    first = [figures.marginal_chart(forward.marginals(schedule)), figures.back_chart(back)]
    found: list[forward.Off] = []
    yield Partial({"charts": first}, "the forward chain is walked", 0.1)
    for off in forward.off_symbols(schedule):
        found.append(off)
        part = len(found) / (2 * len(forward.STEPS))
        yield Partial({"charts": [*first, figures.symbols_chart(found)]}, f"{off.steps} steps of {off.sampler.upper()}", part)
    ten = next(off for off in found if off.steps == 10)
    least = min(1.0, min(one.left.p for one in back) * len(back))
    return {"charts": [*first, figures.symbols_chart(found)],
            "line": f"At 10 steps {100 * ten.share.value:.0f} % of DDIM's samples are no symbol; at {found[-1].steps} steps "
                    f"{100 * found[-1].share.value:.0f} %. The noise is Gaussian, the data need not be: given x₀ of two peaks, "
                    f"no step back differs from a Gaussian (p = {least:.2f} over all t)."}  # fmt: skip


def small_steps() -> Work:
    """Assumption 2."""
    schedule, mixture = make(LINEAR), two_peaks()
    levels = {"to the data": CLEAN, "at σ/α = 0.3": schedule.at_nsr(0.3), "at σ/α = 1": schedule.at_nsr(1.0)}
    losses = {name: moves.small_steps(mixture, at) for name, at in levels.items()}
    clean, chains = losses["to the data"], []
    view: View = {}
    first = figures.loss_chart(losses)
    yield Partial({"charts": [first, *figures.moves_chart(clean, [])[:1]]}, "one step at every β", 0.1)
    for steps in moves.STEPS:
        chains.append((steps, moves.chain(mixture, make_path(schedule, "trailing", steps))))
        view = {"charts": [first, *figures.moves_chart(clean, chains)]}
        yield Partial(view, f"a chain of {steps} steps", len(chains) / len(moves.STEPS))
    grown = f"From β = {clean[0].beta:g} to {clean[-1].beta:g} the loss grows {said(clean[-1].nats / clean[0].nats)} times. "
    return view | {"line": grown + "Two peaks at −1 ± 0.15 and 1 ± 0.4, weights 0.4 and 0.6, averaged over x_t."}


def markov() -> Work:
    """Assumption 3."""
    schedule, mixture = make(LINEAR), two_peaks()
    yield Partial({}, "walking both ways", 0)
    made, levels = walks.walks(mixture, schedule), walks.marks(schedule)
    formula = [walks.forgetting(mixture, made.levels[0], at) for at in made.levels]
    noised = {name: walks.noised(mixture, levels, eta) for name, eta in (("DDPM's noising", 1.0), ("DDIM's, η = 0", 0.0))}
    told = figures.told_chart(levels, {name: walks.beyond_the_last(x) for name, x in noised.items()})
    rest, bounds = figures.walks_charts(made, formula), list[likelihood.Bound]()
    view: View = {}
    for steps, eta in itertools.product(likelihood.STEPS, likelihood.ETAS):
        bounds.append(likelihood.bound(mixture, schedule, steps, eta))
        view = {"charts": [figures.bound_chart(bounds), told, *rest]}
        part = len(bounds) / len(likelihood.STEPS) / len(likelihood.ETAS)
        yield Partial(view, f"paths of {steps} steps, η = {eta:g}", part)
    least = min(made.apart(level).p for level in range(len(made.levels))) * len(made.levels)
    chain, other = (next(one for one in bounds if (one.steps, one.eta) == (10, eta)) for eta in likelihood.ETAS)
    return view | {
        "line": f"Ten steps: the bound on whole paths is {chain.path.value:.2f} nats and the sum over the steps {chain.terms:.2f}; "
                f"with η = {other.eta:g}, no Markov chain, {other.path.value:.2f} and {other.terms:.2f}. No distribution differs "
                f"(p = {min(1, least):.2f} over all t), and yet DDIM keeps the order of its start while DDPM forgets it."
    }  # fmt: skip


def gaussian_reverse() -> Work:
    """Assumption 4."""
    mixture, found, view = two_peaks(), [], {}
    chance, share = moves.by_chance(mixture, CLEAN), float(mixture.weights[0])
    for left in moves.gaussian_moves(mixture, make(LINEAR)):
        found.append(left)
        view = {"charts": figures.reverse_charts(found, chance, share)}
        yield Partial(view, f"T = {left.steps}", len(found) / (len(moves.KINDS) * len(moves.STEPS)))
    ends = {left.kind: left for left in reversed(found)}  # of the fewest moves
    many = found[-len(moves.KINDS)]
    line = (f"At T = {found[0].steps} W₂ is {ends[moves.GAUSSIAN].distance.value:.2f} to two peaks and "
            f"{ends[moves.CONTROL].distance.value:.2f} to one Gaussian: what no Gaussian move can do. DDPM's variance makes it "
            f"{ends[moves.DDPM].distance.value:.2f}. At T = {many.steps} it is {many.distance.value:.2f}; chance alone gives "
            f"{chance.value:.2f}.")  # fmt: skip
    return view | {"line": line}


def universal_approximation() -> Work:
    """Assumption 5."""
    now = approximation.Trained()
    for now in approximation.trained(ring(), make(LINEAR)):
        width = max(width for width, _ in now.errors)
        yield Partial({"charts": figures.trained_charts(now)}, f"width {width}: {100 * now.part:.0f} % of all training", now.part)
    (small, _, large), (few, _, many) = approximation.WIDTHS, approximation.SIZES
    worst, best = now.errors[small, few], now.errors[large, many]
    return {"charts": figures.trained_charts(now),
            "line": f"Error {worst.value:.2f} with width {small} and {few} points, {now.errors[large, few].value:.2f} with width "
                    f"{large} and "
                    f"{few} points, {best.value:.2f} with width {large} and {many} points."}  # fmt: skip


def of(name: str, work: Callable[[], Work]) -> Work:
    """The work of one assumption, its views marked, since by then the page may ask for another."""
    running = work()
    while True:
        try:
            event = next(running)
        except StopIteration as end:
            return end.value | {"of": name}
        yield None if event is None else replace(event, view=event.view | {"of": name})


ASSUMPTIONS: dict[str, Callable[[], Work]] = {
    "forward": gaussian_forward, "small": small_steps, "markov": markov, "reverse": gaussian_reverse,
    "approximation": universal_approximation,
}  # fmt: skip


# ------------------------------------------------------------------------------------------------- a run with its steps


def kept(engine: Engine, recipe: Recipe) -> Generator[Partial | None, None, Run]:
    """A run of one picture with its steps, at once if it is known."""
    running = engine.run_with_steps(recipe.replace(batch=1))
    while True:
        try:
            preview = next(running)
        except StopIteration as end:
            return end.value
        yield None if preview is None else making(preview)


def making(preview: Preview) -> Partial:
    return Partial({}, f"step {preview.step}/{preview.steps} of the run", 0.3 * preview.step / preview.steps)


# ------------------------------------------------------------------------------------------------- claims


def keyed(engine: Engine, names: Sequence[str]) -> Work:
    """The answer key of a lesson: its claims one after the other, those that fail told as such."""
    key: dict[str, View] = {}
    for index, name in enumerate(names):
        work = measured(engine, name)
        while True:
            try:
                event = next(work)
            except StopIteration as end:
                key[name] = end.value["finding"]
                break
            except UserError as error:
                key[name] = {"told": str(error)}
                break
            part = (index + (0 if event is None else event.part)) / len(names)
            yield None if event is None else Partial({"key": dict(key)}, f"{index + 1} of {len(names)}: {event.line}", part)
    return {"key": key, "line": f"{len(key)} answers, measured here."}


def replay(finding: Finding) -> str:
    """The link that opens the recipe of a finding in Denoise, "" where it has none."""
    return "?" + to_run(Recipe(**finding.recipe), "denoise") if finding.recipe else ""


def measured(engine: Engine, name: str) -> Work:
    """One claim, with what it says meanwhile."""
    claim, begun = CLAIMS[name], time.perf_counter()
    if claim.needs_model and (lacks := engine.pipe.extras.missing("latents")):
        raise UserError(lacks)
    work = claim.measure(engine.pipe)
    yield Partial({}, "measuring …", 0)
    while True:
        try:
            progress = next(work)
        except StopIteration as end:
            finding = end.value
            break
        yield Partial({}, progress.line, progress.part)
    seconds = duration(time.perf_counter() - begun)
    found = figures.found(claim, finding, replay(finding)) | {"id": name, "seconds": seconds}
    return {"finding": found, "line": f"{finding.verdict}, in {seconds}"}
