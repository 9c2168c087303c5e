"""What the server takes of the machine it runs on: a folder of its own for what visitors make, and enough open files."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

PREFIX = "diffusion-studio-"
DAY = 86_400  # seconds
MOST_FILES = 65_536


def own_temp_folder() -> Path:
    """What visitors make and upload lies in one folder, which goes when the app does; GRADIO_TEMP_DIR names another.

    Two folders in it, since Gradio copies what it serves unless that lies in its own already: `made` is what we write and
    soon remove, `served` what it keeps. What an earlier run left behind that was killed goes now.
    """
    if given := os.environ.get("GRADIO_TEMP_DIR"):
        folder = Path(given)
        folder.mkdir(parents=True, exist_ok=True)
    else:
        sweep(Path(tempfile.gettempdir()))
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ("made", "served"):  # on one disk, so that a full one is noticed in time
        (folder / name).mkdir(exist_ok=True)
    os.environ["GRADIO_TEMP_DIR"], tempfile.tempdir = str(folder / "served"), str(folder / "made")
    return folder


def sweep(parent: Path) -> None:
    """Remove the folders of runs that have ended without doing so themselves."""
    for folder in parent.glob(f"{PREFIX}*-*"):
        owner = re.fullmatch(rf"{PREFIX}(\d+)-\w+", folder.name)
        if owner and not _alive(int(owner[1]), folder):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(owner: int, folder: Path) -> bool:
    """Whether the process is still there; a container's first process may have our own number."""
    if owner == os.getpid():
        return False
    if sys.platform == "win32":  # asking for a process there may end it
        return folder.stat().st_mtime > time.time() - DAY
    try:
        os.kill(owner, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def more_files() -> None:
    """As many open connections as the system lets us have: the usual 1,024 are spent by 500 pages."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
