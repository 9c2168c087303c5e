"""What endpoints take of a run: a parameter for every field of Recipe, whose type, default and text stand there alone.

    @takes(tuple[dict, dict], without=("batch",))
    async def denoise(request: gr.Request, form: str = "gif", **fields: Any) -> AsyncIterator[Any]: ...

Gradio, and MCP after it, read the signature and the docstring; both are made here, so that a field that joins Recipe is a
parameter of every endpoint by itself. The line `fields: ...` of a docstring makes room for the texts.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import operator
import re
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing
from types import UnionType
from typing import Annotated, Any, Literal, TypedDict, Union, get_args, get_origin

from gradio.data_classes import FileData
from pydantic import BaseModel

from core.recipe import NAMED, Recipe, allowance, allowed
from studio.handlers import starts
from studio.service.engine import Engine
from studio.widgets import controls

UNASKED = ("model",)  # the one that is loaded: no visitor loads another
PICTURES = ("image", "mask")  # files here, digests in a recipe
UPLOAD = "An upload, or by MCP its address here or the picture itself as a data: URI; other addresses are not fetched."
MORE = {
    "prompt": 'At most 2,000 characters; empty for an unconditional picture. Weights as in "a (red:1.3) apple".',
    "knobs": 'Such as {"eta": 0.5}; what is left out has its default.',
    "sigmas": "In place of spacing, end and steps; nothing for those.",
    "gamma": "That is what other programs ask for.",
    "guidance": "Its interval is [low, high] in sigma/alpha, nothing for everywhere; rescale goes from 0 to 1.",
    "seed": "-1 draws one.",
    "rng": "nv as on a GPU, cpu as PyTorch's CPU generator.",
    "width": "Nothing for the model's own size.",
    "height": "Nothing for the model's own size.",
    "image": f"A PNG, JPEG or WebP, its middle cut to the shape of the result; nothing to start from noise. {UPLOAD}",
    "mask": f"Black is kept, grey painted anew in that proportion. {UPLOAD}",
    "strength": "It is the share of the steps that are run, at least one.",
    "branch": 'Such as {"step": 8, "changes": {"prompt": "a pear"}}; nothing for one run.',
}


def takes(gives: Any, without: Collection[str] = (), **defaults: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make an asynchronous generator an endpoint: its `**fields` are those of Recipe but `without` some, its faults sentences.

    `gives` is the type of what it yields, which the annotation of a generator cannot say to Gradio.
    """

    def made(function: Callable[..., AsyncIterator[Any]]) -> Callable[..., Any]:
        fields = [name for name in Recipe.model_fields if name not in (*UNASKED, *without)]
        own = [one for one in inspect.signature(function).parameters.values() if one.kind is not one.VAR_KEYWORD]
        every = [*own, *(parameter(name, defaults) for name in fields)]
        signature = inspect.Signature(sorted(every, key=lambda one: one.default is not one.empty), return_annotation=gives)

        @functools.wraps(function)
        async def endpoint(*values: Any, **named: Any) -> AsyncIterator[Any]:
            given = signature.bind(*values, **named)
            given.apply_defaults()
            try:
                async with aclosing(function(**given.arguments)) as answers:  # type: ignore[type-var]
                    async for answer in answers:
                        yield answer
            except Exception as error:
                raise controls.fault(error) from None

        told = "\n".join(f"    {name}: {text(name)}" for name in fields)
        endpoint.__doc__ = re.sub("    fields: .*", lambda _: told, inspect.cleandoc(function.__doc__ or ""))
        endpoint.__annotations__ = {one.name: one.annotation for one in every}
        endpoint.__signature__ = signature  # type: ignore[attr-defined]
        return endpoint

    return made


async def asked(engine: Engine, fields: dict[str, Any]) -> tuple[Recipe, starts.Start | None]:
    """The recipe that a call describes, and the picture that it starts from. Raises UserError."""
    recipe = controls.recipe_of(**{name: value for name, value in fields.items() if name not in PICTURES})
    size = recipe.width or engine.pipe.size, recipe.height or engine.pipe.size
    start = await asyncio.to_thread(starts.from_files, *map(fields.get, PICTURES), size)
    return recipe.replace(**start.fields) if start else recipe.replace(strength=allowed("strength")["default"]), start


def parameter(name: str, defaults: dict[str, Any]) -> inspect.Parameter:
    """A field of Recipe as a parameter: required if it is there and no other default is given."""
    field = Recipe.model_fields[name]
    usual = {"seed": -1} | {one: controls.MODELS_OWN for one in NAMED if Recipe.model_fields[one].default is None}
    whole = Recipe(prompt="").model_dump(mode="json")
    default = inspect.Parameter.empty if field.is_required() else whole[name]
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind(name), default=(usual | defaults).get(name, default)
    )


def kind(name: str) -> Any:
    """The type of a field as JSON has it."""
    field = Recipe.model_fields[name]
    if name in PICTURES:
        return FileData
    if name in NAMED:
        return Literal[(*((controls.MODELS_OWN,) if field.default is None else ()), *NAMED[name])]  # type: ignore[return-value]
    return plain(field.annotation)


def plain(hint: Any) -> Any:
    """A type without what only Recipe checks, a model as the table that it is read from."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        inner = {name: plain(field.annotation) for name, field in hint.model_fields.items()}
        return TypedDict(hint.__name__, inner, total=False)  # type: ignore[operator]
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return plain(parts[0])
    if origin in (Union, UnionType):
        return functools.reduce(operator.or_, map(plain, parts))
    return hint if origin in (None, Literal) else origin[tuple(map(plain, parts))]


def text(name: str) -> str:
    """What a parameter means, in one line: the field's own words, what is allowed, and what is particular to programs."""
    limits = allowed(name)
    within = f": {allowance(limits)}" if "minimum" in limits else ""
    own = f'"{controls.MODELS_OWN}" for what the model, or the sampler, has anyway.' if name != "sampler" and name in NAMED else ""
    about = controls.help_of(name).removeprefix("Digest of ")
    return " ".join(part for part in (f"{about[:1].upper()}{about[1:]}{within}.", own, MORE.get(name, "")) if part)
