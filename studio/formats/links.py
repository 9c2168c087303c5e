"""A Recipe as the query of a link, and back: `?v=1&tab=prompt&prompt=a+cat&gamma=6&seed=42`.

Versioned, in the order of Recipe's fields, without what is at its default; what a tab shows besides a recipe follows as
`view.quantity=lam`. Reading never fails: what cannot be used is left at its default, and one notice says so.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from core.errors import UserError
from core.recipe import Recipe, allowed, cleaned, faults
from studio.formats.infotext import short

LINK_VERSION = "1"
MOST_VALUE = 4_000  # characters of one value
PLACES = ("tab", "hide", "lesson")  # what a link says besides the recipe
VIEW = "view."  # before the names of what a tab shows
HERE_ONLY = ("127.0.0.1", "localhost", "::1", "0.0.0.0")  # addresses that mean another machine on another machine


@dataclass(frozen=True)
class Link:
    """What a link asks for."""

    recipe: Recipe
    places: Mapping[str, str] = field(default_factory=dict)
    view: Mapping[str, str] = field(default_factory=dict)
    given: frozenset[str] = frozenset()  # the fields that the link itself set
    odd: tuple[str, ...] = ()  # the names of what could not be used
    foreign: bool = False  # made by another version

    @property
    def notice(self) -> str:
        """What could not be used, in a sentence; empty when all could."""
        notices = ["This link was made by another version"] if self.foreign else []
        if self.odd:
            names = ", ".join(dict.fromkeys(self.odd))
            notices.append(f"Parts of this link could not be used and are at their defaults: {names}")
        return f"{'. '.join(notices)}." if notices else ""


def to_query(
    recipe: Recipe, fields: Collection[str] | None = None, view: Mapping[str, str] | None = None, **places: str
) -> str:
    """The query of a link to this recipe, without the question mark; places are tab, hide and lesson.

    `fields`: those to write, where a tab has defaults of its own.
    """
    pairs = [("v", LINK_VERSION), *((name, places[name]) for name in PLACES if places.get(name))]
    told = recipe.model_dump(mode="json", exclude_defaults=True)
    whole = recipe.model_dump(mode="json")
    written = told if fields is None else fields
    for name in Recipe.model_fields:
        if name in written and whole[name] is not None:
            pairs += _written(name, told.get(name, whole[name]))
    return urlencode([*pairs, *((VIEW + name, text) for name, text in (view or {}).items())])


def to_run(recipe: Recipe, tab: str, view: Mapping[str, str] | None = None) -> str:
    """The query of a link to a run that was made: it names the seed also where it is 0, since a tab without one draws."""
    return to_query(recipe, {*recipe.model_dump(exclude_defaults=True), "seed"}, view, tab=tab)


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
    view: dict[str, str] = {}
    odd: list[str] = []
    for key, text in list(query.items())[:100]:
        if key == "v" or key in PLACES or key.startswith("__"):  # Gradio's own begin with two lines
            continue
        if key.startswith(VIEW) and len(text) <= MOST_VALUE:
            view[key.removeprefix(VIEW)] = text
            continue
        try:
            _read(made, key, text)
        except (ValueError, KeyError, TypeError, RecursionError):
            odd.append(key[:40])
    made = cleaned(made)
    while wrong := faults(made):
        odd += wrong
        made = {"prompt": ""} | {name: value for name, value in made.items() if name not in wrong}
    given = frozenset(made if "prompt" in query and "prompt" not in odd else set(made) - {"prompt"})
    return Link(Recipe(**made), places, view, given, tuple(odd), version != LINK_VERSION)


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


def reachable(page: str, listens: str, public: str | None = None) -> str:
    """The address of a page as others can open it: the public one, or this machine's in its network in place of 127.0.0.1.

    `page` is the address in somebody's browser, which is right already behind a proxy; `listens` is what the server listens on.
    """
    if public:
        return public
    parts = urlsplit(page)
    here = parts.hostname in HERE_ONLY and listens not in HERE_ONLY[:3]
    machine = local_network() if here else None
    if machine is None:
        return page
    return urlunsplit(parts._replace(netloc=f"{machine}:{parts.port}" if parts.port else machine))


def local_network() -> str | None:
    """This machine's address in its network, where it has one; nothing is sent to find it out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation: only the way to it is looked up
        except OSError:
            return None
        found = str(probe.getsockname()[0])
    return None if found.startswith("127.") else found
