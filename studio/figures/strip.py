"""A run as a film: many small pictures in one sheet each, and the numbers of every frame; pure functions.

A sheet is one image file that holds a tile for each frame, so that the page cuts out what it shows and asks nobody. Frame k shows
the run after k moves: x_t, and what the network then says of it; the last frame is the finished picture, of which nothing is asked.
"""

from __future__ import annotations

import base64
import math
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from core.pipeline import to_bytes
from core.sampling import Step

if TYPE_CHECKING:
    from torch import Tensor

    from core.observe import Anatomy

MOST_FRAMES = 64  # of a longer run, so many are shown, evenly apart
REACH = 3.0  # latents are drawn from −3 to 3 standard deviations
LEVELS = 32  # colours of a latent: more do not show, and cost bytes
ROUGH_SIDE, LATENT_SIDE = 64, 32  # cells; larger latents are averaged down to this for the film
VIEWS = ("x", "x0", "eps", "cond", "uncond")  # what a frame can show

Sheet = dict[str, Any]  # {src, w, h, columns}: the page's script reads it


def chosen_frames(count: int, most: int = MOST_FRAMES) -> list[int]:
    """Which moves of so many have a frame: all of them, or evenly spaced ones with the first and the last."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def views(step: Step) -> dict[str, Tensor]:
    """The tensors of a step that have a picture; cond and uncond only where guidance asked for both."""
    parts = step.evaluations[0].parts
    both = {name: parts[name].eps for name in ("cond", "uncond") if len(parts) > 1}
    return {"x": step.x, "x0": step.x0, "eps": step.eps} | both


# ------------------------------------------------------------------------------------------------------------ sheets


def sheet(tiles: np.ndarray, quality: int = 80) -> Sheet:
    """Pictures [N, H, W, 3] of 8 bits as one WebP, row by row."""
    return _sheet(_tiled(tiles), tiles.shape, "WEBP", quality=quality, method=2)


def small_sheet(tiles: np.ndarray) -> Sheet:
    """Pictures of a few pixels: a JPEG that keeps the colour of each."""
    return _sheet(_tiled(tiles), tiles.shape, "JPEG", quality=88, subsampling=0)


def latent_sheet(latents: Tensor) -> Sheet:
    """The four channels of latents [N, 4, h, w], two by two, blue below 0 and orange above, from −3 to 3."""
    four = shrunk(latents, LATENT_SIDE).float().cpu().numpy()
    tiles = np.concatenate([np.concatenate([four[:, 0], four[:, 1]], 2), np.concatenate([four[:, 2], four[:, 3]], 2)], 1)
    index = np.clip(np.rint((tiles / REACH + 1) / 2 * (LEVELS - 1)), 0, LEVELS - 1).astype(np.uint8)
    image = _tiled(index)
    image.putpalette(palette().tobytes())
    return _sheet(image, tiles.shape, "PNG", optimize=True)


def palette() -> np.ndarray:
    """LEVELS colours [LEVELS, 3]: blue over light grey to orange, as light on both sides."""
    at = np.linspace(-1, 1, LEVELS)[:, None]
    low, middle, high = (np.array(colour, dtype=float) for colour in ((24, 70, 160), (240, 240, 238), (190, 80, 10)))
    return np.rint(middle + np.abs(at) * (np.where(at < 0, low, high) - middle)).astype(np.uint8)


def shrunk(latents: Tensor, side: int) -> Tensor:
    """Latents averaged down until no side is longer than this."""
    from torch.nn.functional import avg_pool2d

    factor = math.ceil(max(latents.shape[-2:]) / side)
    return avg_pool2d(latents.float(), factor, ceil_mode=True) if factor > 1 else latents


def eight_bits(rgb: Tensor) -> np.ndarray:
    """Pictures [N, 3, H, W] in [−1, 1] as [N, H, W, 3] of 8 bits."""
    return to_bytes(rgb).permute(0, 2, 3, 1).numpy()


def _tiled(tiles: np.ndarray) -> Image.Image:
    """Tiles [N, H, W, …] as one image, about as wide as it is high."""
    count, height, width = tiles.shape[:3]
    columns = _columns(count)
    room = np.zeros((math.ceil(count / columns) * columns, *tiles.shape[1:]), np.uint8)
    room[:count] = tiles
    grid = room.reshape(-1, columns, height, width, *tiles.shape[3:]).swapaxes(1, 2)
    return Image.fromarray(np.ascontiguousarray(grid.reshape(-1, columns * width, *tiles.shape[3:])))


def _columns(count: int) -> int:
    return max(1, math.ceil(math.sqrt(count)))


def _sheet(image: Image.Image, shape: tuple[int, ...], form: str, **how: Any) -> Sheet:
    file = BytesIO()
    image.save(file, form, **how)
    source = f"data:image/{form.lower()};base64," + base64.b64encode(file.getvalue()).decode()
    return {"src": source, "w": shape[2], "h": shape[1], "columns": _columns(shape[0])}


# ----------------------------------------------------------------------------------------------------------- numbers


def numbers(step: Step, position: int) -> dict[str, Any]:
    """What is known of a frame after `position` moves: its level, the norms of what it shows, and the calls it cost so far."""
    return level_numbers(position, step.cur) | {
        "nfe": step.nfe,
        "next": {"t": exact(step.nxt.t), "alpha": exact(step.nxt.alpha), "sigma": exact(step.nxt.sigma)},
        "norm": {name: exact(float(value.float().norm())) for name, value in views(step).items()},
    }


def last_numbers(step: Step, position: int) -> dict[str, Any]:
    """The same of the frame where a run ends, of which nothing was asked."""
    return level_numbers(position, step.nxt) | {"nfe": step.nfe, "norm": {"x": exact(float(step.x_next.float().norm()))}}


def level_numbers(position: int, level: Any) -> dict[str, Any]:
    """t, alpha, sigma; SNR = (alpha/sigma)², as a ratio, in decibels and as a natural logarithm: None where it is infinite."""
    snr = (level.alpha / level.sigma) ** 2 if level.sigma else math.inf
    known = 0 < snr < math.inf
    return {
        "k": position, "t": exact(level.t), "alpha": exact(level.alpha), "sigma": exact(level.sigma),
        "snr": exact(snr) if snr < math.inf else None, "db": exact(10 * math.log10(snr)) if known else None,
        "logsnr": exact(math.log(snr)) if known else None,
    }  # fmt: skip


def hand_numbers(anatomy: Anatomy) -> dict[str, Any]:
    """A move taken apart: the weight and the norm of each term, and how far their sum is from what the sampler made."""
    return {
        "terms": [
            {"name": term.name, "weight": exact(term.weight), "norm": exact(float(term.value.norm()))} for term in anatomy.terms
        ],
        "std": exact(anatomy.update.std),
        "error": exact(anatomy.error),
        "back": anatomy.update.looks_back,
        "norm": exact(float(anatomy.x_next.float().norm())),
    }


def exact(number: float) -> float:
    """Seven digits, which is what float32 knows."""
    return float(f"{number:.7g}")
