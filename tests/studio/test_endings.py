"""The long work of the labs, from its page's own buttons: Stop, a page that is closed and a reader that leaves end it within a
slice, and no slice is long.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import gradio as gr
import pytest

from core.assumptions import approximation
from core.pipeline import TextToImage
from core.sampling import SAMPLERS
from studio.service.engine import Engine
from studio.tabs.labs import assumptions, clip, evaluate, perfect, train
from studio.widgets.controls import leaving

HERE, WIDEST = gr.Request(session_hash="somebody"), approximation.WIDTHS[-1:]
KNOBS = [knob.default for entry in SAMPLERS.values() for knob in entry.knobs]
WORKS = {
    "points": (train.page, ("ring", "128", 6000)),
    "few": (train.page, ("red cat, blue apple", 600, 0.2)),
    "tiny": (clip.page, (0,)),
    "assumption": (assumptions.page, ("approximation", None)),
    "perfect": (perfect.page, ({}, "all", "red cat", 100, 2, "3", "ddim", *KNOBS)),
    "errors": (perfect.page, ()),
    "notices": (evaluate.page, ("blur", 4, 0.3, 8, None, [])),
    "number": (evaluate.page, ()),
    "loss": (evaluate.page, ()),
    "quality": (evaluate.page, ("nfe", 4)),
    "headlines": (evaluate.page, (4,)),
}


async def stop(engine: Engine, halt: Callable[..., Any], handler: Any) -> None:
    """The button."""
    halt(HERE)


async def closed(engine: Engine, halt: Callable[..., Any], handler: Any) -> None:
    """The page's tab is closed, which the app is told."""
    leaving(engine)(HERE)


async def gone(engine: Engine, halt: Callable[..., Any], handler: Any) -> None:
    """Nobody reads on."""
    await handler.aclose()


ENDINGS = {one.__name__: one for one in (stop, closed, gone)}


def clicked(demo: gr.Blocks, name: str) -> Callable[..., Any]:
    """What a button of a page calls."""
    (found,) = [fn.fn for fn in demo.fns.values() for target, event in fn.targets
                if event == "click" and demo.blocks[target].elem_id == name]  # fmt: skip
    return found


FEW = 4


@pytest.fixture(autouse=True)
def unswept() -> Iterator[None]:
    """No slice pays for sweeping what the tests before left behind: seconds, late in a long run."""
    gc.disable()
    yield
    gc.enable()


class Watch:
    """Wraps the work that an engine is given: the processor's seconds of each slice, and whether the work was ended.

    Under way, at least FEW slices in and after it has shown something, the work waits for `resumed`: it cannot be over before it is
    ended.
    """

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slices: list[float] = []
        self.ended, self.under_way, self.resumed = False, threading.Event(), threading.Event()
        compute = engine.compute
        monkeypatch.setattr(engine, "compute", lambda work, *rest: compute(lambda: self.sliced(work()), *rest))

    def sliced(self, work: Generator[Any, None, Any]) -> Generator[Any, None, Any]:
        shown = False
        try:
            while True:
                begun = time.thread_time()
                try:
                    event = next(work)
                except StopIteration as end:
                    return end.value
                self.slices.append(time.thread_time() - begun)
                if shown and len(self.slices) >= FEW:
                    self.under_way.set()
                    self.resumed.wait(60)
                yield event
                shown = shown or event is not None
        finally:
            work.close()
            self.ended = True


@pytest.fixture
def engine(pipe: TextToImage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(approximation.trained, "__defaults__", (WIDEST, *approximation.trained.__defaults__[1:]))  # the slowest
    engine = Engine(pipe)
    yield engine
    engine.close()


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_long_work_ends_within_a_slice(engine: Engine, work: str, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(engine, monkeypatch)
    page, values = WORKS[work]
    with gr.Blocks() as demo:
        page(engine)
    go, halt = (clicked(demo, f"{work}-{what}") for what in ("go", "stop"))

    async def seen() -> tuple[list[str], int]:
        states, before, handler = [], 0, go(HERE, *values)
        async for update in handler:
            (state,) = [view["status"]["state"] for view in update.values() if "status" in view]
            states.append(state)
            if state == "running" and not before:
                assert await asyncio.to_thread(watch.under_way.wait, 60)
                await ENDINGS[ending](engine, halt, handler)
                before = len(watch.slices)
                watch.resumed.set()
        assert before, states
        while not watch.ended:
            await asyncio.sleep(0.01)
        return states, before

    states, before = asyncio.run(seen())
    assert states[-1] == ("running" if ending == "gone" else "stopped")
    assert len(watch.slices) - before <= 1  # the one that was running
    assert max(watch.slices) < 1.5
