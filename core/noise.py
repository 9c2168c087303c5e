"""Noise with an address: which image (its seed) and which draw of its run, the same on any device and in any batch.

Philox 4×32-10 (Salmon et al. 2011) turns a counter and a key into four random words; two of them and Box-Muller make normal
numbers. The counter is (draw, 0, index, 0), the key the seed: the numbers of `torch.randn` on a CUDA device, call number
`draw` after `manual_seed(seed)`, for float32 tensors with at most as many elements as the device runs threads at once (its
multiprocessors × the threads of each: 40,960 on a T4, 270,336 on an H100; the latent of 512×512 pixels has 16,384). In larger
tensors a thread there makes several numbers from one counter; here each element keeps a counter of its own.

    u = (word_0 + ½)/2³²,  v = 2π·(word_1 + ½)/2³²,  normal = √(−2 ln u)·sin v                     (1)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = 0x9E3779B9, 0xBB67AE85  # what the two halves of the key grow by each round
ROUNDS, WORD = 10, 0xFFFFFFFF


def philox(counter: np.ndarray, seed: int) -> np.ndarray:
    """Four random words for each counter: uint32 [4, N] -> uint32 [4, N], keyed by a 64-bit seed."""
    c = counter.astype(np.uint64)
    low, high = seed & WORD, seed >> 32 & WORD
    for _ in range(ROUNDS):
        a, b = MULTIPLIERS[0] * c[0], MULTIPLIERS[1] * c[2]
        c = np.stack([
            b >> np.uint64(32) ^ c[1] ^ np.uint64(low), b & np.uint64(WORD),
            a >> np.uint64(32) ^ c[3] ^ np.uint64(high), a & np.uint64(WORD),
        ])  # fmt: skip
        low, high = (low + WEYL[0]) & WORD, (high + WEYL[1]) & WORD
    return c.astype(np.uint32)


def normal(count: int, seed: int, draw: int) -> np.ndarray:
    """So many normal numbers of one draw of one image, by (1), in float32."""
    counter = np.zeros((4, count), np.uint32)
    counter[0], counter[2] = draw, np.arange(count)
    words = philox(counter, seed)
    u = words[0].astype(np.float32) * np.float32(2**-32) + np.float32(2**-33)
    v = words[1].astype(np.float32) * np.float32(2**-31 * np.pi) + np.float32(2**-32 * np.pi)
    return np.sqrt(-2 * np.log(u)) * np.sin(v)


@dataclass(frozen=True)
class Noise:
    """The noise of a batch: one seed an image. `rng` is "nv" (above) or "cpu" (torch's generator on the CPU).

    Draw 0 is the noise that a run starts from; draw k + 1 is fresh noise for move k.
    """

    seeds: Sequence[int]
    shape: tuple[int, ...]  # of one image
    rng: str = "nv"
    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32
    # Of "cpu", for each seed: the draw that its generator makes next.
    _at: dict[int, tuple[int, torch.Generator]] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, draw: int) -> Tensor:
        """Standard normal noise [B, *shape]."""
        made = {seed: self._one(seed, draw) for seed in dict.fromkeys(self.seeds)}
        return torch.stack([made[seed] for seed in self.seeds]).to(self.device, self.dtype)

    def _one(self, seed: int, draw: int) -> Tensor:
        if self.rng == "nv":
            count = int(np.prod(self.shape))
            return torch.from_numpy(normal(count, seed, draw)).reshape(self.shape)
        coming, generator = self._at.get(seed) or (0, torch.Generator().manual_seed(seed))
        if coming > draw:
            coming, generator = 0, generator.manual_seed(seed)
        for _ in range(coming, draw):  # torch's generator has no addresses: earlier draws are made and dropped
            torch.randn(self.shape, generator=generator)
        self._at[seed] = draw + 1, generator
        return torch.randn(self.shape, generator=generator)
