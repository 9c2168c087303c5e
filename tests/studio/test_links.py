"""Links: a recipe survives the query, and whatever a query says, the page opens."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.recipe import MAX_SEED, Branch, Guidance, Recipe, clean_text
from core.sampling import SAMPLERS
from studio.formats.links import from_query, to_query


def read(query: str):
    return from_query(dict(parse_qsl(query, keep_blank_values=True)))


def test_a_link_is_versioned_ordered_and_leaves_the_defaults_out():
    assert to_query(Recipe(prompt="a cat")) == "v=1&prompt=a+cat"
    recipe = Recipe(prompt="a & b=c", seed=42, gamma=6, sampler="ddim", knobs={"eta": 0.5})
    assert to_query(recipe, tab="guidance", hide="seed,negative", lesson="3") == (
        "v=1&tab=guidance&hide=seed%2Cnegative&lesson=3&prompt=a+%26+b%3Dc&sampler=ddim&knob.eta=0.5&gamma=6&seed=42"
    )


RECIPES = st.builds(
    Recipe,
    prompt=st.text(max_size=40).map(clean_text),
    negative=st.text(max_size=20).map(clean_text),
    sampler=st.sampled_from(sorted(SAMPLERS)),
    spacing=st.none() | st.sampled_from(["karras", "trailing"]),
    steps=st.integers(4, 1000),
    gamma=st.floats(-1, 49),
    seed=st.integers(0, MAX_SEED),
    batch=st.integers(1, 4),
    rng=st.sampled_from(["nv", "cpu"]),
    width=st.none() | st.just(64),
    image=st.none() | st.just("0123456789abcdef"),
    strength=st.floats(0, 1),
    guidance=st.builds(Guidance, rescale=st.floats(0, 1), interval=st.none() | st.just((0.25, 5.0))),
    branch=st.none() | st.just(Branch(step=3, changes={"prompt": "a dog", "gamma": 2})),
)


@given(RECIPES)
@settings(max_examples=100, deadline=None)
def test_a_link_and_back_is_the_same_recipe(recipe):
    link = read(to_query(recipe, tab="prompt"))
    assert link.recipe == recipe and link.notice == "" and dict(link.places) == {"tab": "prompt"}


def test_ones_own_levels_survive():
    recipe = Recipe(prompt="", sigmas=(14.61, 2.5, 0.03, 0.0))
    assert read(to_query(recipe)).recipe == recipe


def test_every_broken_field_is_ignored_with_one_notice():
    query = {
        "v": "1",
        "prompt": "a cat",
        "negative": "x" * 3000,
        "sampler": "<script>",
        "knob.eta": "NaN",
        "steps": "-1",
        "gamma": "inf",
        "seed": "18446744073709551616",
        "batch": "1.5",
        "width": "7",
        "rng": "gpu",
        "sigmas": "1,2,x",
        "guidance.rescale": "9",
        "branch": "[[[",
        "image": "../../etc",
        "knobs": "{}",
        "nonsense": "1",
        "tier": "",
        "guidance.kind": "${x}",
        "__theme": "dark",
    }
    link = from_query(query)
    assert link.recipe == Recipe(prompt="a cat")
    assert link.notice.count("\n") == 0 and all(
        name in link.notice for name in ("steps", "sampler", "gamma", "seed", "nonsense", "branch", "sigmas", "image")
    )


def test_another_version_of_link_is_read_as_far_as_it_goes():
    link = from_query({"v": "7", "prompt": "a cat", "steps": "12"})
    assert link.recipe == Recipe(prompt="a cat", steps=12) and "another version" in link.notice


def test_a_link_says_which_fields_it_set():
    assert from_query({"steps": "12"}).given == {"steps"} and from_query({}).given == frozenset()


@given(st.dictionaries(st.sampled_from([*Recipe.model_fields, "knob.eta", "guidance.rescale", "v", "tab"]), st.text()))
@settings(max_examples=150, deadline=None)
def test_any_query_gives_a_recipe(query):
    assert isinstance(from_query(query).recipe, Recipe)


@pytest.mark.parametrize("name", ["steps", "prompt", "knob.eta", "branch", "sigmas"])
def test_a_value_without_end_is_not_read(name):
    assert name.partition(".")[0] in from_query({name: "9" * 10**6}).notice
