"""What widgets and programs hand in beside a Recipe, checked where it enters: Gradio lets almost anything through."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from core.errors import UserError

MOST_DIGITS = 50  # of a whole number that is repeated in a sentence


def whole(name: str, value: Any, low: int, high: int) -> int:
    """A whole number in a range, also written as 20.0; raises UserError."""
    number = real(name, value, low, high)
    if not number.is_integer():
        raise UserError(f"{name} is {number:g}; it must be a whole number from {low} to {high}.")
    return int(number)


def real(name: str, value: Any, low: float, high: float) -> float:
    """A number in a range, whose ends are finite; raises UserError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise UserError(f"{name} is {_shown(value)}; it must be a number from {low:g} to {high:g}.")
    return float(value)


def one_of(name: str, value: Any, known: Iterable[str]) -> str:
    """One of some names; raises UserError."""
    known = list(known)
    if not isinstance(value, str) or value not in known:
        raise UserError(f"{name} is {_shown(value)}; it must be one of {', '.join(known)}.")
    return value


def some_of(name: str, values: Any, known: Iterable[str]) -> list[str]:
    """Some of these names, each once and in their order; raises UserError for none, or for one that is not known."""
    known = list(known)
    given = [one_of(name, value, known) for value in values[: len(known) + 1]] if isinstance(values, (list, tuple)) else []
    if not given:
        raise UserError(f"{name} is empty; choose at least one of {', '.join(known)}.")
    return [value for value in known if value in given]


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:  # Python itself refuses to write out what is much longer
        return f"a number of more than {MOST_DIGITS} digits"
    text = f"{value:g}" if isinstance(value, float) else "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
