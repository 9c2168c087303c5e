"""The film of a run without a browser: sheets and numbers, what is handed out when, files, and the handlers' manners."""

from __future__ import annotations

import asyncio
import base64
import itertools
import math
from collections.abc import Iterator
from io import BytesIO
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest
import torch
from PIL import Image

from core import Recipe
from core.errors import UserError
from core.pipeline import TextToImage
from core.sampling import Step
from studio.figures import strip
from studio.formats import movie
from studio.formats.links import from_query
from studio.formats.png import read_png
from studio.handlers.darkroom import Desk, branched, parts, place, recipe_of, written
from studio.service.engine import Engine
from studio.work import film, looks, probe
from tests.studio.fakes import changes, ended

RECIPE = Recipe(prompt="a red cat", steps=6, seed=5)
Kept = tuple[Recipe, list[Step]]


@pytest.fixture(scope="module")
def kept(pipe: TextToImage) -> Kept:
    recipe = pipe.complete(RECIPE)
    return recipe, list(pipe.run(recipe))


def image_of(sheet: strip.Sheet) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(sheet["src"].partition(",")[2])))


def tile(sheet: strip.Sheet, index: int) -> np.ndarray:
    """One frame of a sheet, cut out as the page does it."""
    x, y = index % sheet["columns"] * sheet["w"], index // sheet["columns"] * sheet["h"]
    return np.asarray(image_of(sheet).convert("RGB").crop((x, y, x + sheet["w"], y + sheet["h"])), dtype=float)


# -------------------------------------------------------------------------------------------------- sheets and numbers


@pytest.mark.parametrize("make", [strip.sheet, strip.small_sheet])
@pytest.mark.parametrize("count", [1, 5, 16, 51])
def test_every_tile_of_a_sheet_is_its_own_picture(make: Any, count: int) -> None:
    rng = np.random.default_rng(count)
    flat = np.broadcast_to(rng.integers(0, 255, (count, 1, 1, 3), np.uint8), (count, 24, 40, 3))
    sheet = make(flat)
    for index in range(count):
        assert np.abs(tile(sheet, index)[4:-4, 4:-4] - flat[index, 4:-4, 4:-4]).max() < 24


def test_latents_lie_two_by_two_blue_below_zero_and_orange_above() -> None:
    z = torch.stack([torch.full((4, 4), value) for value in (-3.0, 3.0, 0.0, -9.0)])[None]
    cells = tile(strip.latent_sheet(z), 0)
    corners = [cells[row, column] for row in (1, 5) for column in (1, 5)]
    blue, orange, grey, clipped = corners
    assert blue[2] > blue[0] + 50 and orange[0] > orange[2] + 50 and np.ptp(grey) < 12 and (clipped == blue).all()


def test_long_runs_are_thinned_evenly_and_keep_their_ends() -> None:
    assert strip.chosen_frames(50) == list(range(50))
    long = strip.chosen_frames(1000)
    assert len(long) == strip.MOST_FRAMES and long[0] == 0 and long[-1] == 999
    gaps = np.diff(long)
    assert gaps.min() >= 15 and gaps.max() <= 17


def test_the_numbers_of_a_level_follow_from_alpha_and_sigma(kept: Kept) -> None:
    _, steps = kept
    one = strip.numbers(steps[2], 2)
    level = steps[2].cur
    assert one["snr"] == pytest.approx(math.exp(2 * level.lam), rel=1e-5)
    assert one["db"] == pytest.approx(20 * math.log10(level.alpha / level.sigma), rel=1e-5)
    assert one["logsnr"] == pytest.approx(2 * level.lam, rel=1e-5)
    assert one["norm"]["x0"] == pytest.approx(float(steps[2].x0.norm()), rel=1e-5) and one["nfe"] == 6
    last = strip.last_numbers(steps[-1], 6)
    assert last["snr"] is None and last["db"] is None and set(last["norm"]) == {"x"}


def test_every_move_is_the_sum_of_its_terms_and_their_pictures_add_as_they_do(pipe: TextToImage, kept: Kept) -> None:
    for frame in film.film(pipe, *kept)["frames"][:-1]:
        assert frame["hand"]["error"] < 1e-6 * max(1, frame["next"]["alpha"] / frame["alpha"])
    for move in film.taken_apart(pipe, *kept, range(6)):
        small = 0.2 / float(move.x_next.abs().max())  # nothing is cut off
        total = sum(film.linear(pipe, term.value.float() * small).astype(float) - 127.5 for term in move.terms)
        assert np.abs(total + 127.5 - film.linear(pipe, move.x_next * small)).max() <= 2  # of 255: rounded to whole ones


# --------------------------------------------------------------------------------------- beside the perfect denoiser


def test_a_film_leads_to_the_same_run_beside_the_perfect_denoiser(pipe: TextToImage) -> None:
    asked = Recipe(prompt="", steps=6, sampler="ddim", knobs={"eta": 0.5}, gamma=1.5, spacing="karras", negative="blue")
    query = dict(parse_qsl(film.beside_perfect(pipe, pipe.complete(asked)).removeprefix("?"), keep_blank_values=True))
    link = from_query(query)
    assert link.recipe == asked and link.places == {"tab": "labs"} and link.view == {"page": "perfect"}
    assert {"seed", "prompt"} <= link.given and not link.given & {"model", "schedule", "width", "height", "end"}


@pytest.mark.parametrize("other", [{"branch": {"step": 2, "changes": {"gamma": 0.0}}}, {"width": 64, "height": 64}])
def test_a_run_that_the_perfect_denoiser_has_no_place_for_has_no_link_to_it(pipe: TextToImage, other: Any) -> None:
    assert film.beside_perfect(pipe, pipe.complete(RECIPE.replace(**other))) == ""


# ------------------------------------------------------------------------------------------------------ developing


def test_a_film_is_there_before_its_pictures_and_every_few_pictures_there_is_a_chance_to_stop(
    pipe: TextToImage, kept: Kept
) -> None:
    seen, last = ended(film.develop(pipe, *kept))
    assert seen[0].pictures == {} and len(seen[0].film["frames"]) == 7
    done = [one.done for one in seen]
    assert all(b - a <= film.AT_ONCE for a, b in itertools.pairwise(done)) and last.done == last.total == 20
    assert list(last.pictures) == list(film.FIRST)
    for view, values in (("x0", [step.x0 for step in kept[1]]), ("x", [*(step.x for step in kept[1]), kept[1][-1].x_next])):
        whole = strip.eight_bits(pipe.decode(torch.cat(values))).astype(float)
        for index in range(len(values)):  # each tile is nearest to the picture that it should be
            far = np.abs(tile(last.pictures[view], index) - whole).mean((1, 2, 3))
            assert far[index] == far.min()


def test_of_a_large_picture_a_frame_is_decoded_only_when_it_is_asked_for(pipe: TextToImage) -> None:
    recipe = pipe.complete(RECIPE.replace(width=128, height=96, steps=2))
    steps = list(pipe.run(recipe))
    assert not film.small(pipe, steps)
    _, last = ended(film.develop(pipe, recipe, steps))
    assert last.pictures == {} and set(last.film["rough"]) == set(strip.VIEWS)
    _, asked = ended(film.more(pipe, recipe, steps, ["x0"], k=1))
    sheet = asked["single"]["x01"]
    assert (sheet["w"], sheet["h"]) == (128, 96)
    assert ended(film.more(pipe, recipe, steps, ["eps"], k=2))[1] == {"single": {}}  # the run is over there
    assert ended(film.more(pipe, recipe, steps, ["x0"]))[1] == {"views": {}}


def test_where_guidance_pauses_the_film_goes_on(pipe: TextToImage) -> None:
    recipe = pipe.complete(RECIPE.replace(guidance={"interval": (0.5, 5.0)}))
    made = film.film(pipe, recipe, list(pipe.run(recipe)))
    asked = ["uncond" in frame["norm"] for frame in made["frames"][:-1]]
    assert any(asked) and not all(asked) and made["guided"]


def test_two_futures_are_one_run_up_to_the_branch(pipe: TextToImage, kept: Kept) -> None:
    recipe = pipe.complete(branched(kept[0], 3, {"prompt": "a blue apple", "sampler": "ddim", "gamma": kept[0].gamma}))
    assert recipe.branch is not None and recipe.branch.changes == {"prompt": "a blue apple", "sampler": "ddim"}
    _, last = ended(film.develop(pipe, recipe, list(pipe.run(recipe)), kept[1]))
    assert last.film["apart"][:4] == [0, 0, 0, 0] and all(far > 0 for far in last.film["apart"][4:])
    assert last.film["of"] == film.film(pipe, *kept)["id"] != last.film["id"]


def test_nothing_of_a_film_is_sent_twice() -> None:
    begun, half = film.Progress({"id": "f"}, {}, 0, 8), film.Progress({"id": "f"}, {"x0": {"src": "a"}}, 4, 8)
    names = ("film", "pictures")
    assert parts(names, begun) == {"film": {"id": "f"}}
    assert parts(names, half, begun) == {"pictures": {"id": "f", "x0": {"src": "a"}}}
    assert parts(names, half, half) == {}
    assert set(parts(names, half)) == {"film", "pictures"}


# --------------------------------------------------------------------------------------------- looking and probing


def test_the_shares_of_all_words_sum_to_one_in_every_layer(pipe: TextToImage, kept: Kept) -> None:
    _, seen = ended(looks.look(pipe, *kept, k=2))
    assert seen["words"] == ["a", "red", "cat", looks.REST] and seen["layers"][0]["name"].startswith("all layers")
    for layer in seen["layers"]:
        assert sum(layer["share"]) == pytest.approx(1, abs=1e-5)
        assert all(len(base64.b64decode(cells)) == layer["w"] * layer["h"] for cells in layer["maps"])
        assert all(max(base64.b64decode(cells)) == 255 for cells in layer["maps"])


def test_each_word_is_left_out_in_turn_with_a_chance_to_stop_between(pipe: TextToImage, kept: Kept) -> None:
    seen, made = ended(looks.leave_out(pipe, *kept, k=2))
    assert sum(isinstance(one, looks.Asked) for one in seen) == 3
    assert len(made["without"]) == 3 and all(one["change"] > 0 for one in made["without"])


def test_the_end_of_a_run_and_a_prompt_without_words_are_refused_in_a_sentence(pipe: TextToImage, kept: Kept) -> None:
    with pytest.raises(UserError, match="the network is asked nothing"):
        ended(looks.look(pipe, *kept, k=6))
    with pytest.raises(UserError, match="no words to look for"):
        ended(looks.look(pipe, kept[0].replace(prompt=""), kept[1], k=1))


def test_layers_are_named_as_one_says_them() -> None:
    assert looks.title("up_blocks.0.attentions.1") == "up 1, layer 2" and looks.title("mid_block.attentions.0") == "middle"


def test_the_error_of_a_found_noise_is_what_its_definition_says(pipe: TextToImage, kept: Kept) -> None:
    _, made = ended(probe.known_noise(pipe, *kept))
    one = made["numbers"][4]
    level = pipe.schedule.at(one["t"])
    clean, eps = kept[1][-1].x_next, pipe.noise([kept[0]])(7)
    x = level.alpha * clean + level.sigma * eps
    with torch.no_grad():
        out = pipe.unet(x, torch.tensor([level.t]), pipe.text_states([kept[0].prompt]))
    said = out if pipe.parts.prediction == "eps" else level.sigma * x + level.alpha * out
    assert one["mse"] == pytest.approx(float((eps - said).square().mean()), rel=1e-4)


def test_the_same_run_comes_out_twice_and_another_one_does_not(pipe: TextToImage, kept: Kept) -> None:
    _, sentence = ended(probe.same_again(pipe, *kept))
    assert "all 6 steps came out the same, to the last bit" in sentence
    _, sentence = ended(probe.same_again(pipe, kept[0].replace(seed=6), kept[1]))
    assert sentence.startswith("Run again: 0 of 6")


# --------------------------------------------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def done(pipe: TextToImage, kept: Kept) -> film.Cut:
    return ended(film.cut(pipe, *kept))[1]


@pytest.mark.parametrize(("form", "kind"), [("gif", "GIF"), ("webp", "WEBP")])
def test_an_animation_has_every_frame_and_stays_on_the_last(
    done: film.Cut, kept: Kept, tmp_path: Any, form: str, kind: str
) -> None:
    path = written(form, done, kept[0], tmp_path)
    with Image.open(path) as image:
        assert image.format == kind and image.n_frames == 7 and path.name == f"a-red-cat-5.{form}"
        durations = []
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            durations.append(image.info["duration"])
    assert durations[0] == 100 and durations[-1] == 1500


def test_the_contact_sheet_has_every_frame_and_its_recipe_inside(done: film.Cut, kept: Kept, tmp_path: Any) -> None:
    path = written("sheet", done, kept[0], tmp_path)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=float)
    first = done.x0[0].astype(float)
    assert np.abs(pixels[34 : 34 + 32, 6 : 6 + 32] - first).max() == 0
    assert read_png(path).recipe == kept[0]


def test_without_pyav_the_way_to_get_it_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movie, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"PyAV.*pip install av.*or choose GIF"):
        movie.possible("mp4")
    movie.possible("gif")


def test_a_video_decodes_to_every_frame_of_the_film(done: film.Cut, kept: Kept, tmp_path: Any) -> None:
    import av

    path = written("mp4", done, kept[0], tmp_path)
    with av.open(str(path)) as container:
        seen = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
        rate, name = container.streams.video[0].average_rate, container.streams.video[0].codec_context.name
    films = zip(done.x, done.x0, done.numbers, strict=True)
    made = [np.asarray(movie.composed(x, x0, movie.caption(one, kept[0].steps)), dtype=float) for x, x0, one in films]
    assert len(seen) == len(made) + movie.HOLD == 7 + movie.HOLD and rate == movie.RATE and name in ("h264", "mpeg4")
    assert {frame.shape for frame in seen} == {made[0].shape}
    assert psnr(seen[0], made[0]) > 25 and psnr(seen[-1], made[-1]) > 25  # half of the colours' resolution is lost
    assert psnr(seen[-1], made[0]) < 20 > psnr(seen[0], made[-1])


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / float(((a - b) ** 2).mean()))


# ----------------------------------------------------------------------------------------------------- the handlers


@pytest.mark.parametrize("text", ["", "a", "7", "7c", "-1a", "1e3a", "99999a", None, {"k": 1}, "٣a\n"])
def test_a_place_that_no_film_has_is_refused(text: Any) -> None:
    with pytest.raises(UserError, match="no film yet"):
        place(text)


def test_a_branch_must_be_another_future() -> None:
    assert place("12b") == (12, "b")
    same = {"prompt": RECIPE.prompt, "sampler": RECIPE.sampler, "gamma": RECIPE.gamma}
    other = same | {"gamma": 1.0}
    for k, values, says in ((2, same, "Nothing differs"), (0, other, "beginning"), (6, other, "over")):
        with pytest.raises(UserError, match=says):
            branched(RECIPE, k, values)
    with pytest.raises(UserError, match="no film yet"):
        recipe_of({}, "a")


@pytest.fixture
def desk(pipe: TextToImage) -> Iterator[Desk]:
    engine = Engine(pipe)
    sampler = SimpleNamespace(values=lambda chosen, positions: {})
    widgets = {name: name for name in ("film", "words", "probe", "go", "halt", "made", "shot", "file", "link")}
    other = {name: f"other {name}" for name in ("prompt", "sampler", "gamma")}
    yield Desk(engine, ("prompt", "steps", "seed"), sampler, other, **widgets)  # type: ignore[arg-type]
    engine.close()


REQUEST: Any = SimpleNamespace(session_hash="me", client=None, headers={})


def ready(seen: list[dict[Any, Any]]) -> bool:
    """Whether the buttons came back at the end."""
    return seen[0]["go"]["interactive"] is False and seen[-1]["go"]["interactive"] and not seen[-1]["halt"]["interactive"]


def test_generate_brings_the_film_its_recipe_and_its_link_and_remembers_them(desk: Desk) -> None:
    seen, error = changes(desk.generate(REQUEST, {}, "a red cat", 4, "5", "ddim"))
    assert error is None and ready(seen)
    props = [name for change in seen if "film" in change for name in change["film"] if name in ("film", "pictures")]
    assert props.count("film") == 1 and props[-1] == "pictures"
    (shot,) = (change["shot"] for change in seen if "shot" in change)
    (made,) = (change["made"] for change in seen if "made" in change)
    assert Recipe.from_json(shot["a"]).sampler == "ddim" and Recipe.from_json(made).spacing is None  # as it was asked for
    again, _ = changes(desk.generate(REQUEST, {}, "a red cat", 4, "5", "ddim"))
    lines = [change["film"].get("value", {}).get("line", "") for change in again if "film" in change]
    assert len(again) < 6 and any("remembered" in line for line in lines)
    branch, error = changes(desk.branch(REQUEST, "2a", made, "a blue apple", "ddim", 4.0))
    assert error is None and ready(branch)
    assert [set(change["film"]) & {"other", "others"} for change in branch if "other" in change.get("film", {})]
    last = branch[-2]
    assert Recipe.from_json(last["shot"]["b"]).branch == Recipe.from_json(last["made"]).branch is not None


@pytest.mark.parametrize(
    ("handler", "inputs", "says"),
    [
        ("generate", ({}, "a cat", 0, "5", "ddim"), "steps is 0"),
        ("generate", ({}, "a cat", 4, "five", "ddim"), "seed is 'five'"),
        ("branch", ("2a", "", "a", "ddim", 1.0), "no film yet"),
        ("look", ("", {}), "no film yet"),
        ("export", ("1a", {}, "GIF"), "no film yet"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_buttons_come_back(desk: Desk, handler: str, inputs: Any, says: str) -> None:
    seen, error = changes(getattr(desk, handler)(REQUEST, *inputs))
    assert ready(seen) and error is not None and says in error.message


def test_a_visitor_who_leaves_frees_the_engine_within_a_step(
    desk: Desk, pipe: TextToImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    monkeypatch.setattr(type(pipe), "decode", lambda self, z: decoded.append(len(z)) or torch.zeros(len(z), 3, 32, 32))

    async def leave() -> None:
        handler = desk.generate(REQUEST, {}, "a red cat", 60, "9", "ddim")
        async for change in handler:
            if "film" in change and "film" in change["film"]:
                break  # the film is there, its pictures are not
        await handler.aclose()

    asyncio.run(leave())
    count = len(decoded)
    seen, error = changes(desk.generate(REQUEST, {}, "a red cat", 2, "9", "ddim"))
    assert error is None and ready(seen) and len(decoded) < count + 12  # not the 183 pictures of the film that nobody sees


def test_a_fault_in_the_vae_is_told_and_the_next_film_is_fine(
    desk: Desk, pipe: TextToImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(film, "decoded", lambda *_: (_ for _ in ()).throw(UserError("The picture became NaN on the way.")))
        seen, error = changes(desk.generate(REQUEST, {}, "a red cat", 3, "11", "ddim"))
        assert ready(seen) and error is not None and "became NaN" in error.message
    seen, error = changes(desk.generate(REQUEST, {}, "a red cat", 3, "11", "ddim"))
    assert error is None and ready(seen)
