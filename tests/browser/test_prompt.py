"""The first tab in a real browser: words in, a picture out, and everything a visitor does with it."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs

import pytest
from PIL import Image

from core import load_pipeline
from core.recipe import Recipe
from tests.browser.conftest import PATIENCE, choose

HOSTILE = "<img src=x onerror=window.hits=1>${window.hits=1}{{window.hits=1}}"
PIXELS = """node => {
    const canvas = Object.assign(document.createElement("canvas"), { width: node.naturalWidth, height: node.naturalHeight });
    canvas.getContext("2d").drawImage(node, 0, 0);
    return canvas.toDataURL();
}"""
DONE, RUNNING, STOPPED = (f"#stage [data-state={state}]" for state in ("done", "running", "stopped"))


def opened_by(link: str, open_page: Any) -> Any:
    """A page whose widgets show what the link says."""
    page = open_page(link)
    (said,) = parse_qs(link.removeprefix("?"))["prompt"]  # other words stand there before the link is read
    page.wait_for_function("said => window.studio?.open && document.querySelector('#prompt textarea')?.value === said", arg=said)
    return page


def generate(page: Any, prompt: str) -> None:
    page.locator("#prompt textarea").fill(prompt)
    page.locator("#generate").click()
    page.wait_for_selector(DONE)


def toast(page: Any) -> str:
    found = page.locator(".toast-body").first
    found.wait_for()
    return str(found.inner_text())


def test_the_first_press_of_all_makes_a_picture_of_words_that_the_model_does_well(open_page: Any) -> None:
    page = open_page()
    page.wait_for_function("window.studio?.open")
    page.locator("#generate").click()
    page.wait_for_selector(DONE)
    assert page.locator("#stage img").get_attribute("alt") == load_pipeline(device="cpu").extras.examples[0]


def test_who_types_on_arrival_or_after_a_first_click_replaces_the_words_that_stood_there(open_page: Any) -> None:
    page = open_page()
    page.wait_for_function("window.studio?.open")
    page.keyboard.type("a whale")
    assert page.locator("#prompt textarea").input_value() == "a whale"
    page.locator("#prompt textarea").click(position={"x": 5, "y": 15})
    page.keyboard.press("Home")
    page.keyboard.type("not ")
    assert page.locator("#prompt textarea").input_value() == "not a whale"
    choose(page, "Denoise")
    page.locator("#film-prompt textarea").click()
    page.keyboard.type("a frog")
    assert page.locator("#film-prompt textarea").input_value() == "a frog"


@pytest.mark.parametrize("size", ["projector", "tablet", "phone"])
def test_words_become_a_picture_with_its_recipe_under_it(open_page: Any, size: str) -> None:
    page = open_page(size=size)
    page.locator("#prompt textarea").fill("a red apple")
    page.locator("#generate").click()
    page.wait_for_selector(f"{RUNNING} img")  # something moves before the picture is finished
    page.wait_for_selector(DONE)
    image = page.locator("#stage img")
    assert image.count() == 1 and image.get_attribute("alt") == "a red apple"
    assert image.evaluate("node => [node.naturalWidth, node.naturalHeight]") == [128, 128]
    caption = page.locator("#stage figcaption").inner_text()
    assert all(part in caption for part in ("a red apple", "seed", "DPM++ 2M", "20 steps", "γ 4 = CFG scale 5"))
    assert "40 network evaluations (NFE)" in page.locator("#stage .line").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_saved_file_carries_its_recipe_through_the_download_button(open_page: Any, tmp_path: Any) -> None:
    page = opened_by("?v=1&seed=7&steps=5&sampler=ddim&prompt=un+gato", open_page)
    page.locator("#generate").click()
    page.wait_for_selector(DONE)
    with page.expect_download() as download:
        page.locator("#stage .save").click()
    assert download.value.suggested_filename == "un-gato-7.png"
    with Image.open(download.value.path()) as image:
        assert image.format == "PNG" and image.size == (128, 128)
        assert image.info["parameters"].startswith("un gato\nSteps: 5, Sampler: DDIM")
        fields = json.loads(image.info["diffusion_studio"])
    recipe = Recipe(**fields.get("recipe", fields))
    assert (recipe.prompt, recipe.seed, recipe.steps, recipe.sampler) == ("un gato", 7, 5, "ddim")


def test_stop_keeps_the_last_preview_and_gives_the_button_back(open_page: Any) -> None:
    page = opened_by("?v=1&steps=200&batch=2&prompt=a+whale", open_page)
    page.locator("#generate").click()
    page.wait_for_selector(f"{RUNNING} img")
    page.locator("#stop").click()
    page.wait_for_selector(STOPPED)
    assert page.locator("#stage img").count() == 2
    assert "Stopped at" in page.locator("#stage .line").inner_text()
    page.wait_for_selector("#generate:enabled")
    page.locator("#steps input[type=number]").fill("3")
    generate(page, "a whale")
    assert page.locator("#stage img").count() == 2


def test_the_link_under_a_picture_opens_the_same_picture(open_page: Any) -> None:
    page = opened_by("?v=1&prompt=a+frog&steps=4&gamma=2.5&sampler=ddim&knob.eta=0.5", open_page)
    generate(page, "a green frog")
    page.get_by_text("Recipe", exact=True).click()
    link = page.locator("#link input").input_value()
    made = page.locator("#stage .made").inner_text()
    other = opened_by("?" + link.partition("?")[2], open_page)
    assert other.locator("#prompt textarea").input_value() == "a green frog"
    other.locator("#generate").click()
    other.wait_for_selector(DONE)
    assert other.locator("#stage .made").inner_text() == made
    assert "remembered" in other.locator("#stage .line").inner_text()


def test_hostile_words_are_shown_as_they_are(open_page: Any) -> None:
    page = opened_by("?v=1&steps=1&seed=1&prompt=x", open_page)
    generate(page, HOSTILE)
    assert page.locator("#stage .words").inner_text() == HOSTILE
    assert page.evaluate("window.hits") is None


def test_hostile_words_in_a_link_make_no_picture_in_the_notice(open_page: Any) -> None:
    page = open_page("?v=1&prompt=x&model=%3Cimg+src%3Dx+onerror%3Dwindow.hits%3D1%3E")
    assert "img src=x" in toast(page)
    assert page.locator(".toast-body img").count() == 0 and page.evaluate("window.hits") is None


@pytest.mark.parametrize(
    ("selector", "value", "says"),
    [("#seed input", "eleven", "seed is 'eleven'"), ("#seed input", str(2**64), "seed is 18446744073709551616")],
)
def test_what_cannot_be_done_is_said_in_a_sentence_and_nothing_is_lost(
    open_page: Any, selector: str, value: str, says: str
) -> None:
    page = open_page()
    generate(page, "a red apple")
    page.locator(selector).fill(value)
    page.locator("#generate").click()
    assert says in toast(page)
    page.wait_for_selector("#generate:enabled")
    assert page.locator("#prompt textarea").input_value() == "a red apple"
    assert page.locator("#stage img").count() == 1


def test_a_link_with_every_field_broken_opens_the_page_with_one_notice(open_page: Any) -> None:
    page = open_page("?v=1&steps=NaN&gamma=1e9&seed=-5&sampler=magic&spacing=odd&batch=1000&width=7&prompt=a+cat")
    assert "steps" in toast(page) and page.locator(".toast-body").count() == 1
    assert page.locator("#prompt textarea").input_value() == "a cat"


def test_an_example_and_the_keyboard_are_enough(open_page: Any) -> None:
    page = open_page()
    first = page.locator("#ask .gallery-item").first
    words = first.inner_text().strip()
    first.click()
    page.wait_for_function("words => document.querySelector('#prompt textarea').value === words", arg=words)
    page.locator("#prompt textarea").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(DONE)
    assert page.locator("#stage .words").inner_text() == words != ""


def test_every_sampler_of_the_registry_can_be_chosen_and_shows_its_knobs(open_page: Any) -> None:
    from core import SAMPLERS

    page = open_page()
    page.locator("#sampler input").click()
    offered = page.locator("#sampler [role=option]").all_inner_texts()
    assert [text.replace("✓", "").strip() for text in offered] == [entry.label for entry in SAMPLERS.values()]
    page.get_by_role("option", name="DDIM", exact=True).click()
    page.get_by_text("DDIM: eta").wait_for(timeout=PATIENCE)


def test_the_endpoint_gives_a_program_the_same_picture(studio: str, open_page: Any) -> None:
    from gradio_client import Client

    client = Client(studio, verbose=False)
    path, told = client.predict("a red apple", steps=3, seed=5, api_name="/generate")
    with Image.open(path) as image:
        assert image.info["parameters"] == told["parameters"] and image.size == (128, 128)
    assert told["recipe"]["seed"] == 5 and told["nfe"] == 6 and told["state"] == "done"
    page = opened_by("?v=1&steps=3&seed=5&prompt=x", open_page)
    generate(page, "a red apple")
    assert "remembered" in page.locator("#stage .line").inner_text()


# ------------------------------------------------------------------------------------------------- what opens on demand


def unfold(page: Any, name: str, inside: str) -> None:
    page.locator(f"#{name} button.label-wrap").click()
    page.locator(inside).first.wait_for()


def photo(folder: Any) -> str:
    """A picture larger than the model's: a red frame with a blue middle."""
    image = Image.new("RGB", (400, 300), "red")
    image.paste("blue", (150, 100, 250, 200))
    image.save(folder / "photo.png")
    return str(folder / "photo.png")


def painted(page: Any) -> int:
    """How many pixels of the board have paint on them."""
    return int(page.locator("#board canvas").evaluate(
        "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 === 3 && v > 127).length"
    ))  # fmt: skip


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_the_pieces_of_a_prompt_are_shown_while_it_is_typed(open_page: Any, size: str) -> None:
    page = open_page(size=size)
    page.locator("#prompt textarea").fill("a (red:1.3) xylophagous apple <img src=x onerror=window.hits=1>")
    assert page.locator("#words .piece").count() == 0  # nothing is asked while it is closed
    unfold(page, "reads", "#words .piece b")
    page.wait_for_function("document.querySelector('#words .unseen')?.textContent.includes('xylophagous')")
    assert "× 1.3" in page.locator("#words .piece", has_text="red").inner_text()
    assert page.locator("#words .weights").is_visible() and "c⁰" in page.locator("#words .weights").inner_text()
    page.locator("#prompt textarea").fill("cat " * 80)
    page.locator("#words .lost").first.wait_for()
    assert "Dropped" in page.locator("#words p.lost").inner_text() and page.evaluate("window.hits") is None
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("size", ["projector", "tablet", "phone"])
def test_a_picture_is_painted_anew_where_it_was_painted_over(open_page: Any, tmp_path: Any, size: str) -> None:
    page = open_page("?v=1&steps=4&seed=3&prompt=a+green+apple", size=size)
    unfold(page, "start", "#board .drop")
    page.locator("#board input[type=file]").set_input_files(photo(tmp_path))
    page.locator("#board canvas").wait_for()
    page.locator("#board canvas").scroll_into_view_if_needed()
    box = page.locator("#board canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    once = painted(page)
    page.locator("#board canvas").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    before = painted(page)
    assert before > once > 0
    page.locator("#generate").click()
    page.wait_for_selector(DONE)
    assert "painted anew, strength 0.75" in page.locator("#stage .made").inner_text()
    line = page.locator("#stage .line").inner_text()
    assert line.startswith("3 steps") and "A link carries no pictures" in line
    page.locator("#board .invert").click()
    assert abs(painted(page) + before - 128 * 128) < 50  # but for pixels half covered
    page.locator("#board .remove").click()
    page.locator("#board .drop").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_what_is_no_picture_is_told_on_the_board_and_a_run_starts_from_noise(open_page: Any, tmp_path: Any) -> None:
    page = open_page("?v=1&steps=2&prompt=a+cat")
    (tmp_path / "odd.png").write_bytes(b"hello")
    unfold(page, "start", "#board .drop")
    page.locator("#board input[type=file]").set_input_files(str(tmp_path / "odd.png"))
    page.wait_for_selector("#board [data-state=failed]")
    assert "PNG, JPEG or WebP, please" in page.locator("#board .line").inner_text()
    page.locator("#generate").click()
    page.wait_for_selector(DONE)
    assert "strength" not in page.locator("#stage .made").inner_text()


@pytest.mark.parametrize("size", ["projector", "phone"])
def test_two_prompts_beside_each_other_and_the_visits_pictures_bring_recipes_back(open_page: Any, size: str) -> None:
    page = opened_by("?v=1&steps=3&seed=11&prompt=a+red+apple", lambda link: open_page(link, size=size))
    unfold(page, "beside", "#other textarea")
    page.locator("#other textarea").fill("a blue apple")
    page.locator("#generate").click()
    page.wait_for_selector(f"{DONE} .tile:nth-child(2) .words:not(:empty)")
    assert page.locator("#stage .words").all_inner_texts() == ["a red apple", "a blue apple"]
    assert all("seed 11" in text for text in page.locator("#stage .made").all_inner_texts())
    assert page.locator("#visit button").count() == 2
    page.get_by_label("Back to: a blue apple, seed 11").click()
    page.wait_for_function("document.querySelectorAll('#stage .tile').length === 1")
    page.wait_for_selector(DONE)
    assert page.locator("#stage .words").inner_text() == "a blue apple"
    assert "remembered" in page.locator("#stage .line").inner_text()
    assert page.locator("#prompt textarea").input_value() == "a blue apple" and page.locator("#visit button").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert open_page(size=size).locator("#visit button").count() == 0  # another visitor


def test_the_visits_pictures_outlive_a_reload_and_not_the_window(open_page: Any) -> None:
    page = opened_by("?v=1&steps=2&seed=31&prompt=a+red+apple", open_page)
    page.locator("#generate").click()
    page.wait_for_selector(DONE)
    page.locator("#visit button").wait_for()
    page.wait_for_selector("#generate:enabled")
    page.wait_for_timeout(1000)  # a stream that the reload cuts off is an error in the console
    page.reload()
    page.wait_for_function("window.studio?.open")
    page.get_by_label("Back to: a red apple, seed 31").click()
    page.wait_for_selector(DONE)
    assert "remembered" in page.locator("#stage .line").inner_text() and page.locator("#visit button").count() == 1
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_function("window.studio?.open")
    assert other.locator("#visit button").count() == 0


def test_share_leads_to_the_picture_that_is_shown(open_page: Any) -> None:
    page = opened_by("?v=1&steps=2&prompt=a+red+apple", open_page)
    page.locator("#generate").click()
    page.wait_for_selector(DONE)
    seed = re.search(r"seed (\d+)", page.locator("#stage .made").inner_text()).group(1)
    picture = page.locator("#stage img").evaluate(PIXELS)
    page.locator("#share-button").click()
    link = "document.querySelector('#share-link textarea, #share-link input')?.value"
    page.wait_for_function(f"{link}?.includes('seed={seed}')")
    phone = opened_by("?" + page.evaluate(link).partition("?")[2], lambda query: open_page(query, size="phone"))
    phone.locator("#generate").click()
    phone.wait_for_selector(DONE)
    assert phone.locator("#stage img").evaluate(PIXELS) == picture
    page.locator("#prompt textarea").fill("a green apple")
    page.locator("#share-renew").dispatch_event("click")
    page.wait_for_function(f"{link}?.includes('green') && !{link}.includes('seed')")


def test_a_saved_picture_dropped_on_the_page_restores_its_recipe_and_can_be_started_from(open_page: Any, tmp_path: Any) -> None:
    page = opened_by("?v=1&steps=3&seed=21&gamma=2.5&sampler=ddim&prompt=a+(red:1.2)+apple", open_page)
    page.locator("#generate").click()
    page.wait_for_selector(DONE)
    with page.expect_download() as download:
        page.locator("#stage .save").click()
    download.value.save_as(tmp_path / "saved.png")
    page.locator("#stage .again").click()
    page.locator("#board canvas").wait_for()
    page.locator("#generate").click()
    page.wait_for_function("document.querySelector('#stage .made').textContent.includes('from a picture')")
    other = open_page()
    unfold(other, "take", "#reader .drop")
    other.locator("#reader input[type=file]").set_input_files(str(tmp_path / "saved.png"))
    other.locator("#reader .found").wait_for()
    assert "Written by Diffusion Studio" in other.locator("#reader .line").inner_text()
    assert "γ 2.5 = CFG scale 3.5" in other.locator("#reader dl").inner_text()
    assert other.locator("#prompt textarea").input_value() == "a (red:1.2) apple"
    assert other.locator("#seed input").input_value() == "21"
    other.locator("#generate").click()
    other.wait_for_selector(DONE)
    assert "remembered" in other.locator("#stage .line").inner_text()


def test_hostile_text_in_a_picture_is_listed_as_it_is(open_page: Any, tmp_path: Any) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", f"{HOSTILE}\nSteps: 1e9, Sampler: {HOSTILE}, CFG scale: nan, Seed: -5, Odd: {HOSTILE}")
    Image.new("RGB", (32, 32)).save(tmp_path / "odd.png", pnginfo=info)
    page = open_page()
    unfold(page, "take", "#reader .drop")
    page.locator("#reader input[type=file]").set_input_files(str(tmp_path / "odd.png"))
    page.locator("#reader .found").wait_for()
    assert HOSTILE in page.locator("#reader dl").inner_text() and "Steps" in page.locator("#reader .notes").inner_text()
    assert page.evaluate("window.hits") is None and page.locator("#reader dl img, #reader ul img").count() == 0
