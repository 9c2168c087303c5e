"""The film of a run in a real browser: scrubbed without a request, taken apart, watched, branched, stopped and taken along."""

from __future__ import annotations

import base64
import re
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser.test_prompt import HOSTILE, toast

DONE, STOPPED = (f"#film [data-state={state}]" for state in ("done", "stopped"))
SHORT = "?v=1&tab=denoise&prompt=a+red+apple&seed=7&steps=6&sampler=euler_ancestral"


def opened(open_page: Any, query: str = SHORT, size: str = "projector") -> Any:
    """The tab, its widgets set to what the link says."""
    page = open_page(query, size=size)
    page.get_by_role("tab", name="Denoise").click()
    page.wait_for_function("document.querySelector('#film-prompt textarea')?.value")
    return page


def generate(page: Any) -> None:
    page.locator("#film-go").click()
    page.wait_for_selector(DONE)
    page.wait_for_selector("#film-go:enabled")


def go_to(page: Any, index: int) -> None:
    page.locator("#film .scrub").evaluate("(node, to) => { node.value = to; node.dispatchEvent(new Event('input')); }", index)
    page.wait_for_function(f"document.querySelector('#film .scrub').getAttribute('aria-valuetext').startsWith('step {index} ')")


def step(page: Any) -> int:
    return int(page.locator("#film .film").get_attribute("data-k"))


def unfold(page: Any, title: str) -> None:
    page.get_by_role("button", name=title).click()


def drawn(page: Any, selector: str) -> str:
    """What a canvas shows, as data."""
    return str(page.locator(selector).evaluate("node => node.toDataURL()"))


def far(page: Any) -> float:
    """How different the two futures look, on average over pixels and colours."""
    files = (BytesIO(base64.b64decode(drawn(page, f"[data-pair={name}]").partition(",")[2])) for name in "ab")
    one, other = (np.asarray(Image.open(file).convert("RGB"), dtype=float) for file in files)
    return float(np.abs(one - other).mean())


@pytest.mark.parametrize("size", ["projector", "tablet", "phone"])
def test_a_run_becomes_a_film_whose_every_step_is_its_terms(open_page: Any, size: str) -> None:
    page = opened(open_page, size=size)
    generate(page)
    assert step(page) == 5  # the last one that has terms
    go_to(page, 6)
    assert "no next step" in page.locator("#film .hand .formula").inner_text()
    seen = set()
    for index in range(6):
        go_to(page, index)
        check = page.locator("#film .check")
        assert float(check.get_attribute("data-error")) < 1e-6 and "equal to within 10⁻⁶" in check.inner_text()
        names = page.locator("#film .hand .terms figcaption > span:first-of-type").all_inner_texts()
        assert ("fresh noise" in names) is (index < 5)  # the last step ends clean
        seen.add(drawn(page, "#film [data-view=x0] canvas"))
        assert page.locator("#film .equation canvas").first.evaluate("node => node.width") == 128
    assert len(seen) == 6
    numbers = page.locator("#film .numbers").inner_text()
    assert "SNR" in numbers and "dB" in numbers and "NFE" in numbers and "‖" in numbers
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_scrubbing_asks_nobody_and_shows_thirty_frames_a_second(open_page: Any) -> None:
    page = opened(open_page, SHORT.replace("steps=6", "steps=30").replace("euler_ancestral", "dpmpp_2m"))
    generate(page)
    page.wait_for_timeout(500)
    asked: list[str] = []
    page.on("request", lambda request: None if request.url.startswith(("data:", "blob:")) else asked.append(request.url))
    page.locator("#film .film").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("document.querySelector('#film .film').dataset.k === '1'")
    page.locator("#film .on").click()
    page.wait_for_function("document.querySelector('#film .film').dataset.k === '2'")
    page.locator("#film .speed").select_option("30")
    page.evaluate("document.activeElement.blur()")
    before = int(page.locator("#film .film").get_attribute("data-drawn"))
    page.keyboard.press("ArrowLeft")  # nothing has the focus: the arrow keys are the page's own
    page.wait_for_timeout(200)
    assert step(page) == 2
    page.keyboard.press("Space")  # and the film in view plays
    page.wait_for_function("document.querySelector('#film .film').dataset.k === '30'")
    assert int(page.locator("#film .film").get_attribute("data-drawn")) - before >= 20  # of 28; a busy machine may miss some
    rate = page.locator("#film .scrub").evaluate("""async (node) => {
        const begun = performance.now();
        for (let i = 0; i < 60; i += 1) {
            node.value = i % 30;
            node.dispatchEvent(new Event('input'));
            await new Promise((shown) => requestAnimationFrame(shown));
        }
        return 60000 / (performance.now() - begun);
    }""")
    assert rate >= 30
    assert not asked


def test_latents_and_the_halves_of_guidance_are_shown(open_page: Any) -> None:
    page = opened(open_page)
    generate(page)
    go_to(page, 3)
    picture = drawn(page, "#film [data-view=x] canvas")
    page.locator("#film .mode").select_option("latents")
    page.wait_for_function("document.querySelector('#film [data-view=x] canvas').width === 32")  # 2 × 2 channels of 16 × 16
    assert drawn(page, "#film [data-view=x] canvas") != picture
    page.locator("#film .mode").select_option("pictures")
    page.locator("#film .halves summary").click()
    page.wait_for_function("document.querySelector('#film .halves canvas')?.width === 128")  # decoded on demand
    text = page.locator("#film .halves").inner_text()
    assert "γ 4 = CFG scale 5" in text and "5 · ε̂(words)" in text and "4 · ε̂(no words)" in text


def test_a_run_that_the_prompt_tab_made_is_not_computed_again(open_page: Any) -> None:
    page = opened(open_page, "?v=1&tab=denoise&prompt=a+red+pear&seed=21&steps=5")
    page.get_by_role("tab", name="Prompt").click()
    for widget, value in (("#prompt textarea", "a red pear"), ("#seed input", "21"), ("#steps input[type=number]", "5")):
        page.locator(widget).fill(value)
    page.locator("#generate").click()
    page.wait_for_selector("#stage [data-state=done]")
    page.get_by_role("tab", name="Denoise").click()
    generate(page)
    assert "remembered from before" in page.locator("#film .line").inner_text()


def test_another_future_stands_beside_the_first_and_its_link_brings_both(open_page: Any) -> None:
    page = opened(open_page)
    generate(page)
    go_to(page, 1)
    unfold(page, "Another future from this step")
    page.locator("#film-other-prompt textarea").fill(HOSTILE)
    page.locator("#film-branch").click()
    page.wait_for_selector("#film .pair:not([hidden])")
    page.wait_for_selector(DONE)
    page.wait_for_selector("#film-go:enabled")
    go_to(page, 0)
    assert "same run" in page.locator("#film .apart").inner_text()
    assert far(page) < 4  # of 255: what compression leaves
    go_to(page, 5)
    assert "moved apart" in page.locator("#film .apart").inner_text()
    assert far(page) > 8
    assert HOSTILE in page.locator("[data-said=b]").inner_text() and page.evaluate("window.hits") is None
    page.locator("#film .future").select_option("b")
    page.wait_for_function("document.querySelector('#film .film').dataset.lane === 'b'")
    unfold(page, "Take it along")
    link = page.locator("#film-link input").input_value()
    other = opened(open_page, "?" + link.partition("?")[2])
    generate(other)
    other.wait_for_selector("#film .pair:not([hidden])")
    assert "remembered" in other.locator("#film .line").inner_text()


def test_words_are_watched_and_left_out_at_the_step_that_is_shown(open_page: Any) -> None:
    page = opened(open_page)
    generate(page)
    go_to(page, 2)
    unfold(page, "Where the words look")
    page.locator("#film-leave").click()
    page.wait_for_selector("#looks img:not([hidden])")
    assert page.locator("#looks figcaption b").all_inner_texts() == ["a", "red", "apple", "start, end and padding"]
    shares = [float(found) for found in re.findall(r"([\d.]+) % of the attention", page.locator("#looks").inner_text())]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    assert page.locator("#looks").inner_text().count("changes by") == 3 and "At step 2" in page.locator("#looks .when").inner_text()
    whole = drawn(page, "#looks figure:nth-child(3) canvas")
    layers = page.locator("#looks .layer option").all_inner_texts()
    assert layers[0].startswith("all layers") and len(layers) > 3
    page.locator("#looks .layer").select_option(index=2)
    assert drawn(page, "#looks figure:nth-child(3) canvas") != whole


def test_a_known_noise_is_hidden_at_every_t_and_a_run_is_repeated(open_page: Any) -> None:
    page = opened(open_page)
    generate(page)
    unfold(page, "Ask the network yourself")
    page.locator("#film-known").click()
    page.wait_for_selector("#probe .found:not([hidden])")
    page.wait_for_selector("#film-go:enabled")
    assert "mean (ε − ε̂)²" in page.locator("#probe output").inner_text()
    page.locator("#film-again").click()
    page.get_by_text("Run again:").wait_for()
    assert "to the last bit" in page.locator("#probe .line").inner_text()


def test_of_a_large_picture_a_frame_is_decoded_when_it_is_clicked(open_page: Any) -> None:
    page = opened(open_page, "?v=1&tab=denoise&prompt=a+red+apple&seed=7&steps=2&gamma=0&width=272&height=272")
    generate(page)
    go_to(page, 1)
    canvas = "#film [data-view=x0] canvas"
    assert page.locator(canvas).evaluate("node => node.width") == 34
    page.locator(canvas).click()
    page.wait_for_function(f"document.querySelector('{canvas}').width === 272")


def test_stop_keeps_what_was_there_and_a_mistake_is_said_in_a_sentence(open_page: Any) -> None:
    page = opened(open_page)
    generate(page)
    page.locator("#film-steps input[type=number]").fill("90")
    page.locator("#film-prompt textarea").fill("a whale")
    page.locator("#film-go").click()
    page.wait_for_selector("#film [data-state=running]")
    page.locator("#film-stop").click()
    page.wait_for_selector(STOPPED)
    page.wait_for_selector("#film-go:enabled")
    assert re.search(r"Stopped at \d+/90", page.locator("#film .line").inner_text())
    go_to(page, 3)
    assert page.locator("#film .numbers").inner_text().count("3 of 6") == 1
    page.locator("#film-seed input").fill("eleven")
    page.locator("#film-go").click()
    assert "seed is 'eleven'" in toast(page)
    page.wait_for_selector("#film-go:enabled")
    assert page.locator("#film-prompt textarea").input_value() == "a whale"


def test_the_film_is_a_file_and_without_pyav_a_sentence_says_how_to_get_video(open_page: Any) -> None:
    page = opened(open_page)
    generate(page)
    unfold(page, "Take it along")
    page.locator("#film-make").click()
    page.wait_for_selector("#film-file a")
    with page.expect_download() as download:
        page.locator("#film-file a").first.click()
    with Image.open(download.value.path()) as image:
        assert image.format == "GIF" and image.n_frames == 7
    page.wait_for_selector("#film-go:enabled")
    if find_spec("av") is None:
        page.locator("#film-form input").click()
        page.get_by_role("option", name="MP4 video").click()
        page.locator("#film-make").click()
        assert "pip install av" in toast(page)


def test_fifty_steps_reach_the_page_in_about_two_megabytes(open_page: Any) -> None:
    page = opened(open_page, SHORT.replace("steps=6", "steps=50"))
    wire = page.context.new_cdp_session(page)
    wire.send("Network.enable")
    came: list[int] = []
    wire.on("Network.dataReceived", lambda event: came.append(event["dataLength"]))
    generate(page)
    assert page.locator("#film .scrub").get_attribute("max") == "50"
    assert 100_000 < sum(came) < 2_500_000
