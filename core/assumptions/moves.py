"""Assumptions 2 and 4: small steps, and Gaussian reverse moves.

    x_t = √(1 − beta)·y + √beta·eps,   y ~ Σ w_k N(m_k, V_k)                                                             (1)
    q(y | x_t) = Σ r_k N(c_k, U_k),   S_k = (1 − beta)·V_k + beta,   U_k = V_k·beta/S_k,                                 (2)
                 c_k = m_k + √(1 − beta)·V_k/S_k·(x_t − √(1 − beta)·m_k),   r_k ∝ w_k N(x_t; √(1 − beta)·m_k, S_k)
    KL(q ‖ its Gaussian) = E_q log q + ½·log(2πe·Var q)                     in nats, averaged over x_t ~ q(x_t)          (3)
    KL(data ‖ a chain of Gaussian moves) ≤ KL(q(x_T) ‖ N(0, 1)) + Σ over the moves of (3)         by KL's chain rule     (4)
                 a noising process of another eta has q(x_{t-1} | x_t) = Σ r_k N(a·c_k + b·x_t, a²·U_k + std²) there, with
                 r_k, c_k, U_k of (2) for x_0 itself, and a, b, std of forward (2); with eta = 1 it is (2)
    y = E_q y + √(Var q)·eps                                                 a move drawn from that Gaussian             (5)

The Gaussian of the same mean and variance is the nearest that there is, so (3) is what no Gaussian move can do without. A run
of (5) errs by its moves' shape alone: on data that are one Gaussian, (2) is (5), and nothing is lost however few the moves are.
DDPM's moves have a smaller variance than Var q, and none in the last move, which costs more than the shape where they are few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.assumptions.forward import weights
from core.assumptions.line import Line, over_runs, unit_noise, wasserstein
from core.metrics import Interval
from core.prediction import unconditional
from core.sampling import sample
from core.schedules import CLEAN, Level, Path, Schedule, make_path
from core.toy import GaussianMixture
from core.tradeoff import one_thread

BETAS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
STEPS = (2, 3, 5, 10, 20, 50, 100, 200, 1000)
RUNS, POINTS = 8, 500
OVER, WITHIN = 61, 401  # points of the quadrature over x_t, and over y


def posterior(line: Line, beta: float, x: np.ndarray) -> Line:
    """Equation (2): what y may have been for each x_t [n], as components [n, K]."""
    v, root = line.stds**2, math.sqrt(1 - beta)
    s = (1 - beta) * v + beta
    away = x[:, None] - root * line.means
    logits = np.log(line.weights) - away**2 / (2 * s) - np.log(s) / 2
    r = np.exp(logits - logits.max(1, keepdims=True))
    std = np.broadcast_to(np.sqrt(v * beta / s), r.shape)
    return Line(r / r.sum(1, keepdims=True), line.means + root * v / s * away, std)


def moments(q: Line) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each row's mixture [n, K], [n] and [n]."""
    mean = (q.weights * q.means).sum(1)
    return mean, (q.weights * (q.stds**2 + (q.means - mean[:, None]) ** 2)).sum(1)


def backward(mixture: GaussianMixture, cur: Level, nxt: Level, x: np.ndarray, eta: float = 1.0) -> Line:
    """q(x_{t-1} | x_t) for each x_t [n], as components [n, K], of the noising process of this eta, by (4)."""
    q, move = posterior(Line.of(mixture, CLEAN), cur.sigma**2, x), weights(cur, nxt, eta)
    return Line(q.weights, move.x0 * q.means + move.x * x[:, None], np.hypot(move.x0 * q.stds, move.std))


def nats(line: Line, beta: float) -> float:
    """Equation (3), by quadrature over y for each x_t and over x_t."""
    ahead = Line(line.weights, math.sqrt(1 - beta) * line.means, np.sqrt((1 - beta) * line.stds**2 + beta))
    x, share = quadrature(ahead)
    return float(share @ lost(posterior(line, beta, x)))


def quadrature(line: Line) -> tuple[np.ndarray, np.ndarray]:
    """Points x [OVER] and the share of x ~ line that each stands for."""
    x = line.grid(OVER)
    density = line.density(x)
    return x, density / density.sum()


def lost(q: Line) -> np.ndarray:
    """KL of each row's mixture [n, K] from the Gaussian of its mean and variance, [n]."""
    _, variance = moments(q)
    kept = np.where(q.weights > 1e-14, 1.0, np.nan)
    low, high = np.nanmin(kept * (q.means - 8 * q.stds), axis=1), np.nanmax(kept * (q.means + 8 * q.stds), axis=1)
    y = np.linspace(low, high, WITHIN, axis=1)[:, :, None]  # [n, WITHIN, 1]
    z = (y - q.means[:, None]) / q.stds[:, None]
    p = (q.weights[:, None] * np.exp(-(z**2) / 2) / (math.sqrt(2 * math.pi) * q.stds[:, None])).sum(2)
    mass = p / p.sum(1, keepdims=True)
    negative_entropy = (mass * np.log(np.maximum(p, 1e-300))).sum(1)
    return np.maximum(negative_entropy + 0.5 * np.log(2 * math.pi * math.e * variance), 0.0)


class Loss(NamedTuple):
    """What a Gaussian move of this beta loses, and how many such moves bring alpha_bar to 4·10⁻⁵ as DDPM's thousand do."""

    beta: float
    nats: float
    moves: int


def small_steps(mixture: GaussianMixture, at: Level, betas: Sequence[float] = BETAS) -> list[Loss]:
    """Equation (3) against beta, for y at a level."""
    line = Line.of(mixture, at)
    return [Loss(beta, nats(line, beta), math.ceil(math.log(4e-5) / math.log(1 - beta))) for beta in betas]


def chain(mixture: GaussianMixture, path: Path, eta: float = 1.0) -> float:
    """Equation (4) for a run down a path to the data, against the noising process of this eta."""
    total = start(Line.of(mixture, path.levels[0]))
    for cur, nxt in path:
        x, share = quadrature(Line.of(mixture, cur))
        total += float(share @ lost(backward(mixture, cur, nxt, x, eta)))
    return total


def start(line: Line) -> float:
    """KL(q ‖ N(0, 1)) in nats: (3) of q, and ½·(mean² + Var q − 1 − ln Var q), which the Gaussian of its moments has."""
    q = Line(*(part[None] for part in line))
    mean, variance = (float(moment[0]) for moment in moments(q))
    return float(lost(q)[0]) + (mean**2 + variance - 1 - math.log(variance)) / 2


class Left(NamedTuple):
    """Where a run ends: its W2 from the data, and the share of points left of the valley."""

    kind: str
    steps: int
    distance: Interval
    left: Interval


GAUSSIAN, CONTROL, DDPM = KINDS = ("gaussian", "control", "ddpm")  # (5) on the data, (5) on one Gaussian, DDPM's moves on the data


def alike(mixture: GaussianMixture) -> GaussianMixture:
    """One Gaussian of the same mean and variance: its reverse moves are Gaussian, whatever beta."""
    line = Line.of(mixture, CLEAN)
    return GaussianMixture.of([[float(line.weights @ line.means)]], [math.sqrt(line.variance)])


def valley(mixture: GaussianMixture, at: Level) -> float:
    """The least density between the outer peaks: what separates the modes."""
    line = Line.of(mixture, at)
    x = np.linspace(line.means.min(), line.means.max(), 2001)
    return float(x[np.argmin(line.density(x))])


def gaussian_moves(
    mixture: GaussianMixture, schedule: Schedule, kinds: Sequence[str] = KINDS, steps: Sequence[int] = STEPS, seed: int = 0
) -> Iterator[Left]:
    """Runs to the data with all that a perfect score knows, in so many moves of each kind."""
    for count in sorted(steps):
        for kind in kinds:
            yield _left(mixture, schedule, kind, count, seed)


@one_thread()
def _left(mixture: GaussianMixture, schedule: Schedule, kind: str, steps: int, seed: int) -> Left:
    path, noise = make_path(schedule, "trailing", steps), unit_noise(RUNS * POINTS, 1, seed=seed)
    data = alike(mixture) if kind == CONTROL else mixture
    if kind == DDPM:
        *_, last = sample(unconditional(data), path, "ddpm", noise)
        ends = last.x_next.numpy()
    else:
        ends = drawn(data, path, noise)
    parts = ends.reshape(RUNS, POINTS)
    far = over_runs([wasserstein(part, Line.of(data, CLEAN)) for part in parts])
    return Left(kind, steps, far, over_runs((parts < valley(mixture, CLEAN)).mean(1)))


def drawn(mixture: GaussianMixture, path: Path, noise: Callable[[int], Tensor]) -> np.ndarray:
    """Where moves (5) down a path end, [n]."""
    x = noise(0).numpy()[:, 0]
    for index, (cur, nxt) in enumerate(path):
        mean, variance = moments(posterior(Line.of(mixture, nxt), 1 - (cur.alpha / nxt.alpha) ** 2, x))
        x = mean + np.sqrt(variance) * noise(index + 1).numpy()[:, 0]
    return x


def by_chance(mixture: GaussianMixture, at: Level, seed: int = 0) -> Interval:
    """W2 of as many points of the data themselves: nothing lies below it but by luck."""
    points = mixture.sample(RUNS * POINTS, torch.Generator().manual_seed(seed)).reshape(RUNS, POINTS).numpy()
    return over_runs([wasserstein(part, Line.of(mixture, at)) for part in points])
