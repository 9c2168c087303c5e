"""Reading a .safetensors file that may be broken or hostile: a strict look at its header, then one tensor at a time.

    file   = length of the header (8 bytes, little-endian) | header (JSON) | data
    header = {name: {"dtype", "shape", "data_offsets": [begin, end]}, …, "__metadata__": {text: text}}

What must hold before a byte of data is read: end − begin = bytes(dtype) · product(shape); the tensors in order of begin
lie side by side from 0 to the end of the file; no name stands twice. No mapping into memory: a mapped file that shrinks
kills the process, one that is overwritten changes live weights.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from core.errors import UserError

MOST_HEADER = 10_000_000  # bytes; Stable Diffusion with its EMA copy has 0.3 MB
MOST_TENSORS = 20_000  # Stable Diffusion with its EMA copy has 1,831
MOST_SIDE = 2**31
PIECE = 2**30  # bytes asked of the system at once; Linux hands out at most 2 GiB
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
WEIGHTS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
PICKLE = (
    "is a pickle file, which can run any code when it is opened, so it never is here: use the .safetensors version "
    "of the model, or convert it where that does no harm (with diffusers: "
    "scripts/convert_original_stable_diffusion_to_diffusers.py --to_safetensors)"
)
_AGAIN = "copy or download it again"


@dataclass(frozen=True)
class Entry:
    """One tensor as the header describes it; begin and end count from the start of the file."""

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """What a file holds, checked: its tensors by name and what it says of itself."""

    path: Path
    tensors: dict[str, Entry]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """The checked header of a .safetensors file, without reading its data.

    Raises UserError naming the fault and, where one tensor is at fault, that tensor.
    """
    if path.exists() and not path.is_file():  # to open a pipe or a device would wait for ever
        raise UserError(f"{path.name} is no file: {_AGAIN}.")
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            raw = _header_bytes(path, file, size)
    except OSError as error:
        raise UserError(f"{path.name} cannot be read ({error.strerror}).") from error
    data = _parse(path, raw)
    metadata = _metadata(path, data.pop("__metadata__", None))
    start = 8 + len(raw)
    entries = [_entry(path, name, value, start) for name, value in data.items()]
    _lie_side_by_side(path, entries, start, size)
    return Header(path, {entry.name: entry for entry in entries}, metadata)


def _header_bytes(path: Path, file: BinaryIO, size: int) -> bytes:
    first = file.read(8)
    if size < 8:
        raise UserError(f"{path.name} is incomplete ({size} of at least 8 bytes): {_AGAIN}.")
    length = int.from_bytes(first, "little")
    if length > MOST_HEADER or length < 2:
        disguise = _disguise(first + file.read(504))
        raise UserError(f"{path.name} {disguise or f'is not a safetensors file (header of {length:,} bytes): {_AGAIN}'}.")
    if 8 + length > size:
        disguise = _disguise(first + file.read(504))
        raise UserError(f"{path.name} {disguise or f'is incomplete ({size} of more than {8 + length} bytes): {_AGAIN}'}.")
    return file.read(length)


_MAGIC = (
    (rb"\x80[\x02-\x05]", PICKLE),
    (rb"PK\x03\x04", PICKLE),  # torch.save writes a zip archive around a pickle
    (rb"(?s).{257}ustar", PICKLE),  # and once wrote a tar archive
    (rb"GGUF", "is a GGUF file, which is not supported: use the .safetensors version of the model"),
    (rb"\x89HDF", "is an HDF5 file, which is not supported: use the .safetensors version of the model"),
    (rb"version https://git-lfs", "is only a pointer to the real file (git LFS): fetch the model with `git lfs pull`"),
    (rb"(?i)\s*<(!doctype|html)", "is a web page, not a model: the download asked for a login; download it again"),
)


def _disguise(start: bytes) -> str | None:
    return next((sentence for magic, sentence in _MAGIC if re.match(magic, start)), None)


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    if raw.count(b'"data_offsets"') > MOST_TENSORS:  # counted first: to parse 200,000 takes seconds
        raise UserError(f"{path.name} lists more than {MOST_TENSORS:,} tensors; no Stable Diffusion model has so many.")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise UserError(f"{path.name} lists {show(twice)} twice, which hides one of two tensors: {_AGAIN}.")
        return table

    try:
        if not raw.startswith(b"{"):
            raise ValueError("no object")
        data = json.loads(raw.decode("utf-8"), object_pairs_hook=unique, parse_constant=_no_constant)
    except UserError:
        raise
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise UserError(f"{path.name} is not a safetensors file (its header is no JSON object): {_AGAIN}.") from error
    return data


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _metadata(path: Path, value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise UserError(f"{path.name} has metadata that are no texts: it was not written by the safetensors library.")
    return value


def _entry(path: Path, name: str, value: Any, start: int) -> Entry:
    def wrong(what: str) -> UserError:
        return UserError(f"{path.name}: the tensor {show(name)} {what}: {_AGAIN}.")

    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise wrong("is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise wrong(f"has the unknown number format {show(str(dtype))}")
    if not _counts(shape) or len(shape) > 8 or not all(0 <= side < MOST_SIDE for side in shape):
        raise wrong(f"has the impossible shape {show(str(shape))}")
    if not _counts(offsets) or len(offsets) != 2:
        raise wrong("has offsets that are no two numbers")
    begin, end = offsets
    bits = math.prod(shape) * BITS[dtype]
    if begin < 0 or (end - begin) * 8 != bits:
        raise wrong(f"claims {end - begin:,} bytes for {list(shape)} of {dtype}, which takes {math.ceil(bits / 8):,}")
    return Entry(path, name, dtype, tuple(shape), start + begin, start + end)


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int for number in value)


def _lie_side_by_side(path: Path, entries: list[Entry], start: int, size: int) -> None:
    at = start
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != at:
            fault = "overlaps the one before it" if entry.begin < at else "leaves a hole before it"
            raise UserError(f"{path.name}: the tensor {show(entry.name)} {fault}: {_AGAIN}.")
        at = entry.end
    if size < at:
        raise UserError(f"{path.name} is incomplete ({size:,} of {at:,} bytes): {_AGAIN}.")
    if size > at:
        raise UserError(f"{path.name} has {size - at:,} bytes behind its last tensor, which nothing accounts for: {_AGAIN}.")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to hand to `read_tensor`; whatever the system says becomes a UserError."""
    try:
        with open(path, "rb", buffering=0) as file:
            yield file  # type: ignore[misc]
    except OSError as error:
        raise UserError(f"{path.name} cannot be read any more ({error.strerror}): {_AGAIN}.") from error


def read_tensor(file: BinaryIO, entry: Entry) -> Tensor:
    """Copy one tensor out of an open file, in the format it is stored in.

    Raises UserError if the file ends early, or the numbers are no floating-point weights or not all finite.
    """
    path = entry.path
    if entry.dtype not in WEIGHTS:
        kind = "fp8 (or smaller) numbers" if BITS[entry.dtype] <= 8 and entry.dtype[0] == "F" else entry.dtype
        raise UserError(
            f"{path.name}: the tensor {show(entry.name)} holds {kind}; use the fp16, bf16 or fp32 version of the model."
        )
    data = torch.empty(entry.end - entry.begin, dtype=torch.uint8)
    view = memoryview(data.numpy())  # type: ignore[arg-type]
    file.seek(entry.begin)
    done = 0
    while done < len(view):
        got = file.readinto(view[done : done + PIECE])  # type: ignore[attr-defined]
        if not got:
            raise UserError(f"{path.name} became shorter while it was read: {_AGAIN}.")
        done += got
    tensor = data.view(WEIGHTS[entry.dtype]).view(entry.shape)
    if not finite(tensor):
        fault = f"the weight {show(entry.name)} holds NaN or infinity, so that every picture would be black"
        raise UserError(f"{path.name}: {fault}: use another version of the model.")
    return tensor


def finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite; the extremes say so without a mask as large as the tensor."""
    low, high = torch.aminmax(tensor)
    return bool(torch.isfinite(low)) and bool(torch.isfinite(high))


def show(text: str) -> str:
    """A name from a file, fit for a sentence: quoted, printable, at most 120 characters."""
    text = text if len(text) <= 120 else text[:117] + "…"
    return "'" + "".join(c if c.isprintable() else "?" for c in text) + "'"
