"""Files that appear under their name only when they are complete, and are not begun where there is no room for them."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

ROOM = 1_000_000  # bytes that must stay free
FULL = "The studio's disk is full; tell whoever runs it, and try again later."


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file, complete or not at all; OSError (ENOSPC) where the disk has no room for it and for a copy to be served."""
    if shutil.disk_usage(path.parent).free < ROOM + 2 * len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    handle, part = tempfile.mkstemp(suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)  # mkstemp lets nobody else read
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    return path


def write_png(path: Path, image: Image.Image, **how: Any) -> Path:
    """A picture as such a file; `how` is for Pillow."""
    file = BytesIO()
    image.save(file, "PNG", **how)
    return write_whole(path, file.getvalue())
