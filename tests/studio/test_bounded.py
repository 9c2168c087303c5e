"""What work may cost and hold: no more than the budget, no more bytes than are meant for it, and no thread that others wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from core import Recipe
from core.evaluation.headlines import HEADLINES
from core.recipe import BUDGET
from studio.endpoints import generate, latents, sweep
from studio.handlers import desk, stage
from studio.service import memory
from studio.service.engine import Engine, cost
from studio.tabs.labs import evaluate, inside
from studio.work import latents as work
from studio.work.latents import Bench, weight
from tests.studio.fakes import ended

REQUEST: Any = SimpleNamespace(session_hash="me", client=None, headers={})


def answers(running: Any) -> list[Any]:
    async def all_of() -> list[Any]:
        return [one async for one in running]

    return asyncio.run(all_of())


# ---------------------------------------------------------------------------------------------------------- the budget


def test_the_headline_table_takes_as_many_captions_as_the_budget_has_room_for_where_others_wait(engine: Engine) -> None:
    with gr.Blocks() as demo:
        most = evaluate.page(engine).view["table_captions"].maximum
    assert evaluate.price(HEADLINES, most) <= BUDGET < evaluate.price(HEADLINES, most + 1)
    measure = next(fn.fn for fn in demo.fns.values() for target, event in fn.targets
                   if event == "click" and demo.blocks[target].elem_id == "headlines-go")  # fmt: skip
    last = answers(measure(REQUEST, most + 1))[-1]
    lines = [view["status"]["line"] for view in last.values() if "status" in view]
    assert lines == [f"captions is {most + 1}; it must be a number from 2 to {most}."]
    engine.shared = False
    with gr.Blocks():
        assert evaluate.page(engine).view["table_captions"].maximum == evaluate.MOST_ROWS > most


def test_a_look_into_a_run_costs_what_the_run_does_since_it_may_be_forgotten(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, told = engine.pipe.complete(Recipe(prompt="a cat", steps=3, sampler="ddim")), list[float]()
    compute = engine.compute
    monkeypatch.setattr(engine, "compute", lambda question, who, price: told.append(price) or compute(question, who, price))
    answers(inside.look(engine, REQUEST, run, "conv_in", 2))
    answers(inside.attend(engine, REQUEST, gr.EventData(None, {"down": 0.5, "right": 0.5}), run, inside.FIRST, 2))
    assert told == [cost(run)] * 2 and cost(run) == 3 * engine.pipe.size**2


# --------------------------------------------------------------------------------------------------------------- memory


def test_remembered_pictures_are_bounded_in_bytes_and_the_newest_stays(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(engine)
    side = engine.pipe.size
    one = ended(bench.coded(Image.new("RGB", (side, side), (200, 0, 0))))[1]
    assert weight(one) == one.bytes == 4 * (2 * 3 * side**2 + one.z.numel())  # float32: the picture and what is decoded of it
    monkeypatch.setattr(work, "REMEMBERED_BYTES", 3 * one.bytes)
    made = [ended(bench.coded(Image.new("RGB", (side, side), (shade, 0, 0))))[1] for shade in range(5)]
    assert list(bench.known.values()) == made[-3:]


def test_what_alone_exceeds_the_bound_is_given_and_not_remembered(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "REMEMBERED_BYTES", 10)
    bench = Bench(engine)
    assert ended(bench.coded(Image.new("RGB", (engine.pipe.size,) * 2)))[1].x.shape[-1] == engine.pipe.size and not bench.known


def test_a_view_weighs_what_its_texts_do() -> None:
    assert weight({"lanes": [{"src": "x" * 1000}, {"src": "y" * 500}], "line": "abc"}) == 1503


@pytest.fixture
def without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 1000)


def test_a_picture_too_big_for_the_memory_that_is_free_is_neither_encoded_nor_decoded(engine: Engine, without_room: None) -> None:
    bench = Bench(engine)
    z = np.zeros((engine.pipe.vae.config.latent_channels, 5, 3)).tolist()
    for asked in (latents.encoder(bench)(REQUEST, Image.new("RGB", (64, 64))), latents.decoder(bench)(REQUEST, z)):
        with pytest.raises(gr.Error, match="GB of memory, and 1e-06 GB are free"):
            answers(asked)


# ------------------------------------------------------------------------------------------------------- the event loop


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[threading.Thread]]:
    """The threads on which PNG files are written."""
    found: list[threading.Thread] = []

    def noted(write: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*given: Any, **more: Any) -> Any:
            found.append(threading.current_thread())
            return write(*given, **more)

        return noting

    for module, name in ((stage, "save_png"), (sweep, "write_png"), (latents, "write_png")):
        monkeypatch.setattr(module, name, noted(getattr(module, name)))
    yield found


def test_no_picture_is_written_on_the_thread_of_the_event_loop(engine: Engine, writers: list[threading.Thread]) -> None:
    names = ("stage", "board", "board_box", "visit", "reader", "go", "halt", "text", "link", "made")
    chosen: Any = SimpleNamespace(values=lambda sampler, positions: {})
    page = desk.Desk(engine, dict.fromkeys(("prompt", "steps", "seed")), chosen, **{name: name for name in names})  # type: ignore
    z = np.zeros((engine.pipe.vae.config.latent_channels, 2, 2)).tolist()
    asked = {
        "the page": page.generate(REQUEST, {}, None, "", "a cat", 2, "1", "ddim"),
        "/generate": generate.generate_endpoint(engine)(REQUEST, prompt="a cat", steps=2, seed=1),
        "/guidance_sweep": sweep.endpoint(engine)(REQUEST, prompts=["a cat"], gammas=[0], seeds=1, steps=2),
        "/decode": latents.decoder(Bench(engine))(REQUEST, z),
    }
    for name, running in asked.items():
        writers.clear()
        answers(running)
        assert writers and threading.main_thread() not in writers, name
