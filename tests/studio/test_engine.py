"""The engine: one at a time, everyone answered, nobody's trouble becomes another's."""

import asyncio
import gc
import itertools
import threading
import time
import weakref

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.recipe import Recipe
from studio.service.engine import Cache, Engine
from studio.service.jobs import Done, Failed, Preview, Queued, Run, Stopped
from tests.service.pages import eventually
from tests.studio.fakes import FakePipeline, occupied


@pytest.fixture
def pipe():
    return FakePipeline()


@pytest.fixture
def engine(pipe):
    engine = Engine(pipe)
    yield engine
    engine.close()
    assert not engine._worker.is_alive()


def events(job, seconds=20):
    async def read():
        with job:
            return [event async for event in job]

    return asyncio.run(asyncio.wait_for(read(), seconds))


def colour(image):
    return np.asarray(image)[64, 64].tolist()


def right(pipe, recipe, images):
    """Whether these are the pictures of this recipe and no other."""
    return [colour(image) for image in images] == [colour(image) for image in pipe.pictures(pipe.latents(recipe))]


def test_a_job_ends_with_its_pictures_and_the_recipe_filled_in(engine, pipe):
    recipe = Recipe(prompt="a cat, the end", batch=2)
    done = events(engine.submit(recipe, "one"))[-1]
    assert isinstance(done, Done)
    run = done.value
    assert right(pipe, recipe, run.images) and run.nfe == 40 and len(run.steps) == 20
    assert run.recipe.width == 128 and run.recipe.spacing == "trailing" and run.recipe.model == "fake-128"
    assert run.notes == ("These words did not fit: the end",)


def test_previews_come_at_most_four_times_a_second(pipe, engine):
    pipe.seconds = 0.02
    found = [event for event in events(engine.submit(Recipe(prompt="", steps=60), "one")) if isinstance(event, Preview)]
    times = [event.seconds for event in found if event.step < 60]  # the last one says that all steps are done
    assert found[0].step == 1 and len(times) >= 4
    assert all(later - earlier >= 0.25 for earlier, later in itertools.pairwise(times))
    assert [event.step for event in found] == sorted({event.step for event in found})


def test_stop_ends_within_one_step_and_the_next_job_is_fine(pipe, engine):
    pipe.seconds, at = 0.2, None

    async def stop_at_the_third():
        nonlocal at
        with engine.submit(Recipe(prompt="slow", steps=100), "one") as job:
            found = []
            async for event in job:
                found.append(event)
                if at is None and isinstance(event, Preview) and event.step >= 3:
                    at = len(pipe.log)
                    engine.stop("one")
                    engine.stop("one")  # twice does no harm
            return found

    last = asyncio.run(stop_at_the_third())[-1]
    assert isinstance(last, Stopped) and last.steps == 100 and 3 <= last.step <= at + 1
    eventually(lambda: pipe.closed == 1)  # the answer is on its way before the run is closed
    assert len(pipe.log) == last.step
    pipe.seconds = 0
    assert isinstance(events(engine.submit(Recipe(prompt="next"), "one"))[-1], Done)


def test_a_stop_at_the_very_last_step_comes_too_late_or_just_in_time_and_the_next_is_fine(pipe, engine):
    async def stop_at_the_last(seed):
        with engine.submit(Recipe(prompt="short", steps=3, seed=seed), "one") as job:
            async for event in job:
                if isinstance(event, Preview) and event.step == event.steps:
                    engine.stop("one")
            return event

    for seed in range(10):
        last = asyncio.run(asyncio.wait_for(stop_at_the_last(seed), 20))
        assert isinstance(last, Done) or last == Stopped(3, 3)
        assert isinstance(events(engine.submit(Recipe(prompt="next", seed=seed), "one"))[-1], Done)


def test_a_reader_who_leaves_stops_the_job_within_one_step(pipe, engine):
    pipe.seconds = 0.2

    async def leave():
        with engine.submit(Recipe(prompt="gone", steps=1000), "one") as job:
            async for event in job:
                if isinstance(event, Preview):
                    return len(pipe.log)

    at = asyncio.run(leave())
    eventually(lambda: pipe.closed == 1)
    assert len(pipe.log) <= at + 1
    pipe.seconds = 0
    assert isinstance(events(engine.submit(Recipe(prompt="next"), "two"))[-1], Done)


def test_of_readers_who_left_no_tensor_and_no_thread_stays(pipe, engine, monkeypatch):
    pipe.seconds, before, tensors, run_many = 0.005, set(threading.enumerate()), [], pipe.run_many

    def watched(*given):
        for step in run_many(*given):
            tensors.extend(map(weakref.ref, (step.x0, step.x_next)))
            yield step

    monkeypatch.setattr(pipe, "run_many", watched)

    async def leave(seed):
        with engine.submit(Recipe(prompt="gone", steps=1000, seed=seed), "one") as job:
            async for event in job:
                if isinstance(event, Preview):
                    return

    for seed in range(20):
        asyncio.run(leave(seed))
    eventually(lambda: pipe.closed == 20 and not engine._running)
    gc.collect()
    assert len(tensors) >= 40 and not [one for one in tensors if one() is not None]
    assert not set(threading.enumerate()) - before


def test_a_job_that_waits_can_be_stopped_before_its_turn(pipe, engine):
    pipe.seconds = 0.05
    first = engine.submit(Recipe(prompt="first", steps=10), "one")
    second = engine.submit(Recipe(prompt="second", steps=10), "two")
    engine.stop("two")
    assert events(second) == [Stopped(0, 10)]
    assert isinstance(events(first)[-1], Done) and {prompt for prompt, *_ in pipe.log} == {"first"}


def test_everyone_is_told_their_place_and_how_long(pipe, engine):
    pipe.seconds = 0.02
    events(engine.submit(Recipe(prompt="to learn the speed", steps=10), "zero"))
    with occupied(engine):
        jobs = [engine.submit(Recipe(prompt=f"{i}", steps=20 + i), f"visitor {i}") for i in range(3)]
        told = [asyncio.run(anext(aiter(job))) for job in jobs]
    assert [event.position for event in told] == [1, 2, 3]
    assert told[0].seconds == 0 and all(0.1 < b.seconds - a.seconds < 3 for a, b in itertools.pairwise(told))
    assert [event.position for event in events(jobs[2]) if isinstance(event, Queued)][-1] == 1


@pytest.mark.parametrize(
    ("fault", "says", "code"),
    [
        (UserError("The picture became NaN; try fp32."), "The picture became NaN; try fp32.", False),
        (MemoryError(), "too big for this machine's memory", False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "too big for this machine's memory", False),
        (KeyError("/secret/path"), "Something went wrong, code", True),
        (SystemExit(3), "Something went wrong, code", True),
    ],
)
def test_a_fault_in_one_job_is_told_to_its_visitor_and_to_nobody_else(pipe, engine, fault, says, code):
    pipe.faults["bad", 3] = fault
    bad, good = engine.submit(Recipe(prompt="bad"), "one"), engine.submit(Recipe(prompt="good"), "two")
    failed = events(bad)[-1]
    assert isinstance(failed, Failed) and says in failed.sentence and "secret" not in failed.sentence
    assert bool(failed.code) is code
    assert isinstance(events(good)[-1], Done)


def test_the_same_recipe_is_never_computed_twice(pipe, engine):
    first = events(engine.submit(Recipe(prompt="a cat"), "one"))[-1]
    again = events(engine.submit(Recipe(prompt="a cat ", width=128, model="fake-128"), "two"))
    assert len(pipe.log) == 20 and len(again) == 1 and again[0].cached and again[0].value is first.value


def test_the_cache_is_bounded_in_bytes_and_forgets_the_oldest():
    pipe = FakePipeline()
    cache = Cache(3 * 3 * 128 * 128)

    def made(prompt, latents):
        return Run(pipe.complete(Recipe(prompt=prompt)), tuple(pipe.pictures(latents)), (), 40, 1.0)

    recipes = [pipe.complete(Recipe(prompt=f"{i}")) for i in range(5)]
    for recipe in recipes:
        cache.put(made(recipe.prompt, pipe.latents(recipe)))
        cache.get(recipes[0])  # used again and again: stays
    assert [cache.get(recipe) is not None for recipe in recipes] == [True, False, False, True, True]
    cache.put(made("huge", torch.ones(9, 16, 16, 3)))
    assert cache.get(recipes[0]) is not None


def test_one_visitor_has_at_most_one_running_and_one_waiting(pipe, engine):
    pipe.seconds = 0.05
    jobs = [engine.submit(Recipe(prompt="1"), "greedy")]
    eventually(lambda: pipe.log)
    jobs.append(engine.submit(Recipe(prompt="2"), "greedy"))
    with pytest.raises(UserError, match="waiting already"):
        engine.submit(Recipe(prompt="3"), "greedy")
    jobs.append(engine.submit(Recipe(prompt="4"), "another"))
    assert all(isinstance(events(job)[-1], Done) for job in jobs)


def test_a_full_house_says_so():
    engine = Engine(FakePipeline(), most_waiting=2)
    try:
        with occupied(engine):
            for name in "12":
                engine.submit(Recipe(prompt=name), name)
            with pytest.raises(UserError, match="2 people are waiting already"):
                engine.submit(Recipe(prompt="3"), "3")
    finally:
        engine.close()


def test_fifty_at_once_all_get_their_own_picture(pipe, engine):
    recipes = [Recipe(prompt=f"prompt {i}", seed=i, steps=5) for i in range(50)]

    async def everyone():
        async def one(recipe):
            with engine.submit(recipe, f"visitor {recipe.seed}") as job:
                return [event async for event in job][-1]

        return await asyncio.gather(*map(one, recipes))

    for recipe, done in zip(recipes, asyncio.run(everyone()), strict=True):
        assert done.value.recipe.prompt == recipe.prompt and right(pipe, recipe, done.value.images)


def test_a_reader_whose_loop_is_gone_does_not_hurt_the_worker(pipe, engine):
    pipe.seconds = 0.05
    job = engine.submit(Recipe(prompt="lost", steps=1000), "one")

    async def read_one():
        await anext(aiter(job))
        waiting = asyncio.ensure_future(anext(job))
        await asyncio.sleep(0.01)
        waiting.cancel()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(read_one())
    loop.close()
    assert isinstance(events(engine.submit(Recipe(prompt="next"), "two"))[-1], Done)


def test_closing_tells_everyone_and_ends_the_thread():
    pipe, others = FakePipeline(0.05), set(threading.enumerate())
    engine = Engine(pipe)
    running, waiting = engine.submit(Recipe(prompt="1", steps=500), "1"), engine.submit(Recipe(prompt="2", steps=499), "2")
    eventually(lambda: pipe.log)
    begun = time.perf_counter()
    engine.close()
    assert time.perf_counter() - begun < 2
    assert "engine" not in {thread.name for thread in set(threading.enumerate()) - others}  # other tests' studios go on
    told = events(running)[-1], events(waiting)[-1]
    assert all(isinstance(one, Failed) for one in told) and "was stopped" in told[0].sentence and "had its turn" in told[1].sentence
    with pytest.raises(UserError, match="shutting down"):
        engine.submit(Recipe(prompt="3"), "3")


def test_those_who_wait_with_recipes_that_fit_are_answered_by_one_batch(pipe, engine):
    recipes = [Recipe(prompt=f"prompt {i}", seed=i, gamma=i, batch=1 + i % 2) for i in range(5)]
    other = Recipe(prompt="of another kind", steps=7)
    with occupied(engine):
        jobs = [engine.submit(recipe, f"visitor {i}") for i, recipe in enumerate([*recipes, other])]
    runs = [events(job)[-1].value for job in jobs]
    assert pipe.closed == 2  # five in one batch, the one that did not fit
    for recipe, run in zip([*recipes, other], runs, strict=True):
        assert run.recipe.prompt == recipe.prompt and right(pipe, recipe, run.images)
        assert len(run.steps[0].x) == recipe.batch and run.steps[-1].x_next.equal(pipe.latents(recipe))


def test_in_a_batch_one_may_stop_and_one_may_fail_and_the_others_never_hear_of_it(pipe, engine):
    pipe.seconds = 0.02
    pipe.faults["bad", 10] = UserError("The picture became NaN.")
    with occupied(engine):
        jobs = [engine.submit(Recipe(prompt=prompt), prompt) for prompt in ("good", "bad", "left", "fine")]
    eventually(lambda: pipe.log)
    jobs[2].stop()
    last = [events(job)[-1] for job in jobs]
    assert [type(event) for event in last] == [Done, Failed, Stopped, Done] and last[1].sentence == "The picture became NaN."


def test_other_work_has_its_turn_and_uses_runs_that_are_known(pipe, engine):
    recipe = Recipe(prompt="a cat")
    events(engine.submit(recipe, "one"))
    seen = threading.Event()

    def work():
        known = yield from engine.run(recipe)
        yield "half"
        assert seen.wait(10)  # only the newest event is kept for whoever is late
        new = yield from engine.run(recipe.replace(seed=1))
        return known, new

    async def read():
        found = []
        with engine.compute(work, "one") as job:
            async for event in job:
                found.append(event)
                if event == "half":
                    seen.set()
        return found

    found = asyncio.run(asyncio.wait_for(read(), 20))
    assert "half" in found and any(isinstance(event, Preview) for event in found)
    known, new = found[-1].value
    assert right(pipe, known.recipe, known.images) and new.recipe.seed == 1 and len(pipe.log) == 40


def test_other_work_can_be_stopped_and_may_fail(pipe, engine):
    pipe.seconds = 0.05

    def endless():
        while True:
            yield from engine.run(Recipe(prompt="x", seed=time.monotonic_ns()))

    job = engine.compute(endless, "one")
    eventually(lambda: pipe.log)
    engine.stop("one")
    assert isinstance(events(job)[-1], Stopped)

    def broken():
        yield 1
        raise UserError("This cannot be.")

    assert events(engine.compute(broken, "one"))[-1] == Failed("This cannot be.")
    assert isinstance(events(engine.submit(Recipe(prompt="next"), "two"))[-1], Done)


def test_a_clock_that_jumps_changes_no_estimate_and_no_duration(pipe, engine, monkeypatch):
    jumps = itertools.cycle([4e9, 0.0, 2e9])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    pipe.seconds = 0.02
    learnt = events(engine.submit(Recipe(prompt="to learn the speed", steps=10), "zero"))[-1].value
    running = engine.submit(Recipe(prompt="running", steps=30), "one")
    seen = events(engine.submit(Recipe(prompt="waiting", steps=31), "two"))
    told = [event.seconds for event in seen if isinstance(event, Queued) and event.seconds is not None]
    assert 0.2 <= learnt.seconds < 5 and told and all(0 <= seconds < 5 for seconds in told)
    assert 0.6 <= seen[-1].value.seconds < 5 and isinstance(events(running)[-1], Done)
