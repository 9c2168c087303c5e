"""The pictures of the README, taken of a studio that really runs: `SCREENSHOTS=1 pytest -m "" tests/browser/test_screenshots.py`.

Only with SCREENSHOTS is anything written, into assets/screenshots; without it this is a look at what the README shows.
"""

from __future__ import annotations

import os
import re
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from studio.app import TABS
from tests.browser.conftest import PATIENCE, ROOT, SIZES
from tests.browser.test_denoise import go_to

FOLDER = ROOT / "assets" / "screenshots"
MOST_BYTES = 150_000
DONE = "[data-state=done]"
# By tab: the link that opens it, what is pressed, and what is there when it is worth looking at.
VIEWS = {
    "prompt": ("prompt=hamburger,+glossy&seed=0&batch=4", "#generate", f"#stage {DONE}"),
    "denoise": ("prompt=smiling+face+with+sunglasses,+3d&seed=0", "#film-go", f"#film {DONE}"),
    "schedules": ("view.page=noising", "", "#noised .pane img"),
    "guidance": ("prompt=red+apple,+flat&steps=8", "#g-sweep-go", f"#g-sweep {DONE}"),
    "latents": ("", "#l-channels-go", f"#l-channels {DONE}"),
    "samplers": ("", "#race-go", "#samplers-orders table"),
    "labs": ("view.page=claims", "", "#labs-bench .bench > *"),
}


def test_every_tab_has_a_picture_in_the_readme_that_is_small_and_of_one_size() -> None:
    assert list(VIEWS) == [label.lower() for label, _ in TABS]
    shown = re.findall(r"assets/screenshots/(\w+)\.webp", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert sorted(set(shown)) == sorted(VIEWS) == sorted(path.stem for path in FOLDER.iterdir())
    for name in VIEWS:
        path = FOLDER / f"{name}.webp"
        with Image.open(path) as image:
            assert image.size == SIZES["projector"] and path.stat().st_size < MOST_BYTES, name


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="SCREENSHOTS=1 takes the pictures of the README anew")
@pytest.mark.parametrize("name", VIEWS)
def test_a_picture_of_the_tab_is_taken(open_page: Any, name: str) -> None:
    query, press, worth = VIEWS[name]
    page = open_page(f"?v=1&tab={name}&{query}")
    page.wait_for_function("window.studio?.open")
    if press:
        page.locator(press).click()
    page.wait_for_selector(worth, timeout=PATIENCE)
    if name == "denoise":
        go_to(page, 9)
    page.wait_for_timeout(1000)  # what fades in has done so
    FOLDER.mkdir(exist_ok=True)
    with Image.open(BytesIO(page.screenshot())) as image:
        image.convert("RGB").save(FOLDER / f"{name}.webp", quality=80, method=6)
    assert (FOLDER / f"{name}.webp").stat().st_size < MOST_BYTES
