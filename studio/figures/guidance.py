"""What the guidance tab shows, as tables that its scripts draw: pure functions of runs, points and predictions.

Rough pictures are handed over as numbers, not as files: x0 at any scale is x0_0 + w·(x0_c − x0_0), and so is its rough picture,
so that the page itself can follow a dragged gamma.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from core.metrics import Interval
from core.plane import plane
from core.prediction import Prediction
from core.recipe import Recipe
from core.sampling import Step
from core.schedules import Level, Path
from studio.figures.run import data_uri, scale
from studio.formats.infotext import short
from studio.service.jobs import Run

Rough = Callable[[Tensor], Tensor]  # latents [B, C, h, w] -> rough pictures [B, 3, h, w]
TILE, GRID = 160, 32  # pixels of a tile; side of what is handed over as numbers


def tile(image: Image.Image) -> str:
    """A small picture as the text of an <img src>."""
    small = image.copy()
    small.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    return data_uri(small)


def number(value: float, digits: int = 4) -> float | None:
    """A number for JSON, which has no NaN."""
    return round(float(value), digits) if math.isfinite(value) else None


def interval(found: Interval | None) -> list[float | None] | None:
    """Value, low and high."""
    return None if found is None else [number(value) for value in found]


# ------------------------------------------------------------------------------------------------------- the sweep


def sweep_rows(gammas: Sequence[float], prompts: Sequence[str], base: Recipe) -> dict[str, Any]:
    """The frame of the grid: a row a scale, a column a prompt and seed."""
    return {
        "rows": [both(gamma) for gamma in gammas],
        "prompts": list(prompts),
        "seeds": [str((base.seed + i) % 2**64) for i in range(base.batch)],  # text: they may exceed a browser's numbers
    }


def both(gamma: float) -> dict[str, Any]:
    """A scale under both its names."""
    names = {"name": f"γ {short(gamma)}", "cfg": f"CFG {short(round(1 + gamma, 10))}", "long": scale(gamma)}
    return {"gamma": gamma} | {key: text.replace("-", "−") for key, text in names.items()}


def judged(gamma: float) -> dict[str, Any]:
    """A scale of classifier guidance: by an exact classifier it would do what the same CFG scale does."""
    return {"gamma": gamma, "name": f"γ {short(gamma)}", "long": f"γ {short(gamma)}, as CFG scale {short(gamma)}"}


def sweep_points(points: Sequence[Any]) -> list[dict[str, Any]]:
    """What every scale came to, for the chart and its table."""
    return [
        both(point.gamma) | {
            "diversity": interval(point.diversity), "score": interval(point.score),
            "probability": interval(point.probability), "spread": [number(point.spread), None, None],
        }
        for point in points
    ]  # fmt: skip


def sheet(cells: Mapping[tuple[int, int], Sequence[Image.Image]], gammas: Sequence[float]) -> Image.Image:
    """The pictures of a sweep as one: a row a scale, named at its left; rows not reached yet are left out."""
    rows = sorted({g for g, _ in cells})
    width, height = next(iter(cells.values()))[0].size
    columns = [[image for g, p in sorted(cells) if g == row for image in cells[g, p]] for row in rows]
    whole = Image.new("RGB", (100 + max(map(len, columns)) * (width + 4), len(rows) * (height + 4)), "white")
    pen = ImageDraw.Draw(whole)
    for y, (g, images) in enumerate(zip(rows, columns, strict=True)):
        name = f"gamma {short(gammas[g])}\nCFG {short(round(1 + gammas[g], 10))}"  # the built-in letters are Latin
        pen.text((8, y * (height + 4) + height // 2 - 16), name, fill="black", font_size=16)
        for x, image in enumerate(images):
            whole.paste(image, (100 + x * (width + 4), y * (height + 4)))
    return whole


# ------------------------------------------------------------------------------------------------------- the triangle


def triangle(run: Run, row: int, rough: Rough) -> dict[str, Any]:
    """Every step of a run, seen in the plane of its two predictions; `row` is the picture of the batch."""
    recipe = run.recipe
    steps = [triangle_step(step.map(lambda x: x[row : row + 1]), recipe.gamma, rough) for step in run.steps]
    seed = str((recipe.seed + row) % 2**64)
    return both(recipe.gamma) | {"steps": steps, "prompt": recipe.prompt, "seed": seed, "picture": tile(run.images[row])}


def triangle_step(step: Step, gamma: float, rough: Rough) -> dict[str, Any]:
    """The plane at one step; without coordinates where the network was asked only once."""
    call = step.evaluations[0]
    told: dict[str, Any] = {"step": step.index + 1, "t": number(call.at.t, 1), "nsr": number(call.at.nsr)}
    if not {"cond", "uncond"} <= call.parts.keys():
        return told | {"only": next(iter(call.parts), "cond")}
    empty, cond = call.parts["uncond"], call.parts["cond"]
    found = plane(empty.eps, cond.eps, call.eps, 1 + gamma)
    pull = (cond.eps - empty.eps).square().mean(1, keepdim=True).sqrt()
    return told | {
        "a": number(found.a), "d": number(found.d, 6), "h": number(found.h), "off": number(found.off, 9),
        "empty": grid(rough(empty.x0)), "cond": grid(rough(cond.x0)), "pull": grid(pull / pull.max().clamp(min=1e-9)),
    }  # fmt: skip


def grid(x: Tensor) -> dict[str, Any]:
    """Values [1, C, h, w] as whole hundredths, C after C, a large map averaged down."""
    side = max(x.shape[-2:])
    if side > GRID:
        x = F.adaptive_avg_pool2d(x.float(), tuple(max(1, round(n * GRID / side)) for n in x.shape[-2:]))
    values = np.clip(np.rint(x[0].float().cpu().numpy() * 100), -9999, 9999).astype(int)
    return {"h": x.shape[-2], "w": x.shape[-1], "c": x.shape[1], "v": values.ravel().tolist()}


# ------------------------------------------------------------------------------------------------------- interval, rescale


def ruler(path: Path, low: float, high: float) -> dict[str, Any]:
    """Which moves of a path are guided where low ≤ nsr ≤ high."""
    levels = path.finite().levels[:-1]
    inside = [low <= level.nsr <= high for level in levels]
    marks = [{"t": number(level.t, 1), "nsr": number(level.nsr), "on": on} for level, on in zip(levels, inside, strict=True)]
    return {"marks": marks, "guided": sum(inside), "of": len(inside), "nfe": len(inside) + sum(inside), "full": 2 * len(inside)}


def effect(name: str, run: Run) -> dict[str, Any]:
    """One variant's picture, what it cost, and how far its predictions spread on the way."""
    pixels = np.asarray(run.images[0])
    return {
        "name": name, "src": tile(run.images[0]), "nfe": run.nfe,
        "clipped": number(float(((pixels == 0) | (pixels == 255)).mean()), 3),
        "spread": number(float(run.steps[-1].x_next[0].std())),
        "line": [number(float(step.evaluations[0].x0[0].std())) for step in run.steps],
    }  # fmt: skip


def conditional_spread(run: Run) -> list[float | None]:
    """The standard deviation of the conditional prediction of x0 at every step."""
    return [number(float(step.evaluations[0].parts.get("cond", step.evaluations[0]).x0[0].std())) for step in run.steps]


# ------------------------------------------------------------------------------------------------------- the classifier


def pushes(free: Prediction, judged: Prediction, at: Level, gradient: Tensor, rough: Rough) -> dict[str, Any]:
    """Where both kinds of guidance push x0 at one step, and how alike they are where they can be compared.

    `gradient` is the classifier's at the x of the classifier-free run: −sigma·gradient and eps_c − eps_0 would be one and
    the same for an exact classifier.
    """
    own = {name: shown(p, rough) for name, p in (("free", free), ("judged", judged))}
    if {"cond", "uncond"} <= free.parts.keys():
        pull = (free.parts["cond"].eps - free.parts["uncond"].eps).flatten()
        push = (-at.sigma * gradient).flatten()
        cosine = float(F.cosine_similarity(pull, push, dim=0))
        own["alike"] = {"cosine": number(cosine, 3), "pull": number(float(pull.norm()), 3), "push": number(float(push.norm()), 3)}
        own["gradient"] = coloured(-at.sigma * gradient, rough)
        own["pull"] = coloured(free.parts["cond"].eps - free.parts["uncond"].eps, rough)
    return own


def shown(p: Prediction, rough: Rough) -> dict[str, Any]:
    """The rough x0, and how long the push was beside the prediction that it moved."""
    plain = p.parts.get("uncond", p)
    return {"x0": grid(rough(p.x0)), "share": number(float((p.eps - plain.eps).norm() / plain.eps.norm()), 4)}


def coloured(direction: Tensor, rough: Rough) -> dict[str, Any]:
    """A direction in latents as colours around grey: what it adds to a picture, at full strength. eps grows where x0 falls."""
    rgb = rough(-direction) - rough(direction * 0)
    return grid(rgb / rgb.abs().max().clamp(min=1e-9))
