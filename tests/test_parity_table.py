"""The table of largest differences is what was measured, and a difference that is too large fails its test."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = """
def test_far(parity):
    parity("network", "one", "peer", 2e-6)
    parity("network", "one", "peer", 7e-6)
    parity("network", "one", "peer", 5e-6)
    parity("checkpoint", "two", "peer", 0.0, 0)

def test_too_far(parity):
    parity("network", "three", "peer", 3e-4)

def test_not_a_number(parity):
    parity("network", "four", "peer", float("nan"))

def test_nothing_measured():
    pass
"""


def test_the_largest_differences_stand_in_one_table_and_one_that_is_too_large_fails(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(TESTS)
    call = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    done = subprocess.run([*call, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert table[2:] == [
        "| checkpoint | two | peer | bit-equal | bit-equal |", "| network | four | peer | nan | 1.0e-04 |",
        "| network | one | peer | 7.0e-06 | 1.0e-04 |", "| network | three | peer | 3.0e-04 | 1.0e-04 |",
    ]  # fmt: skip
    assert done.returncode == 1 and "2 failed, 2 passed" in done.stdout
    assert "three differs from peer by 3.0e-04, which may be 1e-04" in done.stdout
