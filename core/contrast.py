"""CLIP compares pictures with captions: the matrix, its loss in both forms, classification by words, a tiny CLIP trained live.

s_ij = z_i·z_j                             the cosine of picture i and caption j, unit vectors of both towers            (1)
rows = −1/N Σ_i log softmax_j(s_ij/τ)_i    each picture finds its caption; columns: each caption finds its picture        (2)
CLIP's loss = (rows + columns)/2,          ln N where all look alike: 2103.00020, figure 3                                (3)
the source document's = rows + columns,    twice that, 2·ln N where all look alike                                        (4)
p(y | picture) = softmax_y(s_y/τ)          zero-shot classification: the captions are names of classes                    (5)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.clock import Clock
from core.errors import UserError
from core.metrics import Interval, binomial
from core.nets.clip import Clip, contrastive_loss, initialise
from core.nets.configs import TextConfig, VisionConfig
from core.pipeline import TextToImage
from core.training.captions import prompt
from core.training.contrastive import MAX_SCALE

AT_ONCE = 32  # texts or pictures that a tower sees in one call
CONCEPTS, PER_BATCH, LENGTH = 64, 32, 12
TINY_SIDE, TINY_WIDTH = 16, 64
MOST_STEPS, MOST_SECONDS, EVERY = 1500, 45.0, 10
RATE = 5e-4  # at 2e-3 the loss jumps, and half as many held-out pictures find their caption


# ------------------------------------------------------------------------------------------------- the matrix


class Forms(NamedTuple):
    """Equation (2) for both directions, and the two ways to make one loss of them."""

    rows: float
    columns: float

    @property
    def mean(self) -> float:
        """Equation (3)."""
        return (self.rows + self.columns) / 2

    @property
    def total(self) -> float:
        """Equation (4)."""
        return self.rows + self.columns


def forms(cosines: Tensor, tau: float) -> Forms:
    """Equation (2) for cosines [N, N], pictures in rows, each with its own caption on the diagonal."""
    logits = cosines.double() / tau
    return Forms(*(float(-logits.log_softmax(dim).diagonal().mean()) for dim in (1, 0)))


def matches(cosines: Tensor) -> int:
    """How many pictures find their caption: their own, on the diagonal, is the nearest of their row."""
    return int((cosines.argmax(1) == torch.arange(len(cosines))).sum())


class Pairs(NamedTuple):
    """Rows of a model's training pictures, each of another concept, and their captions."""

    rows: tuple[int, ...]
    captions: tuple[str, ...]


def pairs(pipe: TextToImage, count: int, seed: int) -> Pairs:
    """Training pictures of so many different concepts, drawn by a seed; fewer where there are no more."""
    origins = pipe.extras.training.origins
    rng = np.random.default_rng(seed)
    labels = list(dict.fromkeys(origin.label for origin in origins))
    chosen = rng.choice(len(labels), min(count, len(labels)), replace=False)
    rows = [int(rng.choice([i for i, origin in enumerate(origins) if origin.label == labels[c]])) for c in chosen]
    return Pairs(tuple(rows), tuple(prompt(origins[row].label, origins[row].style) for row in rows))


def vectors(pipe: TextToImage, texts: Sequence[str]) -> Iterator[Tensor]:
    """The unit vectors [B, D] of texts, some at a time."""
    for start in range(0, len(texts), AT_ONCE):
        yield pipe.extras.eyes.of_words(texts[start : start + AT_ONCE]).cpu()


def temperature(pipe: TextToImage) -> float:
    """τ, as the model's CLIP has learnt it."""
    return float((-pipe.extras.eyes.clip.logit_scale).exp())


class Guess(NamedTuple):
    """A class with its cosine to a picture and its probability, equation (5)."""

    name: str
    cosine: float
    probability: float


def zero_shot(picture: Tensor, words: Tensor, names: Sequence[str], tau: float) -> list[Guess]:
    """Equation (5) for one picture's vector [D] and the vectors of names [N, D], the most probable first."""
    cosines = (words @ picture.to(words)).double()
    shares = (cosines / tau).softmax(0)
    return [Guess(names[i], float(cosines[i]), float(shares[i])) for i in shares.argsort(descending=True).tolist()]


# ------------------------------------------------------------------------------------------------- a tiny CLIP


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a tiny CLIP learns from: small pictures, their captions as ids, and the concept of each; some held out."""

    pictures: Tensor  # [n, 3, TINY_SIDE, TINY_SIDE]
    ids: Tensor  # [n, LENGTH]
    concept: np.ndarray
    held: np.ndarray  # rows that are never learnt from, one of each concept, nor any other with their captions
    captions: tuple[str, ...]
    words: int  # in the vocabulary, with the two signs

    @property
    def learnt(self) -> list[np.ndarray]:
        """The rows of each concept that are learnt from."""
        apart = np.isin(self.captions, [self.captions[row] for row in self.held])
        return [np.flatnonzero((self.concept == c) & ~apart) for c in range(int(self.concept.max()) + 1)]


def lesson(pipe: TextToImage, seed: int = 0) -> Lesson:
    """Some concepts in all their styles, as the pictures of TINY_SIDE pixels that one linear map makes of their latents.

    One pair of each with a style is held out: its concept is known in other styles, its style from other concepts.
    """
    origins, latents = pipe.extras.training.origins, pipe.extras.training.latents
    rng = np.random.default_rng(seed)
    by: dict[str, list[int]] = {}
    for row, origin in enumerate(origins):
        by.setdefault(origin.label, []).append(row)
    known = [label for label, rows in by.items() if len({origins[row].style for row in rows}) > 1]
    if len(known) < 2:
        raise UserError(
            "This model brings fewer than two names with training pictures in two styles, too few for a tiny CLIP to learn from."
        )
    labels = [known[i] for i in rng.choice(len(known), min(CONCEPTS, len(known)), replace=False)]
    rows = [row for label in labels for row in by[label]]
    concept = np.array([c for c, label in enumerate(labels) for _ in by[label]])
    held = np.array([rng.choice(np.flatnonzero(concept == c)) for c in range(len(labels))])
    captions = tuple(prompt(origins[row].label, origins[row].style) for row in rows)
    ids, words = spelled(captions)
    small = torch.nn.functional.interpolate(pipe.rough(latents[rows]).cpu(), size=(TINY_SIDE, TINY_SIDE), mode="area")
    return Lesson(small.clamp(-1, 1), ids, concept, held, captions, words)


def spelled(captions: Sequence[str]) -> tuple[Tensor, int]:
    """Captions as numbers of their words [n, LENGTH], closed and filled up by the sign 0; and how many numbers there are."""
    split = [caption.lower().replace(",", " ").split()[: LENGTH - 1] for caption in captions]
    number = {word: i for i, word in enumerate(dict.fromkeys(word for one in split for word in one), 1)}
    ids = torch.zeros(len(captions), LENGTH, dtype=torch.long)
    for row, one in enumerate(split):
        ids[row, : len(one)] = torch.tensor([number[word] for word in one])
    return ids, len(number) + 1


@dataclass(frozen=True)
class Course:
    """How far a tiny CLIP has come: equation (4) by step, the share of held-out pictures that find their caption, the matrix."""

    step: int
    seconds: float
    size: int  # N
    losses: tuple[tuple[int, float], ...]
    right: tuple[tuple[int, Interval], ...]
    cosines: Tensor  # of the held-out pairs [M, M]
    tau: float


def tiny(words: int, seed: int) -> Clip:
    """A CLIP of one layer a tower with τ = 1, its weights drawn without touching anybody else's random numbers."""
    text = TextConfig(words, TINY_WIDTH, 1, 2, 2 * TINY_WIDTH, LENGTH, "gelu", projection=TINY_WIDTH, bos=0, eos=0, pad=0)
    vision = VisionConfig(TINY_SIDE, 4, TINY_WIDTH, 1, 2, 2 * TINY_WIDTH, "gelu", projection=TINY_WIDTH)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed CUDA too
        network = Clip(text, vision)
        initialise(network)
        torch.nn.init.zeros_(network.logit_scale)  # τ = 1: at CLIP's own 0.07 chance directions would count already
    return network


def taught(data: Lesson, seed: int = 0, steps: int = MOST_STEPS, seconds: float = MOST_SECONDS) -> Iterator[Course]:
    """Train a tiny CLIP, telling its course every few steps: first before anything is learnt; at most so many steps and seconds."""
    clock = Clock(seconds)
    with clock:
        network, rng = tiny(data.words, seed), np.random.default_rng(seed)
    weights = [value for value in network.parameters() if value is not network.logit_scale]
    both: list[dict[str, Any]] = [{"params": weights}, {"params": [network.logit_scale], "lr": 10 * RATE, "weight_decay": 0.0}]
    learner = torch.optim.AdamW(both, RATE, betas=(0.9, 0.98), weight_decay=0.05)
    groups, losses, right = data.learnt, list[tuple[int, float]](), list[tuple[int, Interval]]()
    size = min(PER_BATCH, len(groups))
    for step in range(steps + 1):
        last = step == steps or clock.over
        with clock:
            seen = examined(network, data) if step % EVERY == 0 or last else None  # before this step, as its loss is
            rows = np.array([rng.choice(groups[c]) for c in rng.choice(len(groups), size, replace=False)])
            losses.append((step, learnt(network, learner, data, rows)))
        if seen:
            cosines, tau = seen
            right.append((step, binomial(matches(cosines), len(cosines))))
            yield Course(step, clock.spent, size, tuple(losses), tuple(right), cosines, tau)
        if last:
            return


def learnt(network: Clip, learner: torch.optim.Optimizer, data: Lesson, rows: np.ndarray) -> float:
    """One step on a batch; equation (4) before it."""
    with torch.enable_grad():
        loss = contrastive_loss(network(data.pictures[rows], data.ids[rows]))
        learner.zero_grad()
        loss.backward()
        learner.step()
    with torch.no_grad():
        network.logit_scale.clamp_(max=MAX_SCALE)
    return 2 * float(loss.detach())


@torch.no_grad()
def examined(network: Clip, data: Lesson) -> tuple[Tensor, float]:
    """Equation (1) of the held-out pairs, and τ."""
    rows = data.held
    cosines = network.embed_image(data.pictures[rows]) @ network.embed_text(data.ids[rows]).T
    return cosines, float((-network.logit_scale).exp())
