"""What is drawn and written about a run: pure functions from Steps, events and Recipes to pictures and words."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from typing import TYPE_CHECKING

from core.recipe import Recipe
from core.sampling import SAMPLERS
from studio.formats.infotext import short

if TYPE_CHECKING:
    from PIL.Image import Image


def data_uri(image: Image) -> str:
    """A small picture as the text of an <img src>, so that a frame of a preview is neither a file nor a request."""
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def scale(gamma: float) -> str:
    """Both ways to say it: "γ 4 = CFG scale 5"."""
    return f"γ {short(gamma)} = CFG scale {short(round(1 + gamma, 10))}"


def summary(recipe: Recipe) -> str:
    """One line about how a picture was made, without its words and seed."""
    parts = [
        SAMPLERS[recipe.sampler].label,
        *(f"{name} {short(value)}" for name, value in recipe.knobs.items()),
        recipe.spacing,
        f"{recipe.steps} steps",
        scale(recipe.gamma),
        f"{recipe.width}×{recipe.height}" if recipe.width and recipe.height else None,
        recipe.model,
    ]
    return " · ".join(part for part in parts if part)


def file_name(recipe: Recipe) -> str:
    """What a downloaded picture is called: the first words of its prompt and its seed, in letters any disk takes."""
    words = re.sub("[^a-z0-9]+", "-", recipe.prompt.lower())[:40].strip("-")
    return f"{words or 'picture'}-{recipe.seed}.png"


def duration(seconds: float) -> str:
    """Seconds as one says them: 0.8 s, 12 s, 3 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
