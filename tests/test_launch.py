"""The two commands of the README: what is set up and when, and how each thing that goes wrong is said in one line."""

import ast
import base64
import fnmatch
import hashlib
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import launch
from studio import command
from studio.options import Options

ROOT = Path(launch.__file__).parent


def run(*args: str, python: tuple[str, ...] = (), at: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """`python launch.py args` in a folder, with nothing of ours in the environment but what is given."""
    clean = {key: value for key, value in os.environ.items() if key not in ("HOST", "PORT", "ROOT_PATH")}
    call = [sys.executable, *python, "launch.py", *args]
    return subprocess.run(call, cwd=at, env=clean | environment, capture_output=True, text=True, timeout=120)


def one_line(done: subprocess.CompletedProcess) -> str:
    """The one line that a refusal consists of, after checking that it is one, on stderr, with exit code 2."""
    assert done.returncode == 2, done.stderr
    assert not done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("diffusion-studio: ") and lines[0].endswith((".", "is."))
    return lines[0]


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of launch.py and what it reads, to be changed at will."""
    shutil.copy(ROOT / "launch.py", tmp_path)
    shutil.copytree(ROOT / "studio", tmp_path / "studio", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-peers.txt"):
        (tmp_path / name).write_text("")
    return tmp_path


AGAIN = "import runpy, sys; sys.path.insert(0, ''); sys.argv = sys.argv[1:]; "
START = "runpy.run_path('launch.py', run_name='__main__')"
BARE = ("-I", "-S", "-c", AGAIN + START)  # -S: a Python that finds no installed package


def wheel(folder: Path, name: str) -> None:
    """A wheel of one empty module, written by hand."""
    about = f"{name}-1.dist-info"
    files = {
        f"{name}.py": b"",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{about}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as archive:
        for path, data in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(data)}\n"
            archive.writestr(path, data)
        archive.writestr(f"{about}/RECORD", record)


@pytest.mark.parametrize(("args", "words"), [
    (["--port", "abc"], "'abc'"),
    (["--port", "70000"], "65535"),
    (["--auth", "teacher"], "USER:PASS"),
    (["--model", "no/such/model"], "no/such/model"),
    (["--colour", "red"], "--colour"),
    (["-k", "x"], "-k"),
    (["--", "-k", "x"], "--test"),
    (["generate"], "prompt"),
    (["generate", "a cat", "--out", "cat.jpg"], "PNG"),
    (["generate", "a cat", "--out", "no/such/folder/cat.png"], "no/such/folder"),
    (["generate", "a cat", "--gamma", "1", "--cfg", "2"], "--gamma"),
    (["--host", "no.such.host.invalid", "--no-setup"], "no.such.host.invalid"),
    (["--host", "192.0.2.1", "--no-setup"], "192.0.2.1"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_line_before_anything_is_set_up(args: list[str], words: str) -> None:
    assert words in one_line(run(*args))


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert port in one_line(run("--port", port))
        assert port in one_line(run(PORT=port))


@pytest.mark.parametrize("minor", [10, 14])
def test_a_wrong_python_is_told_which_ones_will_do(house: Path, minor: int) -> None:
    line = one_line(run(at=house, python=("-c", f"{AGAIN} sys.version_info = (3, {minor}, 4, 'final', 0); {START}")))
    assert f"3.{minor}" in line and "3.11" in line and "3.13" in line


def test_no_setup_installs_nothing_and_says_what_is_missing(house: Path) -> None:
    assert "torch" in one_line(run("--no-setup", at=house, python=BARE))
    assert not (house / ".venv").exists()


def test_a_folder_that_cannot_be_written_is_named(house: Path) -> None:
    (house / ".venv").write_text("a file where the folder should be")
    done = run(at=house, python=BARE)
    assert done.returncode == 2 and ".venv" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_a_folder_of_somebody_else_is_named_and_a_way_out_too(monkeypatch, capsys) -> None:
    def refused(folder: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(launch.venv, "create", refused)
    monkeypatch.setattr(launch, "works", lambda python: False)
    with pytest.raises(SystemExit) as left:
        launch.set_up("app", "", allowed=True)
    line = capsys.readouterr().err.splitlines()[-1]
    assert left.value.code == 2 and "Permission denied" in line and "a folder of your own" in line


def test_an_old_python_can_read_what_tells_it_that_it_is_too_old() -> None:
    for name in ("launch.py", "studio/options.py"):
        ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 8))


def test_no_network_and_no_wheels_end_in_one_line_that_names_the_way_out(house: Path) -> None:
    (house / "requirements.txt").write_text("no-such-package==1\n")
    done = run("--pip-args=--no-index --find-links .", at=house, python=BARE)
    assert done.returncode == 2 and not done.stdout
    assert "no-such-package" in done.stderr.splitlines()[-1] and "--pip-args" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("stderr", [
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)': /simple/torch/\n"
    "ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: none)\n"
    "ERROR: No matching distribution found for torch==2.13.0",
    "WARNING: Retrying (Retry(total=4)) after connection broken by 'ConnectTimeoutError(...)': /simple/torch/",
])  # fmt: skip
def test_what_pip_says_without_a_network_becomes_advice(stderr: str) -> None:
    assert "no package index could be reached" in launch.why(stderr, "requirements.txt")
    assert "--find-links" in launch.why(stderr, "requirements.txt")


def test_what_else_pip_says_is_passed_on() -> None:
    assert "No space left" in launch.why("ERROR: Could not install: [Errno 28] No space left on device", "x.txt")


STAND_IN = """
import argparse, sys
def parse(argv):
    known, _ = argparse.ArgumentParser().parse_known_args(argv)
    no_setup = "--no-setup" in argv
    return argparse.Namespace(test=False, generate=True, no_setup=no_setup, pip_args="--no-index --find-links wheels")
def run(args):
    print(sys.prefix)
    return 7
"""


def test_a_bare_python_is_set_up_once_and_everything_runs_in_its_venv(house: Path) -> None:
    (house / "wheels").mkdir()
    for name in launch.MODULES["generate"]:
        wheel(house / "wheels", name)
    wanted = "\n".join(f"{name}==1" for name in launch.MODULES["generate"])
    (house / "requirements.txt").write_text(wanted)
    (house / "studio" / "command.py").write_text(STAND_IN)

    first = run("generate", at=house, python=BARE)
    assert first.returncode == 7, first.stderr  # the exit code comes through
    assert first.stdout.splitlines()[-1:] == [str(house / ".venv")] and "Setting up" in first.stderr
    assert len(first.stdout.splitlines()) == 1  # pip's progress is on stderr

    second = run("generate", at=house, python=BARE)
    assert (second.returncode, second.stdout, second.stderr) == (7, first.stdout, "")

    (house / "requirements.txt").write_text(wanted + "\n# a newer version")
    assert run("generate", "--no-setup", at=house, python=BARE).stderr == ""  # as it was is good enough
    assert "Setting up" in run("generate", at=house, python=BARE).stderr
    assert run("generate", at=house, python=BARE).stderr == ""

    (house / ".venv" / "pyvenv.cfg").write_text("")  # a .venv that does not work is made anew
    (house / ".venv" / "installed-app").unlink()
    assert run("generate", at=house, python=BARE).returncode == 7


def test_pip_installs_all_that_the_code_reads_and_the_command_of_the_readme() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns, assets = (told["tool"]["setuptools"]["package-data"][name] for name in ("*", "assets"))
    files = [path for name in ("core", "studio") for path in (ROOT / name).rglob("*") if path.is_file()]
    beside = [path.name for path in files if path.suffix not in (".py", ".pyc")]
    assert beside and not [name for name in beside if not any(fnmatch.fnmatch(name, one) for one in patterns)]
    assert assets == ["**/*"]
    module, _, name = told["project"]["scripts"]["diffusion-studio"].partition(":")
    assert getattr(importlib.import_module(module), name) is launch.main


def test_the_exit_code_of_the_tests_is_passed_through(house: Path) -> None:
    (house / "test_two.py").write_text("def test_good(): pass\ndef test_bad(): assert False\n")
    options = ("--no-setup", "--test", "--", "-q", "-p", "no:cacheprovider")
    assert run(*options, at=house).returncode == 1
    assert run(*options, "-k", "good", at=house).returncode == 0


def parsed(monkeypatch: pytest.MonkeyPatch, *args: str, **environment: str) -> Options:
    for name in ("HOST", "PORT", "ROOT_PATH", "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "GRADIO_ROOT_PATH", "INCEPTION", "QUOTA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return command.parse(list(args)).options


def test_without_arguments_only_this_machine_can_reach_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsed(monkeypatch) == Options()
    assert not Options().shared


def test_an_argument_wins_over_the_environment_which_wins_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    around = {"HOST": "0.0.0.0", "PORT": "80", "ROOT_PATH": "/lab"}
    found = parsed(monkeypatch, **around)
    assert (found.host, found.port, found.root_path, found.shared) == ("0.0.0.0", 80, "/lab", True)
    found = parsed(monkeypatch, "--host", "::1", "--port", "8000", "--root-path", "studio/", **around)
    assert (found.host, found.port, found.root_path, found.shared) == ("::1", 8000, "/studio", False)
    assert parsed(monkeypatch, GRADIO_SERVER_NAME="0.0.0.0").host == "0.0.0.0"  # as a Space sets it


def test_the_weights_of_inception_come_from_the_option_or_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one, other = (tmp_path / f"{name}.safetensors" for name in ("one", "other"))
    one.touch()
    other.touch()
    assert parsed(monkeypatch).inception is None
    assert parsed(monkeypatch, INCEPTION=str(other)).inception == str(other)
    assert parsed(monkeypatch, "--inception", str(one), INCEPTION=str(other)).inception == str(one)


def test_the_quota_of_visitors_files_is_a_whole_number_of_megabytes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parsed(monkeypatch).quota is None
    assert parsed(monkeypatch, QUOTA="500").quota == 500
    assert parsed(monkeypatch, "--quota", "64", QUOTA="500").quota == 64
    for wrong in ("63", "0", "-1", "1e3", "1.5", "lots", "²"):
        with pytest.raises(SystemExit):
            parsed(monkeypatch, f"--quota={wrong}")
        assert "whole number of megabytes, 64 or more" in capsys.readouterr().err


def test_share_and_auth_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    found = parsed(monkeypatch, "--share", "--auth", "class:a:b")
    assert found.shared and not found.mcp and found.auth == ("class", "a:b")
    assert parsed(monkeypatch, "--mcp").mcp


def test_generate_hands_numbers_on_and_leaves_words_for_the_recipe_to_refuse() -> None:
    args = command.parse(["generate", "a cat", "--steps", "1.5", "--seed", "lots", "--gamma", "6"])
    assert (args.steps, args.seed, args.gamma) == (1.5, "lots", 6)
    assert "sampler" not in args  # what is not given is left to the defaults of Recipe


APP = """
import time
def serve(options):
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:  # as Gradio waits
        print("closed")
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
def test_a_container_that_is_stopped_closes_the_app_and_exits_with_0(house: Path) -> None:
    (house / "studio" / "app.py").write_text(APP)
    call = [sys.executable, "launch.py", "--no-setup"]
    with subprocess.Popen(call, cwd=house, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "closed\n"
    assert process.returncode == 0
