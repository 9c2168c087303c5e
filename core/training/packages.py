"""The open art and the names we train on: which packages, which versions, whose licence, and how to read them.

Seven packages of pictures (the styles) and one of names. They are fetched by name with `npm pack`, which checks what it
downloads, and are read straight from the tar archive: nothing is installed and nothing of theirs is run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError


@dataclass(frozen=True)
class Source:
    """One package of pictures, which is one style: `box` is the side, of 128 pixels, that its drawings' boxes get."""

    id: str
    word: str  # the style word in captions: "<label>, <word>"
    package: str
    version: str
    licence: str
    author: str
    home: str  # where the artist publishes it: attribution asks for a link
    box: float  # differs so that the median drawing of every style is 112 pixels wide, whatever padding its artist left


_FLUENT = ("MIT", "Microsoft (Fluent Emoji)", "https://github.com/microsoft/fluentui-emoji")
_EMOJIONE = ("CC-BY-4.0", "Emoji One (version 2, kept as EmojiTwo)", "https://github.com/EmojiTwo/emojitwo")
_TWEMOJI = ("CC-BY-4.0", "Twitter and contributors (Twemoji)", "https://github.com/jdecked/twemoji")
_NOTO = ("Apache-2.0", "Google (Noto Emoji)", "https://github.com/googlefonts/noto-emoji")

SOURCES: tuple[Source, ...] = (
    Source("3d", "3d", "@lobehub/fluent-emoji-3d", "1.1.0", *_FLUENT, box=128),
    Source("gradient", "glossy", "@iconify-json/fluent-emoji", "1.2.7", *_FLUENT, box=128),
    Source("flat", "flat", "@iconify-json/fluent-emoji-flat", "1.2.6", *_FLUENT, box=128),
    Source("mono", "line art", "@iconify-json/fluent-emoji-high-contrast", "1.2.6", *_FLUENT, box=120),
    Source("noto", "cartoon", "@iconify-json/noto", "1.2.9", *_NOTO, box=120),
    Source("twemoji", "minimal", "@iconify-json/twemoji", "1.2.5", *_TWEMOJI, box=112),
    Source("emojione", "pastel", "@iconify-json/emojione", "1.2.3", *_EMOJIONE, box=120),
)
LICENCES = {
    "MIT": "https://opensource.org/license/mit",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
}
NAMES = ("emojibase-data", "17.0.0", "MIT", "Miles Johnson (Emojibase)")

# Names in the oldest package which neither follow today's label nor are spelt so by another package.
OLD_NAMES = {
    "blond-haired-person": "1F471", "dizzy-face": "1F635", "direct-hit": "1F3AF", "laptop-computer": "1F4BB",
    "exclamation-mark": "2757", "question-mark": "2753", "white-heavy-check-mark": "2705", "heavy-check-mark": "2714",
    "heavy-heart-exclamation": "2763", "heavy-large-circle": "2B55", "heavy-plus-sign": "2795",
    "heavy-minus-sign": "2796", "heavy-division-sign": "2797", "heavy-multiplication-x": "2716",
    "ballot-box-with-check": "2611", "man-in-suit-levitating": "1F574", "bride-with-veil": "1F470",
    "man-with-chinese-cap": "1F472", "two-men-holding-hands": "1F46C", "two-women-holding-hands": "1F46D",
    "man-and-woman-holding-hands": "1F46B",
}  # fmt: skip


def archive(folder: Path, package: str, version: str) -> Path:
    """Where `npm pack` puts a package: @scope/name 1.2 becomes scope-name-1.2.tgz."""
    return folder / f"{package.removeprefix('@').replace('/', '-')}-{version}.tgz"


def fetch(folder: Path) -> Iterator[str]:
    """Fetch every package that is not in the folder yet, yielding the name of each when it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for package, version in [*((s.package, s.version) for s in SOURCES), NAMES[:2]]:
        path = archive(folder, package, version)
        if not path.exists():
            npm = shutil.which("npm")
            if npm is None:
                raise UserError(f"The art cannot be fetched because npm is not installed: install Node.js, or put "
                                f"{path.name} into {folder} yourself.")  # fmt: skip
            part = folder / "part"
            part.mkdir(exist_ok=True)
            command = [npm, "pack", f"{package}@{version}", "--pack-destination", str(part)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode or not (part / path.name).exists():
                raise UserError(f"npm could not fetch {package}@{version} (it said: {done.stderr.strip()[-200:]!r}): "
                                f"check the network and run the data step again.")  # fmt: skip
            os.replace(part / path.name, path)
            part.rmdir()
        yield f"{package}@{version}"


def read_json(path: Path, *members: str) -> list[Any]:
    """Read some JSON members of a package, in the order asked for; a member that is missing reads as None."""
    wanted = {f"package/{m}": i for i, m in enumerate(members)}
    found: list[Any] = [None] * len(members)
    with tarfile.open(path) as tar:
        for info in tar:
            if info.isfile() and info.name in wanted:
                file = tar.extractfile(info)
                found[wanted[info.name]] = json.load(file) if file else None
    return found


def read_bytes(path: Path, suffix: str) -> dict[str, bytes]:
    """Read every member of a package whose name ends so: bare file name -> bytes."""
    out: dict[str, bytes] = {}
    with tarfile.open(path) as tar:
        for info in tar:
            if info.isfile() and info.name.endswith(suffix):
                file = tar.extractfile(info)
                out[Path(info.name).name] = file.read() if file else b""
    return out


def key(hexcode: str) -> str:
    """A hexcode as every package would spell it: small letters, without the variation selector FE0F."""
    return "-".join(p for p in hexcode.lower().split("-") if p != "fe0f")


def slug(label: str) -> str:
    """A label as icon packages spell it: "Mrs. Claus" -> "mrs-claus"."""
    text = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().lower().replace("&", "and")
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"['.!]", "", text)).strip("-")


@dataclass(frozen=True)
class Drawing:
    """One drawing before it is drawn: an SVG text, or the bytes of a bitmap."""

    source: str
    key: str
    name: str  # its name inside the package
    svg: str | None = None
    bitmap: bytes | None = None


def svg_text(icons: dict[str, Any], icon: dict[str, Any], box: float, size: int = 128) -> str:
    """The icon as an SVG of size × size: its own box, clipped as its artist clipped it, centred with side `box`."""
    width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    left, top = icon.get("left", icons.get("left", 0)), icon.get("top", icons.get("top", 0))
    margin = (size - box) / 2
    body = icon["body"]
    if icon.get("hFlip"):
        body = f'<g transform="translate({2 * left + width} 0) scale(-1 1)">{body}</g>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{size}" '
        f'height="{size}" viewBox="0 0 {size} {size}"><svg x="{margin}" y="{margin}" width="{box}" height="{box}" '
        f'viewBox="{left} {top} {width} {height}">{body}</svg></svg>'
    )


def _keys_by_name(icons: dict[str, Any], chars: dict[str, str] | None, shared: dict[str, str]) -> dict[str, str]:
    """Which name stands for which hexcode key: the package's own table if it has one, else the shared one."""
    if chars:
        return {key(code): name for code, name in chars.items()}
    found: dict[str, str] = {}
    for name in [*icons["icons"], *icons.get("aliases", {})]:
        code = shared.get(name) or shared.get(name.replace("-face", "")) or OLD_NAMES.get(name)
        if code:
            found.setdefault(key(code), name)
    return found


def drawings(folder: Path, source: Source, wanted: set[str], names: dict[str, str]) -> list[Drawing]:
    """All drawings of one package whose hexcode key is wanted; `names` maps an icon's usual name to its hexcode."""
    path = archive(folder, source.package, source.version)
    if source.id == "3d":
        files = read_bytes(path, ".webp")
        by_key = {key(name.removesuffix(".webp")): name for name in files}
        return [Drawing(source.id, k, by_key[k], bitmap=files[by_key[k]]) for k in sorted(wanted & set(by_key))]
    icons, chars = read_json(path, "icons.json", "chars.json")
    found = _keys_by_name(icons, chars, names)
    out = []
    for k in sorted(wanted & set(found)):
        alias = icons.get("aliases", {}).get(found[k], {})
        icon = icons["icons"].get(alias.get("parent", found[k]))
        if icon is not None:
            out.append(Drawing(source.id, k, found[k], svg=svg_text(icons, {**icon, **alias}, source.box)))
    return out


def shared_names(folder: Path, labels: dict[str, str]) -> dict[str, str]:
    """Icon name -> hexcode, from the labels (hexcode -> label) and from every package that has its own table."""
    names = {slug(label): code for code, label in labels.items()}
    for source in SOURCES[1:]:
        (chars,) = read_json(archive(folder, source.package, source.version), "chars.json")
        for code, name in (chars or {}).items():
            names.setdefault(name, code)
    return names
