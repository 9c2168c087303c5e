"""Claims about sampling: DDIM's update, what is random in it, what fewer calls cost and what higher order buys."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from core.assumptions.line import exactly, over_runs, unit_noise
from core.claims import OPEN, Finding, Progress, claim, decided, together, verdict
from core.prediction import unconditional
from core.sampling import Step, sample
from core.schedules import Schedule, make, make_path
from core.toy import ring
from core.tradeoff import Point, PointNoise, distance, fan, fitted, floor, race, spread

if TYPE_CHECKING:
    from core.pipeline import TextToImage

RACE, FEW, NOISES = (20, 40, 80, 160), (5, 10), 5
STRAIGHT = 0.95  # of the variance, that a line must explain before it is followed to a thousand steps


@claim(
    11,
    says="Standard DDPM sampling requires T = 1000 sequential network evaluations — prohibitively slow for real-time applications.",
    asks="How many seconds would a thousand guided steps take on this machine?",
    unit="s", paper="2006.11239",
    link="?v=1&tab=samplers&view.page=pictures&prompt=red+apple%2C+flat&seed=7&view.samplers=ddpm&view.steps=5,10,20,50",
)  # fmt: skip
def thousand_calls(pipe: TextToImage) -> Generator[Progress, None, Finding]:
    """Time runs of 2, 4, 8 and 16 steps, several times each, fit a line through seconds against steps, and follow it to 1000."""
    from core.recipe import Recipe

    counts, slopes, shares = (2, 4, 8, 16), [], []
    for turn in range(4):
        seconds = []
        for count in counts:
            begun = time.perf_counter()
            for _ in pipe.run(Recipe(prompt="a red apple", sampler="ddim", steps=count, seed=1)):
                pass
            seconds.append(time.perf_counter() - begun)
            yield Progress(f"run of {count} steps", (turn + (counts.index(count) + 1) / len(counts)) / 4)
        slopes.append(1000 * float(np.polyfit(counts, seconds, 1)[0]))
        shares.append(float(np.corrcoef(counts, seconds)[0, 1]) ** 2)
    value, straight = over_runs(slopes[1:]), float(np.median(shares[1:]))  # the first turn warms up
    told = (f"{value.value:.0f} s for a thousand steps of two evaluations each (1/24 s is real time); a straight line explains "
            f"{100 * straight:.1f} % of the variance of seconds over steps.")  # fmt: skip
    told += "" if straight > STRAIGHT else " That is too little to follow it so far: other work keeps this machine busy."
    decision = decided(value, low=1 / 24) if straight > STRAIGHT else OPEN
    return Finding(value, decision, told, {"steps": list(counts)},
                   {"prompt": "a red apple", "sampler": "ddim", "steps": 16, "seed": 1})  # fmt: skip


@claim(
    12,
    says="The DDIM update: x_{t−1} = √ᾱ_{t−1}·(x_t − √(1−ᾱ_t)·ε)/√ᾱ_t + √(1−ᾱ_{t−1}−σ_t²)·ε + σ_t·ε_t.",
    asks="By how much do the three terms, added by hand, miss the sampler's next x?",
    unit="largest difference", paper="2010.02502",
    link="?v=1&tab=denoise&prompt=red+apple%2C+flat&sampler=ddim&knob.eta=0.7&steps=12&gamma=2&seed=3",
)  # fmt: skip
def ddim_update() -> Finding:
    """Add the three terms as they are written, at every step of a run with η = 0.7 on an exact mixture, and hold the sum to
    x_next.
    """
    noise, schedule = PointNoise(64), make("linear")
    bar, worst = schedule.alpha_bar, 0.0
    run = sample(unconditional(ring()), make_path(schedule, "trailing", 20, end="first"), "ddim", noise, eta=0.7)
    for step in run:
        a, b = bar[int(step.cur.t)], bar[int(step.nxt.t)]
        std = 0.7 * math.sqrt((1 - b) / (1 - a) * (1 - a / b))
        x0 = (step.x - math.sqrt(1 - a) * step.eps) / math.sqrt(a)
        total = math.sqrt(b) * x0 + math.sqrt(1 - b - std**2) * step.eps + std * noise(step.index + 1)
        worst = max(worst, float((total - step.x_next).abs().max()))
    told = f"Over 20 steps of 64 points the sum differs from the sampler's x by at most {worst:.1e}, which is rounding."
    return Finding(exactly(worst), verdict(worst < 1e-6), told, {"eta": 0.7, "steps": 20},
                   {"prompt": "a red apple", "sampler": "ddim", "knobs": {"eta": 0.7}})  # fmt: skip


@claim(
    13,
    says="Setting σ_t = 0 makes the process fully deterministic: the same noise initialization always produces the same image.",
    asks="In how many of 128 numbers do two runs differ that start alike and are offered other fresh noise?",
    unit="numbers that differ", paper="2010.02502",
    link="?v=1&tab=denoise&prompt=red+apple%2C+flat&sampler=ddim&steps=12&gamma=2&seed=3",
)  # fmt: skip
def deterministic_at_zero() -> Finding:
    """Run DDIM with η = 0 twice from one noise, offering other fresh noise the second time, and count the bits that differ."""
    first, other = PointNoise(64, seed=1), PointNoise(64, seed=2)
    path = make_path(make("linear"), "trailing", 50)
    ends = []
    for fresh in (first, other):
        *_, last = sample(unconditional(ring()), path, "ddim", fresh, first(0), eta=0.0)
        ends.append(last.x_next)
    count = int((ends[0] != ends[1]).sum())
    told = f"{count} of {ends[0].numel()} numbers differ after 50 steps: nothing random is left but the start."
    return Finding(exactly(count), verdict(count == 0), told, {"eta": 0, "steps": 50},
                   {"prompt": "a red apple", "sampler": "ddim", "seed": 7})  # fmt: skip


@claim(
    14,
    says="With σ_t > 0 set to recover the DDPM variance, one recovers stochastic sampling.",
    asks="How far apart do runs from one start end at η = 1? (the ring of the data has the radius 1.4)",
    unit="spread", paper="2010.02502",
    link="?v=1&tab=samplers&view.page=fresh&view.fan_toy=ring&view.eta=1",
)  # fmt: skip
def stochastic_at_one() -> Finding:
    """Fan eight runs from each of 64 starts at several η; and hold each step of DDIM with η = 1 to the posterior of DDPM
    (2006.11239 eq. 6 and 7), drawn with the same noise.
    """
    schedule, mixture, etas = make("linear"), ring(), (0, 0.25, 0.5, 0.75, 1)
    fans = {eta: fan(mixture, schedule, eta, starts=64)[:, :, -1] for eta in etas}
    found = [spread(fans[eta]) for eta in etas]
    value = over_runs([spread(part) for part in fans[1].reshape(8, 8, 8, 2)])
    path, noise, worst = make_path(schedule, "trailing", 50, end="first"), PointNoise(64), 0.0
    for step in sample(unconditional(mixture), path, "ddim", noise, eta=1.0):
        mean, variance = posterior(step, schedule)
        worst = max(worst, float((mean + math.sqrt(variance) * noise(step.index + 1) - step.x_next).abs().max()))
    holds = found[0] < 1e-12 and all(b > a for a, b in itertools.pairwise(found)) and worst < 1e-9
    told = (f"Spread {', '.join(f'{s:.2f}' for s in found)} at η = {', '.join(f'{e:g}' for e in etas)}. Over 50 steps at η = 1 x "
            f"differs by at most {worst:.0e} from a draw of DDPM's posterior q(x_{{t−1}} | x_t, x_0).")  # fmt: skip
    return Finding(value, verdict(holds), told, {"etas": list(etas)},
                   {"prompt": "a red apple", "sampler": "ddim", "knobs": {"eta": 1}})  # fmt: skip


def posterior(step: Step, schedule: Schedule) -> tuple[Tensor, float]:
    """Mean and variance of q(x_{t−1} | x_t, x_0) at the predicted x0, as 2006.11239 eq. 7 has them, for one move of a run.

    β_t of a move over many steps is 1 − ᾱ_t/ᾱ_{t−1}.
    """
    a, b = (float(schedule.alpha_bar[int(level.t)]) for level in (step.cur, step.nxt))
    beta = 1 - a / b
    x0 = (step.x - math.sqrt(1 - a) * step.eps) / math.sqrt(a)
    mean = math.sqrt(b) * beta / (1 - a) * x0 + math.sqrt(1 - beta) * (1 - b) / (1 - a) * step.x
    return mean, (1 - b) / (1 - a) * beta


@claim(
    15,
    says="DDIM enables 50-step sampling (20× speedup) with only modest quality degradation.",
    asks="How many times farther from the data than DDPM's 1000 steps do 50 steps of DDIM end?",
    unit="× distance from the data", paper="2010.02502",
    link="?v=1&tab=labs&view.page=evaluate&view.evaluate=headlines",
    note="Measured on an exact mixture, where the distance from the data is known; what is modest in pictures is for the eye.",
)  # fmt: skip
def fifty_for_a_thousand() -> Generator[Progress, None, Finding]:
    """Run DDPM with 1000 and DDIM with 50 steps on an exact ring, four times each, and measure how far the points are from the
    data.
    """
    schedule, mixture = make("linear"), ring()
    found: dict[str, list[float]] = {"ddpm": [], "ddim": []}
    calls = {}
    for seed in range(4):
        for name, steps in (("ddpm", 1000), ("ddim", 50)):
            path = make_path(schedule, "trailing", steps)
            *_, last = sample(unconditional(mixture), path, name, unit_noise(1000, 2, seed=seed))
            found[name].append(distance(last.x_next, mixture, path.levels[-1]))
            calls[name] = last.nfe
            yield Progress(f"{name}, {steps} steps", (seed + (name == "ddim")) / 4)
    value = over_runs([few / many for few, many in zip(found["ddim"], found["ddpm"], strict=True)])
    chance = over_runs([floor(mixture, path.levels[-1], 1000, seed) for seed in range(4)])
    ratio = calls["ddpm"] / calls["ddim"]
    told = (f"{calls['ddpm']} evaluations of DDPM against {calls['ddim']} of DDIM: {ratio:.0f}×. Mean distance "
            f"{np.mean(found['ddpm']):.4f} by DDPM, {np.mean(found['ddim']):.4f} by DDIM (the factor is the mean over pairs of "
            f"runs); as many points of the data themselves: {chance.value:.4f}.")  # fmt: skip
    return Finding(value, decided(value, high=2) if ratio == 20 else verdict(False), told, {"points": 1000, "runs": 4},
                   {"prompt": "a red apple", "sampler": "ddim", "steps": 50})  # fmt: skip


@claim(
    16,
    says="The ODE underlying DDIM can be solved with higher-order numerical integrators. DPM-Solver achieves high-quality "
         "samples in "
         "10–20 function evaluations.",
    asks="What order of convergence does DPM++ 2M, DPM-Solver's successor, show? (DDIM has 1)",
    unit="order", paper="2206.00927",
    link="?v=1&tab=samplers&view.on=mixture&view.toy=ring&view.race_samplers=ddim,dpm_solver_2,dpmpp_2m",
    note="Judged is DPM++ 2M (2211.01095), DPM-Solver's successor, by its distance from the exact solution on a mixture; what "
         "DPM-Solver-2 itself reaches in 10 and 20 evaluations is told beside it and not judged. High quality is for the eye.",
)  # fmt: skip
def higher_order() -> Generator[Progress, None, Finding]:
    """Race DDIM, DPM-Solver-2 and DPM++ 2M on an exact ring from five noises, fit error against evaluations, and hold the error
    of DPM++ 2M at 20 and 40 evaluations to DDIM's at 20 and 160; whatever the five noises disagree on is open.
    """
    names, steps = ("ddim", "dpm_solver_2", "dpmpp_2m"), (*FEW, *RACE)
    orders: dict[str, list[float]] = {name: [] for name in names}
    errors: dict[tuple[str, int], list[float]] = {}
    for seed in range(NOISES):
        points: list[Point] = []
        for point in race(ring(), make("linear"), names, steps, points=64, seed=seed):
            points.append(point)
            errors.setdefault((point.sampler, point.nfe), []).append(point.error)
            yield Progress(f"{point.sampler}, {point.nfe} evaluations", (seed + len(points) / len(steps) / len(names)) / NOISES)
        for name in names:
            fit = fitted([point for point in points if point.sampler == name])
            orders[name].append(fit.order if fit else math.nan)
    ddim, second, value = (over_runs(orders[name]) for name in names)
    against = {n: over_runs(np.divide(errors["dpmpp_2m", n], errors["ddim", m])) for n, m in ((20, 20), (40, 160))}
    off = {name: [100 * float(np.mean(errors[name, n])) for n in (10, 20)] for name in names}
    told = (f"Order {ddim.value:.2f} for DDIM, {second.value:.2f} for DPM-Solver-2, {value.value:.2f} for DPM++ 2M. Off the exact "
            f"solution with 10 and 20 evaluations: DDIM {off['ddim'][0]:.1f} and {off['ddim'][1]:.1f} %, DPM-Solver-2 "
            f"{off['dpm_solver_2'][0]:.1f} and {off['dpm_solver_2'][1]:.1f} %, DPM++ 2M {off['dpmpp_2m'][0]:.1f} and "
            f"{off['dpmpp_2m'][1]:.1f} %. With 20, DPM++ 2M makes {against[20].value:.2f} [{against[20].low:.2f}, "
            f"{against[20].high:.2f}] of DDIM's error with 20; with 40, {against[40].value:.2f} [{against[40].low:.2f}, "
            f"{against[40].high:.2f}] of DDIM's with 160. Not judged: DPM-Solver-2 makes "
            f"{off['dpm_solver_2'][0] / off['ddim'][0]:.2f} times DDIM's error with 10, and "
            f"{off['dpm_solver_2'][1] / off['ddim'][1]:.2f} times with 20.")  # fmt: skip
    decision = together(decided(value, low=1.5), decided(ddim, high=1.5), *(decided(one, high=1) for one in against.values()))
    return Finding(value, decision, told, {"steps": list(steps), "points": 64},
                   {"prompt": "a red apple", "sampler": "dpmpp_2m", "steps": 15})  # fmt: skip
