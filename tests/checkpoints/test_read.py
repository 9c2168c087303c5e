"""The header reader against broken, lying and hostile files, and against the safetensors library itself."""

from __future__ import annotations

import io
import json
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file

from core.checkpoints.read import MOST_HEADER, finite, opened, read_header, read_tensor
from core.errors import UserError
from tests.checkpoints.refusing import Canary

GOOD = save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16)}, {"title": "two"})
NAME = "secret-folder"


def packed(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: list[Any], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def refusal(tmp_path: Path, content: bytes) -> str:
    """The one sentence with which a file is refused."""
    folder = tmp_path / NAME
    folder.mkdir(exist_ok=True)
    (folder / "x.safetensors").write_bytes(content)
    with pytest.raises(UserError) as error:
        read_header(folder / "x.safetensors")
    sentence = str(error.value)
    assert NAME not in sentence and "\n" not in sentence and sentence.endswith(".") and "x.safetensors" in sentence
    return sentence


def test_a_good_file_gives_its_tensors_bit_for_bit(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(GOOD)
    header = read_header(tmp_path / "x.safetensors")
    assert header.metadata == {"title": "two"} and set(header.tensors) == {"a", "b"}
    with opened(header.path) as file:
        assert torch.equal(read_tensor(file, header.tensors["a"]), torch.arange(6.0).reshape(2, 3))
        assert read_tensor(file, header.tensors["b"]).dtype == torch.float16


@pytest.mark.parametrize("length", [0, 7, 8, 40, len(GOOD) - 1])
def test_a_cut_file_says_how_much_of_it_is_there(tmp_path: Path, length: int) -> None:
    assert f"incomplete ({length} of" in refusal(tmp_path, GOOD[:length])


def test_a_cut_body_names_its_full_length(tmp_path: Path) -> None:
    assert f"({len(GOOD) - 5} of {len(GOOD)} bytes)" in refusal(tmp_path, GOOD[:-5])


HUGE = 2**63
NOT_SAFETENSORS = {
    "length 2^63": struct.pack("<Q", HUGE) + b"{}", "length 100 MB + 1": struct.pack("<Q", 100_000_001) + b"{}",
    "length 0": struct.pack("<Q", 0), "no JSON": packed(b"hello, world"), "array": packed(b"[1,2]"),
    "bad UTF-8": packed(b'{"\xff\xfe": 1}'), "deep": packed(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "deep objects": packed(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "NaN": packed(b'{"__metadata__": NaN}'),
    "unfinished": packed(b'{"a": {'), "long number": packed(b'{"a": ' + b"9" * 6000 + b"}"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NOT_SAFETENSORS)
def test_what_is_no_safetensors_file_is_refused_quickly_and_in_little_memory(tmp_path: Path, kind: str) -> None:
    start = time.process_time()
    assert "not a safetensors file" in refusal(tmp_path, NOT_SAFETENSORS[kind])
    assert time.process_time() - start < 0.1
    assert peak(lambda: refusal(tmp_path, NOT_SAFETENSORS[kind])) < 50e6


def peak(action: Callable[[], Any]) -> int:
    """The most bytes that Python held at once for an action."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


LYING = {
    "overlap": ({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, 12, "'b' overlaps"),
    "hole": ({"a": tensor([2], 0, 8), "b": tensor([2], 12, 20)}, 20, "'b' leaves a hole"),
    "hole at the start": ({"a": tensor([2], 4, 12)}, 12, "'a' leaves a hole"),
    "shape too large": ({"a": tensor([3], 0, 8)}, 8, "'a' claims 8 bytes"),
    "overflow": ({"a": tensor([2**31 - 1] * 4, 0, 8)}, 8, "'a' claims"),
    "2^60 by 0": ({"a": tensor([2**60, 0], 0, 0)}, 0, "'a' has the impossible shape"),
    "negative side": ({"a": tensor([-2], 0, 8)}, 8, "'a' has the impossible shape"),
    "side as text": ({"a": tensor(["2"], 0, 8)}, 8, "'a' has the impossible shape"),
    "side as truth": ({"a": tensor([True], 0, 4)}, 4, "'a' has the impossible shape"),
    "side as float": ({"a": tensor([2.0], 0, 8)}, 8, "'a' has the impossible shape"),
    "a hundred sides": ({"a": tensor([1] * 100, 0, 4)}, 4, "'a' has the impossible shape"),
    "negative offset": ({"a": tensor([2], -8, 0)}, 0, "'a' claims"),
    "ends before it begins": ({"a": tensor([2], 8, 0)}, 8, "'a' claims"),
    "offsets as text": ({"a": {"dtype": "F32", "shape": [2], "data_offsets": "08"}}, 8, "'a' has offsets"),
    "unknown format": ({"a": tensor([2], 0, 8, "F128")}, 8, "'a' has the unknown number format 'F128'"),
    "trailing bytes": ({"a": tensor([2], 0, 8)}, 9, "1 bytes behind its last tensor"),
    "no description": ({"a": 5}, 0, "'a' is not described"),
    "extra key": ({"a": tensor([2], 0, 8) | {"code": "x"}}, 8, "'a' is not described"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, 0, "metadata"),
    "a name that is no name": ({"a\u202e\n\x00": tensor([3], 0, 8)}, 8, "'a???' claims"),
}  # fmt: skip


@pytest.mark.parametrize("kind", LYING)
def test_a_lying_header_is_refused_by_the_name_of_the_tensor(tmp_path: Path, kind: str) -> None:
    header, size, says = LYING[kind]
    assert says in refusal(tmp_path, packed(header, bytes(size)))


def test_a_tensor_listed_twice_is_refused(tmp_path: Path) -> None:
    one = json.dumps(tensor([2], 0, 8))
    assert "'a' twice" in refusal(tmp_path, packed(f'{{"a": {one}, "a": {one}}}'.encode(), bytes(8)))
    inner = '{"a": {"dtype": "F32", "shape": [2], "shape": [9], "data_offsets": [0, 8]}}'
    assert "'shape' twice" in refusal(tmp_path, packed(inner.encode(), bytes(8)))


def test_too_many_tensors_and_too_long_a_header_are_refused_at_once(tmp_path: Path) -> None:
    many = "{" + ",".join(f'"{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in range(150_000)) + "}"
    long = b'{"__metadata__": {"a": "' + b"x" * MOST_HEADER + b'"}}'
    assert len(many) < MOST_HEADER
    for content, says in ((packed(many.encode()), "more than 20,000 tensors"), (packed(long), "not a safetensors file")):
        start = time.process_time()
        assert says in refusal(tmp_path, content)
        assert time.process_time() - start < 0.2
        assert peak(lambda content=content: refusal(tmp_path, content)) < 50e6


def pickles(canary: Path) -> dict[str, bytes]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Canary(canary)))
    modern, legacy = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.ones(2)}, modern)
    torch.save({"a": torch.ones(2)}, legacy, _use_new_zipfile_serialization=False)
    protocols = {f"protocol {n}": pickle.dumps(Canary(canary), n) for n in (2, 3, 4, 5)}
    return protocols | {"zip": archive.getvalue(), "torch zip": modern.getvalue(), "torch legacy": legacy.getvalue()}


@pytest.mark.parametrize("kind", pickles(Path()))
def test_a_pickle_in_disguise_is_named_and_never_opened(tmp_path: Path, kind: str) -> None:
    canary = tmp_path / "canary"
    sentence = refusal(tmp_path, pickles(canary)[kind])
    assert "pickle" in sentence and "can run any code" in sentence and "--to_safetensors" in sentence
    assert not canary.exists()


@pytest.mark.parametrize(("start", "says"), [
    (b"GGUF\x03\0\0\0", "GGUF"), (b"\x89HDF\r\n\x1a\n", "HDF5"), (b"version https://git-lfs.", "git lfs pull"),
    (b"<!DOCTYPE html><html>", "web page"), (b"cbuiltins\nopen\n", "not a safetensors file"),
])  # fmt: skip
def test_other_files_are_called_what_they_are(tmp_path: Path, start: bytes, says: str) -> None:
    assert says in refusal(tmp_path, start + bytes(600))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("fault", [float("nan"), float("inf"), float("-inf")])
def test_one_bad_number_anywhere_is_found(dtype: torch.dtype, fault: float) -> None:
    for n in (1, 2, 3, 7, 64, 1000, 4099):
        for at in {0, n // 2, n - 1}:
            weights = torch.randn(n).to(dtype)
            assert finite(weights)
            weights[at] = fault
            assert not finite(weights)


@pytest.mark.parametrize(("value", "says"), [
    (torch.tensor([1.0, float("nan")]), "NaN or infinity"), (torch.ones(2).to(torch.float8_e4m3fn), "fp8"),
    (torch.ones(2, dtype=torch.int64), "I64"),
])  # fmt: skip
def test_numbers_that_are_no_weights_are_refused_by_the_name_of_the_tensor(tmp_path: Path, value: Any, says: str) -> None:
    save_file({"some.weight": value}, str(tmp_path / "x.safetensors"))
    header = read_header(tmp_path / "x.safetensors")
    with opened(header.path) as file, pytest.raises(UserError, match=rf"'some\.weight'.*{says}"):
        read_tensor(file, header.tensors["some.weight"])


def test_a_file_that_shrinks_while_it_is_open_is_refused_and_kills_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(100_000)}, str(path))
    header = read_header(path)
    with opened(path) as file:
        path.write_bytes(b"short")
        with pytest.raises(UserError, match="became shorter"):
            read_tensor(file, header.tensors["a"])


def test_what_was_read_stays_when_the_file_is_overwritten_or_deleted(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(1000)}, str(path))
    header = read_header(path)
    with opened(path) as file:
        weights = read_tensor(file, header.tensors["a"])
    path.write_bytes(bytes(5000))
    path.unlink()
    assert torch.equal(weights, torch.ones(1000))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4), st.integers(0, len(GOOD) + 3))
@example([], len(GOOD))
def test_whatever_bytes_change_we_refuse_or_agree_with_the_library(tmp_path: Path, changes: list, length: int) -> None:
    content = bytearray(GOOD + b"\0\0\0")[:length]
    for at, byte in changes:
        if at < len(content):
            content[at] = byte
    agrees_or_refuses(tmp_path / "x.safetensors", bytes(content))


NUMBERS = st.one_of(st.integers(-2, 64), st.sampled_from([2**31, 2**60, 2**64, 1.5, True, None, "4", [1]]))
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "F8_E4M3", "BOOL", "X", 3]),
        "shape": st.lists(NUMBERS, max_size=3),
        "data_offsets": st.lists(NUMBERS, min_size=1, max_size=3),
    }
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=5), ENTRIES, max_size=3), st.integers(0, 256))
@example({"a": tensor([2, 2], 0, 16), "b": tensor([0], 16, 16)}, 16)
def test_whatever_a_header_claims_we_refuse_or_agree_with_the_library(tmp_path: Path, header: dict, size: int) -> None:
    agrees_or_refuses(tmp_path / "x.safetensors", packed(header, bytes(size)))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_read_as_the_library_reads_them(tmp_path: Path, content: bytes) -> None:
    agrees_or_refuses(tmp_path / "x.safetensors", content)


def agrees_or_refuses(path: Path, content: bytes) -> None:
    """What we accept, the library accepts with the same tensors; we refuse with a UserError only."""
    path.write_bytes(content)
    try:
        header = read_header(path)
    except UserError:
        return
    try:
        with safe_open(str(path), "pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        pytest.fail(f"accepted what the library refuses: {error}")
    assert shapes == {name: entry.shape for name, entry in header.tensors.items()}
