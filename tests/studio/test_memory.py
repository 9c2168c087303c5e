"""What is too big for the memory that is free is refused before it waits, with a size that is not."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from core.errors import UserError
from core.pipeline import TextToImage
from core.recipe import Recipe
from studio.service import memory
from studio.service.engine import Engine
from studio.service.jobs import Done, Failed
from tests.studio.fakes import FakePipeline, ended
from tests.studio.test_engine import events

MILLION = 10**6


@pytest.fixture
def fake() -> FakePipeline:
    return FakePipeline()  # 1,000 bytes a pixel


@pytest.fixture
def house(fake: FakePipeline) -> Iterator[Engine]:
    engine = Engine(fake)  # type: ignore[arg-type]
    yield engine
    engine.close()


def with_free(monkeypatch: pytest.MonkeyPatch, *megabytes: float) -> list[float]:
    """The system says these, one after the other, and then the last again."""
    told = list(megabytes)
    monkeypatch.setattr(memory, "free_memory", lambda device: int((told.pop(0) if len(told) > 1 else told[0]) * MILLION))
    return told


@pytest.mark.parametrize(("asked", "free", "says"), [
    ({"width": 1024, "height": 1024}, 300, "needs ~1 GB of memory, and 0.3 GB are free: try 512×512."),
    ({"width": 1024, "height": 512}, 300, "try 768×384."),
    ({"batch": 8}, 50, "try 3 at once."),
    ({"batch": 2}, 20, "try one picture at a time."),
    ({"batch": 2, "width": 1024, "height": 1024}, 150, "try 384×384, one picture at a time."),
    ({}, 1, "try fewer steps, or close other programs."),
])  # fmt: skip
def test_a_request_that_needs_more_memory_than_there_is_hears_a_size_that_fits(
    monkeypatch: pytest.MonkeyPatch, fake: FakePipeline, house: Engine, asked: dict, free: float, says: str
) -> None:
    with_free(monkeypatch, free)
    with pytest.raises(UserError, match=re.escape(says)):
        house.submit(Recipe(prompt="a cat", **asked), "one")
    assert not fake.log and not house._waiting


def test_what_is_named_as_fitting_is_let_through(monkeypatch: pytest.MonkeyPatch, house: Engine) -> None:
    with_free(monkeypatch, 300)
    assert isinstance(events(house.submit(Recipe(prompt="a cat", width=512, height=512), "one"))[-1], Done)


def test_the_cache_is_let_go_before_anybody_is_refused(monkeypatch: pytest.MonkeyPatch, house: Engine) -> None:
    known, big = Recipe(prompt="known"), Recipe(prompt="big", width=512, height=512)
    events(house.submit(known, "one"))
    with_free(monkeypatch, 200, 300)
    assert isinstance(events(house.submit(big, "one"))[-1], Done)
    with_free(monkeypatch, 300)
    assert not events(house.submit(known, "one"))[-1].cached  # it went for the big one


def test_where_there_is_room_the_cache_stays(monkeypatch: pytest.MonkeyPatch, house: Engine) -> None:
    with_free(monkeypatch, 300)
    events(house.submit(Recipe(prompt="known"), "one"))
    events(house.submit(Recipe(prompt="big", width=512, height=512), "one"))
    assert events(house.submit(Recipe(prompt="known"), "one"))[-1].cached


def test_where_nobody_can_say_how_much_is_free_everything_is_let_through(monkeypatch: pytest.MonkeyPatch, house: Engine) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    assert isinstance(events(house.submit(Recipe(prompt="a cat", width=1024, height=1024, steps=2), "one"))[-1], Done)


def test_a_piece_of_work_that_asks_for_too_much_fails_with_the_same_sentence(
    monkeypatch: pytest.MonkeyPatch, house: Engine
) -> None:
    with_free(monkeypatch, 300)
    big = Recipe(prompt="a cat", width=1024, height=1024)
    last = events(house.compute(lambda: house.run(big), "one"))[-1]
    assert isinstance(last, Failed) and "try 512×512" in last.sentence and last.code is None
    assert isinstance(events(house.submit(Recipe(prompt="next"), "one"))[-1], Done)


def test_a_batch_for_which_there_is_no_room_any_more_is_run_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, fake: FakePipeline, house: Engine
) -> None:
    with_free(monkeypatch, 100)
    begin = threading.Event()

    def first() -> Generator[None, None, None]:
        begin.wait(10)
        yield

    blocking = house.compute(first, "nobody")
    recipes = [Recipe(prompt=f"{i}", steps=3) for i in range(2)]  # 16 MB each
    jobs = [house.submit(recipe, recipe.prompt) for recipe in recipes]  # there was room for each when it was asked for
    with_free(monkeypatch, 20)
    begin.set()
    assert all(isinstance(events(job)[-1], Done) for job in (blocking, *jobs))
    assert [prompt for prompt, *_ in fake.log] == ["0"] * 3 + ["1"] * 3  # of a batch: 0, 1, 0, 1 ...


def test_work_that_asks_for_a_batch_beside_each_other_hears_that_it_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, house: Engine
) -> None:
    with_free(monkeypatch, 20)
    jobs = [Recipe(prompt=f"{i}") for i in range(2)]  # 16 MB each
    with pytest.raises(UserError, match="free"):
        ended(house.run_beside(jobs))
    assert len(ended(house.run_beside(jobs[:1]))[1]) == 1


def test_when_memory_runs_out_what_is_only_remembered_is_given_back(
    monkeypatch: pytest.MonkeyPatch, fake: FakePipeline, house: Engine
) -> None:
    with_free(monkeypatch, 300)
    events(house.submit(Recipe(prompt="known"), "one"))
    assert events(house.submit(Recipe(prompt="known"), "one"))[-1].cached
    fake.faults["big", 3] = MemoryError()
    assert isinstance(events(house.submit(Recipe(prompt="big"), "one"))[-1], Failed)
    assert not events(house.submit(Recipe(prompt="known"), "one"))[-1].cached


# ------------------------------------------------------------------------------------------------- how it is counted


def test_memory_grows_with_pixels_pictures_steps_and_calls(pipe: TextToImage) -> None:
    small = Recipe(prompt="", width=64, height=64)
    needs = [pipe.memory(small), pipe.memory(small.replace(width=128)), pipe.memory(small.replace(width=128, batch=8)),
             pipe.memory(small.replace(width=128, batch=8, steps=1000)),
             pipe.memory(small.replace(width=128, batch=8, steps=1000, sampler="heun"))]  # fmt: skip
    assert needs == sorted(needs) and needs[1] == pytest.approx(2 * needs[0], rel=0.01)


def test_what_the_steps_of_a_run_take_is_what_they_are_counted_as(pipe: TextToImage) -> None:
    for name in ("ddim", "heun"):
        few, many = (Recipe(prompt="", sampler=name, steps=steps) for steps in (2, 12))
        counted = (pipe.memory(many) - pipe.memory(few)) / 10 / 2
        assert counted == pytest.approx(next(pipe.run(many)).nbytes, rel=0.01)


MEASURE = """
import sys
from core import Recipe, load_pipeline
pipe = load_pipeline()
recipe = Recipe(prompt="a red apple", steps=1, width=int(sys.argv[1]), height=int(sys.argv[1]), batch=int(sys.argv[2]))
def peak():  # of this program; ru_maxrss would keep the peak of whoever started it
    return 1024 * int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
counted = pipe.memory(recipe)
pipe.images(recipe.replace(width=128, height=128, batch=1))  # what a first picture brings along is no big one's
before = peak()
pipe.images(recipe)
print(counted, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux tells it, in kibibytes")
@pytest.mark.parametrize(("side", "batch"), [(512, 1), (256, 8)])
def test_what_is_counted_is_what_a_process_takes(side: int, batch: int) -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE, str(side), str(batch)], cwd=Path(__file__).parents[2],
                          capture_output=True, text=True)  # fmt: skip
    counted, taken = map(int, done.stdout.split())
    assert taken / 1.3 < counted < 2.5 * taken
