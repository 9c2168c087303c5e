"""The U-Net is trained on whitened text states; what ships expects plain ones, and is the same function.

    (1)  s̃ = M·(s − m),   M = (C + ε·I)^(−1/2),   m and C the mean and the covariance of the states s of many captions
    (2)  K' = K·M,   V' = V·M,   b' = b − W·V·M·m   for the keys K, values V and output (W, b) of every cross-attention

A text encoder trained by contrast spreads its states over a handful of directions: on this model's first one, 95 in a hundred
parts of the variance lay in 5 of 256. Gradient descent hears what is said along the others a thousand times more slowly. On s̃
all directions count alike. By (2) the whitening then goes into the weights: constant shifts of all keys leave the softmax as it
is, and constant shifts of all values only move the output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

LEAST = 1e-3  # ε, as a share of the mean variance of a direction: below it there is only rounding


@dataclass(frozen=True)
class Whitening:
    """Equation (1): mean [D] and the symmetric matrix M [D, D], in float64."""

    mean: Tensor
    matrix: Tensor

    @classmethod
    def of(cls, states: Tensor) -> Whitening:
        """The whitening of states [..., D]."""
        rows = states.reshape(-1, states.shape[-1]).double()
        values, vectors = torch.linalg.eigh(torch.cov(rows.T))
        scale = (values.clamp(min=0) + LEAST * values.mean()).rsqrt()
        return cls(rows.mean(0), (vectors * scale) @ vectors.T)

    def __call__(self, states: Tensor) -> Tensor:
        """Whitened states, in float32."""
        return ((states.double() - self.mean) @ self.matrix).float()

    def folded(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a U-Net trained on whitened states, as they are for plain ones: equation (2)."""
        return self._moved(weights, self.matrix, -1)

    def unfolded(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The way back: weights for whitened states from those for plain ones."""
        return self._moved(weights, torch.linalg.inv(self.matrix), 1)

    def _moved(self, weights: Mapping[str, Tensor], matrix: Tensor, sign: int) -> dict[str, Tensor]:
        out = dict(weights)
        for name in weights:
            if name.endswith("attn2.to_k.weight"):
                out[name] = (weights[name].double() @ matrix).float()
            if name.endswith("attn2.to_v.weight"):
                at = name.removesuffix("to_v.weight") + "to_out.0."
                values = weights[name].double() @ matrix
                plain = values if sign < 0 else weights[name].double()  # those that the mean itself goes through
                out[name] = values.float()
                shift = weights[at + "weight"].double() @ (plain @ self.mean)
                out[at + "bias"] = (weights[at + "bias"].double() + sign * shift).float()
        return out

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"mean": self.mean, "matrix": self.matrix.contiguous()}, path)

    @classmethod
    def load(cls, path: Path) -> Whitening:
        stored = load_file(path)
        return cls(stored["mean"], stored["matrix"])
