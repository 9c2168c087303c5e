"""Our networks and diffusers' from one random state dict, in every manner that is compared.

    D0  diffusers as it comes      D1  its weights channels_last      D2  channels_last in bf16

D1 and D2 have large pages and flush denormals, as ours do. D0 has neither: nobody who follows its manual does.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from core.nets.fast import quicken
from tests.benchmarks.measure import Contender

BF16_OFF = 0.08  # how far bf16 may lead from fp32 on random weights
LAST = torch.channels_last


def random_state(net: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Normal weights that keep activations near one, norms at 1 and 0; the default initialisation would take minutes."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in net.state_dict().items():
        if "norm" in name:
            state[name] = torch.ones(tensor.shape) if name.endswith("weight") else torch.zeros(tensor.shape)
        else:
            fan = max(1, tensor[0].numel()) if tensor.ndim > 1 else 2500
            state[name] = torch.randn(tensor.shape, generator=generator) * fan**-0.5
    return state


def filled(make: Callable[[], nn.Module], state: dict[str, Tensor]) -> Any:
    """A network built without memory, with these very tensors as its parameters."""
    with torch.device("meta"):
        net = make()
    net.load_state_dict(state, assign=True)
    return net.requires_grad_(False).eval()


def rounded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.bfloat16() for name, value in state.items()}


NO_LARGE_PAGES = 41  # PR_SET_THP_DISABLE of Linux' prctl


@contextlib.contextmanager
def as_it_comes() -> Iterator[None]:
    """What a process has that asks for nothing: memory in small pages, denormals as they are."""
    torch.set_flush_denormal(False)
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else lambda *_: 0
    prctl(NO_LARGE_PAGES, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(NO_LARGE_PAGES, 0, 0, 0, 0)
        torch.set_flush_denormal(True)


def contenders(
    ours: Callable[[], nn.Module],
    theirs: Callable[[], nn.Module],
    ask_ours: Callable[[Any, torch.dtype], Tensor],
    ask_theirs: Callable[[Any, torch.dtype], Tensor],
) -> dict[str, Contender]:
    """Ours in both tiers against D2, D1, D0, all asked the same; `ask_…(net, dtype)` gives the output."""
    with torch.device("meta"):
        blank = theirs()
    state = random_state(blank)
    nets = {
        "ours exact": (quicken(filled(ours, state).to(memory_format=LAST)), ask_ours, False),
        "ours fast": (quicken(filled(ours, rounded(state)).to(memory_format=LAST)), ask_ours, True),
        "D2": (filled(theirs, rounded(state)).to(memory_format=LAST), ask_theirs, True),
        "D1": (filled(theirs, state).to(memory_format=LAST), ask_theirs, False),
        "D0": (filled(theirs, state), as_it_comes()(ask_theirs), False),
    }
    return {name: _contender(*entry) for name, entry in nets.items()}


def _contender(net: nn.Module, ask: Callable[[Any, torch.dtype], Tensor], bf16: bool) -> Contender:
    dtype = torch.bfloat16 if bf16 else torch.float32
    return Contender(lambda: ask(net, dtype), BF16_OFF if bf16 else 1e-4, bf16)


def flop(make: Callable[[], nn.Module], ask: Callable[[Any], Any]) -> float:
    """Floating-point operations of the plain path, counted on the meta device."""
    with torch.device("meta"):
        net = make()
        with FlopCounterMode(display=False) as counter:
            ask(net)
    return float(counter.get_total_flops())
