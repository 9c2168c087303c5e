"""What is shown of schedules and spacings: pure functions from Schedules and Levels to tables, words and drawings.

    alpha_bar = Π (1 − beta),   sigma = √(1 − alpha_bar),   SNR = alpha_bar/(1 − alpha_bar),   log SNR = 2·lam             (1)
    density of training over noise levels: −(1/T)·dt/dlam                                                                  (2)

Against lam every schedule has the same alpha_bar, sigma and SNR: what it decides is only (2), how long it stays at each level.
"""

from __future__ import annotations

import html
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from core.errors import UserError
from core.schedules import SCHEDULES, SPACINGS, Level, Path, Schedule, make, make_path, zero_terminal_snr

if TYPE_CHECKING:
    import pandas as pd

POINTS = 200  # pieces that a curve is computed in: finer than a projector shows
EVERY = 8  # of them one is always drawn, so that there is something to point at; more only where a straight piece would be seen
SEEN = 0.5 / 320  # of the height of a chart: half a pixel
COLOURS = ("#6366f1", "#f97316", "#14b8a6", "#ec4899", "#84cc16", "#0ea5e9")  # told apart on light and on dark
OWN, TYPED = "model", "your own"
MOST_TYPED = 1001


class Quantity(NamedTuple):
    """Something that a schedule says of every time: how it is named, defined and computed."""

    label: str
    formula: str
    of: Callable[[Schedule], np.ndarray]  # [T]


QUANTITIES = {
    "alpha_bar": Quantity("ᾱ", "ᾱ(t) = Π (1 − β(s)) over s ≤ t: the share of the signal's power that is left",
                          lambda s: s.alpha_bar),
    "beta": Quantity("β", "β(t): the variance of the noise that step t of the noising chain adds", lambda s: s.beta),
    "sigma": Quantity("σ", "σ(t) = √(1 − ᾱ(t)): how much noise is in x_t = α·x0 + σ·ε", lambda s: np.sqrt(1 - s.alpha_bar)),
    "snr": Quantity("SNR in dB", "10·log₁₀ SNR,  SNR(t) = ᾱ/(1 − ᾱ) = α²/σ²: 0 dB where signal and noise are equal",
                    lambda s: -20 / math.log(10) * s.log_nsr),
    "log_snr": Quantity("log SNR", "log SNR = 2λ,  λ = log(α/σ): DPM solvers integrate over it, exponential spacing is even in it",
                        lambda s: -2 * s.log_nsr),
    "density": Quantity("density over λ", "−(1/T)·dt/dλ: how often training looks at a noise level, all that a schedule decides",
                        lambda s: 1 / (len(s) * np.gradient(s.log_nsr))),
}  # fmt: skip


def known_schedules(own: Schedule | None = None) -> dict[str, str]:
    """The schedules that can be shown, id -> label; the loaded model's own is marked, or listed if it is no registered one."""
    labels = {name: name.replace("_", " ") for name in SCHEDULES}
    if own is None:
        return labels
    for name in SCHEDULES:
        if len(own) == 1000 and np.allclose(make(name).beta, own.beta, rtol=1e-6):
            return labels | {name: f"{labels[name]} (own)"}
    return labels | {OWN: f"own ({own.name})"}


def schedule_of(name: str, zero: bool = False, own: Schedule | None = None) -> Schedule:
    """A schedule by its id, OWN for the model's; `zero` rescales it to zero terminal SNR (2305.08891)."""
    found = own if name == OWN and own is not None else make(name)
    return zero_terminal_snr(found) if zero else found


# ------------------------------------------------------------------------------------------------------- curves


def curves(schedules: Mapping[str, Schedule], quantity: str, against: str) -> pd.DataFrame:
    """Columns x, y and schedule, against "t" or "lambda": one grid for all, no finer than can be seen; y to five digits."""
    import pandas as pd

    lams = {label: -schedule.log_nsr[::-1] for label, schedule in schedules.items()}
    if against == "t":
        grid = np.unique(np.round(np.linspace(0, max(map(len, schedules.values())) - 1, POINTS + 1)))
    else:
        grid = np.round(np.linspace(min(lam[0] for lam in lams.values()), max(lam[-1] for lam in lams.values()), POINTS + 1), 3)
    rows = np.full((len(schedules), len(grid)), np.nan)
    for row, (label, schedule) in zip(rows, schedules.items(), strict=True):
        values = QUANTITIES[quantity].of(schedule)
        at, values = (np.arange(len(schedule)), values) if against == "t" else (lams[label], values[::-1])
        within = (grid >= at[0]) & (grid <= at[-1])
        row[within] = np.interp(grid[within], at, values)
    drawn = needed(rows)
    there = ~np.isnan(rows[:, drawn])
    y = [float(f"{value:.5g}") for value in rows[:, drawn][there]]
    x = np.broadcast_to(grid[drawn], there.shape)[there]
    return pd.DataFrame({"x": x, "y": y, "schedule": np.repeat(list(schedules), there.sum(1))})


def needed(rows: np.ndarray) -> np.ndarray:
    """Which places of a grid have to be drawn so that straight lines between them are seen as the curves [curves, places].

    Every EVERYth, where a curve begins or ends, and between two of them the place where a curve is farthest from its line.
    """
    places = np.arange(rows.shape[1])
    seen = SEEN * float(np.nanmax(rows) - np.nanmin(rows))
    ends = np.diff(np.isnan(rows), axis=1).any(0)
    drawn = (places % EVERY == 0) | (places == places[-1]) | np.append(ends, False) | np.append(False, ends)
    while True:
        at = np.flatnonzero(drawn)
        off = np.nan_to_num(np.abs(rows - [np.interp(places, at, row[at]) for row in rows])).max(0)
        farthest = np.maximum.reduceat(off, at)[np.searchsorted(at, places, side="right") - 1]
        more = (off > seen) & (off == farthest) & ~drawn
        if not more.any():
            return at
        drawn |= more


def colours(labels: Sequence[str]) -> dict[str, str]:
    """A colour for each label, the same wherever it appears."""
    return dict(zip(labels, itertools.cycle(COLOURS), strict=False))


def legend(tints: Mapping[str, str]) -> str:
    """The colours of `colours` with their labels, as HTML."""
    rows = (f'<li><b style="background: {colour}"></b>{html.escape(label)}</li>' for label, colour in tints.items())
    return f"<ul>{''.join(rows)}</ul>"


# ------------------------------------------------------------------------------------------------------- spacings


def typed_sigmas(text: Any) -> tuple[float, ...] | None:
    """One's own levels as numbers; None where nothing is typed. Raises UserError with one sentence."""
    words = str(text or "")[:20_000].replace("−", "-")
    parts = [part for part in re.split("[,;\n]", words) if part.strip()]
    if not parts:
        return None
    if len(parts) > MOST_TYPED:
        raise UserError(f"There are more than {MOST_TYPED} levels; take fewer.")
    numbers = []
    for part in parts:
        try:
            numbers.append(float(part))
        except ValueError:
            raise UserError(f"{part.strip()[:20]!r} is not a number; write the levels σ/α as 14.6, 5, 1.5, 0.4, 0.1, 0.") from None
        if not math.isfinite(numbers[-1]):
            raise UserError(f"{part.strip()[:20]!r} is not finite; pure noise is the largest number, such as 14.6.")
    for a, b in itertools.pairwise(numbers):
        if b >= a:
            raise UserError(f"{b:g} follows {a:g}, but σ/α must fall from level to level: put the noisiest first.")
    if len(numbers) < 2 or numbers[-1] < 0:
        raise UserError("Two or more levels σ/α are needed, falling, the last of them 0 or more: 14.6, 5, 1, 0.")
    return tuple(numbers)


def paths(
    schedule: Schedule, steps: int, end: str, offset: int = 0, sigmas: Sequence[float] | None = None
) -> dict[str, Path | str]:
    """The path that each spacing places, by its id; a sentence where it cannot. One's own sigmas come last."""
    found: dict[str, Path | str] = {}
    for name in SPACINGS:
        try:
            found[name] = make_path(schedule, name, steps, end=end, offset=offset)
        except UserError as error:
            found[name] = str(error)
    if sigmas is not None:
        found[TYPED] = make_path(schedule, sigmas=sigmas)
    return found


def level_row(level: Level) -> dict[str, float | None]:
    """A level as plain numbers; infinity is None, as JSON has no word for it."""
    finite = {"t": level.t, "alpha": level.alpha, "sigma": level.sigma, "nsr": level.nsr, "lam": level.lam}
    return {name: round(value, 9) if math.isfinite(value) else None for name, value in finite.items()}


def rulers(schedule: Schedule, placed: Mapping[str, Path | str]) -> dict[str, Any]:
    """All that the page needs to draw a row of ticks for each spacing, over t and over lambda."""
    rows = [
        {"name": name, "about": SPACINGS[name].doc if name in SPACINGS else "the levels that you typed",
         **({"fault": path} if isinstance(path, str) else {"levels": [level_row(level) for level in path.levels]})}
        for name, path in placed.items()
    ]  # fmt: skip
    shown = [level["lam"] for row in rows for level in row.get("levels", ()) if level["lam"] is not None]
    lams = [*shown, -schedule.log_nsr[-1], -schedule.log_nsr[0]]
    return {"rows": rows, "times": len(schedule), "low": math.floor(min(lams)), "high": math.ceil(max(lams))}


# ------------------------------------------------------------------------------------------------------- exports


def drawn(figure: Any, kind: str) -> bytes:
    """A matplotlib figure as the bytes of a PNG or SVG."""
    file = BytesIO()
    figure.savefig(file, format=kind, dpi=200, bbox_inches="tight", metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def curves_figure(schedules: Mapping[str, Schedule], quantity: str) -> Any:
    """One quantity of several schedules against t and against lambda, to print."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    tints = colours(list(schedules))
    for axis, (against, name) in zip(axes, (("t", "t"), ("lambda", "λ = log(α/σ)")), strict=True):
        for label, rows in curves(schedules, quantity, against).groupby("schedule", sort=False):
            axis.plot(rows["x"], rows["y"], label=label, color=tints[str(label)])
        axis.set_xlabel(name)
        axis.set_ylabel(QUANTITIES[quantity].label)
        axis.grid(alpha=0.25)
    axes[0].legend(frameon=False)
    figure.suptitle(QUANTITIES[quantity].formula, fontsize=10)
    return figure


def rulers_figure(schedule: Schedule, placed: Mapping[str, Path | str]) -> Any:
    """Where each spacing puts its steps, over t and over lambda, to print."""
    from matplotlib.figure import Figure

    good = {name: path for name, path in placed.items() if isinstance(path, Path)}
    figure = Figure(figsize=(10, 0.6 * len(good) + 1.2), layout="constrained")
    over_t, over_lam = figure.subplots(1, 2, sharey=True)
    for row, path in enumerate(good.values()):
        tint = COLOURS[row % len(COLOURS)]
        over_t.plot([level.t for level in path.levels], [row] * len(path.levels), "|", markersize=16, color=tint)
        lams = [level.lam for level in path.levels if math.isfinite(level.lam)]
        over_lam.plot(lams, [row] * len(lams), "|", markersize=16, color=tint)
    over_t.set_yticks(range(len(good)), list(good))
    over_t.set_ylim(len(good) - 0.5, -0.5)
    over_t.set_xlim(1.02 * len(schedule), -0.03 * len(schedule))
    over_t.set_xlabel("t")
    over_lam.set_xlabel("λ = log(α/σ)")
    figure.suptitle(f"{schedule.name}: noise on the left, data on the right", fontsize=10)
    return figure
