"""Guidance: denoisers made of models, so that no sampler ever hears of prompts or scales.

    classifier-free   eps = (1 + gamma)·eps_c − gamma·eps_0          gamma −1: unconditional, 0: conditional     (1)   2207.12598
    classifier        eps = eps_0 − sigma·gamma·∇_x log p(y | x)                                                   (2)   2105.05233
    everyone else's CFG scale is w = 1 + gamma; with an exact classifier, (1) at gamma is (2) at 1 + gamma.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from core.prediction import READ, Denoiser, Model, Prediction
from core.schedules import Level


def classifier_free(model: Model, cond: Any, uncond: Any, gamma: float | Tensor) -> Denoiser:
    """Equation (1), both conditions in one call; at gamma −1 and 0 the one prediction it is, to the bit.

    A negative prompt takes the place of `uncond`. gamma may be a tensor [B, 1, …]: a scale for each image.
    """

    def denoise(x: Tensor, at: Level) -> Prediction:
        if isinstance(gamma, int | float) and gamma in (-1, 0):
            name, one = ("cond", cond) if gamma == 0 else ("uncond", uncond)
            p = model(x, at, (one,))[0]
            return replace(p, parts={name: p})
        p, empty = model(x, at, (cond, uncond))
        x0, eps = (c + gamma * (c - e) for c, e in ((p.x0, empty.x0), (p.eps, empty.eps)))
        return Prediction(x0, eps, at, {"cond": p, "uncond": empty})

    return denoise


def classifier_guided(denoise: Denoiser, log_prob: Callable[[Tensor, Level], Tensor], gamma: float | Tensor) -> Denoiser:
    """Equation (2), the gradient by autograd; log_prob(x, level) gives log p(y | x) for each image, [B].

    gamma may be a tensor [B, 1, …]: a scale for each image.
    """

    def guided(x: Tensor, at: Level) -> Prediction:
        p = denoise(x, at)
        if at.alpha == 0:  # pure noise says nothing of y: the gradient is 0
            return replace(p, parts=p.parts or {"uncond": p})
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(log_prob(leaf, at).sum(), leaf)
        push = at.sigma * gamma * gradient
        # x0 moves by what (x − sigma·eps)/alpha makes of the push: computed from x it would lose its last digits in noise.
        return Prediction(p.x0 + at.sigma / at.alpha * push, p.eps - push, at, p.parts or {"uncond": p})

    return guided


def interval(guided: Denoiser, plain: Denoiser, low: float, high: float) -> Denoiser:
    """Guide only where low ≤ sigma/alpha ≤ high; elsewhere ask `plain`, at half the cost (2404.07724)."""
    return lambda x, at: (guided if low <= at.nsr <= high else plain)(x, at)


def rescaled(denoise: Denoiser, share: float, predicts: str) -> Denoiser:
    """Give the guided output y the spread of the conditional one, y_c, to a share: y·(share·std(y_c)/std(y) + 1 − share).

    y is what the network predicts, "eps", "v" or "x0"; standard deviations are over each whole image. Source: 2305.08891 §3.4.
    Raises UserError for eps at alpha = 0.
    """

    def denoise_rescaled(x: Tensor, at: Level) -> Prediction:
        p = denoise(x, at)
        if share == 0 or "cond" not in p.parts or len(p.parts) == 1:
            return p
        dims = tuple(range(1, x.ndim))
        cond, y = (getattr(one, predicts) for one in (p.parts["cond"], p))
        ratio = cond.std(dims, keepdim=True) / y.std(dims, keepdim=True)
        return replace(READ[predicts](x, y * (share * ratio + 1 - share), at), parts=p.parts)

    return denoise_rescaled


def inpaint(denoise: Denoiser, known: Tensor, mask: Tensor, noise: Tensor) -> Denoiser:
    """Paint only where the mask is 1; elsewhere the picture is known, and what the network sees and says is replaced by it.

    known [B, C, H, W] clean, mask [B or 1, 1, H, W] in [0, 1], noise as known: the noise under the known part that the
    network sees (2201.09865 eq. 8). eps follows from the x0 put together, so that every sampler ends on what is known.
    """

    def denoise_inside(x: Tensor, at: Level) -> Prediction:
        truth = at.alpha * known + at.sigma * noise
        p = denoise(mask * x + (1 - mask) * truth, at)
        return replace(Prediction.from_x0(x, mask * p.x0 + (1 - mask) * known, at), parts=p.parts)

    return denoise_inside
