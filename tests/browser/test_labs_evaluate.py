"""The page "Evaluate" in a real browser: damage is predicted and measured, clouds dragged apart, long work stopped."""

from __future__ import annotations

from typing import Any

import pytest

from core.evaluation.headlines import HEADLINES, PAIRS
from core.metrics import METRICS
from tests.browser.conftest import PATIENCE

LONG = 3 * PATIENCE  # the first visit looks at the training pictures
ASKED = "?v=1&tab=labs&view.page=evaluate"


def opened(open_page: Any, part: str = "notices", size: str = "projector", more: str = "") -> Any:
    page = open_page(ASKED + (f"&view.evaluate={part}" if part != "notices" else "") + more, size=size)
    page.locator(f"#evaluate-{part}").wait_for()
    return page


def measured(page: Any, name: str) -> str:
    """Press Measure, wait until the work is done, and give the line under its drawing."""
    page.locator(f"#{name}-go").click()
    page.wait_for_selector(f"[data-state=done] > .{name}", timeout=LONG)
    return str(page.locator(f".{name} + .g-line").inner_text())


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@pytest.mark.parametrize("size", ["projector", "tablet", "phone"])
def test_damage_is_predicted_and_every_metric_measured_with_the_pictures_beside(open_page: Any, size: str) -> None:
    page = opened(open_page, size=size)
    page.get_by_label("Duplicate").check()
    page.locator("#evaluate-copies").wait_for()
    page.get_by_label("Recall").check()
    line = measured(page, "notices")
    assert "You foresaw" in line and f"of {len(METRICS)}" in line
    rows = page.locator(".notices .change")
    assert rows.count() == len(METRICS)
    assert rows.locator("small.right, small.wrong").count() == len(METRICS)
    assert page.locator(".notices .strips figure").count() == 2
    assert page.locator(".notices .strips figure").nth(1).locator("img").count() > 3
    assert page.locator(".notices .panel").count() == 8  # both parts of a distance, and three of the classes, before and after
    assert page.locator(".notices .bar-row").count() == 2 * (2 + 12 + 12 + 3)
    assert fits(page)


def test_each_damage_shows_its_own_knob(open_page: Any) -> None:
    page = opened(open_page)
    for label, knob in (("Noise", "noise"), ("Without a class", "group"), ("Blur", "blur")):
        page.get_by_label(label, exact=True).check()
        page.locator(f"#evaluate-{knob}").wait_for()
    assert page.locator("#evaluate-noise").is_hidden() and page.locator("#evaluate-group").is_hidden()


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_clouds_are_dragged_apart_and_the_parts_of_their_distance_follow(open_page: Any, size: str) -> None:
    page = opened(open_page, "metrics", size)
    exact = page.locator(".clouds .bar-row", has_text="means, exact").locator(".value")
    exact.filter(has_text="2.25").wait_for()
    page.locator("#evaluate-shift input[type=number]").fill("2")
    page.locator("#evaluate-shift input[type=number]").press("Enter")
    exact.filter(has_text="4").wait_for()
    assert page.locator(".clouds svg.chart").count() == 1 and page.locator("#evaluate-text .katex").count() > 8
    assert fits(page)


def test_fidelity_and_diversity_are_measured_at_every_scale(open_page: Any) -> None:
    page = opened(open_page, "settings")
    page.locator("#evaluate-captions input[type=number]").fill("2")
    page.locator("#evaluate-captions input[type=number]").press("Enter")
    assert "8 pictures at every setting" in measured(page, "quality")
    assert page.locator(".quality svg.chart").count() == 6 and page.locator(".quality .strips figure").count() == 5
    page.locator(".quality summary").first.click()
    assert page.locator(".quality details[open] tr").count() == 6
    assert fits(page)


def test_both_distances_are_drawn_against_the_number_of_pictures(open_page: Any) -> None:
    page = opened(open_page, "number", "phone")
    assert "dimensions" in measured(page, "number")
    assert page.locator(".number svg.chart").count() == 2 and fits(page)


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_the_loss_is_drawn_against_t_with_captions_and_without(open_page: Any, size: str) -> None:
    page = opened(open_page, "loss", size)
    assert "The caption is worth most at t = " in measured(page, "loss")
    assert page.locator(".loss svg.chart").count() == 2 and page.locator(".loss .bar-row").count() == 4 and fits(page)


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_the_table_of_the_headline_claims_fills_row_by_row_and_can_be_stopped(open_page: Any, size: str) -> None:
    page = opened(open_page, "headlines", size)
    page.locator("#headlines-go").click()
    if size == "phone":  # one column at a time, which stays while rows come
        page.locator(".headlines select.column").first.select_option("fewer calls")
    page.locator(".headlines td", has_text="100×").first.wait_for(timeout=LONG)
    columns = page.locator(".headlines table").first.locator("tr:has(td)").first.locator("td:visible").count()
    assert columns == (2 if size == "phone" else 10)
    assert page.locator(".headlines table").first.locator("tr:has(td)").count() == len(HEADLINES) and fits(page)
    assert page.locator(".headlines table").nth(1).locator("tr:has(td)").count() == len(PAIRS)
    page.locator("#headlines-stop").click()
    page.wait_for_selector("[data-state=stopped] > .headlines", timeout=LONG)
    page.wait_for_selector("#headlines-go:enabled")


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_the_headline_table_and_its_line_stand_before_the_pictures_that_they_were_measured_on(open_page: Any, size: str) -> None:
    page = opened(open_page, "headlines", size, "&view.table_captions=2")
    page.locator("#headlines-go").click()
    page.locator(".headlines .strips img").first.wait_for(timeout=LONG)
    page.locator("#headlines-stop").click()
    page.wait_for_selector("[data-state=stopped] > .headlines", timeout=LONG)
    down = (".headlines + .g-line", ".headlines table >> nth=0", ".headlines table >> nth=1", ".headlines .strips")
    tops = [page.locator(one).bounding_box()["y"] for one in down]
    assert tops == sorted(tops), dict(zip(down, tops, strict=True))


def test_a_link_opens_a_part_with_what_it_sets(open_page: Any) -> None:
    page = opened(open_page, more="&view.damage=noise&view.noise=0.6&view.foreseen=recall,precision")
    page.locator("#evaluate-noise").wait_for()
    assert page.locator("#evaluate-noise input[type=number]").input_value() == "0.6"
    assert page.get_by_label("Recall").is_checked() and not page.get_by_label("CLIP score").is_checked()
    assert page.get_by_label("Noise", exact=True).is_checked()
