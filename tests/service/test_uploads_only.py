"""A file in an argument is one that was uploaded here: no function of the app has Gradio fetch anything, whoever asks."""

import asyncio
import base64
from io import BytesIO

import httpx
import pytest
from gradio import processing_utils
from PIL import Image

from tests.service.pages import API, Page, script
from tests.service.test_endpoints import connected

ELSEWHERE = "https://example.com/huge.png"
META = {"_type": "gradio.FileData"}
DISGUISES = {
    "path": lambda: {"path": ELSEWHERE, "meta": META},
    "url too": lambda: {"path": ELSEWHERE, "url": ELSEWHERE, "orig_name": "a.png", "is_stream": True, "meta": META},
    "deep": lambda: [{"knobs": [[{"eta": {"path": ELSEWHERE, "meta": META}}]]}],
    "ours by name": lambda: {"path": "https://example.com/gradio_api/file=/etc/passwd", "meta": META},
    "odd meta": lambda: {"path": ELSEWHERE, "meta": "gradio.FileData"},
}


@pytest.fixture
def fetched(monkeypatch):
    """Every address that anything tried to fetch."""
    found = []

    def fetch(url, *_, **__):
        found.append(url)
        raise AssertionError("fetched")

    for name in ("async_ssrf_protected_download", "async_ssrf_protected_get", "ssrf_protected_download", "unsafe_download"):
        assert hasattr(processing_utils, name)
        monkeypatch.setattr(processing_utils, name, fetch)
    return found


def ended(studio, number, data):
    """How a call of a function ends that a page could make."""
    page = Page(studio.url)
    body = {"data": data, "fn_index": number, "session_hash": page.session}
    page.client.post(f"{studio.url}{API}/queue/join", json=body).raise_for_status()
    return next(message for message in page.told() if message["msg"] == "process_completed")


@pytest.mark.slow
def test_no_function_fetches_what_an_argument_names_and_each_says_so(studio, fetched):
    """What the API names is tried with every disguise, all else with one after the other, in the first argument and the last."""
    found = [fn for fn in studio.demo.fns.values() if fn.fn is not None and fn.inputs]
    named = {fn.api_name for fn in found if fn.api_visibility == "public"}
    assert len(found) > 50 and {"generate", "read_png", "encode", "denoise"} <= named
    for number, fn in enumerate(found):
        every = list(DISGUISES.values())
        for turn, disguise in enumerate(every if fn.api_name in named else [every[number % len(every)]]):
            data = [None] * len(fn.inputs)
            data[-((number + turn) % 2)] = disguise()
            end = ended(studio, fn._id, data)
            assert not end["success"] and "must be uploaded as a file" in end["output"]["error"], (fn.api_name, end)
    assert not fetched


def test_what_would_be_fetched_without_us_is_noticed_by_this_test(fetched):
    """The file and the fetching functions are those that Gradio's own Blocks would use."""
    import gradio as gr

    with gr.Blocks() as demo:
        box, press = gr.JSON(), gr.Button()
        press.click(lambda value: None, box, None)
    demo.is_running = True
    with pytest.raises(AssertionError, match="fetched"):
        asyncio.run(demo.preprocess_data(demo.fns[0], [DISGUISES["deep"]()], None))
    assert fetched == [ELSEWHERE]


# ------------------------------------------------------------------------------------------------- what is possible by MCP


def picture():
    file = BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    return file.getvalue()


def called(studio, name, **given):
    async def visit():
        async with connected(studio.url) as session:
            return await session.call_tool(name, given)

    return asyncio.run(asyncio.wait_for(visit(), 120))


def test_by_mcp_a_picture_comes_as_data_or_by_the_address_of_an_upload(studio, fetched):
    path = httpx.post(f"{studio.url}{API}/upload", files={"files": ("a b.png", picture())}).json()[0]
    written = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
    for given in (written, str(httpx.URL(f"{studio.url}{API}/file={path}"))):
        told = called(studio, "generate", prompt="a cat", image=given, steps=2, seed=1)
        assert not told.isError, told
        assert any("'strength': 0.75" in part.text for part in told.content if part.type == "text")
        assert not called(studio, "read_png", picture=given).isError
        assert not called(studio, "encode", image=given).isError
    refused = called(studio, "generate", prompt="a cat", image=ELSEWHERE, steps=2, seed=1)
    assert refused.isError and "must be uploaded as a file" in refused.content[0].text and not fetched


def test_a_program_names_an_upload_by_its_path_or_its_address(studio):
    path = httpx.post(f"{studio.url}{API}/upload", files={"files": ("a.png", picture())}).json()[0]
    for given in (path, f"https://elsewhere.example/studio/gradio_api/file={path}"):
        event, data = script(studio.url, "generate", prompt="a cat", image={"path": given, "meta": META}, steps=2, seed=1)
        assert event == "complete" and data[1]["recipe"]["image"], (given, data)
