"""The memory that a load needs is asked for before the first weight is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.checkpoints import load, memory
from core.checkpoints.load import load_checkpoint
from core.checkpoints.plan import plan_checkpoint
from core.errors import UserError

CPU = torch.device("cpu")


def test_the_estimate_is_the_weights_and_the_largest_tensor(written: Any) -> None:
    plan = plan_checkpoint(written[1].single)
    entries = [entry for draft in plan.drafts for entry in draft.entries.values()]
    modules = [getattr(written[1].pipe, name) for name in ("unet", "vae", "text_encoder")]
    parameters = [p for module in modules for p in module.parameters()]
    total, largest = sum(p.numel() for p in parameters), max(p.numel() for p in parameters)
    models = [draft.model for draft in plan.drafts]
    assert memory.estimate(models, entries, torch.float32) == 4 * total + 4 * largest
    assert memory.estimate(models, entries, torch.float16) == 2 * total + 4 * largest


def test_what_does_not_fit_is_refused_before_a_weight_is_read(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*_: Any) -> None:
        raise AssertionError("a weight was read")

    monkeypatch.setattr(memory, "free_memory", lambda device: 5_000_000)
    monkeypatch.setattr(load, "materialise", unexpected)
    for path in (written[1].single, written[1].folder):
        with pytest.raises(UserError, match=r"needs ~0\.0 GB, 0\.0 GB are free: close other programs"):
            load_checkpoint(path)


def test_the_sentence_says_both_numbers_in_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 3_200_000_000)
    with pytest.raises(UserError, match=r"^sd needs ~6\.1 GB, 3\.2 GB are free"):
        memory.check_fits(6_100_000_000, CPU, "sd")
    memory.check_fits(3_100_000_000, CPU, "sd")


def test_where_nobody_knows_what_is_free_the_load_goes_on(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    memory.check_fits(10**15, CPU, "sd")
    assert load_checkpoint(written[1].folder).name == "small-1"


def test_free_memory_is_read_from_linux_and_from_a_containers_limit(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    assert memory._free_linux(tmp_path / "meminfo") == 2048 * 1024
    assert memory._free_linux(tmp_path / "none") is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\nactive_file 30\ninactive_file 70\n")
    assert list(memory._free_cgroups(tmp_path)) == [400, None]
    (tmp_path / "memory.max").write_text("max\n")
    assert list(memory._free_cgroups(tmp_path)) == [None, None]
    old = tmp_path / "memory"
    old.mkdir()
    (old / "memory.limit_in_bytes").write_text("1000\n")
    (old / "memory.usage_in_bytes").write_text("700\n")
    (old / "memory.stat").write_text("total_active_file 30\ntotal_inactive_file 70\n")
    assert list(memory._free_cgroups(tmp_path)) == [None, 400]


def test_this_machine_says_a_believable_number_or_nothing() -> None:
    free = memory.free_memory(CPU)
    assert free is None or 10**6 < free < 10**14


@pytest.mark.cuda
def test_a_gpu_says_what_it_has_free() -> None:
    assert 0 < memory.free_memory(torch.device("cuda")) < 10**13
