"""The labs "Inside" and "CLIP" in a real browser: the map is clicked and walked by keys, parts are switched off, a CLIP learns."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.browser.conftest import PATIENCE, number
from tests.browser.test_labs import HOSTILE, done, fits, grey_png

QUICK = "&view.scene_steps=4&view.at=2"


def inside(open_page: Any, more: str = QUICK, size: str = "projector") -> Any:
    page = open_page(f"?v=1&tab=labs&view.page=inside{more}", size=size)
    page.locator(".u-net .part").first.wait_for()
    return page


def part(page: Any, name: str) -> Any:
    return page.locator(f'.u-net [data-name="{name}"]')


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_a_part_is_clicked_and_shows_what_it_puts_out_at_a_step(open_page: Any, size: str) -> None:
    page = inside(open_page, size=size)
    middle, board = part(page, "mid_block.resnets.0").bounding_box(), page.locator(".u-board").bounding_box()
    assert board["x"] <= middle["x"] and middle["x"] + middle["width"] <= board["x"] + board["width"]
    assert page.locator(".inside .note", has_text="slide it sideways").is_visible() == (size == "phone")
    page.wait_for_function("document.querySelector('#inside-step input[type=range]').max === '4'")  # no step beyond the run
    assert page.locator("#inside-step input[type=number]").input_value() == "2"  # and the link's own stays
    assert page.locator(".u-net .skip").count() >= 2 and "channels of" in (part(page, "conv_in").get_attribute("aria-label") or "")
    page.locator("#inside-go").click()
    done(page, "inside")
    page.locator(".inside .channels img").wait_for()
    part(page, "up_blocks.0.resnets.0").dispatch_event("click")
    page.locator(".inside h4", has_text="GroupNorm and SiLU").wait_for()
    assert "residual block 1" in page.locator(".inside .told h4").inner_text()
    assert "multiply-adds" in page.locator(".inside .told .numbers").inner_text()
    assert part(page, "up_blocks.0.resnets.0").get_attribute("aria-pressed") == "true"
    before = page.locator(".inside .channels img").get_attribute("src")
    page.locator("#inside-step input[type=number]").fill("4")
    page.locator("#inside-step input[type=number]").press("Enter")
    page.wait_for_function("src => (document.querySelector('.inside .channels img') || {}).src !== src", arg=before)
    page.locator(".inside .note", has_text="Step 4 of 4").wait_for()
    assert fits(page)


def test_the_map_is_walked_by_keys_and_a_position_looks_somewhere(open_page: Any) -> None:
    page = inside(open_page)
    page.locator("#inside-go").click()
    done(page, "inside")
    page.locator(".inside .channels img").wait_for()
    page.locator(".inside .picture").click(position={"x": 20, "y": 20})
    page.locator(".inside canvas.heat:visible").wait_for()
    first = page.locator(".inside .cross").get_attribute("style")
    page.locator(".inside .picture").press("ArrowDown")
    page.wait_for_function("was => document.querySelector('.inside .cross').getAttribute('style') !== was", arg=first)
    assert "mean of" in page.locator(".inside .seen .note").inner_text()
    part(page, "mid_block.attentions.0").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator(".inside .told h4", has_text="Middle: residual block 2").wait_for()
    assert page.locator("#inside-part input").first.input_value() == "middle: residual block 2"


def test_the_position_that_was_clicked_is_in_the_link_and_is_asked_again_at_every_step(open_page: Any) -> None:
    page = inside(open_page, f"{QUICK}&view.pixel_down=0.25&view.pixel_right=0.75")
    page.locator("#inside-go").click()
    page.locator(".inside canvas.heat:visible").wait_for(timeout=2 * PATIENCE)
    assert "top: 25%; left: 75%" in page.locator(".inside .cross").get_attribute("style")
    page.locator("#inside-step input[type=number]").fill("4")
    page.locator("#inside-step input[type=number]").press("Enter")
    page.locator(".inside .seen .note", has_text="Step 4 of 4").filter(has_text="The cross looks").wait_for()
    page.locator(".inside .picture").press("ArrowDown")  # one of its four rows down
    page.locator("#share-button").click()
    place = "view.pixel_down=0.5&view.pixel_right=0.75"
    page.wait_for_function("place => document.querySelector('#share-link textarea')?.value.includes(place)", arg=place)


def test_what_is_switched_off_costs_loss_and_makes_another_picture(open_page: Any) -> None:
    page = inside(open_page, f"{QUICK}&view.off=middle")
    page.locator("#switched-go").click()
    line = done(page, "switched")
    assert line.startswith("The loss grows without the bottleneck")
    images = page.locator(".switched .gallery img")
    assert images.count() == 2 and images.nth(0).get_attribute("src") != images.nth(1).get_attribute("src")
    assert page.locator(".switched figcaption").nth(1).inner_text() == "without the bottleneck"
    assert "[" in page.locator(".switched .change").nth(1).inner_text() and page.locator(".switched svg.chart").count() == 1
    assert fits(page)


def test_skips_are_switched_off_level_by_level_and_stopped(open_page: Any) -> None:
    page = inside(open_page)
    page.locator("#switched-go").click()
    page.locator(".switched figure", has_text="level 1").wait_for()
    page.locator("#switched-stop").click()
    page.wait_for_selector("[data-state=stopped] > .switched", timeout=2 * PATIENCE)
    assert page.locator(".switched figure").count() >= 2
    page.wait_for_selector("#switched-go:enabled")


def test_a_prompt_without_words_has_none_to_leave_out_and_nothing_runs_as_html(open_page: Any) -> None:
    page = inside(open_page, f"{QUICK}&view.off=words")
    page.locator("#inside-prompt input, #inside-prompt textarea").first.fill(" ")
    page.locator("#switched-go").click()
    page.locator("[data-state=failed] > .g-line", has_text="no words").wait_for()
    page.locator("#inside-prompt input, #inside-prompt textarea").first.fill(HOSTILE)
    page.locator("#switched-go").click()
    page.locator(".switched figure", has_text="“img”").first.wait_for(timeout=2 * PATIENCE)
    page.locator("#switched-stop").click()
    assert page.evaluate("window.hits") is None


# ------------------------------------------------------------------------------------------------- CLIP


def clip(open_page: Any, size: str = "projector", more: str = "") -> Any:
    page = open_page(f"?v=1&tab=labs&view.page=clip&view.pairs=4{more}", size=size)
    page.locator("#clip-go").wait_for()
    return page


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_the_matrix_has_both_forms_of_the_loss_at_every_temperature(open_page: Any, size: str) -> None:
    page = clip(open_page, size)
    page.locator("#clip-go").click()
    done(page, "pairs")
    assert page.locator(".pairs td").count() == 16 and page.locator(".pairs .matrix img").count() == 4

    def loss(name: str) -> float:
        return number(page.locator(f".pairs .m-losses .{name} b").inner_text())

    assert loss("rows") + loss("columns") == pytest.approx(loss("total"), abs=0.002)
    assert loss("mean") == pytest.approx(loss("total") / 2, abs=0.002)
    core = page.locator(".pairs .m-losses .total small").inner_text().rpartition(": ")[2]
    assert loss("total") == pytest.approx(number(core), abs=0.002)  # the page and the core agree
    page.locator(".pairs input[type=range]").focus()
    page.keyboard.press("End")  # the highest temperature forgets what was learnt
    assert loss("total") == pytest.approx(2 * math.log(4), rel=0.15)
    page.get_by_role("button", name="softmax of each row").click()
    row = [float(cell) for cell in page.locator(".pairs tr").nth(1).locator("td").all_inner_texts()]
    assert sum(row) == pytest.approx(1, abs=0.03)
    assert fits(page)


def test_temperature_and_kind_of_the_matrix_are_in_the_link(open_page: Any) -> None:
    page = clip(open_page, more="&view.tau=0.5&view.matrix=rows")
    page.locator("#clip-go").click()
    done(page, "pairs")
    pressed, told = page.locator(".pairs .m-bar [aria-pressed=true]"), page.locator(".pairs output")
    assert told.inner_text() == "0.5" and pressed.inner_text() == "softmax of each row"
    page.locator(".pairs input[type=range]").press("End")
    page.get_by_role("button", name="softmax of each column").click()
    page.locator("#share-button").click()
    page.wait_for_function("/view.tau=3.16&view.matrix=columns/.test(document.querySelector('#share-link textarea')?.value)")
    page.locator("#reset").click()  # to what the link says
    page.wait_for_function("document.querySelector('.pairs output').textContent === '0.5'")
    assert pressed.inner_text() == "softmax of each row"


def test_a_picture_finds_its_name_among_typed_ones_that_stay_text(open_page: Any) -> None:
    page = clip(open_page)
    page.locator("#zero-go").click()
    page.locator("[data-state=failed] > .g-line", has_text="no picture yet").wait_for()
    upload = page.locator("#clip-own input[type=file]").first
    upload.set_input_files({"name": "g.png", "mimeType": "image/png", "buffer": grey_png()})
    page.locator("#clip-own img").first.wait_for()
    page.locator("#clip-names textarea").fill(f"grey square, red apple, {HOSTILE}")
    page.locator("#zero-go").click()
    assert "Most probable of 3" in done(page, "zero")
    assert page.locator(".zero .bar-row").count() == 3 and page.evaluate("window.hits") is None


def test_a_tiny_clip_begins_at_2_ln_n_and_is_stopped(open_page: Any) -> None:
    page = clip(open_page)
    page.locator("#tiny-go").click()
    page.wait_for_selector("[data-state=running] > .tiny svg.chart")
    assert page.locator(".tiny .legend", has_text="2·ln 32").count() == 1 and page.locator(".tiny canvas.shares").count() == 1
    page.locator("#tiny-stop").click()
    page.wait_for_selector("[data-state=stopped] > .tiny", timeout=2 * PATIENCE)
    assert page.locator(".tiny svg.chart").count() == 2
    page.wait_for_selector("#tiny-go:enabled")
