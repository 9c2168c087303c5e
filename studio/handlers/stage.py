"""The stage of the Prompt tab: an event of the engine as what the page shows, its finished pictures as files with their recipes."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradio.data_classes import FileData

from core.recipe import Recipe
from studio.figures.run import data_uri, duration, file_name, summary
from studio.formats.png import alone, save_png
from studio.handlers.starts import KEPT, Start
from studio.service.jobs import Done, Failed, Preview, Queued, Run, Stopped
from studio.widgets.status import stated

log = logging.getLogger(__name__)

ALONE = "A link carries no pictures: whoever opens it has to hand in the picture to start from."
FULL = "The picture could not be stored (is the disk full?), so it cannot be saved with its recipe."


def staged(
    event: Any, before: dict[str, Any], folder: Path, model_hash: str | None, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """An event as the stage shows it; pictures that are finished are written to the folder."""
    if isinstance(event, (Queued, Failed)):
        return before | stated(event, before)
    if isinstance(event, Stopped):
        step, steps = (event.step, event.steps) if event.steps else before.get("at", (0, 0))
        return before | {"state": "stopped", "line": f"Stopped at {step}/{steps}." if steps else "Stopped before it began."}
    if isinstance(event, Done):
        return done(event, folder, model_hash, notes)
    previews: list[Preview] = list(event.values()) if isinstance(event, dict) else [event]
    return forming(previews) if previews else before


def forming(previews: Sequence[Preview]) -> dict[str, Any]:
    """Rough pictures and where their run stands; those of two prompts lie beside each other."""
    first = previews[0]
    numbers = f"step {first.step}/{first.steps} · {sum(one.nfe for one in previews)} evaluations (NFE) · t = {first.t:.0f}"
    pictures = [{"src": data_uri(image), "alt": "a rough preview"} for image in beside([one.images for one in previews])]
    line, part = f"{numbers} · {duration(first.seconds)}", first.step / first.steps
    return {"state": "running", "line": line, "part": part, "pictures": pictures, "at": (first.step, first.steps)}


def done(event: Done, folder: Path, model_hash: str | None, notes: Sequence[str]) -> dict[str, Any]:
    """The finished pictures with what they cost."""
    runs = runs_of(event)
    made = [finished(run, folder, model_hash) for run in runs]
    first = runs[0]
    line = f"{first.recipe.moves} steps, {sum(run.nfe for run in runs)} network evaluations (NFE), {duration(first.seconds)}"
    line += ", remembered from before." if event.cached else "."
    if len(runs) > 1:
        line = f"Two prompts from the same noise: {line}"
    told = dict.fromkeys([*itertools.chain(*(run.notes for run in runs)), *itertools.chain(*(lost for _, lost in made)), *notes])
    return {"state": "done", "line": line, "part": 1, "pictures": beside([pictures for pictures, _ in made]), "notes": list(told)}


def runs_of(event: Done) -> list[Run]:
    """The run of one recipe, or of two beside each other."""
    return event.value if isinstance(event.value, list) else [event.value]


def beside(columns: Sequence[Sequence[Any]]) -> list[Any]:
    """Columns row by row, so that what shares a seed shares a row."""
    return [one for row in zip(*columns, strict=True) for one in row]


def told(start: Start | None) -> list[str]:
    """What to say under a picture that started from another."""
    if start is None:
        return []
    return [*filter(None, (start.notice, KEPT if start.mask else "")), ALONE]


def finished(run: Run, folder: Path, model_hash: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    """The pictures as files with their recipe inside; where the disk is full, without a file but still shown."""
    pictures, notes = [], []
    for index, image in enumerate(run.images):
        recipe = alone(run.recipe, index)
        words = {"alt": recipe.prompt, "title": recipe.prompt, "text": f"seed {recipe.seed} · {summary(recipe)}{started(recipe)}"}
        try:
            own = folder / run.recipe.digest[:8]  # two runs may have pictures of one name
            own.mkdir(exist_ok=True)
            path = save_png(own / file_name(recipe), image, recipe, model_hash=model_hash)
            pictures.append(words | {"name": file_name(recipe), "file": FileData(path=str(path)).model_dump()})
        except OSError as error:
            log.error("cannot write a picture: %s", error)
            notes = [FULL]
            pictures.append(words | {"src": data_uri(image)})
    return pictures, notes


def started(recipe: Recipe) -> str:
    """What a summary adds about the picture that a run started from."""
    if recipe.image is None:
        return ""
    return f" · {'painted anew' if recipe.mask else 'from a picture'}, strength {recipe.strength:g}"
