"""A picture's settings as the text that AUTOMATIC1111 made common, written and read.

    infotext = prompt [ "\\nNegative prompt: " negative ] "\\n" param *( ", " param )        param = key ": " value

A value is JSON-quoted only where it holds a comma, a colon or a line break. The last line is the parameters, if it
holds at least three; the last line that begins with "Negative prompt:" begins the negative prompt. Our files hold the
whole recipe as JSON too (png.py); this text is what other programs read, and what people do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from core.recipe import Recipe
from core.sampling import SAMPLERS

VERSION = "0.1.0"
NEGATIVE = "Negative prompt:"
MOST_TEXT, MOST_PARAMS = 100_000, 200  # what is read of a stranger's text

# Our spacing -> what AUTOMATIC1111 calls the same placement of steps.
SCHEDULE_TYPES = {
    "karras": "Karras", "exponential": "Exponential", "linspace": "Uniform", "trailing": "SGM Uniform",
    "leading": "DDIM",
}  # fmt: skip
ETA_KEYS = {"ddim": "Eta DDIM"}  # every other sampler's eta is "Eta"

_KEY = re.compile(r"\s*([\w][\w \-/]{0,60}?)\s*:\s*")


def infotext(recipe: Recipe, model_hash: str | None = None) -> str:
    """A recipe, with the size and spacing it had, as prompt, negative prompt and one line of parameters."""
    pairs: dict[str, Any] = {
        "Steps": recipe.steps,
        "Sampler": SAMPLERS[recipe.sampler].label,
        "Schedule type": SCHEDULE_TYPES.get(recipe.spacing or "", recipe.spacing),
        "CFG scale": short(recipe.cfg_scale),
        "Seed": recipe.seed,
        "Size": f"{recipe.width}x{recipe.height}" if recipe.width and recipe.height else None,
        "Model hash": model_hash,
        "Model": recipe.model,
        "Denoising strength": short(recipe.strength) if recipe.image else None,
        **{_knob_key(recipe.sampler, name): short(value) for name, value in recipe.knobs.items()},
        "RNG": recipe.rng.upper(),
        "Version": f"diffusion-studio-{VERSION}",
    }
    negative = _one_start(recipe.negative)
    lines = [recipe.prompt]
    if negative or any(line.lstrip().startswith(NEGATIVE) for line in recipe.prompt.split("\n")):
        lines.append(f"{NEGATIVE} {negative}")
    lines.append(", ".join(f"{key}: {_quoted(str(value))}" for key, value in pairs.items() if value not in (None, "")))
    return "\n".join(lines).strip()


def parse(text: str) -> dict[str, str]:
    """What an infotext says: "prompt", "negative" and every parameter under its own key, all as text."""
    lines = text[:MOST_TEXT].strip().split("\n")
    values = parameters(lines[-1])
    if len(values) >= 3:
        lines.pop()
    else:
        values = {}
    starts = [number for number, line in enumerate(lines) if line.lstrip().startswith(NEGATIVE)]
    first = starts[-1] if starts else len(lines)
    negative = "\n".join(lines[first:]).lstrip().removeprefix(NEGATIVE)
    return {"prompt": "\n".join(lines[:first]).strip(), "negative": negative.strip(), **values}


def parameters(line: str) -> dict[str, str]:
    """One line of `key: value, key: value`; what does not look like that is passed over."""
    found: dict[str, str] = {}
    at = 0
    while at < len(line) and len(found) < MOST_PARAMS:
        key = _KEY.match(line, at)
        if key is None:
            at = _next(line, at)
            continue
        value, at = _value(line, key.end())
        if key[1] not in ("prompt", "negative"):
            found[key[1]] = value
    return found


def _value(line: str, at: int) -> tuple[str, int]:
    """The value that begins here, and where the next parameter does."""
    if line[at : at + 1] == '"':
        try:
            value, end = json.JSONDecoder().raw_decode(line, at)
        except (ValueError, RecursionError):
            pass
        else:
            if line[end : end + 1] in ("", ","):
                return str(value), end + 1
    end = _next(line, at)
    return line[at:end].rstrip(",").strip(), end


def _next(line: str, at: int) -> int:
    comma = line.find(",", at)
    return len(line) if comma < 0 else comma + 1


def short(number: float) -> str:
    """A number as one would write it: 7, not 7.0, and with no digit lost."""
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e15 else repr(float(number))


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search('[,:\n]|^"', value) else value


def _one_start(negative: str) -> str:
    """A negative prompt none of whose lines looks like the beginning of another."""
    return re.sub(rf"\n\s*{NEGATIVE}", f" {NEGATIVE}", negative)


def _knob_key(sampler: str, name: str) -> str:
    return ETA_KEYS.get(sampler, "Eta") if name == "eta" else f"Knob {name}"


def fields(values: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Parsed text as fields of a Recipe, and the keys that none of them could hold."""
    made: dict[str, Any] = {"prompt": values.get("prompt", ""), "negative": values.get("negative", "")}
    left = []
    sampler, named_spacing = sampler_id(values.get("Sampler", ""))
    spacing = spacing_id(values.get("Schedule type", "")) or named_spacing
    size = re.fullmatch(r"(\d{1,5})x(\d{1,5})", values.get("Size", ""))
    made |= {key: value for key, value in (("sampler", sampler), ("spacing", spacing)) if value}
    if size:
        made |= {"width": int(size[1]), "height": int(size[2])}
    readers = {"Steps": ("steps", int), "Seed": ("seed", int), "Denoising strength": ("strength", float)}
    for key, text in values.items():
        try:
            if key in readers:
                name, kind = readers[key]
                made[name] = kind(text)
            elif key == "CFG scale":
                made["gamma"] = round(float(text) - 1, 10)
            elif key in ("Eta", "Eta DDIM") and sampler and any(knob.name == "eta" for knob in SAMPLERS[sampler].knobs):
                made.setdefault("knobs", {})["eta"] = float(text)
            elif key.startswith("Knob "):
                made.setdefault("knobs", {})[key[5:]] = float(text)
            elif key == "RNG":
                made["rng"] = {"NV": "nv", "GPU": "nv", "CPU": "cpu"}[text.upper()]
            elif key == "Model":
                made["model"] = text
            elif not _understood(key, made):
                left.append(key)
        except (ValueError, KeyError):
            left.append(key)
    return made, left


def _understood(key: str, made: Mapping[str, Any]) -> bool:
    """Whether a key needs no field of its own, or has become one."""
    field = {"Sampler": "sampler", "Schedule type": "spacing", "Size": "width"}.get(key)
    return field in made if field else key in ("prompt", "negative", "Model hash", "Version")


def sampler_id(label: str) -> tuple[str | None, str | None]:
    """Our sampler for a label, and the spacing that old labels carry ("DPM++ 2M Karras")."""
    names = {entry.label.lower(): entry.id for entry in SAMPLERS.values()}
    name = " ".join(label.lower().split())
    if name in names:
        return names[name], None
    for ending, spacing in ((" karras", "karras"), (" exponential", "exponential")):
        if name.removesuffix(ending) in names:
            return names[name.removesuffix(ending)], spacing
    return (name if name in SAMPLERS else None), None


def spacing_id(label: str) -> str | None:
    """Our spacing for a "Schedule type"."""
    return {theirs.lower(): ours for ours, theirs in SCHEDULE_TYPES.items()}.get(label.strip().lower())
