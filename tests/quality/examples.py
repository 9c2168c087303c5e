"""The examples under the prompt box: what most people would try first, each in a style in which the judge knows it at every seed.

Five as they are, one on a blue background, one in another language. `python -m tests.quality examples` writes examples.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from core.pipeline import TextToImage
from core.training.captions import own_labels
from core.training.data import load_concepts
from core.training.languages import COLOURS
from core.training.packages import SOURCES
from tests.quality.judge import Judge
from tests.quality.prompts import SEEDS, Catalogue, Question, drawn, scores

FIRST = (
    "red apple", "smiling face with sunglasses", "rocket", "cat face", "octopus", "red heart", "pizza", "snowman without snow",
    "tulip", "house", "guitar", "strawberry", "frog", "rose", "fire", "banana", "unicorn", "hamburger", "star", "mushroom", "panda",
)  # fmt: skip
PLAIN = 5
ELSEWHERE = ("es", "de", "fr", "it", "ja")
BLUE = [name for name, _ in COLOURS].index("blue")


def known(pipe: TextToImage, judge: Judge, question: Question) -> bool:
    """Whether the judge sees at every seed what was asked for."""
    questions = [replace(question, seed=seed) for seed in range(SEEDS)]
    found = scores(judge, torch.cat(list(drawn(pipe, questions))), questions)
    return all(found[name] == 1 for name in found)


def candidates(catalogue: Catalogue, label: str, turn: int) -> Iterator[Question]:
    """A thing in every style in which it was trained on, from another one on each turn."""
    code = next(code for code, name in catalogue.labels.items() if name == label)
    white = [name for name, _ in COLOURS].index("white")
    for source in [*SOURCES[turn % len(SOURCES) :], *SOURCES[: turn % len(SOURCES)]]:
        if (code, source.id) not in set(catalogue.held_out):
            yield Question(f"{label}, {source.word}", 0, code, source.id, white)


def chosen(pipe: TextToImage, judge: Judge, catalogue: Catalogue) -> list[str]:
    """The examples, in the order in which they stand there."""
    made: list[Question] = []
    for label in FIRST:
        blue = len(made) == PLAIN
        asked = candidates(catalogue, label, len(made))
        questions = (replace(q, prompt=f"{q.prompt}, on a blue background", colour=BLUE) if blue else q for q in asked)
        if (found := next((q for q in questions if known(pipe, judge, q)), None)) is not None:
            made.append(found)
        if len(made) > PLAIN:
            break
    return [q.prompt for q in made] + list(_elsewhere(pipe, judge, catalogue, {q.hexcode for q in made}))


def _elsewhere(pipe: TextToImage, judge: Judge, catalogue: Catalogue, shown: set[str]) -> Iterator[str]:
    """One thing named in another language."""
    concepts = [c for c in load_concepts(catalogue.data, "all") if c["hexcode"] in set(catalogue.hexcodes)]
    labels = {c["label"]: (c["hexcode"], names) for c, names in zip(concepts, own_labels(concepts), strict=True)}
    for name in FIRST:
        code, names = labels[name]
        for language in ELSEWHERE:
            if code not in shown and language in names and known(pipe, judge, Question(names[language], 0, code, None, None)):
                yield names[language]
                return


def write(folder: Path, weights: str, prompts: list[str]) -> None:
    """Write them beside the model, with the weights that they are of."""
    text = json.dumps({"weights": weights, "prompts": prompts}, ensure_ascii=False, indent=1) + "\n"
    (folder / "examples.json").write_text(text, encoding="utf-8")
