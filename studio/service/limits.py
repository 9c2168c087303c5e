"""What stands between the network and the app: bodies of bounded size and time, budgets for each address, three closed routes.

ASGI middleware, handed to Gradio's launch. Gradio itself takes a request body of any size and as slowly as it likes to come,
uploads and open streams without number, lets passwords be tried without end, and has routes that scale an icon to any size
asked for, cut videos, and stream news of a developer's reloads, which never come.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import shutil
import tempfile
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

MOST_ADDRESSES = 10_000  # that are remembered
STREAM = re.compile(r"/(queue/data|upload_progress|heartbeat/[^/]+|call/(v2/)?[^/]+/[^/]+|mcp/?)$")
CLOSED = re.compile(r"/(pwa_icon|process_recording|dev/reload)(/|$)")
MCP = re.compile(r"/mcp(/http)?$")
CALLER = f"x-caller-{secrets.token_hex(8)}"  # a header whose name nobody outside this process knows: where a caller by MCP is


@dataclass(frozen=True)
class Bounds:
    """How much is allowed: bytes, seconds, and how many."""

    json: int = 1_000_000  # bytes of a request
    upload: int = 16_000_000
    slow: float = 120.0  # seconds for a body to arrive
    uploads: int = 160_000_000  # bytes from one address within `window`: a class behind one router, a photograph each
    window: float = 600.0
    guesses: int = 8  # wrong passwords from one address within `locked`
    locked: float = 120.0
    streams: int = 2_000  # open at once: a page holds two
    streams_each: int = 500  # from one address
    disk: int = 64_000_000  # bytes that an upload must find free


class Limits:
    """Refuse what is too big, too slow, too much, too often wrong, or closed; say nosniff on everything that is answered."""

    def __init__(self, app: Any, bounds: Bounds = Bounds()) -> None:
        self.app, self.bounds = app, bounds
        self._wrong: OrderedDict[str, deque[tuple[float, int]]] = OrderedDict()
        self._uploaded: OrderedDict[str, deque[tuple[float, int]]] = OrderedDict()
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path, address = scope["path"].rstrip("/"), scope["client"][0] if scope.get("client") else ""
        if CLOSED.search(path):
            return await refuse(send, 404, "There is no such page.")
        if MCP.search(path):  # Gradio calls the tool from here with the caller's headers, and nothing else tells one from another
            scope = scope | {"headers": [*scope["headers"], (CALLER.encode(), address.encode())]}
        upload, login = (scope["method"] == "POST" and path.endswith(end) for end in ("/upload", "/login"))
        most = self.bounds.upload if upload else self.bounds.json
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if not stated.isdigit() or int(stated) > most:
            return await refuse(send, 413, f"A request may have at most {most // 10**6} MB; send less.")
        if refused := self._refused(address, int(stated), login, upload):
            return await refuse(send, *refused)

        async def marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message["headers"], (b"x-content-type-options", b"nosniff")]}
            await send(message)

        answer, body = self._judged(marked, address) if login else marked, _bounded(receive, most, self.bounds.slow)
        if upload:
            body = _spoiled(self._counted(body, address, int(stated)), dict(scope["headers"]).get(b"content-type", b""))
        if not (STREAM.search(path) and scope["method"] == "GET"):
            return await self.app(scope, body, answer)
        if self._open.total() >= self.bounds.streams or self._open[address] >= self.bounds.streams_each:
            return await refuse(send, 503, "Too many pages are open at once; close some, and reload this one.")
        self._open[address] += 1
        try:
            await self.app(scope, body, answer)
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]

    def _judged(self, send: Callable[[Any], Awaitable[None]], address: str) -> Callable[[Any], Awaitable[None]]:
        """Send what a login came to; nothing of it where others from there were wrong too often while it was looked at."""
        refused: tuple[int, str] | None = None

        async def answer(message: Any) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                if refused := self._refused(address, 0, login=True, upload=False):
                    await refuse(send, *refused)
                elif message["status"] >= 400:
                    _note(self._wrong, address, 1)
            if not refused:
                await send(message)

        return answer

    def _counted(self, receive: Callable[[], Awaitable[Any]], address: str, stated: int) -> Callable[[], Awaitable[Any]]:
        """Receive an upload, whose stated size counts from now on, and what exceeds it as it comes."""
        held = 0
        _note(self._uploaded, address, stated)

        async def counted() -> Any:
            nonlocal held
            message = await receive()
            before, held = held, held + len(message.get("body", b""))
            if held > stated:
                _note(self._uploaded, address, held - max(before, stated))
            return message

        return counted

    def _refused(self, address: str, size: int, login: bool, upload: bool) -> tuple[int, str] | None:
        """Status and sentence for what this address may not do now."""
        if login and _spent(self._wrong, address, self.bounds.locked) >= self.bounds.guesses:
            return 429, f"Too many wrong passwords; wait {self.bounds.locked / 60:g} minutes and try again."
        if upload:
            if size + _spent(self._uploaded, address, self.bounds.window) > self.bounds.uploads:
                megabytes, minutes = self.bounds.uploads // 10**6, self.bounds.window / 60
                return 429, f"At most {megabytes} MB may be uploaded within {minutes:g} minutes; wait a little and try again."
            with contextlib.suppress(OSError):
                if shutil.disk_usage(tempfile.gettempdir()).free < self.bounds.disk:
                    return 507, "The studio's disk is full, so nothing can be uploaded; tell whoever runs it, and try again later."
        return None


def _note(book: OrderedDict[str, deque[tuple[float, int]]], address: str, amount: int) -> None:
    """Write down what an address did just now; the addresses that did nothing for longest are forgotten first."""
    book.setdefault(address, deque()).append((time.monotonic(), amount))
    book.move_to_end(address)
    while len(book) > MOST_ADDRESSES:
        book.popitem(last=False)


def _spent(book: OrderedDict[str, deque[tuple[float, int]]], address: str, window: float) -> int:
    """What an address did within the last seconds; what is older is forgotten."""
    notes = book.get(address, deque())
    while notes and notes[0][0] < time.monotonic() - window:
        notes.popleft()
    return sum(amount for _, amount in notes)


def _bounded(receive: Any, most: int, seconds: float) -> Callable[[], Awaitable[Any]]:
    """Receive a body up to its size and in its time; beyond either the connection counts as lost."""
    held, whole, until = 0, False, time.monotonic() + seconds

    async def bounded() -> Any:
        nonlocal held, whole
        if whole:  # what comes after the body is the end of the connection, whenever that is
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
        except TimeoutError:
            return {"type": "http.disconnect"}
        held += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        return message if held <= most else {"type": "http.disconnect"}

    return bounded


def _spoiled(receive: Callable[[], Awaitable[Any]], content_type: bytes) -> Callable[[], Awaitable[Any]]:
    """Let an upload that breaks off end in what no parser takes: after an error Gradio removes its half-written files.

    A client that goes away is no error to it, and the files would stay. Another part begins, with a header that cannot be.
    """
    found = re.search(rb'boundary="?([^";,]+)', content_type)
    whole = False

    async def spoiled() -> Any:
        nonlocal whole
        message = await receive()
        if message["type"] == "http.disconnect" and not whole:
            whole = True
            return {"type": "http.request", "body": b"\r\n--" + (found[1] if found else b"") + b"\r\n\0:", "more_body": False}
        whole = whole or not message.get("more_body", False)
        return message

    return spoiled


async def refuse(send: Any, status: int, sentence: str) -> None:
    """Answer a request with why not."""
    body = b'{"detail": "%s"}' % sentence.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
