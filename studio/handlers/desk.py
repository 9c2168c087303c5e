"""The handlers behind the Prompt tab: what its buttons ask of the engine, and how a recipe comes back into its widgets.

Nothing of a visit stays on the server: the page itself holds the small pictures with their recipes and the drawn mask, and hands
them in again. An upload lies in the app's temporary folder for an hour.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from core.errors import UserError
from core.recipe import MAX_TEXT, Recipe, allowed, clean_text
from studio.figures.run import data_uri
from studio.formats.infotext import infotext
from studio.formats.links import to_query
from studio.formats.png import alone
from studio.handlers import restored, stage, starts
from studio.handlers.words import reading
from studio.service.engine import Engine, cost
from studio.service.jobs import LAST, Done, Failed, Job, Run
from studio.widgets import controls
from studio.widgets.settings import address_of, changed, held, shown
from studio.widgets.uploads import uploaded

REST = ("schedule", "end", "sigmas", "guidance", "rng", "width", "height", "tier", "branch")  # kept without a widget
THUMB = 72  # pixels of a picture of this visit


@dataclass(frozen=True)
class Desk:
    """The handlers of this tab and the widgets they write to."""

    engine: Engine
    fields: Mapping[str, Any]  # the plain widgets, by field of Recipe
    sampler: controls.SamplerWidgets
    stage: gr.HTML
    board: gr.HTML  # the picture to start from, and its mask
    board_box: gr.Accordion
    visit: gr.HTML
    reader: gr.HTML
    go: gr.Button
    halt: gr.Button
    text: gr.Textbox
    link: gr.Textbox
    made: gr.State  # the recipe of the last picture as it was asked for, as JSON

    # ------------------------------------------------------------------------------------------------- pictures

    async def generate(self, request: gr.Request, rest: dict[str, Any], board: Any, other: Any, *values: Any) -> AsyncIterator[Any]:
        """Every event of the engine as a state of the stage; whatever happens, the buttons come back."""
        view: dict[str, Any] = {"state": "queued", "line": "On its way …"}
        ready = {self.go: gr.update(interactive=True), self.halt: gr.update(interactive=False)}
        try:
            recipe = self._recipe(rest, values)
            start = await asyncio.to_thread(starts.from_page, board, self._size(recipe))
            recipes = asked(recipe, start, other)
            model_hash = await asyncio.to_thread(lambda: self.engine.pipe.hash)  # it may read the whole file
            with self._submit(recipes, start, request) as job, tempfile.TemporaryDirectory() as folder:
                yield {self.stage: view, self.go: gr.update(interactive=False), self.halt: gr.update(interactive=True)}
                async for event in job:
                    view = await asyncio.to_thread(stage.staged, event, view, Path(folder), model_hash, stage.told(start))
                    ended = self._ended(event, request, board, model_hash) | ready if isinstance(event, LAST) else {}
                    ended |= {self.made: recipes[0].to_json()} if isinstance(event, Done) else {}
                    yield {self.stage: view} | ended  # Gradio copies the files before it comes back here
        except Exception as error:
            told = controls.fault(error)
            yield {self.stage: view | {"state": "failed", "line": told.message}} | ready
            raise told from None
        if isinstance(event, Failed):
            raise gr.Error(controls.untagged(event.sentence), title="No picture", print_exception=False)

    def _recipe(self, rest: dict[str, Any], values: tuple[Any, ...]) -> Recipe:
        plain, (chosen, *knobs) = values[: len(self.fields)], values[len(self.fields) :]
        made = dict(zip(self.fields, plain, strict=True)) | {"sampler": chosen}
        return controls.recipe_of(**rest, **made, knobs=self.sampler.values(chosen, knobs))

    def _size(self, recipe: Recipe) -> tuple[int, int]:
        return recipe.width or self.engine.pipe.size, recipe.height or self.engine.pipe.size

    def _submit(self, recipes: Sequence[Recipe], start: starts.Start | None, request: gr.Request) -> Job:
        """One recipe joins the batch of those who wait; two are a batch of their own."""
        pictures, who = start.pictures if start else None, controls.visitor(request)
        if len(recipes) == 1:
            return self.engine.submit(recipes[0], who, pictures)
        return self.engine.compute(lambda: self.engine.run_beside(recipes, pictures), who, sum(map(cost, recipes)))

    def _ended(self, event: Any, request: gr.Request, board: Any, model_hash: str) -> dict[Any, Any]:
        """What else to show when a run is finished: its recipe as text and as a link, the visit so far."""
        if not isinstance(event, Done):
            return {}
        runs = stage.runs_of(event)
        recipe = runs[0].recipe
        return {
            self.text: infotext(recipe, model_hash),
            self.link: f"{address_of(request)}?{to_query(recipe, tab='prompt')}",
            self.visit: {"add": [one for run in runs for one in remembered(run, board)], "press": secrets.token_hex(4)},
        }

    def stop(self, request: gr.Request) -> None:
        """The Stop button; the run itself tells the page how far it came."""
        self.engine.stop(controls.visitor(request))

    def keep(self, made: str) -> str:
        """The seed of the last picture, for the seed's box; before there is one, any."""
        return str(Recipe.from_json(made).seed) if made else "-1"

    def read_words(self, event: gr.EventData) -> dict[str, Any]:
        """The prompt as it is being written, as the model reads it."""
        extras = self.engine.pipe.extras
        text = clean_text(str(getattr(event, "text", "")))[:MAX_TEXT]
        return reading(self.engine.pipe.tokenizer, extras.lexicon, text)

    # ------------------------------------------------------------------------------------------------- a picture to start from

    def take(self, event: gr.EventData, rest: dict[str, Any]) -> tuple[Any, Any]:
        """An upload, or a picture of the stage, becomes the picture to start from; what cannot is said in its place."""
        file = {"path": getattr(event, "path", None)}
        usual = self.engine.pipe.size
        size = rest.get("width") or usual, rest.get("height") or usual
        try:
            start = starts.from_page({"file": file}, size)
            assert start is not None
        except UserError as error:
            return gr.update(value={"line": str(error), "state": "failed"}, picture=None), gr.update(open=True)
        value = {"file": file, "mask": None, "line": start.notice}
        return gr.update(value=value, picture=drawn(start)), gr.update(open=True)

    # ------------------------------------------------------------------------------------------------- what comes back

    def reopen(self, event: gr.EventData) -> list[Any]:
        """A small picture of this visit was clicked: its recipe is in force again, and so is what it started from."""
        try:
            recipe = Recipe.from_json(getattr(event, "recipe", ""))
            start = starts.from_page(getattr(event, "start", None), self._size(recipe))
        except Exception as error:
            raise controls.fault(error) from None
        recipe, differs = restored.fitting(recipe, self.engine.pipe, start.pictures if start else ())
        if differs:
            gr.Warning(controls.untagged(" ".join(differs)), title="About this picture")
        board = gr.update(value=getattr(event, "start", None) if start else None, picture=drawn(start) if start else None)
        return [board, *self.filled(recipe)]

    def read(self, event: gr.EventData, board: Any) -> list[Any]:
        """A picture was dropped: its settings go into the widgets, with a list of what became of them."""
        pipe = self.engine.pipe
        try:
            start = starts.from_page(board, (pipe.size, pipe.size))
            found = restored.from_picture(uploaded(getattr(event, "path", None)), pipe, start.pictures if start else ())
        except UserError as error:
            return [{"line": str(error), "state": "failed"}, *self.unchanged()]
        except Exception as error:
            raise controls.fault(error) from None
        return [found.view, *(self.unchanged() if found.recipe is None else self.filled(found.recipe))]

    def unchanged(self) -> list[Any]:
        """No change for the widgets that `filled` sets."""
        return [gr.skip()] * (2 + len(self.fields) + len(self.sampler.inputs))

    def filled(self, recipe: Recipe) -> list[Any]:
        """Every widget that holds a part of a recipe: the rest, the other prompt, fields, sampler and knobs."""
        usual = self.engine.pipe.complete(Recipe(prompt="", sampler=recipe.sampler))
        plain = recipe if recipe.spacing != usual.spacing else recipe.replace(spacing=None)
        values = [changed(widget, shown(name, getattr(plain, name))) for name, widget in self.fields.items()]
        knobs = [
            recipe.knobs.get(name, slider.value) if owner == recipe.sampler else gr.skip()
            for (owner, name), slider in self.sampler.knobs.items()
        ]
        given = recipe.model_dump(exclude_defaults=True)
        rest = {name: given[name] for name in REST if name in given and getattr(recipe, name) != getattr(usual, name)}
        return [rest, "", *values, recipe.sampler, *knobs]

    def in_force(self, rest: dict[str, Any]) -> list[Any]:
        """The line about settings without a control, the button that clears them, and what the browser keeps of them."""
        line = restored.in_force(rest)
        return [line, gr.update(visible=bool(line)), held(rest)]


def asked(recipe: Recipe, start: starts.Start | None, other: Any) -> list[Recipe]:
    """The recipe with what it starts from, and beside it the same with the other prompt, if there is one."""
    recipe = recipe.replace(**start.fields) if start else recipe.replace(strength=allowed("strength")["default"])
    words = clean_text(str(other or ""))
    return [recipe, recipe.replace(prompt=words)] if words else [recipe]


def drawn(start: starts.Start) -> dict[str, Any]:
    """A picture to start from as the board draws it."""
    return {"src": data_uri(start.image), "w": start.image.width, "h": start.image.height}


def remembered(run: Run, board: Any) -> list[Mapping[str, Any]]:
    """The pictures of a run as the page keeps them: small, with their recipes."""
    kept = board if run.recipe.image else None
    return [
        {"src": data_uri(small(image)), "recipe": (one := alone(run.recipe, index)).to_json(), "words": one.prompt,
         "seed": str(one.seed), "start": kept}
        for index, image in enumerate(run.images)
    ]  # fmt: skip


def small(image: Image.Image) -> Image.Image:
    """A copy that fits into a row of many."""
    copy = image.copy()
    copy.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
    return copy
