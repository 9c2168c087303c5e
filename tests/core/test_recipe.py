"""Recipe: every bad field gets a sentence, every good one survives JSON, and equal runs are equal."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.recipe import BUDGET, MAX_SEED, Branch, Guidance, Recipe, allowed, clean_text, cleaned, draw_seed, faults
from core.sampling import SAMPLERS

NAN, INF = float("nan"), float("inf")

BAD = [
    ("steps", 0, "steps is 0", "1 to 1000"),
    ("steps", -1, "steps is -1", "1 to 1000"),
    ("steps", 1.5, "steps is 1.5", "whole number from 1 to 1000"),
    ("steps", NAN, "steps is NaN", "whole number"),
    ("steps", INF, "steps is infinity", "whole number"),
    ("steps", 1e9, "steps is 1000000000", "1 to 1000"),
    ("steps", "5", "steps is '5'", "whole number"),
    ("steps", None, "steps is nothing", "whole number"),
    ("steps", True, "steps is True", "whole number"),
    ("gamma", NAN, "gamma is NaN", "from -1 to 49"),
    ("gamma", -5, "gamma is -5", "from -1 to 49"),
    ("gamma", 1e6, "gamma is 1e+06", "from -1 to 49"),
    ("gamma", "7", "gamma is '7'", "a number"),
    ("seed", -1, "seed is -1", "from 0 to 18446744073709551615"),
    ("seed", 2**64, "seed is 18446744073709551616", "from 0 to 18446744073709551615"),
    ("seed", 1.5, "seed is 1.5", "whole number"),
    ("batch", 0, "batch is 0", "1 to 64"),
    ("batch", 1000, "batch is 1000", "1 to 64"),
    ("width", 7, "width is 7", "multiple of 8 from 16 to 2048"),
    ("width", 100, "width is 100", "multiple of 8"),
    ("height", 9999, "height is 9999", "multiple of 8"),
    ("strength", 1.1, "strength is 1.1", "from 0 to 1"),
    ("sampler", "eular", "sampler is 'eular'", "one of"),
    ("sampler", 7, "sampler is 7", "text"),
    ("spacing", "carras", "spacing is 'carras'", "one of"),
    ("schedule", "", "schedule is ''", "one of"),
    ("end", "nowhere", "end is 'nowhere'", "one of"),
    ("rng", "gpu", "rng is 'gpu'", "one of nv, cpu"),
    ("tier", "slow", "tier is 'slow'", "one of exact, fast"),
    ("sigmas", (1.0, 2.0), "sigmas is (1.0, 2.0)", "falling"),
    ("sigmas", (1.0, NAN), "sigmas is NaN", "number"),
    ("sigmas", (1.0,), "sigmas is (1.0,)", "2 to 1001"),
    ("image", "../../etc/passwd", "image is '../../etc/passwd'", "digest"),
    ("mask", "0123456789abcdef", "mask is given without an image", "give the picture"),
    ("prompt", "x" * 2001, "2,001 characters", "2,000"),
    ("prompt", "x" * 1_000_000, "1,000,000 characters", "2,000"),
    ("prompt", 5, "prompt is 5", "text"),
    ("prompt", {"a": 1}, "prompt is {'a': 1}", "text"),
    ("prompt", "a\0 cat", "prompt is 'a\\x00 cat'", "without NUL"),
    ("negative", "cat \ud83d", "negative is 'cat \\ud83d'", "without halves of surrogate pairs"),
    ("negative", "y" * 2001, "negative", "2,000"),
    ("model", "m" * 201, "model is 'mmm", "at most 200 characters"),
    ("knobs", {"warp": 1}, "knobs is {'warp': 1}", "warp"),
    ("knobs", [1], "knobs is [1]", "table"),
    ("guidance", {"kind": "magic"}, "guidance.kind is 'magic'", "classifier_free, classifier"),
    ("guidance", {"rescale": 2}, "guidance.rescale is 2", "from 0 to 1"),
    ("guidance", {"interval": (3, 1)}, "guidance.interval is (3, 1)", "low < high"),
    ("branch", {"step": 20, "changes": {}}, "branch.step is 20", "less than steps (20)"),
    ("branch", {"step": 0, "changes": {}}, "branch.step is 0", "1 or more"),
    ("branch", {"step": 3, "changes": {"seed": 4}}, "'seed' cannot change", "prompt"),
    ("branch", {"step": 3, "changes": {"gamma": 99}}, "gamma is 99", "from -1 to 49"),
    ("stepz", 3, "'stepz' is no field", "did you mean 'steps'"),
    ("__class__", 3, "'__class__' is no field", "prompt"),
    ("self", 3, "'self' is no field", "prompt"),
    ("\ud800", 3, "'\\ud800' is no field", "prompt"),
    ("guidance", {"\ud800": 1}, "'guidance.\\ud800' is no field", "guidance"),
    ("branch", {"step": 3, "changes": {"sampler": ["x"]}}, "sampler is ['x']", "text"),
    ("branch", {"step": 3, "changes": {"guidance": {"kinds": 1}}}, "'guidance.kinds' is no field", "did you mean"),
]


@pytest.mark.parametrize(("field", "value", "says", "allows"), BAD, ids=[ascii(f"{b[0]}={str(b[1])[:20]}") for b in BAD])
def test_a_bad_field_gets_a_sentence_that_names_it_its_value_and_what_is_allowed(field, value, says, allows):
    with pytest.raises(UserError) as caught:
        Recipe(**{"prompt": "a cat", field: value})
    sentence = str(caught.value)
    assert says in sentence and allows in sentence, sentence
    assert sentence.endswith((".", "?")) and not sentence.endswith("?.") and len(sentence) < 500 and "\n" not in sentence
    assert field in faults({"prompt": "a cat", field: value})


def test_only_the_prompt_has_no_default():
    with pytest.raises(UserError, match="prompt is missing"):
        Recipe()
    recipe = Recipe(prompt="a red apple")
    assert (recipe.sampler, recipe.steps, recipe.gamma, recipe.cfg_scale) == ("dpmpp_2m", 20, 4.0, 5.0)
    assert recipe.schedule is recipe.spacing is recipe.end is recipe.width is recipe.height is None


def test_an_empty_prompt_is_valid():
    assert Recipe(prompt="").prompt == ""


def test_text_keeps_what_is_read_and_loses_what_is_not():
    assert clean_text("a\0 c\x07at\x9f \u202ebackwards\u202c\ud800 \ufeff") == "a cat backwards"
    assert Recipe(prompt="a c\x07at\x9f \u202ebackwards\u202c \ufeff").prompt == "a cat backwards"
    for same in ("a ❤️ cat 👩‍🚀", "قطة حمراء", "猫と犬", "nin\u0303o", "two\nlines", "$" + "{x} {{y}} <b>&amp;"):
        assert clean_text(same) == same
    assert clean_text(" a\r\nb\rc\u2028d\t ") == "a\nb\nc\nd"
    assert clean_text("\ud83d\ude00") == "😀"  # two halves make a whole


@given(st.text(st.characters(codec=None), max_size=200))
@settings(max_examples=200, deadline=None)
def test_cleaned_text_is_utf8_and_stays_as_it_is(text):
    once = clean_text(text)
    once.encode("utf-8")
    assert clean_text(once) == once and "\0" not in once


def test_whole_numbers_may_come_as_floats_or_from_numpy():
    assert Recipe(prompt="", steps=20.0).steps == 20 and Recipe(prompt="", seed=np.int64(7)).seed == 7
    assert type(Recipe(prompt="", steps=np.int64(7)).steps) is int and Recipe(prompt="", seed=MAX_SEED).seed == MAX_SEED


def test_a_million_million_pixels_are_refused():
    with pytest.raises(UserError, match="batch is 4,194,304,000; it may be at most 1,048,576,000"):
        Recipe(prompt="", steps=1000, width=2048, height=2048)
    assert BUDGET == 1000 * 512 * 512 * 4 and Recipe(prompt="", steps=1000, width=512, height=512, batch=4)


def test_knobs_are_those_of_the_sampler_within_its_ranges():
    entry = next(entry for entry in SAMPLERS.values() if entry.knobs)
    knob = entry.knobs[0]
    assert Recipe(prompt="", sampler=entry.id, knobs={knob.name: knob.default}).knobs == {}  # equal runs are equal
    for value in (knob.high + 1, knob.low - 1, NAN, "1", True, None):
        with pytest.raises(UserError, match=f"{knob.name} must be a number from"):
            Recipe(prompt="", sampler=entry.id, knobs={knob.name: value})


def test_a_new_sampler_drops_the_knobs_it_does_not_have():
    recipe = Recipe(prompt="", sampler="ddim", knobs={"eta": 0.5})
    assert recipe.replace(sampler="euler").knobs == {} and recipe.replace(gamma=1).knobs == {"eta": 0.5}
    with pytest.raises(UserError, match="sampler is 'none'"):
        recipe.replace(sampler="none")


def test_ones_own_levels_decide_the_number_of_steps():
    recipe = Recipe(prompt="", sigmas=(14.6, 3.0, 0.5, 0.0))
    assert recipe.steps == 3
    assert recipe.replace(steps=10).sigmas is None and recipe.replace(gamma=0).sigmas == recipe.sigmas


def test_replace_checks_anew_and_leaves_the_original_alone():
    recipe = Recipe(prompt="a cat", seed=7)
    assert recipe.replace(seed=8).prompt == "a cat" and recipe.seed == 7
    with pytest.raises(UserError, match="steps is 0"):
        recipe.replace(steps=0)
    with pytest.raises(ValueError):
        recipe.seed = 9


def test_a_branch_is_the_recipe_with_its_changes():
    recipe = Recipe(prompt="a cat", branch={"step": 8, "changes": {"prompt": "a dog", "sampler": "euler"}})
    assert recipe.branched == Recipe(prompt="a dog", sampler="euler") and recipe.branch == Branch(
        step=8, changes={"prompt": "a dog", "sampler": "euler"})


def test_the_words_of_a_branch_are_cleaned_as_those_of_a_recipe():
    changes = {"prompt": " a\0 dog\ud800", "negative": "x\u202e"}
    with pytest.raises(UserError, match=r"branch.changes is .* without NUL"):
        Recipe(prompt="a cat", branch={"step": 3, "changes": changes})
    hostile = Recipe(**cleaned({"prompt": "a\0 cat", "branch": {"step": 3, "changes": changes}, "steps": 20}))
    assert hostile == Recipe(prompt="a cat", branch={"step": 3, "changes": {"prompt": "a dog", "negative": "x"}})
    assert Recipe.from_json(hostile.to_json()) == hostile and hostile.digest


def test_equal_recipes_have_equal_digests_and_others_do_not():
    one, two = Recipe(prompt="a cat", steps=20), Recipe(prompt=" a cat\x07", gamma=4, knobs={})
    assert one == two and one.digest == two.digest and hash(one) == hash(two)
    changes = [{"seed": 1}, {"negative": "x"}, {"steps": 21}, {"guidance": Guidance(rescale=0.1)}, {"rng": "cpu"}]
    assert len({one.digest, *(one.replace(**change).digest for change in changes)}) == 6


def test_short_json_leaves_the_defaults_out():
    assert Recipe(prompt="a cat").to_json() == '{"prompt":"a cat"}'
    assert json.loads(Recipe(prompt="", seed=3, gamma=6).to_json()) == {"prompt": "", "seed": 3, "gamma": 6.0}
    assert set(json.loads(Recipe(prompt="").to_json(whole=True))) == set(Recipe.model_fields)


@pytest.mark.parametrize("text", ["", "[]", "3", "{", '"a"', "[" * 100_000, '{"steps": 3}', '{"prompt": NaN}'])
def test_broken_json_gets_a_sentence(text):
    with pytest.raises(UserError):
        Recipe.from_json(text)


RECIPES = st.builds(
    Recipe, prompt=st.text(max_size=50).map(clean_text), negative=st.text(max_size=20).map(clean_text),
    sampler=st.sampled_from(sorted(SAMPLERS)),
    steps=st.integers(1, 1000), gamma=st.floats(-1, 49), seed=st.integers(0, MAX_SEED), batch=st.integers(1, 4),
    width=st.none() | st.integers(2, 64).map(lambda n: 8 * n), rng=st.sampled_from(["nv", "cpu"]),
    guidance=st.builds(Guidance, rescale=st.floats(0, 1), interval=st.none() | st.just((0.1, 5.0))))


@given(RECIPES)
@settings(max_examples=100, deadline=None)
def test_json_and_back_is_the_same_recipe(recipe):
    for whole in (False, True):
        again = Recipe.from_json(recipe.to_json(whole))
        assert again == recipe and again.digest == recipe.digest


def test_several_faults_are_all_found():
    assert set(faults({"prompt": 3, "steps": 0, "sampler": "none", "hue": 1})) == {"prompt", "steps", "sampler", "hue"}
    too_much = {"steps": 1000, "width": 2048, "height": 2048, "batch": 4}
    assert set(faults({"prompt": "", **too_much})) == set(too_much)
    assert faults({"prompt": ""}) == {}


def test_widgets_can_ask_what_a_field_may_be():
    assert (allowed("steps")["minimum"], allowed("steps")["maximum"], allowed("width")["multipleOf"]) == (1, 1000, 8)
    assert allowed("guidance.rescale")["maximum"] == 1 and allowed("rng")["enum"] == ["nv", "cpu"]
    assert all(allowed(name)["description"] for name in Recipe.model_fields)


def test_drawn_seeds_are_valid_and_differ():
    seeds = {draw_seed() for _ in range(20)}
    assert len(seeds) > 15 and all(Recipe(prompt="", seed=seed).seed < 2**32 for seed in seeds)
