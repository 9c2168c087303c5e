"""Numbers and names as strangers hand them in: whatever is wrong with one is a sentence, and a word is only a word."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from core import Recipe
from core.errors import UserError
from core.recipe import NAMED
from core.schedules import make
from studio.endpoints import schedule, sweep
from studio.formats import grids
from studio.handlers import restored
from studio.tabs import labs
from studio.widgets import checks, controls

HUGE = 10**400  # more than a float can be
LONGEST = 10**5000  # more digits than Python writes out


def kind(value: Any) -> str:
    """The name of a case, since not every value can be written out."""
    return type(value).__name__


@pytest.mark.parametrize("value", [HUGE, -HUGE, LONGEST, -LONGEST, float("inf"), float("nan"), True, None, "3"], ids=kind)
def test_what_is_no_number_of_a_range_is_refused_in_a_sentence(value: Any) -> None:
    for check in (checks.real, checks.whole):
        with pytest.raises(UserError, match=r"^side is .{1,60}; it must be a number from 0 to 9\.$"):
            check("side", value, 0, 9)


def test_the_ends_of_a_range_are_in_it() -> None:
    assert (checks.real("side", 0, 0, 9), checks.real("side", 9, 0, 9), checks.whole("side", 9.0, 0, 9)) == (0.0, 9.0, 9)


@pytest.mark.parametrize("axis", ["1-10 [{}]", "1-10 [0{}]", "{}-10 [5]", "1-{}", "1-10 (+{})", "{}"])
@pytest.mark.parametrize("whole", [True, False])
def test_numbers_of_five_thousand_digits_on_an_axis_are_values_or_a_sentence(axis: str, whole: bool) -> None:
    try:
        assert all(isinstance(number, (int, float)) for number in grids.numbers(axis.format("9" * 5000), whole))
    except UserError as error:
        assert len(str(error)) < 300


@pytest.mark.parametrize("count", ["9" * 5000, "1", "51"])
def test_a_range_of_too_many_numbers_says_how_many_there_may_be(count: str) -> None:
    with pytest.raises(UserError, match="it can be 2 to 50"):
        grids.numbers(f"1-10 [{count}]", whole=False)


@pytest.mark.parametrize("gammas", [[LONGEST], [HUGE], [float("nan")], [50], [-2], ["2"], [True], [None], "0 2", 5], ids=kind)
def test_scales_that_no_recipe_may_have_are_refused_in_a_sentence(gammas: Any) -> None:
    with pytest.raises(UserError, match=r"^gamma(s must be a list of numbers| is .{1,60}; it must be a number from -1 to 49)"):
        sweep.scales(gammas)


def test_scales_of_a_program_are_read_as_they_are() -> None:
    assert sweep.numbers(sweep.scales([-1, 0.5, 49])) == (-1.0, 0.5, 49.0)


@pytest.mark.parametrize("sigmas", [5, "5, 1", {"a": 1}, [None], ["5"], [LONGEST, 1], [float("inf"), 1], [5, -1]], ids=kind)
def test_levels_that_are_no_list_of_numbers_are_refused_in_a_sentence(sigmas: Any) -> None:
    with pytest.raises(gr.Error, match=r"^.sigmas (must be a list of numbers|is .{1,60}; it must be a number)"):
        schedule.endpoint(make("cosine"), 0)(sigmas=sigmas)


def test_the_word_model_is_a_prompt_like_any_other() -> None:
    made = controls.recipe_of(prompt="model", negative="model", spacing="model", schedule="model", end="model", seed=1)
    assert (made.prompt, made.negative) == ("model", "model") and (made.spacing, made.schedule, made.end) == (None, None, None)


def test_what_the_model_has_anyway_can_be_asked_for_by_every_name_but_the_samplers() -> None:
    assert {name for name in NAMED if Recipe.model_fields[name].default is None} == {"schedule", "spacing", "end"}


def test_what_comes_back_from_a_picture_has_a_name_for_every_field_that_a_page_shows() -> None:
    assert set(restored.NAMES) == set(Recipe.model_fields) - {"model", "image", "mask"}


def test_two_pages_of_the_labs_with_a_setting_of_one_name_are_found_when_the_app_is_built() -> None:
    assert labs.merged([{"a": 1}, {"b": 2}, {}]) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match="a setting named b"):
        labs.merged([{"a": 1, "b": 2}, {"b": 3}])
