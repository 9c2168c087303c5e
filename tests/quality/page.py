"""The page of samples: twenty prompts at seed 0, failures left in, each beside its nearest training picture and that one's
reconstruction by the VAE, so that memory and invention can be told apart and what the VAE loses can be seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from core.latents import nearest
from core.pipeline import TextToImage, to_images
from core.recipe import Recipe
from tests.quality.judge import drawings
from tests.quality.prompts import SETTINGS

PROMPTS = (
    "red apple, 3d", "cat face, flat", "rocket, cartoon", "hamburger, glossy", "smiling face with sunglasses, 3d",
    "tiger, pastel", "guitar, minimal", "frog, glossy", "house, cartoon", "heart on fire, 3d",
    "robot, line art", "octopus, flat", "birthday cake, pastel", "sunflower, minimal", "soccer ball, line art",
    "un gato", "Erdbeere, 3d", "猫", "automobile, flat, on a yellow background", "ghost on a purple background",
)  # fmt: skip
SPELT = {"猫": "cat, in Chinese"}  # what the page's font has no letters for
SIDE, GAP, ACROSS, WORDS = 128, 6, 4, 22


def neighbour(pipe: TextToImage, latent: torch.Tensor) -> tuple[str, str, str]:
    """Hexcode, source and name of the training picture nearest to a latent [1, C, h, w]."""
    known = pipe.extras.training
    origin = known.origins[int(nearest(latent, known.latents, 1)[1])]
    return origin.hexcode, origin.source, f"{origin.label}, {origin.style}"


@torch.no_grad()
def page(pipe: TextToImage, data: Path, prompts: Sequence[str] = PROMPTS) -> Image.Image:
    """The whole page: sample, nearest training picture, its reconstruction, with the prompt and the neighbour's name."""
    width, height = 3 * SIDE + 4 * GAP, SIDE + 2 * WORDS + GAP
    rows = -(-len(prompts) // ACROSS)
    sheet = Image.new("RGB", (ACROSS * width, rows * height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for place, prompt in enumerate(prompts):
        *_, last = pipe.run(Recipe(prompt=prompt, seed=0, **SETTINGS))
        code, source, name = neighbour(pipe, last.x_next)
        drawing = drawings(data, [(code, source)])
        rebuilt = pipe.decode(pipe.encode(drawing))
        left, top = place % ACROSS * width + GAP, place // ACROSS * height + WORDS
        for column, picture in enumerate((pipe.decode(last.x_next), drawing, rebuilt)):
            sheet.paste(to_images(picture)[0], (left + column * (SIDE + GAP), top))
        pen.text((left, top - WORDS + 4), SPELT.get(prompt, prompt), "black", font)
        pen.text((left + SIDE + GAP, top + SIDE + 2), f"nearest: {name}", "gray", font)
    return sheet
