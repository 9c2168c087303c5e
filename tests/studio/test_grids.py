"""What is typed into an axis, read as it is meant; and the cells that come of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.recipe import Recipe
from core.sampling import SAMPLERS
from studio.formats.grids import KINDS, MOST_CELLS, MOST_VALUES, axis, grid, numbers, split
from studio.formats.infotext import SCHEDULE_TYPES

BASE = Recipe(prompt="a red apple, red leaf", sampler="ddim", seed=7)


def values(kind: str, text: str, base: Recipe = BASE) -> tuple[Any, ...]:
    made = axis(kind, text, base)
    assert made is not None and len(made.values) == len(made.labels)
    return made.values


# ------------------------------------------------------------------------------------------------- the syntax


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a, b ,c", ["a", "b", "c"]), ('"a, b", c', ["a, b", "c"]), ('"say ""hi""", x', ['say "hi"', "x"]), ('"", x', ["", "x"]),
        ("a,,b,", ["a", "b"]), ("", []), (" , ,", []), ('it"s, b', ['it"s', "b"]), ('"two\nlines"', ["two\nlines"]),
    ],
)  # fmt: skip
def test_values_are_separated_by_commas_and_may_be_quoted(text: str, found: list[str]) -> None:
    assert split(text) == found


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=6))
def test_whatever_is_quoted_comes_back(texts: list[str]) -> None:
    assert split(",".join('"' + text.replace('"', '""') + '"' for text in texts)) == texts


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1, 2,3", [1, 2, 3]), ("1-5", [1, 2, 3, 4, 5]), ("1-5 (+2)", [1, 3, 5]), ("1-6(+2)", [1, 3, 5]),
        ("10-5 (-3)", [10, 7]), ("10 - 4 (-3)", [10, 7, 4]), ("1-10 [5]", [1, 3, 5, 7, 10]), ("5-5", [5]), ("-1", [-1]),
        ("-3--1", [-3, -2, -1]), ("4, 1-3, 20-10 (-5)", [4, 1, 2, 3, 20, 15, 10]), ("−1", [-1]),
    ],
)  # fmt: skip
def test_ranges_of_whole_numbers_are_read_as_other_programs_read_them(text: str, found: list[int]) -> None:
    assert numbers(text, whole=True) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("0.5, 7", [0.5, 7]), ("1-3 (+0.5)", [1, 1.5, 2, 2.5, 3]), ("0-1 [5]", [0, 0.25, 0.5, 0.75, 1]),
     ("0-0.3 (+0.1)", [0, 0.1, 0.2, 0.3]), ("7-5.5 (-0.5)", [7, 6.5, 6, 5.5])],
)  # fmt: skip
def test_ranges_of_numbers_end_where_they_say(text: str, found: list[float]) -> None:
    assert numbers(text, whole=False) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("five", "'five' is not a whole number or a range"), ("1.5", "not a whole number"), ("1-5 (2)", r"'1-5 \(2\)' is not"),
        ("10-5", r"never arrives; .* such as 10-5 \(-1\)"), ("1-5 (-1)", r"such as 1-5 \(\+1\)"), ("1-5 (+0)", "never arrives"),
        ("1-1000000000", "1000000000 numbers"), ("1-10 [1]", "asks for 1 numbers"), ("1-10 [999999]", "2 to 50"),
        ("1-40, 1-40", f"more than {MOST_VALUES}"), ("nan", "not a whole number"), ("1e400", "not a whole number"),
        ('"1, 2', "never closed"), ("9" * 400, "not a whole number"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_in_a_sentence(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        numbers(text, whole=True)


# ------------------------------------------------------------------------------------------------- the kinds


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_every_kind_makes_a_grid(kind: str) -> None:
    made = grid(BASE, axis(kind, KINDS[kind].example, BASE))
    assert len({cell.recipe for cell in made.cells}) == len(made.cells) >= 2


def test_samplers_are_named_by_label_or_id_and_may_carry_a_spacing() -> None:
    found = values("Sampler", "DPM++ 2M Karras, heun, euler A")
    assert found == (("dpmpp_2m", "karras"), ("heun", None), ("euler_ancestral", None))
    everything = axis("Sampler", ", ".join(entry.label for entry in SAMPLERS.values()), BASE)
    assert [name for name, _ in everything.values] == list(SAMPLERS)


def test_schedule_types_are_named_as_here_or_as_in_other_programs() -> None:
    assert values("Schedule type", ", ".join(SCHEDULE_TYPES.values())) == tuple(SCHEDULE_TYPES)
    assert values("Schedule type", "karras, SGM Uniform") == ("karras", "trailing")


def test_cfg_scale_is_one_more_than_gamma_and_both_stand_there() -> None:
    made = axis("CFG Scale", "0, 1, 7", BASE)
    assert made.labels[2] == "γ 6 = CFG scale 7"
    assert [cell.recipe.gamma for cell in grid(BASE, made).cells] == [-1, 0, 6]


def test_a_seed_of_minus_one_is_drawn_once_for_the_axis() -> None:
    made = grid(BASE, axis("Seed", "-1, 5", BASE), axis("Steps", "3, 4", BASE))
    drawn = {cell.recipe.seed for cell in made.cells if cell.place[0] == 0}
    assert len(drawn) == 1 and drawn != {-1}
    assert len(set(values("Seed", "-1, -1, -1"))) == 3


def test_prompt_s_r_puts_each_value_where_the_first_one_stands() -> None:
    made = grid(BASE, axis("Prompt S/R", 'red, green, ""', BASE))
    assert [cell.recipe.prompt for cell in made.cells] == ["a red apple, red leaf", "a green apple, green leaf", "a  apple,  leaf"]
    with pytest.raises(UserError, match="'blue' is not in the prompt"):
        axis("Prompt S/R", "blue, green", BASE)


def test_sizes_are_sides_or_one_side_and_are_checked() -> None:
    assert values("Size", "128, 64x96, 64 × 32") == ((128, 128), (64, 96), (64, 32))
    with pytest.raises(UserError, match="multiple of 8"):
        grid(BASE, axis("Size", "64, 130", BASE))


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [("Sampler", "Magic", "'Magic' is no sampler; there are DDPM, DDIM"), ("Size", "big", "no size"),
     ("Steps", "", "has no values"), ("Schedule type", "odd", "no schedule type"), ("Steps", "3, 4, 3", "steps 3 twice"),
     ("Colour", "1", "There is no axis 'Colour'"), ("Prompt S/R", '""', "not in the prompt")],
)  # fmt: skip
def test_an_axis_that_cannot_be_is_refused(kind: str, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        axis(kind, text, BASE)


# ------------------------------------------------------------------------------------------------- the cells


def test_cells_run_along_x_first_and_hold_every_combination() -> None:
    made = grid(BASE, axis("Steps", "3,4", BASE), axis("Seed", "1-3", BASE), axis("Sampler", "heun, lms", BASE))
    assert [cell.place for cell in made.cells[:3]] == [(0, 0, 0), (1, 0, 0), (0, 1, 0)] and len(made.cells) == 12
    last = made.cells[-1].recipe
    assert (last.steps, last.seed, last.sampler, last.prompt) == (4, 3, "lms", BASE.prompt)
    assert len({cell.recipe for cell in made.cells}) == 12


def test_an_eta_is_kept_whichever_axis_the_sampler_is_on() -> None:
    made = grid(BASE.replace(sampler="heun"), axis("Eta", "0.2, 0.5", BASE), axis("Sampler", "ddim, euler_ancestral", BASE))
    assert [cell.recipe.knobs["eta"] for cell in made.cells] == [0.2, 0.5, 0.2, 0.5]
    mixed = grid(BASE, axis("Eta", "0.2, 0.5", BASE), axis("Sampler", "ddim, heun", BASE))
    assert [cell.recipe.knobs for cell in mixed.cells] == [{"eta": 0.2}, {"eta": 0.5}, {}, {}]


@pytest.mark.parametrize(
    ("base", "kind", "text", "says"),
    [(BASE.replace(sampler="heun"), "Eta", "0, 1", "Eta changes nothing here: the sampler has no eta"),
     (BASE, "Steps", str(BASE.steps), "Steps changes nothing"), (BASE, "Prompt S/R", "red", "Prompt S/R changes nothing")],
)  # fmt: skip
def test_an_axis_that_changes_nothing_is_refused(base: Recipe, kind: str, text: str, says: str) -> None:
    for other in (None, axis("Seed", "1, 2", base)):
        with pytest.raises(UserError, match=says):
            grid(base, axis(kind, text, base), other)
        with pytest.raises(UserError, match=says):
            grid(base, other, axis(kind, text, base))


def test_what_a_grid_costs_is_reckoned_with_the_size_of_the_model_that_paints_it() -> None:
    made = grid(BASE, axis("Steps", "90, 100", BASE), axis("Seed", "1-10", BASE))
    assert made.work(128) == 1900 * 128**2
    with pytest.raises(UserError, match=r"3.8 times as much work"):
        made.work(512)


def test_grids_are_bounded_in_cells_and_in_work() -> None:
    with pytest.raises(UserError, match=f"144 pictures; it may have {MOST_CELLS}"):
        grid(BASE, axis("Steps", "1-12", BASE), axis("Seed", "1-12", BASE))
    with pytest.raises(UserError, match="times as much work"):
        grid(BASE.replace(width=512, height=512), axis("Steps", "900, 1000", BASE), axis("Seed", "1-3", BASE)).work(128)
    with pytest.raises(UserError, match="no axis"):
        grid(BASE)
    with pytest.raises(UserError, match="Steps is on two axes"):
        grid(BASE, axis("Steps", "1, 2", BASE), axis("Steps", "3, 4", BASE))
    with pytest.raises(UserError, match="steps is 0; it must be a whole number"):
        grid(BASE, axis("Steps", "0-3", BASE))
    assert axis("Nothing", "1, 2", BASE) is None
