"""Fidelity against diversity: what a guidance scale buys and what it costs, from what networks say of the pictures.

    (1)  adherence   mean over prompts and seeds of a score s[p, i]: the CLIP score, or a class's probability
    (2)  diversity   mean over prompts and pairs of seeds i < j of 1 − cos(f_i, f_j), for the features f of the pictures
    (3)  intervals   seeds drawn with replacement, the same for all prompts; a seed drawn k times weighs k times in (1), a
                     pair k_i·k_j times in (2), and no seed makes a pair with itself

Pictures from one seed share their noise, so seeds are what varies by chance; the prompts are those that were chosen.
"""

from __future__ import annotations

import numpy as np

from core.errors import UserError
from core.metrics import Array, Interval, matrix

DRAWS, LEVEL = 1000, 0.95


def distances(features: Array) -> np.ndarray:
    """1 − cos of every pair of rows, [n, n]: 0 for the same direction, 1 for right angles."""
    rows = matrix(features, least=1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        raise UserError("A picture's features are all zeros, so they point nowhere: check the network that made them.")
    apart = 1 - (rows / lengths) @ (rows / lengths).T
    np.fill_diagonal(apart, 0)
    return apart


def adherence(scores: np.ndarray, seed: int = 0) -> Interval:
    """Equation (1) with its interval, for scores [prompts, seeds]; one seed has no interval (NaN)."""
    weights = drawn(scores.shape[1], seed)
    return _interval(float(scores.mean()), weights @ scores.mean(0) / scores.shape[1])


def diversity(features: np.ndarray, seed: int = 0) -> Interval:
    """Equation (2) with its interval, for features [prompts, seeds, D]; NaN for a single seed, no interval for two."""
    apart = np.mean([distances(rows) for rows in features], axis=0)
    n = len(apart)
    if n < 2:
        return Interval(float("nan"), float("nan"), float("nan"))
    weights = drawn(n, seed)
    pairs = weights.sum(1) ** 2 - (weights**2).sum(1)  # Σ_{i≠j} w_i·w_j
    totals = np.einsum("ki,ij,kj->k", weights, apart, weights)
    several = pairs > 0  # otherwise one seed was drawn every time
    around = totals[several] / pairs[several]
    return _interval(float(apart.sum() / (n * (n - 1))), around if n > 2 else np.full(1, np.nan))


def drawn(n: int, seed: int) -> np.ndarray:
    """How often each of n seeds is drawn when n are drawn with replacement: [DRAWS, n]."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(np.float64)


def _interval(value: float, around: np.ndarray) -> Interval:
    """The quantiles of the resamples; NaN where they do not vary because there is but one."""
    if len(np.unique(around)) < 2:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(around, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
