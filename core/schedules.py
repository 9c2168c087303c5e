"""How noise grows in training (Schedule), and which levels one run visits (Path).

    (1)  x_t = alpha·x0 + sigma·eps,   alpha = √alpha_bar,  sigma = √(1 − alpha_bar),   alpha_bar[t] = Π_{s ≤ t} (1 − beta[s])
    (2)  nsr = sigma/alpha (Karras' sigma),   lam = log(alpha/sigma), half the log of the signal-to-noise ratio
    (3)  between the trained times, log nsr is linear in t

Everything here is numpy in float64. The clean level is t = −1, alpha = 1, sigma = 0, lam = ∞.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from core.errors import UserError

FLOOR = 2.0**-24  # alpha_bar where a schedule ends in pure noise and nsr must be finite, as in diffusers
ENDS = {
    "clean": "sigma 0: the last step hands out the predicted x0",
    "first": "alpha_bar[0], the cleanest level that was trained, as Stable Diffusion's DDIM",
}


class Level(NamedTuple):
    """One noise level of equation (1); t may lie between the trained times."""

    t: float
    alpha: float
    sigma: float

    @property
    def nsr(self) -> float:
        """sigma/alpha: 0 when clean, infinite when nothing of x0 is left."""
        return self.sigma / self.alpha if self.alpha else math.inf

    @property
    def lam(self) -> float:
        """log(alpha/sigma): infinite when clean."""
        return -math.log(self.nsr) if 0 < self.nsr < math.inf else (-math.inf if self.nsr else math.inf)

    @classmethod
    def of_nsr(cls, t: float, nsr: float) -> Level:
        """The level with this ratio of noise to signal and alpha² + sigma² = 1."""
        return cls(t, 0.0, 1.0) if nsr == math.inf else cls(t, 1 / math.hypot(1, nsr), nsr / math.hypot(1, nsr))


CLEAN = Level(-1.0, 1.0, 0.0)


@dataclass(frozen=True, eq=False)
class Schedule:
    """The variances beta [T] of training, and everything that follows from them."""

    name: str
    beta: np.ndarray

    @cached_property
    def alpha_bar(self) -> np.ndarray:
        """The cumulative product of 1 − beta, [T]."""
        return np.cumprod(1 - self.beta)

    @cached_property
    def log_nsr(self) -> np.ndarray:
        """log(sigma/alpha) at every trained time, [T]; where alpha_bar ends at 0, that of 2⁻²⁴ or less."""
        kept = self.alpha_bar.copy()
        if kept[-1] == 0:
            kept[-1] = min(FLOOR, kept[-2] / 2)  # noisier than all before it
        return 0.5 * (np.log1p(-kept) - np.log(kept))

    def __len__(self) -> int:
        return len(self.beta)

    def at(self, t: float) -> Level:
        """The level at time t in [0, T − 1], exact at whole t, by equation (3) between; t = −1 is clean.

        Raises UserError outside.
        """
        if t == -1:
            return CLEAN
        if not 0 <= t <= len(self) - 1:
            raise UserError(f"t is {t:g}; a time of this schedule is a number from 0 to {len(self) - 1}.")
        if float(t).is_integer():
            bar = float(self.alpha_bar[int(t)])
            return Level(float(t), math.sqrt(bar), math.sqrt(1 - bar))
        return Level.of_nsr(float(t), math.exp(np.interp(t, np.arange(len(self)), self.log_nsr)))

    def at_nsr(self, nsr: float) -> Level:
        """The level with this sigma/alpha; its t is held to [0, T − 1] where the schedule does not reach."""
        if nsr == 0:
            return CLEAN
        return Level.of_nsr(float(np.interp(math.log(nsr), self.log_nsr, np.arange(len(self)))), nsr)

    def at_lam(self, lam: float) -> Level:
        """The level with this log(alpha/sigma)."""
        return CLEAN if lam == math.inf else self.at_nsr(math.exp(-lam))


@dataclass(frozen=True)
class Path:
    """The levels that one run visits, noisiest first; iterating gives each move as (cur, nxt).

    `first` numbers the first move, so that a piece of a longer path keeps the numbers (and with them the noise) of its moves.
    """

    schedule: Schedule
    levels: tuple[Level, ...]
    first: int = 0

    def __iter__(self) -> Iterator[tuple[Level, Level]]:
        return zip(self.levels, self.levels[1:], strict=False)

    def __len__(self) -> int:
        return len(self.levels) - 1

    def __getitem__(self, moves: slice) -> Path:
        """A piece of the path: path[k:] is what is left after k moves."""
        start, stop, _ = moves.indices(len(self))
        return Path(self.schedule, self.levels[start : stop + 1], self.first + start)

    def finite(self) -> Path:
        """The same path with every nsr finite: pure noise becomes the level that log_nsr has for it."""
        top = math.exp(self.schedule.log_nsr[-1])
        levels = (level if level.alpha else Level.of_nsr(level.t, top) for level in self.levels)
        return Path(self.schedule, tuple(levels), self.first)

    def between(self, cur: Level, nxt: Level, r: float) -> Level:
        """The level a share r of the way from cur to nxt, in lam."""
        return self.schedule.at_lam(cur.lam + r * (nxt.lam - cur.lam))


# ---------------------------------------------------------------------------------------------- schedules by name

SCHEDULES: dict[str, Callable[..., Schedule]] = {}
Betas = Callable[[int, float, float], np.ndarray]


def schedule(low: float = 0.0001, high: float = 0.02) -> Callable[[Betas], Betas]:
    """Register a schedule: a function (T, low, high) -> beta [T]; the decorator gives low's and high's defaults."""

    def register(function: Betas) -> Betas:
        def build(steps: int = 1000, beta_start: float = low, beta_end: float = high) -> Schedule:
            return Schedule(function.__name__, np.asarray(function(steps, beta_start, beta_end), dtype=np.float64))

        build.__doc__, build.__name__ = function.__doc__, function.__name__
        SCHEDULES[function.__name__] = build
        return function

    return register


@schedule()
def linear(steps: int, low: float, high: float) -> np.ndarray:
    """beta grows evenly from low to high (2006.11239 §4)."""
    return np.linspace(low, high, steps)


@schedule(low=0.00085, high=0.012)
def scaled_linear(steps: int, low: float, high: float) -> np.ndarray:
    """√beta grows evenly: Stable Diffusion's schedule (2112.10752)."""
    return np.linspace(math.sqrt(low), math.sqrt(high), steps) ** 2


@schedule()
def cosine(steps: int, low: float, high: float) -> np.ndarray:
    """alpha_bar(t) = cos²((t/T + 0.008)/1.008 · π/2), beta at most 0.999; low and high play no part (2102.09672 eq. 17)."""
    bar = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.minimum(1 - bar[1:] / bar[:-1], 0.999)


@schedule()
def sigmoid(steps: int, low: float, high: float) -> np.ndarray:
    """beta follows a sigmoid from −6 to 6 between low and high."""
    return low + (high - low) / (1 + np.exp(-np.linspace(-6, 6, steps)))


def make(name: str, steps: int = 1000, beta_start: float | None = None, beta_end: float | None = None) -> Schedule:
    """A registered schedule with a checkpoint's own numbers; raises UserError for a name that is not registered."""
    if name not in SCHEDULES:
        raise UserError(f"schedule is {name!r}; it must be one of {', '.join(SCHEDULES)}.")
    given = {"beta_start": beta_start, "beta_end": beta_end}
    return SCHEDULES[name](steps, **{key: value for key, value in given.items() if value is not None})


def zero_terminal_snr(old: Schedule) -> Schedule:
    """Shift and scale √alpha_bar so that its last value is 0 and its first is kept (2305.08891, algorithm 1)."""
    root = np.sqrt(old.alpha_bar)
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    bar = root**2
    return Schedule(old.name, 1 - bar / np.concatenate([[1.0], bar[:-1]]))


# ----------------------------------------------------------------------------------------------- spacings by name


class Spacing(NamedTuple):
    """Where n levels lie on a schedule; `same_as` names the peer it is held to."""

    id: str
    levels: Callable[[Schedule, int, int], Sequence[Level]]
    same_as: str
    doc: str


SPACINGS: dict[str, Spacing] = {}


def spacing(same_as: str) -> Callable[[Callable[..., Sequence[Level]]], Callable[..., Sequence[Level]]]:
    """Register a spacing: a function (schedule, n, offset) -> n levels, noisiest first."""

    def register(function: Callable[..., Sequence[Level]]) -> Callable[..., Sequence[Level]]:
        SPACINGS[function.__name__] = Spacing(function.__name__, function, same_as, (function.__doc__ or "").strip())
        return function

    return register


@spacing(same_as="DDIMScheduler, timestep_spacing leading")
def leading(schedule: Schedule, n: int, offset: int) -> list[Level]:
    """Whole times from the clean end up, T//n apart: the noisiest level is left out (2305.08891, table 2)."""
    apart = len(schedule) // n
    start = min(offset, len(schedule) - 1 - (n - 1) * apart)  # where the offset would lead beyond the last time
    return [schedule.at(start + i * apart) for i in reversed(range(n))]


@spacing(same_as="DDIMScheduler, timestep_spacing trailing")
def trailing(schedule: Schedule, n: int, offset: int) -> list[Level]:
    """Whole times from the noisy end down, T/n apart: starts where training ended (2305.08891, table 2)."""
    return [schedule.at(float(np.round(len(schedule) - i * len(schedule) / n)) - 1) for i in range(n)]


@spacing(same_as="DDIMScheduler, timestep_spacing linspace")
def linspace(schedule: Schedule, n: int, offset: int) -> list[Level]:
    """Both ends of the trained times and what lies evenly between, as whole times."""
    last = len(schedule) - 1
    return [schedule.at(float(t)) for t in (np.round(np.linspace(0, last, n))[::-1] if n > 1 else [last])]


@spacing(same_as="EulerDiscreteScheduler, use_karras_sigmas on linspace")
def karras(schedule: Schedule, n: int, offset: int) -> list[Level]:
    """nsr^(1/7) falls evenly from the noisiest to the cleanest trained level (2206.00364 eq. 5)."""
    high, low = np.exp(schedule.log_nsr[[-1, 0]])
    return [schedule.at_nsr(float(nsr)) for nsr in np.linspace(high ** (1 / 7), low ** (1 / 7), n) ** 7]


@spacing(same_as="EulerDiscreteScheduler, use_exponential_sigmas on linspace")
def exponential(schedule: Schedule, n: int, offset: int) -> list[Level]:
    """log nsr falls evenly: the same step in lam everywhere."""
    return [schedule.at_nsr(float(nsr)) for nsr in np.exp(np.linspace(schedule.log_nsr[-1], schedule.log_nsr[0], n))]


def make_path(
    schedule: Schedule,
    spacing: str = "leading",
    steps: int = 20,
    *,
    end: str = "clean",
    offset: int = 0,
    sigmas: Sequence[float] | None = None,
) -> Path:
    """The path of so many steps on a schedule; `sigmas` are one's own nsr values, the last of them where the run ends.

    Ending "first", a spacing that reaches alpha_bar[0] by itself is asked for one level more, so that no move stands still.
    Raises UserError for unknown names, for more steps than the schedule has times and for sigmas that do not fall.
    """
    if sigmas is not None:
        if len(sigmas) < 2 or not all(a > b >= 0 for a, b in itertools.pairwise(sigmas)):
            raise UserError("sigmas must be two or more falling numbers, the last of them 0 or more.")
        return Path(schedule, tuple(schedule.at_nsr(nsr) for nsr in sigmas))
    if spacing not in SPACINGS:
        raise UserError(f"spacing is {spacing!r}; it must be one of {', '.join(SPACINGS)}.")
    if end not in ENDS:
        raise UserError(f"end is {end!r}; it must be one of {', '.join(ENDS)}.")
    if not 1 <= steps <= len(schedule):
        raise UserError(f"steps is {steps}; this schedule has {len(schedule)} times: take 1 to {len(schedule)} steps.")
    place = SPACINGS[spacing].levels
    levels = list(place(schedule, steps, offset))
    if end == "clean":
        return Path(schedule, (*levels, CLEAN))
    first = schedule.at(0)
    if not math.isclose(levels[-1].nsr, first.nsr, rel_tol=1e-9):  # karras gets there but for the last digit
        return Path(schedule, (*levels, first))
    if steps == len(schedule):
        raise UserError("A run over every trained time has no time left to end at: end it clean, or take a step less.")
    return Path(schedule, tuple(place(schedule, steps + 1, offset)))
