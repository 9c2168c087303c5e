"""What the schedules tab shows, held to closed forms and to what core says; and quick enough to follow a slider."""

import math
import time
from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from core.schedules import SCHEDULES, SPACINGS, make, make_path, zero_terminal_snr
from studio.endpoints.schedule import endpoint
from studio.figures import noising
from studio.figures import schedules as figures
from studio.figures.schedules import QUANTITIES
from studio.tabs.schedules import SIDE, heat_view, link_to, noised_view

ALL = {name: make(name) for name in SCHEDULES}
RESCALED = {name: zero_terminal_snr(schedule) for name, schedule in ALL.items()}


# ------------------------------------------------------------------------------------------------------- curves


@pytest.mark.parametrize("against", ["t", "lambda"])
@pytest.mark.parametrize("quantity", list(QUANTITIES))
def test_a_curve_of_few_points_is_seen_as_the_curve_of_all(quantity: str, against: str, monkeypatch: pytest.MonkeyPatch) -> None:
    few = figures.curves(ALL, quantity, against)
    monkeypatch.setattr(figures, "EVERY", 1)
    many = figures.curves(ALL, quantity, against)
    assert len(few) < 0.5 * len(many)
    for name, rows in many.groupby("schedule"):
        own = few[few["schedule"] == name]
        assert {own["x"].iloc[0], own["x"].iloc[-1]} == {rows["x"].iloc[0], rows["x"].iloc[-1]}
        off = np.abs(np.interp(rows["x"], own["x"], own["y"]) - rows["y"]).max()
        assert off < 0.6 / 320 * (many["y"].max() - many["y"].min()), name  # half a pixel, and five digits


def test_against_t_a_curve_is_the_schedules_own_array() -> None:
    for name, rows in figures.curves(ALL, "beta", "t").groupby("schedule"):
        np.testing.assert_allclose(rows["y"], ALL[name].beta[rows["x"].astype(int)], rtol=1e-4)
        assert (rows["x"].iloc[0], rows["x"].iloc[-1]) == (0, 999)


@pytest.mark.parametrize("schedules", [ALL, RESCALED], ids=["as they are", "zero terminal SNR"])
def test_against_lambda_every_schedule_is_one_and_the_same_curve(schedules: dict) -> None:
    """ᾱ = 1/(1 + exp(−2λ)) and log SNR = 2λ, whatever the schedule."""
    bar, log_snr = (figures.curves(schedules, quantity, "lambda") for quantity in ("alpha_bar", "log_snr"))
    np.testing.assert_allclose(bar["y"], 1 / (1 + np.exp(-2 * bar["x"])), atol=1e-4)
    np.testing.assert_allclose(log_snr["y"], 2 * log_snr["x"], rtol=1e-4)
    snr = figures.curves(schedules, "snr", "lambda")
    np.testing.assert_allclose(snr["y"], 20 * np.log10(np.e) * snr["x"], rtol=1e-4)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_density_over_lambda_covers_all_of_training(name: str) -> None:
    rows = figures.curves({name: ALL[name]}, "density", "lambda")
    assert np.trapezoid(rows["y"], rows["x"]) == pytest.approx(1, abs=0.02)


def test_the_models_own_schedule_is_marked_or_listed() -> None:
    assert figures.known_schedules(make("cosine"))["cosine"] == "cosine (own)"
    other = make("linear", 500)
    assert figures.known_schedules(other)[figures.OWN] == "own (linear)"
    assert figures.schedule_of(figures.OWN, own=other) is other
    assert figures.schedule_of("linear", zero=True).alpha_bar[-1] == pytest.approx(0, abs=1e-12)


def test_the_legend_has_the_colour_of_every_curve_and_takes_a_models_own_name_as_text() -> None:
    tints = figures.colours(["linear", "own (<img src=x onerror=hits=1>)"])
    made = figures.legend(tints)
    assert made.count("<li>") == 2 and all(colour in made for colour in tints.values())
    assert "<img" not in made and "own (&lt;img" in made


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_what_is_exported_is_a_file_of_its_kind(kind: str) -> None:
    begins = {"png": b"\x89PNG", "svg": b"<?xml"}[kind]
    made = figures.paths(ALL["linear"], 7, "clean", sigmas=(9.0, 1.0, 0.0))
    rulers = figures.rulers_figure(ALL["linear"], made)
    for figure in (figures.curves_figure(RESCALED, "snr"), rulers, noising.embedding_figure(50, 32)):
        assert figures.drawn(figure, kind).startswith(begins)


# ------------------------------------------------------------------------------------------------------- spacings


@pytest.mark.parametrize("text", ["14.6, 5,1 , 0", "14.6;5;1;0", "14.6\n5\n1\n0", "1.46e1,5,1,0,"])
def test_levels_may_be_typed_as_people_type_them(text: str) -> None:
    assert figures.typed_sigmas(text) == (14.6, 5, 1, 0)
    assert figures.typed_sigmas("  ") is None and figures.typed_sigmas(None) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("5, 14.6, 0", "14.6 follows 5, but σ/α must fall"), ("1, 1, 0", "1 follows 1, but σ/α must fall"),
        ("14.6", "Two or more levels"), ("14, 2, -1", "the last of them 0 or more"), ("14, x, 0", "'x' is not a number"),
        ("inf, 2, 0", "'inf' is not finite"), ("14, nan", "'nan' is not finite"), ("14 5 1", "'14 5 1' is not a number"),
        (", ".join(str(n) for n in range(2000, 0, -1)), "more than 1001"),
    ],
)  # fmt: skip
def test_levels_that_cannot_be_used_are_told_in_a_sentence(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        figures.typed_sigmas(text)


@pytest.mark.parametrize("end", ["clean", "first"])
def test_the_rulers_show_the_levels_that_a_run_would_visit(end: str) -> None:
    schedule = ALL["scaled_linear"]
    value = figures.rulers(schedule, figures.paths(schedule, 12, end, 1, (9.0, 1.0, 0.1)))
    assert [row["name"] for row in value["rows"]] == [*SPACINGS, figures.TYPED]
    for row in value["rows"][:-1]:
        levels = make_path(schedule, row["name"], 12, end=end, offset=1).levels
        assert [level["t"] for level in row["levels"]] == pytest.approx([level.t for level in levels])
        assert [level["nsr"] for level in row["levels"]] == pytest.approx([level.nsr for level in levels])
    assert [level["nsr"] for level in value["rows"][-1]["levels"]] == pytest.approx([9, 1, 0.1])
    shown = [level["lam"] for row in value["rows"] for level in row["levels"] if level["lam"] is not None]
    assert value["low"] <= min(shown) and max(shown) <= value["high"]


def test_infinity_is_left_to_the_page() -> None:
    schedule = RESCALED["cosine"]
    rows = figures.rulers(schedule, figures.paths(schedule, 5, "clean"))["rows"]
    first, last = rows[1]["levels"][0], rows[1]["levels"][-1]
    assert (first["nsr"], first["alpha"], first["lam"]) == (None, 0, None)
    assert (last["nsr"], last["t"], last["lam"]) == (0, -1, None)


def test_a_spacing_that_cannot_place_so_many_steps_says_so_in_its_row() -> None:
    rows = figures.rulers(ALL["linear"], figures.paths(ALL["linear"], 1000, "first"))["rows"]
    faults = [row["fault"] for row in rows if "fault" in row]
    assert faults and all("take a step less" in fault for fault in faults)


def test_typed_levels_open_as_a_link() -> None:
    assert link_to("cosine", (9.0, 1.0, 0.0)) == "v=1&tab=denoise&schedule=cosine&sigmas=9%2C1%2C0&steps=2"


# ------------------------------------------------------------------------------------------------------- noising, time


def test_a_noised_picture_is_alpha_x0_plus_sigma_eps_with_the_numbers_that_stand_beside_it() -> None:
    x0 = noising.pixels(Image.new("RGB", (SIDE, SIDE), (128, 0, 255)))
    eps = noising.noise_like(x0, 3)
    assert abs(eps.mean()) < 0.02 and eps.std() == pytest.approx(1, abs=0.02)
    at = ALL["cosine"].at(500)
    spread = noising.noised(x0, eps, at) - at.alpha * x0
    assert spread.std() == pytest.approx(at.sigma, rel=0.02)
    name, alpha, sigma = noising.equation(at).replace("·x₀", "").replace("·ε", "").replace("+ ", "= ").split(" = ")
    assert name == "x₅₀₀" and float(alpha) ** 2 + float(sigma) ** 2 == pytest.approx(1, abs=2e-4)
    assert float(alpha) == pytest.approx(math.sqrt(ALL["cosine"].alpha_bar[500]), abs=1e-4)
    np.testing.assert_array_equal(noising.noised(x0, eps, RESCALED["cosine"].at(999)), eps)


def test_a_picture_becomes_its_middle_square_and_comes_back_unchanged() -> None:
    image = noising.square(Image.linear_gradient("L").resize((300, 200)), 64)
    assert image.size == (64, 64) and noising.shown(noising.pixels(image)).tobytes() == image.tobytes()


@pytest.mark.parametrize("dim", [32, 96, 320])
def test_the_embedding_is_the_formula_beside_it(dim: int) -> None:
    t, i = np.arange(1000)[:, None], np.arange(dim // 2)[None]
    angle = t * 10000.0 ** (-2 * i / dim)
    np.testing.assert_allclose(noising.embedding(1000, dim), np.hstack([np.cos(angle), np.sin(angle)]), atol=1e-4)
    np.testing.assert_allclose(noising.embedding(16, dim), np.hstack([np.cos(angle), np.sin(angle)])[:16], atol=2e-6)


def test_how_alike_two_times_look_depends_on_their_distance_alone() -> None:
    rows = noising.embedding(1000, 64).astype(np.float64)
    products = rows @ rows.T
    for apart in (0, 1, 17, 400):
        assert np.ptp(np.diagonal(products, apart)) < 2e-2
    like = noising.likeness(250, 1000, 64)
    assert like.loc[like["likeness"].idxmax(), "t"] == 250 and like["likeness"].max() == pytest.approx(1, abs=1e-4)
    assert len(set(noising.pairs(64).split("**")[1::2])) == 1


def test_the_heat_map_is_blue_below_white_at_and_red_above_zero() -> None:
    image = noising.heat_map(np.array([[-1.0, 0.0, 1.0]]))
    assert [image.getpixel((x, 0)) for x in range(3)] == [noising.COLD, (255, 255, 255), noising.WARM]


# ------------------------------------------------------------------------------------------------------- how quickly


def slider_moves() -> dict[str, Callable[[], Any]]:
    x0 = noising.pixels(noising.drawn_example(SIDE))
    eps, pair = noising.noise_like(x0, 0), [("a", ALL["linear"]), ("b", ALL["cosine"])]
    return {
        "curves": lambda: [figures.curves(RESCALED, "density", against) for against in ("t", "lambda")],
        "rulers": lambda: figures.rulers(ALL["cosine"], figures.paths(ALL["cosine"], 100, "clean", 0, (9.0, 1.0, 0.0))),
        "noising": lambda: noised_view(x0, eps, 300, pair),
        "another seed": lambda: noising._noise.__wrapped__(1, x0.shape),
        "time": lambda: (heat_view(96, 1000, 3), noising.likeness(3, 1000, 96), noising.pairs(96)),
    }


@pytest.mark.parametrize("name", slider_moves())
def test_what_follows_a_slider_takes_the_server_less_than_100_ms(name: str) -> None:
    move, taken = slider_moves()[name], []
    for _ in range(7):
        began = time.perf_counter()
        move()
        taken.append(time.perf_counter() - began)
    assert min(taken) < 0.1, taken


# ------------------------------------------------------------------------------------------------------- for programs


def test_the_endpoint_gives_levels_and_curves() -> None:
    ask = endpoint(make("cosine"), 0)
    made = ask(schedule="linear", spacing="karras", steps=6)
    wanted = make_path(ALL["linear"], "karras", 6).levels
    assert [level["nsr"] for level in made["levels"]] == pytest.approx([level.nsr for level in wanted])
    assert made["curves"][-1]["alpha_bar"] == pytest.approx(ALL["linear"].alpha_bar[-1])
    assert len(ask(schedule="cosine", sigmas=[5, 1, 0])["levels"]) == 3
    assert ask(schedule="cosine", spacing="trailing", zero_terminal_snr=True)["levels"][0]["alpha"] == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [({"steps": 0}, "steps is 0"), ({"steps": 2.5}, "whole number"), ({"steps": float("nan")}, "steps is nan"),
     ({"steps": "many"}, "steps is 'many'"), ({"spacing": "odd"}, "spacing is 'odd'"), ({"schedule": "odd"}, "schedule is 'odd'"),
     ({"end": "x"}, "end is 'x'"), ({"sigmas": [1, 2]}, "must fall"), ({"sigmas": []}, "is not a number")],
)  # fmt: skip
def test_the_endpoint_refuses_with_a_sentence(given: dict, says: str) -> None:
    with pytest.raises(gr.Error, match=says):
        endpoint(make("cosine"), 0)(**given)
