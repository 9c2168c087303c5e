"""The training data as everything else sees it: records, pictures on a background, the base list, the vocabulary.

A folder holds npm/ (the packages) and emoji-128/ with

    pictures.npy      uint8 [N, 128, 128, 4], straight alpha          drawn.jsonl      what was drawn, in that order
    pictures.jsonl    one record a picture: names, licence, flip, split
    concepts.jsonl    one concept a line: labels and tags in every language
    tiers.json        the hexcodes of every tier

Reading it needs numpy and torch alone, so the folder can be prepared elsewhere and carried to the training machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError

from .art import Progress, draw_all, emojis, read_jsonl, write_jsonl
from .concepts import TIERS, may_flip, tier
from .languages import COLOURS, LANGUAGES
from .packages import LICENCES, NAMES, SOURCES, archive, fetch, read_json
from .split import frozen, thumbnails, twins

WHITE = -1  # the background of a caption that names none
_RGB = torch.tensor([*(rgb for _, rgb in COLOURS), (255, 255, 255)], dtype=torch.float32)  # [-1] is white


def prepare(folder: Path) -> Iterator[Progress]:
    """Fetch the packages, draw the art, split it and write the records; what exists already is kept.

    Raises UserError if a package cannot be fetched.
    """
    packages, out = Path(folder) / "npm", Path(folder) / "emoji-128"
    for done, _name in enumerate(fetch(packages), 1):
        yield Progress("fetch", done, len(SOURCES) + 1)
    yield from draw_all(packages, out)
    if not (out / "concepts.jsonl").exists():
        drawn = {r["hexcode"] for r in read_jsonl(out / "drawn.jsonl")}
        write_jsonl(out / "concepts.jsonl", _concepts(packages, drawn))
    yield Progress("names", 1, 1)
    if not (out / "pictures.jsonl").exists():
        write_records(out)
    yield Progress("split", 1, 1)


def _concepts(packages: Path, drawn: set[str]) -> list[dict[str, Any]]:
    """The drawn concepts with label and tags in every language we use."""
    concepts = [c for c in emojis(packages) if c["hexcode"] in drawn]
    tables = read_json(archive(packages, NAMES[0], NAMES[1]), *(f"{code}/data.json" for code in LANGUAGES))
    for code, table in zip(LANGUAGES, tables, strict=True):
        by_code = {e["hexcode"]: e for e in table}
        for c in concepts:
            entry = by_code.get(c["hexcode"], {})
            c.setdefault("labels", {})[code] = entry.get("label", "")
            c.setdefault("tags_in", {})[code] = entry.get("tags", [])
    return concepts


def write_records(out: Path) -> None:
    """Write tiers.json and pictures.jsonl (what was drawn, and group, style, flip and split) from what is there."""
    drawn, concepts = read_jsonl(out / "drawn.jsonl"), read_jsonl(out / "concepts.jsonl")
    by_code, words = {c["hexcode"]: c for c in concepts}, {s.id: s.word for s in SOURCES}
    families = twins(drawn, thumbnails(np.load(out / "pictures.npy", mmap_mode="r")))
    held_out = frozen()
    records = []
    for record, family in zip(drawn, families, strict=True):
        part = "held_out" if (record["hexcode"], record["source"]) in held_out else "train"
        concept = by_code[record["hexcode"]]
        names = {k: concept[k] for k in ("label", "group", "subgroup")}
        more = {"style": words[record["source"]], "flip": may_flip(concept), "family": family, "split": part}
        records.append({**record, **names, **more})
    tiers = {name: tier(name, concepts, drawn) for name in TIERS}
    (out / "tiers.json").write_text(json.dumps(tiers, indent=0) + "\n", encoding="utf-8")
    write_jsonl(out / "pictures.jsonl", records)


def load_records(folder: Path) -> list[dict[str, Any]]:
    """Read one record a picture, in the order of the pictures.

    Raises UserError if the folder has not been prepared.
    """
    return _read(folder, "pictures.jsonl")


def load_concepts(folder: Path, name: str = "all") -> list[dict[str, Any]]:
    """Read the concepts of a tier, in emojibase's order."""
    if name not in TIERS:
        raise UserError(f"There is no tier {name!r} of concepts: choose one of {', '.join(TIERS)}.")
    chosen = set(json.loads((Path(folder) / "tiers.json").read_text(encoding="utf-8"))[name])
    return [c for c in _read(folder, "concepts.jsonl") if c["hexcode"] in chosen]


def _read(folder: Path, name: str) -> list[dict[str, Any]]:
    path = Path(folder) / name
    if not path.exists():
        raise UserError(f"There is no training data at {path}: run `python -m core.training data` first.")
    return read_jsonl(path)


def base_list(records: Sequence[dict[str, Any]], concepts: Sequence[dict[str, Any]] | None = None) -> list[int]:
    """List the pictures that "the training set" means: every trained pair once, on white, never mirrored.

    `concepts` restricts it to a tier. The result is indices into the pictures, in their order.
    """
    chosen = None if concepts is None else {c["hexcode"] for c in concepts}
    return [r["index"] for r in records if r["split"] == "train" and (chosen is None or r["hexcode"] in chosen)]


def composite(rgba: Tensor, background: Tensor) -> Tensor:
    """Lay straight-alpha art on a background: rgb = alpha · art + (1 − alpha) · background, scaled to [−1, 1].

    rgba: uint8 [B, H, W, 4]; background: [B, 3] in 0…255. Returns float32 [B, 3, H, W].
    """
    art = rgba.permute(0, 3, 1, 2).float()  # [B, 4, H, W]
    alpha = art[:, 3:] / 255
    rgb = alpha * art[:, :3] + (1 - alpha) * background[:, :, None, None].float()
    return rgb / 127.5 - 1


class Pictures:
    """The drawn pictures, read from the file as they are asked for."""

    def __init__(self, folder: Path) -> None:
        path = Path(folder) / "pictures.npy"
        if not path.exists():
            raise UserError(f"There are no pictures at {path}: run `python -m core.training data` first.")
        self.array = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.array)

    def rgb(self, indices: Any, colours: Any = None, flips: Any = None) -> Tensor:
        """Give pictures as float32 [B, 3, 128, 128] in [−1, 1], each on its background.

        `colours` are numbers of COLOURS, WHITE (−1) for none; `flips` says which are mirrored. Both default to none.
        """
        rows = np.asarray(indices, dtype=np.int64)
        rgba = torch.from_numpy(self.array[rows])  # uint8 [B, 128, 128, 4]
        if flips is not None:
            flip = torch.as_tensor(np.asarray(flips, dtype=bool))[:, None, None, None]
            rgba = torch.where(flip, rgba.flip(2), rgba)
        chosen = np.full(len(rows), WHITE) if colours is None else np.asarray(colours, dtype=np.int64)
        return composite(rgba, _RGB[chosen])


def vocabulary(records: Sequence[dict[str, Any]], concepts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Say what a model trained on these concepts claims, in the form of vocabulary.json.

    A prompt is "<label>, <style word>". `held_out` lists the pairs never trained on, `style` being the style word.
    """
    chosen = {c["hexcode"] for c in concepts}
    held = [r for r in records if r["split"] == "held_out" and r["hexcode"] in chosen]
    return {
        "concepts": [{"hexcode": c["hexcode"], "label": c["label"]} for c in concepts],
        "styles": [{"word": s.word, "source": s.id} for s in SOURCES],
        "colours": [name for name, _ in COLOURS],
        "languages": list(LANGUAGES),
        "held_out": [{"hexcode": r["hexcode"], "style": r["style"]} for r in held],
    }


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, complete or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def attribution(folder: Path, target: Path, indices: Sequence[int]) -> None:
    """Write ATTRIBUTION.md and provenance.jsonl for the pictures that a model was trained on into the target folder.

    `folder` is the prepared emoji-128; the licences and links are those that the packages themselves state.
    """
    records = load_records(folder)
    used = [records[i] for i in indices]
    keys = ("index", "hexcode", "label", "source", "style", "package", "version", "name", "licence", "sha256", "subgroup")
    write_jsonl(Path(target) / "provenance.jsonl", [{k: r[k] for k in keys} for r in used])
    lines = [
        "# Where the pictures come from",
        "",
        "The model was trained on drawings from these packages, drawn at 128 × 128 pixels and laid on a plain",
        "background, some mirrored. provenance.jsonl names the drawing behind every picture. The names of things in",
        f"all languages come from {NAMES[0]} {NAMES[1]} ({NAMES[2]}, {NAMES[3]}), which holds Unicode CLDR data",
        "(Unicode-3.0).",
        "",
        "| style | package | version | artist | licence | pictures |",
        "|---|---|---|---|---|---|",
    ]
    for s in SOURCES:
        count = sum(r["source"] == s.id for r in used)
        who, terms = f"[{s.author}]({s.home})", f"[{s.licence}]({LICENCES[s.licence]})"
        lines.append(f"| {s.word} | {s.package} | {s.version} | {who} | {terms} | {count} |")
    (Path(target) / "ATTRIBUTION.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
