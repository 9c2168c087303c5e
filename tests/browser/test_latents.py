"""The Latents tab in a real browser: channels changed and decoded, walks scrubbed alone, the map clicked, sizes slid."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio.figures.noising import drawn_example
from tests.browser.conftest import PATIENCE, choose
from tests.browser.test_samplers import toast


def opened(open_page: Any, part: str = "Channels", size: str = "projector", query: str = "") -> Any:
    """The Latents tab on one of its pages."""
    page = open_page(query, size=size)
    choose(page, "Latents")
    if part != "Channels":
        choose(page, part, "#l-pages")
    return page


def press(page: Any, name: str) -> str:
    """Begin the work of a page, wait for its end, and give the line that it ends with."""
    page.locator(f"#l-{name}-go").click()
    return done(page, name)


def done(page: Any, name: str, state: str = "done") -> str:
    page.wait_for_function(
        "([name, state]) => document.querySelector(`#l-${name} .g-line`)?.closest('[data-state]')?.dataset.state === state",
        arg=[name, state], timeout=2 * PATIENCE,
    )  # fmt: skip
    return str(page.locator(f"#l-{name} .g-line").inner_text())


def upload(page: Any, image: Image.Image, folder: Path, name: str = "picture.png") -> None:
    image.save(folder / name)
    page.locator("#l-picture input[type=file]").first.set_input_files(folder / name)


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


# ------------------------------------------------------------------------------------------------------- channels


@pytest.mark.parametrize("size", ["projector", "tablet", "phone"])
def test_a_picture_is_taken_apart_changed_and_put_together(open_page: Any, size: str) -> None:
    page = opened(open_page, size=size)
    press(page, "channels")
    assert "49,152 numbers become 4·16·16 = 1,024: 48 times fewer" in page.locator("#l-channels .about").first.inner_text()
    assert page.locator("#l-channels canvas.l-map").count() == 4 and page.locator("#l-channels .l-histogram svg").count() == 4
    lost = page.locator("#l-channels figure:visible", has_text=re.compile(r"channel \d is 0"))
    assert lost.count() == 4 and all("PSNR" in text for text in lost.all_inner_texts())
    page.locator("#l-channels .l-zero").nth(1).click()
    page.get_by_text("from the changed channels").locator("visible=true").wait_for()
    assert "mean 0.00, std 0.00" in page.locator("#l-channels .l-card").nth(1).inner_text()
    # What the button zeroed is what the ablation left out.
    changed, ablated = (page.locator("#l-channels figure", has_text=text).locator("img").first.get_attribute("src")
                        for text in ("from the changed", "channel 2 is 0"))  # fmt: skip
    assert changed == ablated
    assert fits(page)


def test_a_channel_is_swapped_and_slid_with_the_keyboard(open_page: Any) -> None:
    page = opened(open_page)
    press(page, "channels")
    page.get_by_role("button", name="Swap 1 and 2").click()
    chosen = page.locator("#l-channels .l-from select").evaluate_all("nodes => nodes.map(node => node.value)")
    assert chosen == ["1", "0", "2", "3"]
    result = page.locator("#l-channels figure", has_text="from the changed").locator("img")
    page.wait_for_function("document.querySelectorAll('#l-channels .l-pictures figure:not([hidden])').length >= 9")
    first = result.get_attribute("src")
    page.locator("#l-channels .l-card input[type=range]").first.press("ArrowRight")
    page.wait_for_function("old => ![...document.querySelectorAll('#l-channels img')].some(node => node.src === old)", arg=first)
    page.get_by_role("button", name="As it was").click()
    result.wait_for(state="hidden")


def test_an_upload_is_encoded_by_itself_and_a_bad_one_is_told(open_page: Any, tmp_path: Path) -> None:
    page = opened(open_page)
    upload(page, drawn_example(200).rotate(90), tmp_path)
    done(page, "channels")
    page.wait_for_selector("#l-channels img")
    before = page.locator("#l-channels img").first.get_attribute("src")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    page.locator("#l-picture").get_by_label("Remove Image").click()
    page.locator("#l-picture input[type=file]").first.set_input_files(tmp_path / "bad.png")
    assert "cannot be read as a picture" in toast(page)
    assert page.locator("#l-channels img").first.get_attribute("src") == before


# ------------------------------------------------------------------------------------------------------- between two


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_frames_are_scrubbed_without_asking_anybody(open_page: Any, size: str) -> None:
    page = opened(open_page, "Between", size, "?v=1&tab=latents&prompt=a+red+apple&steps=2")
    page.wait_for_function("document.querySelector('#l-steps input[type=number]').value === '2'")
    page.locator("#l-frames input[type=number]").fill("5")
    page.locator("#l-frames input[type=number]").press("Tab")
    assert "2 × 5 frames" in press(page, "between")
    page.wait_for_function("document.querySelectorAll('#l-between .l-strip canvas:not(.l-empty)').length === 10")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if not request.url.startswith("data:") else None)
    seen = set()
    scrub = page.locator("#l-between .slide input")
    for index in range(5):
        scrub.fill(str(index))
        seen.add(page.locator("#l-between .l-lanes canvas").nth(1).evaluate("node => node.toDataURL()"))
        assert f"frame {index + 1} of 5" in page.locator("#l-between .slide output").inner_text()
    assert len(seen) == 5 and not [url for url in asked if "heartbeat" not in url]
    scrub.press("ArrowLeft")
    assert page.locator("#l-between .g-view").get_attribute("data-at") == "3"
    assert fits(page)


def test_between_pictures_the_other_one_is_made_where_none_is_uploaded(open_page: Any) -> None:
    page = opened(open_page, "Between", query="?v=1&tab=latents&steps=2")
    page.get_by_label("pictures", exact=True).click()
    page.locator("#l-other-prompt textarea, #l-other-prompt input").first.wait_for()
    page.locator("#l-frames input[type=number]").fill("3")
    page.locator("#l-frames input[type=number]").press("Tab")
    assert "3 × 3 frames" in press(page, "between")
    ways = page.locator("#l-between .l-lanes figcaption b").all_inner_texts()
    assert ways == ["pixels, linear", "linear", "spherical"]


# ------------------------------------------------------------------------------------------------------- the map


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_a_run_is_drawn_among_the_training_pictures_and_neighbours_have_their_credit(open_page: Any, size: str) -> None:
    page = opened(open_page, size=size, query="?v=1&tab=latents&prompt=a+red+apple&steps=3")
    page.wait_for_function("document.querySelector('#l-steps input[type=number]').value === '3'")
    page.locator("#l-make").click()
    done(page, "channels")
    choose(page, "Map", "#l-pages")
    press(page, "map")
    assert "a run of 3 steps among them" in page.locator("#l-map canvas.l-cloud").get_attribute("aria-label")
    rows = page.locator("#l-map .l-origin:not(.l-own)")
    assert rows.count() == 6
    for text in rows.all_inner_texts():
        assert "by " in text and any(name in text for name in ("MIT", "Apache-2.0", "CC-BY-4.0"))
    assert rows.first.locator("a").count() == 2
    assert page.evaluate("getComputedStyle(document.querySelector('#l-map canvas.l-cloud')).width !== '0px'")
    page.locator("#l-map canvas.l-cloud").click()
    clicked = page.locator("#l-map .l-origin", has_text="Clicked:")
    clicked.wait_for()
    before = clicked.inner_text()
    page.locator("#l-map canvas.l-cloud").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("before => !document.querySelector('#l-map .l-side > div').innerText.includes(before)", arg=before)
    assert fits(page)


# ------------------------------------------------------------------------------------------------------- lost and saved


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_what_is_lost_stands_there_by_frequency(open_page: Any, size: str) -> None:
    page = opened(open_page, "What is lost", size)
    press(page, "lost")
    assert page.locator("#l-lost .chart polyline").count() == 3
    assert page.locator("#l-lost table tbody tr").count() == 5
    assert page.locator("#l-lost img").first.evaluate("node => node.naturalWidth") == 128
    assert "dB [" in page.locator("#l-lost .strong").inner_text()
    assert fits(page)


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_the_sizes_of_the_source_are_slid_to_and_the_networks_cost_is_counted(open_page: Any, size: str) -> None:
    page = opened(open_page, "Why", size)
    numbers = page.locator("#l-why .l-boxes")
    numbers.wait_for()
    assert "3·512·512 = 786,432" in numbers.inner_text() and "4·64·64 = 16,384" in numbers.inner_text()
    scrub = page.locator("#l-why .slide input")
    scrub.fill("2")
    assert "3·128·128 = 49,152" in numbers.inner_text() and "48 times fewer" in numbers.inner_text()
    press(page, "why")
    rows = page.locator("#l-why table tbody th").all_inner_texts()
    assert "operations of one call of this U-Net" in rows and "seconds of one call here, measured" in rows
    assert fits(page)
