"""What the page says a model reads: pieces, ids, weights, what was dropped, and words that no caption had; and the examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.extras import Lexicon
from core.nets.tokenizer import Tokenizer, spelled, train_tokenizer
from studio.handlers.words import ANYBODYS, FIRST, examples, reading

SEEN = Lexicon(frozenset(["a", "red", "blue", "apple", "cat", "on", "background"]), complete=True)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    captions = [f"a {colour} {thing}" for colour in ("red", "blue") for thing in ("apple", "cat")]
    return train_tokenizer(captions, 600, tmp_path_factory.mktemp("tokenizer"))


def test_the_pieces_are_those_that_the_network_gets_with_their_weights(tokenizer: Tokenizer) -> None:
    prompt = "A (Red:1.3) zebra"
    view = reading(tokenizer, SEEN, prompt)
    row = tokenizer.encode(["A Red zebra"])[0].tolist()
    ids = [view["begin"], *(one["id"] for one in view["pieces"]), view["end"], *[view["pad"]] * view["pads"]]
    assert ids == row and len(ids) == view["length"]
    assert "".join(one["text"] for one in view["pieces"]) == "ARedzebra"
    assert {one["text"]: one["weight"] for one in view["pieces"]} | {"A": 1, "Red": 1.3} == {
        one["text"]: one["weight"] for one in view["pieces"]
    }
    words = "".join(f"{'' if one['joined'] else ' '}{one['text']}" for one in view["pieces"])
    assert words == " A Red zebra" and view["weighted"] and not view["clipped"]


def test_a_letter_of_several_bytes_is_shown_once(tokenizer: Tokenizer) -> None:
    texts = [one["text"] for one in reading(tokenizer, SEEN, "a 👩 b")["pieces"]]
    assert texts.count("👩") == 1 and set(texts) == {"a", "👩", "…", "b"}


def test_what_does_not_fit_is_marked_and_named(tokenizer: Tokenizer) -> None:
    view = reading(tokenizer, SEEN, "cat " * 76 + "red apple")
    lost = [one["text"] for one in view["pieces"] if one["lost"]]
    assert lost == ["cat", "red", "apple"] and view["dropped"] == "cat red apple" and view["pads"] == 0 and view["count"] == 78
    assert len(reading(tokenizer, SEEN, "x " * 1000)["pieces"]) < 200


def test_a_word_that_no_caption_has_is_named_as_such(tokenizer: Tokenizer) -> None:
    view = reading(tokenizer, SEEN, "a red (xylophone:2), XYLOPHONE on a blue background 3 !")
    assert view["unseen"] == ["xylophone"] and view["complete"] and view["known"] == 7
    assert reading(tokenizer, Lexicon(frozenset(), False), "a zebra")["unseen"] == []


@pytest.mark.parametrize("prompt", ["", "   ", "()", "\u200d", "<img src=x onerror=alert(1)>${a}{{b}}", "قطة 猫 ❤️"])
def test_any_prompt_can_be_read(tokenizer: Tokenizer, prompt: str) -> None:
    view = reading(tokenizer, SEEN, prompt)
    assert view["count"] == len(view["pieces"])


# ------------------------------------------------------------------------------------------------- examples


def vocabulary(held: tuple[tuple[str, str], ...] = ()) -> dict:
    labels = [*FIRST[:3], "anvil"]
    return {
        "concepts": [{"hexcode": str(index), "label": label} for index, label in enumerate(labels)],
        "styles": [{"word": word} for word in ("3d", "flat")], "colours": ["blue"],
        "held_out": [{"hexcode": code, "style": style} for code, style in held],
    }  # fmt: skip


def test_examples_are_pairs_that_were_trained_on_in_the_usual_form() -> None:
    made = examples(vocabulary(), SEEN)
    assert made[:3] == [f"{FIRST[0]}, 3d", f"{FIRST[1]}, flat", f"{FIRST[2]}, 3d"] and made[3].startswith("anvil, flat")
    held = examples(vocabulary((("1", "flat"), ("2", "3d"))), SEEN)
    assert f"{FIRST[1]}, flat" not in held and f"{FIRST[2]}, 3d" not in held


def test_an_example_in_another_language_needs_a_model_that_learnt_it() -> None:
    learnt = Lexicon(frozenset(["una", "casa"]), complete=True)
    assert "una casa" in examples(vocabulary(), learnt) and "una casa" not in examples(vocabulary(), SEEN)


def test_a_model_without_a_vocabulary_gets_everybodys_examples() -> None:
    assert examples({}, Lexicon(frozenset(), False)) == ANYBODYS


def test_the_embedded_models_examples_are_among_its_training_pictures() -> None:
    from core.pipeline import EMBEDDED
    from core.training.art import read_jsonl


    listed = json.loads(Path(EMBEDDED / "vocabulary.json").read_text(encoding="utf-8"))
    trained = {f"{one['label']}, {one['style']}" for one in read_jsonl(EMBEDDED / "provenance.jsonl")}
    words = frozenset(Path(EMBEDDED / "words.txt").read_text(encoding="utf-8").split())
    made = examples(listed, Lexicon(words, complete=True))
    assert len(made) >= 6
    for text in made:
        assert text.removesuffix(", on a blue background") in trained or set(spelled(text)) <= words
