"""A reverse proxy of a page: it serves a studio under a sub-path, as nginx does with `location /studio/ { proxy_pass …/; }`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from tests.service.pages import free_port


@contextlib.contextmanager
def proxied(backend: int, prefix: str) -> Iterator[str]:
    """Serve http://127.0.0.1:backend/ under the prefix, whatever else is asked for being 404; yields the public address."""
    loop, port, ready = asyncio.new_event_loop(), free_port(), threading.Event()

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection: the first line is rewritten, everything behind it goes through as it is."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, _, rest = head.partition("\r\n")
        method, path, version = first.split(" ")
        if not path.startswith(f"{prefix}/"):
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return writer.close()
        up, down = await asyncio.open_connection("127.0.0.1", backend)
        kept = [line for line in rest.split("\r\n") if line and not line.lower().startswith("connection:")]
        lines = [f"{method} {path.removeprefix(prefix)} {version}", *kept, "X-Forwarded-For: 203.0.113.7", "Connection: close"]
        down.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        await asyncio.gather(pump(reader, down), pump(up, writer))

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", port):
            ready.set()
            await asyncio.Event().wait()

    def run() -> None:
        with contextlib.suppress(RuntimeError):  # stopped before it was through
            loop.run_until_complete(main())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    yield f"http://127.0.0.1:{port}{prefix}/"
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
