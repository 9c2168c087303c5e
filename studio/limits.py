"""What stands between the network and the app: bodies of bounded size, slow guessing of passwords, one closed route.

ASGI middleware, handed to Gradio's launch. Gradio itself takes a request body of any size, lets passwords be tried
without end, and has a route that scales an icon to any size asked for.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict, deque
from typing import Any

JSON_BYTES, UPLOAD_BYTES = 1_000_000, 16_000_000
GUESSES, WINDOW = 8, 120.0  # wrong passwords from one address, within so many seconds
MOST_ADDRESSES = 10_000


class Limits:
    """Refuse what is too big, too often wrong, or closed; say nosniff on everything that is answered."""

    def __init__(self, app: Any, json_bytes: int = JSON_BYTES, upload_bytes: int = UPLOAD_BYTES) -> None:
        self.app, self._json, self._upload = app, json_bytes, upload_bytes
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path = scope["path"]
        if re.search(r"/pwa_icon(/|$)", path):
            return await _answer(send, 404, "There is no such page.")
        most = self._upload if path.rstrip("/").endswith("/upload") else self._json
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if not stated.isdigit() or int(stated) > most:
            return await _answer(send, 413, f"A request may have at most {most // 10**6} MB; send less.")
        login = scope["method"] == "POST" and path.rstrip("/").endswith("/login")
        address = scope["client"][0] if scope.get("client") else ""
        if login and self._guessing(address):
            return await _answer(send, 429, f"Too many wrong passwords; wait {WINDOW / 60:g} minutes and try again.")

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message["headers"], (b"x-content-type-options", b"nosniff")]}
                if login and message["status"] >= 400:
                    self._wrong[address].append(time.monotonic())
            await send(message)

        await self.app(scope, _bounded(receive, most), answer)

    def _guessing(self, address: str) -> bool:
        """Whether this address has had its wrong guesses for now."""
        wrong = self._wrong.setdefault(address, deque(maxlen=GUESSES))
        self._wrong.move_to_end(address)
        while len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)
        return len(wrong) == GUESSES and time.monotonic() - wrong[0] < WINDOW


def _bounded(receive: Any, most: int) -> Any:
    """Receive a body that did not state its size, up to the limit; beyond it the connection counts as lost."""
    held = 0

    async def bounded() -> Any:
        nonlocal held
        message = await receive()
        held += len(message.get("body", b""))
        return message if held <= most else {"type": "http.disconnect"}

    return bounded


async def _answer(send: Any, status: int, sentence: str) -> None:
    body = b'{"detail": "%s"}' % sentence.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
