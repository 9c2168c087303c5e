"""Where the files of visitors lie: in folders of the studio's own, known before Gradio is, and gone when the studio is."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from studio.service import machine

ROOT = Path(__file__).resolve().parents[2]
# As the app starts, up to a model that is none; then where Gradio keeps which files.
STARTED = """
import contextlib, json, os, socket, sys, tempfile
from studio import command

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
with contextlib.suppress(SystemExit):
    command.run(command.parse(["--no-setup", "--port", str(port), "--model", sys.argv[1]]))

from gradio import mcp
from gradio.utils import get_upload_folder
print(json.dumps([mcp.DEFAULT_TEMP_DIR, get_upload_folder(), tempfile.gettempdir()]))
"""


@pytest.mark.parametrize("given", [False, True])
def test_what_programs_send_by_mcp_lies_where_the_studio_keeps_its_files(tmp_path, given):
    broken, place = tmp_path / "broken.safetensors", tmp_path / "place"
    broken.write_bytes(b"no model at all")
    place.mkdir()
    env = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"}
    env |= {"GRADIO_TEMP_DIR": str(place)} if given else {"TMPDIR": str(place)}
    done = subprocess.run([sys.executable, "-c", STARTED, str(broken)], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    mcp, served, made = map(Path, json.loads(done.stdout.splitlines()[-1]))
    assert mcp == served and mcp.name == "served" and mcp != made
    assert mcp.parent == (place if given else made)
    assert made.parent == place and made.name.startswith(machine.PREFIX) and not made.exists()


def test_what_a_killed_run_wrote_into_a_named_folder_is_swept_and_what_is_served_stays(tmp_path, monkeypatch):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, kept = tmp_path / f"{machine.PREFIX}{ended.pid}-abc" / "film.gif", tmp_path / "served" / "upload.png"
    for path in (left, kept):
        path.parent.mkdir()
        path.write_bytes(b"x")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    machine.own_temp_folder()
    assert not left.parent.exists() and kept.exists()
    own = Path(tempfile.gettempdir())
    assert own.parent == tmp_path and own.name.startswith(f"{machine.PREFIX}{os.getpid()}-")
