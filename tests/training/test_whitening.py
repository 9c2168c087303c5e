"""Whitened text states: what they are, and that a U-Net for them folds into the same U-Net for plain ones."""

from __future__ import annotations

import torch

from core.nets.configs import UNetConfig
from core.nets.unet import UNet
from core.training.whitening import LEAST, Whitening


def states(n: int = 400) -> torch.Tensor:
    """States whose variance lies in few directions, away from zero: [n, 6, 16]."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.logspace(1, -1, 16)
    mixed = torch.linalg.qr(torch.randn(16, 16, generator=generator)).Q
    return (torch.randn(n, 6, 16, generator=generator) * spread) @ mixed + torch.randn(16, generator=generator)


def test_whitened_states_have_mean_zero_and_the_covariance_that_epsilon_leaves() -> None:
    s = states()
    white = Whitening.of(s)(s).reshape(-1, 16).double()
    torch.testing.assert_close(white.mean(0), torch.zeros(16, dtype=torch.float64), atol=1e-5, rtol=0)
    values = torch.linalg.eigvalsh(torch.cov(s.reshape(-1, 16).double().T))
    expected = values / (values + LEAST * values.mean())
    torch.testing.assert_close(torch.linalg.eigvalsh(torch.cov(white.T)), expected.sort().values, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_folding_is_the_same_unet_on_plain_states_and_unfolding_undoes_it() -> None:
    torch.manual_seed(0)
    config = UNetConfig(
        channels=(16, 32), attends=(False, True), heads=(2, 2), layers=1, context_dim=16, groups=8, sample_size=8
    )
    unet, s = UNet(config), states()
    whiten = Whitening.of(s)
    x, t, context = torch.randn(2, 4, 8, 8), torch.tensor([10.0, 700.0]), s[:2]
    expected = unet(x, t, whiten(context))
    trained = {name: value.clone() for name, value in unet.state_dict().items()}
    unet.load_state_dict(whiten.folded(trained))
    torch.testing.assert_close(unet(x, t, context), expected, rtol=1e-4, atol=1e-4)
    for name, value in whiten.unfolded(unet.state_dict()).items():
        torch.testing.assert_close(value, trained[name], rtol=1e-3, atol=1e-4)
