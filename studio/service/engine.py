"""One worker thread owns the device; everybody else hands it a Recipe, or a piece of work, and awaits what comes of it.

`submit` and `compute` give a Job (see jobs.py). One job's stop, fault or lost reader ends that job within one step and touches
no other. Recipes that wait and differ only in words, guidance scale and seed are run as one batch; a finished run is remembered
with its steps, bounded in bytes, so that nothing is ever computed twice. Between two steps of a long job those that cost much
less have their turn, for as much time as it had itself (see turns.py).
"""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from core.errors import UserError
from core.recipe import Recipe
from studio.service.cache import Cache
from studio.service.jobs import Done, Failed, Job, Preview, Queued, Run, Stopped, Work
from studio.service.memory import check_room
from studio.service.turns import forecast, passes, turns

if TYPE_CHECKING:
    from core.nets.inception import InceptionV3
    from core.pipeline import Pictures, TextToImage
    from core.sampling import Step

log = logging.getLogger(__name__)

PREVIEW_EVERY = 0.25  # seconds: at most four frames a second
TELL_EVERY = 2.0  # seconds after which those who wait hear their place again
MOST_WAITING = 64  # as many handlers as Gradio runs at once; of those that ask beyond, 128 wait in its own queue, and hear that
MOST_AT_ONE_ADDRESS = 40  # of those who wait: a class behind one router, but not everybody's places
CACHE_BYTES = 256 << 20
TOGETHER = {"cpu": 8 * 128 * 128, "cuda": 8 * 512 * 512}  # pixels that are run as one batch
USUAL = 20 * 128 * 128.0  # steps × pixels of one picture: what a piece of work is taken to cost if it does not say
DIFFERING = {"prompt": "", "negative": "", "gamma": 0.0, "seed": 0, "batch": 1}  # what a batch may differ in
TOO_BIG = "This is too big for this machine's memory: try a smaller size or fewer pictures at once."
CLOSED = "The studio was shut down before this had its turn; start it again."
CLOSING = "The studio is shut down, so this was stopped; start it again, and your settings are still here."


class Engine:
    """The loaded model and who judges its pictures, its worker thread, the jobs that wait, and the runs that are known already."""

    def __init__(
        self, pipe: TextToImage, cache_bytes: int = CACHE_BYTES, most_waiting: int = MOST_WAITING,
        inception: InceptionV3 | None = None, shared: bool = True,
    ) -> None:  # fmt: skip
        self.pipe, self.inception, self.shared, self._most_waiting = pipe, inception, shared, most_waiting
        self._cache = Cache(cache_bytes)
        self._waiting: list[Job] = []
        self._running: list[list[Job]] = []  # the group that is served and, while that makes way, the one that passes it
        self._change = threading.Condition()
        self._closed = False
        self._rate: float | None = None  # seconds a unit of cost (step × pixel), smoothed
        self._away = 0.0  # seconds that long jobs made way for others
        self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
        self._worker.start()

    # ------------------------------------------------------------------------------------------------- for everybody

    def submit(self, recipe: Recipe, visitor: str, pictures: Pictures | None = None) -> Job:
        """Queue a recipe, or answer it from the cache; its Done holds a Run. UserError for too much, or two at once."""
        recipe = self.pipe.complete(recipe)
        if known := self._cache.get(recipe):
            job = Job(visitor, 0, recipe)
            job.put(Done(known, cached=True))
            return job
        check_room(self.pipe, [recipe], self._forget)
        if recipe.image is not None:
            return self._queue(Job(visitor, cost(recipe), recipe, lambda: self.run(recipe, pictures)))
        return self._queue(Job(visitor, cost(recipe), recipe, kind=recipe.replace(**DIFFERING).digest))

    def compute(self, work: Work, visitor: str, cost: float = USUAL) -> Job:
        """Queue a generator function that needs the device: what it yields are events, what it returns is in Done."""
        return self._queue(Job(visitor, cost, work=work))

    def room_for(self, width: int, height: int) -> None:
        """Refuse work on a picture of this size where one step of a run needs more memory than is free; raises UserError."""
        width, height = (max(16, 8 * math.ceil(side / 8)) for side in (width, height))  # as a recipe may have them
        check_room(self.pipe, [Recipe(prompt="", steps=1, width=width, height=height)], self._forget)

    def stop(self, visitor: str) -> None:
        """Stop all that this visitor has running or waiting; what does not run just now ends at once."""
        with self._change:
            running = [job for group in self._running for job in group]
            active, waiting = self._running[-1] if self._running else [], list(self._waiting)
        for job in running + waiting:
            if job.visitor == visitor:
                job.stop()
                if job not in active:
                    job.put(Stopped(job.done, job.steps))

    def close(self, seconds: float = 8.0) -> None:
        """Take no more jobs, and end all there are with a sentence, the running ones within a step."""
        with self._change:
            self._closed = True
            waiting, running = list(self._waiting), [job for group in self._running for job in group]
            self._waiting.clear()
            self._change.notify()
        for job in waiting:
            job.put(Failed(CLOSED))
        for job in running:
            job.put(Failed(CLOSING))
            job.stop()
        self._worker.join(seconds)

    # ------------------------------------------------------------------------------------------------- for work

    def run(self, recipe: Recipe, pictures: Pictures | None = None) -> Generator[Preview | None, None, Run]:
        """A recipe inside a piece of work: `run = yield from engine.run(recipe)`, at once if it is known."""
        beside = self.run_beside([recipe], pictures)
        while True:
            try:
                previews = next(beside)
            except StopIteration as end:
                return end.value[0]
            yield next(iter(previews.values()), None)

    def run_with_steps(self, recipe: Recipe, pictures: Pictures | None = None) -> Generator[Preview | None, None, Run]:
        """`run`, for work that looks into its steps; raises UserError where it was too long to be remembered with them."""
        return (yield from self.run(recipe, pictures)).with_steps()

    def run_beside(
        self, recipes: Sequence[Recipe], pictures: Pictures | None = None
    ) -> Generator[dict[Recipe, Preview], None, list[Run]]:
        """Recipes that differ only in words, scale and seed as one batch inside a piece of work; what is known is not run."""
        recipes = [self.pipe.complete(recipe) for recipe in recipes]
        found = {recipe: known for recipe in recipes if (known := self._cache.get(recipe))}
        new = [recipe for recipe in dict.fromkeys(recipes) if recipe not in found]
        if new:
            runs = self._together(new, pictures)
            try:
                while True:
                    yield dict(zip(new, next(runs)[1], strict=False))  # most steps are not shown
            except StopIteration as end:
                found |= dict(zip(new, end.value, strict=True))
        return [found[recipe] for recipe in recipes]

    # ------------------------------------------------------------------------------------------------- the worker

    def _queue(self, job: Job) -> Job:
        with self._change:
            if self._closed:
                raise UserError("The studio is shutting down; start it again, and your settings are still here.")
            waiting = [other for other in self._waiting if not other.stopped]
            at_work = [other for group in self._running for other in group if not other.stopped and not other.ended]
            if any(other.visitor == job.visitor for other in waiting):
                raise UserError("You have something waiting already; stop it, or let it finish first.")
            if sum(other.visitor == job.visitor for other in at_work) > 1:  # a long one, and a short one that passes it
                raise UserError("You have two things at work already; stop them, or let one finish first.")
            if len(waiting) >= self._most_waiting:
                raise UserError(f"{len(waiting)} people are waiting already; try again in a minute.")
            if sum(other.address == job.address for other in waiting) >= MOST_AT_ONE_ADDRESS:
                raise UserError(f"{MOST_AT_ONE_ADDRESS} people at your address are waiting already; try again in a minute.")
            self._waiting.append(job)
            self._change.notify()
        self._tell_positions()
        return job

    def _work(self) -> None:
        """The worker thread: one group of jobs after the other, whatever happens to each."""
        import torch

        torch.get_num_threads()  # a thread takes the number that holds when it first asks: before `one_thread` sets 1 elsewhere
        while True:
            with self._change:
                while not self._waiting and not self._closed:
                    self._change.wait()
                if self._closed:
                    return
            self._serve()

    def _serve(self, within: Sequence[Job] = ()) -> bool:
        """Bring the next group to its end; `within` a long job only such as may pass it. False if there is none."""
        with self._change:
            gone = [job for job in self._waiting if job.stopped]
            self._waiting = [job for job in self._waiting if not job.stopped]
            groups = turns([job for job in self._waiting if not within or passes(job, within)], self._room)
            group = groups[0] if groups else []
            self._waiting = [job for job in self._waiting if job not in group]
            self._running += [group] if group else []
        for job in gone:
            job.put(Stopped(0, job.steps))
        if not group:
            return False
        self._tell_positions()
        try:
            self._answer(group)
        finally:
            self._running = self._running[:-1]
        return True

    def _make_way(self, jobs: Sequence[Job]) -> Iterator[None]:
        """Between two steps of a long job: a turn for those that cost much less, and then as much time for itself."""
        until = told = time.perf_counter()
        while True:
            now = time.perf_counter()
            if self._waiting and now >= until and len(self._running) == 1 and self._serve(within=jobs):
                took = time.perf_counter() - now
                self._away += took
                until = now + 2 * took
            elif self._waiting and now - told >= TELL_EVERY:
                told = now
                self._tell_positions()
            yield

    @property
    def _room(self) -> float:
        return TOGETHER.get(self.pipe.device.type, 0)

    def _now(self) -> float:
        """Seconds on a clock that stands still for a job while others pass it."""
        return time.perf_counter() - self._away

    def _answer(self, jobs: Sequence[Job]) -> None:
        """Bring every job of a group to its last event; a fault in a batch is found by running its jobs alone."""
        try:
            if jobs[0].work is None:
                self._answer_recipes(jobs)
            else:
                self._answer_work(jobs[0], jobs[0].work)
            return
        except BaseException as error:  # whatever it is, the next job is not to blame
            failed, short = self._failed(error) if len(jobs) == 1 else None, out_of_memory(error)
        if short:  # only now is the error gone, and with it the tensors of what it broke off
            self._forget()
        if failed is not None:
            jobs[0].put(failed)
            return
        for job in jobs:
            self._answer([job])

    def _answer_recipes(self, jobs: Sequence[Job]) -> None:
        recipes: list[Recipe] = []  # each once, however many want it
        live: list[tuple[Job, int]] = []
        for job in jobs:
            assert job.recipe is not None
            if known := self._cache.get(job.recipe):
                job.put(Done(known, cached=True))
            elif job.stopped:
                job.put(Stopped(0, job.steps))
            else:
                recipes += [] if job.recipe in recipes else [job.recipe]
                live.append((job, recipes.index(job.recipe)))
        if not live:
            return
        runs, way = self._together(recipes), self._make_way(jobs)
        try:
            while any(not job.ended for job, _ in live):
                done, previews = next(runs)
                for job, index in live:
                    job.done = done
                    if previews:
                        job.put(previews[index])
                next(way)
                for job, _ in live:
                    if job.stopped:
                        job.put(Stopped(done, job.steps))
        except StopIteration as end:
            for job, index in live:
                job.put(Done(end.value[index]))
        finally:
            runs.close()

    def _answer_work(self, job: Job, work: Work) -> None:
        running, way = work(), self._make_way([job])
        try:
            while not job.stopped:
                event = next(running)
                job.done = getattr(event, "step", job.done)
                if event is not None:
                    job.put(event)
                next(way)
            job.put(Stopped(job.done, job.steps))
        except StopIteration as end:
            job.put(Done(end.value))
        finally:
            running.close()

    def _together(
        self, recipes: Sequence[Recipe], pictures: Pictures | None = None
    ) -> Generator[tuple[int, list[Preview]], None, list[Run]]:
        """Run recipes as one batch: after every step how many are done and, four times a second, a Preview of each."""
        check_room(self.pipe, recipes, self._forget)
        begun, shown = self._now(), -PREVIEW_EVERY
        steps: list[Step] = []
        trunk = self._trunk(recipes)
        run = self.pipe.run_many(recipes, pictures, trunk)
        try:
            for step in run:
                steps.append(step)
                done, seconds, previews = len(steps), self._now() - begun, []
                if seconds - shown >= PREVIEW_EVERY or done == recipes[0].moves:
                    shown, images = seconds, self.pipe.preview(step.x0)
                    at = (step.nfe, step.nxt.t, step.nxt.nsr, seconds)
                    previews = [Preview(tuple(images[part]), done, recipes[0].moves, *at) for part in parts(recipes)]
                yield done, previews
        finally:
            run.close()
        decoded = self.pipe.pictures(steps[-1].x_next)
        seconds = self._now() - begun
        self._learn(seconds, sum(map(cost, recipes)) * (1 - len(trunk) / len(steps)))
        runs = []
        for recipe, part in zip(recipes, parts(recipes), strict=True):
            kept = tuple(step.map(lambda x, part=part: x[part].to("cpu", copy=True)) for step in steps)
            notes = tuple(self.pipe.notes(recipe))
            runs.append(Run(recipe, tuple(decoded[part]), kept, steps[-1].nfe, seconds, notes))
            self._cache.put(runs[-1])
        return runs

    def _trunk(self, recipes: Sequence[Recipe]) -> Sequence[Step]:
        """The steps before the branch of a recipe on its own, where the run that it leaves is known."""
        recipe = recipes[0]
        if recipe.branch is None or len(recipes) > 1:
            return ()
        known = self._cache.get(recipe.replace(branch=None))
        return known.steps[: recipe.branch.step] if known else ()

    def _failed(self, error: BaseException) -> Failed:
        """What to say: a sentence of ours, too little memory, or a fault that nobody foresaw."""
        if isinstance(error, UserError):
            return Failed(str(error))
        if out_of_memory(error):
            log.warning("out of memory: %s", error)
            return Failed(TOO_BIG)
        code = secrets.token_hex(3).upper()
        log.error("unexpected fault, code %s", code, exc_info=error)
        return Failed(f"Something went wrong, code {code}: the studio's log holds the trace. You can try again.", code)

    def _forget(self) -> None:
        """Give back what is only remembered."""
        self._cache.clear()
        if self.pipe.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()

    def _learn(self, seconds: float, cost: float) -> None:
        rate = seconds / cost
        self._rate = rate if self._rate is None else 0.7 * self._rate + 0.3 * rate

    def _tell_positions(self) -> None:
        """Tell everyone who waits which place they have and for how long, as far as the past tells."""
        with self._change:
            running, waiting = list(self._running), [job for job in self._waiting if not job.stopped]
        for place, (job, ahead) in enumerate(forecast(running, waiting, self._room)):
            job.put(Queued(place + 1 if running else place, None if self._rate is None else self._rate * ahead))


def out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory, on whichever device."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "alloc" in str(error).lower()


def cost(recipe: Recipe) -> float:
    """What a recipe costs: moves × pixels."""
    return recipe.moves * (recipe.width or 128) * (recipe.height or 128) * recipe.batch


def parts(recipes: Sequence[Recipe]) -> list[slice]:
    """Which rows of the batch belong to each recipe."""
    found, start = [], 0
    for recipe in recipes:
        found.append(slice(start, start + recipe.batch))
        start += recipe.batch
    return found
