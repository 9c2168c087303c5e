"""What the source says too simply is put right on the screen, where the experiment stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ASSETS = Path(__file__).parents[2] / "assets"
ROWS = {  # row of the experiments: the section of a text that stands beside it, and what it has to say
    2: ("texts/labs-inside.md", 0, r"habit, no rule: Stable Diffusion has 1, 2, 4 and 4"),
    4: ("texts/labs-inside.md", 2, r"Stable Diffusion, and this network, take each pixel four times and convolve"),
    6: ("texts/schedules.md", 3, r"Left half cosines, right half sines.* interleaves"),
    19: ("texts/guidance.md", 1, r"two scales that differ by one: what γ does here, its classifier guidance does with 1 \+ γ"),
    21: ("texts/labs-clip.md", 0, r"mean of both.* the source document adds them"),
    22: ("templates/denoise_looks.html", 0, r"states of all tokens, not one pooled vector"),
    23: ("texts/latents.md", 4, r"n counts tokens, not numbers"),
    26: ("texts/labs-evaluate.md", 3, r"leaves out that latents are scaled first"),
    30: ("texts/labs-evaluate-features.md", 0, r"no number here may stand beside a published FID"),
    33: ("texts/labs-assumptions.md", 0, r"Does that ask for Gaussian data\?"),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_what_needs_care_is_said_beside_its_experiment(row: int) -> None:
    name, section, pattern = ROWS[row]
    text = " ".join((ASSETS / name).read_text(encoding="utf-8").split("\n---\n")[section].split())
    assert re.search(pattern, text), text
