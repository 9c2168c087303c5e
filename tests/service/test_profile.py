"""The launch profile, switch by switch, on a studio that really listens; and what of the server a visitor cannot reach."""

import asyncio
import base64
import socket
import time
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from gradio.utils import get_upload_folder
from PIL import Image
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from studio.app import PROXIES, profile
from studio.options import Options
from studio.service.engine import MOST_WAITING
from studio.widgets.base import ASSETS
from tests.service.pages import API, Page, eventually, script, served

ROOT = Path(__file__).parents[2]


def get(studio, path, **more):
    return httpx.get(studio.url + path, timeout=60, **more)


def test_every_switch_of_the_profile_stands_as_it_was_tried():
    given = profile(Options(model="some/model", root_path="/studio", inception="some/weights.safetensors"))
    assert given["max_file_size"] == "15mb" and given["max_threads"] == 16 and given["state_session_capacity"] == 500
    assert not any(given[name] for name in ("enable_monitoring", "run_history", "show_error", "ssr_mode", "pwa", "share"))
    assert given["strict_cors"] and given["allowed_paths"] == [] and given["auth"] is None and "favicon_path" not in given
    assert given["server_name"] == "127.0.0.1" and given["root_path"] == "/studio" and not given["mcp_server"]
    theirs = [str(Path(f"some/{name}").resolve()) for name in ("model", "weights.safetensors")]
    assert given["blocked_paths"] == [str(ASSETS), *theirs]


def test_a_visitor_of_a_space_cannot_make_up_the_address_he_comes_from():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["client"][0])

    scope = {"type": "http", "scheme": "http", "client": ("10.0.3.4", 5000), "headers": [
        (b"x-forwarded-for", b"1.2.3.4, 5.6.7.8, 198.51.100.7, 10.0.9.9")]}  # fmt: skip
    asyncio.run(ProxyHeadersMiddleware(app, PROXIES)(scope, None, None))
    assert seen == ["198.51.100.7"]


def test_functions_cannot_be_run_past_the_queue(studio):
    for path in ("run/generate", "api/generate"):
        assert httpx.post(f"{studio.url}{API}/{path}", json={"data": ["a cat"]}).status_code == 404


def test_the_queue_is_bounded_and_wide(studio):
    queue = studio.demo._queue
    assert queue.max_size == 128 and queue.default_concurrency_limit == 64
    limits = {fn.concurrency_limit for fn in studio.demo.fns.values() if fn.concurrency_id == "engine"}
    assert limits == {64} == {MOST_WAITING}  # whoever Gradio lets in has a place with the engine


def test_monitoring_and_the_history_of_runs_are_closed(studio):
    assert get(studio, "monitoring").status_code == 403 and get(studio, "monitoring/summary").status_code == 403
    assert "run_history" not in get(studio, "config").json() or not get(studio, "config").json()["run_history"]


def test_no_icon_is_scaled_for_anybody(studio):
    assert get(studio, "pwa_icon/20000").status_code == 404


def test_answers_are_not_to_be_guessed_at(studio):
    assert get(studio, "").headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("stated", [True, False])
def test_ten_megabytes_of_json_are_refused_whether_or_not_they_say_so(studio, stated):
    body = b'{"data": ["' + b"x" * 10_000_000 + b'"]}'
    content = body if stated else iter([body[i : i + 65536] for i in range(0, len(body), 65536)])
    try:
        answer = httpx.post(f"{studio.url}{API}/call/generate", content=content, headers={"content-type": "application/json"})
        assert answer.status_code in ((413,) if stated else (400, 413))
    except httpx.WriteError:
        assert not stated  # the connection was cut while it still sent
    assert script(studio.url, "generate", prompt="next", steps=1, seed=1)[0] == "complete"


def test_sixty_files_in_one_request_are_refused(studio):
    files = [("files", (f"{i}.png", b"x" * 900_000, "image/png")) for i in range(60)]
    answer = httpx.post(f"{studio.url}{API}/upload", files=files, timeout=60)
    assert answer.status_code == 413 and "16 MB" in answer.json()["detail"]


def test_a_file_over_fifteen_megabytes_is_refused(studio):
    big = {"files": ("big.png", b"x" * 15_800_000)}  # 15 MB of 2^20 bytes each, as Gradio counts
    answer = httpx.post(f"{studio.url}{API}/upload", files=big, timeout=60)
    assert answer.status_code == 413 and "exceeded maximum allowed size of 15728640 bytes" in answer.text


def test_the_first_page_is_light_and_brings_no_picture_of_another_tab(studio):
    page = get(studio, "")
    assert page.headers["content-encoding"] == "gzip" and int(page.headers["content-length"]) < 250_000
    values = [one["props"].get("value") for one in get(studio, "config").json()["components"]]
    assert not [value for value in values if "data:image" in str(value)]


def test_what_is_streamed_is_not_held_back_to_be_compressed(studio, page):
    page.ask("generate", prompt="streamed", steps=2).raise_for_status()
    with page.client.stream("GET", f"{studio.url}{API}/queue/data", params={"session_hash": page.session}) as stream:
        assert "content-encoding" not in stream.headers


# ------------------------------------------------------------------------------------------- nothing of the server


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "launch.py"), str(ASSETS / "styles" / "studio.css"), "../../etc/passwd",
                                  str(ASSETS / "emoji-128" / "model_index.json")])  # fmt: skip
def test_no_file_of_the_server_is_served(studio, path):
    for name in ("file=", "file/"):
        assert get(studio, f"{API}/{name}{path}").status_code in (403, 404)


def picture():
    buffer = BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    return buffer.getvalue()


def takers(studio):
    """The functions that take a picture first, from whatever tab: they are handed what no page would send."""
    components = {one["id"]: one for one in get(studio, "config").json()["components"]}
    return {
        dependency["id"]: [components[i] for i in dependency["inputs"]]
        for dependency in get(studio, "config").json()["dependencies"]
        if any(components[i]["type"] in ("image", "imageeditor") for i in dependency["inputs"])
    }


@pytest.mark.parametrize("file", [
    {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
    {"path": str(ASSETS / "styles" / "studio.css"), "meta": {"_type": "gradio.FileData"}},
    {"path": "", "url": "http://127.0.0.1:9/x.png", "meta": {"_type": "gradio.FileData"}},
    {"path": "http://127.0.0.1:9/x.png", "meta": {"_type": "gradio.FileData"}},
    {"path": "\0", "meta": {"_type": "gradio.FileData"}},
], ids=["etc", "assets", "url", "path is a url", "nul"])  # fmt: skip
def test_a_picture_that_was_never_uploaded_is_refused_by_every_function(studio, file):
    found = takers(studio)
    assert found
    for number, inputs in found.items():
        page = Page(studio.url)
        data = [file if one["type"] == "image" else {"background": file, "layers": [], "composite": None}
                if one["type"] == "imageeditor" else one["props"].get("value") for one in inputs]  # fmt: skip
        page.client.post(f"{studio.url}{API}/queue/join", json={"data": data, "fn_index": number, "session_hash": page.session})
        end = next(message for message in page.told() if message["msg"] == "process_completed")
        assert not end["success"] and "must be uploaded as a file" in end["output"]["error"], (number, end)
        assert "root:" not in str(end) and str(ROOT) not in str(end)


def test_where_an_upload_lies_cannot_be_guessed_without_having_it(studio):
    def upload(data):
        return httpx.post(f"{studio.url}{API}/upload", files={"files": ("a.png", data)}, timeout=60).json()[0]

    one, other = upload(picture()), upload(picture() + b"\0")
    assert Path(one).parent != Path(other).parent and len(Path(one).parent.name) == 64  # a digest of what is in it
    assert get(studio, f"{API}/file={Path(one).parent}").status_code in (403, 404)  # a folder lists nothing


def test_a_picture_written_into_a_request_has_no_room(studio):
    data = f"data:image/png;base64,{base64.b64encode(b'x' * 50_000_000).decode()}"
    answer = httpx.post(f"{studio.url}{API}/queue/join", json={"data": [{"url": data}], "fn_index": 0}, timeout=60)
    assert answer.status_code == 413


def test_no_endpoint_takes_a_path_or_a_checkpoint(studio):
    named = get(studio, f"{API}/info").json()["named_endpoints"]
    taken = {parameter["parameter_name"] for one in named.values() for parameter in one["parameters"]}
    assert not taken & {"path", "model", "checkpoint", "file", "folder", "device", "dtype", "host", "share", "auth"}


def test_the_private_functions_are_not_in_the_documentation(studio):
    named = set(get(studio, f"{API}/info").json()["named_endpoints"])
    assert {"/press", "/left"}.isdisjoint(named) and "/generate" in named


# ------------------------------------------------------------------------------------------- slow and many


def test_slow_and_idle_connections_do_not_keep_others_out(studio):
    """Half-sent headers, half-sent bodies and open streams, 300 at once: others are served."""
    host, port = studio.url.removeprefix("http://").rstrip("/").split(":")
    starts = [b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\nab",
              b"GET /gradio_api/heartbeat/slow HTTP/1.1\r\nHost: x\r\n\r\n"]  # fmt: skip
    held = [socket.create_connection((host, int(port))) for _ in range(300)]
    try:
        for index, connection in enumerate(held):
            connection.sendall(starts[index % 3])
        begun = time.perf_counter()
        assert script(studio.url, "generate", prompt="in between", steps=2, seed=2)[0] == "complete"
        assert time.perf_counter() - begun < 30
    finally:
        for connection in held:
            connection.close()


def test_an_upload_that_breaks_off_leaves_nothing(studio):
    host, port = studio.url.removeprefix("http://").rstrip("/").split(":")
    before = set(Path(get_upload_folder()).rglob("*"))
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="half.png"\r\n\r\n'
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                           b"Content-Length: 900000\r\n\r\n" + head + b"x" * 100_000)  # fmt: skip
        eventually(lambda: set(Path(get_upload_folder()).rglob("*")) - before)  # it is being written
    eventually(lambda: set(Path(get_upload_folder()).rglob("*")) <= before, 10)


# ------------------------------------------------------------------------------------------- with a password


def test_with_a_password_nothing_is_told_without_it_and_guessing_is_slow(tiny):
    with served(tiny, auth=("teacher", "secret")) as studio:
        assert [get(studio, path).status_code for path in ("config", f"{API}/info")] == [401, 401]
        assert httpx.post(f"{studio.url}{API}/call/generate", json={"data": ["a"]}).status_code == 401
        assert httpx.post(f"{studio.url}{API}/upload", files={"files": b"x"}).status_code == 401

        def login(password):
            return httpx.post(f"{studio.url}login", data={"username": "teacher", "password": password}, timeout=60)

        assert login("secret").status_code == 200
        statuses = [login(f"guess {i}").status_code for i in range(10)]
        assert statuses == [400] * 8 + [429] * 2
        assert login("secret").status_code == 429  # whoever guesses waits, even if the next guess were right
