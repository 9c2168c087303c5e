"""What is dropped on the page outside every place for files: a picture is read, nothing is left, dragged words stay words."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from tests.browser.conftest import choose
from tests.browser.test_prompt import DONE, opened_by

DROP = """(data) => {
    const held = new DataTransfer();
    held.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], "saved.png", { type: "image/png" }));
    const event = new DragEvent("drop", { dataTransfer: held, bubbles: true, cancelable: true });
    return document.querySelector("#stage").dispatchEvent(event);
}"""


DRAGGED = """() => {
    const held = new DataTransfer();
    held.setData("text/plain", "a cat");
    const event = new DragEvent("drop", { dataTransfer: held, bubbles: true, cancelable: true });
    return document.querySelector("#film-prompt textarea").dispatchEvent(event);
}"""


def test_a_saved_picture_that_misses_its_place_is_read_all_the_same_and_nothing_is_left(open_page: Any, tmp_path: Any) -> None:
    page = opened_by("?v=1&steps=2&seed=41&gamma=2.5&sampler=ddim&prompt=a+blue+apple", open_page)
    page.locator("#generate").click()
    page.wait_for_selector(DONE)
    with page.expect_download() as download:
        page.locator("#stage .save").click()
    saved = base64.b64encode(Path(download.value.path()).read_bytes()).decode()
    page.locator("#prompt textarea").fill("something else")
    assert page.evaluate(DROP, saved) is False  # the browser does not open it
    page.wait_for_function("document.querySelector('#prompt textarea').value === 'a blue apple'")
    assert "Written by Diffusion Studio" in page.locator("#reader .line").inner_text() and page.locator("#stage img").count() == 1
    choose(page, "Denoise")
    page.wait_for_function("studio.place()[0] === 'denoise'")
    assert page.evaluate(DROP, saved) is False
    assert page.evaluate(DRAGGED) is True  # dragged words land where they are let go
