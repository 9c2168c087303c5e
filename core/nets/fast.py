"""Fast paths behind the same modules: what a network computes on a CPU while no gradient is asked for.

`quicken(net)` gives modules another `forward`; their parameters, names and hooks stay as they were, and the plain path, the one to
read, still answers wherever a gradient is recorded or the tensors lie on another device.

    weights     laid out once as oneDNN multiplies them, not at every call
    3×3         Winograd's convolution on large maps (winograd.py)
    attention   one product for q, k and v; keys and values of a text computed once for all steps of a run
    GEGLU       GELU and the product inside the matrix products
    SiLU, +     in place, since fresh memory costs more than the sum

What was computed from parameters is kept beside them and made anew when they have changed.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from types import MethodType
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from core.nets import winograd
from core.nets.attention import GEGLU, Attention, attend
from core.nets.layers import ResnetBlock, like_rows

X86 = platform.machine().lower() in ("x86_64", "amd64")  # elsewhere these operators of oneDNN are missing or slow
BF16 = X86 and torch.cpu._is_avx512_bf16_supported()  # elsewhere bf16 is slower than fp32
DTYPES = (torch.float32, torch.bfloat16) if BF16 else (torch.float32,)
FAST: dict[type[nn.Module], Callable[..., Tensor]] = {}

Net = TypeVar("Net", bound=nn.Module)


def quicken(net: Net) -> Net:
    """Put the fast paths behind the modules of a network, where this processor has them."""
    if X86 and torch.backends.mkldnn.is_available():
        for module in net.modules():
            if type(module) in FAST:
                module.forward = MethodType(FAST[type(module)], module)  # type: ignore[method-assign]
    return net


def fast_path(kind: type[nn.Module]) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a function (module, x, …) to answer for a kind of module."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def forward(self: nn.Module, x: Tensor, *rest: Any) -> Tensor:
            plain = torch.is_grad_enabled() or x.device.type != "cpu" or x.dtype not in DTYPES
            return kind.forward(self, x, *rest) if plain else function(self, x, *rest)

        FAST[kind] = forward
        return function

    return register


class Kept:
    """What was made of some parameters, as long as these are the same and unchanged; a copy of a module starts anew."""

    def __init__(self) -> None:
        self.of: tuple[Any, ...] = ()
        self.value: Any = None

    def __deepcopy__(self, memo: Any) -> Kept:
        return Kept()


def kept(module: nn.Module, name: str, make: Callable[[], Any], *of: Tensor) -> Any:
    """`make()`, remembered under a name beside the module while the tensors `of` stay what they are."""
    memory = module.__dict__.setdefault(f"_kept_{name}", Kept())
    marks = tuple((id(tensor), tensor._version) for tensor in of)
    if memory.of != marks:
        memory.value, memory.of = make(), marks
    return memory.value


def pack(weight: Tensor, rows: int) -> Tensor:
    """A weight [out, in] as oneDNN multiplies so many rows by it."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)


def product(x: Tensor, packed: Tensor, bias: Tensor | None, then: str = "none") -> Tensor:
    """x·Wᵀ + bias, then an activation, in one pass."""
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, then, [], "none")


def rows(x: Tensor) -> int:
    return x.numel() // x.shape[-1]


@fast_path(nn.Linear)
def linear(self: nn.Linear, x: Tensor) -> Tensor:
    return product(x, kept(self, "weight", lambda: pack(self.weight, rows(x)), self.weight), self.bias)


@fast_path(nn.Conv2d)
def conv(self: nn.Conv2d, x: Tensor) -> Tensor:
    x = x.contiguous(memory_format=torch.channels_last)
    square = self.kernel_size == (3, 3) and self.stride == self.padding == (1, 1)
    if square and winograd.pays(self.in_channels, self.out_channels, x):
        return winograd.convolve(x, kept(self, "tiles", lambda: winograd.transformed(self.weight), self.weight), self.bias)
    geometry = self.padding, self.stride, self.dilation, self.groups
    packed = kept(
        self, "weight",
        lambda: torch.ops.aten.mkldnn_reorder_conv2d_weight(self.weight.detach().to_mkldnn(), *geometry, x.shape), self.weight,
    )  # fmt: skip
    return torch.ops.mkldnn._convolution_pointwise(x, packed, self.bias, *geometry, "none", [], "none")


@fast_path(Attention)
def attention(self: Attention, x: Tensor, context: Tensor | None = None) -> Tensor:
    if context is None:
        parts = [layer.weight for layer in (self.to_q, self.to_k, self.to_v)]
        packed = kept(self, "qkv", lambda: pack(torch.cat(parts), rows(x)), *parts)
        q, k, v = map(self.split, product(x, packed, None).chunk(3, dim=-1))
    else:
        q, (k, v) = self.split(self.to_q(x)), of_text(self, context)
    return self.to_out[0](rearrange(attend(q, k, v), "b h l d -> b l (h d)"))


def of_text(self: Attention, context: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of a text, which a run asks for at every step."""
    weights = self.to_k.weight, self.to_v.weight
    last = kept(self, "text", lambda: [None, None], *weights)
    if last[0] is None or not torch.equal(last[0], context):
        last[:] = context.clone(), tuple(self.split(F.linear(context, weight)) for weight in weights)
    return last[1]


@fast_path(GEGLU)
def geglu(self: GEGLU, x: Tensor) -> Tensor:
    weight, bias = self.proj.weight, self.proj.bias
    a, b = kept(self, "halves", lambda: [pack(half.contiguous(), rows(x)) for half in weight.chunk(2)], weight)
    first, second = bias.chunk(2)
    return product(x, b, second, "gelu").mul_(product(x, a, first))


@fast_path(ResnetBlock)
def resnet(self: ResnetBlock, x: Tensor, temb: Tensor | None = None) -> Tensor:
    h = self.conv1(F.silu(self.norm1(x), inplace=True))
    if temb is not None:
        h += like_rows(self.time_emb_proj(F.silu(temb)), h.shape[0])[:, :, None, None]
    h = self.conv2(F.silu(self.norm2(h), inplace=True))
    return h.add_(x if self.conv_shortcut is None else self.conv_shortcut(x))
