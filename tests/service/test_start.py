"""How a server starts, ends, is killed and starts again, as a user and an operating system see it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from studio.service import machine
from tests.core.tiny import write_tiny
from tests.service.pages import API, arguments, eventually, free_port, heard, script

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and modes of a POSIX system")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("model"))


@contextlib.contextmanager
def started(model, folder, port=None, wait=400, **more):
    """`python launch.py` in a folder of its own; yields the process and its address once it answers."""
    port = port or free_port()
    command = [sys.executable, str(ROOT / "launch.py"), "--no-setup", "--model", str(model), "--port", str(port)]
    environment = os.environ | {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    environment.pop("GRADIO_TEMP_DIR", None)
    log = (folder / "log.txt").open("a")
    environment = {key: value for key, value in (environment | more).items() if value is not None}
    server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/"

    def answers():
        assert server.poll() is None, (folder / "log.txt").read_text()
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(url, timeout=10).status_code == 200

    try:
        eventually(answers, wait)
        yield server, url
    finally:
        server.kill()
        server.wait(20)


def begin(url, **given):
    """Start a call of `/generate` and return its event."""
    return httpx.post(f"{url}{API}/call/generate", json={"data": arguments(url, "generate", given)}).json()["event_id"]


@pytest.mark.slow
def test_a_server_that_is_told_to_stop_tells_everybody_and_exits_with_0(model, tmp_path):
    with started(model, tmp_path) as (server, url):
        ends = []
        event = begin(url, prompt="running", steps=1000, batch=8)
        reader = threading.Thread(target=lambda: ends.append(heard(url, "generate", event)))
        reader.start()
        with httpx.stream("GET", f"{url}{API}/heartbeat/open", timeout=60) as beating:
            next(lines := beating.iter_lines())
            time.sleep(1)
            begun = time.monotonic()
            server.send_signal(signal.SIGTERM)
            assert server.wait(15) == 0 and time.monotonic() - begun < 10
            del lines
        reader.join(10)
    assert ends and ends[0][0] == "error" and "The studio is shut down" in str(ends[0][1])
    assert "Traceback" not in (tmp_path / "log.txt").read_text()
    assert not list(tmp_path.glob(f"{machine.PREFIX}*"))  # nothing that visitors made is left


LOADING = """
import sys, time
import core
def load_pipeline(*_, **__):
    print("loading", flush=True)
    time.sleep(60)
core.load_pipeline = load_pipeline
import launch
sys.exit(launch.main(sys.argv[1:]))
"""


def test_a_server_that_is_told_to_stop_while_it_still_loads_exits_with_0():
    with subprocess.Popen([sys.executable, "-c", LOADING, "--no-setup", "--port", str(free_port())], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:  # fmt: skip
        assert server.stdout.readline() == "loading\n"
        server.send_signal(signal.SIGTERM)
        _, told = server.communicate(timeout=30)
    assert server.returncode == 0 and "Traceback" not in told


@pytest.mark.slow
def test_a_server_that_was_killed_starts_again_at_once_and_sweeps_what_was_left(model, tmp_path):
    with started(model, tmp_path) as (server, url):
        assert script(url, "generate", prompt="a cat", seed=3, steps=2)[0] == "complete"
        begin(url, prompt="running", steps=1000, batch=8)
        server.send_signal(signal.SIGKILL)
        server.wait(10)
    (left,) = tmp_path.glob(f"{machine.PREFIX}*")
    with started(model, tmp_path, port=int(url.rstrip("/").rpartition(":")[2])) as (_, again):
        assert again == url and not left.exists()
        event, data = script(url, "generate", prompt="a cat", seed=3, steps=2)
        assert event == "complete" and data[1]["seed"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("home", ["nowhere/home", None])
def test_no_home_and_a_plain_locale_are_no_trouble(model, tmp_path, home):
    (tmp_path / "nowhere").write_text("")  # a home in there is neither there nor to be made
    home = home and str(tmp_path / home)
    with started(model, tmp_path, HOME=home, LANG="C", LC_ALL="C", XDG_CACHE_HOME=None) as (_, url):
        assert script(url, "generate", prompt="ein Äpfelchen 🍎", seed=3, steps=2)[0] == "complete"
    assert "Traceback" not in (tmp_path / "log.txt").read_text()


def test_time_is_read_from_clocks_that_do_not_jump():
    sources = [ROOT / "studio" / "service" / f"{name}.py" for name in ("engine", "jobs", "turns", "cache", "limits")]
    assert not [path.name for path in sources if "time.time(" in path.read_text()]


@pytest.mark.parametrize(("args", "says"), [
    (["--model", "broken.safetensors"], "broken.safetensors"),
    (["--model", "nothing.safetensors"], "there is no model"),
    (["--device", "cuda:99"], "this machine has"),
    (["--auth", "teacher"], "USER:PASS"),
    (["--auth", "teacher:secret", "--mcp"], "asks nobody for the password"),
])  # fmt: skip
def test_what_keeps_a_server_from_starting_is_one_line_and_exit_code_2(tmp_path, args, says):
    (tmp_path / "broken.safetensors").write_bytes(b"no model at all")
    done = subprocess.run([sys.executable, str(ROOT / "launch.py"), "--no-setup", "--port", str(free_port()), *args],
                          cwd=tmp_path, capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and says in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["model", "model/unet", "model.safetensors"])
def test_files_that_may_not_be_read_are_one_line_and_exit_code_2(tmp_path, name):
    """Asked as somebody without rights, which the tests may well have."""
    path = tmp_path / name
    (tmp_path / "model" / "unet").mkdir(parents=True)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    (path if path.parent == tmp_path else path.parent).chmod(0)
    asked = "import os, sys; from studio.command import known; os.geteuid() or os.setuid(65534); known(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", asked, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "may not be read by this user" in done.stderr, done.stderr


def test_a_link_that_cannot_be_made_is_one_line_and_exit_code_2(tiny, monkeypatch, capsys):
    from gradio import networking

    import core
    from studio import app
    from studio.options import Options

    def no_network(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(core, "load_pipeline", lambda *_, **__: tiny)
    monkeypatch.setattr(networking, "setup_tunnel", no_network)
    with pytest.raises(SystemExit) as left:
        app.serve(Options(share=True, port=free_port()))
    assert left.value.code == 2 and "no public link" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- folders


def test_only_folders_of_runs_that_have_ended_are_swept(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = {f"{machine.PREFIX}{ended.pid}-abc": False, f"{machine.PREFIX}{os.getppid()}-abc": True,
             f"{machine.PREFIX}{os.getpid()}-abc": False, f"{machine.PREFIX}of-mine": True, "else": True}  # fmt: skip
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "picture.png").write_bytes(b"x")
    machine.sweep(tmp_path)
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_what_visitors_make_and_gradio_copies_lies_on_one_disk(tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "given"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert machine.own_temp_folder() == tmp_path / "given"
    disk = (tmp_path / "given").stat().st_dev
    for folder in (tempfile.gettempdir(), os.environ["GRADIO_TEMP_DIR"]):  # a folder each, since Gradio keeps what lies in its own
        assert Path(folder).parent == tmp_path / "given" and Path(folder).stat().st_dev == disk
    assert tempfile.gettempdir() != os.environ["GRADIO_TEMP_DIR"]
