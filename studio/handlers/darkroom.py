"""The handlers behind the film: what the Denoise tab asks of the engine, and what its views get for it.

A handler is an async generator that only awaits the engine; `guarded` gives it its buttons. Big things travel as props of a view,
each sent once; where the work stands is the view's value.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from core.errors import UserError
from core.recipe import Recipe, cleaned
from studio.figures import strip
from studio.figures.run import data_uri, duration, file_name, summary
from studio.formats import movie
from studio.formats.links import to_run
from studio.formats.png import save_png
from studio.formats.whole import write_whole
from studio.service.engine import Engine, cost
from studio.service.jobs import Done, Failed, Job, Preview, Queued, Run, Stopped
from studio.widgets import controls
from studio.widgets.settings import address_of
from studio.widgets.status import stated, status
from studio.work import film, looks, probe

EMPTY = "There is no film yet: press Generate first."
FORMS = {"GIF": "gif", "WebP, animated": "webp", "MP4 video": "mp4", "PNG contact sheet": "sheet"}
REMEMBERED = 24  # films, of at most about a megabyte each

Changes = AsyncIterator[dict[Any, Any]]


def guarded(handler: Callable[..., Changes]) -> Callable[..., Changes]:
    """Buttons for the time of some work; whatever happens, they come back, and a fault is told in a sentence."""

    @functools.wraps(handler)
    async def run(self: Desk, *inputs: Any, **more: Any) -> Changes:
        ready = {self.go: gr.update(interactive=True), self.halt: gr.update(interactive=False)}
        last: dict[str, Any] = {}
        try:
            yield {self.go: gr.update(interactive=False), self.halt: gr.update(interactive=True)}
            async for change in handler(self, *inputs, **more):
                yield change
                last = next((one["value"] for one in change.values() if isinstance(one, dict) and "value" in one), last)
        except Exception as error:
            yield ready
            raise controls.fault(error) from None
        yield ready
        if isinstance(last, dict) and last.get("state") == "failed":
            raise gr.Error(controls.untagged(last["line"]), title="Not possible", print_exception=False)

    return run


@dataclass(frozen=True)
class Desk:
    """The handlers of the tab and the widgets they write to."""

    engine: Engine
    fields: tuple[str, ...]  # which field of Recipe each plain widget holds
    sampler: controls.SamplerWidgets
    other: Mapping[str, Any]  # the widgets of the other future, by field
    film: gr.HTML
    words: gr.HTML
    probe: gr.HTML
    go: gr.Button
    halt: gr.Button
    made: gr.State  # the recipe as it was asked for, as JSON
    shot: gr.State  # the recipes of the films on the page as JSON: "a", and "b" for a branch of it
    file: gr.File
    link: gr.Textbox
    known: OrderedDict[str, film.Progress] = field(default_factory=OrderedDict)  # films by the digest of their recipe

    @guarded
    async def generate(self, request: gr.Request, rest: dict[str, Any], *values: Any) -> Changes:
        """The run and its film; a link may bring a branch, which follows."""
        plain, (chosen, *knobs) = values[: len(self.fields)], values[len(self.fields) :]
        made = dict(zip(self.fields, plain, strict=True)) | {"sampler": chosen}
        recipe = controls.recipe_of(**rest, **made, knobs=self.sampler.values(chosen, knobs))
        async for change in self.shoot(recipe, request):
            yield change

    @guarded
    async def branch(self, request: gr.Request, at: Any, made: str, *values: Any) -> Changes:
        """The other future: the film's own recipe until the step it shows, then with what was changed."""
        if not made:
            raise UserError(EMPTY)
        recipe = branched(Recipe.from_json(made).replace(branch=None), place(at)[0], dict(zip(self.other, values, strict=True)))
        async for change in self.shoot(recipe, request, there=True):
            yield change

    async def shoot(self, recipe: Recipe, request: gr.Request, there: bool = False) -> Changes:
        """Run a recipe and develop its film, the run that it branches from before it, unless that one's film is `there`."""
        base = recipe.replace(branch=None)
        runs: list[Run] = []
        for asked in [base] if recipe.branch is None else [base, recipe]:
            one = self.engine.pipe.complete(asked)
            with self.engine.submit(one, controls.visitor(request)) as job:
                async for view, event in followed(job):  # noqa: B007  the last one decides
                    yield {self.film: gr.update(value=view)}
            if not isinstance(event, Done):
                return
            runs.append(event.value)
            if there and asked is base:
                continue
            async for change in self.developed(runs, view | {"line": ran(event)}, request):
                yield change
            yield self.arrived(one, request) | {self.made: asked.to_json()}

    async def developed(self, runs: list[Run], view: dict[str, Any], request: gr.Request) -> Changes:
        """The film of the last of these runs, part by part."""
        run, second = runs[-1], len(runs) > 1
        names = ("other", "others") if second else ("film", "pictures")
        key = f"{run.recipe.digest} {second}"
        if known := self.known.get(key):
            yield {self.film: gr.update(value=view, **parts(names, known))}
            return
        steps = [one.with_steps().steps for one in runs]
        work = functools.partial(film.develop, self.engine.pipe, run.recipe, steps[-1], steps[0] if second else None)
        seen = None
        with self.engine.compute(work, controls.visitor(request), cost(run.recipe)) as job:
            async for told, event in followed(job, view):
                now = event.value if isinstance(event, Done) else event
                props = parts(names, now, seen) if isinstance(now, film.Progress) else {}
                seen = now if props else seen
                yield {self.film: gr.update(value=told | {"line": view["line"]} if isinstance(event, Done) else told, **props)}
        if isinstance(event, Done):
            self.known[key] = event.value
            while len(self.known) > REMEMBERED:
                self.known.popitem(last=False)

    def arrived(self, recipe: Recipe, request: gr.Request) -> dict[Any, Any]:
        """What else to show when a film is there: its recipe, its link, and the other future's widgets as it has them."""
        base = recipe.replace(branch=None)
        shot = {"a": base.to_json()} | ({"b": recipe.to_json()} if recipe.branch else {})
        said = {self.shot: shot, self.link: f"{address_of(request)}?{to_run(recipe, 'denoise')}"}
        return said if recipe.branch else said | {widget: getattr(base, name) for name, widget in self.other.items()}

    # ------------------------------------------------------------------------------------------------- on demand

    @guarded
    async def develop(self, request: gr.Request, event: gr.EventData, shot: dict[str, str]) -> Changes:
        """Decode what the film's script asks for: whole views of a small model, a frame of a large one."""
        asked = event._data if isinstance(event._data, dict) else {}
        recipe = next((one for one in map(Recipe.from_json, shot.values()) if self.name(one) == asked.get("id")), None)
        if recipe is None:
            return  # the page shows another film by now
        views = [view for view in strip.VIEWS if view in (asked.get("views") or ())]
        work = functools.partial(film.more, self.engine.pipe, views=views, k=asked.get("k"))
        async for told, done in self.asked(recipe, work, request):
            yield {self.film: gr.update(value=told, **({"extra": {"id": self.name(recipe)} | done} if done else {}))}

    @guarded
    async def look(self, request: gr.Request, at: Any, shot: dict[str, str]) -> Changes:
        """Where the words look at the step that the film shows."""
        k, lane = place(at)
        recipe = recipe_of(shot, lane)
        of = f"{self.name(recipe)} {k}"
        async for told, done in self.asked(recipe, functools.partial(looks.look, self.engine.pipe, k=k), request):
            yield {self.words: gr.update(value=told, **({"looks": done | {"of": of}} if done else {}))}

    @guarded
    async def leave_out(self, request: gr.Request, at: Any, shot: dict[str, str]) -> Changes:
        """The attention, and what the step would have predicted without each word."""
        k, lane = place(at)
        recipe = recipe_of(shot, lane)
        of = f"{self.name(recipe)} {k}"
        async for told, done in self.asked(recipe, functools.partial(looks.leave_out, self.engine.pipe, k=k), request):
            props = {"looks": done["looks"] | {"of": of}, "without": {"of": of, "list": done["without"]}} if done else {}
            yield {self.words: gr.update(value=told, **props)}

    @guarded
    async def known_noise(self, request: gr.Request, at: Any, shot: dict[str, str]) -> Changes:
        """A noise that we know, and the network's answer, at every time."""
        recipe = recipe_of(shot, place(at)[1])
        async for told, done in self.asked(recipe, functools.partial(probe.known_noise, self.engine.pipe), request):
            yield {self.probe: gr.update(value=told, **({"probe": done} if done else {}))}

    @guarded
    async def same_again(self, request: gr.Request, at: Any, shot: dict[str, str]) -> Changes:
        """The same run once more, compared."""
        recipe = recipe_of(shot, place(at)[1])
        async for told, done in self.asked(recipe, functools.partial(probe.same_again, self.engine.pipe), request):
            yield {self.probe: gr.update(value=told | ({"line": done} if done else {}))}

    @guarded
    async def export(self, request: gr.Request, at: Any, shot: dict[str, str], form: str) -> Changes:
        """The film that is shown, as a file."""
        recipe, form = recipe_of(shot, place(at)[1]), FORMS.get(form, "gif")
        movie.possible(form)
        async for told, done in self.asked(recipe, functools.partial(film.cut, self.engine.pipe), request):
            if not done:
                yield {self.film: gr.update(value=told)}
                continue
            with tempfile.TemporaryDirectory() as folder:
                path = await asyncio.to_thread(written, form, done, self.engine.pipe.complete(recipe), Path(folder))
                view = {"state": "done", "line": f"{path.name} is ready: {path.stat().st_size / 1000:.0f} kB."}
                yield {self.film: gr.update(value=view), self.file: gr.update(value=str(path), visible=True)}

    async def asked(
        self, recipe: Recipe, work: Callable[..., Generator[Any, None, Any]], request: gr.Request
    ) -> AsyncIterator[tuple[dict[str, Any], Any]]:
        """Work on a run that is known, or computed again where it was forgotten: where it stands, at last with what it came to."""

        def job() -> Generator[Any, None, Any]:
            run = yield from self.engine.run_with_steps(recipe)
            return (yield from work(recipe=run.recipe, steps=run.steps))

        with self.engine.compute(job, controls.visitor(request), cost(self.engine.pipe.complete(recipe))) as running:
            async for told, event in followed(running):
                yield told, event.value if isinstance(event, Done) else None

    def name(self, recipe: Recipe) -> str:
        """What the page calls the film of a recipe."""
        return self.engine.pipe.complete(recipe).digest[:12]

    def stop(self, request: gr.Request) -> None:
        """The Stop button; the work itself tells the page how far it came."""
        self.engine.stop(controls.visitor(request))


# --------------------------------------------------------------------------------------------------- following a job


async def followed(job: Job, view: dict[str, Any] | None = None) -> AsyncIterator[tuple[dict[str, Any], Any]]:
    """Every event of a job as a view is told it, and the event itself."""
    view = view or {"state": "queued", "line": "On its way …"}
    async for event in job:
        view = told(event, view)
        yield view, event


def told(event: Any, before: dict[str, Any]) -> dict[str, Any]:
    """An event in words, with how much of the work is done."""
    if isinstance(event, Preview):
        return stated(event, before) | {"rough": data_uri(event.images[0])}
    if isinstance(event, film.Progress):
        line = f"The VAE has decoded {event.done} of {event.total} pictures{'; scrub already.' if event.film else '.'}"
        return status("developing", line, event.done / max(1, event.total))
    if isinstance(event, looks.Asked):
        return status("running", f"Asking the network: {event.done} of {event.total}.", event.done / event.total)
    if isinstance(event, (Queued, Stopped, Failed)):
        return before | stated(event, before)
    assert isinstance(event, Done)
    return status("done", ran(event) if isinstance(event.value, Run) else "", 1)


def ran(event: Done) -> str:
    """How a run went, in one line."""
    run = event.value
    line = f"{run.recipe.steps} steps, {run.nfe} network evaluations (NFE), {duration(run.seconds)}"
    end = ", remembered from before." if event.cached else "."
    return " ".join([line + end, "Space plays; in the film the arrow keys step.", *run.notes])


def parts(names: tuple[str, str], progress: film.Progress, seen: film.Progress | None = None) -> dict[str, Any]:
    """What of a film is new to the page, as props: the film itself once, its pictures when there are more."""
    fresh = {names[0]: progress.film} if seen is None else {}
    more = len(progress.pictures) > (len(seen.pictures) if seen else 0)
    return fresh | ({names[1]: {"id": progress.film["id"]} | progress.pictures} if more else {})


# ---------------------------------------------------------------------------------------------- what a page may say


def place(text: Any) -> tuple[int, str]:
    """The step and the lane that the film shows, from "7a"; raises UserError where there is no film."""
    number, lane = str(text)[:-1], str(text)[-1:]
    if not number.isdecimal() or len(number) > 4 or lane not in ("a", "b"):
        raise UserError(EMPTY)
    return int(number), lane


def recipe_of(shot: Any, lane: str) -> Recipe:
    """The recipe of the film in a lane; raises UserError where there is none."""
    if not isinstance(shot, dict) or lane not in shot:
        raise UserError(EMPTY)
    return Recipe.from_json(shot[lane])


def branched(recipe: Recipe, k: int, values: Mapping[str, Any]) -> Recipe:
    """The recipe with other values from step k on; raises UserError where that is no other future."""
    changes = {name: value for name, value in cleaned(values).items() if value != getattr(recipe, name)}
    if not changes:
        raise UserError("Nothing differs from the film: change the prompt, the sampler or the guidance, then continue.")
    if k == 0:
        raise UserError("Step 0 is the beginning: go to a later step, or press Generate with other settings.")
    if k >= recipe.steps:
        raise UserError("The run is over at this frame: go to an earlier step, then continue from there.")
    return recipe.replace(branch={"step": k, "changes": changes})


def written(form: str, done: film.Cut, recipe: Recipe, folder: Path) -> Path:
    """A film as a file of this form; OSError (ENOSPC) where the disk is full."""
    name = Path(file_name(recipe)).stem
    if form == "sheet":
        lines = [f"step {one['k']}{movie.moment(one)}" for one in done.numbers]
        page = movie.contact_sheet(done.x0, lines, f"predicted x0 · {summary(recipe)}")
        return save_png(folder / f"{name}-sheet.png", page, recipe)
    lines = [movie.caption(one, recipe.steps) for one in done.numbers]
    frames = [movie.composed(x, x0, line) for x, x0, line in zip(done.x, done.x0, lines, strict=True)]
    return write_whole(folder / f"{name}.{form}", movie.FORMS[form](frames))

