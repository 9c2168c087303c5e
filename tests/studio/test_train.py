"""Live trainings without a browser: each view is whole, others get their turn, and what cannot be is said in a sentence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import Recipe, load_pipeline
from core.errors import UserError
from core.live import pictures
from core.live.points import MOST, SIDE
from studio.formats import dots
from studio.service.engine import USUAL, Engine
from studio.service.jobs import Done, Stopped
from studio.service.turns import SHORT
from studio.tabs.labs.train import PRICES
from studio.widgets.status import Partial
from studio.work import train as train_work
from tests.core.tiny import write_tiny
from tests.studio.fakes import worked


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(load_pipeline(write_tiny(Path(tmp_path_factory.mktemp("tiny"))), device="cpu"))
    yield made
    made.close()





def some_names(engine: Engine, count: int = 2) -> str:
    return ", ".join(list(dict.fromkeys(one.label for one in engine.pipe.extras.training.origins))[:count])


# ------------------------------------------------------------------------------------------------- drawings


@pytest.mark.parametrize("name", dots.SHAPES)
def test_every_shape_fits_the_grid_and_survives_being_written(name: str) -> None:
    cells = dots.read(name)
    assert 1 <= len(cells) <= MOST and all(0 <= v < SIDE for cell in cells for v in cell)
    assert dots.read(dots.written([list(cell) for cell in cells])) == cells


@pytest.mark.parametrize("text", ["A", "<b", "ÄÄ", None, 3, ["AA"]])
def test_letters_that_are_no_drawing_are_refused(text: Any) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        dots.read(text)


@pytest.mark.parametrize("points", [None, "AA", [[1]], [[1, 64]], [[1, 2.5]], [[True, 1]], [["<b>", 1]], [[1, 1]] * 257])
def test_what_is_no_list_of_cells_is_refused(points: Any) -> None:
    with pytest.raises(UserError, match="point"):
        dots.written(points)


def test_an_empty_drawing_is_written_but_not_trained_on() -> None:
    assert dots.read(dots.written([])) == []
    with pytest.raises(UserError, match="0 points are drawn"):
        worked(train_work.of_points([], 16, 100))


# ------------------------------------------------------------------------------------------------- trainings


def test_points_are_learnt_in_short_slices_and_every_view_is_whole() -> None:
    seen, view = worked(train_work.of_points(dots.read("ring"), 16, 200))
    shown = [one for one in seen if isinstance(one, Partial)]
    whole = {"charts", "fields", "made", "best", "cells", "grid"}
    assert shown and all(whole <= set(one.view) for one in shown)
    loss, left = view["charts"]
    network, least = ([p[1] for p in one["points"]] for one in loss["series"])
    assert network[-1] < network[0] and min(network) >= least[0] and left["series"][0]["points"][-1][0] == 200
    side = view["grid"]["side"]
    assert all(len(one["said"]) == len(one["exact"]) == 2 * side**2 for one in view["fields"])
    assert view["line"].startswith("200 steps")


def test_pictures_are_learnt_by_both_networks_and_guided(engine: Engine) -> None:
    seen, view = worked(train_work.of_pictures(engine.pipe, some_names(engine), 30))
    assert any(one is None for one in seen)  # the engine gets a word in after every step
    assert view["strip"]["steps"][0] == 3 and view["strip"]["steps"][-1] == 30 and len(view["strip"]["near"]) == 2
    assert [len(row["cells"]) for row in view["guided"]["rows"]] == [len(train_work.GAMMAS)] * len(pictures.DROPS)
    parts = [one.part for one in seen if one is not None]
    assert parts == sorted(parts) and parts[-1] == pytest.approx(1)
    assert "At γ = 6" in view["line"]


def test_a_slow_machine_says_that_it_ended_early(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "SECONDS", 0.0)
    assert worked(train_work.of_pictures(engine.pipe, some_names(engine), 30))[1]["line"].startswith("Ended at 1 steps")


def test_curves_keep_their_ends_when_they_are_thinned() -> None:
    assert train_work.thinned(list(range(100)), 10)[:: 9] == [0, 99] and train_work.thinned([1, 2], 10) == [1, 2]


def test_a_picture_passes_a_training_and_stop_ends_it_within_a_step(engine: Engine) -> None:
    assert all(price >= SHORT * USUAL for price in PRICES.values())

    async def both() -> tuple[list[str], float]:
        ended: list[str] = []

        async def training() -> None:
            work = lambda: train_work.of_pictures(engine.pipe, some_names(engine), 600)  # noqa: E731
            with engine.compute(work, "trainer@here", PRICES["emoji"]) as job:
                async for event in job:
                    ended.extend(["stopped"] if isinstance(event, Stopped) else [])

        task = asyncio.create_task(training())
        await asyncio.sleep(0.5)
        recipe = Recipe(prompt="a red cat", steps=2, seed=int(time.time()), width=32, height=32)
        with engine.submit(recipe, "other@here") as job:
            async for event in job:
                ended.extend(["picture"] if isinstance(event, Done) else [])
        begun = time.perf_counter()
        engine.stop("trainer@here")
        await task
        return ended, time.perf_counter() - begun

    ended, seconds = asyncio.run(both())
    assert ended == ["picture", "stopped"] and seconds < 20
