"""What a part of the U-Net does at a step of a run: its activations, what normalisation makes of them, where a position looks.

    after GroupNorm, before its learnt scale, the numbers of a group have mean 0 and variance 1                       (1)
    SiLU(h) = h / (1 + e^−h)                                                                                          (2)
    row_i = softmax_j(q_i·k_j / √d)        how much position i takes of position j in self-attention; it sums to one  (3)

The network is asked once more what it was asked at the step, with its words and without guidance, and watched.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import UserError
from core.inside.hooks import given, outputs
from core.nets.attention import SpatialTransformer, TransformerBlock
from core.nets.layers import ResnetBlock
from core.observe import conditional, heard_then
from core.pipeline import TextToImage
from core.recipe import Recipe
from core.sampling import Step


def activation(pipe: TextToImage, recipe: Recipe, step: Step, name: str) -> Tensor:
    """What the part of this name puts out at a step: [C, h, w], of the time embedding [D]; float32."""
    with outputs({name: part_of(pipe, name)}) as seen:
        again(pipe, recipe, step)
    return cast(Tensor, seen[name])[0].float().cpu().clone()


class Normalised(NamedTuple):
    """The way through the first GroupNorm and SiLU of a residual block, each [C, h, w]: equations (1) and (2)."""

    before: Tensor
    normalised: Tensor  # without the learnt scale and shift
    after: Tensor  # with them, and through SiLU
    groups: int


def normalised(pipe: TextToImage, recipe: Recipe, step: Step, name: str) -> Normalised:
    """What the first normalisation of a residual block makes of its input at a step."""
    block = part_of(pipe, name)
    if not isinstance(block, ResnetBlock):
        raise UserError(f"{name} is no residual block, which alone begins with GroupNorm and SiLU: choose another part.")
    kept: list[Tensor] = []
    with given(block.norm1, lambda args: kept.append(args[0].float().clone())):
        again(pipe, recipe, step)
    before, norm = kept[0][:1], block.norm1
    weight, bias = norm.weight.float(), norm.bias.float()
    bare = F.group_norm(before, norm.num_groups, eps=norm.eps)
    after = F.silu(bare * weight[:, None, None] + bias[:, None, None])
    return Normalised(before[0].cpu(), bare[0].cpu(), after[0].cpu(), norm.num_groups)


def attended(pipe: TextToImage, recipe: Recipe, step: Step, name: str, down: float, right: float) -> Tensor:
    """Equation (3): where the position at these shares of the picture's height and width looks, [heads, h, w].

    Only this row is computed: of a large map the whole matrix would not fit into memory.
    """
    layer = part_of(pipe, name)
    if not isinstance(layer, SpatialTransformer):
        raise UserError(f"{name} has no attention: choose a part that has.")
    attend = cast(TransformerBlock, layer.transformer_blocks[0]).attn1
    shape: list[int] = []
    rows: list[Tensor] = []

    def look(args: tuple[Tensor, ...]) -> None:
        x = args[0][:1]  # 1 L D
        height, width = shape
        i = min(height - 1, int(down * height)) * width + min(width - 1, int(right * width))
        rows.append(attend.weights(x[:, i : i + 1], x)[0, :, 0].float().unflatten(-1, (height, width)).cpu())

    with given(layer, lambda args: shape.extend(args[0].shape[-2:])), given(attend, look):
        again(pipe, recipe, step)
    return rows[0]


def again(pipe: TextToImage, recipe: Recipe, step: Step) -> None:
    """Ask the network what it was asked at a step of a run of one picture; raises UserError under a classifier."""
    conditional(pipe, heard_then(pipe, recipe, step).prompt, step.x[:1], step.evaluations[0].at)


def part_of(pipe: TextToImage, name: str) -> nn.Module:
    """A module of the U-Net by its name; raises UserError where there is none."""
    found = dict(pipe.unet.named_modules()).get(name)
    if not name or found is None:
        raise UserError(f"The U-Net has no part {name[:60]!r}: choose one of its map.")
    return found
