"""Behind a reverse proxy under a sub-path everything is found, and visitors keep their own addresses."""

import re

import httpx
import pytest

from tests.service.pages import Page, eventually, served
from tests.service.proxy import proxied

PREFIX = "/studio"


@pytest.fixture(scope="module")
def behind(tiny):
    """A studio that knows its sub-path, and the public address of the proxy before it."""
    with served(tiny, root_path=PREFIX) as studio, proxied(int(studio.url.rstrip("/").rpartition(":")[2]), PREFIX) as public:
        yield studio, public


def test_the_page_and_all_that_it_names_are_found_under_the_sub_path(behind):
    _, public = behind
    html = httpx.get(public, timeout=60).text
    assert httpx.get(f"{public}config", timeout=60).json()["root"].endswith(PREFIX)
    named = set(re.findall(r'(?:src|href)="([^"#]+)"', html)) - {""}
    assert named
    for address in named:
        if address.startswith(("http", "data:", "//")) and not address.startswith(public):
            continue
        if address != "/manifest.json":  # of an installed app, which is switched off; Gradio names it all the same
            assert httpx.get(httpx.URL(public).join(address), timeout=60).status_code == 200, address


def test_a_picture_is_made_streamed_and_fetched_through_the_proxy(behind):
    _, public = behind
    end = Page(public).answer("generate", prompt="behind a proxy", seed=3, steps=3)
    assert end["success"], end
    picture, told = end["output"]["data"]
    assert told["seed"] == 3 and picture["url"].startswith(public)
    assert httpx.get(picture["url"]).content.startswith(b"\x89PNG")


def test_a_visitor_behind_the_proxy_is_known_by_their_own_address(behind):
    studio, public = behind
    studio.pipe.seconds = 0.1
    page = Page(public)
    page.ask("generate", prompt="from far away", steps=30).raise_for_status()
    eventually(lambda: studio.engine._running)
    assert studio.engine._running[0][0].visitor == f"{page.session}@203.0.113.7"
    studio.engine.stop(f"{page.session}@203.0.113.7")
    studio.pipe.seconds = 0


@pytest.mark.browser
def test_the_page_works_in_a_browser_under_the_sub_path(behind, chromium):
    from playwright.sync_api import sync_playwright

    _, public = behind
    faults = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("response", lambda got: faults.append(f"{got.status} {got.url}") if got.status >= 400 else None)
        page.goto(f"{public}?v=1&prompt=a+cat&steps=3&seed=4")
        page.click("#generate")
        page.wait_for_selector("#stage .tiles img[src^='http']")
        assert page.evaluate("document.querySelector('#stage .tiles img').naturalWidth") == 32
        page.get_by_text("Recipe", exact=True).click()
        link = page.locator("#link input").input_value()
        assert link.startswith(f"{public}?v=1&tab=prompt&") and "&prompt=a+cat&" in link
        browser.close()
    assert not faults, faults
