"""Pictures with their recipe inside: written so that nothing is lost, read as if by a stranger's hand.

Two text chunks go into a PNG: `parameters`, which other programs read (infotext.py), and `diffusion_studio`, JSON with
the whole Recipe, our version and PyTorch's. The file is made from pixels alone, so that nothing of an uploaded photo
comes along, and it appears under its name only when it is complete.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.recipe import Recipe, cleaned, faults
from studio.formats import foreign
from studio.formats.infotext import VERSION, fields, infotext, parse
from studio.formats.photos import WIDTHS, exif_value, opened
from studio.formats.whole import write_png

CHUNK = "diffusion_studio"
USER_COMMENT = (0x8769, 0x9286)  # in EXIF, where JPEG and WebP keep the text
CODES = (b"ASCII\0\0\0", b"UNICODE\0", bytes(8))  # of the text, before it


def save_png(
    path: str | Path, image: Image.Image, recipe: Recipe, index: int = 0, model_hash: str | None = None
) -> Path:
    """Write picture `index` of a recipe's batch with the recipe that makes it alone; complete or not at all."""
    recipe = alone(recipe, index)
    chunks = PngInfo()
    chunks.add_text("parameters", infotext(recipe, model_hash))
    about = {"version": VERSION, "torch": _torch_version(), "recipe": json.loads(recipe.to_json(whole=True))}
    chunks.add_text(CHUNK, json.dumps(about, ensure_ascii=False))
    rgb = image.convert("RGB")
    fresh = Image.frombytes("RGB", rgb.size, rgb.tobytes())  # no EXIF, profile or text of whatever it was made from
    return write_png(Path(path), fresh, pnginfo=chunks)


def alone(recipe: Recipe, index: int) -> Recipe:
    """The recipe of one picture of a batch: picture i has seed + i, and is the same alone."""
    return recipe if recipe.batch == 1 else recipe.replace(seed=(recipe.seed + index) % 2**64, batch=1)


@dataclass(frozen=True)
class Reading:
    """What a picture says about itself: a recipe, if there is one, and in sentences what was not understood."""

    program: str  # who wrote it, such as "ComfyUI"; empty where there are no settings
    recipe: Recipe | None
    notes: tuple[str, ...] = ()
    text: str = ""  # as it stands in the file, clipped; for the screen, never for HTML


def read_png(source: str | Path | bytes) -> Reading:
    """Read the settings out of a PNG, JPEG or WebP of ours or of another program; UserError if it is no picture."""
    texts = _texts(source)
    for reader in (_own, foreign.comfyui, foreign.invokeai, foreign.fooocus, _automatic):
        found = reader(texts)
        if found is not None:
            program, made, notes = found
            recipe, more = _recipe(made)
            raw = next((texts[key] for key in ("parameters", CHUNK, *texts) if texts.get(key)), "")
            return Reading(program, recipe, (*notes, *more), raw[:10_000])
    return Reading("", None, ("There are no settings in this picture; programs that edit pictures often drop them.",))


def _texts(source: str | Path | bytes) -> dict[str, str]:
    """The text chunks of a file, its pixels never decoded."""
    with opened(source) as image:
        texts = {key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)}
        return texts if image.format == "PNG" else texts | _user_comment(image.info.get("exif"))


def _user_comment(exif: Any) -> dict[str, str]:
    """The EXIF comment: eight bytes that name its code, then the text; nothing where it is of a type that holds no text."""
    _, kind, value = exif_value(exif, *USER_COMMENT)
    if WIDTHS.get(kind) != 1:
        return {}
    body = value[8:] if value[:8] in CODES else value
    encodings = ("utf-16-be", "utf-16-le") if value.startswith(b"UNICODE\0") else ("utf-8",)
    for encoding in encodings:  # the standard does not say which end comes first; a settings line holds ": "
        text = body.decode(encoding, "ignore")
        if ": " in text:
            return {"parameters": text}
    return {}


def _own(texts: dict[str, str]) -> foreign.Found | None:
    """Our own chunk; where another version wrote it, what differs is listed."""
    if CHUNK not in texts:
        return None
    try:
        about = json.loads(texts[CHUNK])
        made, written = dict(about["recipe"]), str(about["version"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    notes = []
    unknown = sorted(str(name)[:40] for name in made if name not in Recipe.model_fields)
    missing = sorted(name for name in Recipe.model_fields if name not in made)
    if unknown:
        notes.append(f"Version {written[:20]} wrote fields that {VERSION} does not know: {', '.join(unknown[:20])}.")
    if missing:
        notes.append(f"Version {written[:20]} did not write {', '.join(missing)}; the defaults of {VERSION} hold.")
    torch = str(about.get("torch"))[:20]
    if torch != _torch_version():
        notes.append(f"It was made with PyTorch {torch}, here is {_torch_version()}: small differences are possible.")
    return "Diffusion Studio", {name: value for name, value in made.items() if name in Recipe.model_fields}, notes


def _automatic(texts: dict[str, str]) -> foreign.Found | None:
    """AUTOMATIC1111's text, and that of all who write it."""
    values = parse(texts.get("parameters", ""))
    if "Steps" not in values:
        return None
    made, left = fields(values)
    if values.get("Version", "").startswith("diffusion-studio"):
        return "Diffusion Studio", made, [f"Not understood: {', '.join(left)}."] if left else []
    chosen = foreign.AUTOMATIC.get(made.get("sampler", "")) if values.get("Schedule type") == "Automatic" else None
    made.setdefault("spacing", chosen or ("leading" if made.get("sampler") == "ddim" else "linspace"))
    left = [key for key in left if (key, values[key]) != ("Schedule type", "Automatic")]
    notes = [f"Not understood: {', '.join(left)}."] if left else []
    if made.pop("strength", None) is not None:
        notes.append("It started from a picture (Denoising strength), or was enlarged in a second pass; neither is in the file.")
    for name in ("prompt", "negative"):
        made[name], lost = foreign.without_networks(made[name])
        if lost:
            notes.append(f"Left out of the {name}, since no such networks can be loaded here: {', '.join(lost)}.")
    return "AUTOMATIC1111", made, notes


def _recipe(made: dict[str, Any]) -> tuple[Recipe | None, list[str]]:
    """A recipe of what can be used, with a note for each field that cannot."""
    notes, made = [], cleaned(made)
    while wrong := faults(made):
        notes += [f"Left out: {sentence}" for sentence in dict.fromkeys(wrong.values())]
        made = {name: value for name, value in made.items() if name not in wrong}
        if "prompt" not in made:
            made["prompt"] = ""
    return Recipe(**made), notes


def _torch_version() -> str:
    try:
        return version("torch").partition("+")[0]  # from the package's data: importing torch takes a second
    except PackageNotFoundError:
        return "unknown"
