"""Captions: what is said of a picture, how often, in which languages, and never of a held-out pair."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from core.training.captions import (
    SHARES,
    caption,
    caption_lists,
    caption_table,
    foreign,
    prompt,
    with_article,
)
from core.training.data import base_list, load_concepts, load_records
from core.training.languages import BACKGROUNDS, COLOURS, LANGUAGES, STYLE_WORDS
from core.training.packages import SOURCES

DATA = Path(__file__).parents[2] / ".data" / "emoji-128"
real = pytest.mark.skipif(
    not (DATA / "pictures.jsonl").exists(), reason="no training data: core.training data makes it"
)


def concept(hexcode: str, label: str, tags: tuple[str, ...] = (), **labels: str) -> dict:
    words = {code: labels.get(code, f"{label} {code}") for code in LANGUAGES} | {"en": label}
    return {"hexcode": hexcode, "label": label, "tags": list(tags), "labels": words}


CAT, DOG = concept("1F408", "cat", ("pet", "kitty"), es="gato"), concept("1F415", "dog", ("pet",), es="perro")
ROWS = [{"hexcode": h, "source": s.id, "style": s.word} for h in ("1F408", "1F415") for s in SOURCES]


def test_every_kind_of_caption_is_drawn_as_often_as_its_share_says() -> None:
    table = caption_table(ROWS, [CAT, DOG])
    kinds = {c.text: c.kind for captions in caption_lists(ROWS[:1], [CAT, DOG]) for c in captions}
    ids = table.sample(np.zeros(40_000, np.int64), np.random.default_rng(0))
    drawn = Counter(kinds[table.texts[i]] for i in ids)
    total = sum(SHARES.values())
    assert all(abs(drawn[kind] / 40_000 - share / total) < 0.01 for kind, share in SHARES.items())
    assert table.texts[Counter(ids.tolist()).most_common(1)[0][0]] == prompt("cat", "3d")


def test_a_picture_is_only_ever_given_its_own_captions() -> None:
    table = caption_table(ROWS, [CAT, DOG])
    rows = np.repeat(np.arange(len(ROWS)), 300)
    for row, i in zip(rows, table.sample(rows, np.random.default_rng(1)), strict=True):
        assert table.texts[i] in table.of(row)


def test_at_the_ends_of_the_range_the_draw_stays_within_its_row() -> None:
    class Ends:
        def __init__(self, value: float) -> None:
            self.value = value

        def random(self, n: int) -> np.ndarray:
            return np.full(n, self.value)

    table = caption_table(ROWS, [CAT, DOG])
    rows = np.arange(len(ROWS))
    for value, place in ((0.0, 0), (np.nextafter(1, 0), -1)):
        assert [table.texts[i] for i in table.sample(rows, Ends(value))] == [table.of(r)[place] for r in rows]


def test_a_caption_for_a_given_background_names_that_one_or_for_white_perhaps_none() -> None:
    table = caption_table(ROWS, [CAT, DOG])
    rng = np.random.default_rng(3)
    white = [name for name, _ in COLOURS].index("white")
    for colour in range(-1, len(COLOURS)):
        rows = rng.integers(len(ROWS), size=500)
        ids = table.sample(rows, rng, np.full(500, colour))
        assert all(table.texts[i] in table.of(r) for r, i in zip(rows, ids, strict=True))
        wanted = {-1, white} if colour in (-1, white) else {colour}
        assert set(table.colour[ids].tolist()) == wanted


def test_drawn_texts_fit_the_background_and_the_dropped_share_is_the_empty_text() -> None:
    table = caption_table(ROWS, [CAT, DOG]).tokenised(lambda texts: torch.tensor([[len(text)] for text in texts]))
    drawn = table.draw(np.zeros(20_000, np.int64), np.full(20_000, 5), np.random.default_rng(0), drop=0.1)
    empty = len(table.texts)
    assert table.tokens is not None and table.tokens[empty].item() == 0
    assert abs((drawn == empty).mean() - 0.1) < 0.01
    assert set(table.colour[drawn[drawn != empty]].tolist()) == {5}


def test_a_caption_names_a_background_exactly_when_it_asks_for_one() -> None:
    table = caption_table(ROWS, [CAT, DOG])
    foreign_words = {word for _, words in BACKGROUNDS.values() for word in words}
    for text, colour in zip(table.texts, table.colour, strict=True):
        english_says = [n for n, (name, _) in enumerate(COLOURS) if f" {name} background" in text]
        foreign_says = [w for w in foreign_words if w in text]
        if colour < 0:
            assert not english_says and "background" not in text
        else:
            said = [words[colour] in text for _, words in BACKGROUNDS.values()]
            assert english_says == [colour] or (foreign_says and any(said))


def test_labels_of_many_languages_and_both_articles_are_captions() -> None:
    texts = set(caption_table(ROWS[:1], [CAT, DOG]).texts)
    assert {"cat", "a cat", "a 3d cat", "gato", "un gato", "una gato", "cat ja", "cat zh"} <= texts
    assert len(LANGUAGES) >= 10 and {"cat " + code for code in STYLE_WORDS if code != "es"} <= texts


def test_a_word_that_names_two_things_is_a_caption_of_neither_unless_it_is_english() -> None:
    cat, rat = concept("1", "cat", fr="rat"), concept("2", "rat", fr="souris", de="Maus")
    mouse = concept("3", "mouse", de="Maus")
    rows = [{"hexcode": h, "source": "flat"} for h in "123"]
    bare = [
        {c.text for c in captions if c.kind == "foreign bare"} for captions in caption_lists(rows, [cat, rat, mouse])
    ]
    assert "rat" not in bare[0] and "souris" in bare[1] and "Maus" not in bare[1] | bare[2]


def test_a_tag_stands_alone_only_if_it_means_one_concept() -> None:
    texts = set(caption_table(ROWS, [CAT, DOG]).texts)
    assert "kitty, flat" in texts and "pet, flat" not in texts


def test_one_caption_is_drawn_from_a_seed() -> None:
    draws = [[caption(ROWS[0], CAT, np.random.default_rng(seed)) for seed in range(30)] for _ in range(2)]
    assert draws[0] == draws[1] and len(set(draws[0])) > 5


@pytest.mark.parametrize(
    ("noun", "expected"),
    [("cat", "a cat"), ("apple", "an apple"), ("unicorn", "a unicorn"), ("grapes", "grapes"), ("cactus", "a cactus"),
     ("face with tears of joy", "a face with tears of joy"), ("popcorn", "popcorn"), ("X-ray", "an X-ray"),
     ("smiling face with sunglasses", "a smiling face with sunglasses"), ("dress", "a dress")],
)  # fmt: skip
def test_a_thing_has_the_english_article_that_it_takes_or_none(noun: str, expected: str) -> None:
    assert with_article(noun, noun) == expected


@real
def test_no_caption_of_a_held_out_pair_is_among_the_training_captions() -> None:
    records = load_records(DATA)
    concepts = load_concepts(DATA, "core")
    chosen = {c["hexcode"]: c for c in concepts}
    table = caption_table([records[i] for i in base_list(records, concepts)], concepts)
    texts = {t.casefold() for t in table.texts}
    held = [r for r in records if r["split"] == "held_out" and r["hexcode"] in chosen]
    for r in held:
        c = chosen[r["hexcode"]]
        assert not [t for t in texts & {prompt(c["labels"][code], r["style"]).casefold() for code in LANGUAGES}]
        labels = {code: c["labels"][code] for code in STYLE_WORDS}
        said = {x.text.casefold() for x in foreign(c, r["source"], labels) if x.kind == "foreign styled"}
        assert not said & texts
    assert len(held) > 150 and len(table.texts) <= 100_000
