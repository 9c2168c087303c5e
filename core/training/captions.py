"""Captions: for every trained (concept, style) pair a finite, weighted list of texts, so text states can be cached.

A caption may say less than the picture shows ("cat", "un gato") or more than the art ("on a blue background"): then the
background follows the caption. The lists of several pairs share the texts that name no style. How often each kind
of caption is drawn is in SHARES; the label with its style word in English is the most frequent single text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .languages import ARTICLES, BACKGROUNDS, COLOURS, LANGUAGES, NO_ARTICLE, STYLE_WORDS
from .packages import SOURCES
from .split import unit_hash

# kind -> share of the draws. What a kind has no caption of for a pair is drawn from the others.
SHARES = {
    "prompt": 0.5,  # "<label>, <style>"
    "styled": 0.1,  # the same said otherwise
    "bare": 0.04,  # without a style
    "tags": 0.02,
    "foreign styled": 0.11,
    "foreign bare": 0.08,  # what a visitor types first
    "colour": 0.1,  # with style and background
    "colour bare": 0.01,
    "colour foreign": 0.04,
}
STYLED_LANGUAGES, TRANSLATED_LANGUAGES, BACKGROUND_LANGUAGES, STYLED_COLOURS = 5, 1, 2, 6


_WHITE = [name for name, _ in COLOURS].index("white")


def _block(colour: int) -> int:
    return 0 if colour in (-1, _WHITE) else 1 + colour


@dataclass(frozen=True)
class Caption:
    """One text that describes a picture; `colour` is a number of COLOURS, −1 for the plain white background."""

    text: str
    kind: str
    language: str = "en"
    colour: int = -1


def prompt(label: str, style: str) -> str:
    """Give the usual form of a prompt: "<label>, <style word>"."""
    return f"{label}, {style}"


def with_article(words: str, noun: str) -> str:
    """Put "a" or "an" before the words unless the noun in them takes none ("ring" decides for "ring with a stone")."""
    head = re.split(" with | in | of | on ", noun)[0]
    plural = head.endswith("s") and not head.endswith(("ss", "us", "bus", "lens", "-s"))
    if plural or noun in NO_ARTICLE:
        return words
    vowel = words[0].lower() in "aeiou" and not words.lower().startswith(("uni", "eu", "ufo", "one-"))
    return f"{'an' if vowel or words.startswith('X') else 'a'} {words}"


def _chosen(options: Sequence[Any], count: int, *salt: str) -> list[Any]:
    """Choose some of the options by a hash, so that every pair gets its own few and always the same."""
    return sorted(options, key=lambda o: unit_hash(" ".join(salt), str(o)))[:count]


def english(concept: dict[str, Any], source: str, tags: Sequence[str]) -> Iterator[Caption]:
    """List the English captions of a pair; `tags` are those that belong to this concept alone."""
    label, style = concept["label"], {s.id: s.word for s in SOURCES}[source]
    yield Caption(prompt(label, style), "prompt")
    for text in (
        with_article(f"{style} {label}", label),
        f"{style} {label}",
        f"{style} emoji of {with_article(label, label)}",
        f"{with_article(label, label)}, {style} style",
    ):
        yield Caption(text, "styled")
    for text in dict.fromkeys((label, with_article(label, label))):
        yield Caption(text, "bare")
    for tag in _chosen(tags, 1, concept["hexcode"], source):
        yield Caption(prompt(tag, style), "tags")
    for tag in _chosen([t for t in concept["tags"] if t != label], 1, concept["hexcode"], source):
        yield Caption(f"{label}, {tag}, {style}", "tags")
    names = [name for name, _ in COLOURS]
    for place, name in enumerate(_chosen(names, STYLED_COLOURS, concept["hexcode"], source)):
        background = f"on a{'n' if name[0] in 'aeiou' else ''} {name} background"
        text = f"{prompt(label, style)}, {background}" if place < 5 else f"{style} {label} {background}"
        yield Caption(text, "colour", colour=names.index(name))
    for name in names:
        background = f"on a{'n' if name[0] in 'aeiou' else ''} {name} background"
        yield Caption(f"{label} {background}", "colour bare", colour=names.index(name))


def foreign(concept: dict[str, Any], source: str, labels: dict[str, str]) -> Iterator[Caption]:
    """List the captions of a pair in other languages; `labels` are those that mean this concept alone."""
    number = [s.id for s in SOURCES].index(source)
    salt = (concept["hexcode"], source, "languages")
    for place, code in enumerate(_chosen(list(labels), STYLED_LANGUAGES + TRANSLATED_LANGUAGES, *salt)):
        style = SOURCES[number].word if place < STYLED_LANGUAGES else STYLE_WORDS[code][number]
        yield Caption(prompt(labels[code], style), "foreign styled", code)
    for code, label in labels.items():
        yield Caption(label, "foreign bare", code)
        for article in ARTICLES.get(code, ()):
            yield Caption(f"{article} {label}", "foreign bare", code)
    for colour, (name, _) in enumerate(COLOURS):
        codes = [code for code in BACKGROUNDS if code in labels]
        for code in _chosen(codes, BACKGROUND_LANGUAGES, concept["hexcode"], name):
            template, words = BACKGROUNDS[code]
            yield Caption(template.format(labels[code], words[colour]), "colour foreign", code, colour)


def own_labels(concepts: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """For each concept its labels in other languages, without those that also name another concept somewhere."""
    owners: dict[str, set[str]] = {}
    for c in concepts:
        for code in LANGUAGES:
            owners.setdefault(c["labels"][code].casefold(), set()).add(c["hexcode"])
    english_owner = {c["label"].casefold(): c["hexcode"] for c in concepts}

    def own(text: str, hexcode: str) -> bool:
        return bool(text) and (len(owners[text.casefold()]) == 1 or english_owner.get(text.casefold()) == hexcode)

    return [{code: c["labels"][code] for code in STYLE_WORDS if own(c["labels"][code], c["hexcode"])} for c in concepts]


def own_tags(concepts: Sequence[dict[str, Any]]) -> list[list[str]]:
    """For each concept the English tags that no other concept has as a tag or a label."""
    count = Counter(tag for c in concepts for tag in set(c["tags"]))
    labels = {c["label"].casefold() for c in concepts} | {
        c["labels"][code].casefold() for c in concepts for code in LANGUAGES
    }
    return [
        [t for t in c["tags"] if count[t] == 1 and t.casefold() not in labels and len(t) > 2 and t[0].isalpha()]
        for c in concepts
    ]


@dataclass(frozen=True)
class CaptionTable:
    """All captions of a list of pictures, each text once, and how to draw from them.

    Row i belongs to picture i of that list. Its captions are ids[blocks[i, 0]:blocks[i, -1]]; those for a picture on
    white come first (block 0, they name white or no background), then those of each named colour c (block 1 + c).
    cumulative holds i plus the running sum of their probabilities, so one search draws for a whole batch.
    """

    texts: tuple[str, ...]
    colour: np.ndarray  # int8 [texts], the background each text asks for, −1 for none
    language: tuple[str, ...]
    ids: np.ndarray  # int32 [entries]
    blocks: np.ndarray  # int64 [rows, 2 + colours]
    cumulative: np.ndarray  # float64 [entries]
    tokens: Tensor | None = None  # int32 [texts + 1, L]; the last row is the empty text

    def of(self, row: int) -> list[str]:
        """List every caption of one picture."""
        return [self.texts[i] for i in self.ids[self.blocks[row, 0] : self.blocks[row, -1]]]

    def sample(self, rows: Any, rng: np.random.Generator, colours: Any = None) -> np.ndarray:
        """Draw one caption for every row: numbers of texts, int64 [B].

        Without `colours` the caption decides the background, which is then colour[result]. With them (numbers of
        COLOURS, −1 for white) the background decides: only captions are drawn that fit it.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if colours is None:
            first, last = self.blocks[rows, 0], self.blocks[rows, -1]
        else:
            block = np.asarray(colours, dtype=np.int64) + 1
            block = np.where(block == 1 + _WHITE, 0, block)
            first, last = self.blocks[rows, block], self.blocks[rows, block + 1]
        low = np.where(first == self.blocks[rows, 0], rows, self.cumulative[np.maximum(first - 1, 0)])
        at = low + rng.random(len(rows)) * (self.cumulative[last - 1] - low)
        # Rounding in the running sums must never give a neighbour's caption.
        place = np.clip(np.searchsorted(self.cumulative, at, side="right"), first, last - 1)
        return self.ids[place].astype(np.int64)

    def tokenised(self, encode: Callable[[list[str]], Tensor]) -> CaptionTable:
        """Give the same table with every text encoded once, and the empty text."""
        return replace(self, tokens=encode([*self.texts, ""]).to(torch.int32))

    def draw(self, rows: Any, colours: Any, rng: np.random.Generator, drop: float = 0.0) -> np.ndarray:
        """Draw one fitting caption for every row: rows of `tokens`, int64 [B]; a share `drop` of them is the empty text."""
        chosen = self.sample(rows, rng, colours)
        chosen[rng.random(len(chosen)) < drop] = len(self.texts)
        return chosen


def caption_lists(records: Sequence[dict[str, Any]], concepts: Sequence[dict[str, Any]]) -> Iterator[list[Caption]]:
    """Give for every record its captions; what is ambiguous is judged among the concepts given."""
    number = {c["hexcode"]: i for i, c in enumerate(concepts)}
    labels, tags = own_labels(concepts), own_tags(concepts)
    for r in records:
        i = number[r["hexcode"]]
        yield [*english(concepts[i], r["source"], tags[i]), *foreign(concepts[i], r["source"], labels[i])]


def caption_table(records: Sequence[dict[str, Any]], concepts: Sequence[dict[str, Any]]) -> CaptionTable:
    """Make the table of captions for these pictures (give it only what may be trained on) among these concepts."""
    known: dict[tuple[str, int], int] = {}
    languages: list[str] = []
    ids: list[int] = []
    blocks, cumulative = [], []
    for row, captions in enumerate(caption_lists(records, concepts)):
        count = Counter(c.kind for c in captions)
        captions = sorted(captions, key=lambda c: _block(c.colour))
        weights = np.array([SHARES[c.kind] / count[c.kind] for c in captions])
        # Block b of this row begins behind its captions of smaller blocks.
        behind = np.searchsorted([_block(c.colour) for c in captions], np.arange(len(COLOURS) + 1))
        blocks.append([*(len(ids) + behind), len(ids) + len(captions)])
        for c in captions:
            ids.append(known.setdefault((c.text, c.colour), len(known)))
            if len(known) > len(languages):
                languages.append(c.language)
        cumulative.append(row + np.cumsum(weights / weights.sum()))
    return CaptionTable(
        texts=tuple(text for text, _ in known),
        colour=np.array([colour for _, colour in known], np.int8),
        language=tuple(languages),
        ids=np.array(ids, np.int32),
        blocks=np.array(blocks, np.int64),
        cumulative=np.concatenate(cumulative),
    )


def caption(record: dict[str, Any], concept: dict[str, Any], rng: np.random.Generator) -> str:
    """Draw one caption for one picture, whatever other concepts there are."""
    table = caption_table([record], [concept])
    return table.texts[int(table.sample(np.zeros(1, np.int64), rng)[0])]
