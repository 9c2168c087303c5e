"""The samplers tab in a real browser: races and grids that fill as they run, stop where they are, and open anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from core.sampling import SAMPLERS
from core.tradeoff import deterministic
from studio.formats.links import from_query
from tests.browser.conftest import PATIENCE, choose

HOSTILE = "<img src=x onerror=window.hits=1>${window.hits=1}{{window.hits=1}}"


def opened(open_page: Any, part: str = "", size: str = "projector", query: str = "") -> Any:
    page = open_page(query, size=size)
    choose(page, "Samplers")
    if part:
        choose(page, part, "#samplers")
    return page


def fill(page: Any, name: str, text: str) -> None:
    page.locator(f"#{name} input, #{name} textarea").first.fill(text)


def recipe_of(link: str) -> Any:
    from urllib.parse import parse_qsl

    return from_query(dict(parse_qsl(link.removeprefix("?"))))


def done(page: Any, name: str) -> str:
    """Wait for the visible drawing of this name to be finished, and give the line under it."""
    page.wait_for_function(
        "name => [...document.querySelectorAll(`[data-state=done] > .${name} > .line`)].some(n => n.offsetParent && n.textContent)",
        arg=name, timeout=2 * PATIENCE,
    )  # fmt: skip
    return str(page.locator(f"[data-state=done] > .{name} > .line").locator("visible=true").inner_text())


def toast(page: Any) -> str:
    found = page.locator(".toast-body").first
    found.wait_for()
    return str(found.inner_text())


# ------------------------------------------------------------------------------------------------------- the race


@pytest.mark.parametrize("size", ["projector", "tablet", "phone"])
def test_a_race_shows_every_samplers_line_and_order(open_page: Any, size: str) -> None:
    page = opened(open_page, size=size)
    fill(page, "race-steps", "5, 10, 20")
    page.locator("#race-go").click()
    assert "runs on the exact mixture" in done(page, "race")
    labels = page.locator(".race .still .legend .label").all_inner_texts()
    assert labels == [SAMPLERS[name].label for name in deterministic()]
    orders = page.locator(".race .still .legend .order").all_inner_texts()
    assert len(orders) == len(labels) and all("declared" in text for text in orders)
    stochastic = [entry.label for entry in SAMPLERS.values() if entry.stochastic]
    assert page.locator(".race .moved .legend .label").all_inner_texts() == stochastic
    assert page.locator(".race .still .series a").count() == 3 * len(labels)
    assert page.locator("#samplers-orders tbody tr").count() == len(labels)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_point_answers_to_hovering_and_to_the_keyboard_and_opens_in_denoise(open_page: Any) -> None:
    page = opened(open_page)
    fill(page, "race-steps", "4, 8")
    page.locator("#race-go").click()
    done(page, "race")
    point = page.locator(".race .still [data-name=heun] a").first
    point.focus()
    reading = page.locator(".race .still .reading")
    assert "Heun, 4 steps: 8 NFE, error" in reading.inner_text()
    point.locator(".reach").hover()
    assert "Heun, 4 steps" in reading.inner_text()
    link = recipe_of(point.get_attribute("href"))
    assert (link.places["tab"], link.recipe.sampler, link.recipe.steps, link.recipe.seed) == ("denoise", "heun", 4, 7)
    for kind in ("SVG", "CSV"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save as {kind}").locator("visible=true").click()
        assert download.value.suggested_filename == f"race.{kind.lower()}"


def test_what_has_the_focus_keeps_it_while_a_race_goes_on(open_page: Any) -> None:
    page = opened(open_page)
    fill(page, "race-steps", "5, 10, 20, 40, 80, 160")
    page.locator("#race-go").click()
    page.locator(".race .still summary").focus()
    done(page, "race")
    assert page.evaluate("document.activeElement === document.querySelector('.race .still summary')")


def test_a_race_on_the_model_shows_what_is_finished_and_stop_keeps_it(open_page: Any) -> None:
    page = opened(open_page)
    page.get_by_label("this model (minutes)").click()
    page.wait_for_function("document.querySelector('#race-steps input, #race-steps textarea').value === '5, 10, 20, 40'")
    page.locator("#race-noises input[type=number]").fill("2")
    page.locator("#race-noises input[type=number]").press("Tab")
    page.locator("#race-go").click()
    page.wait_for_selector("[data-state=running] > .race .still .series .whisker", timeout=3 * PATIENCE, state="attached")
    assert page.locator(".race .left").inner_text().startswith("Not raced: DDPM, Euler a, DPM++ 2M SDE.")
    page.locator("#race-stop").click()
    page.wait_for_selector("[data-state=stopped] > .race", timeout=PATIENCE)
    assert page.locator(".race .still .series a").count() >= 1
    assert "Stopped" in page.locator(".race > .line").inner_text()
    page.wait_for_selector("#race-go:enabled")


# ------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_pictures_appear_with_what_they_cost_and_open_in_denoise(open_page: Any, size: str) -> None:
    page = opened(open_page, "Pictures", size)
    fill(page, "pictures-steps", "2, 3")
    page.locator("#pictures-go").click()
    line = done(page, "pictures")
    assert "8 pictures" in line and "network evaluations (NFE)" in line
    captions = page.locator(".pictures figcaption").locator("visible=true").all_inner_texts()
    assert len(captions) == 8 and all("NFE" in text for text in captions)
    assert page.locator(".pictures .done img").first.evaluate("node => node.naturalWidth") == 128
    link = recipe_of(page.locator(".pictures .done a").last.get_attribute("href"))
    assert link.places["tab"] == "denoise" and link.recipe.steps == 3 and link.recipe.prompt == "a red apple"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_stop_keeps_the_pictures_that_are_there(open_page: Any) -> None:
    page = opened(open_page, "Pictures")
    fill(page, "pictures-steps", "2, 80, 90, 100")
    page.locator("#pictures-go").click()
    page.wait_for_selector(".pictures .done img")
    page.locator("#pictures-stop").click()
    page.wait_for_selector("[data-state=stopped] > .pictures", timeout=PATIENCE)
    assert page.locator(".pictures .done img").count() >= 1
    page.wait_for_selector("#pictures-go:enabled")


# ------------------------------------------------------------------------------------------------------- X/Y/Z


def test_a_grid_of_three_axes_is_painted_in_its_order(open_page: Any) -> None:
    page = opened(open_page, "X/Y/Z")
    fill(page, "xyz-values-x", "DDIM, UniPC")
    fill(page, "xyz-values-y", "2-3")
    page.locator("#xyz-kind-z input").click()
    page.get_by_role("option", name="Prompt S/R").click()
    page.wait_for_function("document.querySelector('#xyz-values-z textarea, #xyz-values-z input').value === 'red, green, blue'")
    fill(page, "xyz-values-z", "red, green")
    page.locator("#xyz-go").click()
    assert "8 pictures" in done(page, "pictures")
    blocks = page.locator(".pictures .block").locator("visible=true")
    assert blocks.locator("h4").all_inner_texts() == ["red", "green"]
    assert blocks.first.locator(".head").all_inner_texts() == ["DDIM", "UniPC"]
    assert blocks.first.locator(".side").all_inner_texts() == ["steps 2", "steps 3"]
    link = recipe_of(blocks.nth(1).locator(".cell a").last.get_attribute("href"))
    assert (link.recipe.prompt, link.recipe.sampler, link.recipe.steps) == ("a green apple", "uni_pc", 3)


@pytest.mark.parametrize(
    ("values", "says"),
    [(HOSTILE, "is no sampler"), ("", "Sampler has no values"), ("DDIM, DDIM", "DDIM twice")],
)
def test_an_axis_that_cannot_be_is_told_in_a_sentence(open_page: Any, values: str, says: str) -> None:
    page = opened(open_page, "X/Y/Z")
    fill(page, "xyz-values-x", values)
    page.locator("#xyz-go").click()
    assert says in toast(page)
    page.wait_for_selector("#xyz-go:enabled")
    assert page.evaluate("window.hits") is None


# ------------------------------------------------------------------------------------------------------- the rest


def test_without_eta_the_fan_is_one_line(open_page: Any) -> None:
    page = opened(open_page, "Fresh noise")
    page.locator(".fan .track").first.wait_for()
    assert page.locator(".fan .track").count() == 8
    page.locator("#fan-eta input[type=number]").fill("0")
    page.locator("#fan-eta input[type=number]").press("Enter")
    page.get_by_text("η = 0: the eight ends lie 0 apart").wait_for()
    tracks = page.locator(".fan .track").evaluate_all("nodes => nodes.map(node => node.getAttribute('points'))")
    assert len(set(tracks)) == 1


def test_every_sampler_stands_in_the_table_with_its_paper_if_there_is_one(open_page: Any) -> None:
    page = opened(open_page, "All samplers")
    rows = page.locator("#samplers-table tbody tr")
    rows.first.wait_for()
    assert rows.count() == len(SAMPLERS)
    assert rows.locator("a").count() == sum(bool(entry.paper) for entry in SAMPLERS.values()) >= len(SAMPLERS) - 1


def test_a_link_sets_what_the_pages_begin_with(open_page: Any) -> None:
    page = opened(open_page, query="?v=1&tab=samplers&prompt=a+blue+car&gamma=2&seed=11")
    page.wait_for_function("document.querySelector('#samplers-prompt input, #samplers-prompt textarea').value === 'a blue car'")
    assert page.locator("#samplers-seed input, #samplers-seed textarea").first.input_value() == "11"
    page.get_by_text("γ 2 = CFG scale 3").locator("visible=true").first.wait_for()
