"""One recipe is computed once, whichever tabs ask for it, in whatever order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import torch

from core import Recipe
from core.pipeline import TextToImage
from core.recipe import Branch
from studio.formats.grids import axis, grid
from studio.service.engine import Engine
from studio.service.jobs import Done
from studio.work import guided
from studio.work.contests import painted
from studio.work.sweep import Sweep, swept
from tests.studio.fakes import ended

RECIPE = Recipe(prompt="a cat", steps=4, sampler="ddim", gamma=2, seed=3)


def submitted(engine: Engine, recipe: Recipe) -> Any:
    """As the tabs Prompt and Denoise ask, and the noised picture of Schedules."""

    async def read() -> Any:
        with engine.submit(recipe, "somebody") as job:
            async for event in job:  # noqa: B007  the last one counts
                pass
        assert isinstance(event, Done)
        return event.value

    return asyncio.run(read())


TABS: dict[str, Callable[[Engine], Any]] = {
    "prompt and denoise": lambda engine: submitted(engine, RECIPE),
    "guidance, triangle": lambda engine: ended(guided.triangle(engine, RECIPE))[1],
    "guidance, effects": lambda engine: ended(guided.effects(engine, {"everywhere": RECIPE}))[1],
    "guidance, sweep": lambda engine: ended(swept(engine, Sweep(RECIPE, (RECIPE.prompt,), (RECIPE.gamma,))))[1],
    "samplers, a grid": lambda engine: ended(painted(engine, grid(RECIPE, axis("Steps", "4", RECIPE), strict=False), str))[1],
}


@pytest.mark.parametrize("first", TABS)
def test_what_one_tab_has_made_no_other_computes_again(first: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, run_many = [], TextToImage.run_many

    def counted(self: TextToImage, recipes: Any, *more: Any) -> Any:
        asked.extend(recipe.digest for recipe in recipes)
        return run_many(self, recipes, *more)

    monkeypatch.setattr(TextToImage, "run_many", counted)
    TABS[first](engine)
    assert len(asked) == 1
    for ask in TABS.values():
        ask(engine)
    assert len(asked) == 1


def test_a_branch_takes_the_steps_before_it_from_the_run_that_it_leaves(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    branched = RECIPE.replace(branch=Branch(step=3, changes={"prompt": "a dog"}))
    unbroken = submitted(engine, RECIPE)
    calls, forward = [], type(engine.pipe.unet).forward

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return forward(*arguments, **named)

    monkeypatch.setattr(type(engine.pipe.unet), "forward", counted)
    found = submitted(engine, branched)
    assert len(calls) == 1  # of four steps the last
    assert all(torch.equal(one.x_next, two.x_next) for one, two in zip(found.steps[:3], unbroken.steps, strict=False))
