"""A studio that really runs, and a page that really shows it; whatever the page does wrong fails the test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SIZES = {"projector": (1280, 800), "tablet": (1024, 768), "phone": (390, 844)}
SWITCHES = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync"]  # fmt: skip
QUICK = "test_every_tab_is_at_hand_and_fits_the_window"
PATIENCE = 120_000  # milliseconds: two cores may be busy with other things


@pytest.hookimpl(tryfirst=True)  # before slow ones are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a browser, and all is slow but the look at every tab."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if getattr(item, "originalname", "") != QUICK:
                item.add_marker(pytest.mark.slow)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, seconds: float, alive: Callable[[], bool]) -> None:
    """Wait until a server answers; fails when it ends first."""
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            if time.monotonic() > end or not alive():
                raise AssertionError(f"The studio did not answer at {url}.") from None
            time.sleep(0.1)


def start(folder: Path, port: int, *options: str) -> subprocess.Popen[bytes]:
    """A studio as a user starts it, answering; STUDIO_MODEL names another model than the embedded one."""
    command = [sys.executable, str(ROOT / "launch.py"), "--no-setup", "--port", str(port), *options]
    command += ["--model", os.environ["STUDIO_MODEL"]] if "STUDIO_MODEL" in os.environ else []
    with (folder / "log.txt").open("a") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    wait_for(f"http://127.0.0.1:{port}/", 120, lambda: server.poll() is None)
    return server


def number(text: str) -> float:
    """A number as a page writes it: −1, 3.1·10⁻⁷."""
    return float(text.replace("−", "-").replace("·10", "e").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")))


def choose(page: Any, name: str, within: str = "#tabs") -> None:
    """A tab by its name; they stand in as many rows as a narrow page needs."""
    page.locator(f"{within} > .tab-wrapper").get_by_role("tab", name=name, exact=True).click()


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a studio; STUDIO_URL names one that runs already."""
    if "STUDIO_URL" in os.environ:
        yield os.environ["STUDIO_URL"]
        return
    folder = tmp_path_factory.mktemp("studio")
    server = start(folder, port := free_port())
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(20)
        text = (folder / "log.txt").read_text()
        assert "Traceback" not in text, text


@pytest.fixture(scope="module")
def chrome(chromium: str) -> Iterator[object]:
    """A browser for a file of tests; Playwright's event loop ends with it, so that other tests may have their own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chrome: object, studio: str) -> Iterator[Callable[..., object]]:
    """Open the studio in a window of its own: `page = open_page("?v=1&prompt=a+cat", size="phone")`.

    When the test ends, nothing in any console may have been an error, and no request may have left this machine.
    """
    contexts, faults = [], []

    def opened(query: str = "", size: str = "projector") -> object:
        width, height = SIZES[size]
        context = chrome.new_context(viewport={"width": width, "height": height}, accept_downloads=True)  # type: ignore[attr-defined]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda said: faults.append(f"console: {said.text}") if said.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("request", lambda request: faults.append(f"left the machine: {request.url}") if leaves(request.url) else None)
        page.goto(studio + query)
        page.wait_for_selector("#head")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults, faults


def leaves(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))
