"""Weights in prompts: read as other programs write them, and acting on the states of tokens by one formula."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core import Recipe, load_pipeline
from core.emphasis import LEAST, MOST, named_in, plain, said, token_weights
from core.observe import words
from core.pipeline import TextToImage
from tests.core.tiny import write_tiny

# The weight of every word, as the documentation of AUTOMATIC1111 and ComfyUI has it: 1.1 a pair of parentheses, a number after
# a colon instead, brackets the other way, products where they nest, a backslash before a sign that is meant.
WRITTEN = [
    ("a red apple", {"a": 1, "red": 1, "apple": 1}),
    ("a (red:1.3) apple", {"a": 1, "red": 1.3, "apple": 1}),
    ("a (red) apple", {"a": 1, "red": 1.1, "apple": 1}),
    ("a ((red)) apple", {"red": 1.21, "apple": 1}),
    ("a [red] apple", {"red": 1 / 1.1, "apple": 1}),
    ("([red]) apple", {"red": 1, "apple": 1}),
    ("(a (red:1.5) apple:0.5)", {"a": 0.5, "red": 0.75, "apple": 0.5}),
    ("(red apple : 1.25 )", {"red": 1.25, "apple": 1.25}),
    ("(red:0) (apple:.5)", {"red": 0, "apple": 0.5}),
    ("(red:-2) (apple:99)", {"red": LEAST, "apple": MOST}),
    (r"red \(apple\) (cat\):2)", {"red": 1, "(apple)": 1, "cat)": 2}),
    ("red :) apple :(", {"red": 1, ":)": 1, "apple": 1, ":(": 1}),
    ("(red apple", {"(red": 1, "apple": 1}),
    ("red [apple (cat] dog)", {"red": 1, "apple": 1 / 1.1, "(cat": 1 / 1.1, "dog)": 1}),
    ("[red:blue:0.5] [red|blue]", {"[red:blue:0.5]": 1, "[red|blue]": 1}),
    (r"red\apple", {r"red\apple": 1}),
]


@pytest.mark.parametrize(("prompt", "expected"), WRITTEN)
def test_weights_are_read_as_other_programs_write_them(prompt: str, expected: dict[str, float]) -> None:
    one = said(prompt)
    for word, weight in expected.items():
        start = f" {one.text} ".index(f" {word} ")
        assert one.weights[start : start + len(word)] == pytest.approx([weight] * len(word), abs=1e-6)


@given(st.text(st.sampled_from("ab :.1-()[]\\|"), max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_signs_at_all_give_words_with_weights_within_their_range(prompt: str) -> None:
    one = said(prompt)
    assert len(one.weights) == len(one.text) and all(LEAST <= weight <= MOST for weight in one.weights)
    assert len(one.text) <= len(prompt)


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_escaping_every_sign_gives_the_text_itself_without_weights(text: str) -> None:
    escaped = "".join(f"\\{letter}" if letter in "\\()[]" else letter for letter in text)
    assert plain(escaped) == text and not said(escaped).weighted


def test_very_deep_nesting_is_read_in_a_moment_and_held_to_the_range() -> None:
    one = said("(" * 999 + "x" + ")" * 999)
    assert (one.text, one.weights, one.clipped) == ("x", (MOST,), True)


# ------------------------------------------------------------------------------------------------- on the states


def test_a_number_without_end_is_brought_into_range_and_no_weight_is_nan() -> None:
    nines = "9" * 400
    assert set(said(f"(a:{nines})").weights) == {MOST} and said(f"(a:{nines})").clipped
    assert set(said(f"((a:0):{nines})").weights) == set(said(f"((a:{nines}):0)").weights) == {LEAST}
    deep = "(" * 100 + "(a:0)" + ":999999999)" * 100
    assert set(said(deep).weights) == {LEAST}
    assert set(said(f"(a:-{nines})").weights) == {LEAST}


def test_the_longest_name_in_a_prompt_is_found_under_its_weights_commas_and_case() -> None:
    names = ("Apple", "red apple", "pine")
    for prompt in ("a red apple", "(Red apple:1.2), flat", "a ((red) apple)", "red,apple"):
        assert named_in(prompt, names) == "red apple", prompt
    assert named_in("a green apple", names) == "Apple" and named_in("pineapple", names) is None


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> TextToImage:
    return load_pipeline(write_tiny(tmp_path_factory.mktemp("model") / "model"), device="cpu")


def test_a_weight_changes_no_token(pipe: TextToImage) -> None:
    one = said("a (red:1.3) apple")
    assert torch.equal(pipe.tokenizer.encode([one.text]), pipe.tokenizer.encode(["a red apple"]))
    pieces = [piece for piece, _, _ in pipe.tokenizer.pieces(one.text)]
    weights = token_weights(pipe.tokenizer, one)
    heavy = [pieces[i - 1] for i in weights.sub(1).abs().gt(1e-6).nonzero().flatten().tolist()]
    assert "".join(heavy) == "red</w>" and float(weights.max()) == pytest.approx(1.3)


def test_a_weight_of_one_changes_nothing_to_the_bit(pipe: TextToImage) -> None:
    states = pipe.text_states(["a red apple", "a (red:1) apple", "([a]) red (apple:1.0)"])
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])


def test_weights_follow_their_formula_and_leave_every_other_place_alone(pipe: TextToImage) -> None:
    words, empty = pipe.text_states(["a red apple", ""])
    for weight in (0.0, 0.5, 1.3, 2.0):
        (states,) = pipe.text_states([f"a (red:{weight}) apple"])
        w = token_weights(pipe.tokenizer, said(f"a (red:{weight}) apple"))[:, None]
        torch.testing.assert_close(states, (1 - w) * empty + w * words)
        same = (w == 1).flatten()
        assert torch.equal(states[same], words[same]) and not torch.equal(states, words)


def test_at_zero_a_word_leaves_what_the_empty_prompt_has_in_its_place(pipe: TextToImage) -> None:
    states, empty = pipe.text_states(["(red:0)", ""])
    place = token_weights(pipe.tokenizer, said("(red:0)")) == 0
    assert torch.equal(states[place], empty[place])


def test_a_picture_hears_its_weights_and_words_are_watched_without_them(pipe: TextToImage) -> None:
    def last(prompt: str) -> torch.Tensor:
        *_, step = pipe.run(Recipe(prompt=prompt, steps=2, seed=3))
        return step.x_next

    assert torch.equal(last("a red apple"), last("a (red:1) apple"))
    assert not torch.equal(last("a red apple"), last("a (red:2) apple"))
    assert words(pipe.tokenizer, "a (red:2) apple") == words(pipe.tokenizer, "a red apple")


def test_a_weight_out_of_range_is_told(pipe: TextToImage) -> None:
    (note,) = pipe.notes(Recipe(prompt="a (red:50) apple"))
    assert note == "Weights in the prompt count from 0 to 5; those beyond were brought there."
    assert pipe.notes(Recipe(prompt="a (red:2) apple", negative="[cat]")) == []
