"""What the page says a model reads: pieces, ids, weights, what was dropped, and words that no caption had."""

from __future__ import annotations

import pytest

from core.extras import Lexicon
from core.nets.tokenizer import Tokenizer, train_tokenizer
from studio.handlers.words import reading

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
