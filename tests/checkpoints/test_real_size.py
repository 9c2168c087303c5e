"""A checkpoint of Stable Diffusion 1.5's real size, random weights in fp16, written by diffusers in both layouts."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from core.checkpoints.load import load_checkpoint

pytest.importorskip("diffusers")
from tests.checkpoints import builders

ROOM = 6_000_000_000  # bytes: twice the weights on the disk, and once or twice in memory


def real_pipe() -> Any:
    """Made without the default initialisation, which takes minutes."""
    with torch.device("meta"):
        pipe = builders.build(builders.REAL_1)
    generator = torch.Generator().manual_seed(0)
    for module in (pipe.unet, pipe.vae, pipe.text_encoder):
        module.half().to_empty(device="cpu")
        for parameter in module.parameters():
            parameter.data.normal_(std=0.02, generator=generator)
    return pipe


@pytest.mark.slow
def test_a_checkpoint_of_real_size_loads_bit_equal_from_both_layouts(
    tmp_path: Path, record_property: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.disk_usage(tmp_path).free < 2 * ROOM:
        pytest.skip("less than 12 GB free on the disk")
    try:
        pipe = real_pipe()
        folder = builders.write_folder(pipe, tmp_path / "real")
        single = builders.write_single(pipe, tmp_path / "real.safetensors", torch.float16)
        for path in (folder, single):
            start = time.perf_counter()
            parts = load_checkpoint(path, dtype=torch.float16)
            record_property(f"seconds, {path.name}", round(time.perf_counter() - start, 1))
            for name in ("unet", "vae", "text_encoder"):
                ours, theirs = getattr(parts, name).state_dict(), getattr(pipe, name).state_dict()
                theirs = {key.removeprefix("text_model."): tensor for key, tensor in theirs.items()}
                assert len(ours) == len(theirs)
                assert all(torch.equal(tensor, theirs[key.removeprefix("text_model.")]) for key, tensor in ours.items())
            del parts
    finally:  # pytest keeps the last folders it made; these are too large
        shutil.rmtree(tmp_path, ignore_errors=True)
