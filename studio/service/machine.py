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
    """Where what visitors make and upload lies: a folder that goes when the app does, or the one that GRADIO_TEMP_DIR names.

    What we write and soon remove lies in a folder of this process, and goes with it. What Gradio serves lies in `served`, since
    it copies whatever lies elsewhere: within ours, or in the folder that is named, where it stays. What an earlier run left
    behind that was killed goes now.
    """
    given = os.environ.get("GRADIO_TEMP_DIR")
    place = Path(given or tempfile.gettempdir())
    place.mkdir(parents=True, exist_ok=True)
    sweep(place)
    own = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    folder = place if given else own
    (folder / "served").mkdir(exist_ok=True)  # on the disk of the other, so that a full one is noticed in time
    os.environ["GRADIO_TEMP_DIR"], tempfile.tempdir = str(folder / "served"), str(own)
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
