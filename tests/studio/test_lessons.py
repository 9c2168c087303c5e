"""Lessons: every step can be opened, every question has an answer that is measured, and every language says the same."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
import pytest

from core import load_pipeline
from core.claims import CLAIMS
from core.errors import UserError
from core.schedules import make
from studio.formats import lessons as written
from studio.formats.lessons import find, languages, lessons
from studio.formats.links import from_query
from studio.service.engine import Engine
from studio.tabs.labs.lessons import measuring, overview
from studio.widgets import page as around
from studio.widgets.base import asset
from studio.widgets.settings import PAGE, Settings
from studio.work import labs as lab_work
from tests.core.tiny import write_tiny
from tests.studio.fakes import stated

STEPS = [pytest.param(lesson, at, id=f"{lesson.name}.{at + 1}")
         for language in languages() for lesson in lessons(language) for at in range(len(lesson.steps))]  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(load_pipeline(write_tiny(Path(tmp_path_factory.mktemp("tiny"))), device="cpu"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def settings(engine: Engine) -> Mapping[str, Settings]:
    return stated(engine)


@pytest.mark.parametrize("language", languages())
def test_there_are_five_short_lessons_and_one_long(language: str) -> None:
    minutes = [lesson.minutes for lesson in lessons(language)]
    assert len(minutes) == 6 and all(5 <= one <= 8 for one in minutes[:5]) and minutes[5] == 45
    assert all(lesson.about and len(lesson.steps) >= 4 for lesson in lessons(language))


@pytest.mark.parametrize("language", languages())
def test_every_language_opens_the_same_states_and_asks_for_the_same_measurements(language: str) -> None:
    shapes = [[[(step.link, step.claims, bool(step.asks)) for step in lesson.steps] for lesson in lessons(one)]
              for one in (language, written.OWN)]  # fmt: skip
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("language", languages())
def test_what_the_scripts_say_around_lessons_is_in_every_language_and_nothing_else(language: str) -> None:
    scripts = asset("labs-lessons.js") + asset("lesson-dock.js")
    used = set(re.findall(r"\b(?:words|said)\.(\w+)", scripts))
    assert set(written.words(language)) == used and all(written.words(language).values())


@pytest.mark.parametrize(("lesson", "at"), STEPS)
def test_every_step_has_words_and_each_question_a_measured_answer(lesson: written.Lesson, at: int) -> None:
    step = lesson.steps[at]
    assert step.heading and step.text and bool(step.asks) == bool(step.claims) and set(step.claims) <= set(CLAIMS)
    assert step.answer and sorted(re.findall(r"{(.*?)}", step.answer)) == sorted(step.claims)
    assert not re.search(r"[*$\\`]", step.answer)  # no Markdown: a key is paper
    assert find(f"{lesson.name}.{at + 1}") == (lesson, at)


@pytest.mark.parametrize(("lesson", "at"), STEPS)
def test_every_step_opens_a_state_that_the_app_has(settings: Mapping[str, Settings], lesson: written.Lesson, at: int) -> None:
    link = from_query(dict(parse_qsl(lesson.address(at).removeprefix("?"))))
    assert not link.notice and link.places["lesson"] == f"{lesson.name}.{at + 1}"
    if not lesson.steps[at].link:
        return
    one = settings[link.places["tab"]]
    assert one.of_link(link)[2] == [] and link.view.get(PAGE, "") in ("", *one.page_ids)


def test_the_answers_on_schedules_are_what_the_schedules_are() -> None:
    shares = [f"{100 * make(name).alpha_bar[500]:.0f} %" for name in ("cosine", "linear")]
    for step in (lessons()[1].steps[0], lessons()[5].steps[2]):
        assert "t = 500" in step.answer and re.findall(r"\d+ %", step.answer) == shares


def test_every_paper_has_a_link_and_a_stranger_to_it_opens_none(settings: Mapping[str, Settings]) -> None:
    labs = settings["labs"]
    for one in lessons():
        for kind in ("worksheet", "key"):
            link = from_query({"tab": "labs", "view.page": "lessons", "view.sheet": f"{kind}-{one.name}"})
            values, _, odd = labs.of_link(link)
            assert odd == [] and values["view.sheet"] == f"{kind}-{one.name}"
            assert f"view.sheet={kind}-{one.name}" in labs.query(values, "lessons")
    for wrong in ("key-99", "<img src=x>", "worksheet"):
        values, _, odd = labs.of_link(from_query({"view.sheet": wrong}))
        assert odd == ["view.sheet"] and values["view.sheet"] == ""


def test_the_lesson_on_dropped_captions_trains_as_the_claim_that_answers_its_question_says() -> None:
    step = lessons()[3].steps[2]
    assert step.link == CLAIMS[step.claims[0]].link and "half the time" in step.asks and "view.drop=0.5" in step.link


def test_predicting_running_and_explaining_are_in_every_short_lesson() -> None:
    for lesson in lessons()[:5]:
        text = " ".join(step.heading + step.text for step in lesson.steps)
        assert "Predict" in text and "Explain" in text and ("Press" in text or "Run" in text or "Drag" in text)


@pytest.mark.parametrize("place", ["", "0", "7", "1.0", "1.99", "xx-1", "1.2.3", "<img>", "../1"])
def test_a_place_that_no_lesson_has_opens_none(place: str) -> None:
    assert find(place) is None


def test_a_link_with_a_lesson_opens_its_step_beside_its_tab(settings: Mapping[str, Settings]) -> None:
    page = around.Page("tiny", settings)
    request: Any = SimpleNamespace(query_params={"tab": "guidance", "lesson": "4.2"})
    dock, words = page.open(request, {})[1 + sum(one.pages is not None for one in settings.values()) :][:2]
    assert dock["at"] == 2 and dock["turns"][1] == lessons()[3].address(2) and words == lessons()[3].steps[1].text
    assert around.lesson_of(from_query({"lesson": "9.9"})) == [{}, ""]


def test_a_turn_sets_its_own_tab_and_leaves_the_others_alone(settings: Mapping[str, Settings]) -> None:
    page = around.Page("tiny", settings)
    step = "?v=1&tab=labs&view.page=train&view.what=emoji&view.rounds=180&lesson=4.3"
    made = page.open(SimpleNamespace(query_params={}), {"turn": step})  # type: ignore[arg-type]
    updates = dict(zip(page.names, made[-len(page.names) :], strict=True))
    assert updates["labs.view.what"]["value"] == "emoji" and updates["labs.view.rounds"]["value"] == 180
    assert updates["labs.view.points"]["value"] == "moons" and updates["guidance.prompt"] == gr.skip()
    assert made[0].selected == "labs"
    stay = page.open(SimpleNamespace(query_params={}), {"turn": "?lesson=1.5"})  # type: ignore[arg-type]
    assert all(update == gr.skip() for update in stay[-len(page.names) :]) and stay[0] == gr.skip()


def test_the_key_measures_the_claims_of_a_lesson(engine: Engine) -> None:
    async def asked(data: Any) -> list[dict[str, Any]]:
        return [view async for view in measuring(engine, gr.Request(session_hash="somebody"), gr.EventData(None, data))]

    work = lab_work.keyed(engine, ["inception", "pixels"])
    shown = []
    while True:
        try:
            shown.append(next(work))
        except StopIteration as end:
            key = end.value["key"]
            break
    assert list(key) == ["inception", "pixels"] and key["pixels"]["number"] == "16"
    assert any(event is not None and "inception" in event.view["key"] for event in shown)
    for wrong in ({"lesson": "99"}, {}, "x"):
        with pytest.raises(gr.Error, match="no such lesson"):
            asyncio.run(asked(wrong))


def test_what_cannot_be_measured_is_said_and_the_rest_goes_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(engine: Engine, name: str) -> lab_work.Work:
        if name == "bad":
            raise UserError("This model has none.")
        return {"finding": {"number": "1"}, "line": ""}
        yield

    monkeypatch.setattr(lab_work, "measured", failing)
    work = lab_work.keyed(engine, ["bad", "good"])
    with pytest.raises(StopIteration) as end:
        while True:
            next(work)
    assert end.value.value["key"] == {"bad": {"told": "This model has none."}, "good": {"number": "1"}}


def test_the_list_tells_what_each_worksheet_asks() -> None:
    made = overview("en")
    assert made[0]["begin"].endswith("lesson=1.1") and all(one["steps"] for one in made)
