"""Turns: who is run together, what is computed once, and how a long job makes way without being pushed aside."""

import asyncio
import threading

import pytest

from core.errors import UserError
from core.recipe import Recipe
from studio.service import engine as engines
from studio.service.jobs import Done, Failed, Job, Queued, Stopped
from studio.service.turns import forecast, passes, turns
from tests.service.pages import eventually
from tests.studio.fakes import FakePipeline, occupied

ONE = 20 * 128 * 128.0  # the cost of a picture


@pytest.fixture
def pipe():
    return FakePipeline()


def last(job, seconds=30):
    async def read():
        with job:
            return [event async for event in job][-1]

    return asyncio.run(asyncio.wait_for(read(), seconds))


def waiting(prompt, kind="usual", cost=ONE):
    return Job(prompt, cost, Recipe(prompt=prompt), kind=kind)


def race(engine, steps, prompt="race"):
    """A long piece of work: one run after the other."""

    def work():
        for seed in range(steps):
            yield from engine.run(Recipe(prompt=prompt, seed=seed, steps=1))
        return seed + 1

    return work


# ------------------------------------------------------------------------------------------------- who is run together


def test_those_of_one_kind_are_taken_along_while_there_is_room_and_nobody_is_pushed_back():
    jobs = [waiting("a"), waiting("other", kind="else"), waiting("b"), waiting("c"), Job("work", ONE, work=lambda: iter(()))]
    groups = turns(jobs, room=2 * 128 * 128)
    assert [[job.visitor for job in group] for group in groups] == [["a", "b"], ["other"], ["c"], ["work"]]


def test_whoever_wants_the_very_same_recipe_takes_no_room():
    jobs = [waiting("a"), *(waiting("the same") for _ in range(9))]
    assert [len(group) for group in turns(jobs, room=2 * 128 * 128)] == [10]
    assert [len(group) for group in turns(jobs[1:], room=0)] == [9]  # even where nothing is run as a batch


def test_two_who_wait_for_the_same_recipe_are_both_answered_and_it_is_computed_once(pipe, engine):
    with occupied(engine):
        jobs = [engine.submit(Recipe(prompt="wanted by all"), f"{i}") for i in range(3)]
    runs = [last(job).value for job in jobs]
    assert runs[0] is runs[1] is runs[2]
    assert [prompt for prompt, *_ in pipe.log].count("wanted by all") == 20


def test_a_recipe_that_waits_while_the_same_one_runs_is_answered_from_memory(pipe, engine):
    pipe.seconds = 0.02
    running = engine.submit(Recipe(prompt="wanted"), "one")
    eventually(lambda: pipe.log)
    again = engine.submit(Recipe(prompt="wanted"), "two")
    assert last(running).value is last(again).value and len(pipe.log) == 20


# ------------------------------------------------------------------------------------------------- making way


def test_only_what_costs_much_less_passes_and_a_batch_is_not_interrupted_by_its_like():
    picture, long = waiting("a"), Job("race", 30 * ONE, work=lambda: iter(()))
    assert passes(picture, [long]) and not passes(waiting("b", cost=10 * ONE), [long])
    assert not passes(picture, [waiting(f"{i}") for i in range(8)])


def test_a_picture_need_not_wait_for_the_end_of_a_race(pipe, engine):
    pipe.seconds = 0.02
    long = engine.compute(race(engine, 200), "racer", 200 * ONE)
    eventually(lambda: pipe.log)
    done = last(engine.submit(Recipe(prompt="a picture"), "one"))
    assert isinstance(done, Done) and not long.ended
    prompts = [prompt for prompt, *_ in pipe.log]
    first = prompts.index("a picture")
    assert set(prompts[first : first + 20]) == {"a picture"} and prompts.count("race") < 200
    engine.stop("racer")
    assert isinstance(last(long), Stopped)


def test_a_visitors_own_picture_passes_their_own_race_and_a_third_job_has_to_wait(pipe, engine):
    pipe.seconds = 0.02
    long = engine.compute(race(engine, 300), "one", 300 * ONE)
    eventually(lambda: pipe.log)
    picture = engine.submit(Recipe(prompt="a picture", steps=40), "one")
    eventually(lambda: any(prompt == "a picture" for prompt, *_ in pipe.log))
    with pytest.raises(UserError, match="two things at work already"):
        engine.submit(Recipe(prompt="one more"), "one")
    assert isinstance(last(picture), Done) and not long.ended
    assert isinstance(last(engine.submit(Recipe(prompt="one more"), "one")), Done) and not long.ended
    engine.stop("one")
    assert isinstance(last(long), Stopped)


def test_a_long_recipe_makes_way_too_and_comes_to_the_same_end(pipe, engine):
    pipe.seconds = 0.005
    long = engine.submit(Recipe(prompt="a thousand steps", steps=300), "one")
    eventually(lambda: pipe.log)
    assert isinstance(last(engine.submit(Recipe(prompt="short", steps=10), "two")), Done) and not long.ended
    run = last(long).value
    assert len(run.steps) == 300 and run.steps[-1].x_next.equal(pipe.latents(run.recipe))


def test_a_flood_of_pictures_leaves_half_of_the_time_to_the_race(pipe, engine):
    pipe.seconds = 0.01
    long = engine.compute(race(engine, 100), "racer", 100 * ONE)
    over = threading.Event()

    def flood(name):
        count = 0
        while not over.is_set():
            last(engine.submit(Recipe(prompt=f"{name} {count}", steps=5), name))
            count += 1

    crowd = [threading.Thread(target=flood, args=(f"{i}",)) for i in range(3)]
    for one in crowd:
        one.start()
    try:
        assert last(long).value == 100
    finally:
        over.set()
        for one in crowd:
            one.join()
    prompts = [prompt for prompt, *_ in pipe.log]
    end = len(prompts) - prompts[::-1].index("race")
    assert prompts[:end].count("race") == 100 and len(set(prompts[:end])) > 10  # both came on, all along


def test_a_race_that_makes_way_can_be_stopped_at_once(pipe, engine):
    pipe.seconds = 0.02
    long = engine.compute(race(engine, 500), "racer", 500 * ONE)
    eventually(lambda: pipe.log)
    passing = engine.submit(Recipe(prompt="passing", steps=100), "one")
    eventually(lambda: any(prompt == "passing" for prompt, *_ in pipe.log))
    engine.stop("racer")
    assert isinstance(last(long), Stopped) and not passing.ended
    assert isinstance(last(passing), Done)


def test_a_fault_of_what_passes_does_not_touch_the_race(pipe, engine):
    pipe.seconds, pipe.faults["bad", 3] = 0.01, RuntimeError("broken")
    long = engine.compute(race(engine, 60), "racer", 60 * ONE)
    eventually(lambda: pipe.log)
    assert isinstance(last(engine.submit(Recipe(prompt="bad"), "one")), Failed)
    assert last(long).value == 60


def test_the_seconds_of_a_run_are_its_own_and_not_those_of_whoever_passed(pipe, engine):
    pipe.seconds = 0.01
    long = engine.submit(Recipe(prompt="long", steps=100), "one")
    eventually(lambda: pipe.log)
    short = last(engine.submit(Recipe(prompt="short", steps=20), "two")).value
    assert short.seconds > 0.2
    begun = pipe.log.index(("long", 0, 0))
    assert ("short", 0, 19) in pipe.log[begun:]
    seconds = last(long).value.seconds
    alone = last(engine.submit(Recipe(prompt="alone", steps=100), "one")).value.seconds
    assert seconds < alone + 0.8 * short.seconds


# ------------------------------------------------------------------------------------------------- places and limits


def test_the_forecast_counts_what_is_ahead_of_everybody():
    long, passing = Job("race", 40 * ONE, work=lambda: iter(())), waiting("passing", kind="p")
    queue = [Job("next race", 40 * ONE, work=lambda: iter(())), waiting("a"), waiting("b"), waiting("c", kind="c")]
    found = forecast([[long], [passing]], queue, 8 * 128**2)
    told = {job.visitor: (place, ahead / ONE) for place, (job, ahead) in enumerate(found)}
    # a and b begin together when the passing one is through; the long one has as much time as they had before c begins
    assert told == {"a": (0, 1), "b": (1, 1), "c": (2, 5), "next race": (3, 44)}


def test_what_is_done_already_is_no_longer_ahead():
    running = waiting("running")
    running.done = 15
    assert forecast([[running]], [waiting("next")], 0)[0][1] == ONE / 4


def test_those_who_wait_hear_again_as_time_goes_by(pipe, engine, monkeypatch):
    monkeypatch.setattr(engines, "TELL_EVERY", 0.05)
    pipe.seconds = 0.02
    last(engine.submit(Recipe(prompt="to learn the speed"), "one"))
    engine.submit(Recipe(prompt="running", steps=60), "one")

    async def read():
        with engine.submit(Recipe(prompt="waiting", steps=60, sampler="heun"), "two") as job:
            return [event.seconds async for event in job if isinstance(event, Queued) and event.position]

    heard = asyncio.run(read())
    assert len(heard) >= 4 and heard[0] > heard[-1]


def test_invented_names_do_not_fill_the_house_from_one_address(pipe, engine, monkeypatch):
    monkeypatch.setattr(engines, "MOST_AT_ONE_ADDRESS", 3)
    pipe.seconds = 0.05
    engine.submit(Recipe(prompt="running", steps=50), "0@10.0.0.1")
    eventually(lambda: pipe.log)
    for name in "123":
        engine.submit(Recipe(prompt=name, steps=50), f"{name}@10.0.0.1")
    with pytest.raises(UserError, match="3 people at your address are waiting"):
        engine.submit(Recipe(prompt="4", steps=50), "4@10.0.0.1")
    engine.submit(Recipe(prompt="elsewhere", steps=50), "4@10.0.0.2")


def test_out_of_memory_in_a_batch_is_found_by_running_its_jobs_alone(pipe, engine):
    pipe.faults["big", 4] = MemoryError()
    with occupied(engine):
        jobs = [engine.submit(Recipe(prompt=prompt), prompt) for prompt in ("small", "big", "little")]
    ends = [last(job) for job in jobs]
    assert [type(end) for end in ends] == [Done, Failed, Done] and "too big for this machine" in ends[1].sentence
