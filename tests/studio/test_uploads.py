"""What Gradio hands our functions: the pictures of a component through the safe decoder, and no file that was not uploaded."""

import json
from collections.abc import Iterator
from io import BytesIO

import httpx
import pytest
from PIL import Image

from studio.widgets.uploads import SafeImage, UploadsOnly


def flag() -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 48), "red").save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    import gradio as gr

    with UploadsOnly() as demo:
        image, size = SafeImage(), gr.Textbox()
        gr.Button().click(lambda image: str(image and image.size), image, size, api_name="size")
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, show_error=False)
    yield f"{url}gradio_api/"
    demo.close()


def asked(page: str, file: object) -> str:
    """What the page answers to a picture given in this way."""
    event = httpx.post(f"{page}call/size", json={"data": [file]}).json()["event_id"]
    return httpx.get(f"{page}call/size/{event}", timeout=20).text


def uploaded(page: str, name: str, data: bytes) -> dict:
    path = httpx.post(f"{page}upload", files={"files": (name, data)}).json()[0]
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def test_the_page_is_told_all_that_it_is_told_of_any_picture() -> None:
    import gradio as gr

    ours, theirs = SafeImage(label="a").get_config(), gr.Image(label="a").get_config()
    assert ours.keys() == theirs.keys() and (ours["label"], ours["format"], ours["type"]) == ("a", "png", "pil")


def test_a_visitor_gets_the_sentence_that_the_decoder_says(page: str) -> None:
    assert json.dumps("(64, 48)") in asked(page, uploaded(page, "a.png", flag()))
    assert "PNG, JPEG or WebP, please" in asked(page, uploaded(page, "a.png", b"hello"))
    assert "PNG, JPEG or WebP, please" in asked(page, uploaded(page, "a.svg", b"<svg/>"))
    assert json.dumps("None") in asked(page, None)


@pytest.mark.parametrize(
    "file", [{"path": "/etc/passwd"}, {"path": "/etc/hostname", "url": "data:,"}, {"path": "../../../etc/passwd"},
             {"url": "data:image/png;base64,aGVsbG8="}, {"path": "http://127.0.0.1:1/a.png"}, {"url": "http://127.0.0.1:1/a.png"}]
)  # fmt: skip
def test_neither_the_servers_files_nor_other_servers_are_reached(page: str, file: dict) -> None:
    answer = asked(page, file | {"meta": {"_type": "gradio.FileData"}})
    assert "event: error" in answer and "must be uploaded as a file" in answer and "root:" not in answer
