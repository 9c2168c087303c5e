"""Hooks on modules that live as long as a block of code: watch what goes in and out, or change it.

An engine serves others between two steps of a long job. So a hook is never kept across a `yield`: it is set and removed within
one call of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def changed(module: nn.Module, change: Callable[[Any, Any], Any]) -> Iterator[None]:
    """A module that puts out change(what went in, what came out) while the block runs."""
    hook = module.register_forward_hook(lambda _, args, out: change(args, out))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def given(module: nn.Module, change: Callable[[Any], Any]) -> Iterator[None]:
    """A module that is given change(its arguments) while the block runs."""
    hook = module.register_forward_pre_hook(lambda _, args: change(args))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def outputs(modules: Mapping[str, nn.Module], copied: bool = False) -> Iterator[dict[str, Any]]:
    """What modules put out, by name and in the order of their answers, while the block runs.

    Copied where a tensor is wanted as it was then: the fast paths write on over some (core/nets/fast.py).
    """
    seen: dict[str, Any] = {}
    hooks = []
    for name, module in modules.items():
        hooks.append(
            module.register_forward_hook(lambda _, args, out, name=name: seen.update({name: out.clone() if copied else out}))
        )
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def inputs(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Copies of the first argument that modules are given, by name, while the block runs."""
    seen: dict[str, Tensor] = {}
    hooks = []
    for name, module in modules.items():
        hooks.append(module.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0].clone()})))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
