"""How a ratio of speeds is measured on a machine that others use too.

A round runs every contender once, the next round in reverse (A B B A), between two runs of one fixed matrix product. A round
counts only if the product took the same time before, after and in the best round, so that nobody else was at work. A peer's ratio
is the median over rounds of its time by ours, with a bootstrap interval; it is void unless the outputs were equal.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

SIDE = 2048  # of the fixed product: 17 GFLOP
MOVED = 0.07  # share by which the product may differ between quiet rounds

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Ratio(NamedTuple):
    """The median over rounds and its 95 % interval."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Contender:
    """One way of computing the same thing; `off` is how far its output may lie from the reference's."""

    run: Callable[[], Tensor]
    off: float = 1e-4  # ‖difference‖ / ‖reference‖
    bf16: bool = False


@dataclass(frozen=True)
class Contest:
    """The contenders of a row: the first is ours, the last the reference; `flop` is what the plain algorithm costs."""

    contenders: Mapping[str, Contender]
    flop: float = 0.0
    rounds: tuple[int, int] = (9, 5)  # wanted in full and in quick


@dataclass
class Result:
    """What a contender took, and its time by that of each of ours: more than 1 means that ours was faster."""

    row: str
    contender: str
    seconds: float
    off: float
    equal: bool
    rounds: int
    quiet: bool
    ratios: dict[str, Ratio] = field(default_factory=dict)
    gflops: float | None = None
    share: float | None = None  # of the product's GFLOP/s in the same type
    note: str = ""
    more: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value not in (None, "", {})}


class Yardstick:
    """The fixed matrix product, and the clock that everything is timed by."""

    def __init__(self, clock: str = "wall") -> None:
        self.clock = CLOCKS[clock]
        self.factors = {dtype: torch.randn(SIDE, SIDE).to(dtype) for dtype in (torch.float32, torch.bfloat16)}
        self.best: dict[torch.dtype, float] = {}  # seconds
        for dtype in self.factors:
            self.product(dtype)

    def time(self, run: Callable[[], Any]) -> float:
        start = self.clock()
        run()
        return self.clock() - start

    def product(self, dtype: torch.dtype = torch.float32) -> float:
        """Seconds of the product, the better of two."""
        factor = self.factors[dtype]
        taken = min(self.time(lambda: factor @ factor) for _ in range(2))
        self.best[dtype] = min(taken, self.best.get(dtype, taken))
        return taken

    def gflops(self, dtype: torch.dtype) -> float:
        """The rate of the fastest product so far."""
        return 2e-9 * SIDE**3 / self.best[dtype]


def ratio(theirs: list[float], ours: list[float], draws: int = 2000) -> Ratio:
    """The median of the ratios of pairs, with the 95 % bootstrap interval."""
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    sample = np.random.default_rng(0).choice(ratios, (draws, len(ratios)))
    low, high = np.quantile(np.median(sample, axis=1), [0.025, 0.975])
    return Ratio(statistics.median(ratios), float(low), float(high))


def quiet_rounds(products: list[tuple[float, float]]) -> list[int]:
    """The rounds in which the product took what it took in the best one, before and after."""
    best = min(map(min, products))
    return [i for i, pair in enumerate(products) if max(pair) <= (1 + MOVED) * best]


@torch.no_grad()
def compare(name: str, contest: Contest, yard: Yardstick, wanted: int) -> list[Result]:
    """Check that the outputs are equal, then time the contenders in rounds until enough of them were quiet, or twice as many."""
    names = list(contest.contenders)
    outputs = {each: contest.contenders[each].run().float() for each in reversed(names)}  # warms up, too
    truth = outputs[names[-1]]
    offs = {each: float((out - truth).norm() / truth.norm()) for each, out in outputs.items()}
    times: dict[str, list[float]] = {each: [] for each in names}
    products: list[tuple[float, float]] = []
    while len(products) < wanted or (len(quiet_rounds(products)) < wanted and len(products) < 2 * wanted):
        before = yard.product()
        for each in names if len(products) % 2 == 0 else reversed(names):
            times[each].append(yard.time(contest.contenders[each].run))
        products.append((before, yard.product()))
    quiet = quiet_rounds(products)
    kept = quiet if len(quiet) >= min(3, wanted) else list(range(len(products)))
    yard.product(torch.bfloat16)
    kept_times = {each: [times[each][i] for i in kept] for each in names}
    valid = [each for each in names if offs[each] <= contest.contenders[each].off]
    results = []
    for each in names:
        result = Result(name, each, statistics.median(kept_times[each]), offs[each], each in valid, len(kept), kept is quiet)
        for own in [one for one in (names[0], "ours fast") if one in valid and one != each and each in valid]:
            result.ratios[own] = ratio(kept_times[each], kept_times[own])
        if contest.flop:
            result.gflops = 1e-9 * contest.flop / result.seconds
            result.share = result.gflops / yard.gflops(torch.bfloat16 if contest.contenders[each].bf16 else torch.float32)
        results.append(result)
    return results
