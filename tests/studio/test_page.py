"""What a page opens with: the link's tab by the link, the rest as it was kept, and one notice about what could not be used."""

import warnings
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from studio.widgets import controls
from studio.widgets.page import MOST_CODED, Page, begun, coded, head
from studio.widgets.settings import Settings

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page() -> Page:
    """Two tabs: one with a recipe and fields without widgets, one with pages of its own."""
    with gr.Blocks():
        steps = controls.number_slider("steps", "Steps", most=100)
        fields = {"prompt": controls.prompt_box(), "steps": steps, "seed": controls.seed_box()}
        with gr.Tabs() as pages:
            for name in ("curves", "levels"):
                gr.Tab(name, id=name)
        view = {"quantity": gr.Radio(["alpha", "beta"], value="alpha")}
        return Page("emoji-128", {"prompt": Settings(fields, rest=gr.State({})), "schedules": Settings(view=view, pages=pages)})


def opened(page: Page, query: dict[str, str], kept: Any = None) -> tuple[dict[str, Any], str]:
    """What stands in the widgets by name, the selected tab and page, `rest`; and the notice."""
    request: Any = SimpleNamespace(query_params=query)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        tabs, pages, _dock, _words, rest, *widgets = page.open(request, kept)
    begin = [value for one in page.settings.values() for value in one.initial.values()]
    found = {name: update.get("value", first) for name, update, first in zip(page.names, widgets, begin, strict=True)}
    found |= {"tab": getattr(tabs, "selected", "prompt"), "page": getattr(pages, "selected", None), "rest": rest}
    notices = [str(one.message) for one in told]
    assert len(notices) <= 1
    return found, "".join(notices)


BEGIN = {"prompt.prompt": "", "prompt.steps": 20, "prompt.seed": "-1", "schedules.view.quantity": "alpha"}
KEPT = {"settings": {"prompt.prompt": "a dog", "prompt.steps": 9, "schedules.view.quantity": "beta"}}


def test_the_plain_address_opens_the_first_tab_as_it_was_kept(page: Page) -> None:
    found, notice = opened(page, {}, KEPT)
    assert found["prompt.prompt"] == "a dog" and found["prompt.steps"] == 9 and found["schedules.view.quantity"] == "beta"
    assert (found["tab"], notice) == ("prompt", "")


def test_a_link_decides_its_own_tab_and_leaves_the_others_as_they_were_kept(page: Page) -> None:
    found, _ = opened(page, {"v": "1", "steps": "5"}, KEPT)
    assert found["prompt.prompt"] == "" and found["prompt.steps"] == 5  # the same link is the same page for everybody
    assert found["schedules.view.quantity"] == "beta"


def test_a_link_that_only_names_a_tab_changes_nothing_else(page: Page) -> None:
    found, notice = opened(page, {"tab": "schedules", "view.page": "levels"}, KEPT)
    assert (found["tab"], found["page"], notice) == ("schedules", "levels", "")
    assert opened(page, {"tab": "schedules"}, KEPT)[0]["schedules.view.quantity"] == "beta"


@pytest.mark.parametrize(("place", "tab"), [("1.3", "denoise"), ("2.4", "schedules"), ("3.3", "samplers"), ("4.2", "guidance")])
def test_a_link_to_a_step_of_a_lesson_opens_the_tab_that_it_speaks_of(place: str, tab: str) -> None:
    assert begun({"lesson": place}) | {"lesson": place, "tab": tab} == begun({"lesson": place})
    for query in ({"lesson": place, "tab": "schedules"}, {"lesson": "9.9"}, {"prompt": "a cat"}):
        assert begun(query) == query


def test_a_reload_brings_back_what_was_changed_since_the_link_was_opened(page: Page) -> None:
    kept = KEPT | {"again": True, "place": ["schedules", "levels"]}
    found, _ = opened(page, {"v": "1", "steps": "5", "rng": "cpu"}, kept)
    assert found["prompt.steps"] == 9 and (found["tab"], found["page"]) == ("schedules", "levels")
    assert found["rest"] == {"rng": "cpu"}  # no widget holds it, so the link still does


def test_what_has_no_control_is_kept_where_the_page_shows_it_and_no_notice_repeats_it(page: Page) -> None:
    shown = replace(page.settings["prompt"], kept=gr.Textbox("", render=False))
    showing = replace(page, settings=page.settings | {"prompt": shown})
    kept = KEPT | {"settings": {"prompt.rest": "v=1&width=64"}}
    assert opened(showing, {}, kept)[0]["rest"] == {"width": 64} and opened(showing, {}, kept)[1] == ""
    assert opened(showing, {"rng": "cpu"}, kept)[0]["rest"] == {"rng": "cpu"}  # a link decides
    assert opened(showing, {"rng": "cpu"}, kept | {"again": True, "place": ["prompt"]})[0]["rest"] == {"width": 64}
    assert opened(showing, {"rng": "cpu"}, KEPT | {"settings": {}, "again": True, "place": ["prompt"]})[0]["rest"] == {}  # cleared


def test_reset_sets_every_widget_as_a_fresh_page_would_have_it(page: Page) -> None:
    request: Any = SimpleNamespace(query_params={"steps": "5"})
    updates = page.open(request, KEPT | {"settings": {}, "reset": True})[5:]
    assert [update["value"] for update in updates] == ["", 5, "-1", "alpha"]


def test_a_fresh_page_leaves_alone_whatever_begins_as_it_should(page: Page) -> None:
    request: Any = SimpleNamespace(query_params={"steps": "5"})
    updates = page.open(request, {})
    assert [("value" in update) for update in updates[5:]] == [False, True, False, False]
    assert updates[0] == gr.skip()  # nobody is called back from a tab that was chosen meanwhile


JUNK = {"settings": {"prompt.steps": "many", "prompt.prompt": 7}, "again": True, "place": [[]]}


@pytest.mark.parametrize("kept", [None, [], "x", {"settings": 3}, JUNK])
def test_whatever_a_browser_kept_the_page_opens(page: Page, kept: Any) -> None:
    found, notice = opened(page, {}, kept)
    assert {name: found[name] for name in BEGIN} == BEGIN and notice == "" and found["tab"] == "prompt"


def test_a_broken_link_opens_with_defaults_and_one_notice(page: Page) -> None:
    query = {"v": "9", "tab": HOSTILE, "hide": "seed,nonsense", "steps": "NaN", "seed": "-5", "width": "7", "view.x": "1"}
    query["model"] = HOSTILE
    found, notice = opened(page, query)
    assert {name: found[name] for name in BEGIN} == BEGIN and found["tab"] == "prompt"
    assert all(word in notice for word in ("another version", "steps", "seed", "width", "view.x", "tab", "hide", "emoji-128"))
    assert "<img" not in notice


def test_a_link_is_told_about_where_no_control_shows_what_it_sets(page: Page) -> None:
    found, notice = opened(page, {"sigmas": "9,3,0", "rng": "cpu"})
    assert found["prompt.steps"] == 2 and found["rest"]["sigmas"] == (9.0, 3.0, 0.0)
    assert "sigmas, rng" in notice and "no control" in notice


def test_a_code_is_made_for_what_a_phone_can_open_and_read() -> None:
    assert coded("http://192.168.1.5:7860/?v=1&prompt=a+cat")["code"].startswith("data:image/svg+xml")
    assert "--host 0.0.0.0" in coded("http://127.0.0.1:7860/?v=1")["told"]
    assert "too long" in coded("http://192.168.1.5/?prompt=" + "x" * MOST_CODED)["told"]


def test_what_was_assumed_of_a_model_is_said_on_the_page_and_nothing_else_of_its_files() -> None:
    note = "Nothing in or beside a.safetensors says what its network predicts: eps is assumed."
    with gr.Blocks() as demo:
        head("a", ["The file's title: a", note])
        head("b", [])
    said = [block.value for block in demo.blocks.values() if getattr(block, "elem_id", "") == "assumed"]
    assert said == [note]
