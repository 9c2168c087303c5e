"""The networks against diffusers and transformers: random weights, small configurations, both families."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from core.errors import UserError
from core.nets.attention import attend
from core.nets.classifier import NoisyClassifier
from core.nets.clip import Clip, TextEncoder, contrastive_loss, summed_contrastive_loss
from core.nets.configs import (
    CLIP_L_TEXT,
    OPENCLIP_H_TEXT,
    SD1_UNET,
    SD2_UNET,
    SD_VAE,
    ClassifierConfig,
    TextConfig,
    UNetConfig,
    VAEConfig,
    VisionConfig,
)
from core.nets.layers import time_embedding
from core.nets.unet import UNet
from core.nets.vae import AutoencoderKL
from tests.conftest import Parity

SMALL_SD1 = UNetConfig(channels=(32, 64, 64), attends=(True, True, False), heads=(4, 4, 4), context_dim=48, groups=8)
SMALL_SD2 = UNetConfig(
    channels=(32, 64, 64), attends=(True, True, False), heads=(2, 4, 4), context_dim=40, groups=8, linear_projection=True
)
SMALL_EMBEDDED = UNetConfig(
    channels=(32, 64, 96), attends=(False, True, True), heads=(1, 2, 3), layers=1, context_dim=24, groups=16
)
SMALL = {"SD 1": SMALL_SD1, "SD 2": SMALL_SD2, "embedded": SMALL_EMBEDDED}
SMALL_UNETS = pytest.mark.parametrize("config", SMALL.values(), ids=["sd1", "sd2", "embedded"])
UNET_PEER, VAE_PEER = "diffusers UNet2DConditionModel", "diffusers AutoencoderKL"
TEXT_PEER, CLIP_PEER = "transformers CLIPTextModel", "transformers CLIPModel"
SMALL_VAES = pytest.mark.parametrize("attention", [True, False], ids=["attention", "plain"])


def relative(a: Tensor, b: Tensor) -> float:
    """Largest difference over the largest value."""
    return ((a - b).abs().max() / b.abs().max()).item()


def small_vae(attention: bool) -> VAEConfig:
    return VAEConfig(channels=(16, 32, 32), layers=1, groups=8, mid_attention=attention)


def make_peer(kind: str, config: UNetConfig | VAEConfig) -> nn.Module:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(1)
    return getattr(diffusers, kind).from_config(config.to_json()).eval()


@SMALL_UNETS
def test_a_configuration_survives_the_ecosystems_config_file(config: UNetConfig) -> None:
    assert UNetConfig.from_json(config.to_json()) == config
    peer = make_peer("UNet2DConditionModel", config)
    assert UNetConfig.from_json(dict(peer.config)) == config


@SMALL_UNETS
@pytest.mark.parametrize("side", [(8, 8), (12, 20), (9, 7)], ids=str)
@torch.no_grad()
def test_the_unet_agrees_with_diffusers_at_any_size(config: UNetConfig, side: tuple[int, int], parity: Parity) -> None:
    peer, ours = make_peer("UNet2DConditionModel", config), UNet(config)
    ours.load_state_dict(peer.state_dict())
    x, context = torch.randn(2, 4, *side), torch.randn(2, 7, config.context_dim)
    t = torch.tensor([3, 900])
    family = next(name for name, small in SMALL.items() if small is config)
    parity("network", f"small U-Net, {family}", UNET_PEER, relative(ours(x, t, context), peer(x, t, context).sample))


@SMALL_UNETS
@torch.no_grad()
def test_several_conditions_in_one_call_are_the_same_as_one_call_each(config: UNetConfig) -> None:
    torch.manual_seed(2)
    unet = UNet(config)
    x, contexts = torch.randn(2, 4, 8, 8), torch.randn(3, 2, 5, config.context_dim)
    together = unet(x, 40.0, contexts)
    assert together.shape == (3, 2, 4, 8, 8)
    for answer, context in zip(together, contexts, strict=True):
        assert relative(answer, unet(x, 40.0, context)) < 1e-5


@SMALL_VAES
@torch.no_grad()
def test_the_autoencoder_agrees_with_diffusers(attention: bool, parity: Parity) -> None:
    config = small_vae(attention)
    peer, ours = make_peer("AutoencoderKL", config), AutoencoderKL(config)
    ours.load_state_dict(peer.state_dict())
    x = torch.rand(2, 3, 32, 48) * 2 - 1
    theirs, posterior = peer.encode(x).latent_dist, ours.encode(x)
    decoded = relative(ours.decode(posterior.mean), peer.decode(theirs.mean).sample)
    parity("network", "small VAE, encode", VAE_PEER, relative(posterior.mean, theirs.mean))
    parity("network", "small VAE, encode", VAE_PEER, relative(posterior.logvar, theirs.logvar))
    parity("network", "small VAE, decode", VAE_PEER, decoded)
    parity("network", "small VAE, KL", VAE_PEER, relative(posterior.kl(), theirs.kl()))


@torch.no_grad()
def test_one_tile_is_plain_decoding_and_a_tiles_inside_is_untouched_by_tiling() -> None:
    torch.manual_seed(3)
    vae = AutoencoderKL(small_vae(False))
    z = torch.randn(1, 4, 40, 24)
    plain = vae.decode(z)
    torch.testing.assert_close(vae.decode_tiled(z, tile=64), plain)
    tiled = vae.decode_tiled(z, tile=24, overlap=12)
    assert tiled.shape == plain.shape
    # GroupNorm sees one tile instead of the whole map, so tiles agree closely, not exactly. Unblended they differ by 0.2.
    assert relative(tiled, plain) < 0.12


@torch.no_grad()
def test_across_a_seam_one_tile_passes_evenly_into_the_next_and_the_inside_of_each_is_its_own() -> None:
    class Numbered(AutoencoderKL):
        """Decodes every tile to its number."""

        tiles = 0

        def decode(self, z: Tensor) -> Tensor:
            self.tiles += 1
            return torch.full((1, 3, self.factor * z.shape[-2], self.factor * z.shape[-1]), float(self.tiles - 1))

    vae, f = Numbered(small_vae(False)), AutoencoderKL(small_vae(False)).factor
    for z, across in ((torch.zeros(1, 4, 4, 26), -1), (torch.zeros(1, 4, 26, 4), -2)):
        vae.tiles = 0
        made = vae.decode_tiled(z, tile=16, overlap=6)
        row = made.movedim(across, -1)[0, 0, 0]
        torch.testing.assert_close(made, row.expand_as(made.movedim(across, -1)).movedim(-1, across))
        assert (row[: 10 * f] == 0).all() and (row[16 * f :] == 1).all()
        seam = row[10 * f : 16 * f].double()
        n = len(seam)  # both trapezoids rise and fall over the seam and sum to a constant: a straight line
        torch.testing.assert_close(seam, (torch.arange(n).double() + 1) / (n + 1), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_tiling_is_exact_where_a_decoder_is_local() -> None:
    class Local(AutoencoderKL):
        def decode(self, z: Tensor) -> Tensor:
            return nn.functional.interpolate(z[:, :3], scale_factor=self.factor, mode="nearest")

    vae = Local(small_vae(False))
    z = torch.randn(1, 4, 50, 33)
    torch.testing.assert_close(vae.decode_tiled(z, tile=16, overlap=5), vae.decode(z))


def small_text(activation: str) -> TextConfig:
    return TextConfig(vocab=99, width=32, layers=3, heads=4, mlp=64, length=16, activation=activation, projection=24,
                      bos=97, eos=98, pad=98)  # fmt: skip


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@torch.no_grad()
def test_the_text_encoder_agrees_with_transformers(activation: str, parity: Parity) -> None:
    transformers = pytest.importorskip("transformers")
    config = small_text(activation)
    torch.manual_seed(4)
    peer = transformers.CLIPTextModel(transformers.CLIPTextConfig(**config.to_json())).eval()
    ours = TextEncoder(config)
    ours.load_state_dict({f"text_model.{k.removeprefix('text_model.')}": v for k, v in peer.state_dict().items()})
    ids = torch.randint(0, 97, (3, 16))
    ids[:, 9:] = 98
    theirs, states = peer(ids), ours(ids)
    name = f"small text encoder, {activation}"
    parity("network", name, TEXT_PEER, relative(states.states, theirs.last_hidden_state))
    parity("network", name, TEXT_PEER, relative(states.pooled, theirs.pooler_output))


@torch.no_grad()
def test_both_towers_the_temperature_and_the_loss_agree_with_transformers(parity: Parity) -> None:
    transformers = pytest.importorskip("transformers")
    text = small_text("quick_gelu")
    vision = VisionConfig(size=32, patch=8, width=48, layers=2, heads=4, mlp=96, projection=24)
    torch.manual_seed(5)
    peer = transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text.to_json(), vision_config=vision.to_json(), projection_dim=24)
    ).eval()
    ours = Clip(text, vision)
    ours.load_state_dict(peer.state_dict())
    x, ids = torch.randn(5, 3, 32, 32), torch.randint(0, 97, (5, 16))
    ids[:, 6:] = 98
    theirs = peer(input_ids=ids, pixel_values=x, return_loss=True)
    logits = ours(x, ids)
    assert relative(logits, logits.T) > 0.1  # so that rows and columns cannot stand for each other
    parity("network", "small CLIP, logits", CLIP_PEER, relative(logits, theirs.logits_per_image))
    parity("network", "small CLIP, loss", CLIP_PEER, relative(contrastive_loss(logits), theirs.loss))
    assert ours.logit_scale.requires_grad


def test_the_documents_loss_at_random_initialisation_is_two_ln_n_and_clips_is_half_of_it() -> None:
    logits = torch.zeros(64, 64)
    assert summed_contrastive_loss(logits).item() == pytest.approx(2 * math.log(64))
    logits = torch.randn(64, 64)
    assert contrastive_loss(logits).item() == pytest.approx(summed_contrastive_loss(logits).item() / 2)
    assert contrastive_loss(100 * torch.eye(8)).item() < 1e-6


def test_the_time_embedding_is_the_formula_and_its_products_depend_on_the_difference_alone() -> None:
    t = torch.tensor([0.0, 1.0, 250.0, 999.0])
    table = time_embedding(t, 64)
    for row, time in zip(table, t.tolist(), strict=True):
        for i in range(32):
            angle = time / 10000 ** (2 * i / 64)
            assert row[i].item() == pytest.approx(math.cos(angle), abs=2e-4)
            assert row[32 + i].item() == pytest.approx(math.sin(angle), abs=2e-4)
    pairs = time_embedding(torch.tensor([10.0, 35.0, 500.0, 525.0]), 64)
    assert (pairs[0] @ pairs[1]).item() == pytest.approx((pairs[2] @ pairs[3]).item(), abs=1e-2)


def test_the_classifier_answers_for_both_label_sets_and_carries_gradients_to_its_input() -> None:
    torch.manual_seed(6)
    net = NoisyClassifier(ClassifierConfig(channels=(16, 32), classes=("a", "b"), subclasses=("a1", "a2", "b1")))
    x = torch.randn(2, 4, 16, 16, requires_grad=True)
    logits = net(x, torch.tensor([5.0, 700.0]))
    assert logits.coarse.shape == (2, 2) and logits.fine.shape == (2, 3)
    (gradient,) = torch.autograd.grad(logits.coarse.log_softmax(-1)[:, 0].sum(), x)
    assert gradient.shape == x.shape and gradient.abs().sum() > 0


def test_what_the_network_does_not_build_is_refused_with_its_name() -> None:
    data = SMALL_SD1.to_json()
    with pytest.raises(UserError, match="addition_embed_type"):
        UNetConfig.from_json(data | {"addition_embed_type": "text_time"})
    with pytest.raises(UserError, match="AttnDownBlock2D"):
        UNetConfig.from_json(data | {"down_block_types": ["AttnDownBlock2D"] * 3})
    with pytest.raises(UserError, match="levels of different lengths"):
        UNetConfig.from_json(data | {"block_out_channels": [32, 64]})


@pytest.mark.parametrize(("network", "config", "published"), [
    (UNet, SD1_UNET, 859_520_964), (UNet, SD2_UNET, 865_910_724), (AutoencoderKL, SD_VAE, 83_653_863),
    (TextEncoder, CLIP_L_TEXT, 123_060_480), (TextEncoder, OPENCLIP_H_TEXT, 340_387_840),
])  # fmt: skip
def test_the_networks_of_stable_diffusion_have_the_published_number_of_weights(network, config, published: int) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in network(config).parameters()) == published


@pytest.mark.slow
@pytest.mark.parametrize("config", [SD1_UNET, SD2_UNET], ids=["sd1", "sd2"])
@torch.no_grad()
def test_the_full_unet_agrees_with_diffusers(config: UNetConfig, parity: Parity) -> None:
    peer = make_peer("UNet2DConditionModel", config)
    with torch.device("meta"):
        ours = UNet(config)
    ours.load_state_dict(peer.state_dict(), assign=True)
    x, context = torch.randn(1, 4, 32, 32), torch.randn(1, 77, config.context_dim)
    family = "SD 1.5" if config is SD1_UNET else "SD 2"
    parity("network", f"full U-Net, {family}", UNET_PEER, relative(ours(x, 500.0, context), peer(x, 500.0, context).sample))


@pytest.mark.slow
@torch.no_grad()
def test_the_full_autoencoder_agrees_with_diffusers(parity: Parity) -> None:
    peer = make_peer("AutoencoderKL", SD_VAE)
    with torch.device("meta"):
        ours = AutoencoderKL(SD_VAE)
    ours.load_state_dict(peer.state_dict(), assign=True)
    x = torch.rand(1, 3, 128, 128) * 2 - 1
    mean = peer.encode(x).latent_dist.mean
    parity("network", "full VAE, encode", VAE_PEER, relative(ours.encode(x).mean, mean))
    parity("network", "full VAE, decode", VAE_PEER, relative(ours.decode(mean), peer.decode(mean).sample))


@pytest.mark.slow
@pytest.mark.parametrize("config", [CLIP_L_TEXT, OPENCLIP_H_TEXT], ids=["clip_l", "openclip_h"])
@torch.no_grad()
def test_the_full_text_encoder_agrees_with_transformers(config: TextConfig, parity: Parity) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(7)
    peer = transformers.CLIPTextModel(transformers.CLIPTextConfig(**config.to_json())).eval()
    with torch.device("meta"):
        ours = TextEncoder(config)
    state = {f"text_model.{k.removeprefix('text_model.')}": v for k, v in peer.state_dict().items()}
    ours.load_state_dict(state, assign=True)
    ids = torch.randint(0, 49000, (1, 77))
    ids[:, 40:] = config.eos
    family = "CLIP L" if config is CLIP_L_TEXT else "OpenCLIP H"
    parity("network", f"full text encoder, {family}", TEXT_PEER, relative(ours(ids).states, peer(ids).last_hidden_state))


def test_attention_with_and_without_gradients_is_one_formula() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, length, 8, dtype=torch.float64) for length in (5, 7, 7))
    recorded = attend(q, k, v)
    with torch.no_grad():
        torch.testing.assert_close(recorded, attend(q, k, v), rtol=1e-12, atol=1e-12)
