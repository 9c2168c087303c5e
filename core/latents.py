"""What can be done with latents, and what they leave out: edits, ways between two, principal axes, neighbours, spectra.

    (1)  an edit     z'_c = scale_c·z_from(c) + shift_c                        swapped, zeroed, scaled, moved: channel by channel
    (2)  linear      (1 − s)·a + s·b
    (3)  spherical   r·(sin((1 − s)·θ)·a/‖a‖ + sin(s·θ)·b/‖b‖)/sin θ,   θ the angle between a and b,   r = (1 − s)·‖a‖ + s·‖b‖
    (4)  PCA         z ≈ mean + Σ_i c_i·axis_i,   c_i = axis_i·(z − mean),   axes the first eigenvectors of the covariance
    (5)  a ring      E_r = Σ_{k in ring r} |FFT(x)_k|²/(H·W);   Σ_r E_r = Σ x² (Parseval)

Two independent noises of n numbers are nearly at right angles and nearly √n long, so halfway between them (2) is √½ as long as
noise ever is, and (3) is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

STRAIGHT = 1e-6  # sin θ below which (3) is (2): the two ends are parallel


class Edit(NamedTuple):
    """What becomes of one channel in equation (1): scale 0 zeroes it."""

    takes: int
    scale: float = 1.0
    shift: float = 0.0


def edited(z: Tensor, edits: Sequence[Edit]) -> Tensor:
    """Equation (1): latents [B, C, h, w] with every channel made anew from the old ones."""
    return torch.stack([edit.scale * z[:, edit.takes] + edit.shift for edit in edits], 1)


def without(channel: int, channels: int) -> list[Edit]:
    """The edits that leave out one channel: its values become 0, their mean over all pictures."""
    return [Edit(c, float(c != channel)) for c in range(channels)]


# ------------------------------------------------------------------------------------------------------- between two


def linear(a: Tensor, b: Tensor, s: float, dims: tuple[int, ...] | None = None) -> Tensor:
    """Equation (2): the straight line, s from 0 at a to 1 at b."""
    return (1 - s) * a + s * b


def spherical(a: Tensor, b: Tensor, s: float, dims: tuple[int, ...] | None = None) -> Tensor:
    """Equation (3): the angle grows evenly from 0 to θ and the length from ‖a‖ to ‖b‖.

    The vectors lie along `dims` (all by default); parallel ones go the straight way.
    """
    dims = tuple(range(a.ndim)) if dims is None else dims
    length_a, length_b = (x.square().sum(dims, keepdim=True).sqrt() for x in (a, b))
    u, v = a / length_a.clamp(min=1e-30), b / length_b.clamp(min=1e-30)
    # By half the difference and half the sum: an arc cosine would lose small angles.
    angle = 2 * torch.atan2(*((u + sign * v).square().sum(dims, keepdim=True).sqrt() for sign in (-1, 1)))
    sine = angle.sin()
    length = (1 - s) * length_a + s * length_b
    round_way = length * (((1 - s) * angle).sin() * u + (s * angle).sin() * v) / sine.clamp(min=STRAIGHT)
    return torch.where(sine > STRAIGHT, round_way, linear(a, b, s))


WAYS: dict[str, Callable[..., Tensor]] = {"linear": linear, "spherical": spherical}


# ------------------------------------------------------------------------------------------------------- many latents


@dataclass(frozen=True, eq=False)
class Axes:
    """Equation (4): the mean [D], the first axes [K, D], unit vectors, and the variance along every axis [D], falling."""

    mean: Tensor
    axes: Tensor
    variance: Tensor

    def project(self, z: Tensor) -> Tensor:
        """The coordinates [N, K] of latents [N, …]."""
        return (z.flatten(1).to(self.mean) - self.mean) @ self.axes.T

    def at(self, coordinates: Tensor) -> Tensor:
        """The point [N, D] that has these coordinates [N, K], and the mean's in every other direction."""
        return self.mean + coordinates.to(self.mean) @ self.axes

    @property
    def shares(self) -> Tensor:
        """Which part of the whole variance lies along each axis."""
        return self.variance / self.variance.sum()


def principal(z: Tensor, k: int = 2) -> Axes:
    """The first k principal axes of latents [N, …], computed in float64; the largest entry of each axis is positive."""
    rows = z.flatten(1).double()
    mean = rows.mean(0)
    centred = rows - mean
    variance, vectors = torch.linalg.eigh(centred.T @ centred / (len(rows) - 1))
    axes = vectors.flip(1).T[:k]
    signs = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    return Axes(mean, axes * signs, variance.flip(0).clamp(min=0))


def distances(z: Tensor, among: Tensor) -> Tensor:
    """How far latents [N, …] are from others [M, …]: [N, M], root mean square over their numbers."""
    rows, others = z.flatten(1).float(), among.flatten(1).float()
    exact = "donot_use_mm_for_euclid_dist" if len(rows) < 8 else "use_mm_for_euclid_dist_if_necessary"  # 0 stays 0
    return torch.cdist(rows, others, compute_mode=exact) / math.sqrt(rows.shape[1])


def nearest(z: Tensor, among: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest of `among` to one latent [1, …]: their distances, rising, and their places."""
    found = distances(z, among)[0].topk(min(k, len(among)), largest=False)
    return found.values, found.indices


def usual_distance(among: Tensor, sample: int = 512) -> float:
    """The median distance from a latent to its nearest other, over evenly chosen ones."""
    chosen = torch.linspace(0, len(among) - 1, min(sample, len(among))).long().unique()
    far = distances(among[chosen], among)
    far[torch.arange(len(chosen)), chosen] = math.inf
    return float(far.min(1).values.median())


# ------------------------------------------------------------------------------------------------------- what is lost


class Rings(NamedTuple):
    """Equation (5) of a picture: for every ring its frequency in cycles a pixel, its energy, and how many waves it holds."""

    frequency: np.ndarray
    energy: np.ndarray
    waves: np.ndarray


def rings(x: Tensor) -> Rings:
    """The energy of a picture [C, H, W] by spatial frequency, all channels and directions together.

    Ring r holds the waves whose frequency is r/max(H, W), rounded; ring 0 is the mean.
    """
    values = x.detach().double().cpu().numpy()
    height, width = values.shape[-2:]
    power = (np.abs(np.fft.fft2(values)) ** 2).sum(0) / (height * width)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    ring = np.rint(radius * max(height, width)).astype(int).ravel()
    energy, waves = np.bincount(ring, power.ravel()), np.bincount(ring)
    return Rings(np.arange(len(energy)) / max(height, width), energy, waves)


def in_bands(found: Rings, edges: Sequence[float]) -> np.ndarray:
    """The energy of rings in bands: band i holds edges[i] < frequency ≤ edges[i + 1]."""
    place = np.searchsorted(edges, found.frequency, side="left") - 1
    inside = (place >= 0) & (place < len(edges) - 1)
    return np.bincount(place[inside], found.energy[inside], minlength=len(edges) - 1)
