"""An independent judge of the embedded model's pictures: which thing, in which style, on which background.

It shares nothing with the model but the drawings: a small convolutional network of its own, trained on every drawing of the
claimed concepts (held-out pairs too, for it must know them), shifted, scaled, turned, blurred and on any background.

    loss = CE(concept) + CE(style) + ½·CE(background)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.training.data import Pictures, composite, load_records
from core.training.languages import COLOURS
from core.training.loop import WHOLE, RunConfig, fit, trained_weights

SIDE = 64
STYLES = ("3d", "flat", "mono", "noto", "twemoji", "emojione")  # 3d and gradient are one model, rendered twice
RUN = RunConfig(steps=2400, batch=64, lr=2e-3, warmup=100, cooldown=1600, ema=0.995, weight_decay=0.05, bf16=True)


def style_number(source: str) -> int:
    return STYLES.index("3d" if source == "gradient" else source)


class Verdict(NamedTuple):
    """Logits [B, n] over concepts, styles and backgrounds (the colours in order; white among them)."""

    concept: Tensor
    style: Tensor
    colour: Tensor


class Block(nn.Module):
    """Halve the sides, then one residual block."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(cin, cout, 3, stride=2, padding=1)
        self.convs = nn.Sequential(
            nn.GroupNorm(8, cout), nn.ReLU(), nn.Conv2d(cout, cout, 3, padding=1),
            nn.GroupNorm(8, cout), nn.ReLU(), nn.Conv2d(cout, cout, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return x + self.convs(x)


class JudgeNet(nn.Module):
    """64 × 64 pictures in [−1, 1] -> Verdict."""

    def __init__(self, concepts: int) -> None:
        super().__init__()
        widths = (24, 48, 96, 192)
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in pairwise(widths)))
        self.norm = nn.GroupNorm(8, widths[-1])
        self.heads = nn.ModuleList([nn.Linear(widths[-1] * 16, n) for n in (concepts, len(STYLES), len(COLOURS))])

    def forward(self, x: Tensor) -> Verdict:
        h = F.relu(self.norm(self.blocks(self.stem(x))))
        h = F.adaptive_avg_pool2d(h, 4).flatten(1)
        return Verdict(*(head(h) for head in self.heads))


def shrink(x: Tensor) -> Tensor:
    return F.interpolate(x, size=(SIDE, SIDE), mode="area")


class JudgeTask:
    """Name what is drawn, however it lies."""

    part = "judge"

    def __init__(self, data: Path, hexcodes: Sequence[str], run: RunConfig = RUN) -> None:
        self.run = run
        torch.manual_seed(run.seed)
        self.network = JudgeNet(len(hexcodes))
        number = {code: i for i, code in enumerate(hexcodes)}
        rows = [r for r in load_records(data) if r["hexcode"] in number]
        whole = torch.from_numpy(np.array(Pictures(data).array[[r["index"] for r in rows]])).permute(0, 3, 1, 2)
        alpha = whole[:, 3:].float() / 255
        small = F.interpolate(torch.cat([whole[:, :3] * alpha, 255 * alpha], 1), size=(80, 80), mode="area")  # premultiplied
        self.art = small.round().to(torch.uint8)
        self.concept = torch.tensor([number[r["hexcode"]] for r in rows])
        self.style = torch.tensor([style_number(r["source"]) for r in rows])
        self.flip = torch.tensor([bool(r["flip"]) for r in rows])

    def loss(
        self, rng: np.random.Generator, generator: torch.Generator, share: slice = WHOLE
    ) -> tuple[Tensor, dict[str, float]]:
        rows = torch.from_numpy(rng.integers(len(self.art), size=self.run.batch))
        x, colour = self.draw(rows, rng, generator)
        said = self.network(x[share])
        truth = Verdict(self.concept[rows][share], self.style[rows][share], colour[share])
        losses = [F.cross_entropy(a.float(), b) for a, b in zip(said, truth, strict=True)]
        right = (said.concept.argmax(1) == truth.concept).float().mean().item()
        return losses[0] + losses[1] + 0.5 * losses[2], {"right": right}

    def draw(self, rows: Tensor, rng: np.random.Generator, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Drawings turned, shifted, scaled, mirrored where that is harmless, on white or a colour, some blurred or noisy."""
        n = len(rows)
        art = self.art[rows].float()
        mirrored = torch.where(self.flip[rows] & (torch.rand(n, generator=generator) < 0.5), -1.0, 1.0)
        scale = 1 / torch.empty(n).uniform_(0.85, 1.1, generator=generator)
        angle = torch.empty(n).uniform_(-0.12, 0.12, generator=generator)
        shift = torch.empty(n, 2).uniform_(-0.1, 0.1, generator=generator)
        theta = torch.stack([scale * angle.cos() * mirrored, -scale * angle.sin(), shift[:, 0],
                             scale * angle.sin() * mirrored, scale * angle.cos(), shift[:, 1]], 1).view(n, 2, 3)  # fmt: skip
        art = F.grid_sample(art, F.affine_grid(theta, [n, 4, SIDE, SIDE], align_corners=False), align_corners=False)
        white = [name for name, _ in COLOURS].index("white")
        colour = torch.from_numpy(np.where(rng.random(n) < 0.5, white, rng.integers(len(COLOURS), size=n)))
        behind = torch.tensor([rgb for _, rgb in COLOURS], dtype=torch.float32)[colour]
        behind = behind + torch.empty(n, 3).uniform_(-12, 12, generator=generator)
        x = (art[:, :3] + (1 - art[:, 3:] / 255) * behind[:, :, None, None]) / 127.5 - 1
        blurred = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear", align_corners=False)
        some = torch.rand(n, 1, 1, 1, generator=generator)
        x = torch.lerp(x, blurred, (some < 0.4).float() * 0.8)
        x = x + (some > 0.6) * 0.08 * torch.randn(x.shape, generator=generator)
        return x.clamp(-1, 1), colour


class Judge:
    """The trained judge over the concepts of one vocabulary.json."""

    def __init__(self, folder: Path, data: Path, hexcodes: Sequence[str]) -> None:
        self.number = {code: i for i, code in enumerate(hexcodes)}
        self.network = JudgeNet(len(hexcodes))
        self.network.load_state_dict(trained_weights(folder))
        self.network.eval()

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Verdict:
        """Judge pictures [B, 3, H, W] in [−1, 1]."""
        parts = [self.network(shrink(part)) for part in pictures.split(256)]
        return Verdict(*(torch.cat(logits) for logits in zip(*parts, strict=True)))


def train(data: Path, folder: Path, hexcodes: Sequence[str]) -> Any:
    """Train the judge, or go on; yields TrainStates."""
    return fit(JudgeTask(data, hexcodes), folder, torch.device("cpu"))


def drawings(data: Path, pairs: Sequence[tuple[str, str]]) -> Tensor:
    """The drawings of (hexcode, source) pairs on white, [B, 3, 128, 128] in [−1, 1]."""
    index = {(r["hexcode"], r["source"]): r["index"] for r in load_records(data)}
    array = Pictures(data).array
    rgba = torch.from_numpy(np.stack([array[index[pair]] for pair in pairs]))
    return composite(rgba, torch.full((len(pairs), 3), 255.0))

