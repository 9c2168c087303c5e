"""Drawn points as a link has them: the name of a shape, or two letters a point for its column and row on a grid of 64 × 64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from core.errors import UserError
from core.live.points import MOST, SIDE

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"  # as base64 in addresses; SIDE of them
Cells = list[tuple[int, int]]


def _cells(of: Callable[[float], tuple[float, float]], count: int) -> Cells:
    """So many places of a curve over [0, 1), in [−1, 1]², as cells, each once."""
    places = (of(k / count) for k in range(count))
    return list(dict.fromkeys((round((SIDE - 1) * (x + 1) / 2), round((SIDE - 1) * (y + 1) / 2)) for x, y in places))


def _moons(part: float) -> tuple[float, float]:
    angle, side = 2 * math.pi * (part % 0.5), 1 if part < 0.5 else -1
    return side * (0.5 * math.cos(angle) - 0.22), side * (0.55 * math.sin(angle) - 0.15)


def _spiral(part: float) -> tuple[float, float]:
    angle = 4 * math.pi * part**0.6
    return 0.8 * part**0.6 * math.cos(angle), 0.8 * part**0.6 * math.sin(angle)


def _heart(part: float) -> tuple[float, float]:
    a = 2 * math.pi * part
    y = 13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)
    return 0.75 * math.sin(a) ** 3, (y + 2) / 20


SHAPES: dict[str, Cells] = {
    "moons": _cells(_moons, 60),
    "ring": _cells(lambda part: (0.7 * math.cos(2 * math.pi * part), 0.7 * math.sin(2 * math.pi * part)), 8),
    "spiral": _cells(_spiral, 70),
    "heart": _cells(_heart, 64),
    "grid": [(column, row) for column in (13, 31, 49) for row in (13, 31, 49)],
    "two points": [(19, 31), (44, 31)],
}


def read(text: Any) -> Cells:
    """The cells of a shape's name or of a drawing's letters; raises UserError for what is neither."""
    if isinstance(text, str) and text in SHAPES:
        return SHAPES[text]
    if not isinstance(text, str) or len(text) % 2 or any(letter not in LETTERS for letter in text):
        raise UserError(f"These drawn points cannot be read; draw some, or choose {', '.join(SHAPES)}.")
    numbers = [LETTERS.index(letter) for letter in text[: 2 * MOST]]
    return list(dict.fromkeys(zip(numbers[::2], numbers[1::2], strict=True)))


def written(points: Any) -> str:
    """The letters of what a page drew, [[column, row], …]; raises UserError for what is no list of such pairs."""
    if not isinstance(points, (list, tuple)) or len(points) > MOST:
        raise UserError(f"At most {MOST} points can be drawn; take some away.")
    return "".join(_letters(point) for point in points)


def _letters(point: Sequence[Any]) -> str:
    good = isinstance(point, (list, tuple)) and len(point) == 2
    if not good or any(isinstance(v, bool) or not isinstance(v, int) or not 0 <= v < SIDE for v in point):
        raise UserError(f"A drawn point is a column and a row from 0 to {SIDE - 1}; clear the drawing and begin again.")
    return LETTERS[point[0]] + LETTERS[point[1]]
