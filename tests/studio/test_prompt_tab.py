"""The first tab's handlers without a browser: pictures, what they start from, two prompts, and recipes that come back."""

from __future__ import annotations

import asyncio
import base64
import json
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from core import Recipe
from core.errors import UserError
from studio.endpoints.generate import generate_endpoint, read_endpoint
from studio.formats.links import from_query
from studio.formats.png import read_png, save_png
from studio.handlers import restored, stage, starts
from studio.handlers.desk import REST, Desk
from studio.service.engine import Engine
from studio.service.jobs import Done, Failed, Preview, Queued, Stopped
from studio.widgets import controls

FIELDS = ("prompt", "negative", "spacing", "steps", "gamma", "seed", "batch", "strength")
SIZE = (32, 32)


@pytest.fixture
def desk(engine: Engine) -> Desk:
    with gr.Blocks():
        sampler = controls.sampler_widgets()
        texts = {name: gr.Textbox() for name in ("prompt", "negative", "seed")}
        sliders = {name: controls.number_slider(name, name) for name in ("steps", "gamma", "batch", "strength")}
        fields = texts | sliders | {"spacing": controls.spacing_choice("trailing")}
    names = ("stage", "board", "board_box", "visit", "reader", "go", "halt", "text", "link", "made")
    ordered = {name: fields[name] for name in FIELDS}
    return Desk(engine, ordered, sampler, **{name: name for name in names})  # type: ignore[arg-type]


@pytest.fixture
def upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A picture as it lies after its upload: black on the left, white on the right."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    pixels = np.zeros((48, 48, 3), np.uint8)
    pixels[:, 24:] = 255
    Image.fromarray(pixels).save(tmp_path / "up.png")
    return {"path": str(tmp_path / "up.png")}


def request(who: str = "me") -> Any:
    return SimpleNamespace(session_hash=who, headers={"referer": "http://here/?old=1"}, client=None, query_params={})


def said(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def values(desk: Desk, **fields: Any) -> list[Any]:
    """The positions of the widgets, as the page would hand them in."""
    made = dict(zip(FIELDS, ("a red cat", "", "model", 4, 2, "5", 1, 0.75), strict=True))
    return [*(made | fields).values(), "ddim", *(slider.value for slider in desk.sampler.knobs.values())]


def pressed(desk: Desk, board: Any = None, other: str = "", rest: dict | None = None, **fields: Any) -> list[dict[str, Any]]:
    """Every change that Generate makes to the page."""

    async def collect() -> list[dict[str, Any]]:
        return [change async for change in desk.generate(request(), rest or {}, board, other, *values(desk, **fields))]

    return asyncio.run(collect())


def mask_of(left: int, right: int) -> str:
    pixels = np.zeros((32, 32), np.uint8)
    pixels[:, :16], pixels[:, 16:] = left, right
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return starts.PREFIX + base64.b64encode(file.getvalue()).decode()


def recipe_on(page: list[Any]) -> dict[str, Any]:
    """What the widgets show, by name, from a list that `filled` made."""
    rest, other, *more = page
    plain = [one["value"] for one in more[: len(FIELDS)]]
    return dict(zip(FIELDS, plain, strict=True)) | {"rest": rest, "other": other, "sampler": more[len(FIELDS)]}


# ------------------------------------------------------------------------------------------------- pictures


def test_a_press_ends_with_a_picture_its_text_its_link_and_a_small_one_for_the_visit(desk: Desk) -> None:
    last = pressed(desk)[-1]
    assert last["stage"]["state"] == "done" and len(last["stage"]["pictures"]) == 1
    assert last["go"]["interactive"] is True and last["text"].startswith("a red cat\nSteps: 4")
    assert Recipe.from_json(last["made"]).seed == 5
    assert from_query(dict(p.split("=") for p in last["link"].partition("?")[2].split("&"))).recipe.seed == 5
    (small,) = last["visit"]["add"]
    assert Recipe.from_json(small["recipe"]).seed == 5 and small["start"] is None and len(small["src"]) < 30_000


def test_two_prompts_lie_beside_each_other_from_one_noise(desk: Desk) -> None:
    last = pressed(desk, other="a blue apple", batch=2)[-1]
    tiles = last["stage"]["pictures"]
    assert [one["title"] for one in tiles] == ["a red cat", "a blue apple"] * 2
    assert [one["text"].partition(" ·")[0] for one in tiles] == ["seed 5", "seed 5", "seed 6", "seed 6"]
    assert last["stage"]["line"].startswith("Two prompts from the same noise: 4 steps, 16 network evaluations (NFE)")
    recipes = [Recipe.from_json(one["recipe"]) for one in last["visit"]["add"]]
    pairs = [(words, seed) for words in ("a red cat", "a blue apple") for seed in (5, 6)]
    assert [(one.prompt, one.seed) for one in recipes] == pairs


def test_what_lies_beside_another_is_what_it_is_alone(desk: Desk) -> None:
    pressed(desk, other="a blue apple")
    again = pressed(desk, prompt="a blue apple")[-1]
    assert "remembered" in again["stage"]["line"]  # of the pair, each run is known by its own recipe
    assert "remembered" not in pressed(desk, prompt="a blue apple", seed="6")[-1]["stage"]["line"]


def test_the_same_words_twice_are_one_run(desk: Desk) -> None:
    assert len(pressed(desk, other="a red cat")[-1]["stage"]["pictures"]) == 2


def test_a_run_from_a_picture_makes_fewer_steps_and_says_what_a_link_cannot_carry(desk: Desk, upload: dict) -> None:
    last = pressed(desk, board={"file": upload}, strength=0.5)[-1]
    assert last["stage"]["line"].startswith("2 steps, 4 network evaluations") and stage.ALONE in last["stage"]["notes"]
    assert "from a picture, strength 0.5" in last["stage"]["pictures"][0]["text"]
    recipe = Recipe.from_json(last["visit"]["add"][0]["recipe"])
    assert recipe.image and recipe.strength == 0.5 and last["visit"]["add"][0]["start"] == {"file": upload}


def test_under_a_mask_what_is_not_painted_stays(desk: Desk, engine: Engine, upload: dict) -> None:
    board = {"file": upload, "mask": mask_of(0, 255)}
    view = pressed(desk, board, rest={"end": "clean"}, strength=1)[-1]["visit"]["add"][0]
    recipe = Recipe.from_json(view["recipe"])
    run = engine.submit(recipe, "me")  # known by its digests alone: the picture is not needed again
    start = starts.from_page(board, SIZE)
    assert start is not None and recipe.mask == start.fields["mask"]
    (done,) = [event.value for event in _events(run)]
    x, known = done.steps[-1].x_next, engine.pipe.encode(start.image)
    half = x.shape[-1] // 2
    assert (x[..., :half] - known[..., :half]).abs().max() < 1e-3 < (x[..., half:] - known[..., half:]).abs().mean()


def _events(job: Any) -> list[Any]:
    async def collect() -> list[Any]:
        return [event async for event in job]

    return asyncio.run(collect())


def test_without_a_picture_strength_says_nothing(desk: Desk) -> None:
    pressed(desk, strength=0.2)
    assert "remembered" in pressed(desk, strength=0.9)[-1]["stage"]["line"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"strength": 2}, "strength is 2; it must be a number from 0 to 1"), ({"strength": float("nan")}, "strength is NaN"),
        ({"steps": 0}, "steps is 0"), ({"gamma": float("inf")}, "gamma is infinity"), ({"seed": "x"}, "seed is 'x'"),
        ({"prompt": "x" * 2001}, "it has 2,001 characters"), ({"other": "y" * 2001}, "it has 2,001 characters"),
        ({"board": {"file": {"path": "/etc/passwd"}}}, "must be uploaded"), ({"prompt": None}, "prompt is nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_a_sentence_before_anything_runs(
    desk: Desk, engine: Engine, monkeypatch: pytest.MonkeyPatch, fields: dict, says: str
) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(type(engine.pipe), "run_many", lambda *given: ran.append(given))
    with pytest.raises(gr.Error, match=says):
        pressed(desk, **fields)
    assert not ran


def test_strength_0_still_makes_one_step_and_strength_1_all_of_them(desk: Desk, upload: dict) -> None:
    for strength, steps in ((0, 1), (1, 4)):
        assert pressed(desk, board={"file": upload}, strength=strength)[-1]["stage"]["line"].startswith(f"{steps} steps")


def test_every_event_has_its_state_on_the_stage(tmp_path: Path) -> None:
    preview = Preview((Image.new("RGB", (4, 4)),), 2, 4, 8, 500.0, 1.0, 0.3)
    running = stage.staged({"a": preview, "b": preview}, {}, tmp_path, None)
    assert running["state"] == "running" and len(running["pictures"]) == 2 and "16 evaluations" in running["line"]
    assert stage.staged({}, running, tmp_path, None) == running
    assert stage.staged(Stopped(0, 0), running, tmp_path, None)["line"] == "Stopped at 2/4."
    assert stage.staged(Stopped(0, 0), {}, tmp_path, None)["line"] == "Stopped before it began."
    assert stage.staged(Queued(3, 9.0), {}, tmp_path, None)["line"] == "Number 3 in line, about 9.0 s …"
    assert stage.staged(Failed("Why."), running, tmp_path, None) == running | {"state": "failed", "line": "Why."}


# ------------------------------------------------------------------------------------------------- what comes back


def test_what_has_no_control_is_said_and_cleared_by_a_button(desk: Desk) -> None:
    line, button, _ = desk.in_force({"schedule": "sigmoid", "tier": "fast"})
    assert line == "Also in force: schedule sigmoid, tier fast." and button["visible"] is True
    line, button, kept = desk.in_force({})
    assert line == kept == "" and button["visible"] is False


def test_a_small_picture_brings_its_whole_recipe_back(desk: Desk, upload: dict) -> None:
    board = {"file": upload, "mask": mask_of(255, 0)}
    last = pressed(desk, board=board, prompt="a (red:1.2) cat", seed="9", rest={"guidance": {"rescale": 0.5}})[-1]
    (kept,) = last["visit"]["add"]
    back, *page = desk.reopen(said(**kept))
    assert back["value"] == board and back["picture"]["w"] == 32
    shown = recipe_on(page)
    assert (shown["prompt"], shown["seed"], shown["sampler"], shown["spacing"]) == ("a (red:1.2) cat", "9", "ddim", "model")
    assert shown["rest"] == {"guidance": {"rescale": 0.5}}
    again = pressed(desk, board=back["value"], rest=shown["rest"], **{name: shown[name] for name in FIELDS})[-1]
    assert "remembered" in again["stage"]["line"]


@pytest.mark.parametrize("kept", ["", "[]", "{", '{"prompt": "a", "steps": 0}', '{"prompt": "a", "warp": 1}', "[" * 9999])
def test_a_recipe_that_the_page_never_had_is_refused(desk: Desk, kept: str) -> None:
    with pytest.raises(gr.Error):
        desk.reopen(said(recipe=kept, start=None))


def test_a_dropped_picture_restores_its_recipe(desk: Desk, engine: Engine, tmp_path: Path, upload: dict) -> None:
    recipe = engine.pipe.complete(Recipe(prompt="a cat", seed=3, steps=7, sampler="ddim", knobs={"eta": 0.5}, gamma=1.5))
    save_png(tmp_path / "made.png", Image.new("RGB", SIZE), recipe)
    view, *page = desk.read(said(path=str(tmp_path / "made.png")), None)
    shown = recipe_on(page)
    assert (shown["prompt"], shown["seed"], shown["steps"], shown["rest"]) == ("a cat", "3", 7, {})
    assert view["program"] == "Diffusion Studio" and ["Its knobs", "eta 0.5"] in view["understood"]
    assert view["notes"] == [] and view["differs"] == []


def test_what_differs_here_is_listed_and_fitted(engine: Engine, tmp_path: Path) -> None:
    recipe = Recipe(prompt="a cat", model="sd15", width=512, height=768, image="0" * 32, mask="1" * 32, strength=0.4)
    save_png(tmp_path / "made.png", Image.new("RGB", SIZE), recipe)
    found = restored.from_picture(tmp_path / "made.png", engine.pipe)
    assert found.recipe is not None
    assert (found.recipe.model, found.recipe.width, found.recipe.image, found.recipe.mask) == (None,) * 4
    assert [any(word in one for one in found.differs) for word in ("sd15", "512×768", "0" * 32)] == [True] * 3
    again = restored.from_picture(tmp_path / "made.png", engine.pipe, {"0" * 32, "1" * 32})
    assert again.recipe is not None and again.recipe.image == "0" * 32 and len(again.differs) == 2


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg onload=x>", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_said_in_its_place_and_changes_nothing(desk: Desk, tmp_path: Path, upload: dict, data: bytes) -> None:
    (tmp_path / "odd.png").write_bytes(data)
    view, *page = desk.read(said(path=str(tmp_path / "odd.png")), None)
    assert view["line"].endswith("PNG, JPEG or WebP, please.") and all(isinstance(one, dict) and "value" not in one for one in page)
    board, _ = desk.take(said(path=str(tmp_path / "odd.png")), {})
    assert "PNG, JPEG or WebP" in board["value"]["line"] and "file" not in board["value"]


def test_a_picture_without_a_recipe_leaves_the_settings(desk: Desk, upload: dict) -> None:
    view, *page = desk.read(said(**upload), None)
    assert view["understood"] == [] and "no settings" in view["notes"][0] and all("value" not in one for one in page)


def test_words_are_read_as_far_as_a_prompt_goes(desk: Desk) -> None:
    view = desk.read_words(said(text="a\0 red " + "x" * 5000))
    assert view["pieces"][0]["text"] == "a" and view["dropped"]
    assert desk.read_words(said(text=["a"])) and desk.read_words(said())["count"] == 0


def test_the_fields_kept_without_a_widget_are_all_that_have_none() -> None:
    held = {*FIELDS, *REST, "sampler", "knobs", "model", "image", "mask"}
    assert held == set(Recipe.model_fields)


# ------------------------------------------------------------------------------------------------- endpoints


def asked(engine: Engine, **fields: Any) -> dict[str, Any]:
    async def collect() -> Any:
        return [answer async for answer in generate_endpoint(engine)(request(), **fields)]

    return asyncio.run(collect())[-1][1]


def test_the_endpoint_starts_from_a_picture_as_the_page_does(desk: Desk, engine: Engine, upload: dict) -> None:
    told = asked(engine, prompt="a red cat", steps=4, gamma=2, seed=5, sampler="ddim", image=upload, strength=0.5)
    assert told["recipe"]["image"] and told["nfe"] == 4 and stage.ALONE in told["notes"] and not told["cached"]
    assert "remembered" in pressed(desk, board={"file": upload}, strength=0.5)[-1]["stage"]["line"]
    with pytest.raises(gr.Error, match="mask is given without an image"):
        asked(engine, prompt="x", mask=upload)
    with pytest.raises(gr.Error, match="must be uploaded as a file"):
        asked(engine, prompt="x", image={"path": "/etc/passwd"})


def test_the_endpoint_reads_a_picture_for_programs(engine: Engine, tmp_path: Path, upload: dict) -> None:
    save_png(tmp_path / "made.png", Image.new("RGB", SIZE), Recipe(prompt="a cat", seed=2**64 - 1))
    told = read_endpoint(engine)({"path": str(tmp_path / "made.png")})
    assert Recipe(**told["recipe"]) == read_png(tmp_path / "made.png").recipe and told["understood"]["Seed"] == str(2**64 - 1)
    assert json.loads(json.dumps(told)) == told
    with pytest.raises(gr.Error, match="must be uploaded"):
        read_endpoint(engine)({"path": "/etc/passwd"})


def test_a_full_disk_still_shows_the_picture(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "save_png", lambda *args, **more: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    last = pressed(desk)[-1]["stage"]
    assert last["pictures"][0]["src"].startswith("data:image/png") and stage.FULL in last["notes"]


def test_a_done_event_of_two_runs_keeps_their_order() -> None:
    assert stage.runs_of(Done(["a", "b"])) == ["a", "b"] and stage.runs_of(Done("a")) == ["a"]
    assert stage.beside([[1, 2], [3, 4]]) == [1, 3, 2, 4]
    with pytest.raises(UserError):
        starts.pixels_of("")
