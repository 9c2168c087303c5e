"""How much of the disk visitors may fill: beyond it the oldest files go, but none that a page may still show.

ASGI middleware, handed to Gradio's launch. Gradio itself removes what is an hour old, however much came within that hour.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shutil
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from studio.service.limits import Bounds, refuse

USUAL = 2_000_000_000  # bytes, where the disk has twice as many
OLD = 0.75  # of them that old files may hold; the rest is for what comes until the next look
YOUNG = 300.0  # seconds for which a page may show a file
PAUSE = 5.0  # seconds between two looks
JUMP = 30.0  # seconds by which the clock that dates files may be set while they still count as dated


class Quota:
    """Make room before anything is done, and refuse an upload that finds none."""

    def __init__(
        self, app: Any, folder: Path, most: int, kept: Collection[str] = (), young: float = YOUNG, pause: float = PAUSE
    ) -> None:
        self.app, self.folder, self.most, self.kept, self.young, self.pause = app, folder, most, kept, young, pause
        self._held = self._coming = 0
        self._next = self._dated = time.monotonic()
        self._ahead = time.time() - time.monotonic()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self.pause
            young = self.young if self._steady() else math.inf
            self._held = await asyncio.to_thread(make_room, self.folder, int(OLD * self.most), young, self.kept)
        if not scope["path"].rstrip("/").endswith("/upload"):
            return await self.app(scope, receive, send)
        size = int(dict(scope["headers"]).get(b"content-length", Bounds.upload))
        if self._held + self._coming + size > self.most:
            return await refuse(send, 507, self.full)
        self._coming += size
        try:
            await self.app(scope, receive, send)
        finally:
            self._coming -= size
            self._held += size

    def _steady(self) -> bool:
        """Whether dates tell how old files are: not until `young` seconds after the clock was set, or the machine slept."""
        now, ahead = time.monotonic(), time.time() - time.monotonic()
        if abs(ahead - self._ahead) > JUMP:
            self._ahead, self._dated = ahead, now + self.young
        return now >= self._dated

    @property
    def full(self) -> str:
        minutes, megabytes = self.young / 60, self.most // 10**6
        return (f"Nothing can be uploaded now, since what visitors uploaded and made in the last {minutes:g} minutes fills the "
                f"{megabytes} MB that the studio has for it; wait a few minutes and try again.")  # fmt: skip


def usual(folder: Path) -> int:
    """The limit where nobody names one, in bytes: never more than half of what is free."""
    folder.mkdir(parents=True, exist_ok=True)
    return min(USUAL, shutil.disk_usage(folder).free // 2)


def make_room(folder: Path, most: int, young: float, kept: Collection[str] = ()) -> int:
    """Remove the oldest files until `most` bytes are left, none younger than `young` seconds and none of `kept`; what is left."""
    found, since = [], time.time() - young
    for place, _, names in os.walk(folder):
        for path in (os.path.join(place, name) for name in names):
            with contextlib.suppress(OSError):  # gone meanwhile
                state = os.lstat(path)
                found.append((state.st_mtime, state.st_size, path))
    left = sum(size for _, size, _ in found)
    for changed, size, path in sorted(found):
        if left <= most or changed > since:
            break
        if path not in kept:
            with contextlib.suppress(OSError):
                os.remove(path)
                left -= size
    return left
