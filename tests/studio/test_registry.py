"""A sampler that joins the registry is everywhere in the app, by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import gradio as gr
import pytest
from torch import Tensor

from core import Recipe
from core.prediction import Denoiser
from core.recipe import SAMPLERS
from core.sampling import Fresh, Range, sampler
from core.schedules import Path
from studio import app
from studio.endpoints.models import described
from studio.formats.grids import axis, grid
from studio.service.engine import Engine
from studio.work.contests import painted
from tests.studio.fakes import ended

NAME, LABEL, SENTENCE = "shortened", "Shortened", "Shortened: DDIM with its noise taken for weaker than it is."


@pytest.fixture
def registered() -> Iterator[str]:
    try:

        @sampler(LABEL, order=1, paper="2010.02502", same_as="a closed form")
        def shortened(
            denoise: Denoiser, path: Path, x: Tensor, noise: Fresh, *, share: Annotated[float, Range(0.5, 1)] = 0.9
        ) -> Iterator[Tensor]:
            """Shortened: DDIM with its noise taken for weaker than it is."""
            for cur, nxt in path:
                p = denoise(x, cur)
                x = nxt.alpha * p.x0 + share * nxt.sigma * p.eps
                yield x

        yield NAME
    finally:
        SAMPLERS.pop(NAME, None)


def test_a_new_sampler_is_a_choice_with_its_knob_and_its_sentence_wherever_the_others_are(
    registered: str, engine: Engine
) -> None:
    blocks = app.build(engine).blocks.values()
    lists = [b for b in blocks if isinstance(b, gr.Dropdown | gr.CheckboxGroup | gr.Radio) and b.choices]
    chosen = [[value for _, value in b.choices] for b in lists]
    whole = [values for values in chosen if {"ddim", "heun", "uni_pc"} <= set(values)]
    assert len(whole) >= 6 and all(set(values) == set(SAMPLERS) for values in whole)
    sliders = [b.label for b in blocks if isinstance(b, gr.Slider)]
    assert sliders.count(f"{LABEL}: share") == sliders.count("DDIM: eta") >= 4
    [table] = [b.value for b in blocks if b.elem_id == "samplers-table"]
    assert LABEL in table and SENTENCE in table and "2010.02502" in table
    assert described(engine.pipe)["samplers"][NAME]["knobs"]


def test_a_new_sampler_is_painted_in_a_grid_by_its_label(registered: str, engine: Engine) -> None:
    recipe = Recipe(prompt="a cat", steps=3)
    asked = grid(recipe, axis("Sampler", f"{LABEL}, DDIM", recipe), strict=False)
    _, done = ended(painted(engine, asked, str))
    assert done is not None
    assert {cell.recipe.sampler for cell in asked.cells} == {NAME, "ddim"}
