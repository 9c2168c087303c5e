"""What visitors' files may fill: the oldest go first, young ones and the page's own never; an upload without room is told why."""

import asyncio
import os
import shutil
import time
from collections import namedtuple
from types import SimpleNamespace

import pytest

from studio.service import quota as quotas
from studio.service.quota import USUAL, Quota, make_room, usual
from tests.studio.test_limits import ask, reading, sentence


@pytest.fixture
def lay(tmp_path):
    """Lay a file of so many bytes, as Gradio does in a folder of its own, changed so many seconds ago; returns its path."""

    def laid(name, size, ago=0.0):
        path = tmp_path / name[:1] / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
        os.utime(path, (time.time() - ago,) * 2)
        return path

    return laid


def left(folder):
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_the_oldest_files_go_first_and_only_as_many_as_need_to(tmp_path, lay):
    for name, ago in (("a", 900), ("b", 700), ("c", 800), ("d", 600)):
        lay(name, 100, ago)
    assert make_room(tmp_path, 250, young=300) == 200
    assert left(tmp_path) == {"b", "d"}
    assert make_room(tmp_path, 250, young=300) == 200 and left(tmp_path) == {"b", "d"}


def test_what_a_page_may_still_show_stays_however_much_it_is(tmp_path, lay):
    lay("young", 1000, 250)
    lay("old", 10, 350)
    assert make_room(tmp_path, 100, young=300) == 1000 and left(tmp_path) == {"young"}


def test_what_the_page_itself_shows_stays_and_counts(tmp_path, lay):
    own = lay("own", 100, 9000)
    lay("theirs", 100, 900)
    assert make_room(tmp_path, 100, 300, kept={str(own)}) == 100 and left(tmp_path) == {"own"}


def test_a_link_out_of_the_folder_is_not_followed(tmp_path, lay):
    outside = lay("outside", 5000, 900)
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "way").symlink_to(outside.parent)
    assert make_room(folder, 2000, 0) < 2000 and outside.exists()


def test_the_usual_limit_is_at_most_half_of_what_the_disk_has_free(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    for free, most in ((10**6, 5 * 10**5), (10**12, USUAL)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: usage(10**13, 0, free))
        assert usual(tmp_path / "not yet there") == most


def upload(quota, size, chunks=1):
    stated = {"size": size} if chunks == 1 else {}
    return ask(quota, "/gradio_api/upload", *[b"x" * (size // chunks)] * chunks, **stated)


def test_an_upload_without_room_is_told_why_and_everything_else_goes_on(tmp_path, lay):
    quota = Quota(reading, tmp_path, 100_000_000, young=300, pause=0)
    lay("made just now", 99_999_000)
    assert upload(quota, 1000)[0] == 200
    status, body, _ = upload(quota, 1001)
    assert status == 507
    assert all(word in sentence(body) for word in ("Nothing can be uploaded", "last 5 minutes", "100 MB", "try again"))
    assert ask(quota, "/gradio_api/queue/join", b"x" * 2000, size=2000)[0] == 200
    assert ask(quota, "/gradio_api/upload", method="GET")[0] == 200


def test_an_upload_makes_the_room_that_it_needs(tmp_path, lay):
    quota = Quota(reading, tmp_path, 1000, pause=0)
    lay("old", 990, 900)
    assert upload(quota, 200)[0] == 200 and not left(tmp_path)


def test_whatever_is_asked_for_makes_room_so_that_pictures_alone_keep_to_the_limit_too(tmp_path, lay):
    quota = Quota(reading, tmp_path, 1000, pause=0)
    for name in "abcdefgh":
        lay(name, 200, 900)
        ask(quota, "/gradio_api/queue/join", b"x", size=1)
    assert left(tmp_path) == {"f", "g", "h"}  # three quarters; the last is for what comes until the next look


def test_a_clock_that_jumps_makes_no_file_old_that_a_page_may_still_show(tmp_path, lay, monkeypatch):
    clock = SimpleNamespace(wall=time.time(), passed=50.0)
    monkeypatch.setattr(quotas, "time", SimpleNamespace(
        time=lambda: clock.wall + clock.passed, monotonic=lambda: clock.passed))  # fmt: skip
    quota = Quota(reading, tmp_path, 1000, young=300, pause=0)
    lay("shown", 900, 10)
    clock.wall += 86_400
    for passed, kept in ((0, {"shown"}), (299, {"shown"}), (2, set())):
        clock.passed += passed
        ask(quota, "/gradio_api/queue/join", b"x", size=1)
        assert left(tmp_path) == kept, clock.passed


def test_between_two_looks_what_came_is_counted_by_what_it_said(tmp_path):
    quota = Quota(reading, tmp_path, 1000, pause=60)
    assert [upload(quota, 400)[0] for _ in range(3)] == [200, 200, 507]


def test_an_upload_that_hides_its_size_counts_as_the_largest(tmp_path):
    quota = Quota(reading, tmp_path, 17_000_000)
    assert upload(quota, 900, chunks=3)[0] == 200
    assert upload(quota, 900, chunks=3)[0] == 507


def test_uploads_that_come_at_once_do_not_pass_the_limit_together(tmp_path):
    quota, statuses = Quota(reading, tmp_path, 1000, pause=60), []

    async def visit():
        told = []

        async def receive():
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": b"x" * 400}

        async def send(message):
            told.append(message)

        scope = {"type": "http", "path": "/upload", "method": "POST", "headers": [(b"content-length", b"400")]}
        await quota(scope, receive, send)
        statuses.append(told[0]["status"])

    async def crowd():
        await asyncio.gather(*[visit() for _ in range(5)])

    asyncio.run(crowd())
    assert sorted(statuses) == [200, 200, 507, 507, 507]
