"""What every test may rely on: nothing asks the network, what a machine lacks is skipped with its reason, and what was
measured against a peer stands in one table at the end of the run.
"""

import importlib.util
import os
import re
import shutil
import sys
from typing import Any, Protocol

import pytest

# Before anything imports them: the peers and gradio must neither fetch nor report.
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_ANALYTICS_ENABLED="False", MPLBACKEND="agg")

# torch-fidelity's package imports torchvision for data sets that nobody here asks for; its networks need torch alone. So what
# imports them, the tests and torchmetrics, finds the package as it lies on the disk, without what its __init__ would bring.
if "torch_fidelity" not in sys.modules and (spec := importlib.util.find_spec("torch_fidelity")) is not None:
    sys.modules["torch_fidelity"] = importlib.util.module_from_spec(spec)

# What a test may be left out for where MUST_RUN is set, as in .ci/run: no package that one could install is among it.
UNMENDABLE = re.compile(
    "no CUDA device|no Chromium|without bf16|training data|QUIET_MACHINE|SCREENSHOTS"  # the machine, or what one asks for by name
    "|this machine busy|time ran out|free on the disk|tmpfs|this system|POSIX system|Windows|as Linux tells it"
    "|this model has|a command line of its own|nobody has compared"  # the case is another's, or may wait
)

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


def must_run(report: Any) -> Any:
    """The report of a test or of a file; where MUST_RUN is set, one that was left out for what could be mended has failed."""
    if report.skipped and "MUST_RUN" in os.environ and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2]
        if not UNMENDABLE.search(reason):
            report.outcome, report.longrepr = "failed", f"{reason} (MUST_RUN is set: install it)"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Any:
    return must_run((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Any:
    return must_run((yield))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same random numbers of torch, alone and among others."""
    import torch

    torch.manual_seed(0)


class Parity(Protocol):
    """What the fixture `parity` gives a test."""

    def __call__(self, kind: str, ours: str, peer: str, difference: float, limit: float = 1e-4) -> None: ...


@pytest.fixture
def parity(record_property: Any) -> Parity:
    """Hold something of ours to its peer: the difference must not exceed the limit, and is kept for the table."""

    def hold(kind: str, ours: str, peer: str, difference: float, limit: float = 1e-4) -> None:
        record_property("parity", (kind, ours, peer, difference, limit))
        assert difference <= limit, f"{ours} differs from {peer} by {difference:.1e}, which may be {limit:.0e}"

    return hold


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The largest difference of everything that this run held to a peer."""
    reports = [report for some in terminalreporter.stats.values() for report in some]
    found = [value for report in reports for name, value in getattr(report, "user_properties", ()) if name == "parity"]
    worst: dict[tuple[Any, ...], float] = {}
    for *row, difference, limit in found:
        worst[*row, limit] = max(difference, worst.get((*row, limit), 0.0))
    if worst:
        terminalreporter.section("largest differences to peers")
        terminalreporter.write_line("| kind | ours | peer | largest difference | may be |\n|---|---|---|---|---|")
    for (*row, limit), difference in sorted(worst.items()):
        figures = ("bit-equal" if not figure else f"{figure:.1e}" for figure in (difference, limit))
        terminalreporter.write_line(f"| {' | '.join([*row, *figures])} |")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium for Playwright's `executable_path`."""
    path = browser_path()
    if path is None:
        pytest.skip("no Chromium on this machine (CHROMIUM may name one)")
    return path
