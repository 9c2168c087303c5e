"""What a tab states about its widgets, and what follows: links there and back, what a browser kept, what is legal."""

from dataclasses import replace
from urllib.parse import parse_qsl

import gradio as gr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.recipe import MAX_SEED, Recipe
from core.sampling import SAMPLERS
from studio.formats.links import from_query, reachable, to_run
from studio.widgets import controls
from studio.widgets.settings import Settings, fitting, held, marked


@pytest.fixture(scope="module")
def settings() -> Settings:
    """A tab with something of everything; its own beginning differs from Recipe's defaults."""
    with gr.Blocks():
        prompt, negative = controls.prompt_box(), controls.negative_box()
        prompt.value = "red apple, flat"
        steps = controls.number_slider("steps", "Steps", most=50)
        steps.value = 12
        gamma, _ = controls.gamma_slider()
        fields = {"prompt": prompt, "negative": negative, "steps": steps, "gamma": gamma, "seed": controls.seed_box()}
        fields["spacing"] = controls.spacing_choice("trailing")
        sampler = controls.sampler_widgets()
        view = {
            "quantity": gr.Radio([("a", "alpha"), ("b", "beta")], value="alpha"),
            "rows": gr.Radio([("few", 100), ("all", 1000)], value=1000),
            "names": gr.CheckboxGroup(["x", "y", "z"], value=["x"]),
            "zero": gr.Checkbox(False),
            "t": gr.Slider(0, 999, 300, step=1),
            "low": gr.Number(0.3, minimum=0),
        }
        with gr.Tabs() as pages:
            for name in ("one", "two"):
                gr.Tab(name, id=name)
        return Settings(fields, sampler, view, gr.State({}), pages)


def read(query: str):
    return from_query(dict(parse_qsl(query, keep_blank_values=True)))


def there_and_back(settings: Settings, values: dict) -> dict:
    query = settings.query(values, tab="here")
    again, _, odd = settings.of_link(read(query))
    assert not odd and not read(query).notice
    return again


def test_a_tab_as_it_begins_is_a_link_without_values(settings: Settings) -> None:
    assert settings.query(settings.initial, tab="here") == "v=1&tab=here"
    assert there_and_back(settings, settings.initial) == settings.initial


def test_the_link_to_a_picture_that_was_made_brings_the_seed_it_drew_and_the_branch_made_on_the_page(settings: Settings) -> None:
    made = Recipe(prompt="red apple, flat", steps=12, sampler=settings.initial["sampler"], seed=1234,
                  branch={"step": 5, "changes": {"gamma": 0.0}})  # fmt: skip
    told = read(settings.query(settings.initial, made=made.to_json(), tab="here")).recipe
    assert told.seed == 1234 and told.branch == made.branch and "steps" not in settings.query(settings.initial, made=made.to_json())
    since = settings.initial | {"prompt": "something else"}  # no longer what the picture shows
    assert read(settings.query(since, made=made.to_json())).recipe == read(settings.query(since)).recipe
    shorter = settings.initial | {"steps": 4}  # the branch at step 5 would lie behind its end
    assert read(settings.query(shorter, made=made.to_json())).recipe.branch is None
    own = settings.initial | {"seed": "7"}
    assert read(settings.query(own, made=made.to_json())).recipe.seed == 7


def test_what_a_tab_begins_with_counts_and_not_recipes_default(settings: Settings) -> None:
    assert "steps=20" in settings.query(settings.initial | {"steps": 20}, tab="here")
    assert settings.of_link(read("v=1&tab=here&gamma=6"))[0] == settings.initial | {"gamma": 6.0}


VALUES = st.fixed_dictionaries(
    {
        "prompt": st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=30),
        "steps": st.integers(1, 1000),
        "gamma": st.floats(-1, 49).map(lambda gamma: round(gamma, 3)),
        "seed": st.integers(0, MAX_SEED).map(str),
        "spacing": st.sampled_from([controls.MODELS_OWN, "karras", "trailing"]),
        "sampler": st.sampled_from(sorted(SAMPLERS)),
        "view.quantity": st.sampled_from(["alpha", "beta"]),
        "view.rows": st.sampled_from([100, 1000]),
        "view.names": st.lists(st.sampled_from(["x", "y", "z"]), unique=True),
        "view.zero": st.booleans(),
        "view.t": st.integers(0, 999),
        "view.low": st.floats(0, 9).map(lambda low: round(low, 2)),
    }
)


@given(VALUES)
def test_any_state_survives_a_link(settings: Settings, values: dict) -> None:
    assert there_and_back(settings, settings.initial | values) == settings.initial | values


def test_the_knobs_of_the_chosen_sampler_survive_a_link(settings: Settings) -> None:
    values = settings.initial | {"sampler": "ddim", "knob.ddim.eta": 0.5}
    assert "sampler=ddim&knob.eta=0.5" in settings.query(values)
    assert there_and_back(settings, values) == values


def test_seed_zero_is_a_seed_like_any_other(settings: Settings) -> None:
    assert there_and_back(settings, settings.initial | {"seed": "0"})["seed"] == "0"
    assert settings.of_link(read(to_run(Recipe(prompt="a cat"), "here")))[0]["seed"] == "0"


def test_the_page_within_a_tab_is_in_the_link_unless_it_is_the_first(settings: Settings) -> None:
    assert "view.page=two" in settings.query(settings.initial, page="two")
    assert "view" not in settings.query(settings.initial, page="one")
    assert settings.of_link(read("view.page=two"))[2] == [] and settings.of_link(read("view.page=odd"))[2] == ["view.page"]


def test_a_link_names_what_the_tab_cannot_show_and_keeps_what_needs_no_widget(settings: Settings) -> None:
    values, rest, odd = settings.of_link(read("rng=cpu&width=64&image=0123456789abcdef&view.t=5000&view.quantity=x&view.new=1"))
    assert rest == {"rng": "cpu", "width": 64} and odd == ["image", "view.t", "view.quantity", "view.new"]
    assert values == settings.initial
    assert "rng=cpu" in settings.query(values, rest=rest)


def test_what_no_recipe_may_have_is_refused_in_a_sentence(settings: Settings) -> None:
    with pytest.raises(UserError, match="seed is 'eleven'"):
        settings.query(settings.initial | {"seed": "eleven"})


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=4))
def test_whatever_a_browser_kept_every_widget_gets_what_it_can_hold(settings: Settings, junk) -> None:
    found = settings.restored(dict.fromkeys(settings.widgets, junk))
    for name, widget in settings.widgets.items():
        own = name if name in settings.fields else ""
        assert found[name] == settings.initial[name] or fitting(widget, found[name], None, own) is not None
    assert settings.restored(junk) == settings.initial


def test_what_was_kept_comes_back(settings: Settings) -> None:
    kept = {"prompt": "a cat", "steps": 33, "view.names": ["y"], "knob.ddim.eta": 0.25}
    assert settings.restored(kept) == settings.initial | kept


@pytest.mark.parametrize("rest", [
    {}, {"sigmas": (9.0, 3.0, 0.0)}, {"width": 64, "height": 32, "rng": "cpu"}, {"width": 2048, "height": 2048},
    {"guidance": {"interval": (0.3, 5.0), "rescale": 0.7}}, {"schedule": "cosine", "end": "first", "tier": "fast"},
    {"branch": {"step": 700, "changes": {"gamma": 0.0}}},
])  # fmt: skip
def test_what_no_widget_holds_comes_back_too_where_the_browser_keeps_it(settings: Settings, rest: dict) -> None:
    keeping = replace(settings, kept=gr.Textbox("", render=False))
    found = keeping.recalled(keeping.restored({"rest": held(rest)}))
    steps = 2 if "sigmas" in rest else 701 if "branch" in rest else 1
    assert Recipe(prompt="", steps=steps, **found) == Recipe(prompt="", steps=steps, **rest) and found.keys() == rest.keys()
    for junk in ("rng=gpu&width=7&steps=NaN", "<img src=x>", "v=8", "view.t=5&image=0123456789abcdef"):
        assert keeping.recalled({"rest": junk}) == {}
    values, told, _ = keeping.of_link(read("rng=cpu"))
    assert keeping.recalled(values) == told == {"rng": "cpu"}


def test_a_slider_reaches_as_far_as_its_value_and_back_again(settings: Settings) -> None:
    at = list(settings.widgets).index("steps")
    assert settings.updates(settings.initial | {"steps": 200}, fresh=True)[at]["maximum"] == 200
    assert settings.updates(settings.initial, fresh=False)[at]["maximum"] == 50


def test_every_widget_has_the_class_by_which_it_is_hidden(settings: Settings) -> None:
    marked([settings])
    assert "set-seed" in settings.fields["seed"].elem_classes and "set-quantity" in settings.view["quantity"].elem_classes
    assert all("set-knobs" in slider.elem_classes for slider in settings.sampler.knobs.values())
    assert {"seed", "sampler", "knobs", "quantity"} <= set(settings.names)


def test_others_are_told_an_address_that_they_can_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio.formats.links.local_network", lambda: "192.168.1.5")
    assert reachable("http://127.0.0.1:7860/", "0.0.0.0") == "http://192.168.1.5:7860/"
    assert reachable("http://localhost:7860/studio/", "0.0.0.0") == "http://192.168.1.5:7860/studio/"
    assert reachable("http://127.0.0.1:7860/", "127.0.0.1") == "http://127.0.0.1:7860/"  # nobody else gets in
    assert reachable("https://lab.example/studio/", "0.0.0.0") == "https://lab.example/studio/"  # behind a proxy
    assert reachable("http://127.0.0.1:7860/", "127.0.0.1", "https://x.gradio.live") == "https://x.gradio.live"
    monkeypatch.setattr("studio.formats.links.local_network", lambda: None)
    assert reachable("http://127.0.0.1:7860/", "0.0.0.0") == "http://127.0.0.1:7860/"
