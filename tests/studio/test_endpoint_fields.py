"""What endpoints take of a run comes from the fields of Recipe, also one that joins them tomorrow."""

from __future__ import annotations

import asyncio
import inspect
from typing import Annotated, Any

import gradio as gr
import pytest
from gradio.utils import get_function_description, get_function_params, get_return_types
from gradio_client.utils import python_type_to_json_schema
from pydantic import Field

import core.recipe
from core.recipe import Guidance, Recipe
from studio.endpoints import fields
from studio.endpoints.fields import takes


class Wider(Recipe):
    fresh: Annotated[int, Field(ge=1, le=9)] = Field(default=3, description="something that nobody thought of yet")


def echo(**more: Any) -> Any:
    @takes(tuple[dict, dict], **more)
    async def called(request: gr.Request, form: str = "gif", **given: Any) -> Any:
        """Say what was given.

        Args:
            form: A word of its own.
            fields: Those of Recipe.

        Returns:
            All of it.
        """
        yield form, given

    return called


def answered(endpoint: Any, *values: Any, **named: Any) -> Any:
    async def first() -> Any:
        return [one async for one in endpoint(*values, **named)][-1]

    return asyncio.run(first())


def test_every_field_of_a_recipe_but_the_model_is_a_typed_parameter_with_a_text_in_one_line() -> None:
    endpoint = echo()
    taken = {name: (has, default, hint) for name, has, default, hint in get_function_params(endpoint)}
    assert list(taken) == ["prompt", "form", *(name for name in Recipe.model_fields if name not in ("prompt", "model"))]
    _, texts, _ = get_function_description(endpoint)
    assert all(python_type_to_json_schema(hint) for _, _, hint in taken.values())
    assert all(texts[name].endswith(".") for name in taken) and "request" not in taken
    assert texts["steps"] == "How many times the sampler moves: a whole number from 1 to 1000."
    assert len(get_return_types(endpoint)) == 2 and inspect.isasyncgenfunction(endpoint)


def test_what_a_recipe_has_anyway_is_what_an_endpoint_has_anyway_but_for_the_seed() -> None:
    _, given = answered(echo(), gr.Request(session_hash="x"), "a cat")
    assert given.pop("seed") == -1
    recipe, start = asyncio.run(fields.asked(Sized(), given | {"seed": 0}))
    assert recipe == Recipe(prompt="a cat") and start is None


def test_an_endpoint_may_have_other_defaults_and_do_without_a_field() -> None:
    endpoint = echo(without=("batch",), steps=12, prompt="a dog")
    form, given = answered(endpoint, gr.Request(session_hash="x"), "webp")
    assert form == "webp" and given["steps"] == 12 and given["prompt"] == "a dog" and "batch" not in given


def test_the_parts_of_guidance_and_of_a_branch_are_typed_as_tables() -> None:
    schema = python_type_to_json_schema(fields.kind("guidance"))
    assert set(schema["properties"]) == set(Guidance.model_fields) and "required" not in schema
    assert schema["properties"]["kind"]["enum"] == ["classifier_free", "classifier"]
    assert set(python_type_to_json_schema(fields.kind("branch"))["oneOf"][1]["properties"]) == {"step", "changes"}


def test_a_field_that_joins_recipe_is_a_parameter_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "Recipe", Wider)
    monkeypatch.setattr(core.recipe, "Recipe", Wider)
    core.recipe.allowed.cache_clear()
    try:
        endpoint = echo()
    finally:
        core.recipe.allowed.cache_clear()
    assert get_function_params(endpoint)[-1] == ("fresh", True, 3, int)
    _, texts, _ = get_function_description(endpoint)
    assert texts["fresh"] == "Something that nobody thought of yet: a whole number from 1 to 9."


def test_a_fault_is_a_sentence_and_the_generator_behind_is_closed_when_nobody_listens() -> None:
    ended = []

    @takes(dict)
    async def slow(request: gr.Request, **given: Any) -> Any:
        """Wait."""
        try:
            core.recipe.Recipe(**given | {"steps": given["steps"], "seed": 0})
            yield {}
            yield {}
        finally:
            ended.append(True)

    async def leave() -> None:
        answers = slow(gr.Request(session_hash="x"), "", schedule=None, spacing=None, end=None)
        await anext(answers)
        await answers.aclose()
        assert ended

    asyncio.run(leave())
    with pytest.raises(gr.Error, match="steps is 0"):
        answered(slow, gr.Request(session_hash="x"), "", schedule=None, spacing=None, end=None, steps=0)


class Sized:
    """Of an engine what `asked` looks at."""

    class pipe:
        size = 128
