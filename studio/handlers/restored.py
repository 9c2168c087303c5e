"""A recipe that comes back, from a picture or from this visit: what of it was understood, what was not, and what differs here."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.recipe import Guidance, Recipe
from core.sampling import SAMPLERS
from studio.figures.run import scale
from studio.formats.infotext import short
from studio.formats.png import Reading, read_png

if TYPE_CHECKING:
    from core.pipeline import TextToImage

NAMES = {
    "prompt": "Prompt", "negative": "Negative prompt", "sampler": "Sampler", "knobs": "Its knobs", "schedule": "Schedule",
    "spacing": "Spacing", "end": "End", "sigmas": "Levels of its own", "steps": "Steps", "gamma": "Guidance",
    "guidance": "Guidance, more", "seed": "Seed", "rng": "Random numbers", "batch": "Pictures", "width": "Width",
    "height": "Height", "strength": "Strength", "tier": "Tier", "branch": "Branch",
}  # fmt: skip


@dataclass(frozen=True)
class Restored:
    """A recipe as it can be made here (None where there is none), and in words how it came to be."""

    program: str
    recipe: Recipe | None
    understood: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()  # what was not understood, or had to be left out
    differs: tuple[str, ...] = ()  # why the picture may come out otherwise here
    text: str = ""  # as it stands in the file; for the screen, never for HTML

    @property
    def view(self) -> dict[str, Any]:
        """For the page and for programs."""
        return {
            "program": self.program, "understood": [list(row) for row in self.understood], "notes": list(self.notes),
            "differs": list(self.differs), "text": self.text,
        }  # fmt: skip


def from_picture(path: Path, pipe: TextToImage, at_hand: Container[str] = ()) -> Restored:
    """The settings that a picture carries, fitted to this model; `at_hand` are the digests of pictures to start from."""
    found: Reading = read_png(path)
    if found.recipe is None:
        return Restored(found.program, None, notes=found.notes, text=found.text)
    recipe, differs = fitting(found.recipe, pipe, at_hand)
    return Restored(found.program, recipe, tuple(rows(found.recipe)), found.notes, tuple(differs), found.text)


def fitting(recipe: Recipe, pipe: TextToImage, at_hand: Container[str] = ()) -> tuple[Recipe, list[str]]:
    """The recipe with what this model cannot have taken out, each with a sentence."""
    changes: dict[str, Any] = {}
    differs = []
    if recipe.model not in (None, pipe.name, pipe.hash):
        changes |= {"model": None}
        differs.append(f"It was made with the model {recipe.model[:60]}; here is {pipe.name}, which makes another picture of it.")
        size = (recipe.width or pipe.size, recipe.height or pipe.size)
        if size != (pipe.size, pipe.size):
            changes |= {"width": None, "height": None}
            differs.append(f"It had {size[0]}×{size[1]} pixels; here it gets {pipe.size}×{pipe.size}, as this model was trained.")
    lost = [name for name in ("image", "mask") if getattr(recipe, name) and getattr(recipe, name) not in at_hand]
    if lost:
        changes |= {"image": None, "mask": None}
        what = "a picture and a mask" if recipe.mask else "a picture"
        differs.append(f"It started from {what}, which a recipe only names (digest {recipe.image}): hand in the same picture, "
                       "or it starts from noise.")  # fmt: skip
    return recipe.replace(**changes) if changes else recipe, differs


def rows(recipe: Recipe) -> list[tuple[str, str]]:
    """What a recipe says, field by field, as one reads it; what it leaves to the model is left out."""
    given = [name for name in NAMES if name in recipe.model_fields_set and getattr(recipe, name) not in (None, {}, "", Guidance())]
    kept = [name for name in given if name != "prompt" and (name != "strength" or recipe.image)]
    return [(NAMES[name], shown(recipe, name)) for name in ("prompt", *kept)]


def shown(recipe: Recipe, name: str) -> str:
    """One field in words."""
    value = getattr(recipe, name)
    if name == "sampler":
        return SAMPLERS[value].label
    if name == "gamma":
        return scale(value)
    if name == "knobs":
        return ", ".join(f"{knob} {short(number)}" for knob, number in value.items())
    if name == "sigmas":
        return f"{len(value)} of them, from {value[0]:g} to {value[-1]:g}"
    if name in ("guidance", "branch"):
        return ", ".join(f"{part} {inner}" for part, inner in value.model_dump(exclude_defaults=True).items()) or "as usual"
    return short(value) if isinstance(value, float) else str(value)


def in_force(rest: dict[str, Any]) -> str:
    """One line about settings that have no control of their own; empty where there are none. Which model is no such setting."""
    names = [
        f"{NAMES[name].lower()}{f' {value}' if isinstance(value, str | int) else ''}"
        for name, value in rest.items() if name in NAMES
    ]  # fmt: skip
    return f"Also in force: {', '.join(names)}." if names else ""
