"""What a classifier says of one picture and of all of them, and the inception score as what lies between.

    p(y) = mean over x of p(y|x)                                                     the marginal                    (1)
    d(x) = KL(p(y|x) ‖ p(y)) = Σ_y p(y|x)·log(p(y|x)/p(y))                           in nats                         (2)
    score = exp(mean over x of d(x)) = exp H(p(y)) / exp(mean over x of H(p(y|x)))   classes in all by classes of one (3)

exp H counts classes: K that are equally probable count as K, one that is sure counts as 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from core.errors import UserError
from core.metrics import Array, Interval, bootstraps, entropy, matrix

SHOWN = 12  # classes
DRAWS = 60  # resamples of each interval


class Share(NamedTuple):
    """A class by its number, and its probability."""

    number: int
    share: Interval


class Product(NamedTuple):
    """Equation (3): how many classes are met in all, how many one picture could be, and the one divided by the other."""

    in_all: Interval
    in_one: Interval
    score: Interval


def divergences(probabilities: Array) -> np.ndarray:
    """Equation (2) for every row of class probabilities [n, K]: how far each picture is from all together, [n]."""
    p = matrix(probabilities, least=1)
    return (p * np.log(np.where(p > 0, p, 1) / np.where(p > 0, p.mean(0), 1))).sum(1)


def marginal(probabilities: Array, shown: int = SHOWN, draws: int = DRAWS) -> list[Share]:
    """The largest classes of (1), each with its interval over pictures."""
    p = matrix(probabilities, least=1)
    numbers = largest(p.mean(0), shown)
    found = bootstraps(lambda rows: rows.mean(0), (p[:, numbers],), draws)
    return [Share(number, within(share, 0, 1)) for number, share in zip(numbers, found, strict=True)]


def of_one(row: np.ndarray, shown: int = SHOWN) -> list[Share]:
    """The largest classes of one picture's probabilities [K]; chance has no part in them."""
    return [Share(number, Interval(float(row[number]), np.nan, np.nan)) for number in largest(row, shown)]


def product(probabilities: Array, draws: int = DRAWS) -> Product:
    """Equation (3) from its right side, on the same resamples."""
    p = matrix(probabilities, least=1)

    def counts(rows: np.ndarray) -> tuple[float, float, float]:
        in_all, in_one = np.exp(entropy(rows.mean(0))), np.exp(entropy(rows).mean())
        return in_all, in_one, in_all / in_one

    return Product(*(within(found, 1, p.shape[1]) for found in bootstraps(counts, (p,), draws)))


def largest(shares: np.ndarray, shown: int) -> list[int]:
    """The numbers of the largest shares [K], the largest first."""
    return [int(number) for number in np.argsort(-shares, kind="stable")[:shown]]


def within(found: Interval, low: float, high: float) -> Interval:
    """An interval held within what the number can be."""
    return Interval(found.value, *(min(max(end, low), high) for end in found[1:]))


def one_of_each(probabilities: np.ndarray | None, seed: int = 0) -> np.ndarray:
    """Rows that put in every picture's place one and the same picture of its class, [n]: each class is met as often as before.

    A picture's class is the most probable one; which picture stands for it is drawn. Raises UserError where no classifier was
    asked.
    """
    if probabilities is None:
        raise UserError("Nobody has said what class these pictures are: this needs a model with a classifier, or Inception-v3.")
    judged, order = probabilities.argmax(1), np.random.default_rng(seed).permutation(len(probabilities))
    _, first, member = np.unique(judged[order], return_index=True, return_inverse=True)
    rows = np.empty_like(order)
    rows[order] = order[first[member]]
    return rows
