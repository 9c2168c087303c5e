"""Parts of the U-Net switched off while it answers, and what can be switched off level by level. No parameter is touched.

    skip         concat(x, skip)  becomes  concat(x, 0)                                                      (1)
    self, cross  x + attention(x) becomes  x: the attention of a transformer, its other half stays           (2)
    part         what a part adds is left out: a residual block becomes its shortcut, a transformer and the  (3)
                 middle the identity, whatever has no way around it puts out 0
    word         the positions of its tokens are not in the context                                          (4)

What is off stays off for one call of the network, so that nobody else meets it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from core.errors import UserError
from core.inside.hooks import changed, given
from core.inside.parts import MIDDLE, Map
from core.nets.attention import SpatialTransformer, TransformerBlock
from core.nets.layers import ResnetBlock, like_rows
from core.nets.unet import Middle, UNet, UpStage
from core.observe import Word
from core.pipeline import TextToImage
from core.prediction import Cond, Denoiser, NetworkModel, Prediction
from core.recipe import Recipe
from core.schedules import Level

FAMILIES = ("skips", "attention", "self", "cross", "middle", "time", "words")
ATTENTION = {"attention": ("part", "attention"), "self": ("self", "self-attention"), "cross": ("cross", "cross-attention")}


@dataclass(frozen=True)
class Switch:
    """What is off: modules by their names (of a skip, the block that takes it), or positions of the context."""

    title: str
    kind: str  # skip, self, cross, part or word
    names: tuple[str, ...] = ()
    positions: tuple[int, ...] = ()


def family(name: str, found: Map, words: Sequence[Word] = ()) -> list[Switch]:
    """Everything of a kind that can be switched off, level by level from the finest, or word by word.

    Raises UserError for the words of a prompt that has none.
    """
    if name == "middle":
        return [Switch("the bottleneck", "part", ("mid_block",))]
    if name == "time":
        return [Switch("the time embedding", "part", ("time_embedding",))]
    if name == "words":
        if not words:
            raise UserError("The prompt has no words that could be left out: write some, and press Run.")
        every = tuple(position for word in words for position in word.positions)
        each = [Switch(f"“{word.text}”", "word", positions=word.positions) for word in words]
        return each if len(words) == 1 else [*each, Switch("all words", "word", positions=every)]
    if name == "skips":
        return by_level("the skips of level", "skip", [(skip.level, skip.target) for skip in found.skips])
    kind, title = ATTENTION[name]
    layers = [part for part in found.parts if part.kind == "attention"]
    around = [(part.level, part.name) for part in layers if part.way != MIDDLE]
    middle = Switch(f"{title} in the middle", kind, tuple(part.name for part in layers if part.way == MIDDLE))
    whole = Switch(f"all {title}", kind, tuple(part.name for part in layers))
    return [*by_level(f"{title} at level", kind, around), middle, whole]


def by_level(title: str, kind: str, places: Sequence[tuple[int, str]]) -> list[Switch]:
    """One switch a level for the modules that lie there."""
    return [
        Switch(f"{title} {level + 1}", kind, tuple(name for at, name in places if at == level))
        for level in sorted({level for level, _ in places})
    ]  # fmt: skip


def single(name: str, found: Map) -> Switch:
    """The switch of one part or of one skip of the map; "skip:" stands before the block that takes a skip."""
    target = name.removeprefix("skip:")
    if target != name and any(skip.target == target for skip in found.skips):
        return Switch("this skip", "skip", (target,))
    if any(part.name == name for part in found.parts):
        return Switch("this part", "part", (name,))
    raise UserError(f"The U-Net has no part {name[:60]!r}: choose one of its map.")


# ------------------------------------------------------------------------------------------------- off


@contextmanager
def off(unet: UNet, switch: Switch | None) -> Iterator[None]:
    """The U-Net without what a switch names while the block runs, which must not yield to others; words are not its matter."""
    modules = dict(unet.named_modules())
    with ExitStack() as stack:
        for name in switch.names if switch else ():
            stack.enter_context(HOOKS[switch.kind](modules, name))  # type: ignore[union-attr]
        yield


def without_skip(modules: dict[str, nn.Module], name: str) -> Any:
    """Equation (1): the block of this name is given zeros for its skip."""
    level, _, number = name.partition(".resnets.")

    def emptied(args: tuple[Any, ...]) -> None:
        skips: list[Tensor] = args[1]  # the level takes them from its end
        skips[-1 - int(number)] = torch.zeros_like(skips[-1 - int(number)])

    return given(cast(UpStage, modules[level]), emptied)


def without_attention(which: str) -> Any:
    """Equation (2)."""

    def hook(modules: dict[str, nn.Module], name: str) -> Any:
        block = cast(TransformerBlock, cast(SpatialTransformer, modules[name]).transformer_blocks[0])
        return changed(getattr(block, which), lambda _, out: torch.zeros_like(out))

    return hook


def without_part(modules: dict[str, nn.Module], name: str) -> Any:
    """Equation (3); what goes around a part gets the rows that the part would have given it."""

    def around(args: tuple[Any, ...], out: Tensor) -> Tensor:
        x, module = args[0], modules[name]
        if isinstance(module, ResnetBlock):
            return x if module.conv_shortcut is None else module.conv_shortcut(x)
        return like_rows(x, len(out)) if isinstance(module, SpatialTransformer | Middle) else torch.zeros_like(out)

    return changed(modules[name], around)


HOOKS = {"skip": without_skip, "self": without_attention("attn1"), "cross": without_attention("attn2"), "part": without_part}


# ------------------------------------------------------------------------------------------------- asked with it off


@torch.no_grad()
def told(pipe: TextToImage, x: Tensor, at: Level, texts: Sequence[str], switch: Switch | None = None) -> Prediction:
    """What the network says of x [B, C, h, w] at a level, each row under its own words, with something off."""
    model = NetworkModel(pipe.unet, pipe.schedule, pipe.parts.prediction)
    with off(pipe.unet, switch):
        return model(x.to(pipe.device), at, (Cond(heard(pipe.text_states(texts), switch)),))[0]


def denoiser(pipe: TextToImage, recipe: Recipe, switch: Switch | None = None) -> Denoiser:
    """The denoiser of a recipe, in the exact tier, with something off.

    The hooks live within each call, so that others may be served in between. Raises UserError for a word under a classifier.
    """
    word = switch is not None and switch.kind == "word"
    states = heard(pipe.text_states([recipe.prompt] * recipe.batch), switch) if word else None
    whole = pipe.denoiser([recipe.replace(tier="exact")], states)

    def denoise(x: Tensor, at: Level) -> Prediction:
        with off(pipe.unet, switch):
            return whole(x, at)

    return denoise


def heard(states: Tensor, switch: Switch | None) -> Tensor:
    """Equation (4): states [B, L, D] without the positions that a switch leaves out."""
    left = set(switch.positions) if switch else set()
    return states[:, [position for position in range(states.shape[1]) if position not in left]]
