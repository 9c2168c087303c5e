"""What the model is asked, and how its answers are scored: every claim of vocabulary.json, none chosen by hand.

    trained      every concept once, in one of its trained styles, chosen by a hash
    held out     every pair that was never trained on
    colours      a concept a background, all backgrounds in turn, behind trained pairs
    languages    the label in three other languages, chosen by a hash
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.pipeline import TextToImage
from core.recipe import Recipe
from core.training.captions import own_labels
from core.training.data import load_concepts, load_records
from core.training.languages import BACKGROUNDS, COLOURS
from core.training.packages import SOURCES
from core.training.split import unit_hash
from tests.quality.judge import Judge, style_number

SETTINGS: dict[str, Any] = {"sampler": "dpmpp_2m", "steps": 20, "gamma": 4.0}  # CFG scale 5
SEEDS = 4


@dataclass(frozen=True)
class Question:
    """One prompt and what a right picture of it shows; `source` and `colour` are None where the prompt leaves them open."""

    prompt: str
    seed: int
    hexcode: str
    source: str | None
    colour: int | None


@dataclass(frozen=True)
class Catalogue:
    """The claims of a vocabulary.json beside the training data's own names."""

    vocabulary: dict[str, Any]
    data: Path

    @property
    def hexcodes(self) -> list[str]:
        return [c["hexcode"] for c in self.vocabulary["concepts"]]

    @property
    def labels(self) -> dict[str, str]:
        return {c["hexcode"]: c["label"] for c in self.vocabulary["concepts"]}

    @property
    def held_out(self) -> list[tuple[str, str]]:
        source = {s["word"]: s["source"] for s in self.vocabulary["styles"]}
        return [(pair["hexcode"], source[pair["style"]]) for pair in self.vocabulary["held_out"]]

    @property
    def trained(self) -> list[tuple[str, str]]:
        """One trained pair a concept."""
        held, claimed = set(self.held_out), set(self.hexcodes)
        drawn: dict[str, list[str]] = {}
        for r in load_records(self.data):
            if r["hexcode"] in claimed and (r["hexcode"], r["source"]) not in held:
                drawn.setdefault(r["hexcode"], []).append(r["source"])
        return [(code, min(styles, key=lambda s, code=code: unit_hash(code, s + " asked"))) for code, styles in drawn.items()]


def asked(catalogue: Catalogue, kind: str) -> list[Question]:
    """The questions of one kind."""
    labels, words = catalogue.labels, {s.id: s.word for s in SOURCES}
    white = [name for name, _ in COLOURS].index("white")

    def plain(pairs: Sequence[tuple[str, str]]) -> list[Question]:
        return [
            Question(f"{labels[code]}, {words[source]}", i % SEEDS, code, source, white) for i, (code, source) in enumerate(pairs)
        ]

    if kind == "trained":
        return plain(catalogue.trained)
    if kind == "held out":
        return plain(catalogue.held_out)
    if kind == "colours":
        behind = [n for n in range(len(COLOURS)) if n != white]
        return [
            Question(f"{q.prompt}, on a{'n' * (COLOURS[n][0][0] in 'aeiou')} {COLOURS[n][0]} background", q.seed, q.hexcode,
                     q.source, n)
            for q, n in zip(plain(catalogue.trained), behind * len(labels), strict=False)
        ]  # fmt: skip
    return list(_foreign(catalogue))


def _foreign(catalogue: Catalogue) -> Iterator[Question]:
    claimed = set(catalogue.hexcodes)
    concepts = [c for c in load_concepts(catalogue.data, "all") if c["hexcode"] in claimed]
    for i, (concept, known) in enumerate(zip(concepts, own_labels(concepts), strict=True)):
        for code in sorted(known, key=lambda c, h=concept["hexcode"]: unit_hash(h, c + " asked"))[:3]:
            if code in BACKGROUNDS:
                yield Question(known[code], i % SEEDS, concept["hexcode"], None, None)


def drawn(pipe: TextToImage, questions: Sequence[Question], batch: int = 16) -> Iterator[Tensor]:
    """The model's answers, [B, 3, H, W] in [−1, 1], a batch at a time."""
    left = iter(questions)
    while part := list(islice(left, batch)):
        *_, last = pipe.run_many([Recipe(prompt=q.prompt, seed=q.seed, **SETTINGS) for q in part])
        yield pipe.decode(last.x_next)


def scores(judge: Judge, pictures: Tensor, questions: Sequence[Question]) -> dict[str, float]:
    """Shares of right answers: concept at first guess and among five, style, background."""
    said = judge(pictures)
    concept = torch.tensor([judge.number[q.hexcode] for q in questions])
    best = said.concept.topk(5).indices
    out = {"first": best[:, 0] == concept, "five": (best == concept[:, None]).any(1)}
    if questions[0].source is not None:
        out["style"] = said.style.argmax(1) == torch.tensor([style_number(q.source or "") for q in questions])
        out["colour"] = said.colour.argmax(1) == torch.tensor([q.colour for q in questions])
    return {name: right.float().mean().item() for name, right in out.items()}
