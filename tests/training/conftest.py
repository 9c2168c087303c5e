"""What several tests of the training share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `prepare` makes of the tiny packages: not to be changed."""
    pytest.importorskip("resvg_py")
    from core.training.data import prepare
    from tests.training.drawn import packages

    folder = tmp_path_factory.mktemp("data")
    packages(folder / "npm")
    for _ in prepare(folder):
        pass
    return folder / "emoji-128"
