"""Training of CLIP: pictures and captions of one batch must find each other (equation 2 of core/nets/clip.py).

Half of a batch are different concepts, the other half the same concepts in another style, so that both what a thing is
and how it is drawn must be told apart. The text encoder trained here is the one that conditions the U-Net, so more captions,
without pictures, teach it to say what they name where the U-Net reads it (core/training/naming.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.nets.clip import Clip, contrastive_loss, initialise
from core.nets.configs import TextConfig, VisionConfig
from core.training.captions import CaptionTable
from core.training.data import Pictures
from core.training.loop import WHOLE, RunConfig
from core.training.naming import BEHIND, Names, codes, naming_loss

MAX_SCALE = 4.6052  # ln 100: logit_scale is kept below it, as in 2103.00020 §2.5


@dataclass(frozen=True)
class Pairs:
    """What may be paired: the rows of the caption table, the picture and the concept of each."""

    pictures: Pictures
    picture: np.ndarray  # [rows] number of the picture
    concept: np.ndarray  # [rows] number of its concept
    style: np.ndarray  # [rows] number of its style
    flip: np.ndarray  # [rows] whether mirroring is harmless
    captions: CaptionTable  # tokenised

    def draw(self, batch: int, rng: np.random.Generator) -> tuple[np.ndarray, Tensor]:
        """Numbers of texts [batch] and the pictures that they are of: batch/2 concepts, two styles of each."""
        concepts = rng.choice(len(self.by_concept), batch // 2, replace=False)
        rows = np.concatenate([rng.choice(self.by_concept[c], 2, replace=False) for c in concepts])
        texts = self.captions.sample(rows, rng)
        flips = self.flip[rows] & (rng.random(len(rows)) < 0.5)
        return texts, self.pictures.rgb(self.picture[rows], self.captions.colour[texts], flips)

    @cached_property
    def by_concept(self) -> list[np.ndarray]:
        """The rows of each concept; those of which there is one picture are left out."""
        rows = [np.flatnonzero(self.concept == c) for c in np.unique(self.concept)]
        return [of for of in rows if len(of) > 1]


class ClipTask:
    """Match pictures, shrunk to the image tower's size, and captions."""

    part = "clip"

    def __init__(self, text: TextConfig, vision: VisionConfig, run: RunConfig, pairs: Pairs, unpictured: int = 0) -> None:
        self.run, self.pairs, self.unpictured = run, pairs, unpictured  # that many captions more a step, only to be named
        self.network = Clip(text, vision)
        initialise(self.network)
        self.names = Names.of(pairs.captions, pairs.concept, pairs.style)
        self.codes = [codes(count, text.width, run.seed + k) for k, count in enumerate(self.names.counts)]

    def loss(
        self, rng: np.random.Generator, generator: torch.Generator, share: slice = WHOLE
    ) -> tuple[Tensor, dict[str, float]]:
        """Of the whole batch whatever the share, since every pair is measured against all others."""
        texts, x = self.pairs.draw(self.run.batch, rng)
        x = shrink(x.to(generator.device), side(self.network))
        more = rng.integers(len(self.pairs.captions.texts), size=self.unpictured)
        said = torch.from_numpy(np.concatenate([texts, more]))
        assert self.pairs.captions.tokens is not None
        eos = self.network.text_model.eos
        ids = trim(self.pairs.captions.tokens[said].long(), eos, BEHIND).to(generator.device)
        with torch.no_grad():
            self.network.logit_scale.clamp_(max=MAX_SCALE)
        spoken = self.network.text_model(ids)
        logits = self.network.match(self.network.embed_image(x), self.network.project_text(spoken.pooled[: len(x)])).float()
        right = (logits.argmax(1).cpu() == torch.arange(len(x))).float().mean()
        tables = [table.to(generator.device) for table in self.codes]
        naming, named = naming_loss(spoken.states, ids, eos, self.names.values[said].to(generator.device), tables)
        terms = {"right": right.item(), "named": named, "scale": self.network.logit_scale.exp().item()}
        return contrastive_loss(logits) + naming, terms


class EyesTask:
    """Go on with CLIP against a text tower that stays as it is (2111.07991), since a U-Net reads that one: pictures are shifted and
    scaled a little, which a text does not hear."""

    part = "eyes"

    def __init__(self, clip: Clip, run: RunConfig, pairs: Pairs) -> None:
        self.run, self.pairs, self.network = run, pairs, clip
        clip.text_model.requires_grad_(False)

    def loss(
        self, rng: np.random.Generator, generator: torch.Generator, share: slice = WHOLE
    ) -> tuple[Tensor, dict[str, float]]:
        """Of the whole batch whatever the share, since every pair is measured against all others."""
        texts, x = self.pairs.draw(self.run.batch, rng)
        x = moved(shrink(x.to(generator.device), side(self.network)), generator)
        assert self.pairs.captions.tokens is not None
        ids = trim(self.pairs.captions.tokens[torch.from_numpy(texts)].long(), self.network.text_model.eos).to(generator.device)
        with torch.no_grad():
            self.network.logit_scale.clamp_(max=MAX_SCALE)
            pooled = self.network.text_model(ids).pooled
        logits = self.network.match(self.network.embed_image(x), self.network.project_text(pooled)).float()
        right = (logits.argmax(1) == torch.arange(len(x), device=x.device)).float().mean()
        return contrastive_loss(logits), {"right": right.item(), "scale": self.network.logit_scale.exp().item()}


def side(clip: Clip) -> int:
    """The side of the pictures that the image tower sees."""
    embeddings = clip.vision_model.embeddings
    return int((embeddings.position_embedding.num_embeddings - 1) ** 0.5) * embeddings.patch_embedding.stride[0]


def moved(x: Tensor, generator: torch.Generator, most: float = 0.1) -> Tensor:
    """Pictures [B, C, H, W], each shifted and scaled by at most a share of its side; what comes in at an edge is that edge."""
    scale, *shift = (most * (2 * torch.rand(3, len(x), generator=generator, device=x.device) - 1)).unbind()
    flat = torch.zeros_like(scale)
    theta = torch.stack([1 + scale, flat, 2 * shift[0], flat, 1 + scale, 2 * shift[1]], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def shrink(x: Tensor, size: int) -> Tensor:
    """Pictures [B, 3, H, W] at the image tower's size, by averaging."""
    return F.interpolate(x, size=(size, size), mode="area")


def trim(ids: Tensor, eos: int, behind: int = 0) -> Tensor:
    """Drop the columns so far behind the longest caption's end: attention is causal, so what is before does not see them."""
    ends = (ids == eos).int().argmax(dim=1)
    return ids[:, : int(ends.max()) + 1 + behind]
