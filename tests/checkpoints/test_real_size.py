"""A checkpoint of Stable Diffusion 1.5's real size, random weights in fp16, written by diffusers in both layouts; and the
pictures of 512×512 that the command line makes of them.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.checkpoints.load import load_checkpoint
from studio import command

pytest.importorskip("diffusers")
from tests.checkpoints import builders
from tests.conftest import Parity

ROOM = 6_000_000_000  # bytes: twice the weights on the disk, and once or twice in memory


def real_pipe() -> Any:
    """Made without the default initialisation, which takes minutes."""
    with torch.device("meta"):
        pipe = builders.build(builders.REAL_1)
    generator = torch.Generator().manual_seed(0)
    for module in (pipe.unet, pipe.vae, pipe.text_encoder):
        module.half().to_empty(device="cpu")
        for name, parameter in module.named_parameters():
            parameter.data.normal_(std=0.02, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.data += 1  # as norms have it: otherwise every picture would be grey
    return pipe


def generated(model: Path, out: Path) -> np.ndarray:
    """What `launch.py generate` makes of a model, at latents of 64×64, unguided."""
    options = ("--steps", "2", "--gamma", "0", "--width", "512", "--height", "512")
    args = command.parse(["generate", "a lighthouse at dusk", "--model", str(model), *options, "--out", str(out)])
    assert command.run(args) == 0
    return np.asarray(Image.open(out))


@pytest.mark.slow
def test_a_checkpoint_of_real_size_loads_bit_equal_from_both_layouts_and_makes_one_picture(
    tmp_path: Path, record_property: Any, parity: Parity
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
                far = max((tensor - theirs[key.removeprefix("text_model.")]).abs().max().item() for key, tensor in ours.items())
                parity("checkpoint", f"SD 1.5's size, {path.name}, {name}", "what diffusers wrote", far, 0)
            del parts, ours, theirs
        del pipe
        one, two = (generated(path, tmp_path / f"{path.name}.png") for path in (folder, single))
        assert one.shape == (512, 512, 3) and one.std() > 5
        assert np.array_equal(one, two)
    finally:  # pytest keeps the last folders it made; these are too large
        shutil.rmtree(tmp_path, ignore_errors=True)
