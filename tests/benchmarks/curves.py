"""Cost against size: measured curves of the embedded model, with the exponent of each and the one that theory gives.

    cost ∝ size^k;  k is the slope of log cost over log size. Attention: k = 2 in the tokens, for scores between all pairs.
    Everything else is a sum over tokens, pictures or steps: k = 1, once the fixed cost of a call no longer shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from core.nets.configs import UNetConfig
from core.nets.unet import UNet
from tests.benchmarks.measure import Yardstick
from tests.benchmarks.peers import flop
from tests.benchmarks.rows import PROMPT, embedded_config, loaded


@dataclass(frozen=True)
class Curve:
    """Seconds (the best of several) at each size, the slope of their logarithms, and what theory says of it."""

    name: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    exponent: float
    theory: float
    why: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def curve(
    name: str, sizes: Sequence[int], run: Callable[[int], Callable[[], Any]], theory: float, why: str, yard: Yardstick
) -> Curve:
    """Time every size up and down, three times over, and keep the best of each."""
    runs = {size: run(size) for size in sizes}
    for each in runs.values():
        each()
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for order in (sizes, sizes[::-1], sizes):
        for size in order:
            times[size].append(yard.time(runs[size]))
    best = [min(times[size]) for size in sizes]
    return Curve(name, tuple(sizes), tuple(best), slope(sizes, best), theory, why)


@torch.no_grad()
def curves(yard: Yardstick) -> list[Curve]:
    """Tokens of attention, tokens of the whole U-Net, pictures in a batch, steps of a run."""
    pipe = loaded()
    config = embedded_config("unet", UNetConfig)
    context = torch.randn(2, 1, 77, config.context_dim)

    def attention(tokens: int) -> Callable[[], Any]:
        q, k, v = (torch.randn(1, 8, tokens, 40) for _ in range(3))
        return lambda: F.scaled_dot_product_attention(q, k, v)

    def unet(tokens: int) -> Callable[[], Any]:
        x = torch.randn(1, 4, round(tokens**0.5), round(tokens**0.5))
        return lambda: pipe.unet(x, 500.0, context)

    def batch(pictures: int) -> Callable[[], Any]:
        x, contexts = torch.randn(pictures, 4, 16, 16), context.expand(2, pictures, 77, -1)
        return lambda: pipe.unet(x, 500.0, contexts)

    def steps(count: int) -> Callable[[], Any]:
        return lambda: list(pipe.run(PROMPT.replace(steps=count)))

    def work(tokens: int) -> float:
        side = round(tokens**0.5)
        x, words = torch.zeros(2, 4, side, side, device="meta"), torch.zeros(2, 77, config.context_dim, device="meta")
        return flop(lambda: UNet(config), lambda net: net(x, 500.0, words))

    latents = [16**2, 24**2, 32**2, 48**2, 64**2]
    counted = slope(latents, [work(tokens) for tokens in latents])
    return [
        curve("attention over tokens", [512, 1024, 2048, 4096, 8192], attention, 2.0, "scores between all pairs", yard),
        curve("U-Net over cells of the latent", latents, unet, counted, "slope of its counted operations", yard),
        curve("U-Net over pictures in a batch", [1, 2, 4, 8, 16], batch, 1.0, "pictures do not meet", yard),
        curve("a run over its steps", [5, 10, 20, 40], steps, 1.0, "each step asks the network once", yard),
    ]
