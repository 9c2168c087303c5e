"""Hostile words typed into the boxes of the tabs: they stay words, are refused in a sentence, and never run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import PATIENCE
from tests.browser.test_labs import grey_png

TAG, TEMPLATE = '<img src=x onerror="window.hacked=1">', "{{7*7}}${window.hacked=1}"
FORMULA = r"$\href{javascript:window.hacked=1}{x}$"
MARKDOWN = "![x](https://example.com/x.png) [x](javascript:window.hacked=1) <script>window.hacked=1</script>"
ODD = "\u202e\u2067\u200fגא \U0001f469\u200d\U0001f469\u200d\U0001f467 a\0b \\0 %00"
LONG = "w" * 300
WORDS = (TAG, FORMULA, MARKDOWN, TEMPLATE, ODD, LONG)
ALL = " ".join(WORDS)
HARM = """() => Object.entries({
    ran: window.hacked !== undefined,
    picture: document.querySelector("img[src=x], img[onerror], img[src*='example.com']"),
    link: [...document.querySelectorAll("a[href]")].some((node) => /^\\s*javascript:/i.test(node.getAttribute("href"))),
    script: [...document.querySelectorAll("script")].some((node) => node.textContent.includes("hacked=1")),
    wide: document.documentElement.scrollWidth > window.innerWidth,
}).filter(([, found]) => found).map(([name]) => name)"""
TOLD = ".toast-body, [data-state=failed]"


def opened(open_page: Any, query: str) -> Any:
    """A page that has what its link says, nothing folded."""
    page = open_page(f"?v=1&{query}")
    page.wait_for_function("window.studio?.open")
    folds = page.locator("#tabs .label-wrap:not(.open)").locator("visible=true")
    for _ in range(folds.count()):
        folds.first.click()
    return page


def typed(page: Any, text: str, *boxes: str) -> None:
    for box in boxes:
        page.locator(f"#{box} textarea, #{box} input").locator("visible=true").first.fill(text)


def harmless(page: Any) -> None:
    page.wait_for_timeout(300)  # for what would run late
    assert page.evaluate(HARM) == []


REFUSED = [
    ("tab=denoise&prompt=a+cat", "film-seed", "film-go"),
    ("tab=guidance", "g-scales", "g-sweep-go"),
    ("tab=guidance&view.page=triangle", "g-seed", "g-triangle-go"),
    ("tab=guidance&view.page=classifier", "g-strengths", "g-scales-go"),
    ("tab=latents", "l-seed", "l-make"),
    ("tab=latents&view.page=between", "l-other-seed", "l-between-go"),
    ("tab=samplers", "samplers-seed", "race-go"),
    ("tab=samplers", "race-steps", "race-go"),
    ("tab=samplers&view.page=pictures", "pictures-steps", "pictures-go"),
    *((f"tab=samplers&view.page=xyz&view.{axis}={kind}", f"xyz-values-{axis}", "xyz-go")
      for axis, kind in (("x", "Sampler"), ("y", "Steps"), ("z", "CFG+Scale"), ("x", "Prompt+S%2FR"), ("y", "Size"))),
    ("tab=labs&view.page=inside", "inside-seed", "inside-go"),
    ("tab=labs&view.page=clip", "clip-names", "zero-go"),
    ("tab=labs&view.page=perfect", "perfect-seed", "perfect-go"),
    ("tab=labs&view.page=train&view.what=emoji", "train-names", "few-go"),
]  # fmt: skip


@pytest.mark.parametrize(("number", "query", "box", "go"), [(i, *row) for i, row in enumerate(REFUSED)])
def test_hostile_words_where_they_cannot_be_taken_are_refused_in_a_sentence(
    open_page: Any, number: int, query: str, box: str, go: str
) -> None:
    page = opened(open_page, query)
    first = number % len(WORDS)  # a sentence may quote no more than what comes first
    typed(page, " ".join(WORDS[first:] + WORDS[:first]), box)
    page.locator(f"#{go}").click()
    told = page.locator(TOLD).locator("visible=true").first
    told.wait_for()
    sentence = " ".join(str(told.inner_text()).split())
    assert sentence.endswith(".") and "Something went wrong" not in sentence, sentence
    harmless(page)


def test_hostile_levels_of_ones_own_are_refused_under_their_box(open_page: Any) -> None:
    page = opened(open_page, "tab=schedules&view.page=steps")
    for words in WORDS:
        typed(page, words, "steps-own")
        page.wait_for_function("document.querySelector('#rulers .line.wrong')?.textContent.endsWith('.')")
        harmless(page)
        typed(page, "9, 3, 0", "steps-own")
        page.wait_for_function("!document.querySelector('#rulers .line.wrong')")


PAINTED = [
    ("tab=denoise&steps=2&seed=1", ("film-prompt", "film-negative"), "film-go", "#film [data-state=done]"),
    ("tab=guidance&steps=2&batch=1&view.scales=0%2C1", ("g-prompt", "g-negative"), "g-sweep-go", "#g-sweep [data-state=done]"),
    ("tab=latents&steps=2&view.page=between&view.between=prompts&view.frames=3", ("l-prompt", "l-other-prompt"), "l-between-go",
     "#l-between [data-state=done]"),
    ("tab=samplers&view.page=pictures&view.steps=2&view.samplers=ddim", ("samplers-prompt",), "pictures-go",
     "[data-state=done] > .pictures"),
    ("tab=schedules&view.page=noising", ("noising-prompt",), "noising-go", "#noising-picture img"),
    ("tab=labs&view.page=inside&view.scene_steps=2&view.at=1", ("inside-prompt",), "inside-go", "[data-state=done] > .inside"),
    ("tab=labs&view.page=perfect&steps=2", ("perfect-prompt",), "perfect-go", "[data-state=done] > .perfect"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "boxes", "go", "ends"), PAINTED, ids=[f"{boxes[0]} {go}" for _, boxes, go, _ in PAINTED])
def test_hostile_words_as_a_prompt_are_painted_and_stay_words(
    open_page: Any, query: str, boxes: tuple[str, ...], go: str, ends: str
) -> None:
    page = opened(open_page, query)
    typed(page, ALL, *boxes)
    page.locator(f"#{go}").click()
    page.locator(ends).locator("visible=true").first.wait_for(timeout=2 * PATIENCE)
    assert page.locator(".toast-body").count() == 0
    harmless(page)


def test_hostile_values_of_a_grid_are_its_headings_word_for_word(open_page: Any) -> None:
    page = opened(open_page, "tab=samplers&prompt=a+cat&view.page=xyz&view.x=Prompt+S%2FR&view.y=Steps&view.y_values=1%2C2")
    hostile = [TAG, TEMPLATE, FORMULA]
    quoted = ",".join('"' + word.replace('"', '""') + '"' for word in hostile)
    typed(page, f"cat,{quoted}", "xyz-values-x")
    page.locator("#xyz-go").click()
    page.locator("[data-state=done] > .pictures").locator("visible=true").wait_for(timeout=2 * PATIENCE)
    shown = page.locator(".pictures").locator("visible=true").inner_text()
    assert all(word in shown for word in hostile)
    harmless(page)


def test_hostile_words_of_a_prompt_that_are_switched_off_one_by_one_are_named_word_for_word(open_page: Any) -> None:
    page = opened(open_page, "tab=labs&view.page=inside&view.scene_steps=2&view.at=1&view.off=words")
    typed(page, f"cat {TEMPLATE}", "inside-prompt")
    page.locator("#switched-go").click()
    page.locator("[data-state=done] > .switched").wait_for(timeout=2 * PATIENCE)
    assert "without “}}${”" in page.locator(".switched").inner_text()
    harmless(page)


def test_hostile_names_for_a_picture_are_classes_word_for_word(open_page: Any) -> None:
    page = opened(open_page, "tab=labs&view.page=clip")
    page.locator("#clip-own input[type=file]").set_input_files({"name": "grey.png", "mimeType": "image/png", "buffer": grey_png()})
    typed(page, f"{TAG}, {TEMPLATE}, {FORMULA}, {LONG}", "clip-names")
    page.locator("#clip-own img").wait_for()
    page.locator("#zero-go").click()
    page.locator("[data-state=done] > .zero").wait_for(timeout=2 * PATIENCE)
    shown = page.locator(".zero").inner_text()
    assert all(word in shown for word in (TAG, TEMPLATE, FORMULA))
    harmless(page)


def test_hostile_answers_in_a_lesson_are_kept_as_they_were_typed(open_page: Any) -> None:
    page = opened(open_page, "lesson=1.1")
    box = page.locator("#lesson-dock input, #lesson-dock textarea").first
    box.fill(ALL[:200])
    page.reload()
    page.wait_for_function("window.studio?.open")
    assert box.input_value() == ALL[:200]
    harmless(page)
