"""What a caption names must stand in the states of its text, where a U-Net reads it.

    L = Σ_k CE(s·C_kᵀ, name_k),   k = concept, style, background;   C_k fixed random unit vectors [names, D]

Contrast alone let the text encoder spread its states over a handful of directions, and from those a linear map
told the concept of fewer than half of the captions. Cross-attention reads states by linear maps. So the states s
of the end of a text and behind it are asked for the sum of three codes, one for each thing named; codes are drawn once, not
learnt: random vectors of many dimensions are nearly orthogonal (a fixed classifier: 1801.04540).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.training.captions import CaptionTable
from core.training.languages import COLOURS

UNNAMED = -100  # what cross_entropy leaves out
BEHIND = 3  # positions after the longest text that are asked too


@dataclass(frozen=True)
class Names:
    """What every text of a table names: concept, style, background, int64 [texts, 3]; UNNAMED where it does not say."""

    values: Tensor
    counts: tuple[int, int, int]

    @classmethod
    def of(cls, captions: CaptionTable, concept: np.ndarray, style: np.ndarray) -> Names:
        """Gather them from the rows that a text belongs to; a text of several styles names none."""
        names = np.full((len(captions.texts), 3), UNNAMED, dtype=np.int64)
        several = np.zeros(len(captions.texts), dtype=bool)
        for row in range(len(concept)):
            texts = captions.ids[captions.blocks[row, 0] : captions.blocks[row, -1]]
            several[texts] |= (names[texts, 1] != UNNAMED) & (names[texts, 1] != style[row])
            names[texts, 0], names[texts, 1] = concept[row], style[row]
        names[several, 1] = UNNAMED
        names[:, 2] = np.where(captions.colour < 0, len(COLOURS) - 1, captions.colour)  # white, which comes last
        return cls(torch.from_numpy(names), (int(concept.max()) + 1, int(style.max()) + 1, len(COLOURS)))


def codes(count: int, width: int, seed: int) -> Tensor:
    """Draw C_k: unit vectors [count, width], the same for the same seed."""
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def naming_loss(states: Tensor, ids: Tensor, eos: int, names: Tensor, tables: list[Tensor]) -> tuple[Tensor, float]:
    """Ask the states [B, L, D] from the end of each text on for its names [B, 3]; also the share of concepts told right."""
    end = (ids == eos).int().argmax(dim=1)
    asked = torch.arange(ids.shape[1], device=ids.device) >= end[:, None]  # [B, L]
    text = asked.nonzero()[:, 0]
    # Every text counts alike, however many of its positions are asked.
    share = (1 / asked.sum(1))[text] / len(ids)
    loss, right = states.new_zeros(()), 0.0
    for k, table in enumerate(tables):
        logits, target = states[asked].float() @ table.T, names[text, k]
        loss = loss + (F.cross_entropy(logits, target, ignore_index=UNNAMED, reduction="none") * share).sum()
        if k == 0:
            right = ((logits.argmax(1) == target) * share).sum().item()
    return loss, right
