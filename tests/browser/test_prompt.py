"""The first tab in a real browser: words in, a picture out, and everything a visitor does with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from PIL import Image

from core.recipe import Recipe
from tests.browser.conftest import PATIENCE

HOSTILE = "<img src=x onerror=window.hits=1>${window.hits=1}{{window.hits=1}}"
DONE, RUNNING, STOPPED = (f"#stage [data-state={state}]" for state in ("done", "running", "stopped"))


def opened_by(link: str, open_page: Any) -> Any:
    """A page whose widgets show what the link says."""
    page = open_page(link)
    page.wait_for_function("document.querySelector('#prompt textarea')?.value")
    return page


def generate(page: Any, prompt: str) -> None:
    page.locator("#prompt textarea").fill(prompt)
    page.locator("#generate").click()
    page.wait_for_selector(DONE)


def toast(page: Any) -> str:
    found = page.locator(".toast-body").first
    found.wait_for()
    return str(found.inner_text())


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
    page.get_by_text("a smiling cat face", exact=True).click()
    page.wait_for_function("document.querySelector('#prompt textarea').value === 'a smiling cat face'")
    page.locator("#prompt textarea").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(DONE)
    assert page.locator("#stage .words").inner_text() == "a smiling cat face"


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


def test_the_endpoint_refuses_with_a_sentence(studio: str) -> None:
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match=r"steps is 0; it must be a whole number from 1 to 1000"):
        Client(studio, verbose=False).predict("a cat", steps=0, api_name="/generate")
