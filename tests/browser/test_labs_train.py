"""Live training in a real browser: points are drawn with the mouse and with keys, learnt, stopped and shared; then emoji."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.browser.conftest import PATIENCE, choose


def opened(open_page: Any, size: str = "projector", query: str = "") -> Any:
    page = open_page(query, size=size)
    choose(page, "Labs")
    choose(page, "Train", "#labs")
    page.locator(".board").wait_for()
    return page


def state(page: Any, name: str, at: str) -> str:
    page.wait_for_selector(f"[data-state={at}] > .{name}", timeout=4 * PATIENCE)
    return str(page.locator(f".{name} + .g-line").inner_text())


def drawn(page: Any) -> int:
    return int(page.locator(".board .dots circle").count())


def set_steps(page: Any, name: str, value: int) -> None:
    box = page.locator(f"#{name} input[type=number]")
    box.fill(str(value))
    box.press("Enter")


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_points_drawn_by_hand_are_learnt(open_page: Any, size: str) -> None:
    page = opened(open_page, size)
    before = drawn(page)
    page.get_by_role("button", name="Clear").click()
    page.locator(".pad-told", has_text="Draw with").wait_for()
    box = page.locator(".board").bounding_box()
    page.locator(".board").scroll_into_view_if_needed()
    box = page.locator(".board").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"], steps=12)
    page.mouse.up()
    count = drawn(page)
    assert before > count > 10
    page.locator(".pad-told", has_text=f"{count} of at most").wait_for()
    set_steps(page, "train-steps", 400)
    page.wait_for_timeout(500)  # the last stroke is handed over
    page.locator("#points-go").click()
    assert state(page, "points", "done").startswith("400 steps")
    assert drawn(page) == count and page.locator(".points .planes .plane").count() == 2
    assert page.locator(".points .planes .plane").first.locator(".seed").count() == count
    assert page.locator(".points svg.chart").count() == 2
    told = page.locator(".points .told").first.inner_text()
    assert re.search(r"off by [\d.]+ \[[\d.]+, [\d.]+\] of its length", told), told
    page.locator(".points .slide input").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".points .told").first.inner_text() != told
    assert fits(page)


def test_the_noise_level_of_the_field_is_in_the_link(open_page: Any) -> None:
    page = open_page("?v=1&tab=labs&view.page=train&view.points=heart&view.training=300&view.width=16&view.level=4")
    page.locator("#points-go").click()
    state(page, "points", "done")
    shown = page.locator(".points .planes output")
    assert shown.inner_text() == "1.6"
    page.locator(".points .slide input").press("Home")
    assert shown.inner_text() == "0.1"
    page.locator("#share-button").click()
    page.wait_for_function("document.querySelector('#share-link textarea')?.value.includes('view.level=0')")


def test_points_are_set_and_cleared_with_keys(open_page: Any) -> None:
    page = opened(open_page)
    page.locator(".board").focus()
    page.keyboard.press("Delete")
    for key in ("Space", "ArrowRight", "ArrowRight", "Enter", "ArrowUp", "ArrowUp", "Space"):
        page.keyboard.press(key)
    assert drawn(page) == 3
    page.keyboard.press("Space")
    assert drawn(page) == 2
    page.get_by_role("button", name="Heart").click()
    page.wait_for_function("document.querySelectorAll('.board .dots circle').length > 40")


def test_nothing_drawn_is_told_so_and_training_stops_when_asked(open_page: Any) -> None:
    page = opened(open_page)
    page.get_by_role("button", name="Clear").click()
    page.wait_for_timeout(500)
    page.locator("#points-go").click()
    assert "0 points are drawn" in state(page, "points", "failed")
    page.get_by_role("button", name="Spiral").click()
    page.wait_for_function("document.querySelectorAll('.board .dots circle').length > 40")
    set_steps(page, "train-steps", 6000)
    page.locator("#points-go").click()
    page.locator(".points svg.chart").first.wait_for()
    page.locator("#points-stop").click()
    assert "Stopped" in state(page, "points", "stopped")
    assert page.locator(".points svg.chart").count() == 2
    page.wait_for_selector("#points-go:enabled")


def test_a_drawing_travels_in_a_link(open_page: Any) -> None:
    page = opened(open_page, query="?v=1&tab=labs&view.page=train&view.points=AAf_gB&view.width=16&view.training=200")
    page.wait_for_function("document.querySelectorAll('.board .dots circle').length === 3")
    assert page.get_by_label("16", exact=True).is_checked()


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_emoji_are_learnt_by_two_networks(open_page: Any, size: str) -> None:
    page = opened(open_page, size)
    page.get_by_label("a handful of emoji").check()
    page.locator("#train-names").wait_for()
    set_steps(page, "train-rounds", 30)
    page.locator("#few-go").click()
    page.locator(".few svg.chart").first.wait_for(timeout=2 * PATIENCE)
    assert "At γ = 6" in state(page, "few", "done")
    assert page.locator(".few + .g-line").bounding_box()["y"] < page.locator(".few").bounding_box()["y"]  # nearer to the button
    assert page.locator(".few .near img").count() == 4 and page.locator(".few .four").count() == 8
    assert fits(page)


def test_an_unknown_name_is_told_and_kept(open_page: Any) -> None:
    page = opened(open_page)
    page.get_by_label("a handful of emoji").check()
    box = page.locator("#train-names input, #train-names textarea").first
    box.fill("red apple, <img src=x onerror=window.hits=1>")
    page.locator("#few-go").click()
    assert "No training picture is called" in state(page, "few", "failed")
    assert box.input_value().endswith("hits=1>") and page.evaluate("window.hits") is None
