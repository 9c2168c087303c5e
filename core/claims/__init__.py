"""Every statement of the source document as a function that measures it.

    @claim(12, says=..., asks=..., unit=..., paper=..., link=...)
    def ddim_update() -> Finding: ...

A function takes the loaded model if it has a parameter `pipe`, and is a generator (of Progress) if it takes long; what it comes
to is a Finding: a value with its interval, the verdict that follows from them by a rule that stands in the function, one
sentence that says what was done and seen, and what replays it. `python -m core.claims` measures all and writes CLAIMS.md.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from core.metrics import Interval

CONFIRMED, REFUTED, OPEN = "confirmed", "refuted", "can't tell here"
VERDICTS = (CONFIRMED, REFUTED, OPEN)
THEMES = ("networks", "attending", "sampling", "guiding", "latents", "measuring", "assuming")  # one module each


RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def typeset(text: str) -> str:
    """A text whose powers of ten stand as one writes them: 3.1e-07 as 3.1·10⁻⁷, 0e+00 as 0."""

    def raised(found: re.Match[str]) -> str:
        digits, power = found.groups()
        return f"{digits}·10{str(int(power)).translate(RAISED)}" if float(digits) else "0"

    return re.sub(r"\b(\d(?:\.\d+)?)e([+-]\d\d+)\b", raised, text)


class Progress(NamedTuple):
    """How far a measurement is: a line and the part that is done."""

    line: str
    part: float


@dataclass(frozen=True)
class Finding:
    """What a measurement came to; `recipe`: fields of the Recipe that shows it in the app, empty where none does.

    Where there was nothing to measure the value is NaN and the verdict OPEN.
    """

    value: Interval
    verdict: str
    told: str
    settings: Mapping[str, Any] = field(default_factory=dict)  # what else replays it
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "told", typeset(self.told))
        if self.verdict not in VERDICTS:
            raise ValueError(f"The verdict is {self.verdict!r}; it is one of {', '.join(VERDICTS)}.")


Measure = Callable[..., "Finding | Generator[Progress, None, Finding]"]


@dataclass(frozen=True)
class Claim:
    """A statement of the source, in its words, and how it is measured."""

    id: str
    row: int  # of the table of experiments
    theme: str
    says: str
    asks: str  # what one predicts before measuring
    unit: str
    paper: str
    note: str  # what qualifies the statement, "" where nothing does
    link: str  # the query of the state of the app that shows it, "" where none does
    function: Measure

    @property
    def slow(self) -> bool:
        """Whether it takes more than a few seconds on two cores."""
        return inspect.isgeneratorfunction(self.function)

    @property
    def needs_model(self) -> bool:
        return "pipe" in inspect.signature(self.function).parameters

    @property
    def doc(self) -> str:
        """How it is measured: the first sentence of the function."""
        return (inspect.getdoc(self.function) or "").split("\n\n")[0].replace("\n", " ")

    def measure(self, pipe: Any = None) -> Generator[Progress, None, Finding]:
        """Measure it, whatever kind of function it is."""
        made = self.function(pipe) if self.needs_model else self.function()
        if isinstance(made, Finding):
            return made
        return (yield from made)

    def finding(self, pipe: Any = None) -> Finding:
        """Measure it to the end."""
        work = self.measure(pipe)
        while True:
            try:
                next(work)
            except StopIteration as end:
                return end.value


CLAIMS: dict[str, Claim] = {}


def claim(
    row: int, *, says: str, asks: str, paper: str, unit: str = "", note: str = "", link: str = ""
) -> Callable[[Measure], Measure]:
    """Register a function under its own name; its module is its theme."""

    def register(function: Measure) -> Measure:
        name = function.__name__
        CLAIMS[name] = Claim(name, row, function.__module__.rpartition(".")[2], says, asks, unit, paper, note, link, function)
        return function

    return register


def verdict(holds: bool) -> str:
    """The verdict where a measurement decides."""
    return CONFIRMED if holds else REFUTED


def decided(value: Interval, low: float = float("-inf"), high: float = float("inf")) -> str:
    """The verdict of an interval: all of it within the limits, all of it outside, or neither."""
    if value.low > low and value.high < high:
        return CONFIRMED
    return REFUTED if value.high < low or value.low > high else OPEN


def together(*verdicts: str) -> str:
    """The verdict where several things have to hold: refuted if one is, open if one is, else confirmed."""
    return next((one for one in (REFUTED, OPEN) if one in verdicts), CONFIRMED)


for _theme in THEMES:
    importlib.import_module(f"core.claims.{_theme}")
CLAIMS = dict(sorted(CLAIMS.items(), key=lambda item: item[1].row))
