"""The driver of a run, and the registry of samplers.

A sampler is a generator: it pulls predictions from a denoiser and yields x after every move of a path. The driver counts and
keeps every call, so that a Step tells what really happened. To stop a run is to close the generator.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from core.errors import UserError
from core.prediction import Denoiser, Prediction
from core.schedules import Level, Path

Fresh = Callable[[int], Tensor]  # draw -> noise [B, …]; draw 0 starts the run, draw k + 1 belongs to move k


@dataclass(frozen=True)
class Step:
    """One move of a run: from x at `cur` to x_next at `nxt`, and all the predictions that it took."""

    index: int
    cur: Level
    nxt: Level
    x: Tensor
    x_next: Tensor
    evaluations: tuple[Prediction, ...]
    nfe: int  # network evaluations from the beginning of the run; a guided call counts once a condition

    @property
    def x0(self) -> Tensor:
        """The clean picture as the first prediction of this move saw it."""
        return self.evaluations[0].x0

    @property
    def eps(self) -> Tensor:
        """The noise as the first prediction of this move saw it."""
        return self.evaluations[0].eps

    def map(self, change: Callable[[Tensor], Tensor]) -> Step:
        """The same move with every tensor changed: some rows of a batch, another device."""
        calls = tuple(call.map(change) for call in self.evaluations)
        return replace(self, x=change(self.x), x_next=change(self.x_next), evaluations=calls)

    @property
    def nbytes(self) -> int:
        """How much memory its tensors take."""
        return self.x.nbytes + self.x_next.nbytes + sum(call.nbytes for call in self.evaluations)


class Range(NamedTuple):
    """What a knob may be, and what it does, in a few words."""

    low: float
    high: float
    says: str = ""


@dataclass(frozen=True)
class Knob:
    """A sampler's own setting."""

    name: str
    default: float
    low: float
    high: float
    says: str


@dataclass(frozen=True)
class Sampler:
    """A registered sampler and what is declared of it.

    `order`: the measured global order of convergence on an exact model (None: stochastic). `paper`: its arXiv number, "" where
    no paper defines it. `same_as`: the peer it is held to. `calls`: predictions a move. `finite`: its levels need a finite nsr.
    """

    id: str
    label: str
    function: Callable[..., Iterator[Tensor]]
    order: int | None
    paper: str
    same_as: str
    end: str
    calls: int
    finite: bool
    knobs: tuple[Knob, ...]

    @property
    def stochastic(self) -> bool:
        return self.order is None

    @property
    def doc(self) -> str:
        """The first sentence of the sampler's docstring."""
        return (inspect.getdoc(self.function) or "").split("\n\n")[0].replace("\n", " ")


SAMPLERS: dict[str, Sampler] = {}


def sampler(
    label: str, *, order: int | None, paper: str, same_as: str, end: str = "clean", calls: int = 1, finite: bool = True
) -> Callable[[Callable[..., Iterator[Tensor]]], Callable[..., Iterator[Tensor]]]:
    """Register a function (denoise, path, x, noise, *, knobs) under its own name."""

    def register(function: Callable[..., Iterator[Tensor]]) -> Callable[..., Iterator[Tensor]]:
        name = function.__name__
        SAMPLERS[name] = Sampler(name, label, function, order, paper, same_as, end, calls, finite, knobs_of(function))
        return function

    return register


def knobs_of(function: Callable[..., Any]) -> tuple[Knob, ...]:
    """The keyword-only parameters of a sampler, each with the range that its annotation gives."""
    hints = get_type_hints(function, include_extras=True)
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            if get_origin(hints[name]) is not Annotated:
                raise TypeError(f"The knob {name} of {function.__name__} needs a range: Annotated[float, Range(0, 1)].")
            bounds = next(extra for extra in get_args(hints[name]) if isinstance(extra, Range))
            found.append(Knob(name, parameter.default, *bounds))
    return tuple(found)


@torch.no_grad()
def sample(
    denoise: Denoiser, path: Path, sampler: str, noise: Fresh, x: Tensor | None = None, **knobs: float
) -> Iterator[Step]:
    """Run a sampler along a path, one Step a move; it starts from x, or from unit noise: x = noise(0).

    Raises UserError for a sampler or a knob that does not exist.
    """
    if sampler not in SAMPLERS:
        raise UserError(f"sampler is {sampler!r}; it must be one of {', '.join(SAMPLERS)}.")
    entry = SAMPLERS[sampler]
    check_knobs(entry, knobs)
    calls: list[Prediction] = []

    def recorded(x: Tensor, at: Level) -> Prediction:
        calls.append(denoise(x, at))
        return calls[-1]

    path = path.finite() if entry.finite else path
    x = noise(0) if x is None else x
    nfe = 0
    moves = entry.function(recorded, path, x, lambda move: noise(path.first + move + 1), **knobs)
    for index, ((cur, nxt), x_next) in enumerate(zip(path, moves, strict=True)):
        nfe += sum(max(1, len(call.parts)) for call in calls)
        yield Step(path.first + index, cur, nxt, x, x_next, tuple(calls), nfe)
        x = x_next
        calls.clear()


def check_knobs(entry: Sampler, knobs: Mapping[str, float]) -> None:
    """Raise UserError for a knob that the sampler has not, or a value outside its range."""
    known = {knob.name: knob for knob in entry.knobs}
    for name, value in knobs.items():
        if name not in known:
            raise UserError(f"{entry.label} has no knob {name!r}; it has {', '.join(known) or 'none'}.")
        if not known[name].low <= value <= known[name].high:
            raise UserError(f"{name} is {value:g}; it must be from {known[name].low:g} to {known[name].high:g}.")


def joined(before: Iterable[Step], onward: Callable[[Tensor], Iterable[Step]]) -> Iterator[Step]:
    """The steps before a branch, then those that go on from where they ended, their evaluations counted on."""
    for last in before:
        yield last
    for step in onward(last.x_next):
        yield Step(step.index, step.cur, step.nxt, step.x, step.x_next, step.evaluations, step.nfe + last.nfe)
