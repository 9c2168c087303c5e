"""X/Y/Z grids: what is written into an axis, read as other programs read it, and the recipes that its cells are.

    values = value *( "," value )          value = text | '"' text with "" for " '"' | range (axes of numbers)           (1)
    range  = 1-5 | 1-5 (+2) | 10-5 (-3) | 1-10 [5]      inclusive; the last: five numbers evenly spaced                  (2)

"Prompt S/R" searches the prompt for its first value and puts each of its values there. A seed of −1 is drawn when the axis is
read, so that it is the same in every cell. An axis that changes nothing is refused, and so are too many cells.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from core.errors import UserError
from core.recipe import BUDGET, MAX_TEXT, Recipe, draw_seed
from core.sampling import SAMPLERS
from studio.formats.infotext import SCHEDULE_TYPES, sampler_id, short, spacing_id

MOST_VALUES, MOST_CELLS = 50, 100
MOST_WORK = BUDGET // 8  # steps × pixels of all cells together

_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\s*-\s*({_NUMBER})(?:\s*\(\s*([+-]\d+(?:\.\d+)?)\s*\)|\s*\[\s*(\d+)\s*\])?")


class Kind(NamedTuple):
    """A kind of axis: how its text is read, what a value changes in a recipe, and an example for the page."""

    name: str
    read: Callable[[str], list[Any]]
    change: Callable[[Recipe, Any], Recipe]
    example: str


@dataclass(frozen=True)
class Axis:
    """An axis with its values; `labels` are what stands at its rows or columns."""

    kind: str
    values: tuple[Any, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """A place in a grid, (x, y, z), and the recipe of the picture there."""

    place: tuple[int, int, int]
    recipe: Recipe


@dataclass(frozen=True)
class Grid:
    """Up to three axes, and every cell, row by row."""

    axes: tuple[Axis | None, Axis | None, Axis | None]
    cells: tuple[Cell, ...]

    def work(self, side: int) -> float:
        """Steps × pixels of all cells, `side` where a recipe leaves the size to the model. Raises UserError for too many."""
        recipes = [cell.recipe for cell in self.cells]
        work = float(sum(recipe.steps * (recipe.width or side) * (recipe.height or side) for recipe in recipes))
        if (more := work / MOST_WORK) > 1:
            raise UserError(f"The grid is {more:.1f} times as much work as it may be: take fewer values, steps or pixels.")
        return work

    def with_recipes(self, recipes: Sequence[Recipe]) -> Grid:
        """The same places with other recipes."""
        return Grid(self.axes, tuple(Cell(cell.place, recipe) for cell, recipe in zip(self.cells, recipes, strict=True)))


# ------------------------------------------------------------------------------------------------- reading


def split(text: str) -> list[str]:
    """Comma-separated values by (1); a quoted value may be empty and may hold commas and line breaks."""
    text, found, at = text[: 10 * MAX_TEXT], [], 0
    while at <= len(text):
        quoted = re.compile(r'\s*"((?:[^"]|"")*)"\s*(?:,|$)').match(text, at)
        if quoted:
            found.append(quoted[1].replace('""', '"'))
            at = quoted.end() if text[quoted.end() - 1 : quoted.end()] == "," else len(text) + 1
            continue
        end = text.find(",", at) if "," in text[at:] else len(text)
        value = text[at:end].strip()
        if value.startswith('"'):
            raise UserError(f"{_clipped(value)} opens a quotation mark that is never closed; write it at the value's end too.")
        found += [value] if value else []
        at = end + 1
    return found


def numbers(text: str, whole: bool) -> list[float]:
    """Numbers and ranges by (2); raises UserError for what is neither, and for a range without end."""
    found: list[float] = []
    for value in split(text.replace("−", "-").replace("–", "-")):
        spread = _RANGE.fullmatch(value)
        found += _spread(value, spread, whole) if spread else [_number(value, whole)]
        if len(found) > MOST_VALUES:
            raise UserError(f"The axis has more than {MOST_VALUES} values; take fewer.")
    return found


def _number(value: str, whole: bool) -> float:
    if not re.fullmatch(r"[+-]?\d{1,20}" if whole else _NUMBER, value):
        kind = "a whole number" if whole else "a number"
        raise UserError(f"{_clipped(value)} is not {kind} or a range such as 1-5, 1-5 (+2), 10-5 (-3) or 1-10 [5].")
    return int(value) if whole else float(value[:40])


def _spread(value: str, spread: re.Match[str], whole: bool) -> list[float]:
    start, stop = (_number(part, whole) for part in spread.groups()[:2])
    if spread[4]:
        wanted = float(spread[4])  # as an int it might have more digits than Python reads
        if not 2 <= wanted <= MOST_VALUES:
            raise UserError(f"{_clipped(value)} asks for {wanted:g} numbers; it can be 2 to {MOST_VALUES}.")
        return [int(n) if whole else round(float(n), 6) for n in np.linspace(start, stop, int(wanted))]
    by = _number(spread[3], whole) if spread[3] else 1
    if by == 0 or (stop - start) * by < 0:
        fall = f"{short(start)}-{short(stop)} ({'+' if stop > start else '-'}1)"
        raise UserError(f"{_clipped(value)} never arrives; the step needs the direction of the range, such as {fall}.")
    count = math.floor((stop - start) / by + 1e-9) + 1
    if count > MOST_VALUES:
        raise UserError(f"{_clipped(value)} is {count} numbers; an axis takes at most {MOST_VALUES}.")
    return [start + i * by if whole else round(start + i * by, 6) for i in range(count)]


def _named(text: str, find: Callable[[str], Any], what: str, known: Sequence[str]) -> list[Any]:
    found = []
    for value in split(text):
        if (name := find(value)) is None:
            raise UserError(f"{_clipped(value)} is no {what}; there are {', '.join(known)}.")
        found.append(name)
    return found


def _sampler(value: str) -> tuple[str, str | None] | None:
    name, spacing = sampler_id(value)
    return None if name is None else (name, spacing)


def _size(value: str) -> tuple[int, int] | None:
    size = re.fullmatch(r"(\d{1,5})(?:\s*[x×]\s*(\d{1,5}))?", value)
    return None if size is None else (int(size[1]), int(size[2] or size[1]))


def _clipped(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:37] + "...")


# ------------------------------------------------------------------------------------------------- the kinds of axis


def _with_sampler(recipe: Recipe, value: tuple[str, str | None]) -> Recipe:
    sampler, spacing = value
    return recipe.replace(sampler=sampler, **({"spacing": spacing} if spacing else {}))


def _with_eta(recipe: Recipe, value: float) -> Recipe:
    has = any(knob.name == "eta" for knob in SAMPLERS[recipe.sampler].knobs)
    return recipe.replace(knobs={**recipe.knobs, "eta": value}) if has else recipe


def _seeds(text: str) -> list[int]:
    return [draw_seed() if seed == -1 else int(seed) for seed in numbers(text, whole=True)]


# In the order in which they are applied: a sampler must be there before its eta.
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (
    Kind("Sampler", lambda text: _named(text, _sampler, "sampler", [entry.label for entry in SAMPLERS.values()]),
         _with_sampler, "DDIM, Heun, DPM++ 2M"),
    Kind("Schedule type", lambda text: _named(text, lambda value: spacing_id(value) or (value if value in SCHEDULE_TYPES else None),
                                              "schedule type", [*SCHEDULE_TYPES.values(), *SCHEDULE_TYPES]),
         lambda recipe, value: recipe.replace(spacing=value), "trailing, karras"),
    Kind("Steps", lambda text: numbers(text, whole=True), lambda recipe, value: recipe.replace(steps=value), "5-20 (+5)"),
    Kind("CFG Scale", lambda text: numbers(text, whole=False),
         lambda recipe, value: recipe.replace(gamma=round(value - 1, 10)), "1-9 [5]"),
    Kind("Eta", lambda text: numbers(text, whole=False), _with_eta, "0-1 [5]"),
    Kind("Seed", _seeds, lambda recipe, value: recipe.replace(seed=value), "-1, 1-3"),
    Kind("Size", lambda text: _named(text, _size, "size", ["128", "128x192"]),
         lambda recipe, value: recipe.replace(width=value[0], height=value[1]), "128, 128x192"),
    Kind("Prompt S/R", split, lambda recipe, value: recipe.replace(prompt=recipe.prompt.replace(*value)), "red, green, blue"),
    Kind("Negative", split, lambda recipe, value: recipe.replace(negative=value), '"", blue'),
)}  # fmt: skip
NOTHING = "Nothing"


def axis(kind: str, text: Any, base: Recipe) -> Axis | None:
    """One axis from what was chosen and typed; None for "Nothing". Raises UserError with one sentence."""
    if kind in (NOTHING, None, ""):
        return None
    if kind not in KINDS:
        raise UserError(f"There is no axis {_clipped(str(kind))}; there are {', '.join(KINDS)}.")
    values = KINDS[kind].read(text if isinstance(text, str) else "")
    if not values:
        raise UserError(f"{kind} has no values; write some, such as {KINDS[kind].example}")
    if len(values) > MOST_VALUES:
        raise UserError(f"{kind} has more than {MOST_VALUES} values; take fewer.")
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    if twice:
        raise UserError(f"{kind} has {_label(kind, twice[0])} twice; give each value once.")
    labels = tuple(_label(kind, value) for value in values)
    if kind == "Prompt S/R":
        if not values[0] or values[0] not in base.prompt:
            raise UserError(f"Prompt S/R searches for its first value, and {_clipped(values[0])} is not in the prompt.")
        values = [(values[0], value) for value in values]
    return Axis(kind, tuple(values), labels)


def _label(kind: str, value: Any) -> str:
    if kind == "Sampler":
        name, spacing = value
        return SAMPLERS[name].label + (f" {spacing}" if spacing else "")
    if kind == "Size":
        return f"{value[0]}×{value[1]}"
    if kind == "CFG Scale":
        return f"γ {short(round(value - 1, 10))} = CFG scale {short(value)}"
    return (value or "(empty)") if isinstance(value, str) else f"{kind.lower()} {short(value)}"


# ------------------------------------------------------------------------------------------------- the cells


def grid(base: Recipe, x: Axis | None = None, y: Axis | None = None, z: Axis | None = None, strict: bool = True) -> Grid:
    """Every combination of the axes' values as a recipe; raises UserError for too many, and where `strict` for an idle axis."""
    axes = (x, y, z)
    given = [one.kind for one in axes if one]
    if not given:
        raise UserError("The grid has no axis; choose at least one.")
    for kind in given:
        if given.count(kind) > 1 and kind != "Prompt S/R":
            raise UserError(f"{kind} is on two axes; choose another for one of them.")
    lengths = [len(one.values) if one else 1 for one in axes]
    if math.prod(lengths) > MOST_CELLS:
        raise UserError(f"The grid has {math.prod(lengths)} pictures; it may have {MOST_CELLS}: take fewer values.")
    cells = _recipes(base, axes)
    for which, one in enumerate(axes):
        if one and strict and not _matters(base, axes, which, cells):
            raise UserError(f"{one.kind} changes nothing here: {_why(one)}")
    return Grid(axes, tuple(Cell(place, recipe) for place, recipe in cells.items()))


def _recipes(base: Recipe, axes: Sequence[Axis | None]) -> dict[tuple[int, int, int], Recipe]:
    """The recipe at every place, x running fastest."""
    cells = {}
    ranges = [range(len(one.values)) if one else range(1) for one in axes]
    for k, j, i in itertools.product(*reversed(ranges)):
        chosen = [(one.kind, one.values[at]) for one, at in zip(axes, (i, j, k), strict=True) if one]
        recipe = base.replace(batch=1)
        for kind, value in sorted(chosen, key=lambda pair: list(KINDS).index(pair[0])):
            recipe = KINDS[kind].change(recipe, value)
        cells[i, j, k] = recipe
    return cells


def _matters(base: Recipe, axes: Sequence[Axis | None], which: int, cells: Mapping[tuple[int, int, int], Recipe]) -> bool:
    """Whether a place has another recipe than the first along this axis, or, of one value only, than without the axis."""
    one = axes[which]
    if one and len(one.values) == 1:
        return _recipes(base, [None if at == which else other for at, other in enumerate(axes)]) != cells
    return any(recipe != cells[(*place[:which], 0, *place[which + 1 :])] for place, recipe in cells.items())


def _why(one: Axis) -> str:
    if one.kind == "Eta":
        return "the sampler has no eta; choose DDIM or Euler a."
    return "every picture along it would be the same; give it other values."
