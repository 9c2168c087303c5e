"""One worker thread owns the device; everybody else hands it a Recipe and awaits what comes of it.

`submit` gives a Job, an asynchronous iterator of Queued and Preview, ending in Done, Stopped or Failed. Nothing is
locked while anybody waits: the worker writes the latest event into the job and wakes its reader, who may be slow, gone
or on another thread. One job's stop, fault or lost reader ends that job within one step and touches no other.

A finished recipe is remembered (in bytes, not in number), so that the same question is never computed twice.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from core.errors import UserError
from core.recipe import Recipe

if TYPE_CHECKING:
    from PIL.Image import Image

    from core.pipeline import TextToImage
    from core.sampling import Step

log = logging.getLogger(__name__)

PREVIEW_EVERY = 0.25  # seconds: at most four frames a second
MOST_WAITING = 128
CACHE_BYTES = 128 << 20


@dataclass(frozen=True)
class Queued:
    """Waiting: `position` 1 is next; `seconds` until it begins, None while nothing is known about speed."""

    position: int
    seconds: float | None


@dataclass(frozen=True)
class Preview:
    """What the prediction of the clean picture looks like after a step, roughly, and where the run stands."""

    images: tuple[Image, ...]
    step: int  # done, from 1
    steps: int
    nfe: int
    t: float
    nsr: float
    seconds: float


@dataclass(frozen=True)
class Done:
    """The finished pictures, and the recipe with everything filled in that it had left to the model."""

    recipe: Recipe
    images: tuple[Image, ...]
    nfe: int
    seconds: float
    notes: tuple[str, ...] = ()
    cached: bool = False


@dataclass(frozen=True)
class Stopped:
    """Ended on request after `step` of `steps`; the last Preview is all there is."""

    step: int
    steps: int


@dataclass(frozen=True)
class Failed:
    """A sentence for the person who asked; `code` finds the trace of an unexpected fault in the log."""

    sentence: str
    code: str | None = None


Event = Queued | Preview | Done | Stopped | Failed
LAST = (Done, Stopped, Failed)


class Job:
    """What became of one recipe: iterate over its events inside `with`; leaving the block stops it."""

    def __init__(self, recipe: Recipe, visitor: str) -> None:
        self.recipe, self.visitor = recipe, visitor
        self._lock = threading.Lock()
        self._event: Event | None = None
        self._ended = self._stopped = False
        self._wake: Callable[[], Any] = lambda: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask for an end within one step; the reader then gets Stopped. Asking twice, or too late, changes nothing."""
        self._stopped = True

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def ended(self) -> bool:
        return self._ended

    def put(self, event: Event) -> None:
        """Make this the latest event: a slow reader skips what it missed, but never the last one."""
        with self._lock:
            if self._ended:
                return
            self._event, self._ended = event, isinstance(event, LAST)
            wake = self._wake
        try:
            wake()
        except RuntimeError:  # the reader's event loop is closed: nobody listens any more
            self.stop()

    def __aiter__(self) -> Self:
        self._read_last = False
        return self

    async def __anext__(self) -> Event:
        if self._read_last:
            raise StopAsyncIteration
        while True:
            loop, arrived = asyncio.get_running_loop(), asyncio.Event()
            with self._lock:
                event, self._event = self._event, None
                if event is None:
                    self._wake = functools.partial(loop.call_soon_threadsafe, arrived.set)
            if event is not None:
                self._read_last = isinstance(event, LAST)
                return event
            await arrived.wait()


class Engine:
    """The loaded model, its worker thread, the jobs that wait, and the pictures that are known already."""

    def __init__(self, pipe: TextToImage, cache_bytes: int = CACHE_BYTES, most_waiting: int = MOST_WAITING) -> None:
        self.pipe, self._most_waiting = pipe, most_waiting
        self._cache = Cache(cache_bytes)
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._change = threading.Condition()
        self._closed = False
        self._rate: float | None = None  # seconds a unit of work (step × pixel), smoothed
        self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
        self._worker.start()

    def submit(self, recipe: Recipe, visitor: str) -> Job:
        """Queue a recipe, or answer it from the cache; UserError if this visitor has a job waiting already."""
        recipe = self.pipe.complete(recipe)
        job = Job(recipe, visitor)
        known = self._cache.get(recipe)
        if known is not None:
            job.put(replace(known, cached=True))
            return job
        with self._change:
            if self._closed:
                raise UserError("The studio is shutting down; start it again, and your settings are still here.")
            waiting = [other for other in self._waiting if not other.stopped]
            if any(other.visitor == visitor for other in waiting):
                raise UserError("You have a picture waiting already; stop it, or let it finish first.")
            if len(waiting) >= self._most_waiting:
                raise UserError(f"{len(waiting)} pictures are waiting already; try again in a minute.")
            self._waiting.append(job)
            self._change.notify()
        self._tell_positions()
        return job

    def stop(self, visitor: str) -> None:
        """Stop all that this visitor has running or waiting."""
        with self._change:
            jobs = [job for job in (self._running, *self._waiting) if job is not None and job.visitor == visitor]
        for job in jobs:
            job.stop()
            if job is not self._running:
                job.put(Stopped(0, job.recipe.steps))

    def close(self, seconds: float = 8.0) -> None:
        """Take no more jobs, end the running one within a step and the waiting ones with a sentence."""
        with self._change:
            self._closed = True
            waiting, running = list(self._waiting), self._running
            self._waiting.clear()
            self._change.notify()
        for job in waiting:
            job.put(Failed("The studio was shut down before this picture had its turn; start it again."))
        if running is not None:
            running.stop()
        self._worker.join(seconds)

    def _work(self) -> None:
        """The worker thread: one job after the other, whatever happens to each."""
        while True:
            with self._change:
                while not self._waiting and not self._closed:
                    self._change.wait()
                if self._closed:
                    return
                job = self._running = self._waiting.popleft()
            self._tell_positions()
            try:
                job.put(self._answer(job))
            except UserError as error:
                job.put(Failed(str(error)))
            except BaseException as error:  # whatever it is, the next job is not to blame
                job.put(self._unexpected(error))
            finally:
                self._running = None

    def _answer(self, job: Job) -> Event:
        """Run one job to its last event."""
        known = self._cache.get(job.recipe)
        if known is not None:
            return replace(known, cached=True)
        if job.stopped:
            return Stopped(0, job.recipe.steps)
        begun = time.perf_counter()
        shown = -PREVIEW_EVERY
        last: Step | None = None
        run = self.pipe.run(job.recipe)
        try:
            for last in run:
                done, seconds = last.index + 1, time.perf_counter() - begun
                if job.stopped:
                    return Stopped(done, job.recipe.steps)
                if seconds - shown >= PREVIEW_EVERY or done == job.recipe.steps:
                    shown = seconds
                    job.put(self._preview(last, done, job.recipe.steps, seconds))
        finally:
            run.close()
        assert last is not None  # a recipe has at least one step
        images = tuple(self.pipe.pictures(last.x_next))
        seconds = time.perf_counter() - begun
        self._learn(seconds, job.recipe)
        done = Done(job.recipe, images, last.nfe, seconds, tuple(self.pipe.notes(job.recipe)))
        self._cache.put(done)
        return done

    def _preview(self, step: Step, done: int, steps: int, seconds: float) -> Preview:
        images = tuple(self.pipe.preview(step.x0))
        return Preview(images, done, steps, step.nfe, step.nxt.t, step.nxt.nsr, seconds)

    def _unexpected(self, error: BaseException) -> Failed:
        """A fault that nobody foresaw, or too little memory, which is foreseen but cannot be told in advance."""
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "alloc" in str(error).lower():
            self._cache.clear()
            log.warning("out of memory: %s", error)
            return Failed("This is too big for this machine's memory: try a smaller size or fewer pictures at once.")
        code = secrets.token_hex(3).upper()
        log.error("unexpected fault, code %s", code, exc_info=error)
        return Failed(f"Something went wrong, code {code}: the studio's log holds the trace. You can try again.", code)

    def _learn(self, seconds: float, recipe: Recipe) -> None:
        rate = seconds / _work_of(recipe)
        self._rate = rate if self._rate is None else 0.7 * self._rate + 0.3 * rate

    def _tell_positions(self) -> None:
        """Tell everyone who waits which place they have and for how long, as far as the past tells."""
        with self._change:
            running, waiting = self._running, [job for job in self._waiting if not job.stopped]
        work = 0.0 if running is None else _work_of(running.recipe)
        for place, job in enumerate(waiting):
            job.put(Queued(place + 1 if running else place, None if self._rate is None else self._rate * work))
            work += _work_of(job.recipe)


def _work_of(recipe: Recipe) -> float:
    return recipe.steps * (recipe.width or 128) * (recipe.height or 128) * recipe.batch


class Cache:
    """Finished recipes by digest, the least recently used leaving first when their pixels exceed the bound."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._held = most_bytes, 0
        self._known: OrderedDict[str, Done] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, recipe: Recipe) -> Done | None:
        with self._lock:
            found = self._known.get(recipe.digest)
            if found is not None:
                self._known.move_to_end(recipe.digest)
            return found

    def put(self, done: Done) -> None:
        with self._lock:
            if done.recipe.digest in self._known or _bytes(done.images) > self._most:
                return
            self._known[done.recipe.digest] = done
            self._held += _bytes(done.images)
            while self._held > self._most:
                self._held -= _bytes(self._known.popitem(last=False)[1].images)

    def clear(self) -> None:
        with self._lock:
            self._known.clear()
            self._held = 0


def _bytes(images: Sequence[Image]) -> int:
    return sum(3 * image.width * image.height for image in images)
