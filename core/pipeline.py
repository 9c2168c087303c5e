"""From a Recipe to pictures: tokenizer -> text encoder -> U-Net under a sampler -> VAE.

    (1)  z_T ~ N(0, 1), addressed by the seed;   z_0 = sampler(denoiser(U-Net, prompts, gamma), path);   picture = D(z_0/s)

`run` hands out every step of (1), `pictures` decodes a step's latents. Latents are always scaled by s = `scaling_factor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from core.checkpoints.load import Components, load_checkpoint
from core.checkpoints.memory import free_memory
from core.emphasis import LEAST, MOST, emphasised, plain, said, token_weights
from core.errors import UserError
from core.extras import Extras, folder_of
from core.footprint import footprint
from core.guidance import classifier_free, classifier_guided, inpaint, interval, rescaled
from core.judge import BLIND
from core.nets.clip import TextEncoder
from core.nets.fast import BF16, quicken
from core.nets.tokenizer import Tokenizer
from core.nets.unet import UNet
from core.nets.vae import AutoencoderKL, together
from core.noise import Noise
from core.prediction import Cond, Denoiser, NetworkModel, unconditional
from core.recipe import Recipe
from core.sampling import SAMPLERS, Step, joined, sample
from core.schedules import SCHEDULES, Schedule, make, make_path
from core.schedules import Path as Levels

EMBEDDED = Path(__file__).parents[1] / "assets" / "emoji-128"
DTYPES = {"auto": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
KINDS = ("cpu", "cuda", "mps")  # of device; mps is allowed and untested
REMEMBERED = 64  # prompts whose states are kept
NO_WORDS = "Under a classifier the network hears no words: take classifier-free guidance to see what it makes of them."

Pictures = Mapping[str, Image.Image]  # what a recipe's digests stand for


class Rounded(nn.Module):
    """A network that computes in bf16 (8 binary digits) and is asked and answers in what it is given."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return self.network(x.bfloat16(), t, context.bfloat16()).to(x.dtype)


@dataclass(frozen=True)
class TextToImage:
    """A text-to-image model with all its parts; see `load_pipeline`."""

    parts: Components
    device: torch.device
    dtype: torch.dtype
    _states: dict[str, Tensor] = field(default_factory=dict, repr=False)  # of the prompts seen last

    @property
    def unet(self) -> UNet:
        return self.parts.unet

    @property
    def vae(self) -> AutoencoderKL:
        return self.parts.vae

    @property
    def text_encoder(self) -> TextEncoder:
        return self.parts.text_encoder

    @property
    def tokenizer(self) -> Tokenizer:
        return self.parts.tokenizer

    @property
    def schedule(self) -> Schedule:
        return self.parts.schedule

    @property
    def name(self) -> str:
        return self.parts.name

    @property
    def hash(self) -> str:
        return self.parts.hash

    @property
    def size(self) -> int:
        """The side in pixels of the pictures that the model was trained on."""
        return self.unet.config.sample_size * self.vae.factor

    @cached_property
    def extras(self) -> Extras:
        """What lies beside the networks: CLIP's image tower, a classifier, the training latents."""
        parts = self.parts
        return Extras(folder_of(parts.weights), self.name, parts.text_encoder, parts.tokenizer, parts.schedule,
                      self.device, self.dtype)  # fmt: skip

    # ------------------------------------------------------------------------------------------------- a run

    def complete(self, recipe: Recipe) -> Recipe:
        """The recipe with all that it left to the model filled in; raises UserError if it names another model."""
        if recipe.model not in (None, self.name) and recipe.model != self.hash:  # the hash only then: it reads the whole file
            raise UserError(f"The recipe is for the model {recipe.model!r}, and {self.name} is loaded: load that one, or clear "
                            "the recipe's model.")  # fmt: skip
        return recipe.replace(
            model=self.name,
            schedule=recipe.schedule or (self.schedule.name if self.schedule.name in SCHEDULES else None),
            spacing=recipe.spacing or self.parts.spacing,
            end=recipe.end or SAMPLERS[recipe.sampler].end,
            width=recipe.width or self.size,
            height=recipe.height or self.size,
        )

    def path(self, recipe: Recipe) -> Levels:
        """The levels that a recipe visits; from a given picture, only the last share `strength` of them."""
        recipe = self.complete(recipe)
        schedule = self.schedule if recipe.schedule in (None, self.schedule.name) else make(recipe.schedule)
        path = make_path(
            schedule, recipe.spacing or "leading", recipe.steps,
            end=recipe.end or "clean", offset=self.parts.steps_offset, sigmas=recipe.sigmas,
        )  # fmt: skip
        return path[len(path) - recipe.moves :]

    def run(self, recipe: Recipe, pictures: Pictures | None = None) -> Iterator[Step]:
        """Run a recipe, one Step a move; `pictures` holds the pictures that its digests name.

        Raises UserError for a picture that is missing and for a result that is not finite.
        """
        recipe = self.complete(recipe)
        yield from self.run_many([recipe], pictures)

    def run_many(
        self, recipes: Sequence[Recipe], pictures: Pictures | None = None, trunk: Sequence[Step] = ()
    ) -> Iterator[Step]:
        """Run recipes that differ only in prompt, negative, gamma, seed and batch as one batch, in their order.

        `trunk` holds the steps before their branch where these are known already: they are given as they are.
        """
        recipes = [self.complete(recipe) for recipe in recipes]
        first = recipes[0]
        alike = {"prompt": "", "negative": "", "gamma": 0.0, "seed": 0, "batch": 1}
        if any(recipe.replace(**alike) != first.replace(**alike) for recipe in recipes):
            raise UserError("These recipes differ in more than prompt, guidance scale and seed: run them one after the other.")
        noise, path = self.noise(recipes), self.path(first)
        if first.branch is not None and first.branch.step >= len(path):
            raise UserError(f"branch.step is {first.branch.step}; from a picture at strength {first.strength:g} this run has "
                            f"{len(path)} steps: branch earlier, or raise the strength.")  # fmt: skip
        start: Tensor | None = None
        hold: Callable[[Denoiser], Denoiser] = lambda denoise: denoise  # noqa: E731
        if first.image is not None:
            known = self.encode(self._picture(first.image, first, pictures)).expand(len(noise.seeds), -1, -1, -1)
            level, eps = path.levels[0], noise(0)
            start = level.alpha * known + level.sigma * eps
            if first.mask is not None:
                hold = partial(inpaint, known=known, mask=self._mask(first, pictures), noise=eps)

        def moves(recipes: Sequence[Recipe], path: Levels, start: Tensor | None) -> Iterator[Step]:
            return sample(hold(self.denoiser(recipes)), path, recipes[0].sampler, noise, start, **recipes[0].knobs)

        if first.branch is None:
            steps = moves(recipes, path, start)
        else:
            at = first.branch.step
            before = [step.map(lambda x: x.to(self.device)) for step in trunk[:at]] or moves(recipes, path[:at], start)
            steps = joined(before, lambda x: moves([recipe.branched for recipe in recipes], path[at:], x))
        for step in steps:
            yield step
        if not bool(step.x_next.isfinite().all()):
            raise UserError("The picture became NaN on the way: try --dtype fp32, or a smaller guidance scale.")

    def noise(self, recipes: Sequence[Recipe]) -> Noise:
        """The noise of a batch: picture i of a recipe has the seed + i."""
        seeds = [(recipe.seed + i) % 2**64 for recipe in recipes for i in range(recipe.batch)]
        first, f = self.complete(recipes[0]), self.vae.factor
        if (first.width or 0) % f or (first.height or 0) % f:
            raise UserError(f"width and height are {first.width}×{first.height}; this model needs multiples of {f}.")
        shape = (self.unet.config.in_channels, (first.height or 0) // f, (first.width or 0) // f)
        return Noise(seeds, shape, first.rng, self.device)

    def denoiser(self, recipes: Sequence[Recipe], states: Tensor | None = None) -> Denoiser:
        """The U-Net under the prompts and the guidance of these recipes; `states` [B, L, D] take the place of the prompts' own.

        Under a classifier the U-Net hears no prompt (but the negative one): each prompt names the class to guide to. Where
        almost nothing but noise is seen the classifier is not followed: x0 moves by sigma²/alpha times whatever its error is.
        Raises UserError for states under a classifier.
        """
        guidance = recipes[0].guidance
        model = NetworkModel(self._asked(recipes[0].tier), self.schedule, self.parts.prediction)
        prompts = [r.prompt for r in recipes for _ in range(r.batch)]
        uncond = Cond(self.text_states([r.negative for r in recipes for _ in range(r.batch)]))
        scales = [r.gamma for r in recipes for _ in range(r.batch)]
        alike = len(set(scales)) == 1
        gamma = scales[0] if alike else torch.tensor(scales, device=self.device)[:, None, None, None]
        if guidance.kind == "classifier":
            if states is not None:
                raise UserError(NO_WORDS)
            if self.extras.missing("classifier"):
                raise UserError("guidance.kind is 'classifier'; this model has no classifier: use 'classifier_free'.")
            judge = self.extras.judge
            labels = [judge.find(plain(prompt)) for prompt in prompts]
            bare = unconditional(model, uncond)
            guided = classifier_guided(bare, lambda x, at: judge.log_prob(x, at, labels), gamma)
            denoise = interval(guided, bare, 0, BLIND)
        else:
            cond = Cond(self.text_states(prompts) if states is None else states)
            bare = classifier_free(model, cond, uncond, 0)
            denoise = rescaled(classifier_free(model, cond, uncond, gamma), guidance.rescale, model.predicts)
        return denoise if guidance.interval is None else interval(denoise, bare, *guidance.interval)

    @property
    def has_fast(self) -> bool:
        """Whether the fast tier differs from the exact one: a model loaded in fp32, on a device that multiplies in bf16."""
        return self.dtype == torch.float32 and (BF16 or self.device.type == "cuda")

    def _asked(self, tier: str) -> nn.Module:
        """The U-Net as a tier has it: exact as it was loaded, fast in bf16 inside."""
        return self._rounded if tier == "fast" and self.has_fast else self.unet

    @cached_property
    def _rounded(self) -> Rounded:
        with torch.device("meta"):
            network = UNet(self.unet.config)
        network.load_state_dict({name: value.bfloat16() for name, value in self.unet.state_dict().items()}, assign=True)
        return Rounded(quicken(network.requires_grad_(False).eval()))

    def memory(self, recipe: Recipe) -> int:
        """Bytes that a run of this recipe needs beside the weights."""
        return footprint(self.complete(recipe), self.unet.config, self.vae.config, self.dtype.itemsize)

    # ------------------------------------------------------------------------------------------------- text

    @torch.no_grad()
    def text_states(self, texts: Sequence[str]) -> Tensor:
        """The text encoder's states [B, L, D], weighted as the prompts say; the prompts seen last are remembered."""
        known = {text: self._states[text] for text in dict.fromkeys(texts) if text in self._states}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            read = [said(text) for text in new]
            ids = self.tokenizer.encode([one.text for one in read])
            states = self.text_encoder(ids.to(self.device)).states.to(self.dtype)
            if any(one.weighted for one in read):
                weights = torch.stack([token_weights(self.tokenizer, one) for one in read]).to(self.device)
                states = emphasised(states, self.text_states([""])[0], weights)
            known.update(zip(new, states, strict=True))
        for text, one in known.items():  # those asked for now go to the end, those not seen for longest are dropped
            self._states.pop(text, None)
            self._states[text] = one
        while len(self._states) > REMEMBERED:
            self._states.pop(next(iter(self._states)))
        return torch.stack([known[text] for text in texts])

    def notes(self, recipe: Recipe) -> list[str]:
        """Sentences about what a recipe cannot have as it says: words that do not fit, weights out of range."""
        found = []
        for name in ("prompt", "negative"):
            read = said(getattr(recipe, name))
            if dropped := self.tokenizer.dropped(read.text):
                found.append(f"The {name} is longer than {self.tokenizer.length} tokens; these words were dropped: {dropped}")
            if read.clipped:
                found.append(f"Weights in the {name} count from {LEAST:g} to {MOST:g}; those beyond were brought there.")
        if recipe.tier == "fast" and not self.has_fast:
            found.append("The fast tier is the exact one here: it needs a model in fp32, on a processor that multiplies in bf16.")
        return found

    # ------------------------------------------------------------------------------------------------- pictures

    @torch.no_grad()
    def encode(self, picture: Image.Image | Tensor) -> Tensor:
        """Scaled latents [B, 4, h, w] of one picture, or of pictures [B, 3, H, W] in [−1, 1]: the posterior's mean.

        Raises UserError unless the VAE's factor divides their sides.
        """
        x = picture if isinstance(picture, Tensor) else to_tensor([picture])
        f, (height, width) = self.vae.factor, x.shape[-2:]
        if width % f or height % f:
            raise UserError(f"The picture has {width}×{height} pixels; this model needs multiples of {f}: crop it, or resize it.")
        return self.vae.encode(x.to(self.device, self.dtype)).mean * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Scaled latents [B, 4, h, w] to pictures [B, 3, H, W] in [−1, 1], large ones in tiles.

        Raises UserError for a picture that is not finite: on a screen it would be black.
        """
        z = latent.to(self.device, self.dtype) / self.vae.config.scaling_factor
        at_once = together(z.shape[-1] * z.shape[-2])
        decode = self.vae.decode_tiled if at_once == 1 else self.vae.decode
        x = torch.cat([decode(one) for one in z.split(at_once)])
        if not bool(x.isfinite().all()):
            raise UserError("The picture became NaN when it was decoded: try --dtype fp32.")
        return x.clamp(-1, 1)

    def pictures(self, latent: Tensor) -> list[Image.Image]:
        """Decoded latents as pictures."""
        return to_images(self.decode(latent))

    def images(self, recipe: Recipe, pictures: Pictures | None = None) -> list[Image.Image]:
        """The finished pictures of a recipe."""
        *_, last = self.run(recipe, pictures)
        return self.pictures(last.x_next)

    @cached_property
    def _rgb(self) -> Tensor:
        """The affine map from a latent cell to the mean colour of its pixels [4 + 1, 3], fitted on a few made-up pictures.

        Least squares over the VAE's own latents of colours that are smooth, in blocks and flat, the brightest and darkest among
        them: right for any VAE, and no table to keep.
        """
        generator = torch.Generator().manual_seed(0)
        side = 8 * self.vae.factor
        made = []
        for count, across, mode in ((8, 3, "bicubic"), (8, 2, "nearest"), (24, 1, "nearest")):
            coarse = (torch.rand(count, 3, across, across, generator=generator) * 2.6 - 1.3).clamp(-1, 1)
            made.append(F.interpolate(coarse, size=(side, side), mode=mode).clamp(-1, 1))
        x = torch.cat(made).to(self.device, self.dtype)
        cells = F.avg_pool2d(x, self.vae.factor).float().permute(0, 2, 3, 1).reshape(-1, 3)
        rows = F.pad(self.encode(x).float().permute(0, 2, 3, 1).reshape(len(cells), -1), (0, 1), value=1.0)
        return torch.linalg.lstsq(rows.cpu(), cells.cpu()).solution.to(self.device)

    @torch.no_grad()
    def rough(self, latent: Tensor) -> Tensor:
        """A rough picture of latents [B, 4, h, w] -> [B, 3, h, w], a pixel a cell, by one affine map, not held to [−1, 1]."""
        rgb = latent.float().permute(0, 2, 3, 1) @ self._rgb[:-1].to(latent.device) + self._rgb[-1].to(latent.device)
        return rgb.permute(0, 3, 1, 2)

    def preview(self, latent: Tensor) -> list[Image.Image]:
        """`rough` as images: no network is asked."""
        return to_images(self.rough(latent))

    def _picture(self, digest: str, recipe: Recipe, pictures: Pictures | None) -> Image.Image:
        if pictures is None or digest not in pictures:
            raise UserError("The recipe starts from a picture that is not at hand: give the picture with it.")
        return pictures[digest].convert("RGB").resize((recipe.width or self.size, recipe.height or self.size))

    def _mask(self, recipe: Recipe, pictures: Pictures | None) -> Tensor:
        image = self._picture(recipe.mask or "", recipe, pictures).convert("L")
        mask = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)[None, None]
        return F.avg_pool2d(mask, self.vae.factor).to(self.device, self.dtype)


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """Images of one size as [B, 3, H, W] in [−1, 1]."""
    pixels = np.stack([np.asarray(image.convert("RGB"), dtype=np.float32) for image in images])
    return torch.from_numpy(pixels / 127.5 - 1).permute(0, 3, 1, 2)


def to_bytes(x: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] in [−1, 1] as 8 bits a number, uint8 of the same shape, on the CPU."""
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()


def to_images(x: Tensor) -> list[Image.Image]:
    """Pictures [B, 3, H, W] in [−1, 1] as 8-bit images."""
    return [Image.fromarray(one) for one in to_bytes(x).permute(0, 2, 3, 1).numpy()]


def load_pipeline(
    path: str | Path | None = None, device: str = "auto", dtype: str = "auto", prediction: str | None = None
) -> TextToImage:
    """Load the embedded model, or a Stable Diffusion 1.x or 2.x checkpoint: a diffusers folder or a .safetensors file.

    device "auto" is CUDA where there is one, else the CPU; dtype "auto" is fp32, or "fp16", "bf16". Raises UserError for
    what cannot be loaded, saying why and what to do.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}.")
    try:
        where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        torch.empty(1, device=where)
        known = where.type in KINDS
    except (RuntimeError, AssertionError):
        known = False
    if not known:
        raise UserError(f"device is {device!r}; this machine has {_devices()}.")
    parts = load_checkpoint(path or EMBEDDED, where, DTYPES[dtype], prediction)
    networks = (parts.unet, parts.vae, parts.text_encoder)
    free, size = free_memory(where), sum(value.nbytes for part in networks for value in part.state_dict().values())
    for part in networks:
        part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if where.type == "cpu" and (free is None or free > 1.5 * size):  # what the fast paths keep is about as much again
            quicken(part)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # the exact tier is fp32, not nearly
    return TextToImage(parts, where, DTYPES[dtype])


def _devices() -> str:
    found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return " and ".join(found)
