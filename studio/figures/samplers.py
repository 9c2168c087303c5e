"""What is shown of races and grids: pure functions from Points, fits and runs to the tables that a page draws, and to figures.

A race is drawn on log-log axes, where an order of convergence is a slope: error ≈ c·NFE^−order.
"""

from __future__ import annotations

import csv
import functools
import io
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from core.claims import typeset
from core.metrics import Interval
from core.sampling import SAMPLERS
from core.toy import TOYS
from core.tradeoff import Fit, Point, fitted
from studio.figures.run import data_uri
from studio.formats.grids import Cell, Grid

if TYPE_CHECKING:
    from PIL.Image import Image

    from core.recipe import Recipe

# Eleven that are told apart on light and on dark; samplers beyond begin again, and every line bears its name.
COLOURS = ("#6366f1", "#94a3b8", "#f97316", "#d946ef", "#14b8a6", "#84cc16", "#0ea5e9", "#e11d48", "#a16207", "#8b5cf6", "#059669")
LARGEST = 256  # pixels of a picture in a grid
POINT = (*Point._fields[:4], "low", "high")
Link = Callable[[str, int], str]  # sampler, steps -> the address that opens such a run


def colour(sampler: str) -> str:
    """A sampler's colour, the same on every chart."""
    return dict(zip(SAMPLERS, itertools.cycle(COLOURS), strict=False)).get(sampler, COLOURS[0])


def lines(points: Iterable[Point], link: Link) -> list[dict[str, Any]]:
    """A race as lines: each sampler's points with their links, and the fit through the finest of them."""
    found = []
    by_sampler: dict[str, list[Point]] = {}
    for point in points:
        by_sampler.setdefault(point.sampler, []).append(point)
    for name in (name for name in SAMPLERS if name in by_sampler):
        entry, own = SAMPLERS[name], sorted(by_sampler[name], key=lambda point: point.nfe)
        fit = None if entry.stochastic else fitted(own)
        found.append({
            "name": name, "label": entry.label, "colour": colour(name), "declared": entry.order, "dashed": entry.stochastic,
            "points": [{"steps": p.steps, "nfe": p.nfe, "error": p.error, "between": between(p.interval),
                        "link": link(name, p.steps)} for p in own],
            "fit": None if fit is None else fit_view(fit, own),
        })  # fmt: skip
    return found


def fit_view(fit: Fit, points: Sequence[Point]) -> dict[str, Any]:
    """The fitted line over the runs that it went through."""
    ends = points[max(0, len(points) - 3)].nfe, points[-1].nfe
    certain = between(Interval(fit.order, fit.low, fit.high))
    return {"order": round(fit.order, 2), "between": certain and [round(end, 2) for end in certain],
            "line": [[nfe, fit.at(nfe)] for nfe in ends]}  # fmt: skip


def between(found: Interval) -> list[float] | None:
    """The ends of an interval for the page; None where there is none."""
    return [found.low, found.high] if math.isfinite(found.low) and math.isfinite(found.high) else None


def told(value: float, ends: Sequence[float] | None, form: str) -> str:
    """A number with its interval in words, in one form; the bracket does not break."""
    words = f"{value:{form}}" + (f" [{ends[0]:{form}},\N{NO-BREAK SPACE}{ends[1]:{form}}]" if ends else "")
    return typeset(words).replace("-", "\N{MINUS SIGN}")


def orders(points: Sequence[Point]) -> list[list[str]]:
    """Measured against declared order, a row for each deterministic sampler of a race."""
    rows = []
    for name in dict.fromkeys(point.sampler for point in points):
        own = [point for point in points if point.sampler == name]
        if SAMPLERS[name].stochastic:
            continue
        fit, enough = fitted(own), [point.nfe for point in own if point.error < 0.01]
        finest = max(own, key=lambda point: point.nfe)
        rows.append([
            SAMPLERS[name].label, str(SAMPLERS[name].order),
            "–" if fit is None else told(fit.order, between(Interval(fit.order, fit.low, fit.high)), ".2f"),
            str(min(enough)) if enough else "–", told(finest.error, between(finest.interval), ".1e"),
        ])  # fmt: skip
    return rows


def registry_rows() -> list[list[str]]:
    """Every sampler as it is registered: label, sentence, order, calls a step, paper as a link where there is one."""
    return [
        [entry.label, entry.doc, "stochastic" if entry.stochastic else str(entry.order), str(entry.calls),
         f"[{entry.paper}](https://arxiv.org/abs/{entry.paper})" if entry.paper else "none"]
        for entry in SAMPLERS.values()
    ]  # fmt: skip


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of our own words as a Markdown table."""
    body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads), *body])


def numbers_of(point: Point) -> dict[str, str | float | None]:
    """A run of a race as other programs read it; no ends where there is no interval."""
    low, high = between(point.interval) or (None, None)
    return dict(zip(POINT, (*point[:4], low, high), strict=True))


def points_csv(points: Sequence[Point]) -> bytes:
    """A race as a table for other programs."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(POINT)
    writer.writerows(numbers_of(point).values() for point in points)
    return file.getvalue().encode()


def race_figure(points: Sequence[Point], title: str) -> Any:
    """A race with its fits, to print."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axis = figure.subplots()
    axis.set_xscale("log")
    axis.set_yscale("log")
    for line in lines(points, lambda *_: ""):
        name = line["label"] + (", order " + told(line["fit"]["order"], line["fit"]["between"], ".2f") if line["fit"] else "")
        xs, ys = ([point[key] for point in line["points"]] for key in ("nfe", "error"))
        axis.plot(xs, ys, "o--" if line["dashed"] else "o-", color=line["colour"], label=name, markersize=4)
        ends = [(point["nfe"], *point["between"]) for point in line["points"] if point["between"]]
        axis.vlines(*(zip(*ends, strict=True) if ends else ([], [], [])), color=line["colour"], linewidth=1)
    axis.set_xlabel("network evaluations (NFE)")
    axis.set_ylabel("error")
    axis.grid(alpha=0.25, which="both")
    if points:
        axis.legend(frameon=False, fontsize=8)
    axis.set_title(title, fontsize=10)
    return figure


# ------------------------------------------------------------------------------------------------- grids of pictures


def grid_view(made: Grid) -> dict[str, Any]:
    """An empty grid: what its axes are, and where its pictures will be."""
    names = [None if axis is None else {"kind": axis.kind, "labels": list(axis.labels)} for axis in made.axes]
    return {"axes": names, "count": len(made.cells), "cells": {}, "forming": None}


def key(cell: Cell) -> str:
    """A cell's name on the page."""
    return ",".join(map(str, cell.place))


def cell_view(recipe: Recipe, image: Image, nfe: int, seconds: float, link: str) -> dict[str, Any]:
    """A finished picture with what it cost."""
    words = f"{recipe.prompt}: {SAMPLERS[recipe.sampler].label}, {recipe.steps} steps, {nfe} NFE"
    return {"src": small_uri(image), "nfe": nfe, "seconds": round(seconds, 2), "link": link, "alt": words}


def small_uri(image: Image) -> str:
    """A picture as the page gets it: at most LARGEST a side."""
    if max(image.size) > LARGEST:
        image = image.copy()
        image.thumbnail((LARGEST, LARGEST))
    return data_uri(image)


# ------------------------------------------------------------------------------------------------- fans


@functools.cache
def cloud(toy: str, points: int = 400) -> tuple[tuple[float, float], ...]:
    """Points of a mixture, always the same."""
    made = TOYS[toy]().sample(points, torch.Generator().manual_seed(0))
    return tuple((float(x), float(y)) for x, y in made)


def fan_view(paths: Any, clouds: Any, eta: float, apart: float, spreads: Mapping[float, float]) -> dict[str, Any]:
    """Trajectories [seeds, levels, 2] from one start over a cloud of the data, and how far they end apart."""
    tracks = [[[round(float(x), 3), round(float(y), 3)] for x, y in track] for track in paths]
    cloud = [[round(float(x), 2), round(float(y), 2)] for x, y in clouds]
    return {"tracks": tracks, "cloud": cloud, "eta": eta, "spread": round(apart, 4),
            "spreads": [[e, round(s, 4)] for e, s in spreads.items()]}  # fmt: skip
