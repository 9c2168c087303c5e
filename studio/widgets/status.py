"""A job's events as what a page shows: the view so far, and beside it one line that says how it stands.

A view is a table for the page's script; its entry "status" is {state, line, part}. Whatever a job showed last stays when it
is stopped or fails.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from studio.figures.run import duration
from studio.service.jobs import Done, Failed, Job, Preview, Queued, Stopped

View = dict[str, Any]


@dataclass(frozen=True)
class Partial:
    """What a piece of work can show already: entries of the view, a line, and which part of the work is done."""

    view: View
    line: str
    part: float
    step: int = 0


async def followed(job: Job, view: View, show: Callable[[Any], View] = lambda value: value) -> AsyncIterator[tuple[Any, View]]:
    """Every event with the view after it; `show` makes entries of the view of what the work yields and returns."""
    async for event in job:
        if isinstance(event, Partial):
            view = view | event.view | {"status": status("running", event.line, event.part)}
        elif isinstance(event, Done):  # the view may bring a last line
            view = view | show(event.value)
            view = view | {"status": status("done", view.pop("line", ""), 1)}
        elif isinstance(event, (Queued, Preview, Stopped, Failed)):
            view = view | {"status": stated(event, view.get("status", {}))}
        else:
            view = view | show(event)
        yield event, view


def status(state: str, line: str, part: float = 0.0) -> View:
    """How a job stands: idle, queued, running, done, stopped or failed."""
    return {"state": state, "line": line, "part": round(part, 3)}


def stated(event: Queued | Preview | Stopped | Failed, before: View) -> View:
    """An event of any job as a line."""
    if isinstance(event, Queued):
        place = "Next in line" if event.position <= 1 else f"Number {event.position} in line"
        wait = "" if event.seconds is None else f", about {duration(event.seconds)}"
        return status("queued", "Starting …" if not event.position else f"{place}{wait} …")
    if isinstance(event, Preview):
        numbers = f"step {event.step}/{event.steps} · {event.nfe} network evaluations (NFE) · t = {event.t:.0f}"
        return status("running", f"{numbers} · {duration(event.seconds)}", event.step / event.steps)
    if isinstance(event, Stopped):
        where = f" at {event.step}/{event.steps}" if event.steps else ""
        return status("stopped", f"Stopped{where}. What was finished stays.", before.get("part", 0))
    return status("failed", event.sentence, before.get("part", 0))
