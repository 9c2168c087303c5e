"""Small text files that a user hands in: read with a limit, and every failure as one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.errors import UserError


def read_text(path: Path, most_bytes: int = 1_000_000) -> str:
    """The text of a file in UTF-8; a UserError if it is missing, no text, or larger than a file of its kind can be."""
    name = f"{path.parent.name}/{path.name}"
    try:
        size = path.stat().st_size
        if not path.is_file():  # to open a pipe or a device would wait for ever
            raise UserError(f"{name} is no file: copy the whole folder of the model.")
        if size > most_bytes:
            raise UserError(f"{name} has {size / 1e6:.0f} MB, a file of its kind at most {most_bytes / 1e6:.0f} MB: "
                            "copy it again from where the model came.")  # fmt: skip
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror}): copy the whole folder of the model.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is no text file: copy it again from where the model came.") from error


def read_json(path: Path, default: dict[str, Any] | None = None, most_bytes: int = 1_000_000) -> dict[str, Any]:
    """The object in a JSON file, or `default` (if given) where there is none. Raises UserError as `read_text` does."""
    if default is not None and not path.exists():
        return default
    try:
        data = json.loads(read_text(path, most_bytes))
    except (json.JSONDecodeError, RecursionError) as error:
        name = f"{path.parent.name}/{path.name}"
        raise UserError(f"{name} is no JSON file: copy it again from where the model came.") from error
    if not isinstance(data, dict):
        name = f"{path.parent.name}/{path.name}"
        raise UserError(f"{name} holds no JSON object: copy it again from where the model came.")
    return data
