"""The guidance tab in a real browser: a sweep fills and is stopped, a triangle is dragged without a question to the server."""

from __future__ import annotations

from typing import Any

import pytest

from core import load_pipeline
from tests.browser.conftest import PATIENCE, choose

TILES = "#g-sweep tbody img"


def opened(open_page: Any, page_name: str = "Trade-off", size: str = "projector", steps: int = 3) -> Any:
    """The guidance tab with short runs."""
    page = open_page(size=size)
    choose(page, "Guidance")
    page.locator("#g-steps input[type=number]").fill(str(steps))
    page.locator("#g-steps input[type=number]").press("Tab")
    if page_name != "Trade-off":
        choose(page, page_name, "#g-pages")
    return page


def sweep(page: Any, scales: str, seeds: int = 2) -> None:
    page.locator("#g-batch input[type=number]").fill(str(seeds))
    page.locator("#g-scales input").fill(scales)
    page.locator("#g-sweep-go").click()


def line(page: Any, name: str) -> str:
    return str(page.locator(f"#g-{name} .g-line").inner_text())


@pytest.mark.parametrize("size", ["projector", "tablet", "phone"])
def test_a_sweep_fills_its_grid_and_says_every_scale_under_both_names(open_page: Any, size: str) -> None:
    page = opened(open_page, size=size)
    sweep(page, "−1, 0, 3")
    page.wait_for_selector("#g-sweep [data-state=done]")
    assert page.locator(TILES).count() == 6 and page.locator("#g-sweep .chart .dot").count() in (0, 3)
    rows = page.locator("#g-sweep table.tiles tbody th").all_inner_texts()
    assert [" ".join(row.split()) for row in rows] == ["γ −1 CFG 0", "γ 0 CFG 1", "γ 3 CFG 4"]
    assert "24 network evaluations (NFE)" in line(page, "sweep")  # 2 pictures × 3 steps × (1 + 1 + 2)
    assert page.locator("#g-sweep table.numbers tbody tr").count() == 3
    spread = float(load_pipeline(device="cpu").extras.training.latents.std())
    assert f"Of the training pictures it is {spread:.2f}." in page.locator("#g-sweep .about:not(:empty)").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_stop_keeps_what_is_there_and_a_second_sweep_remembers_it(open_page: Any) -> None:
    page = opened(open_page, steps=50)
    sweep(page, "1, 2, 3, 4, 5", seeds=1)
    page.wait_for_function("document.querySelectorAll('#g-sweep table.numbers tbody tr').length >= 1")
    page.locator("#g-sweep-stop").click()
    page.wait_for_selector("#g-sweep [data-state=stopped]")
    kept = page.locator("#g-sweep table.numbers tbody tr").count()
    assert 1 <= kept < 5 and page.locator(TILES).count() >= kept
    page.wait_for_selector("#g-sweep-go:enabled")
    sweep(page, "1", seeds=1)
    page.wait_for_selector("#g-sweep [data-state=done]")
    assert "1 runs remembered" in line(page, "sweep")


def test_a_picture_of_the_sweep_opens_its_triangle_and_gamma_is_dragged_in_the_page(open_page: Any) -> None:
    page = opened(open_page)
    sweep(page, "0, 3")
    page.wait_for_selector("#g-sweep [data-state=done]")
    page.locator("#g-sweep tbody tr").nth(1).locator("button").nth(1).click()
    knob = page.locator("#g-triangle .knob")
    knob.wait_for()
    assert knob.get_attribute("aria-valuetext") == "γ 3.0 = CFG scale 4.0"
    assert "seed 2" in page.locator("#g-triangle .about").inner_text()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    before = page.evaluate("document.querySelector('#g-triangle canvas.x0').toDataURL()")
    knob.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.locator("#g-triangle .knob").get_attribute("aria-valuenow") == "3.5"
    box = page.locator("#g-triangle .knob").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    ends = [page.locator("#g-triangle circle.end").nth(w).bounding_box() for w in (0, 1)]  # where ε₀ and ε_c are: γ = −1 and 0
    zero, one = (end["x"] + end["width"] / 2 for end in ends)
    page.mouse.move(zero + 8 * (one - zero), box["y"], steps=4)
    page.mouse.up()
    assert float(page.locator("#g-triangle .knob").get_attribute("aria-valuenow")) == pytest.approx(7, abs=0.3)  # under the pointer
    assert page.evaluate("document.querySelector('#g-triangle canvas.x0').toDataURL()") != before
    page.get_by_role("button", name="ε₀: γ −1").click()
    numbers = dict(row.split("\t") for row in page.locator("#g-triangle table.numbers tr").all_inner_texts())
    assert numbers["‖ε‖"] == numbers["‖ε₀‖"] and numbers["angle of ε₀ and ε"] == "0.00°"
    assert not asked


def test_the_interval_is_drawn_before_anything_is_computed_and_counts_what_is_then_computed(open_page: Any) -> None:
    page = opened(open_page, "Interval and rescale", steps=6)
    page.wait_for_function("document.querySelectorAll('#g-effects .moments > div').length === 6")
    page.locator("#g-low input").fill("0.5")
    page.locator("#g-low input").press("Tab")
    page.wait_for_function("/^σ.* of 6 steps/.test(document.querySelector('#g-effects .about').textContent)")
    page.locator("#g-effects-go").click()
    page.wait_for_selector("#g-effects [data-state=done]", timeout=2 * PATIENCE)
    told = page.locator("#g-effects .about").inner_text()
    guided = page.locator("#g-effects .moments > .on").count()
    captions = page.locator("#g-effects figcaption").all_inner_texts()
    assert f"{6 + guided} network evaluations instead of 12" in told
    assert "12 network evaluations" in captions[0] and f"{6 + guided} network evaluations" in captions[1]
    assert page.locator("#g-effects .curve .line").count() == 5


def test_a_scale_that_cannot_be_is_said_in_a_sentence_and_nothing_is_lost(open_page: Any) -> None:
    page = opened(open_page)
    sweep(page, "1, fast")
    toast = page.locator(".toast-body").first
    toast.wait_for()
    assert "'fast' is no number" in toast.inner_text()
    assert page.locator("#g-scales input").input_value() == "1, fast"
    page.wait_for_selector("#g-sweep-go:enabled")


def test_a_model_without_a_classifier_says_so_in_a_sentence(open_page: Any) -> None:
    page = opened(open_page, "Classifier")
    page.locator("#g-classifier .g-line").wait_for()
    if page.locator("#g-classifier-go").is_visible():
        pytest.skip("this model has a classifier")
    assert "brings no classifier of noisy latents" in page.locator("#g-classifier .notes").inner_text()


def test_the_classifier_is_set_beside_classifier_free_guidance(open_page: Any) -> None:
    page = opened(open_page, "Classifier")
    page.locator("#g-classifier .g-line").wait_for()
    if not page.locator("#g-classifier-go").is_visible():
        pytest.skip("this model has no classifier")
    page.locator("#g-target input").click()
    page.locator("#g-target [role=option]").nth(1).click()
    page.locator("#g-classifier-go").click()
    page.wait_for_selector("#g-classifier [data-state=done]")
    assert "γ 5, as CFG scale 5 · 3 NFE" in page.locator("#g-classifier h4").nth(1).inner_text()
    assert "cos =" in page.locator("#g-classifier .strong").inner_text()


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_accuracy_is_drawn_against_the_scale_of_both_guidances_with_the_pictures_of_each(open_page: Any, size: str) -> None:
    state = "?v=1&tab=guidance&view.page=classifier&view.target=food-fruit&view.strengths=0+4&view.pictures=4&steps=2&batch=4"
    page = open_page(state, size=size)
    page.locator("#g-classifier .g-line").wait_for()
    if page.locator("#g-scales-go").count() == 0:
        pytest.skip("this model has no classifier")
    assert page.locator("#g-strengths input").input_value() == "0 4"
    page.locator("#g-scales-go").click()
    page.wait_for_selector("#g-steering [data-state=done]", timeout=3 * PATIENCE)
    assert page.locator("#g-steering .panel").count() == 3 and page.locator("#g-steering .spot").count() == 3 * 2 * 2
    assert page.locator("#g-steering .whisker").count() == 3 * 2 * 2
    assert page.locator("#g-steering .wall").count() == 2 and page.locator("#g-steering .wall img").count() == 8
    assert "γ 3 = CFG scale 4 · 4 NFE" in page.locator("#g-steering h4", has_text="free guidance").inner_text()
    told = page.locator("#g-steering .about").first.inner_text()
    outlined = page.locator("#g-steering .wall").first.locator(".right").count()
    assert f"The classifier in {outlined} of 4" in told
    page.locator("#g-steering .choice").get_by_role("button", name="0", exact=True).click()
    sources = [[img.get_attribute("src") for img in wall.locator("img").all()] for wall in page.locator("#g-steering .wall").all()]
    assert sources[0] == sources[1]  # both are the model without words
    page.wait_for_timeout(600)
    page.locator("#share-button").click()
    page.wait_for_function("document.querySelector('#share-link textarea')?.value.includes('view.scale=0')")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_measuring_against_the_scale_is_stopped_and_keeps_its_points(open_page: Any) -> None:
    page = open_page("?v=1&tab=guidance&view.page=classifier&view.target=food-fruit&view.pictures=4&steps=10&batch=4")
    page.locator("#g-classifier .g-line").wait_for()
    if page.locator("#g-scales-go").count() == 0:
        pytest.skip("this model has no classifier")
    page.locator("#g-scales-go").click()
    page.wait_for_selector("#g-steering .panel", timeout=3 * PATIENCE)
    page.locator("#g-scales-stop").click()
    page.wait_for_selector("#g-steering [data-state=stopped]")
    assert page.locator("#g-steering .wall img").count() >= 4 and page.locator("#g-steering .spot").count() < 3 * 2 * 6
    page.wait_for_selector("#g-scales-go:enabled")
