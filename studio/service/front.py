"""What every visitor is given alike is made once: the page, and the files of its frontend, compressed.

ASGI middleware, handed to Gradio's launch. For each visitor Gradio copies its whole configuration, searches it for addresses
of files, renders and compresses it: a tenth of a second of one processor, and fifty who come at once wait for five seconds of
it. What it would answer depends on the address that they came by and on who they are; both are in the name that an answer is kept
under. Whatever bears a state of its own (a deep link, a part of a file) passes through. A browser that asks whether a file has
changed is told that it has not; Gradio would send the file again.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware

BYTES = 32 << 20  # of answers that are kept; a page has 0.2 MB
SQUEEZED = 6  # gzip's level
FILES = re.compile(r"^/(assets|static|svelte)/")
FORWARDED = ("host", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server")  # what Gradio makes its own address of
ASKED = {"page", "deep_link", "all_endpoints"}  # what it reads of a page's query; all else is for the page's script
WHO = "/gradio_api/user"

Answer = list[dict[str, Any]]  # ASGI messages


class Front:
    """Answer from what is kept, make what is not, one at a time; compress whatever else passes."""

    def __init__(self, app: Any, most: int = BYTES) -> None:
        self.app, self.most = GZipMiddleware(app, compresslevel=SQUEEZED), most
        self._kept: OrderedDict[tuple[Any, ...], Answer] = OrderedDict()
        self._making = asyncio.Lock()  # side by side they would take as long, and all come last

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        name = await self._name(scope, receive) if scope["type"] == "http" and scope["method"] == "GET" else None
        if name is None:
            return await self.app(scope, receive, send)
        if name not in self._kept:
            async with self._making:
                answer = self._kept.get(name) or await self._ask(scope, receive)
                self._keep(name, answer)
        else:
            self._kept.move_to_end(name)
            answer = self._kept[name]
        for message in unchanged(answer) if has(scope, answer) else answer:
            await send(copied(message))

    async def _name(self, scope: Any, receive: Any) -> tuple[Any, ...] | None:
        """All that an answer depends on; None for what is no page and no file, or not the usual one."""
        headers, root = Headers(scope=scope), scope.get("root_path", "")
        path = scope["path"].removeprefix(root)
        squeezed = "gzip" in headers.get("accept-encoding", "")
        if "range" in headers:
            return None
        if FILES.match(path):
            return (path, squeezed)
        if path.strip("/") or ASKED & parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).keys():
            return None
        who = await self._ask(scope | {"path": WHO, "raw_path": WHO.encode()}, receive)
        if not who or who[0].get("status") != 200:
            return None
        place = (scope["path"], root, scope["scheme"], scope.get("server"))
        return (*place, body_of(who), squeezed, *map(headers.get, FORWARDED))

    async def _ask(self, scope: Any, receive: Any) -> Answer:
        """What the app answers."""
        answer: Answer = []

        async def hear(message: Any) -> None:
            answer.append(message)

        await self.app(scope, receive, hear)
        return answer

    def _keep(self, name: tuple[Any, ...], answer: Answer) -> None:
        """Remember an answer if it is a good one for everybody; those that nobody asked for the longest make room."""
        if not answer or answer[0].get("status") != 200 or "set-cookie" in Headers(raw=answer[0]["headers"]):
            return
        self._kept[name] = answer
        while sum(len(body_of(one)) for one in self._kept.values()) > self.most:
            self._kept.popitem(last=False)


def has(scope: Any, answer: Answer) -> bool:
    """Whether somebody names the tag of a file, and so has it already."""
    named = Headers(scope=scope).get("if-none-match", "")
    tag = Headers(raw=answer[0]["headers"]).get("etag") if answer else None
    return tag is not None and tag in (one.strip().removeprefix("W/") for one in named.split(","))


def unchanged(answer: Answer) -> Answer:
    """In place of a whole answer: 304 and its headers but those of its body."""
    headers = [(name, value) for name, value in answer[0]["headers"] if not name.startswith(b"content-")]
    return [answer[0] | {"status": 304, "headers": headers}, {"type": "http.response.body", "body": b""}]


def copied(message: dict[str, Any]) -> dict[str, Any]:
    """What others of the middleware may write into: Gradio's puts its own compression where a short file stood."""
    return message | ({"headers": list(message["headers"])} if "headers" in message else {})


def body_of(answer: Answer) -> bytes:
    return b"".join(message.get("body", b"") for message in answer)
