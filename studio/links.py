"""A Recipe as the query of a link, and back: `?v=1&tab=prompt&prompt=a+cat&gamma=6&seed=42`.

Versioned, in the order of Recipe's fields, without what is at its default. Reading never fails: what cannot be used is
left at its default, and one notice says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from core.errors import UserError
from core.recipe import Recipe, allowed, faults
from studio.infotext import short

LINK_VERSION = "1"
MOST_VALUE = 4_000  # characters of one value
PLACES = ("tab", "hide", "lesson")  # what a link says besides the recipe


@dataclass(frozen=True)
class Link:
    """What a link asks for; `notice` is one sentence about what could not be used, empty when all could."""

    recipe: Recipe
    places: Mapping[str, str] = field(default_factory=dict)
    notice: str = ""
    given: frozenset[str] = frozenset()  # the fields that the link itself set


def to_query(recipe: Recipe, **places: str) -> str:
    """The query of a link to this recipe, without the question mark; places are tab, hide and lesson."""
    pairs = [("v", LINK_VERSION), *((name, places[name]) for name in PLACES if places.get(name))]
    values = recipe.model_dump(mode="json", exclude_defaults=True)
    for name in Recipe.model_fields:
        if name in values:
            pairs += _written(name, values[name])
    return urlencode(pairs)


def _written(name: str, value: Any) -> list[tuple[str, str]]:
    if name == "knobs":
        return [(f"knob.{knob}", short(number)) for knob, number in value.items()]
    if name == "guidance":
        return [(f"guidance.{part}", _plain(v)) for part, v in value.items()]
    if name == "branch":
        return [(name, json.dumps(value, ensure_ascii=False, separators=(",", ":")))]
    return [(name, _plain(value))]


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_plain, value))
    return short(value) if isinstance(value, float) else str(value)


def from_query(query: Mapping[str, str]) -> Link:
    """Read a link's parameters; never fails."""
    version = query.get("v", LINK_VERSION)
    places = {name: query[name][:200] for name in PLACES if query.get(name)}
    made: dict[str, Any] = {"prompt": ""}
    odd: list[str] = []
    for key, text in list(query.items())[:100]:
        if key == "v" or key in PLACES or key.startswith("__"):  # Gradio's own begin with two lines
            continue
        try:
            _read(made, key, text)
        except (ValueError, KeyError, TypeError, RecursionError):
            odd.append(key[:40])
    while wrong := faults(made):
        odd += wrong
        made = {"prompt": ""} | {name: value for name, value in made.items() if name not in wrong}
    notices = []
    if version != LINK_VERSION:
        notices.append("This link was made by another version")
    if odd:
        names = ", ".join(dict.fromkeys(odd))
        notices.append(f"Parts of this link could not be used and are at their defaults: {names}")
    given = frozenset(made if query.get("prompt") else set(made) - {"prompt"})
    return Link(Recipe(**made), places, f"{'. '.join(notices)}." if notices else "", given)


def _read(made: dict[str, Any], key: str, text: str) -> None:
    """Put one parameter where it belongs; anything raised means that it cannot be read."""
    if len(text) > MOST_VALUE:
        raise UserError("too long")
    name, _, inner = key.partition(".")
    if name == "knob" and inner:
        made.setdefault("knobs", {})[inner] = float(text)
    elif name == "guidance" and inner:
        value = tuple(map(float, text.split(","))) if inner == "interval" else _typed(key, text)
        made.setdefault("guidance", {})[inner] = value
    elif key == "sigmas":
        made[key] = tuple(map(float, text.split(",")))
    elif key == "branch":
        made[key] = json.loads(text)
    elif key in Recipe.model_fields and key not in ("knobs", "guidance"):
        made[key] = _typed(key, text)
    else:
        raise KeyError(key)


def _typed(path: str, text: str) -> Any:
    kind = allowed(path).get("type")
    return int(text) if kind == "integer" else float(text) if kind == "number" else text
