"""What the studio's tests share: a tiny model with weights of chance, and an engine on it. Files with another model say so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core import load_pipeline
from core.pipeline import TextToImage
from studio.service.engine import Engine
from tests.core.tiny import write_tiny


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> TextToImage:
    return load_pipeline(write_tiny(tmp_path_factory.mktemp("model") / "tiny"), device="cpu")


@pytest.fixture
def engine(pipe: TextToImage) -> Iterator[Engine]:
    engine = Engine(pipe)
    yield engine
    engine.close()
