"""What the labs show, as tables that their scripts draw: charts of measured curves, cards of claims, steps of a run.

A chart is {title, note, x, y: {name, log, low, high}, series: [{name, kind, points: [[x, value, low, high]]}]}; where low and
high are None chance had no part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.assumptions.line import over_runs
from core.claims import CLAIMS, THEMES, Claim, Finding
from core.claims.table import TITLES, shown
from core.metrics import Interval
from studio.figures.run import data_uri

if TYPE_CHECKING:
    from PIL.Image import Image

    from core.assumptions.approximation import Trained
    from core.assumptions.closed_world import Heard, World
    from core.assumptions.forward import Marginal, Off, Posterior
    from core.assumptions.likelihood import Bound
    from core.assumptions.moves import Left, Loss
    from core.assumptions.walks import Walks
    from core.perfect import Errors
    from core.schedules import Level

Chart = dict[str, Any]
SAMPLERS = {"ddim": "DDIM", "ddpm": "DDPM"}


def number(value: float) -> float | None:
    """For JSON, which has no NaN; six digits."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def axis(name: str, log: bool = False, **more: float) -> dict[str, Any]:
    return {"name": name, "log": log, **more}


def point(x: float, y: Interval | float) -> list[float | None]:
    """A point of a curve, with its interval where it has one."""
    if not isinstance(y, Interval):
        return [number(x), number(y), None, None]
    return [number(x), *(number(value) for value in y)]


def series(name: str, points: Iterable[tuple[float, Interval | float]], kind: str = "") -> dict[str, Any]:
    """A curve; `kind` is how its line is drawn: "", second, third, fourth, dashed (grey, or "dashed first"), dots."""
    return {"name": name, "kind": kind, "points": [point(x, y) for x, y in points]}


def chart(title: str, note: str, x: dict[str, Any], y: dict[str, Any], *curves: dict[str, Any]) -> Chart:
    return {"title": title, "note": note, "x": x, "y": y, "series": [curve for curve in curves if curve["points"]]}


# ------------------------------------------------------------------------------------------------- the six assumptions


def marginal_chart(found: Sequence[Marginal]) -> Chart:
    """Assumption 1, what justifies it."""
    return chart(
        "Justified: marginals in closed form", "From x₀ = 1: walked step by step (points) and computed at once (lines)",
        axis("t"), axis("mean, spread of xₜ"),
        series("mean, walked", [(m.t, m.mean) for m in found], "dots"),
        series("α", [(m.t, m.alpha) for m in found], "dashed first"),
        series("spread, walked", [(m.t, m.std) for m in found], "dots second"),
        series("σ", [(m.t, m.sigma) for m in found], "dashed second"),
    )  # fmt: skip


def back_chart(found: Sequence[Posterior]) -> Chart:
    """Assumption 1, what justifies it besides."""
    names = ("weight of x₀", "weight of xₜ", "spread")
    return chart(
        "Justified: the step back in closed form", "q(xₜ₋₁ | xₜ, x₀) of two peaks, which are no Gaussian: fitted to pairs of the "
        "walk (points), and by its formula (lines)", axis("t", log=True), axis("weights, spread of xₜ₋₁", low=0, high=1),
        *(curve for part, (name, kind) in enumerate(zip(names, ("first", "second", "third"), strict=True)) for curve in (
            series(f"{name}, fitted", [(one.t, one.fitted[part]) for one in found], f"dots {kind}"),
            series(name, [(one.t, one.exact[part]) for one in found], f"dashed {kind}"))),
    )  # fmt: skip


def symbols_chart(found: Sequence[Off]) -> Chart:
    """Assumption 1, what limits it."""
    return chart(
        "Limited: discrete data", "Eight symbols, a perfect denoiser: the share of samples that are none of them",
        axis("steps", log=True), axis("share off the symbols", low=0, high=1),
        *(series(SAMPLERS[name], [(o.steps, o.share) for o in found if o.sampler == name], kind)
          for name, kind in (("ddpm", ""), ("ddim", "second"))),
    )  # fmt: skip


def loss_chart(found: Mapping[str, Sequence[Loss]]) -> Chart:
    """Assumption 2, what justifies it."""
    kinds = ("", "second", "third")
    return chart(
        "Justified: small β, Gaussian reverse step", "KL of the exact q(y | xₜ) from its Gaussian, averaged over xₜ",
        axis("β", log=True), axis("nats", log=True),
        *(series(name, [(one.beta, one.nats) for one in losses if one.nats > 1e-12], kind)
          for (name, losses), kind in zip(found.items(), kinds, strict=False)),
    )  # fmt: skip


def moves_chart(found: Sequence[Loss], chains: Sequence[tuple[int, float]]) -> list[Chart]:
    """Assumption 2, what limits it."""
    return [
        chart("Limited: small β needs many steps", "How many steps of one β bring ᾱ to 4·10⁻⁵, as DDPM's thousand do",
              axis("β", log=True), axis("steps", log=True), series("steps needed", [(one.beta, one.moves) for one in found])),
        chart("What a whole chain loses", "The most that KL(data ‖ samples) can be with perfect Gaussian moves, by the chain rule",
              axis("T", log=True), axis("nats, at most", log=True), series("sum over the moves", chains, "second")),
    ]  # fmt: skip


def posterior_chart(y: np.ndarray, exact: np.ndarray, gaussian: np.ndarray, nats: float, beta: float, x: float) -> Chart:
    """One reverse step: what y may have been, and the Gaussian of the same mean and variance."""
    return chart(
        f"One reverse step at β = {beta:g}", f"From xₜ = {x:g}: the exact posterior is {nats:.2g} nats from its Gaussian",
        axis("y, one step cleaner"), axis("density", low=0),
        series("exact posterior", zip(y, exact, strict=True)),
        series("its Gaussian", zip(y, gaussian, strict=True), "second dashed"),
    )  # fmt: skip


def bound_chart(found: Sequence[Bound]) -> Chart:
    """Assumption 3, what justifies it: the bound on whole paths against the sum of its steps' terms, for each eta."""
    kinds = {1.0: ("η = 1, a Markov chain", "first"), 0.5: ("η = 0.5, none", "second")}
    return chart(
        "Justified: the bound is a sum over the steps", "KL of whole paths from Gaussian steps back, on paths that are drawn "
        "(points); the sum of one term a step, each by itself (lines)", axis("T", log=True), axis("nats", log=True),
        *(curve for eta, (name, kind) in kinds.items() for own in [[one for one in found if one.eta == eta]] for curve in (
            series(f"{name}: whole paths", [(one.steps, one.path) for one in own], f"dots {kind}"),
            series(f"{name}: sum of the steps", [(one.steps, one.terms) for one in own], f"dashed {kind}"))),
    )  # fmt: skip


def told_chart(levels: Sequence[Level], found: Mapping[str, np.ndarray]) -> Chart:
    """Assumption 3, what limits it: partial correlations [level, run] of two noising processes at the inner levels."""
    return chart(
        "Limited: what a Markov chain cannot have",
        "Noising: correlation of x with x two marks on, once the x between them is known",
        axis("t"), axis("partial correlation", low=-1.05, high=0.5),
        *(series(name, [(at.t, over_runs(row)) for at, row in zip(levels[1:-1], rows, strict=True)], kind)
          for (name, rows), kind in zip(found.items(), ("", "second"), strict=True)),
    )  # fmt: skip


def walks_charts(made: Walks, forgetting: Sequence[float]) -> list[Chart]:
    """Assumption 3: the same laws, different walks."""
    times = [at.t for at in made.levels]
    n = made.x.shape[2]
    critical = 1.36 * math.sqrt(2 / n)
    tests = [made.apart(level) for level in range(len(times))]
    memory = [[made.memory(sampler, level) for level in range(len(times))] for sampler in range(2)]
    tracks = [
        series(("DDPM", "DDIM")[sampler] if index == 0 else "", zip(times, made.x[sampler, :, index], strict=True),
               "thin" if sampler == 0 else "thin second")
        for sampler in range(2) for index in range(6)
    ]  # fmt: skip
    return [
        chart("Justified: the same distribution at every t", "Kolmogorov-Smirnov distance of DDPM's points from "
              "DDIM's; the dashed line is exceeded by chance in 1 of 20", axis("t"), axis("KS distance", low=0),
              series("DDPM against DDIM", zip(times, [test.distance for test in tests], strict=True)),
              series("5 % by chance", [(times[0], critical), (times[-1], critical)], "dashed")),
        chart("What a walk remembers", "Sampling: rank correlation with the noise that it began from; DDIM draws nothing new",
              axis("t"), axis("rank correlation", low=-0.2, high=1.05),
              series("DDPM", zip(times, memory[0], strict=True)), series("DDIM", zip(times, memory[1], strict=True), "second"),
              series("DDPM by its formula", zip(times, forgetting, strict=True), "dashed")),
        chart("Six walks of each", "Fresh noise at every step against one draw at the start", axis("t"), axis("x_t"), *tracks),
    ]  # fmt: skip


def reverse_charts(found: Sequence[Left], chance: Interval, share: float) -> list[Chart]:
    """Assumption 4: Gaussian moves with all that a perfect score knows, T from 1000 to 2, beside a control."""
    steps = [one.steps for one in found]
    ends = (min(steps), max(steps)) if steps else (2, 1000)
    names = {"gaussian": ("Gaussian moves to two peaks", ""), "control": ("the same to one Gaussian", "third"),
             "ddpm": ("DDPM's moves, of less variance", "second")}  # fmt: skip
    return [
        chart("Justified at large T, limited at small", "Distance of the samples from the data; each move has the exact mean and "
              "variance, so only its shape is to blame", axis("T", log=True), axis("W₂ distance", log=True),
              *(series(name, [(o.steps, o.distance) for o in found if o.kind == kind], line)
                for kind, (name, line) in names.items()),
              series("chance alone", [(end, chance) for end in ends], "dashed")),
        chart("Balance of the modes", "Share of the samples in the left peak; the data have 40 %", axis("T", log=True),
              axis("share on the left", low=0, high=0.6),
              *(series(name, [(o.steps, o.left) for o in found if o.kind == kind], line)
                for kind, (name, line) in names.items() if kind != "control"),
              series("the data", [(end, share) for end in ends], "dashed")),
    ]  # fmt: skip


def trained_charts(now: Trained) -> list[Chart]:
    """Assumption 5: error against width for each amount of data, and the course of training."""
    kinds = ("", "second", "third", "fourth")
    sizes, widths = sorted({size for _, size in now.errors}), sorted({width for width, _ in now.errors})
    last = max(widths, default=0)
    early = f"; ended early at width {', '.join(map(str, now.short))}: this machine is slow" if now.short else ""
    return [
        chart("Justified with both, limited by either", f"Error against the exact ε on fresh data, four networks each{early}",
              axis("width", log=True), axis("E‖ε_θ − ε*‖² / E‖ε*‖²", log=True),
              *(series(f"{size} training points", [(w, now.errors[w, size]) for w in widths if (w, size) in now.errors], kind)
                for size, kind in zip(sizes, kinds, strict=False))),
        chart(f"The course of training at width {last}", "On few points it turns: the networks begin to learn them by heart",
              axis("training steps"), axis("error", log=True),
              *(series(f"{size} points", now.curves.get((last, size), ()), kind)
                for size, kind in zip(sizes, kinds, strict=False))),
    ]  # fmt: skip


def world_rows(worlds: Sequence[World], heard: Heard | None) -> dict[str, Any]:
    """Assumption 6 as bars: each kind of picture, and words."""
    bars = [
        bar_chart("Justified at home, limited outside: the VAE", "PSNR through it and back, dB; more is better",
                  [(w.name, w.psnr) for w in worlds]),
        bar_chart("Justified at home, limited outside: the network",
                  "Error of ε; less is better, guessing costs 1 (plain shapes are easy)",
                  [(w.name, w.error) for w in worlds]),
        bar_chart("How far outside: the nearest training picture", "Distance of latents; of training pictures, to another one",
                  [(w.name, w.away) for w in worlds]),
    ]  # fmt: skip
    if heard is not None:
        both = [("trained names", heard.known), ("words from elsewhere", heard.strange)]
        bars.append(bar_chart("Limited: words from elsewhere go unnoticed", "How much words move ε, as a share of ‖ε‖", both))
    return {"bars": bars}


def bar_chart(title: str, unit: str, values: Sequence[tuple[str, Interval]]) -> dict[str, Any]:
    """A bar for each value, with its interval."""
    return {"title": title, "unit": unit, "bars": [[name, *point(0, value)[1:]] for name, value in values]}


# ------------------------------------------------------------------------------------------------- the perfect denoiser


def errors_chart(found: Sequence[Errors]) -> Chart:
    """Error of the network against t, beside the least that is possible on these pictures."""
    return chart(
        "Error of ε against t, on training pictures", "The perfect denoiser knows them by heart; the gap is what the network "
        "does not know, and where all that is new comes from", axis("t"), axis("mean square error", low=0),
        series("network", [(one.t, one.network) for one in found]),
        series("perfect", [(one.t, one.perfect) for one in found], "second"),
        series("network − perfect", [(one.t, one.apart) for one in found], "dashed"),
    )  # fmt: skip


def difference(a: Image, b: Image) -> Image:
    """How far two pictures are apart, pixel by pixel: black where they agree."""
    from PIL import Image as images

    apart = np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean(-1)
    return images.fromarray(np.uint8(np.clip(2 * apart, 0, 255)))


def frame(network: Image, perfect: Image, alone: Image) -> list[str]:
    """Network, perfect, their difference, and the perfect denoiser's own run, as the page gets them."""
    return [data_uri(image) for image in (network, perfect, difference(network, perfect), alone)]


# ------------------------------------------------------------------------------------------------- claims


def cards() -> list[dict[str, Any]]:
    """Every claim as a card, theme by theme."""
    return [card(claim) for theme in THEMES for claim in CLAIMS.values() if claim.theme == theme]


def card(claim: Claim) -> dict[str, Any]:
    """What a card says before anything is measured."""
    return {
        "id": claim.id, "row": claim.row, "theme": TITLES[claim.theme], "says": claim.says, "asks": claim.asks, "unit": claim.unit,
        "note": claim.note, "how": claim.doc, "paper": claim.paper, "slow": claim.slow,
        "link": claim.link,
    }  # fmt: skip


def found(claim: Claim, finding: Finding, link: str) -> dict[str, Any]:
    """What a card says when it was measured."""
    replay = ", ".join(f"{name} {value}" for name, value in finding.settings.items())
    return {"shown": shown(finding.value, claim.unit), "number": shown(finding.value, ""),
            "value": number(finding.value.value), "low": number(finding.value.low), "high": number(finding.value.high),
            "verdict": finding.verdict, "told": finding.told, "replay": replay, "link": link}  # fmt: skip
