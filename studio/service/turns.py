"""Whose turn it is: who is run together, who may pass a long job, and how much is ahead of everybody. Pure functions of jobs.

Turns follow the order of asking. Recipes of one kind that wait behind the first are taken along while there is room; whoever
waits for the very same recipe takes no room at all. Between two steps of a long job a short one may pass, whoever asks: a picture
beside one's own race waits no longer than anybody's, and takes the place of what may wait behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

from studio.service.jobs import Job

SHORT = 4  # times less than a job must cost what may pass it


def pixels(job: Job) -> float:
    """What a job holds of the device at any time."""
    return job.cost / max(1, job.steps)


def cost(jobs: Sequence[Job]) -> float:
    """What a group still costs; the same recipe is computed once."""
    return sum(_left(job) for place, job in enumerate(jobs) if not _wanted(job, jobs[:place]))


def passes(job: Job, long: Sequence[Job]) -> bool:
    """Whether a job is so short beside one of these that it need not wait for its end."""
    return SHORT * job.cost <= max(one.cost for one in long)


def turns(waiting: Sequence[Job], room: float) -> list[list[Job]]:
    """Those who wait, in groups that are run together: never more pixels than there is room for, but for a first one alone."""
    left, found = list(waiting), []
    while left:
        group, space = [left[0]], room - pixels(left[0])
        for job in left[1:] if left[0].kind is not None else []:
            needs = 0 if _wanted(job, group) else pixels(job)
            if job.kind == left[0].kind and needs <= max(space, 0):
                group.append(job)
                space -= needs
        found.append(group)
        left = [job for job in left if job not in group]
    return found


def forecast(running: Sequence[Sequence[Job]], waiting: Sequence[Job], room: float) -> list[tuple[Job, float]]:
    """Everyone who waits, in order, with what has to be done before them; `running`: a group, and one that is passing it."""
    long = running[0] if running else []
    first = [job for job in waiting if long and passes(job, long)]
    found, ahead = [], sum(map(cost, running[1:]))
    for group in turns(first, room):
        found += [(job, ahead) for job in group]
        ahead += 2 * cost(group)  # the long job has as much time in between
    ahead = sum(map(cost, running)) + sum(cost(group) for group in turns(first, room))
    for group in turns([job for job in waiting if job not in first], room):
        found += [(job, ahead) for job in group]
        ahead += cost(group)
    return found


def _left(job: Job) -> float:
    return job.cost * (1 - job.done / job.steps) if job.steps else job.cost


def _wanted(job: Job, by: Sequence[Job]) -> bool:
    """Whether somebody among these wants the very same recipe."""
    return job.recipe is not None and any(job.recipe == other.recipe for other in by)
