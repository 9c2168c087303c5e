"""Every sampler: how to move between two noise levels.

    ODE     d(x/alpha) = eps · d nsr: a straight line in x/alpha over nsr where eps stands still                (1)  `along`
    step    x' = alpha'·x0 + √(sigma'² − std²)·eps + std·noise,  std = eta·(sigma'/sigma)·√(1 − (alpha/alpha')²)   (2)  `step`
    lambda  x' = (sigma'/sigma)·x − alpha'·expm1(−h)·D,  h = lam' − lam: exact where x0 = D stands still        (3)  `towards`

(2) with eta = 0 is (1) over one slope and (3) with D = x0: euler and ddim(0) are one sampler, and euler_ancestral, ddpm and ddim(1)
another. To add a sampler, write it here under the decorator: it then appears in the app, in the tests and on every chart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

import numpy as np
from torch import Tensor

from core.prediction import Denoiser, Prediction
from core.sampling import Fresh, Range, sampler
from core.schedules import Level, Path

Eta = Annotated[float, Range(0, 1, "how much fresh noise each step adds: none at 0, as much as DDPM at 1")]


def along(x: Tensor, eps: Tensor, cur: Level, nxt: Level) -> Tensor:
    """Follow equation (1) with one slope: alpha'·(x/alpha + (nsr' − nsr)·eps)."""
    return nxt.alpha * (x / cur.alpha + (nxt.nsr - cur.nsr) * eps)


def posterior_std(cur: Level, nxt: Level) -> float:
    """The std of (2) at eta = 1: that of DDPM's posterior q(x' | x, x0) (2006.11239 eq. 7)."""
    if nxt.sigma == 0:
        return 0.0
    return nxt.sigma / cur.sigma * math.sqrt(max(0.0, 1 - (cur.alpha / nxt.alpha) ** 2))


def step(p: Prediction, cur: Level, nxt: Level, std: float = 0.0, noise: Tensor | float = 0.0) -> Tensor:
    """Equation (2), whose three terms the app shows: towards x0, along eps, fresh noise (2010.02502 eq. 12)."""
    return nxt.alpha * p.x0 + math.sqrt(max(0.0, nxt.sigma**2 - std**2)) * p.eps + std * noise


def towards(x: Tensor, d: Tensor, cur: Level, nxt: Level) -> Tensor:
    """Equation (3): the exact solution for a constant prediction d of x0 (2211.01095 eq. 9); d itself when nxt is clean."""
    if nxt.sigma == 0:
        return nxt.alpha * d
    return nxt.sigma / cur.sigma * x - nxt.alpha * math.expm1(cur.lam - nxt.lam) * d


def stochastic(denoise: Denoiser, path: Path, x: Tensor, noise: Fresh, eta: float) -> Iterator[Tensor]:
    """The one formula (2) behind euler, ddim, euler_ancestral and ddpm."""
    for move, (cur, nxt) in enumerate(path):
        std = eta * posterior_std(cur, nxt)
        x = step(denoise(x, cur), cur, nxt, std, noise(move) if std else 0.0)
        yield x


@sampler("DDPM", order=None, paper="2006.11239", same_as="DDPMScheduler", finite=False)
def ddpm(denoise: Denoiser, path: Path, x: Tensor, noise: Fresh) -> Iterator[Tensor]:
    """DDPM: draw from the posterior of the forward process as if the predicted x0 were true."""
    yield from stochastic(denoise, path, x, noise, eta=1.0)


@sampler("DDIM", order=1, paper="2010.02502", same_as="DDIMScheduler", end="first", finite=False)
def ddim(denoise: Denoiser, path: Path, x: Tensor, noise: Fresh, *, eta: Eta = 0.0) -> Iterator[Tensor]:
    """DDIM: keep the predicted noise instead of drawing it anew; eta mixes fresh noise back in, up to DDPM at 1."""
    yield from stochastic(denoise, path, x, noise, eta)


@sampler("Euler", order=1, paper="2206.00364", same_as="EulerDiscreteScheduler", finite=False)
def euler(denoise: Denoiser, path: Path, x: Tensor, noise: Fresh) -> Iterator[Tensor]:
    """Euler: one straight step along the slope at the noisier level; the same formula as DDIM without fresh noise."""
    yield from stochastic(denoise, path, x, noise, eta=0.0)


@sampler("Euler a", order=None, paper="2011.13456", same_as="EulerAncestralDiscreteScheduler", finite=False)
def euler_ancestral(denoise: Denoiser, path: Path, x: Tensor, noise: Fresh, *, eta: Eta = 1.0) -> Iterator[Tensor]:
    """Euler ancestral: an Euler step to below the next level, then fresh noise up to it; the same formula as DDPM.

    Source: ancestral sampling, 2011.13456 appendix F.
    """
    yield from stochastic(denoise, path, x, noise, eta)


@sampler("Heun", order=2, paper="2206.00364", same_as="HeunDiscreteScheduler", calls=2)
def heun(denoise: Denoiser, path: Path, x: Tensor, noise: Fresh) -> Iterator[Tensor]:
    """Heun: an Euler trial step, then the average of both slopes."""
    for cur, nxt in path:
        eps = denoise(x, cur).eps
        if nxt.sigma:
            eps = (eps + denoise(along(x, eps, cur, nxt), nxt).eps) / 2
        x = along(x, eps, cur, nxt)
        yield x


@sampler("DPM-Solver-2", order=2, paper="2206.00927", same_as="k-diffusion's dpm_solver_2_step", calls=2)
def dpm_solver_2(denoise: Denoiser, path: Path, x: Tensor, noise: Fresh) -> Iterator[Tensor]:
    """DPM-Solver-2: the slope at the middle of the step in lambda stands for the whole step."""
    for cur, nxt in path:
        p = denoise(x, cur)
        if nxt.sigma == 0:
            x = step(p, cur, nxt)
        else:
            mid = path.between(cur, nxt, 1 / 2)
            x = lambda_line(x, denoise(step(p, cur, mid), mid).eps, cur, nxt)
        yield x


@sampler("DPM-Solver-3", order=3, paper="2206.00927", same_as="k-diffusion's dpm_solver_3_step", calls=3)
def dpm_solver_3(denoise: Denoiser, path: Path, x: Tensor, noise: Fresh) -> Iterator[Tensor]:
    """DPM-Solver-3: slopes at one third and two thirds of the step in lambda cancel the errors of first and second order."""
    for cur, nxt in path:
        p = denoise(x, cur)
        if nxt.sigma == 0:
            x = step(p, cur, nxt)
        else:
            one, two = path.between(cur, nxt, 1 / 3), path.between(cur, nxt, 2 / 3)
            h = nxt.lam - cur.lam
            e1 = denoise(step(p, cur, one), one).eps - p.eps
            s = 2 / 3 * h
            u = lambda_line(x, p.eps, cur, two) - two.sigma * 2 * (math.expm1(s) / s - 1) * e1
            e2 = denoise(u, two).eps - p.eps
            x = lambda_line(x, p.eps, cur, nxt) - nxt.sigma * 3 / 2 * (math.expm1(h) / h - 1) * e2
        yield x


def lambda_line(x: Tensor, eps: Tensor, cur: Level, nxt: Level) -> Tensor:
    """Follow the ODE in lambda with eps standing still: (alpha'/alpha)·x − sigma'·expm1(h)·eps (2206.00927 eq. 3.7)."""
    return nxt.alpha / cur.alpha * x - nxt.sigma * math.expm1(nxt.lam - cur.lam) * eps


@sampler("DPM++ 2M", order=2, paper="2211.01095", same_as="DPMSolverMultistepScheduler")
def dpmpp_2m(denoise: Denoiser, path: Path, x: Tensor, noise: Fresh) -> Iterator[Tensor]:
    """DPM++ 2M: extrapolate the predicted x0 to the middle of the step from this and the last prediction."""
    last: Prediction | None = None
    for cur, nxt in path:
        p = denoise(x, cur)
        x = towards(x, extrapolated(p, last, cur, nxt), cur, nxt)
        last = p
        yield x


def extrapolated(p: Prediction, last: Prediction | None, cur: Level, nxt: Level) -> Tensor:
    """D = x0 + (x0 − x0_last)·h/(2·h_last); x0 itself on the first move and on one that ends clean."""
    if last is None or nxt.sigma == 0:
        return p.x0
    return p.x0 + (p.x0 - last.x0) * (nxt.lam - cur.lam) / (2 * (cur.lam - last.at.lam))


@sampler("DPM++ 2M SDE", order=None, paper="2211.01095", same_as="DPMSolverMultistepScheduler, sde-dpmsolver++")
def dpmpp_2m_sde(denoise: Denoiser, path: Path, x: Tensor, noise: Fresh, *, eta: Eta = 1.0) -> Iterator[Tensor]:
    """DPM++ 2M SDE: the same extrapolation for the stochastic equation, which forgets old errors as it goes."""
    last: Prediction | None = None
    for move, (cur, nxt) in enumerate(path):
        p = denoise(x, cur)
        if nxt.sigma == 0:
            x = step(p, cur, nxt)
        else:
            h = nxt.lam - cur.lam
            d = extrapolated(p, last, cur, nxt)
            x = nxt.sigma / cur.sigma * math.exp(-h * eta) * x - nxt.alpha * math.expm1(-h * (1 + eta)) * d
            if eta:
                x = x + nxt.sigma * math.sqrt(-math.expm1(-2 * h * eta)) * noise(move)
        last = p
        yield x


@sampler("LMS", order=2, paper="", same_as="LMSDiscreteScheduler")
def lms(denoise: Denoiser, path: Path, x: Tensor, noise: Fresh) -> Iterator[Tensor]:
    """LMS: a polynomial through the last four slopes over sigma/alpha, integrated over the step.

    Its first moves have fewer slopes to go by, and the very first one is Euler's: that one error is what is left in the
    limit, so the global order is 2, though with few steps the error falls faster.
    """
    history: list[Prediction] = []
    for cur, nxt in path:
        history = [denoise(x, cur), *history][:4]
        weights = adams_bashforth([p.at.nsr for p in history], cur.nsr, nxt.nsr)
        x = nxt.alpha * (x / cur.alpha + sum(w * p.eps for w, p in zip(weights, history, strict=True)))
        yield x


def adams_bashforth(nodes: list[float], start: float, stop: float) -> list[float]:
    """∫ of each Lagrange polynomial over the nodes from start to stop: exact by Gauss' rule of as many points."""
    points, weights = np.polynomial.legendre.leggauss(len(nodes))
    where = (stop - start) / 2 * points + (stop + start) / 2
    return [
        float((stop - start) / 2 * np.sum(weights * np.prod(
            [(where - other) / (node - other) for other in nodes if other != node], axis=0)))
        for node in nodes
    ]  # fmt: skip


@sampler("UniPC", order=3, paper="2302.04867", same_as="UniPCMultistepScheduler")
def uni_pc(denoise: Denoiser, path: Path, x: Tensor, noise: Fresh) -> Iterator[Tensor]:
    """UniPC: each new prediction first corrects the step that led to it, then predicts the next one."""
    history: list[Prediction] = []
    start = x
    for cur, nxt in path:
        p = denoise(x, cur)
        start = corrected(start, p, history) if history else x
        history = [p, *history][:2]
        x = predicted(start, history, cur, nxt)
        yield x


def predicted(x: Tensor, history: list[Prediction], cur: Level, nxt: Level) -> Tensor:
    """UniP of order 2 with B(h) = expm1(−h): (3), and half a difference quotient more (2302.04867 eq. 9)."""
    p = history[0]
    if len(history) == 1 or nxt.sigma == 0:
        return towards(x, p.x0, cur, nxt)
    r = (history[1].at.lam - cur.lam) / (nxt.lam - cur.lam)
    return towards(x, p.x0 + 0.5 * (history[1].x0 - p.x0) / r, cur, nxt)


def corrected(x: Tensor, p: Prediction, history: list[Prediction]) -> Tensor:
    """UniC: take the last step from x again, now that the prediction p at its end is known (2302.04867 eq. 7)."""
    last, nxt = history[0], p.at
    h = nxt.lam - last.at.lam
    if len(history) == 1:
        return towards(x, last.x0 + 0.5 * (p.x0 - last.x0), last.at, nxt)
    r = (history[1].at.lam - last.at.lam) / h
    first = math.expm1(-h) / -h - 1
    b1, b2 = first / math.expm1(-h), 2 * (first / -h - 1 / 2) / math.expm1(-h)
    w = (b1 - b2) / (1 - r)
    return towards(x, last.x0 + w * (history[1].x0 - last.x0) / r + (b1 - w) * (p.x0 - last.x0), last.at, nxt)
