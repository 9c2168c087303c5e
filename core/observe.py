"""Looking into a run: what one move is made of, and where the words look. Computed from stored Steps, on demand.

    x_next = alpha'·x0 + √(sigma'² − std²)·eps + std·noise + correction                  (1)
    correction = Σ weight·(another prediction − this one)                               (2)
    heat(word) = Σ over its tokens of softmax(q·kᵀ/√d), averaged over the heads          (3)

Every sampler takes the first three terms of (1), Euler's step with fresh noise; what better ones add is (2): predictions of
earlier moves (multistep), or of trial points inside the move. The weights are written down nowhere: a sampler is linear in x, in
the predictions and in the noise, so that running it on symbols (a unit vector for each of these) returns them exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor

from core.emphasis import plain
from core.errors import UserError
from core.guidance import classifier_free, rescaled
from core.nets.attention import SpatialTransformer, TransformerBlock
from core.nets.tokenizer import Tokenizer
from core.nets.unet import UNet
from core.pipeline import NO_WORDS, TextToImage
from core.prediction import Cond, NetworkModel, Prediction
from core.recipe import Recipe
from core.sampling import Fresh, Step, sample
from core.schedules import Level, Path

DUST = 1e-9  # a weight this small beside the greatest is what float64 leaves of a zero


# ----------------------------------------------------------------------------------------------- one move, taken apart


class Source(NamedTuple):
    """What a move may be made of: "x" at the start, the "noise" of a move, or "x0" or "eps" of one call of a move."""

    kind: str
    move: int  # counted within the run
    call: int = 0


@dataclass(frozen=True)
class Update:
    """A move as (1) and (2): the weights of this move's first prediction and of its noise, and those of other sources."""

    move: int
    x0: float
    eps: float
    std: float
    others: tuple[tuple[Source, float], ...]

    @property
    def looks_back(self) -> bool:
        """Whether predictions of earlier moves take part."""
        return any(source.move < self.move for source, _ in self.others)


@dataclass(frozen=True)
class Term:
    """One term of (1): a number times a tensor, in float64; a correction is a sum and has the weight 1."""

    name: str  # x0, eps, noise or correction
    weight: float
    value: Tensor


@dataclass(frozen=True)
class Anatomy:
    """The terms of one move; none of them was computed from x_next, so that their sum is a check."""

    update: Update
    terms: tuple[Term, ...]
    x_next: Tensor

    @property
    def error(self) -> float:
        """‖sum of the terms − x_next‖ / ‖x_next‖."""
        total = torch.stack([term.value for term in self.terms]).sum(0)
        return float((total - self.x_next.double()).norm() / self.x_next.double().norm())


def updates(pipe: TextToImage, recipe: Recipe, steps: Sequence[Step]) -> list[Update]:
    """How each move of a run was made; a branch begins with an empty memory."""
    recipe = pipe.complete(recipe)
    path = pipe.path(recipe)
    cut = len(steps) if recipe.branch is None else recipe.branch.step
    found = list(weights(path[:cut], recipe.sampler, steps[:cut], recipe.knobs))
    if steps[cut:]:
        after = recipe.branched
        found += weights(path[cut:], after.sampler, steps[cut:], after.knobs, cut)
    return found


def weights(
    path: Path, sampler: str, steps: Sequence[Step], knobs: Mapping[str, float] | None = None, first: int = 0
) -> Iterator[Update]:
    """Run a sampler on symbols: the same path and as many calls as these steps had, a unit vector for everything it is given.

    `first` numbers the first of the steps. Where x_next is a·x + the rest, a shows in the weight of what the run started from,
    which reaches x_next only through x; then x = alpha·x0 + sigma·eps.
    """
    sources = [Source("x", first), *(Source("noise", first + move) for move in range(len(steps)))]
    calls = [(first + move, call) for move, step in enumerate(steps) for call in range(len(step.evaluations))]
    sources += [Source(kind, *where) for where in calls for kind in ("x0", "eps")]
    column = {source: index for index, source in enumerate(sources)}
    asked = iter(calls)

    def unit(source: Source) -> Tensor:
        vector = torch.zeros(len(sources), dtype=torch.float64)
        vector[column[source]] = 1
        return vector

    def denoise(x: Tensor, at: Level) -> Prediction:
        where = next(asked)
        return Prediction(unit(Source("x0", *where)), unit(Source("eps", *where)), at)

    noise = [unit(Source("noise", first + move)) for move in range(len(steps))]
    run = sample(denoise, path, sampler, lambda draw: noise[draw - path.first - 1], unit(sources[0]), **(knobs or {}))
    for move, symbolic in zip(range(first, first + len(steps)), run, strict=False):
        a = float(symbolic.x_next[0] / symbolic.x[0]) if symbolic.x[0] else 0.0
        rest = symbolic.x_next - a * symbolic.x
        kept = (rest.abs() > DUST * symbolic.x_next.abs().max()).nonzero().flatten().tolist()
        yield gathered(move, a, symbolic.cur, {sources[i]: float(rest[i]) for i in kept})


def gathered(move: int, a: float, cur: Level, rest: dict[Source, float]) -> Update:
    """The weights of a·x and the rest as those of (1) and (2)."""
    own = {kind: rest.pop(Source(kind, move), 0.0) for kind in ("x0", "eps", "noise")}
    own["x0"] += a * cur.alpha
    own["eps"] += a * cur.sigma
    for source, weight in rest.items():
        if source.kind in own:
            own[source.kind] += weight
    return Update(move, own["x0"], own["eps"], own["noise"], tuple(rest.items()))


def anatomy(steps: Sequence[Step], update: Update, noise: Fresh) -> Anatomy:
    """The terms of a move with their values: predictions as they are stored, noise drawn anew from its address."""
    step = steps[update.move]
    now = {"x0": step.x0.double(), "eps": step.eps.double()}

    def other(source: Source) -> Tensor:
        if source.kind == "x":
            return steps[source.move].x.double()
        if source.kind == "noise":
            return fresh(source.move) - fresh(update.move)
        return getattr(steps[source.move].evaluations[source.call], source.kind).double() - now[source.kind]

    def fresh(move: int) -> Tensor:
        return noise(steps[move].index + 1).to(step.x.device).double()

    terms = [Term(kind, weight, weight * now[kind]) for kind, weight in (("x0", update.x0), ("eps", update.eps))]
    if update.std:
        terms.append(Term("noise", update.std, update.std * fresh(update.move)))
    if update.others:
        terms.append(Term("correction", 1.0, torch.stack([weight * other(source) for source, weight in update.others]).sum(0)))
    return Anatomy(update, tuple(terms), step.x_next)


# ------------------------------------------------------------------------------------------------- where words look


class Word(NamedTuple):
    """A word of a prompt and the positions of its tokens in the context."""

    text: str
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """Where one cross-attention of the U-Net looks: weights [B, h, w, L], averaged over heads; they sum to one over L."""

    name: str
    weights: Tensor


def words(tokenizer: Tokenizer, text: str) -> list[Word]:
    """The words of a prompt that fit into the context, without its weights; signs stand alone."""
    text = plain(text)
    spans = [(found.group(), found.start(), found.end()) for found in re.finditer(r"[\w'’]+|[^\w\s]+", text)]
    places: list[list[int]] = [[] for _ in spans]
    for index, (_, _, (start, end)) in enumerate(tokenizer.pieces(text)[: tokenizer.length - 2]):
        for place, (_, begin, stop) in zip(places, spans, strict=True):
            if start < stop and end > begin:
                place.append(index + 1)
                break
    return [Word(word, tuple(place)) for (word, _, _), place in zip(spans, places, strict=True) if place]


def attention(pipe: TextToImage, recipe: Recipe, step: Step) -> list[Layer]:
    """Equation (3) before the sum: the network asked once more what it was asked at this step, with its words, and watched.

    Raises UserError under a classifier.
    """
    prompt = heard_then(pipe, recipe, step).prompt
    with watched(pipe.unet) as seen:
        conditional(pipe, prompt, step.x, step.evaluations[0].at)
    return [Layer(name, one) for name, one in seen.items()]


@torch.no_grad()
def conditional(pipe: TextToImage, prompt: str, x: Tensor, at: Level, without: Sequence[int] = ()) -> Prediction:
    """What the network says of x at a level with these words, some positions of the context left out."""
    states = pipe.text_states([prompt] * len(x))
    kept = [position for position in range(states.shape[1]) if position not in without]
    model = NetworkModel(pipe.unet, pipe.schedule, pipe.parts.prediction)
    return model(x.to(pipe.device), at, (Cond(states[:, kept]),))[0]


@torch.no_grad()
def left_out(pipe: TextToImage, recipe: Recipe, step: Step, word: Word | None = None) -> Tensor:
    """The predicted x0 of a step had this word not been in the context (None: with all of them), guided as the run was.

    Raises UserError under a classifier.
    """
    then = heard_then(pipe, recipe, step)
    cond = conditional(pipe, then.prompt, step.x, step.evaluations[0].at, word.positions if word else ())
    parts = step.evaluations[0].parts
    if "uncond" not in parts or "cond" not in parts:
        return cond.x0.to(step.x.device)
    answers = cond.map(lambda value: value.to(step.x.device)), parts["uncond"]
    guided = classifier_free(lambda x, at, conds: answers, "cond", "uncond", then.gamma)
    return rescaled(guided, then.guidance.rescale, pipe.parts.prediction)(step.x, cond.at).x0


def asked_then(pipe: TextToImage, recipe: Recipe, step: Step) -> Recipe:
    """The recipe that held at a step: after a branch, the changed one."""
    recipe = pipe.complete(recipe)
    if recipe.branch is None:
        return recipe
    return recipe.branched if step.index - pipe.path(recipe).first >= recipe.branch.step else recipe


def heard_then(pipe: TextToImage, recipe: Recipe, step: Step) -> Recipe:
    """`asked_then`, whose prompt the network heard; raises UserError under a classifier, which alone is told of it."""
    then = asked_then(pipe, recipe, step)
    if then.guidance.kind == "classifier":
        raise UserError(NO_WORDS)
    return then


@contextmanager
def watched(unet: UNet) -> Iterator[dict[str, Tensor]]:
    """Collect the weights of every cross-attention, by layer, while the block runs; the network is left as it was."""
    seen: dict[str, Tensor] = {}
    hooks = []

    def watch(name: str, layer: SpatialTransformer) -> None:
        shape: list[int] = []
        attend = cast(TransformerBlock, layer.transformer_blocks[0]).attn2
        hooks.append(layer.register_forward_pre_hook(lambda _, args: shape.extend(args[0].shape[-2:])))
        hooks.append(attend.register_forward_pre_hook(
            lambda module, args: seen.update({name: look(module.weights(*args), shape)})
        ))  # fmt: skip

    def look(weights: Tensor, shape: list[int]) -> Tensor:
        height, width = shape[-2:]
        return weights.float().mean(1).unflatten(1, (height, width)).cpu()

    for name, layer in unet.named_modules():
        if isinstance(layer, SpatialTransformer):
            watch(name, layer)
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def by_words(layer: Layer, found: Sequence[Word]) -> Tensor:
    """Equation (3) for each word, and at last for all other tokens (start, end, padding): [words + 1, B, h, w], summing to 1."""
    maps = [layer.weights[..., list(word.positions)].sum(-1) for word in found]
    taken = {position for word in found for position in word.positions}
    rest = [position for position in range(layer.weights.shape[-1]) if position not in taken]
    return torch.stack([*maps, layer.weights[..., rest].sum(-1)])
