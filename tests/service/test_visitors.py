"""Many visitors at one engine, over HTTP: everyone gets their own, nobody is touched by another, whoever leaves is forgotten."""

import asyncio
import secrets
import threading
import time

import fastapi
import gradio as gr
import httpx
import pytest

from core.errors import UserError
from studio.service.limits import CALLER
from studio.widgets.controls import visitor
from tests.service.pages import API, Page, Slow, arguments, eventually, heard, script


def seed_of(message):
    assert message["success"], message
    return message["output"]["data"][1]["seed"]


def test_a_page_and_a_script_get_the_picture_that_they_asked_for(studio, page):
    assert seed_of(page.answer("generate", prompt="a cat", seed=5, steps=2)) == 5
    event, data = script(studio.url, "generate", prompt="a cat", seed=6, steps=2)
    assert event == "complete" and data[1]["seed"] == 6 and data[1]["recipe"]["prompt"] == "a cat"
    assert httpx.get(data[0]["url"]).content.startswith(b"\x89PNG")


def test_a_models_hash_which_reads_its_whole_file_keeps_nobody_else_waiting(studio, monkeypatch):
    def hashed(pipe):
        with pytest.raises(RuntimeError):  # no event loop runs on this thread
            asyncio.get_running_loop()
        return "0123456789"

    monkeypatch.setattr(Slow, "hash", property(hashed), raising=False)
    event, data = script(studio.url, "generate", prompt="a cat", seed=6, steps=2)
    assert event == "complete" and "Model hash: 0123456789" in data[1]["parameters"]


def test_a_page_that_asks_again_and_again_has_one_running_and_one_waiting(studio, page):
    studio.pipe.seconds = 0.05
    for seed in range(6):
        page.ask("generate", prompt="greedy", seed=seed, steps=40).raise_for_status()
        eventually(lambda: "greedy" in studio.pipe.log)
    other = Page(studio.url)
    assert seed_of(other.answer("generate", prompt="patient", seed=9, steps=3)) == 9
    ends = [message for message in page.told() if message["msg"] == "process_completed"]
    refused = [message for message in ends if not message["success"]]
    assert len(ends) == 6 and len(refused) == 4
    assert all("something waiting already" in message["output"]["error"] for message in refused)


def test_a_script_without_a_session_is_one_visitor_however_often_it_calls(studio):
    studio.pipe.seconds = 0.05
    url, begun = studio.url, []
    for seed in range(6):
        data = arguments(url, "generate", {"prompt": "script", "seed": seed, "steps": 40})
        begun.append(httpx.post(f"{url}{API}/call/generate", json={"data": data}).json()["event_id"])
        eventually(lambda: "script" in studio.pipe.log)
    eventually(lambda: len(studio.engine._waiting) == 1)
    assert [job.visitor for job in studio.engine._waiting] == ["a program@127.0.0.1"]
    ends = [heard(url, "generate", event) for event in begun]
    assert [event for event, _ in ends].count("complete") == 2
    assert all("something waiting already" in data["error"] for event, data in ends if event == "error")


def test_who_asks_is_told_by_session_and_address():
    def asked(path, session, address="10.0.0.1", **headers):
        given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "server": ("s", 80), "scheme": "http",
                 "client": (address, 1), "headers": given}  # fmt: skip
        return visitor(gr.Request(fastapi.Request(scope), session_hash=session))

    assert asked("/gradio_api/queue/join", "abc") == "abc@10.0.0.1"
    assert asked("/gradio_api/call/generate", secrets.token_hex(16)) == asked("/gradio_api/call/v2/generate", "x")
    assert asked("/gradio_api/call/generate", "x", "10.0.0.2") != asked("/gradio_api/call/generate", "x")
    by_mcp = asked("/gradio_api/queue/join", "shared", "127.0.0.1", **{CALLER: "10.0.0.3"})
    assert by_mcp == "a program by MCP@10.0.0.3" != asked("/gradio_api/queue/join", "shared", "127.0.0.1", x_gradio_user="mcp")
    assert visitor(None) == "nobody"


def test_a_page_that_is_closed_frees_the_device_within_one_step(studio, page):
    studio.pipe.seconds = 0.6
    with page.client.stream("GET", f"{studio.url}{API}/heartbeat/{page.session}") as beating:
        next(lines := beating.iter_lines())  # held: the connection ends with it
        page.ask("generate", prompt="left alone", steps=40).raise_for_status()
        eventually(lambda: len(studio.pipe.log) == 2)
        time.sleep(studio.pipe.seconds / 3)  # the third step is under way
        del lines
    eventually(lambda: not studio.engine._running, 10)
    assert studio.pipe.log.count("left alone") == 3  # the step that ran when the page went was the last
    studio.pipe.seconds = 0
    assert seed_of(Page(studio.url).answer("generate", prompt="next", seed=1, steps=2)) == 1


def test_a_reader_who_is_cut_off_is_noticed_without_a_heartbeat(studio, page):
    studio.pipe.seconds = 0.3
    page.ask("generate", prompt="cut off", steps=60).raise_for_status()
    told = page.told()
    next(message for message in told if message["msg"] == "process_generating")
    page.client.close()
    eventually(lambda: not studio.engine._running, 10)
    assert studio.pipe.log.count("cut off") < 10


def test_a_page_that_is_closed_while_it_waits_gives_its_place_back(studio, page):
    studio.pipe.seconds = 0.1
    first = Page(studio.url)
    first.ask("generate", prompt="first", steps=60).raise_for_status()
    eventually(lambda: "first" in studio.pipe.log)
    with page.client.stream("GET", f"{studio.url}{API}/heartbeat/{page.session}") as beating:
        next(lines := beating.iter_lines())  # held: the connection ends with it
        page.ask("generate", prompt="second", steps=60).raise_for_status()
        eventually(lambda: len(studio.engine._waiting) == 1)
        del lines
    eventually(lambda: all(job.stopped for job in studio.engine._waiting))
    studio.pipe.seconds = 0
    assert next(message for message in first.told() if message["msg"] == "process_completed")["success"]
    assert "second" not in studio.pipe.log


@pytest.mark.parametrize(("fault", "says"), [
    (UserError("The picture became NaN on the way."), "became NaN"),
    (MemoryError("CUDA out of memory: /secret/path"), "too big for this machine"),
    (ZeroDivisionError("/secret/path"), "Something went wrong, code"),
])  # fmt: skip
def test_one_visitors_fault_is_a_sentence_for_them_and_nothing_for_the_others(studio, page, fault, says):
    studio.pipe.seconds, studio.pipe.faults["bad", 2] = 0.05, fault
    Page(studio.url).ask("generate", prompt=f"before {says}", steps=10, seed=1)
    eventually(lambda: studio.pipe.log)
    good = Page(studio.url)
    page.ask("generate", prompt="bad", steps=8).raise_for_status()
    good.ask("generate", prompt=f"beside {says}", seed=4, steps=8).raise_for_status()
    bad = next(message for message in page.told() if message["msg"] == "process_completed")
    assert not bad["success"] and says in bad["output"]["error"] and "secret" not in str(bad)
    assert seed_of(next(message for message in good.told() if message["msg"] == "process_completed")) == 4


def test_stop_is_for_ones_own_and_does_no_harm_at_any_time(studio, page):
    studio.pipe.seconds = 0.05
    other = Page(studio.url)
    other.ask("generate", prompt="other", seed=8, steps=20).raise_for_status()
    eventually(lambda: "other" in studio.pipe.log)
    page.ask("generate", prompt="mine", steps=30).raise_for_status()
    eventually(lambda: studio.engine._waiting)
    for _ in range(3):  # waiting, and then again
        studio.engine.stop(f"{page.session}@127.0.0.1")
    mine = next(message for message in page.told() if message["msg"] == "process_completed")
    assert not mine["success"] and "Stopped" in mine["output"]["error"]
    assert seed_of(next(message for message in other.told() if message["msg"] == "process_completed")) == 8
    studio.engine.stop(f"{other.session}@127.0.0.1")  # too late
    assert seed_of(other.answer("generate", prompt="other again", seed=9, steps=2)) == 9


def test_cancelling_a_call_over_http_ends_it_and_nobody_elses(studio, page):
    studio.pipe.seconds, other = 0.6, Page(studio.url)
    event = page.ask("generate", prompt="cancelled", steps=100).json()["event_id"]
    other.ask("generate", prompt="of another", seed=7, steps=60).raise_for_status()
    body = {"session_hash": page.session, "fn_index": page.numbers()["generate"]["id"], "event_id": event}
    eventually(lambda: studio.engine._waiting and "cancelled" in studio.pipe.log)
    seen = len(studio.pipe.log)
    eventually(lambda: len(studio.pipe.log) > seen)  # a whole step is left for the two calls
    at = studio.pipe.log.count("cancelled")
    for _ in range(2):
        httpx.post(f"{studio.url}{API}/cancel", json=body, timeout=60).raise_for_status()
    eventually(lambda: "of another" in studio.pipe.log)
    studio.pipe.seconds = 0
    assert studio.pipe.log.count("cancelled") <= at + 1
    assert seed_of(next(message for message in other.told() if message["msg"] == "process_completed")) == 7


def test_those_who_wait_are_told_their_place(studio, page):
    studio.pipe.seconds = 0.05
    script(studio.url, "generate", prompt="to learn the speed", steps=2)
    busy = threading.Thread(target=script, args=(studio.url, "generate"), kwargs={"prompt": "busy", "steps": 30})
    busy.start()
    eventually(lambda: "busy" in studio.pipe.log)
    page.ask("generate", prompt="waiting", steps=29, seed=3).raise_for_status()
    told = [message["output"]["data"][1] for message in page.told() if message["msg"] == "process_generating"]
    busy.join()
    queued = [one for one in told if isinstance(one, dict) and one.get("state") == "queued" and one["position"]]
    assert queued and queued[0]["position"] == 1 and queued[0]["seconds"] > 0
