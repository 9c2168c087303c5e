"""Work of the lab "CLIP" for the engine: pictures against captions, an upload among names, and a tiny CLIP in training."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from core import contrast
from core.contrast import Course, Guess
from core.errors import UserError
from core.metrics import Interval, binomial
from core.pipeline import TextToImage, to_images, to_tensor
from studio.figures.labs import axis, chart, number, series
from studio.figures.latents import source_of
from studio.widgets.status import Partial, View

if TYPE_CHECKING:
    from PIL.Image import Image

Work = Generator[Partial | None, None, View]
SHOWN, MOST_NAMES, LONGEST = 10, 60, 120


def lacks(pipe: TextToImage) -> str:
    """A sentence where a model has no CLIP that sees, or no training pictures."""
    return pipe.extras.missing("clip") or pipe.extras.missing("latents")


def ready(pipe: TextToImage) -> None:
    """Raise UserError where there is nothing to compare with."""
    if sentence := lacks(pipe):
        raise UserError(sentence)


# ------------------------------------------------------------------------------------------------- the matrix


def matched(pipe: TextToImage, count: int, seed: int) -> Work:
    """Training pictures and their captions, and the cosine of each with each."""
    ready(pipe)
    found, eyes = contrast.pairs(pipe, count, seed), pipe.extras.eyes
    texts = torch.cat(list(contrast.vectors(pipe, found.captions)))
    pictures: list[str] = []
    seen: list[Tensor] = []
    for row in found.rows:
        x = pipe.decode(pipe.extras.training.latents[row : row + 1]).float()
        seen.append(eyes.of_pictures(x).cpu())
        pictures.append(source_of(to_images(x)[0]))
        yield Partial({}, f"picture {len(pictures)} of {len(found.rows)}", len(pictures) / len(found.rows))
    cosines, tau = torch.cat(seen) @ texts.T, contrast.temperature(pipe)
    right, count = contrast.matches(cosines), len(cosines)
    line = f"{right} of {count} training pictures find their caption, {percent(binomial(right, count))}; by chance 1 would."
    return {"matrix": matrix(cosines, tau) | {"pictures": pictures, "captions": list(found.captions)}, "line": line}


def percent(share: Interval) -> str:
    """A share with its interval, as a sentence has it."""
    value, low, high = (f"{100 * part:.0f}" for part in share)
    return f"{value} % [{low}, {high}]"


def matrix(cosines: Tensor, tau: float) -> View:
    """Cosines for the page, and both forms of the loss at a temperature."""
    told = contrast.forms(cosines, tau)
    losses = {"mean": number(told.mean), "total": number(told.total)}
    return {"cosines": [[number(value) for value in row] for row in cosines.tolist()], "tau": number(tau), "losses": losses}


# ------------------------------------------------------------------------------------------------- zero-shot


def names_of(text: str) -> list[str]:
    """Names that a visitor typed, between commas or on lines; raises UserError for one alone, or for too many."""
    found = list(dict.fromkeys(one.strip()[:LONGEST] for one in text.replace("\n", ",").split(",") if one.strip()))
    if len(found) == 1:
        raise UserError(f"“{found[0]}” is the only name, so it would always win: add others, with commas between.")
    if len(found) > MOST_NAMES:
        raise UserError(f"These are {len(found)} names; at most {MOST_NAMES} are compared: leave some out.")
    return found


def classified(pipe: TextToImage, image: Image, names: Sequence[str], known: dict[str, Tensor]) -> Work:
    """The names that fit a picture best: those given, or all that the model was trained with, whose vectors `known` keeps."""
    ready(pipe)
    own = not names
    names = list(names) or list(dict.fromkeys(origin.label for origin in pipe.extras.training.origins))
    missing = [name for name in names if name not in known] if own else list(names)
    fresh: dict[str, Tensor] = {}
    for part in contrast.vectors(pipe, missing):
        fresh |= dict(zip(missing[len(fresh) : len(fresh) + len(part)], part, strict=True))
        yield Partial({}, f"{len(fresh)} of {len(missing)} names read", len(fresh) / len(missing))
    if own:
        known.update(fresh)
    side, tau = pipe.size, contrast.temperature(pipe)
    seen = pipe.extras.eyes.of_pictures(to_tensor([squared(image).resize((side, side))]))[0].cpu()
    words = torch.stack([(known if own else fresh)[name] for name in names])
    guesses = contrast.zero_shot(seen, words, names, tau)
    unseen = [word for name in names for word in pipe.extras.lexicon.unseen(name)]
    note = f" Words that it never met in training: {', '.join(dict.fromkeys(unseen))}." if unseen else ""
    return {"zero": zero(image, guesses, tau), "line": told(guesses) + note}


def zero(image: Image, guesses: Sequence[Guess], tau: float) -> View:
    rows = [[guess.name, number(guess.cosine), number(guess.probability)] for guess in guesses[:SHOWN]]
    return {"src": source_of(squared(image)), "guesses": rows, "count": len(guesses), "tau": number(tau)}


def squared(image: Image) -> Image:
    """The middle square of a picture, as the image tower sees it."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def told(guesses: Sequence[Guess]) -> str:
    first, second = guesses[:2]
    times = math.exp(min(50.0, math.log(first.probability) - math.log(max(second.probability, 1e-300))))
    return (f"Most probable of {len(guesses)}: “{first.name}”, {100 * first.probability:.0f} %; "
            f"{times:.3g} times as probable as “{second.name}”.")  # fmt: skip


# ------------------------------------------------------------------------------------------------- a tiny CLIP


def taught(pipe: TextToImage, seed: int) -> Work:
    """A tiny CLIP from its first step on: loss, held-out retrieval and matrix while it learns."""
    if sentence := pipe.extras.missing("latents"):
        raise UserError(sentence)
    data = contrast.lesson(pipe, seed)
    now: Course | None = None
    for now in contrast.taught(data, seed):
        done = max(now.step / contrast.MOST_STEPS, now.seconds / contrast.MOST_SECONDS)
        line = f"step {now.step}: {percent(now.right[-1][1])} of those held out find their caption"
        yield Partial(course(now), line, min(1.0, done))
    assert now is not None
    held = len(now.cosines)
    line = (f"From {now.losses[0][1]:.3f} (2·ln {now.size} = {2 * math.log(now.size):.3f}) to {tail(now):.3f}; τ from 1 to "
            f"{now.tau:.2f}. Of {held} pictures that it never learnt from, {percent(now.right[-1][1])} find their caption; by "
            f"chance 1/{held}, {100 / held:.1f} %.")  # fmt: skip
    return course(now) | {"line": line}


def tail(now: Course) -> float:
    """The loss of the last steps, whose batches differ."""
    last = [loss for _, loss in now.losses[-20:]]
    return sum(last) / len(last)


def course(now: Course) -> dict[str, Any]:
    """Curves of a training so far, and the matrix of held-out pairs as probabilities of each row."""
    every = max(1, len(now.losses) // 250)
    ends = (0, max(1, now.step))
    held = len(now.cosines)
    return {
        "charts": [
            chart("Loss, as the document writes it", "Rows + columns, on each batch before it is learnt from", axis("step"),
                  axis("loss", low=0), series("rows + columns", now.losses[::every]),
                  series(f"2·ln {now.size}: nothing learnt", [(end, 2 * math.log(now.size)) for end in ends], "dashed")),
            chart("Held-out pictures that find their caption", f"{held} pictures that it never learns from, among {held} captions",
                  axis("step"), axis("share", low=0, high=1),
                  series("found", now.right[:: max(1, len(now.right) // 150)], "second"),
                  series(f"by chance 1/{held}", [(end, 1 / held) for end in ends], "dashed")),
        ],
        "shares": {"n": held, "v": (255 * (now.cosines / now.tau).softmax(1)).round().int().flatten().tolist()},
    }  # fmt: skip
