"""One small studio for all tests of this folder: random networks, 32-pixel pictures, as slow as a test wants."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.core.tiny import write_tiny
from tests.service.pages import Page, Studio, served


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A pipeline that is loaded in a moment."""
    from core import load_pipeline

    return load_pipeline(write_tiny(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="session")
def house(tiny: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio that is open for everybody, MCP included."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("made")))
        with served(tiny, mcp=True) as studio:
            yield studio


@pytest.fixture
def studio(house: Studio) -> Iterator[Studio]:
    """The studio, at rest before and after."""
    house.pipe.seconds, house.pipe.log, house.pipe.faults = 0.0, [], {}
    yield house
    house.pipe.seconds = 0.0
    for job in [*house.engine._waiting, *(job for group in house.engine._running for job in group)]:
        job.stop()


@pytest.fixture
def page(studio: Studio) -> Page:
    return Page(studio.url)
