"""Whether what is asked for fits into the memory that is free, and if not, what would: asked before anybody waits for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from core.checkpoints.memory import free_memory
from core.errors import UserError
from core.recipe import Recipe

if TYPE_CHECKING:
    from core.pipeline import TextToImage

GRAIN = 64  # pixels between one size and the next that is tried
SMALLEST = 64


def check_room(pipe: TextToImage, recipes: Sequence[Recipe], forget: Callable[[], None]) -> None:
    """Refuse recipes run together that need more than is free even after `forget`; where no one can say, let them through."""
    needed = sum(map(pipe.memory, recipes))
    if _fits(needed, pipe):
        return
    forget()
    if _fits(needed, pipe):
        return
    free = free_memory(pipe.device) or 0
    raise UserError(f"This needs ~{needed / 1e9:.2g} GB of memory, and {free / 1e9:.2g} GB are free: "
                    f"{smaller(pipe, recipes[0], free)}.")  # fmt: skip


def _fits(needed: int, pipe: TextToImage) -> bool:
    free = free_memory(pipe.device)
    return free is None or needed <= free


def smaller(pipe: TextToImage, recipe: Recipe, free: int) -> str:
    """What to ask for instead: fewer pictures, or else a smaller size of this shape."""
    for batch in range(recipe.batch - 1, 0, -1):
        if pipe.memory(recipe.replace(batch=batch)) <= free:
            return f"try {batch} at once" if batch > 1 else "try one picture at a time"
    width, height = recipe.width or pipe.size, recipe.height or pipe.size
    longest = max(width, height)
    for side in range((longest - 1) // GRAIN * GRAIN, SMALLEST - 1, -GRAIN):
        size = [max(16, side * one // longest // 8 * 8) for one in (width, height)]
        if pipe.memory(recipe.replace(batch=1, width=size[0], height=size[1])) <= free:
            return f"try {size[0]}×{size[1]}" + (", one picture at a time" if recipe.batch > 1 else "")
    return "try fewer steps, or close other programs"
