"""How much memory a load will take, and how much is free: asked before the first weight is read.

needs = Σ numel(parameter) · bytes(dtype) + the largest tensor as the file holds it
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from core.checkpoints.read import BITS, Entry
from core.errors import UserError


def estimate(models: Iterable[nn.Module], entries: Iterable[Entry], dtype: torch.dtype) -> int:
    """Bytes that the (meta-device) models will take as `dtype`, and the largest tensor once more while it is read."""
    weights = sum(tensor.numel() for model in models for tensor in model.state_dict().values())
    largest = max((entry.numel * BITS[entry.dtype] // 8 for entry in entries), default=0)
    return weights * dtype.itemsize + largest


def check_fits(needed: int, device: torch.device, name: str) -> None:
    """Refuse what is larger than the memory that is free; where no one can say what is free, let it through."""
    free = free_memory(device)
    if free is not None and needed > free:
        where = "" if device.type == "cpu" else f" on {device}"
        raise UserError(
            f"{name} needs ~{needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free{where}: "
            "close other programs, or load it as fp16 or bf16 (--dtype), which takes half."
        )


def free_memory(device: torch.device) -> int | None:
    """Free bytes on the device, or None where the system does not say."""
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by PyTorch, for what it makes next
        return torch.cuda.mem_get_info(device)[0] + held
    if sys.platform == "win32":
        return _free_windows()
    known = [free for free in (_free_linux(), *_free_cgroups()) if free is not None]
    return min(known, default=None)


def _free_linux(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    try:
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None  # macOS has no such file and no honest number without a subprocess


def _free_cgroups(root: Path = Path("/sys/fs/cgroup")) -> Iterable[int | None]:
    """What a container still grants: its limit less what it uses, but for file caches, which it gives back."""
    for limit, used, stat, cache in (
        ("memory.max", "memory.current", "memory.stat", ("active_file", "inactive_file")),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat",
         ("total_active_file", "total_inactive_file")),
    ):  # fmt: skip
        try:
            most = int((root / limit).read_text())  # "max" where there is no limit: a ValueError
            table = dict(line.split() for line in (root / stat).read_text().splitlines())
            yield most - int((root / used).read_text()) + sum(int(table.get(key, 0)) for key in cache)
        except (OSError, ValueError):
            yield None


def _free_windows() -> int | None:
    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_uint32), ("load", ctypes.c_uint32)] + [
            (name, ctypes.c_uint64)
            for name in ("total", "free", "total_page", "free_page", "total_virtual", "free_virtual", "extended")
        ]

    status = Status(length=ctypes.sizeof(Status))
    try:
        ok = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return None
    return int(status.free) if ok else None
