"""What is asked of the engine and what comes of it: a Job is an asynchronous iterator of events, the last one final.

Nothing is locked while anybody waits: the worker writes the latest event into the job and wakes its reader, who may be slow,
gone or on another thread. A slow reader skips events, but never the last one.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from core.errors import UserError
from core.recipe import Recipe

if TYPE_CHECKING:
    from PIL.Image import Image

    from core.sampling import Step

LONG = "This run is too long to be kept with its steps: take fewer steps or a smaller picture."

Work = Callable[[], Generator[Any, None, Any]]  # yields what to show meanwhile, returns what it came to


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
class Run:
    """A finished run: the recipe with everything filled in that it left to the model, its pictures, and every step."""

    recipe: Recipe
    images: tuple[Image, ...]
    steps: tuple[Step, ...] = field(repr=False)  # asyncio writes out what its tasks return: seconds, for tensors
    nfe: int
    seconds: float
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def bytes(self) -> int:
        """What it takes to remember it: its pixels and the tensors of its steps."""
        pixels = sum(3 * image.width * image.height for image in self.images)
        return pixels + sum(step.nbytes for step in self.steps)

    def with_steps(self) -> Self:
        """This run; raises UserError where it was too long to be remembered with its steps."""
        if not self.steps:
            raise UserError(LONG)
        return self


@dataclass(frozen=True)
class Done:
    """What the work came to: a Run for a recipe, whatever the work returned otherwise; `cached`: it was known already."""

    value: Any
    cached: bool = False


@dataclass(frozen=True)
class Stopped:
    """Ended on request after `step` of `steps` (of a recipe); the last event before is all there is."""

    step: int
    steps: int


@dataclass(frozen=True)
class Failed:
    """A sentence for the person who asked; `code` finds the trace of an unexpected fault in the log."""

    sentence: str
    code: str | None = None


LAST = (Done, Stopped, Failed)


class Job:
    """What became of one recipe, or of one piece of work: iterate inside `with`; leaving the block stops it.

    Recipes of the same `kind` may be run as one batch.
    """

    def __init__(
        self, visitor: str, cost: float, recipe: Recipe | None = None, work: Work | None = None, kind: str | None = None
    ) -> None:
        self.visitor, self.cost, self.recipe, self.work, self.kind = visitor, cost, recipe, work, kind
        self.done = 0  # steps, as far as anybody counts them
        self._lock = threading.Lock()
        self._event: Any = None
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
    def address(self) -> str:
        """Where the visitor comes from: what stands behind the @ of its name."""
        return self.visitor.rpartition("@")[2]

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def steps(self) -> int:
        return 0 if self.recipe is None else self.recipe.moves

    def put(self, event: Any) -> None:
        """Make this the latest event."""
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

    async def __anext__(self) -> Any:
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
