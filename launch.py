"""Start Diffusion Studio: `python launch.py` on a machine that has Python 3.11-3.13 and nothing else.

Where everything can already be imported, nothing is installed. Otherwise a `.venv` is made beside this file, the pinned
requirements go into it, and this file runs again in there. Only the standard library is imported up here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shlex
import subprocess
import sys
import venv
from pathlib import Path

from studio.options import stop

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
OLDEST, NEWEST = (3, 11), (3, 13)

CORE = ("torch", "numpy", "einops", "pydantic", "PIL", "safetensors", "tokenizers")
APP = (*CORE, "gradio", "gradio_client", "mcp", "matplotlib", "segno")
PEERS = ("diffusers", "transformers", "k_diffusion", "accelerate", "scipy", "playwright", "resvg_py")
TESTS = (*APP, *PEERS, "pytest", "pytest_timeout", "hypothesis", "ruff", "mypy")
MODULES = {"generate": CORE, "app": APP, "test": TESTS}

# What pip is asked for, in this order; a file named *peers* goes in without its dependencies (see the file).
REQUIREMENTS = {
    "generate": ("requirements.txt",),
    "app": ("requirements.txt",),
    "test": ("requirements-dev.txt", "requirements-peers.txt"),
}


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says, and return the exit code."""
    try:
        return start(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return 130


def start(argv: list[str]) -> int:
    """Read the command line, set up what is missing, and run the app, one picture or the tests."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        if interpreter().exists() and not inside():
            return run_again(interpreter(), argv)
        stop(f"this is Python {sys.version_info[0]}.{sys.version_info[1]}, and 3.11, 3.12 or 3.13 is needed; "
             "install one of them and start launch.py with it.")
    from studio import command  # the standard library only, like this file

    args = command.parse(list(argv))
    job = "test" if args.test else "generate" if args.generate else "app"
    if not ready(job, args.no_setup):
        python = set_up(job, args.pip_args, allowed=not args.no_setup)
        if not inside():
            return run_again(python, argv)
        if missing(job):
            stop(f"{', '.join(missing(job))} cannot be found in .venv even now; delete that folder and start again.")
    if job == "test":
        return subprocess.call([sys.executable, "-m", "pytest", *args.rest], cwd=ROOT)
    return command.run(args)


def inside() -> bool:
    """Whether this is the Python of our own .venv."""
    return Path(sys.prefix).resolve() == VENV


def missing(job: str) -> list[str]:
    """The modules that this job needs and that this Python cannot find (looked for, not imported: milliseconds)."""
    return [name for name in MODULES[job] if importlib.util.find_spec(name) is None]


def ready(job: str, no_setup: bool) -> bool:
    """Whether this Python has what the job needs; in our own .venv also: from the requirements as they are now."""
    return not missing(job) and (not inside() or no_setup or installed(job))


def digest(job: str) -> str:
    """A fingerprint of the requirements of a job: another one means that pip has to look again."""
    files = sorted({"requirements.txt", *REQUIREMENTS[job]})
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in files)).hexdigest()


def mark(job: str) -> Path:
    """Where the .venv remembers the digest of what went into it; written last, so that half a set-up shows."""
    return VENV / ("installed-test" if job == "test" else "installed-app")


def installed(job: str) -> bool:
    """Whether the .venv holds the requirements of this job as they are now."""
    return mark(job).is_file() and mark(job).read_text() == digest(job)


def interpreter() -> Path:
    """The Python of our .venv, whether or not it is there."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def set_up(job: str, pip_args: str, allowed: bool) -> Path:
    """Make the .venv where there is none, install what this job needs, and return its Python."""
    if not (ROOT / "requirements.txt").is_file():
        stop(f"{', '.join(missing(job))} cannot be imported, and this is an installed copy without its requirements "
             "files; run launch.py from a checkout instead.")
    python = interpreter()
    if python.exists() and not inside() and (installed(job) or (mark(job).is_file() and not allowed)):
        return python
    if not allowed:
        stop(f"set-up is needed ({', '.join(missing(job))} not found) but --no-setup forbids it; leave --no-setup out, "
             f"or run `{Path(sys.executable).name} -m pip install -r {REQUIREMENTS[job][0]}` yourself.")
    say("Setting up .venv, once: this fetches 300 MB (gigabytes where PyTorch brings CUDA: see README).")
    try:
        if not works(python):
            venv.create(VENV, clear=True, with_pip=True, symlinks=os.name != "nt")
        for name in REQUIREMENTS[job]:
            install(python, name, pip_args)
        for done in {job, "app"}:
            mark(done).write_text(digest(done))
    except OSError as error:
        stop(f"cannot write {error.filename or VENV} ({error.strerror}); copy Diffusion Studio to a folder of your own "
             "with 3 GB free and start it there.")
    except subprocess.CalledProcessError:
        stop("this Python cannot make a virtual environment (ensurepip is missing); install its venv package, "
             "on Debian and Ubuntu `apt install python3-venv`.")
    importlib.invalidate_caches()
    return python


def works(python: Path) -> bool:
    """Whether the .venv is whole: its Python starts and has pip."""
    if not python.exists():
        return False
    return subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0


def install(python: Path, name: str, pip_args: str) -> None:
    """Let pip install one requirements file, its progress on stderr (stdout belongs to `generate`)."""
    options = shlex.split(pip_args, posix=os.name != "nt")
    alone = ["--no-deps"] if "peers" in name else []
    call = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *alone, *options]
    done = subprocess.run([*call, "-r", ROOT / name], stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        stop(why(done.stderr, name))


OFFLINE = ("connection broken", "Failed to establish", "ProxyError", "timed out")


def why(stderr: str, name: str) -> str:
    """What pip's error output means for someone in a classroom."""
    if any(sign in stderr for sign in OFFLINE):
        return ("no package index could be reached, so nothing can be installed; connect once, or use a folder of "
                'wheels: --pip-args="--no-index --find-links wheels".')
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR")]
    reason = errors[-1].removeprefix("ERROR: ") if errors else "pip gave no reason"
    return f"pip could not install {name}: {reason.rstrip('.')}; mend that, or point pip elsewhere with --pip-args."


def run_again(python: Path, argv: list[str]) -> int:
    """Run this file in the .venv, in place of this process where the system can do that."""
    call = [str(python), str(Path(__file__).resolve()), *argv]
    if os.name == "nt":  # execv there returns to the shell at once
        return subprocess.call(call)
    os.execv(call[0], call)


def say(text: str) -> None:
    """One line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
