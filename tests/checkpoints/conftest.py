"""The small random models of both generations, built once a session and written in both layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Written(NamedTuple):
    """A pipeline of diffusers' own and where it was written."""

    pipe: Any
    folder: Path
    single: Path
    name: str


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Written]:
    """Small models of Stable Diffusion 1 (eps) and 2 (v), as folder and as single file; not to be changed."""
    pytest.importorskip("diffusers")
    from tests.checkpoints import builders

    home = tmp_path_factory.mktemp("written")
    made = {}
    for sizes, prediction in ((builders.SMALL_1, "epsilon"), (builders.SMALL_2, "v_prediction")):
        pipe = builders.build(sizes, prediction=prediction)
        folder = builders.write_folder(pipe, home / f"small-{sizes.generation}")
        single = builders.write_single(pipe, home / f"single-{sizes.generation}.safetensors")
        made[sizes.generation] = Written(pipe, folder, single, f"small SD {sizes.generation}")
    return made


@pytest.fixture(params=[1, 2], ids=["sd1", "sd2"])
def small(request: pytest.FixtureRequest, written: dict[int, Written]) -> Written:
    """Each generation in turn."""
    return written[request.param]


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model in the form of the embedded one; not to be changed."""
    pytest.importorskip("diffusers")
    from tests.checkpoints import builders

    return builders.write_ours(tmp_path_factory.mktemp("ours") / "ours")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder whose name must appear in no sentence."""
    (tmp_path / "secret-place").mkdir()
    return tmp_path / "secret-place"
