"""The model card of a shipped folder, README.md, written from what lies beside it: how it was made, and what was measured of it.

    training.json, vocabulary.json, the components' weights      from `python -m core.training export`
    quality.json                                                 rows of `python -m tests.quality --card`, for these weights
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

TEXT = Path(__file__).with_name("card.md")
PARTS = {"vae": "VAE", "text_encoder": "text encoder", "clip": "image tower", "unet": "U-Net", "classifier": "noisy classifier"}
ASKED = (  # row of quality.json, its number, what is measured, what was aimed at on two cores, as shares or plain numbers
    ("trained", "first", "trained pair, concept at first guess", "≥ 90 %"),
    ("trained", "five", "trained pair, concept among five", "≥ 98 %"),
    ("trained", "style", "right style (3d and glossy counted as one)", "≥ 90 %"),
    ("held out", "five", "held-out pair, concept among five", "≥ 60 %"),
    ("colours", "colour", "right background colour", "≥ 90 %"),
    ("languages", "five", "asked in three other languages, among five", "≥ 85 %"),
    ("judge", "first", "the judge itself, on drawings as the VAE gives them back, first guess", ""),
    ("judge", "style", "the judge itself, right style", ""),
    ("vae", "psnr", "VAE on held-out pictures, mean PSNR in dB", "≥ 23"),
    ("clip", "caption", "CLIP: right caption first among 256 held-out pairs", "≥ 60 %"),
    ("frechet", "ratio", "Frechet distance (own features) of samples over that of reconstructions", "≤ 1.5"),
)  # fmt: skip


def card(folder: Path) -> str:
    """The whole card in Markdown; what was not measured for these weights is said to be so."""
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    claims = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    counts = {name: len(claims[name]) for name in ("concepts", "styles", "colours", "languages", "held_out")}
    return TEXT.read_text(encoding="utf-8").format(
        **counts, sizes=table(sizes(folder)), recipe=table(recipe(training)), curves=table(curves(training)),
        quality=table(quality(measured(folder))),
    )  # fmt: skip


def measured(folder: Path) -> dict[str, Any]:
    """The rows of quality.json."""
    path = folder / "quality.json"
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else {}


def keep(folder: Path, weights: str, found: Mapping[str, Any]) -> None:
    """Add rows to quality.json; those of other weights are forgotten. Then write the card."""
    path = folder / "quality.json"
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    rows = (old["rows"] if old.get("weights") == weights else {}) | dict(found)
    path.write_text(json.dumps({"weights": weights, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card(folder), encoding="utf-8")


def sizes(folder: Path) -> Iterator[tuple[str, ...]]:
    yield "part", "parameters", "MB in fp16"
    for part, name in PARTS.items():
        (path,) = (folder / part).glob("*.safetensors")
        with safe_open(path, "pt") as file:
            shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
        count = sum(map(math.prod, shapes))
        yield name, f"{count / 1e6:.1f} M", f"{path.stat().st_size / 1e6:.1f}"


def recipe(training: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    yield "part", "steps", "batch", "learning rate", "optimiser", "minutes", "commit"
    for part, made in training.items():
        run = made["config"]["run"]
        optimiser = "Muon and AdamW" if run.get("muon") else "AdamW"
        yield part, f"{made['step']:,}", str(run["batch"]), f"{run['lr']:g}", optimiser, f"{made['minutes']:.0f}", made["commit"]


def curves(training: Mapping[str, Any], points: int = 6) -> Iterator[tuple[str, ...]]:
    """The loss at about equally spaced steps: enough to see whether it still falls."""
    yield "part", "loss (at step)"
    for part, made in training.items():
        curve = made["curve"]
        chosen = [curve[round(i * (len(curve) - 1) / (points - 1))] for i in range(points)]
        yield part, ", ".join(f"{loss:.3f} ({step:,})" for step, loss in dict.fromkeys(map(tuple, chosen)))


def quality(rows: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    yield "what", "measured", "n", "aimed at"
    for row, number, what, aim in ASKED:
        if row not in rows:
            yield what, "not measured for these weights", "", aim
            continue
        value = rows[row][number]
        yield what, f"{value:.1%}" if row not in ("vae", "frechet") else f"{value:g}", str(rows[row]["n"]), aim


def table(rows: Iterator[tuple[str, ...]]) -> str:
    head, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rest))
