"""Two questions that check what the film shows: does the network find a noise that we know, and does the same run come out twice?

    x_t = alpha·x0 + sigma·eps with a known eps; the network says eps_hat;   MSE(t) = mean (eps − eps_hat)²          (1)

An answer of 0 everywhere would have MSE 1, since eps has the variance 1: what is learned is what lies below.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from core.claims import typeset
from core.observe import conditional
from core.recipe import Recipe
from core.sampling import Step
from studio.figures import strip
from studio.work.film import linear, rough
from studio.work.looks import Asked

if TYPE_CHECKING:
    from core.pipeline import TextToImage

TIMES = 21


def known_noise(pipe: TextToImage, recipe: Recipe, steps: Sequence[Step]) -> Generator[Asked, None, dict[str, Any]]:
    """Equation (1) on the picture that a run ended with, at times evenly over the schedule that the network was trained on."""
    recipe = recipe.branched
    clean = steps[-1].x_next
    eps = pipe.noise([recipe])(steps[-1].index + 2).to(clean.device)  # a draw that the run did not use
    found: dict[str, list[torch.Tensor]] = {name: [] for name in ("x", "true", "said", "left")}
    numbers = []
    for done, t in enumerate(np.linspace(0, len(pipe.schedule) - 1, TIMES).round()):
        yield Asked(done, TIMES)
        level = pipe.schedule.at(float(t))
        if level.alpha == 0:
            continue  # pure noise: there is no question to be asked
        x = level.alpha * clean + level.sigma * eps
        said = conditional(pipe, recipe.prompt, x, level).map(lambda value: value.to(clean.device))
        for name, value in {"x": x, "true": eps, "said": said.eps, "left": eps - said.eps}.items():
            found[name].append(value.float())
        error = float((eps - said.eps).double().square().mean())
        numbers.append({**strip.level_numbers(done, level), "mse": strip.exact(error)})
    seen = {name: (rough if name == "x" else linear)(pipe, torch.cat(values)) for name, values in found.items()}
    sheets = {name: strip.small_sheet(tiles) for name, tiles in seen.items()}
    return {"numbers": numbers, "sheets": sheets, "prompt": recipe.prompt}


def same_again(pipe: TextToImage, recipe: Recipe, steps: Sequence[Step]) -> Generator[Asked, None, str]:
    """Run a recipe once more, whatever is remembered, and say in a sentence whether every step came out the same."""
    equal, far = 0, 0.0
    run = pipe.run(recipe)
    try:
        for done, (before, again) in enumerate(zip(steps, run, strict=True)):
            x = again.x_next.to(before.x_next.device)
            equal += bool(torch.equal(x, before.x_next))
            far = max(far, float((x - before.x_next).norm() / before.x_next.norm()))
            yield Asked(done + 1, len(steps))
    finally:
        run.close()
    if equal == len(steps):
        return f"Run again: all {len(steps)} steps came out the same, to the last bit. Seed and step decide every random number."
    return typeset(
        f"Run again: {equal} of {len(steps)} steps came out the same to the last bit, and none is further off than {far:.0e} of "
        "its norm. Pictures computed in one batch with others may be rounded otherwise."
    )
