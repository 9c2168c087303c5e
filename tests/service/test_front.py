"""What is made once for everybody is what Gradio would have made for each: by their address, and by who they are."""

import asyncio
import gzip
import re

import httpx
import pytest

from studio.service.front import Front
from tests.service.pages import served


def scope(path="/", query=b"", method="GET", headers=(), root=""):
    return {"type": "http", "method": method, "path": path, "query_string": query, "root_path": root, "scheme": "http",
            "headers": [(b"host", b"here"), *headers]}  # fmt: skip


def asked(front, *scopes):
    """Status and body of requests that come at once."""

    async def one(scope):
        sent = []

        async def send(message):
            sent.append(message)

        await front(scope, None, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)

    async def all_of_them():
        return await asyncio.gather(*map(one, scopes))

    return asyncio.run(all_of_them())


class Counting:
    """An app that answers every request with a number of its own, and users with what their cookie says."""

    def __init__(self, status=200, headers=(), size=0):
        self.made, self.status, self.headers, self.size = 0, status, list(headers), size

    async def __call__(self, scope, receive, send):
        if scope["path"].endswith("/gradio_api/user"):
            body = dict(scope["headers"]).get(b"cookie", b"null")
            await send({"type": "http.response.start", "status": 200, "headers": []})
            return await send({"type": "http.response.body", "body": body})
        self.made += 1
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": b"%d" % self.made + bytes(self.size)})


def test_fifty_who_come_at_once_get_one_page_that_is_made_once():
    app = Counting()
    assert set(asked(Front(app), *[scope(query=b"v=1&prompt=a+cat")] * 50)) == {(200, b"1")}
    assert app.made == 1


def test_what_others_of_the_middleware_write_into_an_answer_is_not_kept():
    front, seen = Front(Counting(headers=[(b"content-length", b"1")])), []

    async def send(message):  # as Gradio's, which compresses what comes short and plain
        seen.append(dict(message, headers=list(message.get("headers", ()))))
        message["body"] = b"other"
        message.get("headers", []).append((b"content-encoding", b"br"))

    async def twice():
        for _ in range(2):
            await front(scope("/assets/small.css"), None, send)

    asyncio.run(twice())
    assert seen[:2] == seen[2:]


@pytest.mark.parametrize("other", [
    scope(headers=[(b"x-forwarded-host", b"there")]), scope(headers=[(b"x-forwarded-proto", b"https")]),
    scope(headers=[(b"cookie", b"anna")]), scope(headers=[(b"accept-encoding", b"gzip")]), scope("/studio/", root="/studio"),
    scope(query=b"deep_link=x"), scope(query=b"page=runs"), scope(method="HEAD"), scope(method="POST"), scope("/config"),
    scope(headers=[(b"range", b"bytes=0-1")]), scope("/assets/a.js"),
])  # fmt: skip
def test_whoever_comes_by_another_way_or_is_somebody_else_gets_another_answer(other):
    app = Counting()
    front = Front(app)
    asked(front, scope())
    assert asked(front, other)[0][1].startswith(b"2") and app.made == 2


@pytest.mark.parametrize("app", [Counting(404), Counting(206), Counting(headers=[(b"set-cookie", b"x=1")]), Counting(size=100)])
def test_what_is_no_whole_answer_for_everybody_or_too_large_is_not_kept(app):
    front = Front(app, most=64)
    assert [body[:1] for _, body in (*asked(front, scope()), *asked(front, scope()))] == [b"1", b"2"]


def test_what_nobody_asked_for_the_longest_makes_room():
    app = Counting(size=30)
    front = Front(app, most=70)
    for path in ("/assets/a.js", "/assets/b.js", "/assets/a.js", "/assets/c.js", "/assets/a.js", "/assets/b.js"):
        last = asked(front, scope(path))
    assert app.made == 4 and last[0][1][:1] == b"4"


def gradios(studio, path="", **headers):
    """What Gradio's own app answers, asked behind all of the middleware."""
    inner = studio.demo.app.middleware_stack
    while not isinstance(inner, Front):
        inner = inner.app

    async def visit():
        transport = httpx.ASGITransport(inner.app.app)  # behind what packs, too
        async with httpx.AsyncClient(transport=transport, base_url=studio.url) as client:
            return await client.get(f"/{path}", headers=headers)

    return asyncio.run(visit())


def test_the_page_that_is_kept_is_gradios_own_for_each_address(studio):
    def page(**headers):
        return httpx.get(studio.url, headers=headers, timeout=60)

    first, again = page(), page()
    assert again.text == first.text == gradios(studio).text and again.headers["content-encoding"] == "gzip"
    assert again.headers["x-content-type-options"] == "nosniff" and "accept-encoding" in again.headers["vary"].lower()
    there = {"x-forwarded-host": "school.example", "x-forwarded-proto": "https"}
    elsewhere = page(**there).text
    assert elsewhere == gradios(studio, **there).text
    assert re.search('"root": ?"https://school.example"', elsewhere) and not re.search('"root": ?"https://school', first.text)


def test_a_file_of_the_frontend_is_gradios_own_packed_and_unpacked_and_is_not_sent_to_who_has_it(studio):
    name = re.search(r"assets/[\w.-]+\.js", httpx.get(studio.url, timeout=60).text)[0]
    own = gradios(studio, name)
    plain = httpx.get(studio.url + name, headers={"accept-encoding": "identity"}, timeout=60)
    assert plain.content == own.content and plain.headers["etag"] == own.headers["etag"]
    for _ in range(2):
        with httpx.stream("GET", studio.url + name, headers={"accept-encoding": "gzip"}, timeout=60) as packed:
            assert gzip.decompress(b"".join(packed.iter_raw())) == own.content
    unchanged = httpx.get(studio.url + name, headers={"if-none-match": plain.headers["etag"]}, timeout=60)
    assert unchanged.status_code == 304 and unchanged.content == b"" and unchanged.headers["etag"] == own.headers["etag"]
    changed = httpx.get(studio.url + name, headers={"if-none-match": '"another"'}, timeout=60)
    assert changed.status_code == 200 and changed.content == own.content


def test_with_a_password_nobody_sees_the_page_of_another(tiny):
    with served(tiny, auth=("class", "secret")) as studio:
        with httpx.Client(timeout=60) as inside:
            inside.post(f"{studio.url}login", data={"username": "class", "password": "secret"}).raise_for_status()
            assert all('"username":"class"' in inside.get(studio.url).text.replace(" ", "") for _ in range(2))
        for _ in range(2):
            page = httpx.get(studio.url, timeout=60).text.replace(" ", "")
            assert '"auth_required":true' in page and '"username":"class"' not in page
