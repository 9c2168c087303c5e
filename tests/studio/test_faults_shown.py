"""What a page shows when work breaks off: buttons that come back, a sentence in its place, nothing lost that was there before."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from core import Recipe
from core.errors import UserError
from core.pipeline import TextToImage
from studio.endpoints.denoise import filmed
from studio.handlers import darkroom, desk, stage
from studio.service.engine import Engine
from studio.service.jobs import LONG, Done, Failed, Queued
from studio.tabs import samplers
from studio.tabs.labs import bench
from studio.widgets.status import Partial
from studio.work import contests, guided
from studio.work import labs as work
from tests.studio.fakes import FakePipeline, changes, ended

REQUEST: Any = SimpleNamespace(session_hash="me", client=None, headers={})
RECIPE = Recipe(prompt="a red cat", steps=6, seed=5, sampler="ddim")


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("nobody foresaw this")


# ------------------------------------------------------------------------------------------------------- the buttons


@pytest.fixture
def prompt_desk(engine: Engine) -> desk.Desk:
    names = ("stage", "board", "board_box", "visit", "reader", "go", "halt", "text", "link", "made")
    chosen: Any = SimpleNamespace(values=lambda sampler, positions: {})
    fields = dict.fromkeys(("prompt", "steps", "seed"))
    return desk.Desk(engine, fields, chosen, **{name: name for name in names})  # type: ignore[arg-type]


def test_a_fault_while_a_picture_is_shown_gives_the_buttons_back_and_is_told_on_the_stage(
    prompt_desk: desk.Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "staged", broken)
    seen, error = changes(prompt_desk.generate(REQUEST, {}, None, "", "a cat", 2, "1", "ddim"))
    assert seen[0]["go"]["interactive"] is False and error is not None and "Something went wrong, code" in error.message
    assert seen[-1]["go"]["interactive"] is True and seen[-1]["halt"]["interactive"] is False
    assert seen[-1]["stage"] == {"state": "failed", "line": error.message}


def test_a_fault_while_a_race_is_shown_gives_the_buttons_back(engine: Engine) -> None:
    def racing() -> Generator[Partial, None, Any]:
        yield Partial({"lines": [1]}, "halfway", 0.5)
        return {"lines": [1, 2]}, []

    with gr.Blocks() as demo:
        shown, go, halt, table = gr.HTML({}), gr.Button(), gr.Button(), gr.Markdown()
        samplers.connect(engine, shown, go, halt, lambda: (racing, 1.0), [], [(table, broken)])
    run = next(fn.fn for fn in demo.fns.values() if (go._id, "click") in fn.targets)
    seen, error = changes(run(REQUEST))
    assert seen[0][go]["interactive"] is False and error is not None and "Something went wrong" in error.message
    assert seen[-1][go]["interactive"] is True and seen[-1][halt]["interactive"] is False
    assert seen[-1][shown]["status"]["state"] == "failed" and seen[-1][shown]["status"]["line"] == error.message


def test_a_fault_while_a_claim_is_measured_is_told_and_no_claim_is_marked_as_running(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def followed(job: Any, view: Any) -> AsyncIterator[Any]:
        yield None, view
        broken()

    monkeypatch.setattr(bench, "followed", followed)
    seen, error = changes(bench.measuring(engine, REQUEST, gr.EventData(None, {"id": "deterministic_at_zero"})))
    assert seen[0]["running"] == "deterministic_at_zero" and error is not None
    assert seen[-1]["running"] == "" and seen[-1]["status"]["line"] == error.message


def test_a_place_in_line_is_told_on_the_stage_as_everywhere(tmp_path: Path) -> None:
    told = stage.staged(Queued(3, 70.0), {"pictures": ["kept"]}, tmp_path, None)
    assert told["state"] == "queued" and told["line"].startswith("Number 3 in line, about ") and told["pictures"] == ["kept"]
    told = stage.staged(Failed("It did not fit."), {"part": 0.4}, tmp_path, None)
    assert (told["state"], told["line"], told["part"]) == ("failed", "It did not fit.", 0.4)


# ---------------------------------------------------------------------------------------------- a picture to start from


def test_a_picture_is_taken_whatever_branch_a_link_brought(
    prompt_desk: desk.Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    Image.new("RGB", (80, 80), "red").save(tmp_path / "up.png")
    rest = {"branch": {"step": 25, "changes": {"gamma": 1.0}}, "width": 64, "height": 32}
    board, _ = prompt_desk.take(gr.EventData(None, {"path": str(tmp_path / "up.png")}), rest)
    assert (board["picture"]["w"], board["picture"]["h"]) == (64, 32)
    board, _ = prompt_desk.take(gr.EventData(None, {"path": str(tmp_path / "up.png")}), {})
    assert board["picture"]["w"] == prompt_desk.engine.pipe.size


# --------------------------------------------------------------------------------------------------------- the film


def film_desk(engine: Engine) -> darkroom.Desk:
    sampler: Any = SimpleNamespace(values=lambda chosen, positions: {})
    widgets: dict[str, Any] = {name: name for name in ("film", "words", "probe", "go", "halt", "made", "shot", "file", "link")}
    other = {name: f"other {name}" for name in ("prompt", "sampler", "gamma")}
    return darkroom.Desk(engine, ("prompt", "steps", "seed"), sampler, other, **widgets)


def test_to_continue_from_a_step_leaves_what_was_typed_and_the_film_that_is_there(
    engine: Engine, pipe: TextToImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = film_desk(engine)
    seen, _ = changes(film.generate(REQUEST, {}, "a red cat", 4, "5", "ddim"))
    made = next(change["made"] for change in seen if "made" in change)
    seen, error = changes(film.branch(REQUEST, "2a", made, "a blue apple", "ddim", 4.0))
    assert error is None and not any(name.startswith("other ") for change in seen for name in change)
    assert not any("film" in change["film"] for change in seen if "film" in change)  # the first film is on the page already
    (shot,) = (change["shot"] for change in seen if "shot" in change)
    assert set(shot) == {"a", "b"} and Recipe.from_json(shot["b"]).branch is not None

    monkeypatch.setattr(TextToImage, "run_many", broken)  # the next future fails: the one before is still there
    seen, error = changes(film.branch(REQUEST, "1a", made, "a green pear", "ddim", 4.0))
    assert error is not None and not any({"shot", "made", "link"} & set(change) for change in seen)


@pytest.fixture
def forgetful(pipe: TextToImage) -> Iterator[Engine]:
    """An engine that has room for the pictures of a run, and none for its steps."""
    engine = Engine(pipe, cache_bytes=4 * 3 * pipe.size**2)
    yield engine
    engine.close()


def test_a_run_too_long_to_be_kept_with_its_steps_is_called_so_whatever_is_asked_of_it(forgetful: Engine) -> None:
    film = film_desk(forgetful)
    seen, error = changes(film.generate(REQUEST, {}, "a red cat", 6, "5", "ddim"))
    assert error is None
    shot, made = (next(change[name] for change in seen if name in change) for name in ("shot", "made"))
    assert forgetful._cache.get(Recipe.from_json(shot["a"])).steps == ()  # type: ignore[union-attr]
    asked = [film.look(REQUEST, "2a", shot), film.leave_out(REQUEST, "2a", shot), film.known_noise(REQUEST, "2a", shot),
             film.same_again(REQUEST, "2a", shot), film.export(REQUEST, "2a", shot, "GIF"),
             film.branch(REQUEST, "2a", made, "a blue apple", "ddim", 4.0)]  # fmt: skip
    for handler in asked:
        seen, error = changes(handler)
        assert error is not None and error.message == LONG and seen[-1]["go"]["interactive"] is True
    film.known.clear()
    seen, error = changes(film.generate(REQUEST, {}, "a red cat", 6, "5", "ddim"))
    assert error is not None and error.message == LONG


def test_all_work_that_looks_into_steps_says_the_same_where_they_are_gone(forgetful: Engine) -> None:
    recipe = forgetful.pipe.complete(RECIPE)
    assert len(ended(forgetful.run_with_steps(recipe))[1].steps) == 6
    for made in (forgetful.run_with_steps(recipe), filmed(forgetful, recipe, None), work.kept(forgetful, recipe),
                 guided.kept(forgetful, recipe, ""), contests._ends(forgetful, recipe, 1, {}, "", 0, 1)):  # fmt: skip
        with pytest.raises(UserError) as error:
            ended(made)
        assert str(error.value) == LONG


# -------------------------------------------------------------------------------------------------------- memory


class Held:
    """Stands for the tensors of a batch."""


class Full(FakePipeline):
    """Has memory for one recipe at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[weakref.ref[Held]] = []
        self.found: list[tuple[list[bool], Any]] = []  # what a run alone finds: whether tensors of others are alive, what is cached
        self.engine: Engine | None = None

    def run_many(self, recipes: Sequence[Recipe], pictures: Any = None, trunk: Any = ()) -> Iterator[Any]:
        here = Held()
        if len(recipes) > 1:
            self.held.append(weakref.ref(here))
            raise MemoryError
        if self.held and self.engine is not None:
            self.found.append(([one() is not None for one in self.held], self.engine._cache.get(self.complete(KNOWN))))
        yield from super().run_many(recipes, pictures, trunk)


KNOWN = Recipe(prompt="known", steps=2)


def test_a_batch_that_ran_out_of_memory_is_gone_with_all_that_is_remembered_before_its_jobs_run_alone() -> None:
    pipe = Full()
    engine = pipe.engine = Engine(pipe)  # type: ignore[arg-type]
    try:

        async def last(job: Any) -> Any:
            return [event async for event in job][-1]

        assert isinstance(asyncio.run(last(engine.submit(KNOWN, "me"))), Done)
        assert engine._cache.get(pipe.complete(KNOWN)) is not None

        async def both() -> list[Any]:
            begin = threading.Event()

            def first() -> Generator[None, None, None]:
                begin.wait(10)  # it makes no way before both wait behind it
                yield

            blocking = engine.compute(first, "nobody")
            jobs = [engine.submit(Recipe(prompt=words, steps=2), words) for words in ("a", "b")]
            begin.set()
            return [await last(job) for job in (blocking, *jobs)]

        assert all(isinstance(event, Done) for event in asyncio.run(both()))
    finally:
        engine.close()
    assert len(pipe.held) == 1 and pipe.found[0] == ([False], None)
