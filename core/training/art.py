"""Drawing the art: every package's drawings become 128 × 128 RGBA pictures in one memory-mapped array.

Pictures keep their transparency (straight alpha, 8 bits), because the background is chosen when a picture is used:

    rgb = alpha · art + (1 − alpha) · background                                                         (1)

Bitmaps are made smaller in premultiplied alpha, so that invisible pixels lend no colour to visible ones.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .packages import NAMES, SOURCES, Drawing, archive, drawings, key, read_json, shared_names

SIZE = 128
SKIPPED_GROUPS = (2, 9)  # component (skin tones, hair) and flags


@dataclass(frozen=True)
class Progress:
    """How far a step of the preparation is: what it does, how much is done, of how much."""

    stage: str
    done: int
    total: int


def emojis(folder: Path) -> list[dict[str, Any]]:
    """The concepts in emojibase's order with label, group and subgroup by name; no flags, skin tones or letters."""
    data, groups = read_json(archive(folder, NAMES[0], NAMES[1]), "en/data.json", "meta/groups.json")
    kept = [e for e in data if e.get("group") is not None and e["group"] not in SKIPPED_GROUPS]
    return [
        {
            "hexcode": e["hexcode"],
            "label": e["label"],
            "tags": e.get("tags", []),
            "group": groups["groups"][str(e["group"])],
            "subgroup": groups["subgroups"][str(e["subgroup"])],
        }
        for e in sorted(kept, key=lambda e: e["order"])
    ]


def draw(drawing: Drawing, box: float) -> np.ndarray:
    """Draw one picture: uint8 [128, 128, 4], straight alpha, black wherever it is invisible."""
    from PIL import Image

    if drawing.svg is not None:
        import resvg_py

        # Filters work on whole pixels and leave stairs at the edges, so such drawings are drawn larger first.
        factor = 4 if "<filter" in drawing.svg else 1
        side = SIZE * factor
        png = resvg_py.svg_to_bytes(svg_string=drawing.svg, width=side, height=side, skip_system_fonts=True)
        image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
        if factor > 1:
            image = image.convert("RGBa").reduce(factor).convert("RGBA")
    else:
        art = Image.open(io.BytesIO(drawing.bitmap or b"")).convert("RGBA").convert("RGBa")
        scale = box / max(art.size)
        small = art.resize((round(art.width * scale), round(art.height * scale)), Image.Resampling.LANCZOS)
        image = Image.new("RGBA", (SIZE, SIZE), (0, 0, 0, 0))
        image.paste(small.convert("RGBA"), ((SIZE - small.width) // 2, (SIZE - small.height) // 2))
    pixels = np.array(image)
    pixels[pixels[..., 3] == 0] = 0
    return pixels


def _draw_task(task: tuple[Drawing, float]) -> bytes:
    return draw(*task).tobytes()


def _be_polite() -> None:
    if hasattr(os, "nice"):
        os.nice(5)  # drawing runs beside training


def draw_all(packages: Path, folder: Path, workers: int | None = None) -> Iterator[Progress]:
    """Draw every package into folder/pictures.npy and say what is in it in folder/drawn.jsonl, both at once or neither.

    Pictures that come out empty are left out, and of equal pictures all but the one with the shortest label.
    """
    if (folder / "pictures.npy").exists() and (folder / "drawn.jsonl").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    known = {key(e["hexcode"]): e for e in emojis(packages)}
    names = shared_names(packages, {e["hexcode"]: e["label"] for e in known.values()})
    order = {k: i for i, k in enumerate(known)}
    tasks = [(d, s) for s in SOURCES for d in drawings(packages, s, set(known), names)]
    rank = {s.id: i for i, s in enumerate(SOURCES)}
    tasks.sort(key=lambda task: (order[task[0].key], rank[task[0].source]))
    context = multiprocessing.get_context("spawn")
    digests: list[bytes | None] = []  # None: empty
    raw = folder / "pictures.raw.part"
    with context.Pool(workers or os.cpu_count(), initializer=_be_polite) as pool, raw.open("wb") as file:
        drawn = pool.imap(_draw_task, [(d, s.box) for d, s in tasks], chunksize=32)
        for count, pixels in enumerate(drawn, 1):
            digests.append(hashlib.sha256(pixels).digest() if max(pixels[3::4]) > 32 else None)
            file.write(pixels)
            if count % 32 == 0 or count == len(tasks):
                yield Progress("draw", count, len(tasks))
    kept = choose(digests, [known[d.key]["label"] for d, _ in tasks])
    records = [{
        "index": index, "hexcode": known[tasks[i][0].key]["hexcode"], "source": tasks[i][1].id,
        "package": tasks[i][1].package, "version": tasks[i][1].version, "name": tasks[i][0].name,
        "licence": tasks[i][1].licence, "sha256": (digests[i] or b"").hex(),
    } for index, i in enumerate(kept)]  # fmt: skip
    _publish(raw, kept, folder, records)


def choose(digests: list[bytes | None], labels: list[str]) -> list[int]:
    """Which drawings to keep: none that is empty; of equal ones that with the shortest label, the first if tied."""
    best: dict[bytes, int] = {}
    for i, digest in enumerate(digests):
        if digest is not None and (digest not in best or len(labels[i]) < len(labels[best[digest]])):
            best[digest] = i
    return sorted(best.values())


def _publish(raw: Path, kept: list[int], folder: Path, records: list[dict[str, Any]]) -> None:
    """Write the kept pictures behind an array's header; the array appears last, under its final name, complete."""
    write_jsonl(folder / "drawn.jsonl", records)
    part = folder / "pictures.npy.part"
    pixels = np.memmap(raw, np.uint8, "r").reshape(-1, SIZE, SIZE, 4)
    with part.open("wb") as file:
        shape = (len(kept), SIZE, SIZE, 4)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for i in kept:
            file.write(pixels[i].tobytes())
    os.replace(part, folder / "pictures.npy")
    del pixels
    raw.unlink()


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> None:
    """Write one JSON object a line, complete or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    os.replace(part, path)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
