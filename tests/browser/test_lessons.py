"""Lessons in a real browser: begun from the list, followed over the tabs, predicted, left, printed and answered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import PATIENCE
from tests.browser.test_labs import HOSTILE

LIST = "?v=1&tab=labs&view.page=lessons"


def listed(open_page: Any, size: str = "projector") -> Any:
    page = open_page(LIST, size=size)
    page.locator(".lessons .card").nth(5).wait_for()
    return page


def heading(page: Any, text: str) -> None:
    page.locator("#lesson h3", has_text=text).wait_for()


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_a_lesson_goes_over_the_tabs_and_back(open_page: Any, size: str) -> None:
    page = listed(open_page, size)
    assert fits(page) and not page.locator("#lesson").is_visible()
    page.locator(".lessons .card").first.get_by_role("button", name="Begin").click()
    heading(page, "What is it asked?")
    page.get_by_role("tab", name="Noising", exact=True).wait_for()
    page.locator("#lesson .asks input").fill("all five")
    page.locator("#lesson .explains textarea").fill("noise has\nno frame")
    tops = [page.locator(f"#lesson {one}").bounding_box()["y"] for one in (".asks", "#lesson-words", ".explains")]
    assert tops == sorted(tops)  # predict, run, explain
    page.locator("#lesson .next").click()
    heading(page, "One run as a film")
    page.wait_for_function("document.querySelector('#film-prompt textarea')?.value === 'red apple, flat'")
    assert "lesson=1.2" in page.url and fits(page)
    assert page.evaluate("document.activeElement === document.querySelector('#lesson .next')")  # the keyboard goes on from there
    page.get_by_role("button", name="Back").click()
    heading(page, "What is it asked?")
    assert page.evaluate("document.activeElement === document.querySelector('#lesson h3')")  # from the first step nothing goes back
    assert page.locator("#lesson .asks input").input_value() == "all five"
    assert page.locator("#lesson .explains textarea").input_value() == "noise has\nno frame"
    page.get_by_role("button", name="Leave").click()
    page.locator("#lesson").wait_for(state="hidden")


def test_a_link_opens_a_step_and_a_reload_comes_back_to_it(open_page: Any) -> None:
    page = open_page("?v=1&tab=labs&view.page=train&view.what=emoji&view.rounds=180&lesson=4.3")
    heading(page, "Why captions are dropped")
    page.locator("#train-rounds").wait_for()
    page.locator("#lesson .next").click()
    heading(page, "Explain")
    assert page.locator("#lesson .asks").count() == 0
    page.reload()
    heading(page, "Explain")
    page.get_by_role("button", name="Fold", exact=True).click()
    page.locator("#lesson-words").wait_for(state="hidden")


def test_a_lesson_that_does_not_exist_opens_the_page_without_one(open_page: Any) -> None:
    page = open_page("?lesson=<img src=x onerror=window.hits=1>")
    page.locator("#prompt").wait_for()
    assert not page.locator("#lesson").is_visible() and page.evaluate("window.hits") is None


def test_only_the_worksheet_is_printed(open_page: Any) -> None:
    page = listed(open_page)
    page.locator(".lessons .card").nth(1).get_by_role("button", name="Worksheet").click()
    page.locator(".sheet h2", has_text="How much noise, and when: worksheet").wait_for()
    assert page.locator(".sheet .blank").count() >= 8
    page.emulate_media(media="print")
    page.wait_for_function("getComputedStyle(document.querySelector('#head')).display === 'none'")
    assert page.locator(".sheet h2").is_visible() and page.locator(".sheet").bounding_box()["y"] < 40
    assert not page.locator(".sheet .row").is_visible()
    page.emulate_media(media="screen")
    page.get_by_role("button", name="Close").click()
    assert page.locator(".sheet").count() == 0


def test_what_was_predicted_and_explained_is_on_the_worksheet_and_on_the_answer_key_as_text(open_page: Any) -> None:
    page = open_page("?lesson=5.4")
    page.locator("#lesson .explains textarea").fill(HOSTILE)
    page.locator("#lesson .next").click()
    card = page.locator(".lessons .card").nth(4)
    for name in ("Worksheet", "Answer key"):
        card.get_by_role("button", name=name).click()
        page.locator(".sheet h2", has_text=f"What a network learns: {name.lower()}").wait_for()
        assert page.locator(".sheet .part").nth(3).locator(".blank b").first.inner_text() == HOSTILE
    card.get_by_role("button", name="Stop").click()
    page.wait_for_selector("[data-state=stopped] > .lessons", timeout=4 * PATIENCE)
    assert page.evaluate("window.hits") is None


def answers(page: Any, lesson: int) -> Any:
    """Ask for the answer key of a lesson and wait for its first value."""
    card = page.locator(".lessons .card").nth(lesson - 1)
    card.get_by_role("button", name="Answer key").click()
    page.locator(".sheet .answer b.value").first.wait_for(timeout=4 * PATIENCE)
    return card


def test_the_answer_key_is_measured(open_page: Any) -> None:
    page = listed(open_page)
    answers(page, 2)
    page.wait_for_selector("[data-state=done] > .lessons", timeout=4 * PATIENCE)
    assert page.locator(".sheet .answer b.value").count() == 3 and page.locator(".sheet .answer").count() == 5
    assert page.locator(".sheet").get_by_role("button", name="Measure").count() == 0  # all of it is


def test_an_answer_key_that_takes_long_can_be_stopped_and_keeps_what_it_has(open_page: Any) -> None:
    page = listed(open_page)
    answers(page, 6).get_by_role("button", name="Stop").click()
    page.wait_for_selector("[data-state=stopped] > .lessons", timeout=4 * PATIENCE)
    assert page.locator(".sheet .answer b.value").count() >= 1
    page.locator(".sheet").get_by_role("button", name="Measure").wait_for()


def test_a_paper_has_a_link_of_its_own(open_page: Any) -> None:
    page = open_page(f"{LIST}&view.sheet=key-2")
    page.locator(".sheet h2", has_text="How much noise, and when: answer key").wait_for()
    assert page.locator(".sheet .answer b.value").count() == 0  # a link computes nothing
    page.locator(".sheet").get_by_role("button", name="Close").click()
    page.locator(".lessons .card").nth(3).get_by_role("button", name="Worksheet").click()
    page.locator(".sheet h2", has_text="Guidance: more of the word: worksheet").wait_for()
    page.get_by_role("button", name="Share").click()
    page.wait_for_function("document.querySelector('#share-link textarea').value.includes('view.sheet=worksheet-4')")
    page.reload()
    page.locator(".sheet h2", has_text="Guidance: more of the word: worksheet").wait_for()
