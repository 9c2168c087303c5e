"""What both kinds of guidance made of a class at every scale, as charts and as pictures that the page marks: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image as Images

from core.evaluation.steering import CLASSIFIER, KINDS, Steered, gamma_of
from core.metrics import Interval
from studio.figures.guidance import both, judged
from studio.figures.labs import Chart, axis, chart, series
from studio.figures.run import data_uri
from studio.formats.infotext import short

if TYPE_CHECKING:
    from PIL.Image import Image

TILE = 80  # pixels: two hundred of them travel at once
NAMES = {kind: f"{kind} guidance" for kind in KINDS}


def charts(found: Sequence[Steered], name: str) -> list[Chart]:
    """Accuracy by both judges and diversity against the scale; the witness's chart only where it knows the class."""
    judges = [
        ("Accuracy, by the classifier", "It has also done the pushing", [(one, one.accuracy) for one in found]),
        ("Accuracy, by CLIP", "It has never pushed", [(one, seen) for one in found if (seen := one.seen_accuracy) is not None]),
    ]
    x, share = axis("scale w", low=0.0), axis(f"share of {name}", low=0.0, high=1.0)
    made = [chart(title, note, x, share, *curves(values)) for title, note, values in judges]
    apart = [(one, one.diversity) for one in found]
    made.append(chart("Diversity", "1 − cos of two seeds' features", x, axis("difference", low=0.0), *curves(apart)))
    return [one for one in made if one["series"]]


def curves(values: Sequence[tuple[Steered, Interval]]) -> list[dict[str, Any]]:
    """A curve for each kind of guidance, in the order of the scales."""
    ordered = sorted(values, key=lambda pair: pair[0].scale)
    return [
        series(NAMES[kind], [(one.scale, value) for one, value in ordered if one.kind == kind], style)
        for kind, style in zip(KINDS, ("second", ""), strict=True)
    ]


def tiles(images: Sequence[Image]) -> list[str]:
    """Pictures as small as a wall of them needs."""
    return [data_uri(image.resize((TILE, TILE), Images.Resampling.LANCZOS)) for image in images]


def strip(one: Steered, name: str, prompt: str, pictures: Sequence[str]) -> dict[str, Any]:
    """The pictures of one point, each with what both judges say of it."""
    gamma = gamma_of(one.kind, one.scale)
    words = name if one.kind == CLASSIFIER else prompt or "(no words)"
    long = judged(gamma)["long"] if one.kind == CLASSIFIER else both(gamma)["long"]
    return {
        "scale": one.scale, "kind": one.kind, "title": f"{NAMES[one.kind].capitalize()}: {words}", "long": long, "nfe": one.nfe,
        "pictures": list(pictures), "right": list(one.right), "seen": None if one.seen_right is None else list(one.seen_right),
    }  # fmt: skip


def told(found: Sequence[Steered], name: str) -> str:
    """What the largest scale came to, by every judge."""

    def counted(one: Steered) -> str:
        seen = "" if one.seen_right is None else f", CLIP in {sum(one.seen_right)}"
        return f"{NAMES[one.kind]}: the classifier sees {name} in {sum(one.right)} of {len(one.right)} pictures{seen}"

    most = max(one.scale for one in found)
    return f"At scale {short(most)}, {'; '.join(counted(one) for one in found if one.scale == most)}."
