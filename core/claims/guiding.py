"""Claims about guidance: by a classifier, without one, and what dropping the condition in training is for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.assumptions.approximation import HIGH, LOW, levels
from core.assumptions.line import exactly, over_runs
from core.claims import Finding, Progress, claim, decided, together, verdict
from core.guidance import classifier_free, classifier_guided
from core.prediction import Denoiser, Model, Prediction, unconditional
from core.sampling import sample
from core.schedules import CLEAN, Level, make, make_path
from core.toy import GaussianMixture, cross, ring
from core.tradeoff import PointNoise, ladder, one_thread

GAMMAS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
SCALES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # of a classifier
RUNS, POINTS = 8, 64


@one_thread()
def ends(denoise: Denoiser, steps: int = 40, runs: int = RUNS) -> Tensor:
    """Where runs of DDIM end, [runs, POINTS, 2]."""
    path = make_path(make("linear"), "trailing", steps)
    *_, last = sample(denoise, path, "ddim", PointNoise(runs * POINTS))
    return last.x_next.reshape(runs, POINTS, 2)


def accuracy(mixture: GaussianMixture, x: Tensor, label: int) -> np.ndarray:
    """The share of points [runs, n, 2] that the exact classifier takes for this label, a run."""
    return np.asarray((mixture.log_posterior(x, CLEAN, label) > np.log(0.5)).double().mean(-1).numpy())


@claim(
    17,
    says="Classifier guidance: ε̃ = ε − √(1−ᾱ_t)·γ·∇ log p(y|x_t), using the gradient of a separate classifier to steer the "
         "reverse "
         "process.",
    asks="What share of points lands in the wanted class at γ = 1? (unguided: one in eight)",
    unit="share in the class", paper="2105.05233",
    link="?v=1&tab=guidance&view.page=classifier",
)  # fmt: skip
def classifier_guidance() -> Finding:
    """Guide an exact ring of eight classes by its exact classifier at scales from 0 to 4; hold the gradient to finite differences,
    and γ = 1 to ε of the class.
    """
    mixture, label = ring(), 2
    at = make("linear").at(300)
    x = PointNoise(64)(0)
    plain = unconditional(mixture)

    def log_prob(y: Tensor, level: object) -> Tensor:
        return mixture.log_posterior(y, level, label)  # type: ignore[arg-type]

    eps = classifier_guided(plain, log_prob, 1.0)(x, at).eps
    h, axes = 1e-5, torch.eye(2, dtype=torch.float64)
    slope = torch.stack([(log_prob(x + h * a, at) - log_prob(x - h * a, at)) / (2 * h) for a in axes], -1)
    off = float((eps - (plain(x, at).eps - at.sigma * slope)).abs().max())
    exact = float((eps - mixture(x, at, (label,))[0].eps).abs().max())
    rows = {gamma: accuracy(mixture, ends(classifier_guided(plain, log_prob, gamma)), label) for gamma in SCALES}
    found = {gamma: over_runs(row) for gamma, row in rows.items()}
    told = (f"Of the points {', '.join(f'{100 * one.value:.0f} % at γ = {gamma:g}' for gamma, one in found.items())} are in the "
            f"class. The formula is off finite differences by {off:.0e}, and at γ = 1 off the class's own ε by {exact:.0e}."
            )  # fmt: skip
    holds = together(verdict(off < 1e-6 and exact < 1e-9), steered(list(rows.values())))
    return Finding(found[1.0], holds, told, {"gammas": list(SCALES), "steps": 40})


def steered(rows: Sequence[np.ndarray], up: bool = True) -> str:
    """The verdict on a measure that is to rise (or fall) with the scale: from the first to the last, and nowhere the reverse.

    A row a scale of the same runs, so that what changes is measured run by run.
    """
    sign = 1 if up else -1
    moves = [over_runs(sign * (b - a)) for a, b in itertools.pairwise(rows)]
    return together(decided(over_runs(sign * (rows[-1] - rows[0])), low=0), verdict(all(not move.high < 0 for move in moves)))


@claim(
    18,
    says="The guidance scale γ controls the trade-off between sample fidelity (adherence to the condition y) and sample diversity.",
    asks="What share of the spread at γ = 0 is left at γ = 8?",
    unit="share of the spread", paper="2207.12598",
    link="?v=1&tab=guidance&prompt=red+apple%2C+flat&seed=1&batch=4&steps=10",
    note="It is traded where classes lie side by side; where they cross, guidance pulls lengthwise, and the spread grows.",
)  # fmt: skip
def fidelity_against_diversity() -> Finding:
    """Sample one class of an exact ring whose classes overlap (radius 1.4, width 0.5) at six scales of classifier-free guidance."""
    mixture, label = ring(std=0.5), 2
    right, spreads, far = [], [], []
    for gamma in GAMMAS:
        x = ends(classifier_free(mixture, label, None, gamma))
        right.append(accuracy(mixture, x, label))
        spreads.append(x.sub(x.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt().numpy())
        far.append(x.mean(1).norm(dim=-1).numpy())
    value, radius = over_runs(spreads[-1] / spreads[0]), float(mixture.means[label].norm())
    told = (f"At γ = {', '.join(f'{g:g}' for g in GAMMAS)}: accuracy {curve(right)}; spread {curve(spreads)}; the mean goes from "
            f"{radius:g} to {curve(far)} (± half a 95 % interval).")  # fmt: skip
    long = [ends(classifier_free(cross(), 0, None, gamma)).std(1).norm(dim=-1).mean() for gamma in (GAMMAS[0], GAMMAS[-1])]
    told += f" On a cross, whose arms are long, the spread grows instead: {long[0]:.2f} → {long[1]:.2f}."
    overshoots = decided(over_runs(far[-1]), low=radius)
    return Finding(value, together(steered(right), steered(spreads, up=False), overshoots), told,
                   {"gammas": list(GAMMAS), "steps": 40}, {"prompt": "a red apple", "gamma": 8})  # fmt: skip


def curve(rows: Sequence[np.ndarray]) -> str:
    """A measure at every scale with half its interval over runs."""
    return ", ".join(f"{one.value:.2f} ± {one.high - one.value:.2f}" for one in map(over_runs, rows))


@claim(
    19,
    says="Classifier-free guidance: ε̃ = (1+γ)·ε(x_t,t,c) − γ·ε(x_t,t,∅) moves away from the unconditional direction.",
    asks="By how much does γ = 2 here differ from classifier guidance with γ = 3?",
    unit="largest difference", paper="2207.12598",
    link="?v=1&tab=guidance&view.page=triangle&prompt=red+apple%2C+flat&seed=1",
    note="The document's two scales differ by one: classifier-free guidance with γ equals classifier guidance with 1 + γ, if the "
         "classifier is exact. Other programs' CFG scale is 1 + γ.",
)  # fmt: skip
def classifier_free_guidance() -> Finding:
    """On an exact ring: γ = −1 and 0 against the unconditional and conditional ε, bit by bit, and γ against a classifier with 1
    + γ.
    """
    mixture, x, worst, same = ring(), PointNoise(64)(0), 0.0, True
    for t in (50, 300, 700):
        at = make("linear").at(t)
        cond, empty = mixture(x, at, (1, None))
        for gamma, one in ((-1, empty), (0, cond)):
            same = same and torch.equal(classifier_free(mixture, 1, None, gamma)(x, at).eps, one.eps)
        guided = classifier_guided(unconditional(mixture), lambda y, level: mixture.log_posterior(y, level, 1), 3.0)(x, at)
        worst = max(worst, float((classifier_free(mixture, 1, None, 2.0)(x, at).eps - guided.eps).abs().max()))
    told = (f"γ = −1 is the unconditional and γ = 0 the conditional ε, {'bit by bit' if same else 'but not to the bit'}; γ = 2 "
            f"and a "
            f"classifier's γ = 3 differ by at most {worst:.0e}.")  # fmt: skip
    shown = {"prompt": "a red apple", "gamma": 2}
    return Finding(exactly(worst), verdict(same and worst < 1e-8), told, {"t": [50, 300, 700]}, shown)


@claim(
    20,
    says="The unconditional model ε(x_t,t,∅) is obtained by randomly dropping the conditioning signal c during training.",
    asks="How many times larger is the error of ε(x,t,∅) if c is never dropped, compared with dropping it half the time?",
    unit="× error", paper="2207.12598",
    note="A network that always heard c answers something to ∅ all the same, and with its condition alone (γ = 0) it does well: "
         "what fails is guidance.",
    link="?v=1&tab=labs&view.page=train&view.what=emoji&view.rounds=480&view.drop=0.5",
)  # fmt: skip
def dropping_the_condition() -> Generator[Progress, None, Finding]:
    """Train small networks on an exact ring with c dropped never, one time in ten and one in two; measure ε(x,t,∅) against the
    exact one, and how far guidance by each (γ = 2) ends from where exact guidance does.
    """
    shares, seeds = (0.0, 0.1, 0.5), 3
    errors, missed = np.zeros((len(shares), seeds)), np.zeros((len(shares), seeds, len(FAILS)))
    for index, share in enumerate(shares):
        for seed in range(seeds):
            net = Conditional.trained(share, seed)
            errors[index, seed] = net.error(None)
            missed[index, seed] = [net.misses(gamma) for gamma in FAILS]
            yield Progress(f"dropped with probability {share:g}, seed {seed}", (index * seeds + seed + 1) / (len(shares) * seeds))
    value = over_runs(errors[0] / errors[2])
    fails = over_runs(missed[0, :, 1] - missed[2, :, 1])
    told = (f"Error of ε(x,t,∅), as a share of the exact ε: {', '.join(f'{e:.2f}' for e in errors.mean(1))} with c dropped with "
            f"probability {', '.join(f'{s:g}' for s in shares)}; guidance subtracts just this ε. Runs to a class end "
            f"{', '.join(f'{m:.2f}' for m in missed[:, :, 0].mean(1))} from where the exact ring's do at γ = 0, and "
            f"{', '.join(f'{m:.2f}' for m in missed[:, :, 1].mean(1))} at γ = {FAILS[1]:g} (the ring has the radius 1.4)."
            )  # fmt: skip
    return Finding(value, together(decided(value, low=1), decided(fails, low=0)), told,
                   {"p_drop": list(shares), "training steps": TRAINING, "gammas": list(FAILS)})  # fmt: skip


TRAINING, CLASS = 500, 3
FAILS = (0.0, 2.0)  # scales: the condition alone, and guidance


@dataclass(frozen=True, eq=False)
class Conditional:
    """A small network ε(x, lam, c) trained on a ring, as a model of points."""

    said: Callable[[Tensor, Tensor, Tensor], Tensor]  # x [B, 2], lam [B], the class one-hot or zeros [B, K]
    mixture: GaussianMixture

    @torch.no_grad()
    def __call__(self, x: Tensor, at: Level, conds: Sequence[int | None]) -> tuple[Prediction, ...]:
        found = []
        for cond in conds:
            one = torch.zeros(len(x), len(self.mixture.labels))
            if cond is not None:
                one[:, cond] = 1
            found.append(Prediction.from_eps(x, self.said(x.float(), torch.full((len(x),), at.lam), one).to(x), at))
        return tuple(found)

    def error(self, label: int | None) -> float:
        """E ‖eps_theta − eps*‖²/E ‖eps*‖² on points of a class, or of all, under that condition."""
        generator, right, missed = torch.Generator().manual_seed(99), 0.0, 0.0
        for at in levels(make("linear")):
            x0 = self.mixture.sample(50, generator, label)
            x = at.alpha * x0 + at.sigma * torch.randn(50, 2, dtype=torch.float64, generator=generator)
            exact = self.mixture(x, at, (label,))[0].eps
            missed += float((self(x, at, (label,))[0].eps - exact).square().sum())
            right += float(exact.square().sum())
        return missed / right

    def misses(self, gamma: float) -> float:
        """How far runs to a class end from those of the exact ring that begin alike, as a root mean square."""
        own, exact = (within(model, gamma) for model in (self, self.mixture))
        return float((own - exact).square().sum(-1).mean().sqrt())

    @classmethod
    def trained(cls, p_drop: float, seed: int) -> Conditional:
        """A network whose condition is dropped with this probability."""
        return cls(learnt(ring(), p_drop, seed), ring())


@one_thread()
def within(model: Model, gamma: float) -> Tensor:
    """Where runs of DDIM to a class end that stay at the levels that were trained."""
    schedule = make("linear")
    path = make_path(schedule, sigmas=ladder(40, HIGH, LOW))
    *_, last = sample(classifier_free(model, CLASS, None, gamma), path, "ddim", PointNoise(RUNS * POINTS))
    return last.x_next


def learnt(
    mixture: GaussianMixture, p_drop: float, seed: int, steps: int = TRAINING, width: int = 64
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Train ε(x, lam, c) on a mixture's points and labels, c dropped with a probability."""
    places = levels(make("linear"))
    generator = torch.Generator().manual_seed(seed)
    classes = len(mixture.labels)
    shape = ((2 + 4 + classes, width), (width, width), (width, 2))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed CUDA too
        first, second, third = (torch.nn.Linear(*sizes) for sizes in shape)
    net = torch.nn.Sequential(first, torch.nn.SiLU(), second, torch.nn.SiLU(), third)
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    table = torch.tensor([[at.alpha, at.sigma, at.lam] for at in places])

    def said(x: Tensor, lam: Tensor, told: Tensor) -> Tensor:
        angles = lam[:, None] * torch.tensor([0.5, 1.0])
        return net(torch.cat([x, angles.sin(), angles.cos(), told], -1))

    for _ in range(steps):
        label = torch.randint(classes, (256,), generator=generator)
        x0 = mixture.means[label].float() + mixture.stds[label].float() * torch.randn(256, 2, generator=generator)
        told = torch.nn.functional.one_hot(label, classes) * (torch.rand(256, 1, generator=generator) >= p_drop)
        alpha, sigma, lam = table[torch.randint(len(places), (256,), generator=generator)].unbind(-1)
        eps = torch.randn(256, 2, generator=generator)
        with torch.enable_grad():
            loss = (said(alpha[:, None] * x0 + sigma[:, None] * eps, lam, told.float()) - eps).square().mean()
            optimiser.zero_grad()
            loss.backward()
        optimiser.step()
        slower.step()
    return said
