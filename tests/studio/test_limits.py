"""The middleware alone: what is refused with which sentence, and that everything else passes through it unchanged."""

import asyncio
import json
import shutil
from collections import namedtuple
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from python_multipart.multipart import MultipartParseError, MultipartParser

from studio.service import limits as limits_module
from studio.service.limits import Bounds, Limits

OPEN = {"type": "http.disconnect"}


def scope(path, method="POST", size=None, address="10.0.0.1", headers=()):
    stated = [] if size is None else [(b"content-length", str(size).encode())]
    return {"type": "http", "path": path, "method": method, "headers": [*stated, *headers], "client": (address, 1)}


def ask(limits, path, *chunks, method="POST", size=None, address="10.0.0.1", pause=0.0, headers=()):
    """Status and body of one request whose body comes in these chunks, `pause` seconds apart."""
    sent, parts = [], list(chunks or [b""])

    async def receive():
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)} if parts else OPEN

    async def send(message):
        sent.append(message)

    asyncio.run(limits(scope(path, method, size, address, headers), receive, send))
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], body, dict(sent[0].get("headers", []))


async def reading(scope, receive, send):
    """An app that reads the whole body and says how much it was; 400 where the connection broke off."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    status = 400 if message["type"] == "http.disconnect" else int(body or b"200") if scope["path"].endswith("login") else 200
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": str(len(body)).encode()})


def sentence(body):
    return json.loads(body)["detail"]


def test_what_is_small_passes_and_is_marked_as_not_to_be_guessed_at():
    status, body, headers = ask(Limits(reading), "/gradio_api/call/generate", b"x" * 500, b"y" * 500)
    assert (status, body, headers[b"x-content-type-options"]) == (200, b"1000", b"nosniff")


@pytest.mark.parametrize(("path", "size", "says"), [("/gradio_api/call/generate", 1_000_001, "1 MB"),
                                                    ("/gradio_api/upload", 16_000_001, "16 MB")])  # fmt: skip
def test_a_body_that_says_it_is_too_big_is_refused_before_it_is_read(path, size, says):
    status, body, _ = ask(Limits(reading), path, size=size)
    assert status == 413 and says in sentence(body)


def test_a_body_that_does_not_say_its_size_is_cut_off_at_the_limit():
    assert ask(Limits(reading, Bounds(json=1000)), "/gradio_api/queue/join", *[b"x" * 300] * 9)[0] == 400


@pytest.mark.parametrize("size", ["-1", "1e3", "many"])
def test_a_size_that_is_no_number_is_refused(size):
    assert ask(Limits(reading), "/gradio_api/queue/join", size=size)[0] == 413


def test_a_body_that_comes_too_slowly_is_given_up():
    limits = Limits(reading, Bounds(slow=0.5))
    assert ask(limits, "/gradio_api/queue/join", *[b"x"] * 50, pause=0.05)[0] == 400
    assert ask(limits, "/gradio_api/queue/join", b"x", pause=0.05)[0] == 200


def test_an_upload_that_breaks_off_ends_in_an_error_of_its_parser():
    parsed = []

    async def parsing(scope, receive, send):
        parser = MultipartParser(b"b", {})
        more = True
        while more:
            message = await receive()
            more = message["type"] == "http.request" and message.get("more_body", False)
            with pytest.raises(MultipartParseError) if not more else nullcontext():
                parser.write(message["body"])
            parsed.append(message["body"])
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="half.png"\r\n\r\n'
    for begun in ([head, *[b"x"] * 50], [b""] * 50, [head[:20], *[b""] * 50]):
        kind = [(b"content-type", b'multipart/form-data; boundary="b"')]
        assert ask(Limits(parsing, Bounds(slow=0.1)), "/gradio_api/upload", *begun, pause=0.05, headers=kind)[0] == 400
    assert len(parsed) > 3


def test_whoever_waits_for_the_end_of_a_connection_may_wait_longer_than_a_body_may_take():
    heard = []

    async def streaming(scope, receive, send):
        await receive()
        heard.append(await receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})

    assert ask(Limits(streaming, Bounds(slow=1.0)), "/gradio_api/queue/data", b"", method="GET", pause=0.6)[0] == 200
    assert heard == [OPEN]


@pytest.fixture
def clock(monkeypatch):
    """The seconds that the budgets see, in a list of one."""
    seconds = [1000.0]
    monkeypatch.setattr(limits_module, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    return seconds


def test_uploads_have_a_budget_for_each_address_and_it_comes_back(clock):
    limits = Limits(reading, Bounds(uploads=3000, window=300))
    photo = {"size": 900}
    assert [ask(limits, "/gradio_api/upload", b"x" * 900, **photo)[0] for _ in range(5)] == [200, 200, 200, 429, 429]
    assert "wait a little" in sentence(ask(limits, "/gradio_api/upload", b"x" * 900, **photo)[1])
    assert ask(limits, "/gradio_api/upload", b"x" * 900, address="10.0.0.2", **photo)[0] == 200
    clock[0] += 299
    assert ask(limits, "/gradio_api/upload", b"x" * 900, **photo)[0] == 429
    clock[0] += 2
    assert ask(limits, "/gradio_api/upload", b"x" * 900, **photo)[0] == 200


def test_an_upload_that_hides_its_size_is_counted_all_the_same():
    limits = Limits(reading, Bounds(uploads=2000))
    assert ask(limits, "/gradio_api/upload", *[b"x" * 900] * 3)[0] == 200
    assert ask(limits, "/gradio_api/upload", b"x")[0] == 429


def test_an_upload_onto_a_full_disk_is_refused_with_a_sentence(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 99, 1))
    status, body, _ = ask(Limits(reading), "/gradio_api/upload", b"x", size=1)
    assert status == 507 and "disk is full" in sentence(body)
    assert ask(Limits(reading), "/gradio_api/call/generate", b"x", size=1)[0] == 200


def test_wrong_passwords_are_slowed_down_for_their_address_alone_and_right_ones_are_not(clock):
    limits = Limits(reading, Bounds(guesses=3, locked=120))
    assert [ask(limits, "/login", b"400")[0] for _ in range(5)] == [400, 400, 400, 429, 429]
    assert "wrong passwords" in sentence(ask(limits, "/login/", b"200")[1])
    assert ask(limits, "/login", b"200", address="10.0.0.2")[0] == 200
    clock[0] += 119
    assert ask(limits, "/login", b"200")[0] == 429
    clock[0] += 2
    assert ask(limits, "/login", b"200")[0] == 200


def test_the_route_that_scales_icons_is_closed():
    assert ask(Limits(reading), "/pwa_icon/20000", method="GET")[0] == 404


@pytest.mark.parametrize("path", ["/gradio_api/queue/data", "/gradio_api/heartbeat/abc", "/gradio_api/call/generate/id",
                                  "/gradio_api/call/v2/generate/id"])  # fmt: skip
def test_open_streams_are_counted_and_let_go_when_they_end(path):
    async def scene():
        end, statuses = asyncio.Event(), []

        async def streaming(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await end.wait()

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            statuses.extend([message["status"]] if "status" in message else [])

        limits = Limits(streaming, Bounds(streams=4, streams_each=3))

        def visit(address, where=path):
            return asyncio.ensure_future(limits(scope(where, "GET", address=address), receive, send))

        held = [visit("a") for _ in range(4)]  # the fourth is one too many from there
        await asyncio.sleep(0.01)
        held += [visit("b"), visit("b")]  # and the second of these is one too many altogether
        await asyncio.sleep(0.01)
        held.append(visit("b", "/config"))  # what is no stream is served
        await asyncio.sleep(0.01)
        first = statuses.copy()
        end.set()
        await asyncio.gather(*held)
        await visit("a")
        return first, statuses[-1]

    assert asyncio.run(scene()) == ([200, 200, 200, 503, 200, 503, 200], 200)
