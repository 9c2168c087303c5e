"""Which (concept, style) pairs are never trained on: five in a hundred, fixed by a hash, honest about near copies.

A held-out pair measures composition (a known thing in a known style, never seen together), so no near copy of it may be
in training. Pictures are twins if they are the `3d` and the `gradient` picture of one concept (two renderings of the
same model), or if their thumbnails are almost equal: within one style ("farmer", "man farmer") or within one concept.
Twins of twins are twins. A family of twins is held out together, each member counting as a pair; a family that spans
two concepts is never held out. A family is held out if its hash, a number in [0, 1), is below

    q = 0.05 · pairs / pairs in families of one concept                                                  (1)

unless its concept would keep fewer than three trained styles.

The result for the packages we use is frozen in held_out.txt, which is what counts: a renderer that rounds otherwise
must not move pictures between training and test. A slow test computes the list again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

HELD_OUT_SHARE = 0.05
LEAST_TRAINED = 3
NEAR = 8.0  # root mean square difference of 16 × 16 thumbnails on white, of 255: below it, people see one picture


def thumbnails(pictures: np.ndarray, side: int = 16) -> np.ndarray:
    """Shrink straight-alpha pictures uint8 [N, S, S, 4], on white, to float32 [N, side·side·3]."""
    n, size = pictures.shape[:2]
    out = np.empty((n, side * side * 3), np.float32)
    for start in range(0, n, 256):
        part = pictures[start : start + 256].astype(np.float32)
        alpha = part[..., 3:] / 255
        rgb = part[..., :3] * alpha + 255 * (1 - alpha)
        out[start : start + 256] = rgb.reshape(-1, side, size // side, side, size // side, 3).mean((2, 4)).reshape(
            len(part), -1)  # fmt: skip
    return out


def _near_pairs(rows: np.ndarray, thumbs: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of rows whose thumbnails are nearer than NEAR; |a − b|² = |a|² + |b|² − 2ab finds the candidates."""
    v = thumbs[rows].astype(np.float64)
    square = (v * v).sum(1)
    distance = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * v @ v.T, 0) / v.shape[1])
    return [(int(rows[i]), int(rows[j])) for i, j in np.argwhere(np.triu(distance < NEAR, 1))]


def twins(records: list[dict[str, Any]], thumbs: np.ndarray) -> list[int]:
    """Give every picture the number of its family: the smallest index among its twins."""
    parent = list(range(len(records)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    by_source: dict[str, list[int]] = {}
    by_concept: dict[str, dict[str, int]] = {}
    for i, r in enumerate(records):
        by_source.setdefault(r["source"], []).append(i)
        by_concept.setdefault(r["hexcode"], {})[r["source"]] = i
    edges = [(c["3d"], c["gradient"]) for c in by_concept.values() if "3d" in c and "gradient" in c]
    for rows in [*by_source.values(), *(list(c.values()) for c in by_concept.values())]:
        edges += _near_pairs(np.array(rows), thumbs)
    for a, b in edges:
        a, b = sorted((root(a), root(b)))
        parent[b] = a
    return [root(i) for i in range(len(records))]


def unit_hash(hexcode: str, source: str) -> float:
    """Map a pair to a number in [0, 1) that is the same on every machine and in every version of Python."""
    digest = hashlib.sha256(f"{hexcode} {source}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def frozen() -> set[tuple[str, str]]:
    """Read the held-out pairs, (hexcode, source), that are written down for good."""
    text = Path(__file__).with_name("held_out.txt").read_text(encoding="utf-8")
    return {(a, b) for a, b in (line.split() for line in text.splitlines())}


def split(records: list[dict[str, Any]], families: list[int]) -> list[str]:
    """Say for every picture whether it is "train" or "held_out"."""
    members: dict[int, list[int]] = {}
    for i, family in enumerate(families):
        members.setdefault(family, []).append(i)
    single = [m for m in members.values() if len({records[i]["hexcode"] for i in m}) == 1]
    eligible = sum(len(m) for m in single)
    limit = HELD_OUT_SHARE * len(records) / max(eligible, 1)
    left = Counter(r["hexcode"] for r in records)
    out = ["train"] * len(records)
    hashes = {m[0]: unit_hash(records[m[0]]["hexcode"], records[m[0]]["source"]) for m in single}
    for m in sorted(single, key=lambda m: hashes[m[0]]):
        concept = records[m[0]]["hexcode"]
        if hashes[m[0]] < limit and left[concept] - len(m) >= LEAST_TRAINED:
            left[concept] -= len(m)
            for i in m:
                out[i] = "held_out"
    return out
