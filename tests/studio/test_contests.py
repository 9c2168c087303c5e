"""Many runs as one piece of work: what is finished is shown at once, faults stay in their place, nothing is computed twice."""

import csv
import functools
import io
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr
import pytest
import torch

from core.errors import UserError
from core.prediction import Prediction
from core.recipe import Recipe
from core.sampling import SAMPLERS, Step, sample
from core.schedules import Level, make, make_path
from core.tradeoff import Point, deterministic, fine, on_ladder, relative_error, stochastic
from studio.endpoints.race import endpoint
from studio.figures import samplers as figures
from studio.figures.schedules import drawn
from studio.formats.grids import axis, grid
from studio.service.engine import Engine
from studio.service.jobs import Done, Failed
from studio.tabs.samplers import race_file
from studio.widgets.status import Partial
from studio.work import contests
from studio.work.contests import noises_allowed, painted, race_work, raced_exactly, raced_on_model, told
from tests.studio.fakes import FakePipeline

BASE = Recipe(prompt="a cat", seed=3, sampler="ddim", steps=4)


class GaussianPipeline(FakePipeline):
    """A model whose pictures are one Gaussian around the prompt's square: exact, and every sampler runs on it."""

    schedule = make("scaled_linear")

    def run(self, recipe: Recipe) -> Iterator[Step]:
        return self.run_many([self.complete(recipe)])

    def run_many(self, recipes: Sequence[Recipe], pictures: Any = None, trunk: Sequence[Step] = ()) -> Iterator[Step]:
        recipe, mean, spread = recipes[0], torch.cat([self.latents(one) for one in recipes]), 0.4
        if (recipe.prompt, recipe.steps) in self.faults:
            raise self.faults[recipe.prompt, recipe.steps]
        self.log += recipes

        def denoise(x: torch.Tensor, at: Level) -> Prediction:
            share = at.alpha * spread**2 / (at.alpha**2 * spread**2 + at.sigma**2)
            return Prediction.from_x0(x, mean + share * (x - at.alpha * mean), at)

        def noise(draw: int) -> torch.Tensor:
            return torch.cat([
                torch.randn(mean[:1].shape, dtype=mean.dtype, generator=torch.Generator().manual_seed(1000 * one.seed + draw))
                for one in recipes
            ])  # fmt: skip

        path = make_path(self.schedule, recipe.spacing or "trailing", recipe.steps, sigmas=recipe.sigmas)
        yield from sample(denoise, path, recipe.sampler, noise, **recipe.knobs)


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(GaussianPipeline())
    yield made
    made.close()


def worked(work: Any) -> tuple[list[Partial], Any]:
    """All that a generator yields, and what it returns."""
    seen = []
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            return seen, end.value
        if event is not None:
            seen.append(event)


def address(recipe: Recipe) -> str:
    return f"?steps={recipe.steps}&sampler={recipe.sampler}"


# ------------------------------------------------------------------------------------------------- grids


def test_every_cell_appears_when_it_is_finished_and_none_is_lost(engine: Engine) -> None:
    made = grid(BASE, axis("Steps", "2, 3", BASE), axis("Sampler", "DDIM, Heun", BASE))
    seen, view = worked(painted(engine, made, address))
    counts = [len(event.view["cells"]) for event in seen]
    assert counts == sorted(counts) and counts[-1] == 4 and set(range(5)) <= set(counts)
    assert [event.part for event in seen] == sorted(event.part for event in seen) and seen[-1].part == 1
    assert view["axes"][0] == {"kind": "Steps", "labels": ["steps 2", "steps 3"]} and view["axes"][2] is None
    assert (view["cells"]["1,0,0"]["nfe"], view["cells"]["1,1,0"]["nfe"]) == (3, 5)  # Heun's last step, to clean, takes one
    assert view["cells"]["0,1,0"]["link"] == "?steps=2&sampler=heun"
    assert all(cell["src"].startswith("data:image/png") for cell in view["cells"].values())
    assert any(event.view["forming"] for event in seen)


def test_a_cell_that_fails_says_why_and_the_others_are_made(engine: Engine) -> None:
    engine.pipe.faults["a cat", 3] = UserError("The picture became NaN on the way.")
    _, view = worked(painted(engine, grid(BASE, axis("Steps", "2, 3, 5", BASE)), address))
    assert view["cells"]["1,0,0"] == {"fault": "The picture became NaN on the way."}
    assert {"0,0,0", "2,0,0"} == {key for key, cell in view["cells"].items() if "src" in cell}


def test_a_grid_computes_nothing_twice(engine: Engine) -> None:
    made = grid(BASE, axis("Steps", "2, 3", BASE))
    worked(painted(engine, made, address))
    before = len(engine.pipe.log)
    _, view = worked(painted(engine, made, address))
    assert before == 2 and len(engine.pipe.log) == 2 and len(view["cells"]) == 2
    assert "ms an evaluation" not in view["told"]  # nothing was measured


def test_what_a_thousand_steps_would_take_follows_from_what_was_measured() -> None:
    words = told(2, 40, 1.0, [(20, 0.5), (20, 0.5)])
    assert words.startswith("2 pictures, 40 network evaluations (NFE), 1.0 s. 25 ms an evaluation:")
    assert words.endswith("a thousand guided steps (2000) would take 50 s.")


# ------------------------------------------------------------------------------------------------- races


def test_a_race_on_the_model_is_each_run_s_distance_from_the_fine_solve_with_links(engine: Engine) -> None:
    names = ["ddim", "heun", "dpmpp_2m", "ddpm"]
    seen, (view, points) = worked(raced_on_model(engine, BASE, names, (8, 4), 1, address))
    pipe = GaussianPipeline()
    runs = [on_ladder(BASE, pipe.schedule, name, count) for count in (4, 8) for name in names[:3]]
    truth, *ends = [list(pipe.run(one))[-1] for one in (fine(BASE, pipe.schedule), *runs)]
    assert [point[:3] for point in points] == [(one.sampler, one.steps, end.nfe) for one, end in zip(runs, ends, strict=True)]
    assert [point.error for point in points] == pytest.approx([relative_error(end.x_next, truth.x_next) for end in ends])
    assert [line["name"] for line in view["lines"]] == names[:3] and not view["apart"]
    assert view["left"].startswith("Not raced: DDPM. With fresh noise") and "no interval" in view["told"]
    assert all(point["between"] is None for line in view["lines"] for point in line["points"])
    assert view["lines"][0]["points"][1]["link"] == "?steps=8&sampler=ddim"
    assert [event.part for event in seen] == sorted(event.part for event in seen) and seen[-1].part == pytest.approx(1)


def test_a_race_on_the_model_from_several_noises_has_an_interval_for_every_error_and_order(engine: Engine) -> None:
    _, (view, points) = worked(raced_on_model(engine, BASE, ["ddim", "heun"], (4, 8), 3, address))
    pipe = GaussianPipeline()

    def end(recipe: Recipe, seed: int) -> torch.Tensor:
        return list(pipe.run(recipe.replace(seed=seed)))[-1].x_next

    for point in points:
        one = on_ladder(BASE, pipe.schedule, point.sampler, point.steps)
        x, truth = (torch.cat([end(recipe, BASE.seed + more) for more in range(3)]) for recipe in (one, fine(BASE, pipe.schedule)))
        assert point.error == pytest.approx(relative_error(x, truth)) and len(point.logs) == 3
    (ddim, heun), seeds = view["lines"], {recipe.seed for recipe in engine.pipe.log}
    assert all(point["between"][0] <= point["error"] <= point["between"][1] for line in (ddim, heun) for point in line["points"])
    assert ddim["fit"]["between"][0] <= ddim["fit"]["order"] <= ddim["fit"]["between"][1]
    assert seeds == {3, 4, 5} and not view["left"] and "95 %" in view["told"]


def test_a_race_on_the_mixture_keeps_stochastic_samplers_apart() -> None:
    seen, (view, points) = worked(raced_exactly("ring", make("cosine"), ["ddim", "ddpm"], (4, 8), lambda name, n: f"?{name}{n}"))
    assert [line["name"] for line in view["lines"]] == ["ddim"] and [line["name"] for line in view["apart"]] == ["ddpm"]
    chance, coarse = view["floor"], view["apart"][0]["points"][0]
    assert view["apart"][0]["fit"] is None and 0 < chance[1] < chance[0] < chance[2] < coarse["between"][0] < coarse["error"]
    assert len(points) == 4 and seen[-1].part == 1


@pytest.mark.parametrize(
    ("where", "names", "steps", "says"),
    [("ring", [], "5", "samplers is empty"), ("ring", ["odd"], "5", "samplers is 'odd'"), ("moon", ["ddim"], "5", "mixture is"),
     ("ring", ["ddim"], "", "steps is empty"), ("ring", ["ddim"], None, "steps is empty"), ("ring", ["ddim"], "0, 5", "steps is 0"),
     ("ring", ["ddim"], [5, 2.5], "whole number"), ("ring", ["ddim"], ["5"], "steps is '5'"),
     ("model", ["ddpm"], "5", "only deterministic samplers"), ("model", ["ddim"], "500", "steps is 500"),
     ("ring", list(SAMPLERS), "1-20", "runs; it may have 100")],
)  # fmt: skip
def test_a_race_that_cannot_be_run_is_refused(engine: Engine, where: str, names: list, steps: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        race_work(engine, where, names, steps, 1, BASE)


def test_a_race_on_a_large_model_may_not_hold_everybody_up(engine: Engine) -> None:
    large = BASE.replace(width=2048, height=2048)
    with pytest.raises(UserError, match="it may cost 1,048,576,000: take fewer noises"):
        race_work(engine, "model", ["ddim", "heun"], "50,100", 1, large)
    with pytest.raises(UserError, match="noises is 9"):
        race_work(engine, "model", ["ddim"], "5", 9, BASE)


def test_a_race_costs_what_its_noises_cost_and_begins_with_as_many_as_are_allowed(engine: Engine, monkeypatch: Any) -> None:
    one, four = (race_work(engine, "model", list(SAMPLERS), "5, 10, 20, 40", noises, BASE)[1] for noises in (1, 4))
    assert four == 4 * one == 4 * engine.pipe.size**2 * (300 + 75 * sum(SAMPLERS[name].calls for name in deterministic()))
    assert noises_allowed(engine) == 4
    monkeypatch.setattr(contests, "BUDGET", 2.5 * one)
    assert noises_allowed(engine) == 2


# ------------------------------------------------------------------------------------------------- figures


RACE = [Point(name, n, n, 0.5 * n**-order) for name, order in (("ddim", 1), ("heun", 2)) for n in (5, 10, 20)]


def test_lines_bear_the_order_that_their_points_have() -> None:
    lines = figures.lines([*RACE, Point("ddpm", 5, 5, 0.1)], lambda name, n: f"?{name}")
    assert [(line["name"], line["fit"] and line["fit"]["order"]) for line in lines] == [("ddpm", None), ("ddim", 1), ("heun", 2)]
    assert lines[2]["fit"]["line"][0] == [5, pytest.approx(0.02)]
    assert [row[:4] for row in figures.orders(RACE)] == [["DDIM", "1", "1.00", "–"], ["Heun", "2", "2.00", "10"]]


def test_every_sampler_has_a_colour_and_a_row() -> None:
    assert len({figures.colour(name) for name in list(SAMPLERS)[:11]}) == min(11, len(SAMPLERS))
    rows = figures.registry_rows()
    assert [row[0] for row in rows] == [entry.label for entry in SAMPLERS.values()]
    assert all(entry.doc == row[1] and entry.paper in row[4] for entry, row in zip(SAMPLERS.values(), rows, strict=True))
    assert figures.markdown_table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_a_race_is_saved_as_a_figure_and_as_numbers() -> None:
    assert drawn(figures.race_figure(RACE, "t"), "svg").startswith(b"<?xml") and race_file("png", RACE)[1].startswith(b"\x89PNG")
    rows = list(csv.reader(io.StringIO(race_file("csv", RACE)[1].decode())))
    assert rows[0] == ["sampler", "steps", "nfe", "error", "low", "high"] and rows[1][4:] == ["", ""]
    assert Point(rows[1][0], *map(float, rows[1][1:4])) == RACE[0]
    ends = list(csv.reader(io.StringIO(race_file("csv", [RACE[0]._replace(logs=(-2.4, -2.2))])[1].decode())))[1][4:]
    assert 0 < float(ends[0]) < RACE[0].error < float(ends[1])
    with pytest.raises(UserError, match="no race to save"):
        race_file("png", [])


# ------------------------------------------------------------------------------------------------- for programs


@pytest.mark.parametrize("on", ["ring", "model"])
def test_the_endpoint_tells_points_and_orders(engine: Engine, on: str) -> None:
    import asyncio

    async def asked() -> list[Any]:
        request = gr.Request(session_hash="somebody")
        return [told async for told in endpoint(engine)(request, on=on, samplers=["ddim", "heun", "ddpm"], steps=[10, 20])]

    told = asyncio.run(asked())[-1]
    heun = told["orders"]["heun"]
    assert told["state"] == "done" and [point["nfe"] for point in told["points"]][:4] == [10, 20, 20, 40]
    assert len(told["points"]) == (6 if on == "ring" else 4) and ("DDPM" in told["left_out"]) == (on == "model")
    assert all(point["low"] <= point["error"] <= point["high"] for point in told["points"])
    assert heun["declared"] == 2 and heun["measured"] > 1 and heun["between"][0] <= heun["measured"] <= heun["between"][1]


def test_the_endpoint_refuses_with_a_sentence(engine: Engine) -> None:
    import asyncio

    async def asked() -> None:
        async for _ in endpoint(engine)(gr.Request(session_hash="x"), steps=[0]):
            pass

    with pytest.raises(gr.Error, match="steps is 0"):
        asyncio.run(asked())


def test_a_job_of_a_grid_ends_in_done_and_can_be_stopped_between(engine: Engine) -> None:
    import asyncio

    made = grid(BASE, axis("Steps", "2, 3", BASE))

    async def all_of() -> list[Any]:
        with engine.compute(functools.partial(painted, engine, made, address), "somebody") as job:
            return [event async for event in job]

    last = asyncio.run(all_of())[-1]
    assert isinstance(last, Done) and not isinstance(last, Failed) and len(last.value["cells"]) == 2
    assert set(deterministic()) | set(stochastic()) == set(SAMPLERS)
