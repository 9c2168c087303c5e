"""A tiny set of packages, as the registry serves them: three concepts in every style, one flag, one empty drawing, one copy."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from PIL import Image

from core.training.languages import LANGUAGES
from core.training.packages import NAMES, SOURCES, archive

SQUARES = {"cat": ("1F408", "#ff0000"), "dog": ("1F415", "#00ff00"), "red-heart": ("2764", "#0000ff")}


def square(colour: str, side: int, body: str = "") -> str:
    return f'<path fill="{colour}" d="M0 0h{side}v{side}h-{side}z"/>{body}'


def pack(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def names_package(path: Path) -> None:
    labels = {"1F408": "cat", "1F415": "dog", "2764": "red heart", "1F3C1": "chequered flag"}
    places = {"1F408": (3, 34), "1F415": (3, 34), "2764": (0, 14), "1F3C1": (9, 97)}
    members = {}
    for code in LANGUAGES:
        members[f"{code}/data.json"] = [
            {"hexcode": h, "label": label if code == "en" else f"{label} {code}", "tags": [f"tag of {label}"],
             "group": places[h][0], "subgroup": places[h][1], "order": i}
            for i, (h, label) in enumerate(labels.items())
        ]  # fmt: skip
    members["meta/groups.json"] = {
        "groups": {"0": "smileys-emotion", "3": "animals-nature", "9": "flags"},
        "subgroups": {"34": "animal-mammal", "14": "heart", "97": "flag"},
    }
    pack(path, {name: json.dumps(value).encode() for name, value in members.items()})


def packages(folder: Path) -> None:
    """Write all of them into a folder, as `prepare` would have fetched them."""
    folder.mkdir()
    bitmaps = {}
    for name, (_code, colour) in SQUARES.items():
        buffer = io.BytesIO()
        Image.new("RGBA", (256, 256), colour).save(buffer, "WEBP", lossless=True)
        file = {"cat": "1f408", "dog": "1f415", "red-heart": "2764-fe0f"}[name]
        bitmaps[f"assets/{file}.webp"] = buffer.getvalue()
    pack(archive(folder, SOURCES[0].package, SOURCES[0].version), bitmaps)
    for n, source in enumerate(SOURCES[1:]):
        icons = {name: {"body": square(colour, 20 + n)} for name, (_code, colour) in SQUARES.items()}
        icons["chequered-flag"] = {"body": square("#123456", 20)}
        if source.id == "noto":
            icons["dog"] = icons["cat"]  # an equal picture under another name
        if source.id == "mono":
            icons["cat"] = {"body": "<g/>"}  # an empty picture
        chars = {"1f408": "cat", "1f415": "dog", "2764": "red-heart"} if source.id in ("flat", "noto") else None
        members = {"icons.json": json.dumps({"icons": icons, "width": 32, "height": 32}).encode()}
        if chars:
            members["chars.json"] = json.dumps(chars).encode()
        pack(archive(folder, source.package, source.version), members)
    names_package(archive(folder, NAMES[0], NAMES[1]))
