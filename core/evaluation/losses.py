"""The loss of the latent model at each time, under captions and without them: where it is hard, and what words are worth there.

    L(t, c)  = E ‖eps − eps_theta(z_t, t, c)‖²/D,   z_t = alpha·z + sigma·eps   of training latents; guessing 0 costs 1    (1)
    worth(t) = 1 − L(t, c)/L(t, ∅)                  picture by picture, on the same noise: the share that the caption saves (2)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from core.assumptions.line import over_runs
from core.evaluation.gallery import caption
from core.metrics import Interval
from core.perfect import PLACES, eps_errors, some_indices
from core.pipeline import TextToImage

PICTURES = 16


class AtTime(NamedTuple):
    """Equations (1) and (2) at one time, over pictures."""

    t: float
    captioned: Interval
    bare: Interval
    worth: Interval


def loss_curve(pipe: TextToImage, count: int = PICTURES, places: Sequence[int] = PLACES) -> Iterator[AtTime]:
    """Both losses on some training pictures at each time. Raises UserError for a model without training latents."""
    training = pipe.extras.training
    rows = some_indices(len(training.latents), min(count, len(training.latents)))
    latents, captions = training.latents[rows], [caption(training.origins[row]) for row in rows]
    for place in places:
        at = pipe.schedule.at(place)
        named, bare = (eps_errors(pipe, latents, at, texts).double().numpy() for texts in (captions, None))
        yield AtTime(at.t, over_runs(named), over_runs(bare), over_runs(1 - named / bare))


def spreads(pipe: TextToImage) -> list[float]:
    """The standard deviation of the scaled training latents, channel by channel: the scale factor makes it about 1."""
    return [float(channel) for channel in pipe.extras.training.latents.float().std((0, 2, 3))]
