"""The same code on a GPU: parity with the CPU, half precision finite and close, determinism. Skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")

from core import SAMPLERS, Recipe, load_pipeline
from core.noise import Noise
from core.pipeline import TextToImage
from tests.checkpoints.builders import SMALL_1, build, write_folder
from tests.conftest import Parity
from tests.core.tiny import write_tiny

pytestmark = pytest.mark.cuda
RECIPE = Recipe(prompt="a red apple", negative="blurry", steps=6, seed=7, gamma=2, width=64, height=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(build(SMALL_1), tmp_path_factory.mktemp("cuda") / "model")


@pytest.fixture(scope="module")
def cpu(folder: Path) -> TextToImage:
    return load_pipeline(folder, device="cpu")


@pytest.fixture(scope="module")
def gpu(folder: Path) -> TextToImage:
    return load_pipeline(folder, device="cuda")


def last(pipe: TextToImage, recipe: Recipe) -> torch.Tensor:
    *_, step = pipe.run(recipe)
    return step.x_next.float().cpu()


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


@torch.no_grad()
def test_every_network_answers_as_on_the_cpu(cpu: TextToImage, gpu: TextToImage, parity: Parity) -> None:
    ids = cpu.tokenizer.encode(["a red apple", ""])
    context = cpu.text_encoder(ids).states
    x, t, picture = torch.randn(2, 4, 16, 16), torch.tensor([10.0, 900.0]), torch.rand(1, 3, 64, 64) * 2 - 1
    for name, here, there in (
        ("text encoder", context, gpu.text_encoder(ids.cuda()).states),
        ("U-Net", cpu.unet(x, t, context), gpu.unet(x.cuda(), t.cuda(), context.cuda())),
        ("VAE, decode", cpu.vae.decode(x), gpu.vae.decode(x.cuda())),
        ("VAE, encode", cpu.vae.encode(picture).mean, gpu.vae.encode(picture.cuda()).mean),
    ):
        parity("on the GPU", name, "the CPU", relative(there.cpu(), here))


@torch.no_grad()
def test_the_towers_of_clip_and_the_classifier_answer_as_on_the_cpu(gpu: TextToImage, tmp_path: Path, parity: Parity) -> None:
    write_tiny(tmp_path / "tiny")
    here, there = (load_pipeline(tmp_path / "tiny", device=device).extras for device in ("cpu", "cuda"))
    picture, x, t = torch.rand(2, 3, 32, 32) * 2 - 1, torch.randn(2, 4, 16, 16), torch.tensor([10.0, 900.0])
    words = ["a red cat", "a blue apple"]
    for name, one, other in (
        ("CLIP, pictures", here.eyes.of_pictures(picture), there.eyes.of_pictures(picture.cuda())),
        ("CLIP, words", here.eyes.of_words(words), there.eyes.of_words(words)),
        ("classifier", here.judge.network(x, t).fine, there.judge.network(x.cuda(), t.cuda()).fine),
    ):
        parity("on the GPU", name, "the CPU", relative(other.cpu(), one))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_ends_where_it_ends_on_the_cpu(cpu: TextToImage, gpu: TextToImage, sampler: str, parity: Parity) -> None:
    recipe = RECIPE.replace(sampler=sampler)
    parity("on the GPU", f"a run with {sampler}", "the CPU", relative(last(gpu, recipe), last(cpu, recipe)), 1e-3)


def test_a_run_on_the_gpu_repeats_itself_to_the_bit(gpu: TextToImage) -> None:
    assert torch.equal(last(gpu, RECIPE), last(gpu, RECIPE))


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_stays_finite_and_close(cpu: TextToImage, folder: Path, dtype: str) -> None:
    half = load_pipeline(folder, device="cuda", dtype=dtype)
    ours, exact = last(half, RECIPE), last(cpu, RECIPE)
    assert ours.isfinite().all()
    assert (ours - exact).square().mean().sqrt() < 0.1 * exact.square().mean().sqrt()


@pytest.mark.parametrize("seed", [0, 42, 2**40 + 3])
@pytest.mark.parametrize("side", [16, 64])
def test_noise_is_that_of_torch_randn_on_the_device(seed: int, side: int) -> None:
    noise = Noise([seed], (4, side, side), device="cuda")
    generator = torch.Generator("cuda").manual_seed(seed)
    for draw in range(3):
        theirs = torch.randn(1, 4, side, side, generator=generator, device="cuda")
        torch.testing.assert_close(noise(draw), theirs, atol=1e-5, rtol=1e-5)
