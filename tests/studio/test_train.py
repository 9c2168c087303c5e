"""Live trainings without a browser: each view is whole, others get their turn, and what cannot be is said in a sentence."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import Recipe, load_pipeline
from core.clock import Clock
from core.errors import UserError
from core.live import pictures, points
from core.live.points import MOST, SIDE
from core.metrics import Interval
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


def test_points_are_learnt_in_short_slices_and_every_view_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_work, "Clock", lambda most: Clock(math.inf))
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


@pytest.mark.slow
def test_pictures_are_learnt_by_both_networks_and_guided(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_work, "Clock", lambda most: Clock(math.inf))  # a busy machine must not end it
    seen, view = worked(train_work.of_pictures(engine.pipe, some_names(engine), 30, 0.5))
    assert any(one is None for one in seen)  # the engine gets a word in after every step
    assert view["strip"]["steps"][0] == 3 and view["strip"]["steps"][-1] == 30 and len(view["strip"]["near"]) == 2
    assert [len(row["cells"]) for row in view["guided"]["rows"]] == [len(train_work.GAMMAS)] * 2
    cells = [cell for row in view["guided"]["rows"] for cell in row["cells"]]
    assert all(low < value < high for cell in cells for value, low, high in [cell["far"]])
    assert view["guided"]["rows"][1]["name"] == "50 % of captions dropped"
    parts = [one.part for one in seen if one is not None]
    assert parts == sorted(parts) and parts[-1] == pytest.approx(1)
    assert re.fullmatch(r"At γ = 6 the pictures lie .+ \[.+\] from .+, .+ \[.+\] if 50 % were\.", view["line"])


def test_a_slow_machine_says_that_it_ended_early(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LEARNING", 0.0)
    view = worked(train_work.of_pictures(engine.pipe, some_names(engine), 30, 0.2))[1]
    assert view["line"].startswith("Ended at 1 of 30 steps") and "At γ = " in view["line"]
    assert view["strip"]["steps"] == [1] and len(view["charts"]) == 2
    monkeypatch.setattr(points, "SECONDS", 0.0)
    view = worked(train_work.of_points(dots.read("ring"), 16, 200))[1]
    assert view["line"].startswith("Ended at 1 of 200 steps") and len(view["fields"]) == len(points.FIELDS)


def test_guidance_on_both_ends_with_the_time_and_keeps_what_it_has(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LEARNING", 0.0)
    monkeypatch.setattr(pictures, "SECONDS", 0.0)
    view = worked(train_work.of_pictures(engine.pipe, some_names(engine), 30, 0.2))[1]
    assert [len(row["cells"]) for row in view["guided"]["rows"]] == [1, 0]
    assert view["line"].endswith("There was no time to try guidance on both networks.") and view["strip"]["near"]


def test_the_verdict_is_on_the_greatest_scale_that_both_were_tried_at() -> None:
    far = {(0.0, 2.0): Interval(1, 0.9, 1.1), (0.2, 2.0): Interval(0.5, 0.4, 0.6), (0.0, 6.0): Interval(2, 1, 3)}
    assert train_work.verdict(far, 0.2).startswith("At γ = 2 the pictures lie 1 [0.9, 1.1] from")
    alone = {(drop, gamma): Interval(1, 0.9, 1.1) for drop in (0.0, 0.2) for gamma in (-1.0, 0.0)}
    assert train_work.verdict(alone, 0.2) == "There was no time to try guidance on both networks."  # at 0 nothing guides


def test_curves_keep_their_ends_when_they_are_thinned() -> None:
    assert train_work.thinned(list(range(100)), 10)[:: 9] == [0, 99] and train_work.thinned([1, 2], 10) == [1, 2]


def test_a_picture_passes_a_training_and_stop_ends_it_within_a_step(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(price >= SHORT * USUAL for price in PRICES.values())
    monkeypatch.setattr(train_work, "Clock", lambda most: Clock(math.inf))  # a busy machine must not end it
    steps, learnt = [], pictures.learnt

    def counted(*given: Any) -> Iterator[Any]:
        for now in learnt(*given):
            steps.append(now)
            yield now

    monkeypatch.setattr(pictures, "learnt", counted)

    async def both() -> tuple[list[str], int]:
        ended: list[str] = []
        begun = asyncio.Event()

        async def training() -> None:
            work = lambda: train_work.of_pictures(engine.pipe, some_names(engine), 600, 0.2)  # noqa: E731
            with engine.compute(work, "trainer@here", PRICES["emoji"]) as job:
                async for event in job:
                    begun.set()
                    ended.extend(["stopped"] if isinstance(event, Stopped) else [])

        task = asyncio.create_task(training())
        await begun.wait()
        recipe = Recipe(prompt="a red cat", steps=2, seed=int(time.time()), width=32, height=32)
        with engine.submit(recipe, "other@here") as job:
            async for event in job:
                ended.extend(["picture"] if isinstance(event, Done) else [])
        at = len(steps)
        engine.stop("trainer@here")
        await task
        return ended, len(steps) - at

    ended, after = asyncio.run(both())
    assert ended == ["picture", "stopped"] and after <= 1
