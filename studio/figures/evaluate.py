"""What the page "Evaluate" shows, as tables that its script draws: clouds, changes of metrics, curves, rows of pictures.

`metrics` are the registered ones under the names that their numbers carry (`core.evaluation.critics`).
A change is {id, label, doc, better, before, after, change: [value, low, high], verdict, foreseen}; a strip {name, images}; a table
{title, note, head, rows}, its cells texts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.evaluation.damage import SAME
from core.evaluation.settings import MANY, differs
from core.metrics import METRICS, Interval, Metric
from core.sampling import SAMPLERS
from studio.figures.labs import Chart, axis, bar_chart, chart, number, series
from studio.figures.run import data_uri, duration, scale

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from core.evaluation.bias import AtSize
    from core.evaluation.clouds import Clouds
    from core.evaluation.critics import Seen
    from core.evaluation.damage import Damage, Scored
    from core.evaluation.settings import OnRing, Quality, Setting

View = dict[str, Any]
Named = Mapping[str, Metric]
SHOWN, SIDE = 12, 72  # pictures in a strip, and their side in pixels
NAMES = {"blur": "Blur", "noise": "Noise", "duplicate": "Duplicate", "drop": "Without a class", "keep": "One class only"}


# ------------------------------------------------------------------------------------------------- two clouds


def clouds_view(made: Clouds) -> View:
    """Both clouds with their ellipses, and the two parts of their distance, exact and measured."""
    parts = [("means, exact", made.exact.mean), ("means, measured", made.mean),
             ("covariances, exact", made.exact.cov), ("covariances, measured", made.cov)]  # fmt: skip
    bars = [(name, part if isinstance(part, Interval) else Interval(part, math.nan, math.nan)) for name, part in parts]
    total = f"{made.exact.value:.3g} exact, {made.mean.value + made.cov.value:.3g} on {len(made.real)} points a side"
    return {
        "charts": [chart(
            "Two clouds and their ellipses", "Each ellipse holds 86 % of a Gaussian of that mean and covariance: all that the "
            "distance knows", axis("first feature", low=-6, high=6), axis("second feature", low=-3.7, high=3.7),
            series("real", made.real[:300], "dots"), series("generated", made.generated[:300], "dots second"),
            series("", ellipse(made.real)), series("", ellipse(made.generated), "second"),
        )],
        "bars": [bar_chart("Frechet distance, part by part", f"squared units of the features; together {total}", bars)],
    }  # fmt: skip


def ellipse(points: np.ndarray, turns: int = 61) -> list[tuple[float, float]]:
    """Two standard deviations around the mean of points [n, 2], a closed line."""
    values, vectors = np.linalg.eigh(np.cov(points, rowvar=False))
    angle = np.linspace(0, 2 * math.pi, turns)
    circle = np.stack([np.cos(angle), np.sin(angle)]) * 2 * np.sqrt(np.maximum(values, 0))[:, None]
    return [(float(x), float(y)) for x, y in (vectors @ circle).T + points.mean(0)]


# ------------------------------------------------------------------------------------------------- damage


def named(damage: Damage) -> str:
    """A damage as a title says it."""
    how = {"blur": f"{damage.strength:g} pixels", "noise": f"standard deviation {damage.strength:g}",
           "duplicate": f"{damage.strength:.0f} copies of each"}  # fmt: skip
    return f"{NAMES[damage.kind]}: {how.get(damage.kind, damage.group)}"


def strip(name: str, seen: Seen) -> View:
    """The first pictures of a set in a row."""
    return {"name": name, "images": [data_uri(image) for image in images_of(seen.pictures[:SHOWN])]}


def both_strips(before: Seen, after: Seen) -> View:
    """Pictures before and after."""
    return {"strips": [strip("Before", before), strip("After", after)]}


def images_of(pictures: Tensor) -> list[Image]:
    """Pictures [n, 3, H, W] in uint8, small."""
    from PIL import Image as images

    made = [images.fromarray(one) for one in pictures.permute(0, 2, 3, 1).contiguous().numpy()]
    return [image.resize((SIDE, SIDE), images.Resampling.BOX) for image in made]


def numbers(value: Interval) -> list[float | None]:
    return [number(one) for one in value]


def change(one: Scored, foreseen: bool | None) -> View:
    """A metric before and after, and whether somebody said that it would notice; None where nobody said anything."""
    return {"id": one.metric.id, "label": one.metric.label, "doc": one.metric.doc, "better": one.metric.better,
            "before": numbers(one.before), "after": numbers(one.after), "change": numbers(one.change),
            "verdict": one.verdict, "noticed": one.verdict != SAME, "foreseen": foreseen}  # fmt: skip


def part_bars(parts: tuple[Interval, Interval], name: str, metrics: Named = METRICS) -> View:
    """The two parts of a Frechet distance as bars."""
    mean, cov = parts
    return bar_chart(f"{metrics['frechet_distance'].label} {name}, part by part", "squared units of the features",
                     [("means", mean), ("covariances", cov)])  # fmt: skip


def told(rows: Sequence[Scored], foreseen: Sequence[str], n: int) -> str:
    """What came of it, and of the prediction."""
    noticed = [one for one in rows if one.verdict != SAME]
    right = sum((one.verdict != SAME) == (one.metric.id in foreseen) for one in rows)
    names = ", ".join(one.metric.label for one in noticed) or "none"
    predicted = f" You foresaw {right} of {len(rows)}." if foreseen else ""
    return f"{n} pictures a side. Noticed by {len(noticed)} of {len(rows)}: {names}.{predicted}"


# ------------------------------------------------------------------------------------------------- numbers of pictures


def bias_charts(found: Sequence[AtSize], blur: float, metrics: Named = METRICS) -> list[Chart]:
    """Both distances against the number of pictures a side."""
    few = next((one.n for one in found if one.enough), None)
    where = "too few everywhere" if few is None else f"enough from {few} on"
    frechet, kernel = (metrics[name].label for name in ("frechet_distance", "kernel_distance"))
    return [
        chart(f"{frechet} against n", f"Two sets of one law are 0 apart. n has to fill the dimensions: {where}",
              axis("pictures a side", log=True), axis("distance", log=True),
              series("training pictures", [(one.n, one.frechet) for one in found]),
              series(f"blurred by {blur:g} pixels", [(one.n, one.frechet_other) for one in found], "second"),
              series("foretold for one law", [(one.n, one.floor) for one in found], "dashed")),
        chart(f"{kernel} against n", "Unbiased: 0 on average for one law at every n, and below it half of the time",
              axis("pictures a side", log=True), axis("distance"),
              series("training pictures", [(one.n, one.kernel) for one in found]),
              series(f"blurred by {blur:g} pixels", [(one.n, one.kernel_other) for one in found], "second")),
    ]  # fmt: skip


def said(value: Interval, digits: int = 3) -> str:
    """A value with its interval in words."""
    if not math.isfinite(value.value):
        return "–"
    low_high = f" [{value.low:.{digits}g}, {value.high:.{digits}g}]" if math.isfinite(value.low) else ""
    return f"{value.value:.{digits}g}{low_high}".replace("-", "−")


# ------------------------------------------------------------------------------------------------- settings


def setting_name(setting: Setting) -> str:
    """A setting in words: "DDIM, 50 steps, γ 2 = CFG scale 3"."""
    guided = f", {scale(setting.gamma)}" if setting.gamma else ""
    return f"{SAMPLERS[setting.sampler].label}, {setting.steps} steps{guided}"


def setting_strip(one: Quality) -> View:
    return {"name": setting_name(one.setting), "images": [data_uri(image) for image in images_of(one.pictures)]}


def forming(name: str, rough: Iterable[Image]) -> View:
    """Pictures that form, roughly."""
    return {"name": f"{name}, forming", "images": [data_uri(image.resize((SIDE, SIDE), 0)) for image in rough]}


def quality_charts(found: Sequence[Quality], against: str, metrics: Named = METRICS) -> list[Chart]:
    """Fidelity and diversity against the guidance scale, or against NFE with a line for each sampler."""
    could_be, covered, kernel = (inside(metrics[name]) for name in ("precision", "recall", "kernel_distance"))
    by_gamma = against == "gamma"
    x = axis("guidance γ") if by_gamma else axis("network evaluations (NFE)", log=True)
    samplers = list(dict.fromkeys(one.setting.sampler for one in found))
    shown = [
        ("Fidelity: CLIP score", "How well pictures fit their words", "score"),
        (f"Fidelity: {could_be}", "Share of the pictures that could be training pictures", "precision"),
        ("Diversity within a prompt", "1 − cos between the features of two seeds", "diversity"),
        (f"Diversity: {covered}", "Share of the training pictures that the model could have made", "recall"),
        (f"Both: {kernel}", "To the training pictures; 0 is as good as they are", "kernel_distance"),
    ]
    charts = [
        chart(title, note, x, axis(title.split(": ")[-1]),
              *(series(SAMPLERS[name].label,
                       [(one.setting.gamma if by_gamma else one.nfe, getattr(one, field)) for one in found
                        if one.setting.sampler == name], kind)
                for name, kind in zip(samplers, ("", "second", "third"), strict=False)))
        for title, note, field in shown
    ]  # fmt: skip
    if by_gamma:
        charts.append(chart("The trade-off", "Every scale as a point, from left to right in diversity",
                            axis("diversity within a prompt"), axis("CLIP score"),
                            series("", [(one.diversity.value, one.score) for one in found])))  # fmt: skip
    return charts


def inside(metric: Metric) -> str:
    """A metric's name within a sentence: "precision", "KID (Inception-v3)"."""
    return metric.label if metric.label[1:2].isupper() else metric.label[:1].lower() + metric.label[1:]


def head(metrics: Named = METRICS) -> list[str]:
    """The columns of the headline table."""
    kernel, could_be = (inside(metrics[name]) for name in ("kernel_distance", "precision"))
    return ["sampler", "calls (NFE)", "fewer calls", "exact ring: distance", f"{kernel} × 1000", "CLIP score", could_be,
            "seconds a picture"]  # fmt: skip


def headline_table(
    settings: Sequence[Setting], rings: Mapping[Setting, OnRing], known: Mapping[Setting, Quality], metrics: Named = METRICS
) -> View:
    """The samplers side by side; what is not measured yet is a dash."""
    rows = []
    for setting in settings:
        ring, one = rings.get(setting), known.get(setting)
        nfe = one.nfe if one else ring.nfe if ring else None
        thousand = None if one is None else Interval(*(1000 * value for value in one.kernel_distance))
        rows.append([
            setting_name(setting), "–" if nfe is None else f"{nfe:,}", "–" if nfe is None else f"{MANY / nfe:.0f}×",
            "–" if ring is None else said(ring.distance), "–" if thousand is None else said(thousand),
            "–" if one is None else said(one.score), "–" if one is None else said(one.precision),
            "–" if one is None else duration(one.seconds),
        ])  # fmt: skip
    count = next((one.n for one in known.values()), 0)
    note = "Brackets hold 95 % intervals; without guidance, so that a step is one call of the network"
    note += f"; {count} pictures of this model a row, from the same noise" if count else ""
    return {"title": "Fewer calls, and what they cost", "note": note, "head": head(metrics), "rows": rows}


def verdicts(rings: Mapping[Setting, OnRing], known: Mapping[Setting, Quality]) -> str:
    """What the table says of the two headline claims."""
    by = {(setting.sampler, setting.steps): setting for setting in known}
    full, fifty, ten, twenty = by["ddpm", MANY], by["ddim", 50], by["dpmpp_2m", 10], by["dpmpp_2m", 20]

    def apart(a: Setting, b: Setting) -> str:
        ring, model = differs(rings[a].distance, rings[b].distance), differs(known[a].kernel_distance, known[b].kernel_distance)
        words = {True: "differ", False: "cannot be told apart"}
        return f"{words[ring]} on the ring and {words[model]} on this model"

    return (f"DDIM's 50 calls are {known[full].nfe / known[fifty].nfe:.0f}× fewer than DDPM's {known[full].nfe:,}: they "
            f"{apart(fifty, full)}. DPM++ 2M with {known[ten].nfe} calls and with {known[twenty].nfe}: against DDIM's 50 they "
            f"{apart(ten, fifty)}, and {apart(twenty, fifty)}. Few pictures tell only large losses.")  # fmt: skip
