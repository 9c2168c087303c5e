"""A studio that is served in this process, and visitors who speak to it as pages and scripts do, without a browser."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

API = "gradio_api"


class Slow:
    """A pipeline whose steps take as long as is said, may fail by their prompt, and are all written down."""

    def __init__(self, pipe: Any) -> None:
        self._pipe, self.seconds, self.log, self.faults = pipe, 0.0, [], {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)

    def run_many(self, recipes: Any, *more: Any) -> Iterator[Any]:
        for step in self._pipe.run_many(recipes, *more):
            time.sleep(self.seconds)
            for recipe in recipes:
                self.log.append(recipe.prompt)
                if fault := self.faults.get((recipe.prompt, step.index)):
                    raise fault
            yield step


@dataclass
class Studio:
    """Where it is, and what is behind it."""

    url: str
    engine: Any
    pipe: Slow
    demo: Any


@contextlib.contextmanager
def served(pipe: Any, **options: Any) -> Iterator[Studio]:
    """The app as `serve` opens it, on a free port of this machine."""
    from studio.app import build, own_files, profile
    from studio.options import Options
    from studio.service.engine import Engine

    slow = Slow(pipe)
    engine = Engine(slow)  # type: ignore[arg-type]
    demo = build(engine)
    try:
        demo.launch(**profile(Options(port=free_port(), **options), own_files(demo)), prevent_thread_lock=True, quiet=True)
        yield Studio(demo.local_url, engine, slow, demo)
    finally:
        engine.close()
        demo.close(verbose=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Page:
    """A page of a visitor: its session, and whatever it asks for and is told."""

    url: str
    session: str = field(default_factory=lambda: secrets.token_hex(5))
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))

    def numbers(self) -> dict[str, dict[str, Any]]:
        """Every function by its API name, as the page hears of them."""
        return {one["api_name"]: one for one in self.client.get(f"{self.url}config").json()["dependencies"]}

    def ask(self, name: str, **given: Any) -> Any:
        """Join the queue with a call of an endpoint; returns the response."""
        body = {"data": arguments(self.url, name, given), "fn_index": self.numbers()[name]["id"], "session_hash": self.session}
        return self.client.post(f"{self.url}{API}/queue/join", json=body)

    def told(self) -> Iterator[dict[str, Any]]:
        """What the queue tells this session, until it closes the stream."""
        with self.client.stream("GET", f"{self.url}{API}/queue/data", params={"session_hash": self.session}) as response:
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    def answer(self, name: str, **given: Any) -> dict[str, Any]:
        """Ask, and wait for the end: the last message."""
        self.ask(name, **given).raise_for_status()
        return next(message for message in self.told() if message["msg"] == "process_completed")


def arguments(url: str, name: str, given: dict[str, Any]) -> list[Any]:
    """The arguments of an endpoint in their order, with its defaults, from what it says of itself."""
    parameters = httpx.get(f"{url}{API}/info", timeout=60).json()["named_endpoints"][f"/{name}"]["parameters"]
    return [given.get(one["parameter_name"], one.get("parameter_default")) for one in parameters]


def script(url: str, name: str, **given: Any) -> tuple[str, Any]:
    """A call as a shell script makes it, without a session: the last event and its data. NaN goes as the word, as curl sends it."""
    body, kind = json.dumps({"data": arguments(url, name, given)}), {"content-type": "application/json"}
    begun = httpx.post(f"{url}{API}/call/{name}", content=body, headers=kind, timeout=60)
    begun.raise_for_status()
    return heard(url, name, begun.json()["event_id"])


def heard(url: str, name: str, event: str) -> tuple[str, Any]:
    """The last event of a call and its data."""
    last, data = "", None
    with httpx.stream("GET", f"{url}{API}/call/{name}/{event}", timeout=60) as response:
        for line in response.iter_lines():
            if line.startswith("event: "):
                last = line.removeprefix("event: ")
            elif line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
    return last, data


def eventually(condition: Any, seconds: float = 30) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this never came about"
        time.sleep(0.02)
