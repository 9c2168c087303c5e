"""What every piece of the page shares: texts and scripts of assets/, and how its listeners are connected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studio.service.engine import MOST_WAITING

ASSETS = Path(__file__).parents[2] / "assets"
ROOMS = {"js": "scripts", "css": "styles", "html": "templates", "md": "texts"}  # of assets/, by the ending of a file
ENGINE: dict[str, Any] = {"concurrency_id": "engine", "concurrency_limit": MOST_WAITING}  # a listener that waits for the engine
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}  # one that is nobody's endpoint
LATEX = [{"left": "$", "right": "$", "display": False}]  # as prose in Markdown has its formulas


def asset(name: str) -> str:
    """A file of assets/ as text."""
    return (ASSETS / ROOMS[name.rpartition(".")[2]] / name).read_text(encoding="utf-8")


def texts(name: str) -> list[str]:
    """The pieces of assets/texts/<name>.md, which rules divide."""
    return asset(f"{name}.md").split("\n---\n")


def scripts(*names: str) -> str:
    """Files of assets/scripts/ one behind the other, as one piece of page takes them."""
    return "\n".join(asset(f"{name}.js") for name in names)
