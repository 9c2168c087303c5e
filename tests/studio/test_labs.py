"""The labs without a browser: each piece of work shows what it has, ends in curves with intervals, and refuses in sentences."""

from __future__ import annotations

import asyncio
import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from core import Recipe, load_pipeline
from core.assumptions import forward, moves
from core.assumptions.approximation import Trained
from core.assumptions.line import exactly
from core.claims import CLAIMS
from core.errors import UserError
from core.metrics import Interval
from core.sampling import SAMPLERS
from studio.figures import labs as figures
from studio.figures.strip import MOST_FRAMES
from studio.formats.links import from_query
from studio.service.engine import Engine
from studio.tabs.labs.assumptions import CHOICES, TEXTS, one_step
from studio.tabs.labs.bench import measuring
from studio.tabs.labs.desk import canvas
from studio.widgets.kept import remembered, unseen
from studio.widgets.settings import PAGE
from studio.work import closed_world
from studio.work import labs as lab_work
from studio.work import perfect as perfect_work
from tests.core.tiny import write_tiny
from tests.studio.fakes import shown, stated


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(load_pipeline(write_tiny(Path(tmp_path_factory.mktemp("tiny"))), device="cpu"))
    yield made
    made.close()


def intervals(chart: dict[str, Any], name: str) -> list[list[float]]:
    return next(one["points"] for one in chart["series"] if one["name"] == name)


# ------------------------------------------------------------------------------------------------- what is shown of a canvas


def test_what_a_canvas_shows_is_remembered_as_far_as_its_widgets_can_hold_it() -> None:
    with gr.Blocks() as demo:
        level = unseen(gr.Number, 2, "Level", minimum=0, maximum=5)
        kind = unseen(gr.Radio, "rows", "Kind", choices=["rows", "columns"])
        made = canvas("curves", "labs", {})
        assert remembered(made, level=level, kind=kind) == {"level": level, "kind": kind}
    remember, hear = (fn.fn for fn in demo.fns.values())
    assert made.props["level"] == 2 and made.props["kind"] == "rows"
    assert remember(gr.EventData(None, {"level": 4, "kind": "columns", "other": 1})) == {level: 4, kind: "columns"}
    assert remember(gr.EventData(None, {"level": 6, "kind": ["rows"]})) == remember(gr.EventData(None, "x")) == {}
    assert {name: value for name, value in hear(3, "rows").items() if name in ("level", "kind")} == {"level": 3, "kind": "rows"}


def test_nobody_is_offered_to_hide_what_nobody_sees(engine: Engine) -> None:
    names = stated(engine)["labs"].names
    assert "part" in names and not {"claim", "step", "tau", "matrix", "pixel_down", "level", "points"} & set(names)


# ------------------------------------------------------------------------------------------------- assumptions


def test_the_first_lab_shows_justification_and_limitation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "STEPS", (3, 10, 40))
    monkeypatch.setattr(forward.off_symbols, "__defaults__", (("ddim", "ddpm"), (3, 10, 40), 0))
    seen, view = shown(lab_work.gaussian_forward())
    justified, back, limited = view["charts"]
    assert len(seen) == 7 and [event.part for event in seen] == sorted(event.part for event in seen)
    assert all(low <= value <= high for _, value, low, high in intervals(justified, "mean, walked"))
    for name in ("weight of x₀", "weight of xₜ", "spread"):
        pairs = zip(intervals(back, f"{name}, fitted"), intervals(back, name), strict=True)
        assert np.mean([low <= wanted <= high for (_, _, low, high), (_, wanted, *_) in pairs]) > 0.8
    off = [value for _, value, *_ in intervals(limited, "DDIM")]
    assert off == sorted(off, reverse=True) and off[0] > 0.9 and off[-1] < 0.05
    assert "At 10 steps" in view["line"]


def test_small_steps_show_the_loss_the_price_and_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "STEPS", (2, 10))
    _, view = shown(lab_work.small_steps())
    loss, price, chain = view["charts"]
    nats = [value for _, value, *_ in intervals(loss, "to the data")]
    steps = [value for _, value, *_ in intervals(price, "steps needed")]
    assert nats == sorted(nats) and steps == sorted(steps, reverse=True)
    assert intervals(chain, "sum over the moves")[0][1] > intervals(chain, "sum over the moves")[1][1]


def test_the_walks_differ_in_memory_only() -> None:
    seen, view = shown(lab_work.markov())
    assert [event.part for event in seen] == sorted(event.part for event in seen)
    bound, told, same, memory, tracks = view["charts"]
    chain, other = (zip(intervals(bound, f"{name}: whole paths"), intervals(bound, f"{name}: sum of the steps"), strict=True)
                    for name in ("η = 1, a Markov chain", "η = 0.5, none"))  # fmt: skip
    assert np.mean([low <= terms <= high for (_, _, low, high), (_, terms, *_) in chain]) >= 0.5
    assert all(low > terms for (_, _, low, _), (_, terms, *_) in other)
    assert all(value < -0.99 for _, value, *_ in intervals(told, "DDIM's, η = 0"))
    assert all(abs(value) < 0.1 for _, value, *_ in intervals(told, "DDPM's noising"))
    critical = intervals(same, "5 % by chance")[0][1]
    above = [value > critical for _, value, *_ in intervals(same, "DDPM against DDIM")]
    assert np.mean(above) < 0.3
    assert intervals(memory, "DDIM")[-1][1] > 0.999 > 0.3 > intervals(memory, "DDPM")[-1][1]
    assert len(tracks["series"]) == 12


def test_reverse_moves_are_drawn_beside_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves.gaussian_moves, "__defaults__", (moves.KINDS, (2, 30), 0))
    seen, view = shown(lab_work.gaussian_reverse())
    distance, balance = view["charts"]
    assert len(seen) == 6 and len(distance["series"]) == 4 and distance["series"][-1]["name"] == "chance alone"
    two, one = (intervals(distance, name)[0][1] for name in ("Gaussian moves to two peaks", "the same to one Gaussian"))
    assert two > 3 * one and f"{two:.2f} to two peaks and {one:.2f} to one Gaussian" in view["line"]
    assert intervals(balance, "the data")[0][1] == pytest.approx(0.4)


def test_errors_of_training_are_drawn_by_width_and_amount_of_data() -> None:
    now = Trained({(8, 4): Interval(0.5, 0.4, 0.6), (16, 4): Interval(0.3, 0.2, 0.4)}, {(16, 4): ((50, 0.4), (100, 0.3))}, 0.5)
    errors, course = figures.trained_charts(now)
    assert errors["series"][0]["points"] == [[8, 0.5, 0.4, 0.6], [16, 0.3, 0.2, 0.4]]
    assert course["series"][0]["points"] == [[50, 0.4, None, None], [100, 0.3, None, None]]
    assert figures.trained_charts(Trained())[0]["series"] == []
    assert "slow" not in errors["note"] and "at width 8, 16: this machine is slow" in figures.trained_charts(
        Trained(short=(8, 16)))[0]["note"]  # fmt: skip


def test_one_step_is_drawn_with_its_gaussian_of_the_same_mean_and_spread() -> None:
    (chart,) = one_step(0.3, 0.1)["charts"]
    y = np.array([x for x, *_ in intervals(chart, "exact posterior")])
    exact, gaussian = (np.array([v for _, v, *_ in intervals(chart, name)]) for name in ("exact posterior", "its Gaussian"))
    weight = y[1] - y[0]
    assert exact.sum() * weight == pytest.approx(1, abs=1e-3) and gaussian.sum() * weight == pytest.approx(1, abs=1e-3)
    assert (y * exact).sum() == pytest.approx((y * gaussian).sum(), abs=0.05)


@pytest.mark.parametrize(("beta", "at"), [(0.9, 0), (math.nan, 0), (0.1, "left"), (None, 0)])
def test_a_step_that_cannot_be_is_refused_in_a_sentence(beta: Any, at: Any) -> None:
    with pytest.raises(gr.Error, match="must be a number"):
        one_step(beta, at)


def test_every_assumption_has_its_text_and_its_work() -> None:
    names = [name for _, name in CHOICES]
    assert len(names) == 6 and set(TEXTS) == set(names) == {*lab_work.ASSUMPTIONS, "world"}
    assert [text.split(".")[0].strip("*\n ") for text in TEXTS.values()] == list("123456")


def test_the_closed_world_shows_three_worlds_and_words(engine: Engine) -> None:
    seen, view = shown(closed_world.measured(engine.pipe))
    assert len(seen) == 3 and [len(bar["bars"]) for bar in view["bars"]] == [3, 3, 3, 2]
    assert all(low <= value <= high for bar in view["bars"] for _, value, low, high in bar["bars"])
    sources = [source for world in view["pictures"] for row in world["rows"] for source in row]
    assert all(source.startswith("data:image/png") for source in sources)
    assert all(len(world["near"]) == len(world["rows"][0]) for world in view["pictures"])
    assert all("(MIT)" in near["name"] and near["away"] > 0 for world in view["pictures"] for near in world["near"])
    assert re.search(r"lose -?\d+ dB \[-?\d+, -?\d+\] more", view["line"])


def test_an_upload_is_cropped_to_its_middle_square(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    worlds = closed_world.closed_world.worlds

    def few(pipe: Any, own: Any, count: int) -> Any:
        given.append(own)
        return worlds(pipe, own, 2)

    monkeypatch.setattr(closed_world.closed_world, "worlds", few)
    wide = Image.new("RGB", (96, 32), (255, 0, 0))
    wide.paste((0, 255, 0), (32, 0, 64, 32))
    _, view = shown(closed_world.measured(engine.pipe, wide))
    assert [world["name"] for world in view["pictures"]][3:] == ["your picture"]
    assert given[0].shape == (1, 3, 32, 32) and (given[0][0, 1] == 1).all() and (given[0][0, 0] == -1).all()


def test_every_lab_says_what_justifies_its_assumption_and_what_limits_it(engine: Engine) -> None:
    _, view = shown(closed_world.measured(engine.pipe))
    titles = " ".join(bar["title"].lower() for bar in view["bars"])
    assert "justified" in titles and "limited" in titles


# ------------------------------------------------------------------------------------------------- the perfect denoiser


RUN = Recipe(prompt="a red cat", steps=5, sampler="ddim", gamma=2, seed=1, width=32, height=32)


@pytest.mark.parametrize("named", [False, True])
def test_a_run_is_shown_step_by_step_first_roughly_then_finely(engine: Engine, named: bool) -> None:
    seen, view = shown(perfect_work.compared(engine, RUN, named))
    assert len(view["frames"]) == len(view["steps"]) == 5 and all(len(frame) == 4 for frame in view["frames"])
    first = next(event for event in seen if event.view.get("steps"))
    assert all(rough != fine for rough, fine in zip(first.view["frames"], view["frames"], strict=True))
    known = {int(row) for row in view["nearest"]}
    assert all({step["first"], step["near"][0], step["alone"][0]} <= known for step in view["steps"])
    assert view["open"] == (6 if named else 12) and "ms a step" in view["line"]


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_the_perfect_denoiser_alone_ends_in_a_training_picture_and_the_network_does_not(engine: Engine, sampler: str) -> None:
    _, view = shown(perfect_work.compared(engine, RUN.replace(sampler=sampler, end="clean"), False))
    network, alone = view["ends"]
    assert alone["near"][1] < 2e-3 < 0.05 < network["near"][1] and view["left"] == 0
    assert alone["near"][0] == view["steps"][-1]["alone"][0] and alone["src"] != network["src"]


def test_a_run_that_ends_with_noise_says_how_much_of_it_keeps_the_perfect_one_from_its_picture(engine: Engine) -> None:
    _, view = shown(perfect_work.compared(engine, RUN, False))
    assert 0 < view["ends"][1]["near"][1] < 2 * view["left"]


def test_the_perfect_run_keeps_to_the_pictures_that_the_prompt_names(engine: Engine) -> None:
    _, view = shown(perfect_work.compared(engine, RUN.replace(end="clean"), True))
    assert view["named"] == "red cat" and view["nearest"][str(view["ends"][1]["near"][0])]["name"].startswith("red cat")


def test_of_a_long_run_some_steps_have_frames_and_keep_their_numbers(engine: Engine) -> None:
    _, view = shown(perfect_work.compared(engine, RUN.replace(steps=90), False))
    numbers = [step["k"] for step in view["steps"]]
    assert len(numbers) == len(view["frames"]) == MOST_FRAMES and (numbers[0], numbers[-1], view["moves"]) == (1, 90, 90)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"prompt": "qzxv"}, "no trained name"), ({"width": 64, "height": 64}, "32×32 pixels"),
     ({"branch": {"step": 2, "changes": {"gamma": 0.0}}}, "the run that it began as")],
)  # fmt: skip
def test_a_run_that_has_no_place_beside_the_perfect_denoiser_is_refused(engine: Engine, changes: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        shown(perfect_work.compared(engine, RUN.replace(**changes), True))


def test_the_difference_is_black_where_pictures_agree() -> None:
    a, b = Image.new("RGB", (4, 4), (10, 20, 30)), Image.new("RGB", (4, 4), (40, 50, 60))
    assert np.asarray(figures.difference(a, a)).max() == 0 and np.asarray(figures.difference(a, b)).min() == 60


# ------------------------------------------------------------------------------------------------- the bench


def test_there_is_a_card_for_every_claim_with_its_question() -> None:
    made = figures.cards()
    assert {card["id"] for card in made} == set(CLAIMS) and all(card["asks"] and card["how"] for card in made)
    themes = [card["theme"] for card in made]
    assert sum(a != b for a, b in itertools.pairwise(themes)) == len(set(themes)) - 1  # each theme in one piece


def test_each_claim_leads_to_a_state_that_the_app_has(engine: Engine) -> None:
    settings = stated(engine)
    assert [one.id for one in CLAIMS.values() if not one.link] == ["benchmark_numbers"]
    for query in [*(one.link for one in CLAIMS.values() if one.link), *(f"?v=1&tab=labs&view.claim={name}" for name in CLAIMS)]:
        link = from_query(dict(parse_qsl(query.removeprefix("?"), keep_blank_values=True)))
        _, rest, odd = settings[link.places["tab"]].of_link(link)
        assert not link.notice and odd == [] and rest == {}, query
        assert link.view.get(PAGE, "") in ("", *settings[link.places["tab"]].page_ids), query


def test_a_measured_claim_brings_number_verdict_and_replay(engine: Engine) -> None:
    _, view = shown(lab_work.measured(engine, "ddim_update"))
    found = view["finding"]
    assert found["id"] == "ddim_update" and found["verdict"] == "confirmed" and found["value"] < 1e-6
    assert found["link"].startswith("?v=1&tab=denoise") and "eta 0.7" in found["replay"]


def test_the_bench_measures_what_its_page_asks_for_and_nothing_else(engine: Engine) -> None:
    async def asked(data: Any) -> list[dict[str, Any]]:
        event = gr.EventData(None, data)
        return [view async for view in measuring(engine, gr.Request(session_hash="somebody"), event)]

    views = asyncio.run(asked({"id": "inception"}))
    assert views[0]["running"] == "inception" and views[-1]["running"] == "" and views[-1]["finding"]["shown"] == "10 score"
    for wrong in ({"id": "__class__"}, {"id": 3}, {}, "x"):
        with pytest.raises(gr.Error, match="claim is"):
            asyncio.run(asked(wrong))


def test_an_exact_number_needs_no_interval_and_infinity_is_no_number() -> None:
    assert figures.point(1, exactly(2.0)) == [1, 2, 2, 2]
    assert figures.point(1, math.inf) == [1, None, None, None]
