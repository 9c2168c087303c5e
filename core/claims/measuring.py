"""Claims about metrics, on arrays whose answers are known."""

from __future__ import annotations

import numpy as np

from core.assumptions.line import exactly, over_runs
from core.claims import OPEN, Finding, claim, verdict
from core.metrics import Gaussian, frechet_distance, frechet_floor, inception_score, statistics

DIMS, RUNS = 16, 8


@claim(
    29,
    says="FID = ‖μ_r − μ_g‖² + Tr(Σ_r + Σ_g − 2(Σ_rΣ_g)^½). Lower FID indicates greater similarity between distributions.",
    asks="Two samples of 200 from one and the same Gaussian in 16 dimensions: how far apart are they said to be?",
    unit="squared distance", paper="1706.08500",
    link="?v=1&tab=labs&view.page=evaluate&view.evaluate=metrics",
)  # fmt: skip
def frechet() -> Finding:
    """The distance of Gaussians with known answers; of a set from itself; and of two samples of one distribution, for growing n."""
    identity, shift = np.eye(DIMS), np.zeros(DIMS)
    shift[0] = 2.0
    closed = 4 + DIMS * (3 - 1) ** 2  # means 2 apart, standard deviations 1 and 3
    off = abs(float(frechet_distance(Gaussian(np.zeros(DIMS), identity), Gaussian(shift, 9 * identity))) - closed)
    random = np.random.default_rng(0)
    itself = float(frechet_distance(first := random.standard_normal((200, DIMS)), first))
    sizes = (50, 200, 800)
    found = {n: [float(frechet_distance(*random.standard_normal((2, n, DIMS)))) for _ in range(RUNS)] for n in sizes}
    value = over_runs(found[200])
    expected = 2 * frechet_floor(Gaussian(np.zeros(DIMS), identity), 200)
    told = (f"Off the closed form by {off:.0e}; {itself:.0e} for a set and itself. Two samples of one distribution: "
            f"{', '.join(f'{np.mean(found[n]):.2f} at n = {n}' for n in sizes)} (theory for 200: {expected:.2f}): lower is "
            f"nearer only "
            "at the same n.")  # fmt: skip
    holds = off < 1e-9 and itself < 1e-6 and np.mean(found[50]) > np.mean(found[800]) and value.low < expected * 1.1
    return Finding(value, verdict(bool(holds)), told, {"n": list(sizes), "dimensions": DIMS})


@claim(
    30,
    says="State-of-the-art diffusion models achieve FID < 2 on standard benchmarks, compared to ~10–30 for early GAN models.",
    asks="The same pictures, their features in another network's units (each twice as large): by how much does the distance "
         "change?",
    unit="× distance", paper="1706.08500",
    note="A number on this axis needs Inception-v3's features and 50,000 pictures. Ours carries its own name and stands on no axis "
         "with it.",
)  # fmt: skip
def benchmark_numbers() -> Finding:
    """Measure one pair of sets with features as they are and twice as large: the number is the network's as much as the
    pictures'.
    """
    random = np.random.default_rng(1)
    ratios = []
    for _ in range(RUNS):
        a, b = random.standard_normal((400, DIMS)), random.standard_normal((400, DIMS)) + 0.2
        ratios.append(float(frechet_distance(2 * a, 2 * b)) / float(frechet_distance(a, b)))
    value = over_runs(ratios)
    told = (f"The same sets are {value.value:.0f} times as far apart in the other units. No Inception features are at hand, so "
            "nothing here can confirm or refute a benchmark's numbers.")  # fmt: skip
    return Finding(value, OPEN, told, {"n": 400, "dimensions": DIMS})


@claim(
    31,
    says="IS = exp(E_x[KL(p(y|x) ‖ p(y))]) measures both sharpness and diversity (the marginal class distribution should be "
         "uniform).",
    asks="What is the score of ten classes, each met equally often and for sure?",
    unit="score", paper="1606.03498",
    link="?v=1&tab=labs&view.page=evaluate&view.evaluate=metrics",
)  # fmt: skip
def inception() -> Finding:
    """The score of ten classes met equally often and for sure; of a classifier that cannot tell; and of one class only."""
    sure = np.tile(np.eye(10), (20, 1))
    value = float(inception_score(sure))
    blind, single = float(inception_score(np.full((200, 10), 0.1))), float(inception_score(np.eye(10)[[3] * 200]))
    told = f"{value:.4f} for ten classes, {blind:.4f} for a classifier that cannot tell, {single:.4f} for one class only."
    holds = max(abs(value - 10), abs(blind - 1), abs(single - 1)) < 1e-9
    return Finding(exactly(value), verdict(holds), told, {"classes": 10})


@claim(
    32,
    says="IS does not capture mode dropping as effectively as FID.",
    asks="Each class is replaced by copies of one of its pictures: how many times farther is the set said to be by the Frechet "
         "distance?",
    unit="× Frechet distance", paper="1706.08500",
    link="?v=1&tab=labs&view.page=evaluate&view.damage=single",
)  # fmt: skip
def dropped_modes() -> Finding:
    """Ten classes of pictures as features around ten centres; keep one picture of each, copied, and take both measures again."""
    ratios, scores = [], []
    for seed in range(RUNS):
        random = np.random.default_rng(seed)
        centres = 4 * random.standard_normal((10, DIMS))
        real, made = (np.repeat(centres, 100, 0) + random.standard_normal((1000, DIMS)) for _ in range(2))
        copies = made[np.arange(10) * 100].repeat(100, 0)
        reference = statistics(real)
        ratios.append(float(frechet_distance(reference, copies)) / float(frechet_distance(reference, made)))
        scores.append([float(inception_score(probabilities(rows, centres))) for rows in (made, copies)])
    value = over_runs(ratios)
    before, after = np.mean(scores, 0)
    told = (f"Inception score {before:.2f} before and {after:.2f} after nine hundred and ninety of a thousand pictures became "
            f"copies; "
            f"the Frechet distance grew {value.value:.0f} times.")  # fmt: skip
    return Finding(value, verdict(abs(after / before - 1) < 0.02 and value.low > 3), told, {"classes": 10, "pictures": 1000})


def probabilities(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """What a perfect classifier of unit Gaussians around these centres says."""
    logits = -((rows[:, None] - centres) ** 2).sum(-1) / 2
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)
