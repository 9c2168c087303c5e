"""The middleware when many requests of one address are under way at the same time, and the routes that are closed to all."""

import asyncio
import json

import pytest

from studio.service.limits import Bounds, Limits


def scope(path, method="POST", size=None, address="10.0.0.1"):
    headers = [] if size is None else [(b"content-length", str(size).encode())]
    return {"type": "http", "path": path, "method": method, "headers": headers, "client": (address, 1)}


async def slow(scope, receive, send):
    """An app that reads the body, thinks, and answers with the status that the body names; 200 for any other."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await asyncio.sleep(0.02)
    named = body[:3] if body[:3].isdigit() else b"200"
    await send({"type": "http.response.start", "status": int(named), "headers": [(b"set-cookie", b"token")]})
    await send({"type": "http.response.body", "body": b"answered"})


async def ask(limits, path, *chunks, wait=0.0, **more):
    """The messages of one answer."""
    sent, parts = [], list(chunks)

    async def receive():
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    await asyncio.sleep(wait)
    await limits(scope(path, **more), receive, send)
    return sent


def statuses(answers):
    return [answer[0]["status"] for answer in answers]


def at_once(*asked):
    async def all_of_them():
        return await asyncio.gather(*asked)

    return asyncio.run(all_of_them())


def test_of_wrong_passwords_at_once_no_more_are_judged_than_one_after_the_other():
    limits = Limits(slow, Bounds(guesses=3))
    answers = at_once(*[ask(limits, "/login", b"400") for _ in range(500)])
    assert statuses(answers).count(400) == 3 and statuses(answers).count(429) == 497
    refused = next(answer for answer in answers if answer[0]["status"] == 429)
    assert "wrong passwords" in json.loads(b"".join(message.get("body", b"") for message in refused))["detail"]
    assert statuses(at_once(ask(limits, "/login", b"200"))) == [429]


def test_a_right_password_that_comes_among_too_many_wrong_ones_gives_no_token_away():
    limits = Limits(slow, Bounds(guesses=3))
    *_, right = at_once(*[ask(limits, "/login", b"400") for _ in range(9)], ask(limits, "/login", b"200", wait=0.01))
    assert right[0]["status"] == 429 and b"set-cookie" not in dict(right[0]["headers"])
    assert b"answered" not in b"".join(message.get("body", b"") for message in right)


def test_a_class_that_logs_in_at_once_with_the_right_password_is_let_in():
    limits = Limits(slow, Bounds(guesses=3))
    assert statuses(at_once(*[ask(limits, "/login", b"200") for _ in range(40)])) == [200] * 40


def test_uploads_at_once_share_the_budget_of_their_address():
    limits = Limits(slow, Bounds(uploads=3000))
    photo = b"x" * 900
    answers = at_once(*[ask(limits, "/gradio_api/upload", photo, size=900) for _ in range(9)])
    assert sorted(statuses(answers)) == [200] * 3 + [429] * 6


@pytest.mark.parametrize("stated", [0, 900, 1800])
def test_an_upload_is_counted_once_and_what_exceeds_its_stated_size_as_well(stated):
    limits = Limits(slow, Bounds(uploads=3600))
    sent = [b"x" * 900, b"x" * 900]
    assert statuses(at_once(ask(limits, "/gradio_api/upload", *sent, size=stated))) == [200]
    assert statuses(at_once(ask(limits, "/gradio_api/upload", b"x", size=1801))) == [429]
    assert statuses(at_once(ask(limits, "/gradio_api/upload", b"x", size=1800))) == [200]


@pytest.mark.parametrize(("path", "method"), [("/gradio_api/dev/reload", "GET"), ("/gradio_api/process_recording", "POST"),
                                              ("/gradio_api/process_recording/", "POST"), ("/pwa_icon", "GET")])  # fmt: skip
def test_what_no_page_of_ours_asks_for_and_costs_much_is_closed(path, method):
    assert statuses(at_once(ask(Limits(slow), path, b"", method=method))) == [404]


def test_following_an_upload_counts_as_an_open_stream():
    limits = Limits(slow, Bounds(streams_each=2))
    path = "/gradio_api/upload_progress"
    assert sorted(statuses(at_once(*[ask(limits, path, b"", method="GET") for _ in range(3)]))) == [200, 200, 503]
