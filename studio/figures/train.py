"""What the live trainings show, as tables that their scripts draw: the loss beside the least possible, fields of arrows, points,
pictures as they improve. Charts are those of labs.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core.live.points import ARROWS, SPAN
from core.metrics import Interval
from studio.figures.labs import Chart, axis, chart, number, series

if TYPE_CHECKING:
    from torch import Tensor

    from core.live import pictures, points


def interval(value: Interval) -> list[float | None]:
    return [number(part) for part in value]


def flat(x: Tensor) -> list[int]:
    """Coordinates in hundredths, x and y in turn."""
    return [int(v) for v in (100 * x.detach()).round().flatten().tolist()]


def loss_chart(found: Sequence[points.Learnt]) -> Chart:
    """The loss of the network on fresh points, and the least that there is."""
    return chart(
        "The loss falls towards the least possible", "On fresh points; guessing 0 costs 1. The exact answer cannot know which "
        "noise was drawn either: that is the dashed line", axis("training steps"), axis("loss", low=0),
        series("network", [(one.step, one.loss) for one in found]),
        series("exact: the least possible", [(one.step, one.least) for one in found], "dashed"),
    )  # fmt: skip


def error_chart(found: Sequence[points.Learnt]) -> Chart:
    """What is left to learn."""
    return chart(
        "What is left to learn", "Squared distance of the learnt ε from the exact one, as a share of the exact one's square",
        axis("training steps"), axis("E‖ε̂ − ε*‖² / E‖ε*‖²", log=True),
        series("error", [(one.step, one.error) for one in found], "second"),
    )  # fmt: skip


def field(one: points.Field) -> dict[str, Any]:
    """Arrows from each place to where the noise is taken off: −ε, learnt and exact."""
    return {
        "nsr": number(one.at.nsr), "t": round(one.at.t), "alpha": number(one.at.alpha), "said": flat(-one.said),
        "exact": flat(-one.exact), "error": interval(one.error), "agreement": interval(one.agreement),
    }  # fmt: skip


def samples(of: points.Samples) -> dict[str, Any]:
    return {"points": flat(of.x), "on": interval(of.on)}


GRID = {"side": ARROWS, "span": SPAN}


# ------------------------------------------------------------------------------------------------- pictures


def arm(drop: float) -> str:
    """What a network is called."""
    return f"{100 * drop:.0f} % of captions dropped" if drop else "no caption dropped"


def few_charts(found: Sequence[pictures.Learnt], drops: Sequence[float]) -> list[Chart]:
    """The loss of both networks, and how wrong each is without words."""
    kinds = ("second", "")
    told = [(arm(drop), place, kind) for place, (drop, kind) in enumerate(zip(drops, kinds, strict=True))]
    return [
        chart("With its caption", "Mean square error of ε; guessing 0 costs 1. The perfect denoiser knows the pictures by heart",
              axis("training steps"), axis("loss", low=0),
              *(series(name, [(one.step, one.marks[place].loss) for one in found], kind) for name, place, kind in told),
              series("perfect", [(one.step, one.least) for one in found], "dashed")),
        chart("With the empty prompt", "Distance of ε(x, t, ∅) from the exact ε of all pictures together",
              axis("training steps"), axis("mean square distance", low=0),
              *(series(name, [(one.step, one.marks[place].lost) for one in found], kind) for name, place, kind in told)),
    ]  # fmt: skip
