"""What every test may rely on: nothing asks the network, and what a machine lacks is skipped with its reason."""

import os
import shutil

import pytest

# Before anything imports them: the peers and gradio must neither fetch nor report.
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_ANALYTICS_ENABLED="False", MPLBACKEND="agg")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")


def browser_path() -> str | None:
    """Where a Chromium is installed, if one is; CHROMIUM names another."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run, and say why."""
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device on this machine")
    if item.get_closest_marker("browser") and browser_path() is None:
        pytest.skip("no Chromium on this machine (CHROMIUM may name one)")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium for Playwright's `executable_path`."""
    path = browser_path()
    if path is None:
        pytest.skip("no Chromium on this machine (CHROMIUM may name one)")
    return path
