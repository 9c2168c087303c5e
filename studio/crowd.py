"""A class presses Generate: how a studio bears many visitors at once, measured from outside.

    python -m studio.crowd http://127.0.0.1:7860 --visitors 30

Every visitor is a page with a session of its own that asks for its own words and seed. Each picture that comes back is read:
its recipe has to be the one that this visitor asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from studio.formats.png import read_png

API = "gradio_api"
TOGETHER = 8  # different recipes that wait at once, against one after the other
PATIENCE = 900.0  # seconds


@dataclass
class Visit:
    """What one visitor went through, in seconds from the press of the button."""

    prompt: str
    seed: int
    told: float | None = None  # the first word about a place, or the first rough picture
    place: int = 0
    answered: float | None = None
    own: bool = False  # whether the picture that came is the one that was asked for
    sentence: str = ""  # why there is none


@dataclass
class Studio:
    """The address of a studio and what a page learns from it before it asks."""

    url: str
    client: httpx.AsyncClient
    number: int = 0
    defaults: list[tuple[str, Any]] = field(default_factory=list)

    async def look(self) -> None:
        """Read which function makes pictures, and what it takes."""
        config = (await self.client.get(f"{self.url}/config")).raise_for_status().json()
        self.number = next(one["id"] for one in config["dependencies"] if one["api_name"] == "generate")
        named = (await self.client.get(f"{self.url}/{API}/info")).raise_for_status().json()["named_endpoints"]
        self.defaults = [(one["parameter_name"], one.get("parameter_default")) for one in named["/generate"]["parameters"]]

    async def load(self) -> float:
        """Seconds for the page itself."""
        begun = time.perf_counter()
        (await self.client.get(self.url)).raise_for_status()
        return time.perf_counter() - begun

    async def press(self, visit: Visit, steps: int) -> Visit:
        """Ask for a picture as a page does, and follow it to its end."""
        session, begun = secrets.token_hex(6), time.perf_counter()
        given = {"prompt": visit.prompt, "seed": visit.seed, "steps": steps}
        data = [given.get(name, default) for name, default in self.defaults]
        body = {"data": data, "fn_index": self.number, "session_hash": session}
        joined = await self.client.post(f"{self.url}/{API}/queue/join", json=body)
        if joined.status_code != 200:
            visit.sentence = str(joined.json().get("detail", joined.status_code))
            return visit
        async with self.client.stream("GET", f"{self.url}/{API}/queue/data", params={"session_hash": session}) as stream:
            async for line in stream.aiter_lines():
                message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if message.get("msg") in ("process_generating", "process_completed"):
                    await self._heard(visit, message, time.perf_counter() - begun)
                if message.get("msg") == "process_completed":
                    break
        return visit

    async def _heard(self, visit: Visit, message: dict[str, Any], seconds: float) -> None:
        output = message.get("output") or {}
        told = (output.get("data") or [None, None])[1]
        visit.told = seconds if visit.told is None else visit.told
        if isinstance(told, dict) and told.get("state") == "queued":
            visit.place = max(visit.place, int(told["position"]))
        if message["msg"] != "process_completed":
            return
        if not message["success"]:
            visit.sentence = str(output.get("error"))
            return
        visit.answered = seconds
        picture = (await self.client.get(output["data"][0]["url"])).raise_for_status().content
        recipe = read_png(picture).recipe
        visit.own = recipe is not None and (recipe.prompt, recipe.seed) == (visit.prompt, visit.seed)


def visits(count: int) -> list[Visit]:
    """Visitors of whom no two want the same, and none what anybody wanted before."""
    return [Visit(f"visitor {number}, a red apple", secrets.randbelow(2**32)) for number in range(count)]


async def measure(url: str, visitors: int, steps: int, within: float = 1.0) -> dict[str, Any]:
    """Everything that is reported: page loads, a crowd within a second, eight at once against one after the other."""
    limits = httpx.Limits(max_connections=4 * visitors + 16, keepalive_expiry=2)  # before the server closes what idles, after 5
    async with httpx.AsyncClient(timeout=PATIENCE, limits=limits, follow_redirects=True) as client:
        studio = Studio(url.rstrip("/"), client)
        await studio.look()
        alone = await studio.press(visits(1)[0], steps)  # the speed is known from now on
        loads = await asyncio.gather(*(studio.load() for _ in range(visitors)))

        async def one(number: int, visit: Visit) -> Visit:
            await asyncio.sleep(within * number / visitors)
            return await studio.press(visit, steps)

        begun = time.perf_counter()
        crowd = await asyncio.gather(*(one(number, visit) for number, visit in enumerate(visits(visitors))))
        lasted = time.perf_counter() - begun
        begun = time.perf_counter()
        for visit in visits(TOGETHER):
            await studio.press(visit, steps)
        single = time.perf_counter() - begun
        begun = time.perf_counter()
        await asyncio.gather(*(studio.press(visit, steps) for visit in visits(TOGETHER)))
        together = time.perf_counter() - begun
    return report(alone, loads, crowd, lasted, steps) | {
        f"{TOGETHER} one after the other (s)": single, f"{TOGETHER} at once (s)": together,
        "times as fast": single / together,
    }  # fmt: skip


def report(alone: Visit, loads: list[float], crowd: list[Visit], lasted: float, steps: int) -> dict[str, Any]:
    """The figures of a crowd."""
    answered = [visit.answered for visit in crowd if visit.answered is not None]
    told = [visit.told for visit in crowd if visit.told is not None]
    return {
        "visitors": len(crowd), "steps": steps, "alone (s)": alone.answered,
        "page load, median (s)": statistics.median(loads), "page load, p95 (s)": p95(loads),
        "answered": len(answered), "got their own picture": sum(visit.own for visit in crowd),
        "told no": sum(bool(visit.sentence) for visit in crowd),
        "first word, p95 (s)": p95(told), "furthest place": max(visit.place for visit in crowd),
        "picture, median (s)": statistics.median(answered) if answered else None, "picture, p95 (s)": p95(answered),
        "all done (s)": lasted, "sentences": sorted({visit.sentence for visit in crowd} - {""}),
    }  # fmt: skip


def p95(seconds: list[float]) -> float | None:
    """Nineteen of twenty took no longer."""
    return sorted(seconds)[min(len(seconds) - 1, int(0.95 * len(seconds)))] if seconds else None


def main() -> int:
    """Measure the studio at an address and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m studio.crowd", description=__doc__.split("\n")[0])
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:7860")
    parser.add_argument("--visitors", type=int, default=30, help="how many press Generate within a second")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    try:
        found = asyncio.run(measure(args.url, max(1, args.visitors), args.steps))
    except httpx.HTTPError as error:
        print(f"No studio answers at {args.url} ({error or type(error).__name__}); start one with launch.py.", file=sys.stderr)
        return 2
    for name, value in found.items():
        print(f"{name:>32}  {f'{value:.2f}' if isinstance(value, float) else value}")
    return 0 if found["got their own picture"] + found["told no"] == found["visitors"] else 1


if __name__ == "__main__":
    sys.exit(main())
