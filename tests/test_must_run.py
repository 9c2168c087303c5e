"""Under MUST_RUN a test that is left out for what could be installed has failed, and so has a whole file; other reasons stand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ONE = """
import pytest

def test_of_a_peer():
    pytest.importorskip("a_peer_that_nobody_has")

@pytest.mark.skipif(True, reason="some package is not installed")
def test_marked(): ...

@pytest.mark.skipif(True, reason="a processor without bf16")
def test_of_a_machine(): ...

@pytest.mark.xfail(reason="known")
def test_known(): assert False

def test_that_runs(): ...
"""
WHOLE = 'import pytest\npytest.importorskip("a_peer_that_nobody_has")\ndef test_never(): ...\n'


@pytest.mark.parametrize(("given", "code", "counts"), [
    ({}, 0, "1 passed, 4 skipped, 1 xfailed"),
    ({"MUST_RUN": "1"}, 1, "1 failed, 1 passed, 1 skipped, 1 xfailed, 2 errors"),
])  # fmt: skip
def test_only_what_a_machine_cannot_mend_may_be_left_out(tmp_path: Path, given: dict[str, str], code: int, counts: str) -> None:
    (tmp_path / "test_one.py").write_text(ONE)
    (tmp_path / "test_whole.py").write_text(WHOLE)
    call = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", f"--rootdir={tmp_path}",
            "--continue-on-collection-errors", str(tmp_path)]  # fmt: skip
    clean = {name: value for name, value in os.environ.items() if name != "MUST_RUN"}
    done = subprocess.run(call, cwd=ROOT, env=clean | given, capture_output=True, text=True)
    assert done.returncode == code and counts in done.stdout, done.stdout
    assert done.stdout.count("MUST_RUN is set") >= 3 if given else "MUST_RUN" not in done.stdout
