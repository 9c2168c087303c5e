"""One worker thread owns the device; everybody else hands it a Recipe, or a piece of work, and awaits what comes of it.

`submit` and `compute` give a Job (see jobs.py). One job's stop, fault or lost reader ends that job within one step and touches
no other. Recipes that wait and differ only in words, guidance scale and seed are run as one batch; a finished run is remembered
with its steps, bounded in bytes, so that nothing is ever computed twice.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from core.errors import UserError
from core.recipe import Recipe
from studio.jobs import Done, Failed, Job, Preview, Queued, Run, Stopped, Work

if TYPE_CHECKING:
    from core.pipeline import Pictures, TextToImage
    from core.sampling import Step

log = logging.getLogger(__name__)

PREVIEW_EVERY = 0.25  # seconds: at most four frames a second
MOST_WAITING = 128
CACHE_BYTES = 256 << 20
TOGETHER = {"cpu": 8 * 128 * 128, "cuda": 8 * 512 * 512}  # pixels that are run as one batch
USUAL = 20 * 128 * 128.0  # steps × pixels of one picture: what a piece of work is taken to cost if it does not say
DIFFERING = {"prompt": "", "negative": "", "gamma": 0.0, "seed": 0, "batch": 1}  # what a batch may differ in
TOO_BIG = "This is too big for this machine's memory: try a smaller size or fewer pictures at once."
CLOSED = "The studio was shut down before this had its turn; start it again."


class Engine:
    """The loaded model, its worker thread, the jobs that wait, and the runs that are known already."""

    def __init__(self, pipe: TextToImage, cache_bytes: int = CACHE_BYTES, most_waiting: int = MOST_WAITING) -> None:
        self.pipe, self._most_waiting = pipe, most_waiting
        self._cache = Cache(cache_bytes)
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._change = threading.Condition()
        self._closed = False
        self._rate: float | None = None  # seconds a unit of cost (step × pixel), smoothed
        self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
        self._worker.start()

    # ------------------------------------------------------------------------------------------------- for everybody

    def submit(self, recipe: Recipe, visitor: str, pictures: Pictures | None = None) -> Job:
        """Queue a recipe, or answer it from the cache; its Done holds a Run. UserError if this visitor waits already."""
        recipe = self.pipe.complete(recipe)
        if known := self._cache.get(recipe):
            job = Job(visitor, 0, recipe)
            job.put(Done(known, cached=True))
            return job
        if recipe.image is not None:
            return self._queue(Job(visitor, cost(recipe), recipe, lambda: self.run(recipe, pictures)))
        return self._queue(Job(visitor, cost(recipe), recipe, kind=recipe.replace(**DIFFERING).digest))

    def compute(self, work: Work, visitor: str, cost: float = USUAL) -> Job:
        """Queue a generator function that needs the device: what it yields are events, what it returns is in Done."""
        return self._queue(Job(visitor, cost, work=work))

    def stop(self, visitor: str) -> None:
        """Stop all that this visitor has running or waiting."""
        with self._change:
            running, waiting = list(self._running), list(self._waiting)
        for job in running + waiting:
            if job.visitor == visitor:
                job.stop()
                if job in waiting:
                    job.put(Stopped(0, job.steps))

    def close(self, seconds: float = 8.0) -> None:
        """Take no more jobs, end the running ones within a step and the waiting ones with a sentence."""
        with self._change:
            self._closed = True
            waiting, running = list(self._waiting), list(self._running)
            self._waiting.clear()
            self._change.notify()
        for job in waiting:
            job.put(Failed(CLOSED))
        for job in running:
            job.stop()
        self._worker.join(seconds)

    # ------------------------------------------------------------------------------------------------- for work

    def run(self, recipe: Recipe, pictures: Pictures | None = None) -> Generator[Preview | None, None, Run]:
        """A recipe inside a piece of work: `run = yield from engine.run(recipe)`, at once if it is known."""
        recipe = self.pipe.complete(recipe)
        if known := self._cache.get(recipe):
            return known
        runs = self._together([recipe], pictures)
        while True:
            try:
                _, previews = next(runs)
            except StopIteration as end:
                return end.value[0]
            yield previews[0] if previews else None

    # ------------------------------------------------------------------------------------------------- the worker

    def _queue(self, job: Job) -> Job:
        with self._change:
            if self._closed:
                raise UserError("The studio is shutting down; start it again, and your settings are still here.")
            waiting = [other for other in self._waiting if not other.stopped]
            if any(other.visitor == job.visitor for other in waiting):
                raise UserError("You have something waiting already; stop it, or let it finish first.")
            if len(waiting) >= self._most_waiting:
                raise UserError(f"{len(waiting)} people are waiting already; try again in a minute.")
            self._waiting.append(job)
            self._change.notify()
        self._tell_positions()
        return job

    def _work(self) -> None:
        """The worker thread: one group of jobs after the other, whatever happens to each."""
        while True:
            with self._change:
                while not self._waiting and not self._closed:
                    self._change.wait()
                if self._closed:
                    return
                jobs = self._running = self._next_group()
            self._tell_positions()
            try:
                self._answer(jobs)
            finally:
                self._running = []

    def _next_group(self) -> list[Job]:
        """The job whose turn it is, with those behind it that can be run in the same batch."""
        first = self._waiting.popleft()
        group, room = [first], TOGETHER.get(self.pipe.device.type, 0) - pixels(first)
        if first.kind is not None:
            for job in list(self._waiting):
                if job.kind == first.kind and pixels(job) <= room and not job.stopped:
                    group.append(job)
                    room -= pixels(job)
                    self._waiting.remove(job)
        return group

    def _answer(self, jobs: Sequence[Job]) -> None:
        """Bring every job of a group to its last event; a fault in a batch is found by running its jobs alone."""
        try:
            if jobs[0].work is None:
                self._answer_recipes(jobs)
            else:
                self._answer_work(jobs[0], jobs[0].work)
        except BaseException as error:  # whatever it is, the next job is not to blame
            if len(jobs) == 1:
                jobs[0].put(self._failed(error))
                return
            for job in jobs:
                self._answer([job])

    def _answer_recipes(self, jobs: Sequence[Job]) -> None:
        live, recipes = [], []
        for job in jobs:
            assert job.recipe is not None
            if known := self._cache.get(job.recipe):
                job.put(Done(known, cached=True))
            elif job.stopped:
                job.put(Stopped(0, job.steps))
            else:
                live.append(job)
                recipes.append(job.recipe)
        if not live:
            return
        runs = self._together(recipes)
        try:
            while any(not job.ended for job in live):
                done, previews = next(runs)
                for index, job in enumerate(live):
                    if job.stopped:
                        job.put(Stopped(done, job.steps))
                    elif previews:
                        job.put(previews[index])
        except StopIteration as end:
            for job, run in zip(live, end.value, strict=True):
                job.put(Done(run))
        finally:
            runs.close()

    def _answer_work(self, job: Job, work: Work) -> None:
        running = work()
        last = 0
        try:
            while not job.stopped:
                event = next(running)
                last = getattr(event, "step", last)
                if event is not None:
                    job.put(event)
            job.put(Stopped(last, job.steps))
        except StopIteration as end:
            job.put(Done(end.value))
        finally:
            running.close()

    def _together(
        self, recipes: Sequence[Recipe], pictures: Pictures | None = None
    ) -> Generator[tuple[int, list[Preview]], None, list[Run]]:
        """Run recipes as one batch: after every step how many are done and, four times a second, a Preview of each."""
        begun, shown = time.perf_counter(), -PREVIEW_EVERY
        steps: list[Step] = []
        run = self.pipe.run_many(recipes, pictures)
        try:
            for step in run:
                steps.append(step)
                done, seconds, previews = len(steps), time.perf_counter() - begun, []
                if seconds - shown >= PREVIEW_EVERY or done == recipes[0].steps:
                    shown, images = seconds, self.pipe.preview(step.x0)
                    at = (step.nfe, step.nxt.t, step.nxt.nsr, seconds)
                    previews = [Preview(tuple(images[part]), done, recipes[0].steps, *at) for part in parts(recipes)]
                yield done, previews
        finally:
            run.close()
        decoded = self.pipe.pictures(steps[-1].x_next)
        seconds = time.perf_counter() - begun
        self._learn(seconds, sum(map(cost, recipes)))
        runs = []
        for recipe, part in zip(recipes, parts(recipes), strict=True):
            kept = tuple(step.map(lambda x, part=part: x[part].to("cpu", copy=True)) for step in steps)
            notes = tuple(self.pipe.notes(recipe))
            runs.append(Run(recipe, tuple(decoded[part]), kept, steps[-1].nfe, seconds, notes))
            self._cache.put(runs[-1])
        return runs

    def _failed(self, error: BaseException) -> Failed:
        """What to say: a sentence of ours, too little memory, or a fault that nobody foresaw."""
        if isinstance(error, UserError):
            return Failed(str(error))
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "alloc" in str(error).lower():
            self._cache.clear()
            log.warning("out of memory: %s", error)
            return Failed(TOO_BIG)
        code = secrets.token_hex(3).upper()
        log.error("unexpected fault, code %s", code, exc_info=error)
        return Failed(f"Something went wrong, code {code}: the studio's log holds the trace. You can try again.", code)

    def _learn(self, seconds: float, cost: float) -> None:
        rate = seconds / cost
        self._rate = rate if self._rate is None else 0.7 * self._rate + 0.3 * rate

    def _tell_positions(self) -> None:
        """Tell everyone who waits which place they have and for how long, as far as the past tells."""
        with self._change:
            running, waiting = list(self._running), [job for job in self._waiting if not job.stopped]
        ahead = sum(job.cost for job in running)
        for place, job in enumerate(waiting):
            job.put(Queued(place + 1 if running else place, None if self._rate is None else self._rate * ahead))
            ahead += job.cost


def cost(recipe: Recipe) -> float:
    """What a recipe costs: steps × pixels."""
    return recipe.steps * (recipe.width or 128) * (recipe.height or 128) * recipe.batch


def pixels(job: Job) -> float:
    return job.cost / max(1, job.steps)


def parts(recipes: Sequence[Recipe]) -> list[slice]:
    """Which rows of the batch belong to each recipe."""
    found, start = [], 0
    for recipe in recipes:
        found.append(slice(start, start + recipe.batch))
        start += recipe.batch
    return found


class Cache:
    """Finished runs by digest, the least recently used leaving first when their bytes exceed the bound."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._held = most_bytes, 0
        self._known: OrderedDict[str, Run] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, recipe: Recipe) -> Run | None:
        with self._lock:
            found = self._known.get(recipe.digest)
            if found is not None:
                self._known.move_to_end(recipe.digest)
            return found

    def put(self, run: Run) -> None:
        """Remember a run; one whose steps alone exceed the bound is remembered without them."""
        if run.bytes > self._most:
            run = replace(run, steps=())
        with self._lock:
            if run.recipe.digest in self._known or run.bytes > self._most:
                return
            self._known[run.recipe.digest] = run
            self._held += run.bytes
            while self._held > self._most:
                self._held -= self._known.popitem(last=False)[1].bytes

    def clear(self) -> None:
        with self._lock:
            self._known.clear()
            self._held = 0
