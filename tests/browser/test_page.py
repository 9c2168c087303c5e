"""The page around the tabs in a real browser: links there and back, hiding, keeping, resetting, larger type, the keyboard."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error

from core import load_pipeline
from studio.app import TABS
from studio.formats.links import local_network
from tests.browser.conftest import SIZES, choose, free_port, start
from tests.browser.test_prompt import DONE, HOSTILE, toast

LABELS = [label for label, _ in TABS]
LINK = "#share-link textarea, #share-link input"


def value(page: Any, selector: str) -> str:
    return str(page.locator(selector).first.input_value())


def filled(page: Any, selector: str, text: str) -> None:
    page.wait_for_function("([s, t]) => document.querySelector(s)?.value === t", arg=[selector, text])


def shared(page: Any, part: str = "v=1") -> str:
    """The query of the link that Share gives, once it says this."""
    if page.evaluate("document.body.dataset.panel") != "share":
        page.locator("#share-button").click()
    page.wait_for_function("([s, t]) => document.querySelector(s)?.value.includes(t)", arg=[LINK, part])
    return "?" + value(page, LINK).partition("?")[2]


def ready(page: Any) -> Any:
    """A page that has what was kept, and keeps what is changed."""
    page.wait_for_function("window.studio?.open")
    return page


@pytest.mark.parametrize("size", SIZES)
def test_every_tab_is_at_hand_and_fits_the_window(open_page: Any, size: str) -> None:
    page = ready(open_page(size=size))
    for label in LABELS:
        choose(page, label)
        page.wait_for_function("name => studio.place()[0] === name", arg=label.lower())
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), label
        assert page.locator("img:not([alt])").count() == 0, label
        nameless = "[...document.querySelectorAll('button, a[href]')].filter(n => n.offsetParent && !n.innerText.trim()"
        nameless += " && !n.getAttribute('aria-label') && !n.title && !n.querySelector('svg, img')).length"
        assert page.evaluate(nameless) == 0, label


STATES = [
    ("?v=1&tab=denoise&prompt=a+green+frog&sampler=ddim&knob.eta=0.5&steps=7&seed=0", "#film-prompt textarea", "a green frog"),
    ("?v=1&tab=schedules&view.page=steps&view.sigmas=9%2C3%2C1%2C0", "#steps-own textarea, #steps-own input", "9,3,1,0"),
    ("?v=1&tab=guidance&gamma=6&view.page=triangle", "#g-triangle-gamma input[type=number]", "6"),
    ("?v=1&tab=samplers&prompt=a+blue+car&view.page=xyz&view.y_values=3%2C4", "#xyz-values-y textarea, #xyz-values-y input", "3,4"),
    ("?v=1&tab=samplers&view.page=xyz&view.x=Seed&view.x_values=1-3", "#xyz-values-x textarea, #xyz-values-x input", "1-3"),
    ("?v=1&tab=samplers&view.on=model&view.race_steps=4%2C9", "#race-steps textarea, #race-steps input", "4,9"),
]  # fmt: skip


@pytest.mark.parametrize(("link", "selector", "text"), STATES)
def test_the_link_to_a_state_opens_it_and_is_the_link_to_it(open_page: Any, link: str, selector: str, text: str) -> None:
    page = ready(open_page(link))
    filled(page, selector, text)
    again = shared(page)
    assert sorted(again[1:].split("&")) == sorted(link[1:].split("&"))


def test_who_presses_before_a_link_is_in_place_gets_what_the_link_says(open_page: Any, studio: str) -> None:
    page, held, late = ready(open_page()), [], [True]
    page.route("**/queue/join**", lambda route: held.append(route) if late else route.continue_())  # the link's word comes late
    page.goto(f"{studio}?v=1&prompt=a+green+frog&seed=4242&steps=2")
    page.locator("#generate").click()
    page.wait_for_timeout(1000)
    assert not page.evaluate("window.studio.open") and page.locator("#stage img").count() == 0
    late.clear()
    for route in held:
        route.continue_()
    page.wait_for_selector(DONE)
    assert "seed 4242" in page.locator("#stage .made").inner_text()
    assert page.locator("#stage .words").inner_text() == "a green frog"


def test_the_link_follows_what_is_changed_and_what_is_to_be_hidden(open_page: Any) -> None:
    page = ready(open_page("?v=1&tab=denoise&prompt=a+cat"))
    filled(page, "#film-prompt textarea", "a cat")
    assert "steps" not in shared(page)
    page.locator("#film-steps input[type=number]").fill("9")
    page.locator("#film-steps input[type=number]").press("Enter")
    assert "steps=9" in shared(page, "steps=9")
    page.locator("#share-hide").get_by_label("Seed", exact=True).check()
    pupil = ready(open_page(shared(page, "hide=seed")))
    filled(pupil, "#film-steps input[type=number]", "9")
    assert pupil.locator("#film-seed").count() == 1 and not pupil.locator("#film-seed").is_visible()


def test_what_is_hidden_still_holds_a_legal_value(open_page: Any) -> None:
    page = ready(open_page("?v=1&tab=denoise&prompt=a+cat&steps=3&seed=5&hide=steps,sampler,knobs,gamma"))
    filled(page, "#film-prompt textarea", "a cat")
    for name in ("steps", "sampler", "about-sampler", "gamma", "both-scales"):
        assert page.locator(f"#film-{name}").count() == 1 and not page.locator(f"#film-{name}").is_visible()
    frames = page.locator("#film-settings .form").all()
    assert all(frame.inner_text().strip() for frame in frames if frame.is_visible())  # no frame around nothing
    page.locator("#film-go").click()
    page.wait_for_selector("#film [data-state=done]")
    page.wait_for_selector("#film-go:enabled")  # the film is developed after the run
    assert "3 steps" in page.locator("#film .line").inner_text()


def test_a_link_with_everything_broken_opens_with_defaults_and_one_notice(open_page: Any) -> None:
    page = ready(open_page("?v=8&tab=denoise&steps=NaN&seed=-5&sampler=magic&hide=nonsense&view.page=x&gamma=1e9&width=7"))
    wrong = ("another version", "steps", "seed", "sampler", "hide", "view.page", "gamma", "width")
    assert all(word in toast(page) for word in wrong)
    assert page.locator(".toast-body").count() == 1
    assert value(page, "#film-steps input[type=number]") == "20"
    assert value(page, "#film-prompt textarea") == load_pipeline(device="cpu").extras.examples[0]


def test_hostile_words_in_a_link_are_words(open_page: Any) -> None:
    from urllib.parse import quote

    words = quote(HOSTILE)
    page = ready(open_page(f"?v=1&tab=denoise&prompt={words}&hide={words}&model={words}&view.x={words}"))
    filled(page, "#film-prompt textarea", HOSTILE)
    assert "emoji" in toast(page) and page.locator(".toast-body img").count() == 0
    assert quote(HOSTILE, safe="") in shared(page).replace("+", "%20")
    assert page.evaluate("window.hits") is None


def test_reset_is_one_click_and_pictures_stay(open_page: Any) -> None:
    page = ready(open_page("?v=1&tab=denoise&prompt=a+cat&steps=2&seed=5"))
    filled(page, "#film-prompt textarea", "a cat")
    page.locator("#film-go").click()
    page.wait_for_selector("#film [data-state=done]")
    page.locator("#film-prompt textarea").fill("something else")
    page.locator("#film-steps input[type=number]").fill("50")
    page.locator("#reset").click()
    filled(page, "#film-prompt textarea", "a cat")
    filled(page, "#film-steps input[type=number]", "2")
    assert page.locator("#film [data-state=done]").count() == 1


def test_two_windows_keep_their_own_and_the_last_writer_wins(open_page: Any) -> None:
    page = ready(open_page("?tab=denoise"))
    other = page.context.new_page()
    other.goto(page.url)
    ready(other)
    written = "() => { const set = Storage.prototype.setItem; Storage.prototype.setItem = function (...pair)"
    written += " { window.writes = (window.writes || 0) + 1; return set.apply(this, pair); } }"
    for window, words in ((page, "the first window"), (other, "the second window")):
        window.wait_for_timeout(1000)  # choosing the tab is kept too
        window.evaluate(written)
        window.locator("#film-prompt textarea").fill(words)
        window.wait_for_function("window.writes > 0")
    assert value(page, "#film-prompt textarea") == "the first window"
    third = page.context.new_page()
    third.goto(page.url)
    filled(ready(third), "#film-prompt textarea", "the second window")


def test_a_tab_chosen_before_the_page_has_what_was_kept_is_kept_too(open_page: Any) -> None:
    page = ready(open_page())
    held: list[Any] = []
    page.route("**/queue/join*", lambda route: held.append(route))
    page.goto(page.url)
    choose(page, "Labs")
    assert not page.evaluate("window.studio.open")
    page.wait_for_timeout(500)
    for route in held:
        route.continue_()
    page.unroute("**/queue/join*")
    ready(page)
    page.wait_for_timeout(500)  # kept by then
    page.reload()
    page.wait_for_function("window.studio?.open && studio.place()[0] === 'labs'")


def test_what_has_no_control_is_kept_and_so_is_that_it_was_cleared(open_page: Any, studio: str) -> None:
    page, said = ready(open_page("?v=1&prompt=a+cat&rng=cpu")), "document.querySelector('#in-force')?.innerText.includes('cpu')"
    page.wait_for_function(said)
    page.wait_for_timeout(500)  # kept by then
    page.goto(studio)  # as it is after a restart without the link, or with what a dropped picture brought
    ready(page).wait_for_function(said)
    page.locator("#clear-rest").click()
    page.wait_for_function(f"!{said}")
    page.wait_for_timeout(500)
    page.reload()
    ready(page).wait_for_timeout(1000)
    assert not page.evaluate(said) and page.locator(".toast-body").count() == 0


def test_larger_type_and_dark_are_kept(open_page: Any) -> None:
    page = ready(open_page())
    size = "parseFloat(getComputedStyle(document.querySelector('#tabs [role=tab]')).fontSize)"
    before, dark = page.evaluate(size), page.evaluate("document.body.classList.contains('dark')")
    page.locator("#projector").click()
    page.locator("#dark").click()
    page.wait_for_timeout(500)
    assert page.evaluate(size) >= 1.25 * before
    page.reload()
    ready(page)
    assert page.evaluate(size) >= 1.25 * before and page.evaluate("document.body.classList.contains('dark')") is not dark
    assert page.locator("#projector").get_attribute("aria-pressed") == "true"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_keyboard_is_enough(open_page: Any) -> None:
    page = ready(open_page())
    page.locator("#share-button").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "notation-button"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.locator("#notation table").wait_for()
    assert page.locator("#notation-button").get_attribute("aria-expanded") == "true"
    page.keyboard.press("Escape")
    assert not page.locator("#notation").is_visible() and page.evaluate("document.activeElement.id") == "notation-button"
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.tabId") == "denoise":
            break
    page.keyboard.press("Enter")
    page.locator("#film-prompt").wait_for()


def test_the_notation_explains_every_symbol_of_the_pages(open_page: Any) -> None:
    page = ready(open_page())
    page.locator("#notation-button").click()
    page.locator("#notation .katex").first.wait_for()
    rows = page.locator("#notation tbody tr")
    assert rows.count() >= 13
    text = page.locator("#notation").inner_text()
    assert all(word in text for word in ("alphas_cumprod", "guidance", "NFE", "spacing", "std", "score", "velocity"))


def test_changing_tabs_asks_the_server_nothing(open_page: Any) -> None:
    page = ready(open_page())
    for label in LABELS:  # the first look at a tab may fetch its parts
        choose(page, label)
    page.wait_for_timeout(1000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for label in LABELS:
        choose(page, label)
        page.wait_for_function("name => studio.place()[0] === name", arg=label.lower())
    assert not [url for url in asked if "/queue/" in url or "/run/" in url]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """A studio on every address of this machine that can be killed and started again on its port."""
    port, servers = free_port(), []

    def begin() -> tuple[Any, str]:
        servers.append(start(tmp_path, port, "--host", "0.0.0.0"))
        return servers[-1], f"http://127.0.0.1:{port}/"

    yield begin
    for server in servers:
        server.kill()
        server.wait(20)


def test_killed_and_started_again_the_studio_loses_no_settings(own: Callable[[], Any], chrome: Any) -> None:
    server, url = own()
    page = chrome.new_context().new_page()
    page.set_default_timeout(240_000)
    page.goto(url + "?v=1&tab=denoise&prompt=a+cat&steps=900")
    ready(page)
    filled(page, "#film-prompt textarea", "a cat")
    address = value(page, LINK) if (machine := local_network()) is None else shared(page) and value(page, LINK)
    assert machine is None or (address.startswith(f"http://{machine}:") and page.locator("#share-code img").is_visible())
    page.locator("#film-prompt textarea").fill("typed since")
    page.locator("#film-go").click()
    page.wait_for_selector("#film [data-state=running]")
    server.send_signal(signal.SIGKILL)
    server.wait(20)
    own()
    with contextlib.suppress(Error):  # the page may be coming back by itself just then
        page.reload()
    ready(page)
    filled(page, "#film-prompt textarea", "typed since")
    filled(page, "#film-steps input[type=number]", "900")
    page.context.close()
