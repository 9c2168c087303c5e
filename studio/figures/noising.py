"""What is shown of noising and of time: pure functions from a picture, a Level or a dimension to pictures and words.

    x_t = alpha·x0 + sigma·eps                                                                    (1)
    PE(t)·PE(t') = Σ cos((t − t')·f_i): it depends on the distance in time alone                  (2)
"""

from __future__ import annotations

import base64
import functools
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps

from core.nets.layers import time_embedding
from core.noise import Noise
from core.schedules import Level

if TYPE_CHECKING:
    import pandas as pd

COLD, WARM = (49, 84, 184), (190, 62, 34)  # −1 and 1 of a heat-map; 0 is white
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def drawn_example(side: int) -> Image.Image:
    """A picture to begin with, until there is one of the model's or of the visitor's: a sun over hills."""
    big = 4 * side
    image = Image.new("RGB", (big, big), "#bfe3ff")
    draw = ImageDraw.Draw(image)
    draw.ellipse((0.56 * big, 0.1 * big, 0.86 * big, 0.4 * big), fill="#ffc928")
    draw.ellipse((-0.5 * big, 0.52 * big, 0.75 * big, 1.6 * big), fill="#3f9b57")
    draw.ellipse((0.3 * big, 0.62 * big, 1.6 * big, 1.9 * big), fill="#2c7a43")
    draw.polygon([(0.2 * big, 0.62 * big), (0.34 * big, 0.48 * big), (0.48 * big, 0.62 * big)], fill="#c8402f")
    draw.rectangle((0.235 * big, 0.62 * big, 0.445 * big, 0.8 * big), fill="#fff3df")
    draw.rectangle((0.31 * big, 0.68 * big, 0.37 * big, 0.8 * big), fill="#7c4a2d")
    return image.resize((side, side), Image.Resampling.LANCZOS)


def square(image: Image.Image, side: int) -> Image.Image:
    """The middle of a picture as a square of this side."""
    return ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS)


def pixels(image: Image.Image) -> np.ndarray:
    """A picture as x0 [H, W, 3] in [−1, 1]: numpy, because a second thread only delays something so small."""
    return np.asarray(image.convert("RGB"), np.float32) / 127.5 - 1


def shown(x: np.ndarray) -> Image.Image:
    """x [H, W, 3] as a picture; what lies outside [−1, 1] is clipped."""
    return Image.fromarray(np.uint8(np.clip(x * 127.5 + 128, 0, 255)))


def noise_like(x0: np.ndarray, seed: int) -> np.ndarray:
    """The noise that this seed means for a picture of this size."""
    return _noise(seed, x0.shape)


@functools.lru_cache(maxsize=64)
def _noise(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return Noise((seed,), shape)(0)[0].numpy()


def noised(x0: np.ndarray, eps: np.ndarray, at: Level) -> np.ndarray:
    """Equation (1)."""
    return np.float32(at.alpha) * x0 + np.float32(at.sigma) * eps


def equation(at: Level) -> str:
    """Equation (1) with a level's numbers: "x₅₀₀ = 0.2814·x₀ + 0.9596·ε"."""
    return f"x{f'{at.t:.0f}'.translate(SUBSCRIPTS)} = {at.alpha:.4f}·x₀ + {at.sigma:.4f}·ε"


def levels_apart(at: Level) -> str:
    """A level's ratio of noise to signal in the ways that it is told."""
    if at.alpha == 0:
        return "σ/α = ∞, λ = −∞: nothing of the picture is left"
    return f"σ/α = {at.nsr:.3g}, λ = {at.lam:.2f}, SNR = {at.alpha**2 / at.sigma**2:.3g}"


def jpeg_uri(image: Image.Image) -> str:
    """A picture that changes while a slider is dragged, small enough for thirty phones."""
    file = BytesIO()
    image.save(file, "JPEG", quality=90, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


# ------------------------------------------------------------------------------------------------------- time


def embedding(times: int, dim: int, first: int = 0) -> np.ndarray:
    """PE(t) for t = first, first + 1, … as rows [times, dim]."""
    return time_embedding(torch.arange(first, first + times), dim).numpy()


def heat_map(values: np.ndarray) -> Image.Image:
    """Values in [−1, 1] as a picture, a pixel each: blue for −1, white for 0, red for 1."""
    share = np.abs(values)[..., None]
    colour = np.where(values[..., None] < 0, np.array(COLD), np.array(WARM))
    return Image.fromarray(np.uint8(np.round(255 + share * (colour - 255))))


def likeness(t: int, times: int, dim: int) -> pd.DataFrame:
    """Columns t and likeness, PE(t)·PE(t') over its largest value dim/2, for every fourth t' and for t itself."""
    import pandas as pd

    rows = embedding(times, dim)
    others = np.unique(np.append(np.arange(0, times, 4), t))
    return pd.DataFrame({"t": others, "likeness": rows[others] @ rows[t] / (dim / 2)})


def pairs(dim: int, apart: int = 100) -> str:
    """Equation (2) with numbers: pairs of times equally far apart, whose likeness is the same."""
    rows = embedding(1000, dim).astype(np.float64) / np.sqrt(dim / 2)
    told = [f"{t} and {t + apart}: **{rows[t] @ rows[t + apart]:.4f}**" for t in (50, 400, 850)]
    return f"Measured for {', '.join(told)}."


def embedding_figure(times: int, dim: int) -> Any:
    """The heat-map with its axes, to print."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    axis = figure.subplots()
    axis.imshow(heat_map(embedding(times, dim)), aspect="auto", interpolation="nearest")
    axis.set_xlabel(f"feature i: cosines 0 to {dim // 2 - 1}, sines {dim // 2} to {dim - 1}")
    axis.set_ylabel("t")
    return figure
