"""Muon: every matrix takes a step that is orthogonal, so that what is rarely asked for is learnt as fast as what is frequent.

    B ← μ·B + (1 − μ)·G,    G' = (1 − μ)·G + μ·B = U·S·Vᵀ,    W ← (1 − η·w)·W − 0.2·√max(n, m)·η·U·Vᵀ            (2502.16982)

U·Vᵀ comes from five Newton–Schulz steps in bfloat16; the factor gives a step the size that AdamW's has, so one learning rate
serves both. Kernels of convolutions are matrices of output channels by everything else. Vectors, and matrices with few rows
or columns (the first and the last layer), are AdamW's.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

FEWEST = 64  # rows and columns of a matrix that Muon takes


class Muon(torch.optim.Muon):
    """torch.optim.Muon on weights [out, in] and on kernels [out, in, h, w], which it sees as matrices [out, h·w·in]."""

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        self.weights = list(weights)
        matrices = [nn.Parameter(as_matrix(w.detach())) for w in self.weights]
        if any(m.data_ptr() != w.data_ptr() for m, w in zip(matrices, self.weights, strict=True)):
            raise ValueError("A kernel does not lie in channels_last order, so its matrix would be a copy that nobody trains.")
        super().__init__(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    def step(self) -> None:  # type: ignore[override]
        """One step; the matrices share the weights' memory."""
        for weight, matrix in zip(self.weights, self.param_groups[0]["params"], strict=True):
            matrix.grad = None if weight.grad is None else as_matrix(weight.grad)
        super().step()


def takes(weight: Tensor) -> bool:
    """Whether a weight is Muon's."""
    return weight.ndim in (2, 4) and min(weight.flatten(1).shape) >= FEWEST


def as_matrix(weight: Tensor) -> Tensor:
    """A weight as a matrix [out, everything else]: the same memory where the kernel lies in channels_last order."""
    return weight if weight.ndim == 2 else weight.permute(0, 2, 3, 1).flatten(1)
