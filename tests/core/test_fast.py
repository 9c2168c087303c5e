"""Every fast path against the plain path of the same module, and the promises that come with it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nets import winograd
from core.nets.attention import Attention, FeedForward
from core.nets.clip import TextEncoder
from core.nets.configs import TextConfig, UNetConfig, VAEConfig
from core.nets.fast import BF16, quicken
from core.nets.unet import UNet
from core.nets.vae import AutoencoderKL

SD1 = UNetConfig(channels=(32, 64, 64), attends=(True, True, False), heads=(4, 4, 4), context_dim=48, groups=8)
SD2 = UNetConfig(channels=(32, 64), attends=(True, False), heads=(2, 4), context_dim=40, groups=8, linear_projection=True)
WIDE = UNetConfig(channels=(128, 128), attends=(False, True), heads=(4, 4), layers=1, context_dim=24)  # wide enough for Winograd
WIDER = UNetConfig(channels=(320,), attends=(True,), heads=(4,), layers=1, context_dim=24)  # in bf16, too
UNETS = pytest.mark.parametrize("config", [SD1, SD2, WIDE, WIDER], ids=["sd1", "sd2", "wide", "wider"])
VAE = VAEConfig(channels=(128, 32), layers=1, groups=8)


def relative(a: Tensor, b: Tensor) -> float:
    """Largest difference over the largest value."""
    return ((a - b).abs().max() / b.abs().max()).item()


def both(net: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A network on the plain path, and a copy of it on the fast one."""
    return net, quicken(copy.deepcopy(net).to(memory_format=torch.channels_last))


@UNETS
@pytest.mark.parametrize("side", [(8, 8), (9, 7), (34, 36)], ids=str)
@torch.no_grad()
def test_the_fast_unet_is_the_plain_one(config: UNetConfig, side: tuple[int, int]) -> None:
    torch.manual_seed(1)
    plain, fast = both(UNet(config))
    x, contexts = torch.randn(2, 4, *side), torch.randn(2, 2, 7, config.context_dim)
    assert relative(fast(x, 40.0, contexts), plain(x, 40.0, contexts)) < 1e-4
    assert relative(fast(x, 40.0, contexts[1]), plain(x, 40.0, contexts[1])) < 1e-4


@torch.no_grad()
def test_the_fast_autoencoder_is_the_plain_one() -> None:
    torch.manual_seed(2)
    plain, fast = both(AutoencoderKL(VAE))
    z = torch.randn(1, 4, 33, 36)
    x = plain.decode(z)
    assert relative(fast.decode(z), x) < 1e-4
    assert relative(fast.encode(x).mean, plain.encode(x).mean) < 1e-4


@torch.no_grad()
def test_the_fast_text_encoder_is_the_plain_one() -> None:
    torch.manual_seed(3)
    plain, fast = both(TextEncoder(TextConfig(vocab=99, width=32, layers=2, heads=4, mlp=64, length=16, eos=98)))
    ids = torch.randint(0, 99, (3, 16))
    assert relative(fast(ids).states, plain(ids).states) < 1e-4


@pytest.mark.parametrize("side", [(4, 4), (37, 30), (64, 64)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_winograds_convolution_is_the_sum_it_replaces_at_any_size_and_in_any_batch(side: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(4)
    x, weight = torch.randn(3, 24, *side), torch.randn(16, 24, 3, 3)
    shift = torch.randn(16) if bias else None
    found = winograd.convolve(x.contiguous(memory_format=torch.channels_last), winograd.transformed(weight), shift)
    exact = F.conv2d(x.double(), weight.double(), None if shift is None else shift.double(), padding=1)
    assert relative(found.double(), exact) < 1e-5


def test_whether_winograd_pays_is_decided_by_shapes_alone() -> None:
    def pays(cin: int, cout: int, side: int, dtype: torch.dtype = torch.float32) -> bool:
        return winograd.pays(cin, cout, torch.empty(1, cin, side, side, dtype=dtype, device="meta"))

    assert pays(320, 640, 32) and pays(128, 128, 512) and pays(320, 320, 64, torch.bfloat16)
    assert not pays(512, 3, 512) and not pays(1280, 1280, 16) and not pays(128, 128, 512, torch.bfloat16)


def test_the_networks_still_train_by_the_plain_path() -> None:
    torch.manual_seed(5)
    plain, fast = both(UNet(WIDE))
    x, context = torch.randn(1, 4, 32, 32), torch.randn(1, 5, 24)
    for net in (plain, fast):
        net(x, 3.0, context).square().mean().backward()
    for a, b in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad.contiguous(), rtol=1e-3, atol=1e-6)


def test_the_names_of_the_parameters_stay() -> None:
    plain, fast = both(UNet(SD1))
    with torch.no_grad():
        fast(torch.randn(1, 4, 8, 8), 3.0, torch.randn(1, 5, 48))
    assert list(fast.state_dict()) == list(plain.state_dict())


@torch.no_grad()
def test_weights_that_change_are_noticed_and_a_copy_has_its_own() -> None:
    torch.manual_seed(6)
    plain, fast = both(UNet(WIDE))
    x, context = torch.randn(1, 4, 32, 32), torch.randn(1, 5, 24)
    before = fast(x, 3.0, context)
    other = copy.deepcopy(fast)
    for net in (plain, fast):
        for parameter in net.parameters():
            parameter.mul_(0.9)
    assert relative(fast(x, 3.0, context), plain(x, 3.0, context)) < 1e-4
    assert torch.equal(other(x, 3.0, context), before)
    fast.load_state_dict(other.state_dict(), assign=True)
    assert relative(fast(x, 3.0, context), before) < 1e-5


@torch.no_grad()
def test_a_text_that_changes_in_place_is_noticed() -> None:
    torch.manual_seed(7)
    plain, fast = both(Attention(32, 2, 24))
    x, context = torch.randn(1, 9, 32), torch.randn(1, 5, 24)
    for _ in range(3):
        context += 1
        assert relative(fast(x, context), plain(x, context)) < 1e-4


@torch.no_grad()
def test_hooks_see_the_modules_of_the_fast_path() -> None:
    torch.manual_seed(8)
    fast = quicken(UNet(SD1))
    seen = []
    for module in fast.modules():
        if isinstance(module, Attention | FeedForward):
            module.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    fast(torch.randn(1, 4, 8, 8), 3.0, torch.randn(1, 5, 48))
    assert len(seen) == 3 * sum(len(down.attentions) for down in [*fast.down_blocks[:2], *fast.up_blocks[1:], fast.mid_block])


@pytest.mark.skipif(not BF16, reason="a processor without bf16")
@UNETS
@torch.no_grad()
def test_in_bf16_the_fast_path_errs_no_more_than_the_plain_one(config: UNetConfig) -> None:
    torch.manual_seed(9)
    exact, fast = both(UNet(config))
    x, context = torch.randn(1, 4, 32, 32), torch.randn(1, 7, config.context_dim)
    truth = exact(x, 40.0, context)
    halves = (net.bfloat16()(x.bfloat16(), 40.0, context.bfloat16()).float() for net in (fast, copy.deepcopy(exact)))
    ours, plain = ((half - truth).norm() / truth.norm() for half in halves)
    assert 1e-4 < ours < 1.3 * plain
