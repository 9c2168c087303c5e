"""The schedules tab in a real browser: charts that answer to hovering, rulers under the arrow keys, a picture noised, time read."""

from __future__ import annotations

import math
import re
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from core.schedules import SPACINGS, make, make_path
from tests.browser.conftest import PATIENCE, choose, number

HOSTILE = "<img src=x onerror=window.hits=1>${window.hits=1}{{window.hits=1}}"


def opened(open_page: Any, part: str = "", size: str = "projector") -> Any:
    page = open_page(size=size)
    choose(page, "Schedules")
    if part:
        choose(page, part, "#schedules")
    return page


def until(page: Any, selector: str, part: str) -> str:
    """Wait until a piece of the page says this, and give all that it says."""
    page.wait_for_function("([s, t]) => document.querySelector(s)?.textContent.includes(t)", arg=[selector, part], timeout=PATIENCE)
    return str(page.locator(selector).first.text_content())


@pytest.mark.parametrize("size", ["projector", "tablet", "phone"])
def test_the_curves_are_drawn_and_answer_to_hovering(open_page: Any, size: str) -> None:
    page = opened(open_page, size=size)
    chart = page.locator("#curve-t svg.marks")
    chart.wait_for()
    chart.scroll_into_view_if_needed()
    for where in ({"x": 150, "y": 90}, {"x": 170, "y": 100}):
        chart.hover(position=where)
    tip = page.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    assert "schedule" in tip.inner_text() and any(name in tip.inner_text() for name in ("linear", "cosine", "sigmoid"))
    names = page.locator("#curve-legend li")
    assert names.all_inner_texts() == page.locator("#curve-schedules label").all_inner_texts()
    ends = [(box["x"], box["x"] + box["width"]) for box in (name.bounding_box() for name in names.all())]
    assert all(left > 0 and right < page.viewport_size["width"] for left, right in ends)
    page.get_by_label("density over λ").click()
    assert "dt/dλ" in until(page, "#curve-formula", "dt/dλ")
    until(page, "#curve-t svg.marks", "0.35")  # the largest density is 0.32: the curves have changed with the formula
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_schedule_can_be_left_out_but_not_all_of_them(open_page: Any) -> None:
    page = opened(open_page)
    boxes = page.locator("#curve-schedules input[type=checkbox]")
    boxes.first.wait_for()
    for index in range(boxes.count()):
        boxes.nth(index).uncheck()
    until(page, "#curve-formula", "choose at least one of linear")
    assert page.locator("#curve-t svg, #curve-t canvas").count()  # what was drawn last still stands
    boxes.first.check()
    page.wait_for_function("!document.querySelector('#curve-formula').textContent.includes('choose')")


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_each_spacing_has_its_row_and_the_arrow_keys_read_its_levels(open_page: Any, size: str) -> None:
    page = opened(open_page, "Steps", size)
    rows = page.locator("#rulers .rows .row")
    rows.first.wait_for()
    assert rows.locator(".name").all_inner_texts() == list(SPACINGS)
    page.locator("#steps-count input[type=number]").fill("4")
    page.locator("#steps-count input[type=number]").press("Enter")
    page.wait_for_function("document.querySelectorAll('#rulers .rows .row:nth-child(2) .ruler:nth-child(2) b').length === 5")
    rows.nth(list(SPACINGS).index("karras")).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    said = until(page, "#rulers .line", "karras, level 2 of 5")
    schedule = page.locator("#steps-schedule input").input_value()
    level = make_path(make(schedule.split(" (")[0].replace(" ", "_")), "karras", 4).levels[1]
    read = {name: number(value) for name, value in re.findall(r"([^\s,]+) = (−?[\d.]+(?:e[+-]\d+)?)", said)}
    assert read["σ/α"] == pytest.approx(level.nsr, rel=1e-3) and read["α"] == pytest.approx(level.alpha, rel=1e-3)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_levels_of_ones_own_become_a_row_and_a_link_and_bad_ones_a_sentence(open_page: Any) -> None:
    page = opened(open_page, "Steps")
    box = page.locator("#steps-own textarea, #steps-own input").first
    box.fill("9, 3, 1, 0")
    link = page.locator("#rulers .open")
    link.wait_for()
    assert "sigmas=9%2C3%2C1%2C0" in link.get_attribute("href") and "tab=denoise" in link.get_attribute("href")
    assert page.locator("#rulers .rows .name").last.inner_text() == "your own"
    box.fill("1, 2")
    until(page, "#rulers .line.wrong", "2 follows 1, but σ/α must fall")
    box.fill(HOSTILE)
    until(page, "#rulers .line.wrong", "is not a number")
    assert page.evaluate("window.hits") is None


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_a_picture_is_noised_under_two_schedules_and_can_be_ones_own(open_page: Any, size: str) -> None:
    page = opened(open_page, "Noising", size)
    page.locator("#noised .pane img").first.wait_for()
    before = page.locator("#noised .pane img").first.get_attribute("src")
    page.locator("#noising-t input[type=number]").fill("700")
    page.locator("#noising-t input[type=number]").press("Enter")
    said = until(page, "#noised .pane .equation", "x₇₀₀")
    assert f"{math.sqrt(make('linear').alpha_bar[700]):.4f}·x₀" in said
    assert page.locator("#noised .pane img").first.get_attribute("src") != before
    clean = page.locator("#noised .given img").first.get_attribute("src")
    file = BytesIO()
    Image.new("RGB", (300, 200), "red").save(file, "PNG")
    upload = page.locator("#noising-picture input[type=file]")
    upload.set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": file.getvalue()})
    page.wait_for_function("old => document.querySelector('#noised .given img').src !== old", arg=clean)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_what_is_no_picture_is_refused_with_a_sentence(open_page: Any) -> None:
    page = opened(open_page, "Noising")
    upload = page.locator("#noising-picture input[type=file]")
    upload.set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"hello"})
    toast = page.locator(".toast-body").first
    toast.wait_for()
    assert "PNG, JPEG or WebP, please" in toast.inner_text()


def test_the_model_makes_a_picture_to_noise(open_page: Any) -> None:
    page = opened(open_page, "Noising")
    page.locator("#noised .given img").first.wait_for()
    clean = page.locator("#noised .given img").first.get_attribute("src")
    page.locator("#noising-go").click()
    page.wait_for_function("old => document.querySelector('#noised .given img').src !== old", arg=clean, timeout=PATIENCE)
    pixels = page.locator("#noised .given img").first.evaluate(
        "node => { const c = document.createElement('canvas'); c.width = c.height = 8; const x = c.getContext('2d');"
        " x.drawImage(node, 0, 0, 8, 8); return new Set([...x.getImageData(0, 0, 8, 8).data].map(v => v >> 4)).size }"
    )
    assert pixels > 2  # a picture, not one colour


def test_the_heat_map_reads_the_embedding_that_the_network_gets(open_page: Any) -> None:
    import torch

    from core.nets.layers import time_embedding

    page = opened(open_page, "Time")
    image = page.locator("#heat img")
    image.wait_for()
    for share in (0.2, 0.8):
        box = image.bounding_box()
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.3 * box["height"])
        said = until(page, "#heat .line", "feature")
        t, feature = (int(value) for value in re.findall(r"t = (\d+), feature (\d+)", said)[0])
        dim = int(page.locator("#time-dim input").input_value().split()[0])
        wanted = time_embedding(torch.tensor([t]), dim)[0, feature].item()
        assert number(said.rpartition("= ")[2]) == pytest.approx(wanted, abs=2e-3)
    page.locator("#likeness canvas, #likeness svg.marks").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize(("part", "name"), [("Curves", "schedules-alpha_bar.svg"), ("Steps", ".svg"), ("Time", ".svg")])
def test_a_figure_is_saved_as_a_file(open_page: Any, part: str, name: str) -> None:
    page = opened(open_page, part)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as SVG").click()
    assert download.value.suggested_filename.endswith(name)
    with open(download.value.path(), "rb") as file:
        assert b"<svg" in file.read(2000)
