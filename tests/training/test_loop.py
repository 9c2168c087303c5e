"""The training loop: resumable after a kill, honest about its averages; and the folding of the VAE's latent statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.nets.configs import VAEConfig
from core.nets.vae import AutoencoderKL
from core.training.autoencoder import channel_statistics, fold
from core.training.loop import WHOLE, RunConfig, Trainer, fit, trained_weights
from core.training.muon import Muon, as_matrix

CPU = torch.device("cpu")


class Copy:
    """Learn to copy two of three numbers: small enough to be trained in milliseconds."""

    part = "copy"

    def __init__(self, **run: float) -> None:
        torch.manual_seed(0)
        self.run = RunConfig(**{"steps": 20, "batch": 8, "lr": 1e-2, "warmup": 2, "weight_decay": 0.0} | run)  # type: ignore[arg-type]
        self.network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))

    def loss(
        self, rng: np.random.Generator, generator: torch.Generator, share: slice = WHOLE
    ) -> tuple[Tensor, dict[str, float]]:
        x = (torch.randn(self.run.batch, 3, generator=generator) + float(rng.normal()))[share]
        return (self.network(x) - x[:, :2]).square().mean(), {}


def test_a_killed_training_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    whole = [state.loss for state in fit(Copy(), tmp_path / "whole", CPU)]
    first = fit(Copy(), tmp_path / "killed", CPU)
    losses = [next(first).loss for _ in range(7)]
    first.close()
    losses += [state.loss for state in fit(Copy(), tmp_path / "killed", CPU)]
    assert losses == whole
    one, two = trained_weights(tmp_path / "whole"), trained_weights(tmp_path / "killed")
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_a_half_written_checkpoint_is_not_taken_up(tmp_path: Path) -> None:
    run = fit(Copy(), tmp_path, CPU)
    next(run)
    run.close()
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "network.safetensors").write_bytes(b"half")
    assert Trainer(Copy(), tmp_path, CPU).step == 1


def test_only_the_last_checkpoint_is_kept_and_none_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train that part first"):
        trained_weights(tmp_path)
    list(fit(Copy(save_seconds=0.0), tmp_path, CPU))
    assert [p.name for p in tmp_path.glob("checkpoint-*")] == ["checkpoint-00000020"]


def test_training_lowers_the_loss_and_minutes_bound_it(tmp_path: Path) -> None:
    losses = [state.loss for state in fit(Copy(steps=400, lr=3e-2), tmp_path / "long", CPU)]
    assert np.mean(losses[-20:]) < 0.3 * np.mean(losses[:20])
    assert len(list(fit(Copy(), tmp_path / "short", CPU, minutes=0.0))) == 1


def test_the_learning_rate_rises_and_falls_linearly() -> None:
    run = RunConfig(steps=100, batch=1, lr=2.0, warmup=10, cooldown=20)
    assert [run.lr_at(s) for s in (0, 4, 9, 50, 80, 90, 99)] == pytest.approx([0.2, 1.0, 2.0, 2.0, 2.0, 1.0, 0.1])


def test_the_average_is_the_recursion_it_says(tmp_path: Path) -> None:
    trainer = Trainer(Copy(ema=0.5), tmp_path, CPU)
    expected = {k: v.clone() for k, v in trainer.average.items()}
    for step in range(1, 6):
        trainer.advance()
        decay = min(0.5, (1 + step) / (10 + step))
        for k, v in trainer.network.state_dict().items():
            expected[k] = decay * expected[k] + (1 - decay) * v
    for k, v in expected.items():
        torch.testing.assert_close(trainer.average[k], v)


@torch.no_grad()
def test_folding_standardises_latents_and_leaves_pictures_alone() -> None:
    torch.manual_seed(1)
    vae = AutoencoderKL(VAEConfig(channels=(16, 32), layers=1, groups=8, mid_attention=False)).double()
    x = torch.rand(6, 3, 16, 16, dtype=torch.float64) * 2 - 1
    before = vae.encode(x)
    picture = vae.decode(before.mean)
    mean, std = channel_statistics(before.mean)
    fold(vae, mean, std)
    after = vae.encode(x)
    new_mean, new_std = channel_statistics(after.mean)
    torch.testing.assert_close(new_mean, torch.zeros_like(mean), atol=1e-9, rtol=0)
    torch.testing.assert_close(new_std, torch.ones_like(std))
    torch.testing.assert_close(after.std, before.std / std[:, None, None])
    torch.testing.assert_close(vae.decode(after.mean), picture)


class Kernels(Copy):
    """Learn a convolution and a product, both large enough for Muon."""

    def __init__(self, **run: float) -> None:
        super().__init__(**{"batch": 128, "lr": 2e-3, "muon": True} | run)
        self.network = nn.Sequential(nn.Conv2d(64, 72, 3, padding=1), nn.Flatten(), nn.Linear(72 * 4, 64))

    def loss(
        self, rng: np.random.Generator, generator: torch.Generator, share: slice = WHOLE
    ) -> tuple[Tensor, dict[str, float]]:
        x = torch.randn(self.run.batch, 64, 2, 2, generator=generator)[share]
        return (self.network(x) - x.mean((2, 3))).square().mean(), {}


def test_a_step_of_muon_is_orthogonal_and_of_adamws_size_and_vectors_stay_adamws(tmp_path: Path) -> None:
    trainer = Trainer(Kernels(warmup=1, clip_norm=1e9), tmp_path, CPU)
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    trainer.advance()
    for name in ("0.weight", "2.weight"):
        moved = as_matrix(trainer.network.state_dict()[name] - before[name]).double()
        spread = torch.linalg.svdvals(moved) / (0.2 * max(moved.shape) ** 0.5 * 2e-3)
        # Five Newton–Schulz steps bring every singular value that is not nearly zero to about 1.
        assert 0.5 < float(spread.median()) < 1.25 and float(spread.max()) < 1.3
    assert torch.allclose((trainer.network.state_dict()["2.bias"] - before["2.bias"]).abs(), torch.tensor(2e-3), rtol=1e-2)


def test_muon_learns_and_is_taken_up_after_a_kill(tmp_path: Path) -> None:
    whole = [state.loss for state in fit(Kernels(steps=60), tmp_path / "whole", CPU)]
    assert np.mean(whole[-10:]) < 0.5 * np.mean(whole[:10])
    first = fit(Kernels(steps=60), tmp_path / "killed", CPU)
    losses = [next(first).loss for _ in range(7)]
    first.close()
    assert losses + [state.loss for state in fit(Kernels(steps=60), tmp_path / "killed", CPU)] == whole


def test_muon_refuses_a_kernel_that_it_could_not_change() -> None:
    kernel = nn.Parameter(torch.randn(64, 64, 3, 3))
    with pytest.raises(ValueError, match="channels_last"):
        Muon([kernel], 1e-3, 0.0)
    Muon([nn.Parameter(kernel.detach().to(memory_format=torch.channels_last))], 1e-3, 0.0)
