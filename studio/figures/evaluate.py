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

from core.evaluation.classes import Share, divergences, marginal, of_one, product
from core.evaluation.damage import SAME
from core.evaluation.headlines import FIFTY, FULL, MANY, PAIRS, QUICK, told_apart
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
    from core.evaluation.headlines import Less, OnRing
    from core.evaluation.losses import AtTime
    from core.evaluation.settings import Quality, Setting

View = dict[str, Any]
Named = Mapping[str, Metric]
SHOWN, SIDE = 12, 72  # pictures in a strip, and their side in pixels
NAMES = {"blur": "Blur", "noise": "Noise", "duplicate": "Duplicate", "drop": "Without a class", "keep": "One class only",
         "single": "One of each class"}  # fmt: skip


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
        ) | {"equal": True}],
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
    return ": ".join(filter(None, (NAMES[damage.kind], how.get(damage.kind, damage.group))))


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


def class_bars(probabilities: np.ndarray, when: str, names: Sequence[str], metrics: Named = METRICS) -> list[View]:
    """What the classifier says of the first picture and of all together, and the inception score as what lies between."""
    apart, made, n = divergences(probabilities), product(probabilities), len(probabilities)
    mean = float(apart.mean())
    label = inside(metrics["inception_score"])

    def named_bars(shares: Sequence[Share]) -> list[tuple[str, Interval]]:
        return [(names[number], share) for number, share in shares]

    return [
        bar_chart(f"p(y|x) of the first picture, {when}", f"Its likeliest classes; KL from the marginal: {apart[0]:.3g} nats",
                  named_bars(of_one(probabilities[0]))),
        bar_chart(f"The marginal p(y), {when}", f"The mean over all {n} pictures; KL of a picture from it: {mean:.3g} nats on "
                  f"average", named_bars(marginal(probabilities))),
        bar_chart(f"The {label}, {when}", f"exp({mean:.3g}) = {math.exp(mean):.3g}: the classes in all, divided by those that one "
                  "picture could be",
                  [("classes in all, exp H(p(y))", made.in_all), ("classes of one picture, exp mean H(p(y|x))", made.in_one),
                   (label, made.score)]),
    ]  # fmt: skip


def in_turn(before: Sequence[View], after: Sequence[View]) -> list[View]:
    """Bars before and after beside each other, each pair drawn to one scale."""
    found = []
    for pair in zip(before, after, strict=True):
        most = max(high or value for one in pair for _, value, _, high in one["bars"])
        found += [one | {"most": most} for one in pair]
    return found


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
        chart(f"{frechet} against n", f"Equal distributions are 0 apart. n has to exceed the number of dimensions: {where}",
              axis("pictures a side", log=True), axis("distance", log=True),
              series("training pictures", [(one.n, one.frechet) for one in found]),
              series(f"blurred by {blur:g} pixels", [(one.n, one.frechet_other) for one in found], "second"),
              series("predicted for one distribution", [(one.n, one.floor) for one in found], "dashed")),
        chart(f"{kernel} against n", "Unbiased: 0 on average for one distribution at every n, and below it half of the time",
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


# ------------------------------------------------------------------------------------------------- the loss against t


def loss_view(found: Sequence[AtTime], spreads: Sequence[float]) -> View:
    """Both losses, what the caption saves of them, and the spread of what the noise is mixed with."""
    channels = [(f"channel {place}", Interval(spread, math.nan, math.nan)) for place, spread in enumerate(spreads, 1)]
    return {
        "charts": [
            chart("The loss against t", "E‖ε − ε_θ(z_t, t, c)‖² on training pictures, a number; guessing 0 costs 1", axis("t"),
                  axis("loss", log=True), series("with its caption", [(one.t, one.captioned) for one in found]),
                  series("without words", [(one.t, one.bare) for one in found], "second")),
            chart("What the caption is worth", "The share of the loss that it saves, picture by picture on the same noise",
                  axis("t"), axis("share of the loss"), series("saved by the caption", [(one.t, one.worth) for one in found]),
                  series("nothing", [(one.t, 0.0) for one in found], "dashed")),
        ],
        "bars": [bar_chart("Spread of the scaled latents", "Standard deviation over all training pictures", channels)],
    }  # fmt: skip


def worth_told(found: Sequence[AtTime], count: int) -> str:
    """Where the caption is worth most, and whether that is sure."""
    best = max(found, key=lambda one: one.worth.value)
    low, high = (100 * bound for bound in best.worth[1:])
    sure = f"{100 * best.worth.value:.0f} % [{low:.0f}, {high:.0f}]".replace("-", "−")
    return f"{count} training pictures. The caption is worth most at t = {best.t:.0f}: it saves {sure} of the loss there."


# ------------------------------------------------------------------------------------------------- settings


def setting_name(setting: Setting) -> str:
    """A setting in words: "DDIM, 50 steps, γ 2 = CFG scale 3"; with its calls where a step is several."""
    several = f" = {setting.nfe} calls" if SAMPLERS[setting.sampler].calls > 1 else ""
    guided = f", {scale(setting.gamma)}" if setting.gamma else ""
    return f"{SAMPLERS[setting.sampler].label}, {setting.steps} steps{several}{guided}"


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
        rising = sorted(found, key=lambda one: one.diversity.value)
        scales = ", ".join(f"{one.setting.gamma:g}" for one in rising).replace("-", "−")
        charts.append(chart("The trade-off", "Every scale as a point, from left to right in diversity",
                            axis("diversity within a prompt"), axis("CLIP score"),
                            series(f"from left to right γ = {scales}",
                                   [(one.diversity.value, one.score) for one in rising])))  # fmt: skip
    return charts


def inside(metric: Metric) -> str:
    """A metric's name within a sentence: "precision", "Frechet distance", "KID (Inception-v3)"."""
    named = metric.label[1:2].isupper() or metric.label.startswith("Frechet")
    return metric.label if named else metric.label[:1].lower() + metric.label[1:]


def calls_name(setting: Setting) -> str:
    """A row of the headline table: "DPM-Solver-2, 9 calls"."""
    return f"{SAMPLERS[setting.sampler].label}, {setting.nfe:,} calls"


def head(metrics: Named = METRICS) -> list[str]:
    """The columns of the headline table."""
    kernel, frechet, could_be = (inside(metrics[name]) for name in ("kernel_distance", "frechet_distance", "precision"))
    return ["sampler and calls (NFE)", "steps", "fewer calls", "exact ring: distance", "exact ring: Frechet × 1000",
            f"{kernel} × 1000", frechet, "CLIP score", could_be, "seconds a picture"]  # fmt: skip


def thousandfold(value: Interval) -> Interval:
    return Interval(*(1000 * part for part in value))


def headline_table(
    settings: Sequence[Setting], rings: Mapping[Setting, OnRing], known: Mapping[Setting, Quality], metrics: Named = METRICS
) -> View:
    """The samplers side by side; what is not measured yet is a dash, and so is what needs more pictures."""
    rows = []
    for setting in settings:
        ring, one = rings.get(setting), known.get(setting)
        nfe = one.nfe if one else ring.nfe if ring else None
        rows.append([
            calls_name(setting), f"{setting.steps:,}", "–" if nfe is None else f"{MANY / nfe:.0f}×",
            "–" if ring is None else said(ring.distance), "–" if ring is None else said(thousandfold(ring.frechet)),
            "–" if one is None else said(thousandfold(one.kernel_distance)), "–" if one is None else said(one.frechet_distance),
            "–" if one is None else said(one.score), "–" if one is None else said(one.precision),
            "–" if one is None else duration(one.seconds),
        ])  # fmt: skip
    note = "Brackets hold 95 % intervals; without guidance. A step of DPM-Solver-2 is two calls of the network, the last is one"
    if (one := next(iter(known.values()), None)) is not None:
        note += f"; {one.n} pictures of this model a row, from the same noise. {one.lacks}"
    return {"title": "Fewer calls, and what they cost", "note": note.strip(), "head": head(metrics), "rows": rows}


def less_table(found: Mapping[tuple[Setting, Setting], Less], metrics: Named = METRICS) -> View:
    """What few calls come to less what more do, pair by pair."""
    columns = head(metrics)[3:8]
    rows = [
        [f"{calls_name(few)}, less {calls_name(many)}",
         *(map(said, in_thousandths(found[few, many])) if (few, many) in found else "–" * len(columns))]
        for few, many in PAIRS
    ]  # fmt: skip
    return {"title": "Differences on the same noise", "head": ["", *columns], "rows": rows,
            "note": "Run by run on the ring, picture by picture for the CLIP score, by resamples of the common seeds for distances "
                    "of sets: what the noise does to both rows cancels. Where an interval leaves out 0 they differ"}  # fmt: skip


def in_thousandths(one: Less) -> Less:
    """As the columns of the tables are."""
    return one._replace(ring_frechet=thousandfold(one.ring_frechet), kernel_distance=thousandfold(one.kernel_distance))


def verdicts(known: Mapping[Setting, Quality], found: Mapping[tuple[Setting, Setting], Less]) -> str:
    """What the table says of the two headline claims, and how small a loss so many pictures could tell."""

    def on(value: Interval) -> str:
        return ("farther from the data" if value.value > 0 else "nearer to the data") if told_apart(value) else "not told apart"

    def outcome(few: Setting, many: Setting) -> str:
        one = found[few, many]
        return f"{on(one.ring)} on the ring, {on(one.kernel_distance)} on this model"

    full, fifty = known[FULL], known[FIFTY].nfe
    kernel, itself = (thousandfold(one.kernel_distance) for one in (found[FIFTY, FULL], full))
    quick = "; ".join(f"{calls_name(few)}: {outcome(few, FIFTY)}" for few in QUICK)
    return (f"DDIM's {fifty} calls are {full.nfe / fifty:.0f}× fewer than DDPM's {full.nfe:,}: {outcome(FIFTY, FULL)}. Against "
            f"DDIM's {fifty}: {quick}. With {full.n} pictures a row DDIM's difference from DDPM is known to "
            f"±{(kernel.high - kernel.low) / 2:.2g} thousandths of kernel distance, where DDPM itself has {said(itself)}: a loss "
            f"below that stays hidden. {full.lacks}").strip()  # fmt: skip
