"""The rows of the benchmark, by name; each hands out the contest that it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core import Recipe, load_pipeline
from core.nets.clip import TextEncoder
from core.nets.configs import CLIP_L_TEXT, SD1_UNET, SD_VAE, UNetConfig, VAEConfig
from core.nets.unet import UNet
from core.nets.vae import AutoencoderKL
from core.noise import Noise
from core.pipeline import EMBEDDED, TextToImage
from core.prediction import Prediction
from core.sampling import sample
from tests.benchmarks.measure import Contender, Contest
from tests.benchmarks.peers import as_it_comes, contenders, flop

ROWS: dict[str, Callable[[], Contest]] = {}
STEPS = 20
PROMPT = Recipe(prompt="a red apple", sampler="ddim", end="clean", steps=STEPS, seed=7)  # as the scheduler in the folder says


def row(function: Callable[[], Contest]) -> Callable[[], Contest]:
    """Register a row under the name of its function."""
    ROWS[function.__name__] = function
    return function


def diffusers(kind: str, config: UNetConfig | VAEConfig) -> Any:
    import diffusers

    return getattr(diffusers, kind).from_config(config.to_json())


def step(config: UNetConfig, side: int, rounds: tuple[int, int]) -> Contest:
    """One guided step: two conditions of one x."""
    x, context = torch.randn(1, 4, side, side), torch.randn(2, 77, config.context_dim)
    pair, t = torch.cat([x, x]), torch.tensor([500.0])

    def ours(net: UNet, dtype: torch.dtype) -> Tensor:
        return net(x.to(dtype), t, context[:, None].to(dtype)).flatten(0, 1)

    def theirs(net: Any, dtype: torch.dtype) -> Tensor:
        return net(pair.to(dtype), t[0], context.to(dtype)).sample

    work = flop(lambda: UNet(config), lambda net: net(pair.to("meta"), 500.0, context.to("meta")))
    nets = contenders(lambda: UNet(config), lambda: diffusers("UNet2DConditionModel", config), ours, theirs)
    return Contest(nets, work, rounds)


def decode(config: VAEConfig, side: int, rounds: tuple[int, int]) -> Contest:
    z = torch.randn(1, 4, side, side)
    work = flop(lambda: AutoencoderKL(config), lambda net: net.decode(z.to("meta")))
    return Contest(contenders(
        lambda: AutoencoderKL(config), lambda: diffusers("AutoencoderKL", config),
        lambda net, dtype: net.decode(z.to(dtype)), lambda net, dtype: net.decode(z.to(dtype)).sample,
    ), work, rounds)  # fmt: skip


def embedded_config(part: str, kind: Any) -> Any:
    return kind.from_json(json.loads((EMBEDDED / part / "config.json").read_text(encoding="utf-8")))


@row
def sd_step() -> Contest:
    """Stable Diffusion 1.5, one guided step at 512×512."""
    return step(SD1_UNET, 64, (7, 2))


@row
def sd_decode() -> Contest:
    """Its VAE decodes 512×512."""
    return decode(SD_VAE, 64, (7, 2))


@row
def sd_encode() -> Contest:
    """Its VAE encodes 512×512."""
    x = torch.rand(1, 3, 512, 512) * 2 - 1
    work = flop(lambda: AutoencoderKL(SD_VAE), lambda net: net.encode(x.to("meta")))
    return Contest(contenders(
        lambda: AutoencoderKL(SD_VAE), lambda: diffusers("AutoencoderKL", SD_VAE),
        lambda net, dtype: net.encode(x.to(dtype)).mean, lambda net, dtype: net.encode(x.to(dtype)).latent_dist.mean,
    ), work, (7, 2))  # fmt: skip


@row
def sd_text() -> Contest:
    """CLIP's text encoder reads a prompt and the empty one."""
    import transformers

    ids = torch.randint(0, 49000, (2, 77), generator=torch.Generator().manual_seed(1))
    ids[:, 40:] = CLIP_L_TEXT.eos
    peer = transformers.CLIPTextConfig(**CLIP_L_TEXT.to_json())
    work = flop(lambda: TextEncoder(CLIP_L_TEXT), lambda net: net(ids.to("meta")))
    return Contest(contenders(
        lambda: TextEncoder(CLIP_L_TEXT), lambda: _as_ours(transformers.CLIPTextModel(peer)),
        lambda net, dtype: net(ids).states, lambda net, dtype: net(input_ids=ids).last_hidden_state,
    ), work)  # fmt: skip


def _as_ours(peer: Any) -> Any:
    """Newer transformers leave out the name `text_model`, which the files on disk have: put it back."""
    if hasattr(peer, "text_model"):
        return peer

    class Named(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.text_model = peer

        def forward(self, input_ids: Tensor) -> Any:
            return self.text_model(input_ids=input_ids, position_ids=torch.arange(input_ids.shape[1])[None])

    return Named()


@row
def embedded_step() -> Contest:
    """One guided step of the embedded model."""
    return step(embedded_config("unet", UNetConfig), 16, (15, 9))


@row
def embedded_decode() -> Contest:
    """The embedded VAE decodes 128×128."""
    return decode(embedded_config("vae", VAEConfig), 16, (15, 9))


def pictures(images: Any) -> Tensor:
    """Images as numbers in [−1, 1], for comparing them."""
    return torch.from_numpy(np.stack([np.asarray(image, dtype=np.float32) for image in images])) / 127.5 - 1


def loaded() -> TextToImage:
    return load_pipeline(device="cpu")


def peer_pipeline() -> Any:
    from diffusers import StableDiffusionPipeline

    peer = StableDiffusionPipeline.from_pretrained(EMBEDDED)
    peer.set_progress_bar_config(disable=True)
    return peer


@row
def embedded_image() -> Contest:
    """Twenty guided steps of the embedded model and the decoding, from words to a picture."""
    pipe, peer = loaded(), peer_pipeline()
    noise = Noise([PROMPT.seed], (4, pipe.unet.config.sample_size, pipe.unet.config.sample_size))(0)

    @as_it_comes()
    def theirs() -> Tensor:
        return pictures(peer(PROMPT.prompt, num_inference_steps=STEPS, guidance_scale=1 + PROMPT.gamma, latents=noise).images)

    def ours(tier: str) -> Tensor:
        pipe._states.clear()  # the words are read anew, as the peer does
        return pictures(pipe.images(PROMPT.replace(tier=tier)))

    return Contest({
        "ours exact": Contender(lambda: ours("exact"), 3e-3), "ours fast": Contender(lambda: ours("fast"), 0.1, True),
        "D0": Contender(theirs),
    })  # fmt: skip


@row
def embedded_preview() -> Contest:
    """The same run without and with a preview after every step; the ratio is the overhead."""
    pipe = loaded()

    def run(previews: bool) -> Tensor:
        for step in pipe.run(PROMPT):
            if previews:
                pipe.preview(step.x0)
        return pictures(pipe.pictures(step.x_next))

    return Contest({"without": Contender(lambda: run(False)), "with previews": Contender(lambda: run(True))})


@row
def embedded_eight() -> Contest:
    """Eight recipes as one batch, and one by one; the ratio is what batching brings to eight who wait."""
    pipe = loaded()
    recipes = [PROMPT.replace(seed=seed) for seed in range(8)]

    def together() -> Tensor:
        *_, last = pipe.run_many(recipes)
        return pictures(pipe.pictures(last.x_next))

    return Contest({
        "ours as one batch": Contender(together, 3e-3),
        "ours one by one": Contender(lambda: torch.cat([pictures(pipe.images(recipe)) for recipe in recipes])),
    }, rounds=(7, 3))  # fmt: skip


@row
def sampler_step() -> Contest:
    """A hundred DDIM moves of a 64×64 latent with a network that costs nothing: the driver and the sampler alone."""
    import diffusers

    pipe = loaded()
    path = pipe.path(PROMPT.replace(steps=100))
    v, noise = torch.randn(1, 4, 64, 64), Noise([7], (4, 64, 64))
    start = noise(0)
    scheduler = diffusers.DDIMScheduler.from_pretrained(EMBEDDED, subfolder="scheduler")

    def ours() -> Tensor:
        *_, last = sample(lambda x, at: Prediction.from_v(x, v, at), path, "ddim", noise, start)
        return last.x_next

    def theirs() -> Tensor:
        scheduler.set_timesteps(100)
        x = start
        for t in scheduler.timesteps:
            x = scheduler.step(v, t, x).prev_sample
        return x

    return Contest({"ours exact": Contender(ours), "D0": Contender(theirs)})

