"""A full disk: what is lost is said in a sentence, nothing half-written stays, and space that returns is used again."""

import errno
import os
import shutil
import subprocess
import time
from io import BytesIO
from pathlib import Path

import httpx
import pytest

from core.recipe import Recipe
from studio.formats import png, whole
from studio.handlers.darkroom import written
from studio.service.quota import PAUSE
from studio.widgets.controls import fault
from studio.work import film
from tests.service.pages import API, script, served
from tests.service.test_start import model, started  # noqa: F401
from tests.studio.fakes import ended


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("only root can mount a small tmpfs")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_costs_a_sentence_and_recovers(small_disk, model, tmp_path):  # noqa: F811
    with started(model, tmp_path, GRADIO_TEMP_DIR=str(small_disk)) as (_, url):
        assert script(url, "generate", prompt="before", seed=1, steps=2)[0] == "complete"
        (small_disk / "filler").write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 20_000))
        event, data = script(url, "generate", prompt="full", seed=2, steps=2)
        assert event == "error" and "disk" in data["error"] and str(small_disk) not in str(data)
        upload = httpx.post(f"{url}{API}/upload", files={"files": ("a.png", b"x" * 30_000)}, timeout=60)
        assert upload.status_code == 507 and "disk is full" in upload.json()["detail"]
        (small_disk / "filler").unlink()
        event, data = script(url, "generate", prompt="after", seed=3, steps=2)
        assert event == "complete" and httpx.get(data[0]["url"]).content.endswith(b"IEND\xaeB`\x82")
        whole = [path.read_bytes() for path in small_disk.rglob("*.png")]
        assert whole and all(data.endswith(b"IEND\xaeB`\x82") for data in whole)  # nothing half-written, nor empty


def test_what_visitors_upload_and_make_keeps_to_its_quota_while_the_page_keeps_its_own(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    long_ago = (time.time() - 3000,) * 2
    with served(tiny, quota=64) as studio:
        own = {path for path in tmp_path.rglob("*") if path.is_file()}
        assert own  # the picture that Latents begins with
        for number in range(8):
            file = BytesIO(bytes([number]) * 14_000_000)
            sent = httpx.post(f"{studio.url}{API}/upload", files={"files": (f"{number}.png", file)}, timeout=60)
            if sent.status_code == 507:
                break
        assert number == 4 and "64 MB" in sent.json()["detail"] and "try again" in sent.json()["detail"]
        for path in tmp_path.rglob("*"):
            os.utime(path, long_ago)
        time.sleep(PAUSE)
        assert script(studio.url, "generate", prompt="a cat", seed=1, steps=2)[0] == "complete"
        assert sum(path.stat().st_size for path in tmp_path.rglob("*.png")) < 48_000_000
        assert all(path.exists() for path in own)
        sent = httpx.post(f"{studio.url}{API}/upload", files={"files": ("new.png", b"x" * 1_000_000)}, timeout=60)
        assert sent.status_code == 200 and Path(sent.json()[0]).exists()


def test_a_picture_is_not_begun_where_there_is_no_room_for_it(tiny, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=whole.ROOM - 1))
    image = tiny.images(Recipe(prompt="a cat", steps=1))[0]
    with pytest.raises(OSError) as full:
        png.save_png(tmp_path / "a.png", image, tiny.complete(Recipe(prompt="a cat", steps=1)))
    assert full.value.errno == errno.ENOSPC and not list(Path(tmp_path).iterdir())
    assert "disk is full" in str(fault(full.value)) and str(tmp_path) not in str(fault(full.value))


@pytest.mark.parametrize("form", ["gif", "sheet"])
@pytest.mark.parametrize(("number", "says"), [(errno.ENOSPC, "disk is full"), (errno.EIO, "Something went wrong, code")])
def test_a_disk_that_fills_up_under_a_film_is_called_full_and_another_fault_is_not(tiny, tmp_path, monkeypatch, number, says, form):
    def fail(handle):
        raise OSError(number, os.strerror(number))

    recipe = tiny.complete(Recipe(prompt="a cat", steps=2))
    cut = ended(film.cut(tiny, recipe, list(tiny.run(recipe))))[1]
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError) as broken:
        written(form, cut, recipe, tmp_path)
    assert says in fault(broken.value).message and not list(tmp_path.iterdir())  # no part of it is left


def test_a_folder_that_is_not_there_is_not_called_a_full_disk(tiny, tmp_path):
    recipe = tiny.complete(Recipe(prompt="a cat", steps=2))
    cut = ended(film.cut(tiny, recipe, list(tiny.run(recipe))))[1]
    with pytest.raises(FileNotFoundError) as broken:
        written("gif", cut, recipe, tmp_path / "not there")
    assert "disk" not in fault(broken.value).message
