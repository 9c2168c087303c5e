"""A model that runs, while its file changes, others are loaded, and loads fail or are given up: it never hears of it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core import Recipe, load_pipeline
from core.checkpoints import load
from core.errors import UserError
from core.pipeline import TextToImage

RECIPE = Recipe(prompt="a red apple", sampler="euler_ancestral", steps=3, seed=7, gamma=2, width=32, height=32)


def latent(pipe: TextToImage) -> torch.Tensor:
    *_, last = pipe.run(RECIPE)
    return last.x_next


def truncate(path: Path) -> None:
    os.truncate(path, 100)


def overwrite(path: Path) -> None:
    """In place: the same file for whoever has it open or mapped."""
    with open(path, "r+b") as file:
        file.write(os.urandom(path.stat().st_size))


def replace(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"something else")


@pytest.mark.parametrize("change", [truncate, overwrite, replace, Path.unlink], ids=lambda change: change.__name__)
@pytest.mark.parametrize("layout", ["folder", "single"])
def test_pictures_stay_the_same_when_the_files_change_in_the_middle_of_a_run(
    written: Any, tmp_path: Path, layout: str, change: Callable[[Path], None]
) -> None:
    source = getattr(written[1], layout)
    path = Path((shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / source.name))
    pipe = load_pipeline(path, device="cpu")
    before, picture = latent(pipe), pipe.images(RECIPE)[0].tobytes()
    steps = pipe.run(RECIPE)
    next(steps)
    for file in [*path.rglob("*.safetensors")] or [path]:
        change(file)
    *_, last = steps
    assert torch.equal(last.x_next, before) and pipe.images(RECIPE)[0].tobytes() == picture


def test_while_others_load_and_fail_to_load_a_run_goes_on_to_the_bit(written: Any, tmp_path: Path) -> None:
    pipe = load_pipeline(written[1].folder, device="cpu")
    alone = latent(pipe)
    cut = Path(shutil.copy(written[2].single, tmp_path / "cut.safetensors"))
    truncate(cut)
    loaded: dict[str, Any] = {}

    def loads(name: str, path: Path) -> None:
        try:
            loaded[name] = load_pipeline(path, device="cpu")
        except UserError as error:
            loaded[name] = error

    paths = {"one": written[1].single, "same": written[1].single, "two": written[2].folder, "cut": cut}
    threads = [threading.Thread(target=loads, args=item) for item in paths.items()]
    for thread in threads:
        thread.start()
    runs = [latent(pipe)]
    while any(thread.is_alive() for thread in threads):
        runs.append(latent(pipe))
    assert all(torch.equal(run, alone) for run in runs)
    assert "incomplete" in str(loaded["cut"])
    assert torch.equal(latent(loaded["one"]), alone) and torch.equal(latent(loaded["same"]), alone)
    assert torch.equal(latent(loaded["two"]), latent(load_pipeline(written[2].folder, device="cpu")))


def test_a_load_that_is_given_up_leaves_the_old_model_and_the_next_load_as_they_were(
    written: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = load_pipeline(written[1].folder, device="cpu")
    before, left = latent(pipe), 200

    def interrupted(*arguments: Any) -> torch.Tensor:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return read(*arguments)

    read = load.read_tensor
    monkeypatch.setattr(load, "read_tensor", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_pipeline(written[2].single, device="cpu")
    monkeypatch.undo()
    assert torch.equal(latent(pipe), before)
    assert torch.equal(latent(load_pipeline(written[1].single, device="cpu")), before)
