"""The endpoints for programs: typed, documented, and the same as MCP tools."""

import asyncio
import contextlib
import inspect
import json
from io import BytesIO

import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

from core.recipe import Recipe
from core.sampling import SAMPLERS
from core.schedules import SCHEDULES, SPACINGS
from studio.formats.png import read_png
from tests.service.pages import API, script

NAMES = {"generate", "denoise", "schedule", "guidance_sweep", "sampler_race", "encode", "decode", "read_png", "models"}


@pytest.fixture(scope="module")
def info(house):
    return httpx.get(f"{house.url}{API}/info", timeout=60).json()["named_endpoints"]


def test_the_public_endpoints_are_those_that_were_promised(info):
    found = {name.removeprefix("/") for name in info}
    assert found == NAMES


def test_every_endpoint_says_what_it_does_and_what_each_parameter_means(house, info):
    functions = {fn.api_name: fn.fn for fn in house.demo.fns.values()}
    for name, about in info.items():
        text = inspect.getdoc(functions[name.removeprefix("/")]) or ""
        assert text.split("\n\n")[0].endswith("."), name
        for parameter in about["parameters"]:
            assert parameter["type"], (name, parameter)
            assert f"    {parameter['parameter_name']}: " in text, (name, parameter["parameter_name"])


def test_models_tells_everything_that_may_be_chosen(studio):
    event, (told,) = script(studio.url, "models")
    assert event == "complete" and set(told["samplers"]) == set(SAMPLERS)
    assert told["schedules"] == list(SCHEDULES) and set(told["spacings"]) == set(SPACINGS)
    pipe = studio.pipe
    assert told["parameters"]["unet"] == sum(weight.numel() for weight in pipe.unet.parameters())
    c, h, w = told["latent"]
    assert pipe.noise([Recipe(prompt="")])(0).shape == (1, c, h, w) and told["width"] == h * told["multiple_of"]
    eta = told["samplers"]["ddim"]["knobs"]["eta"]
    assert eta["low"] <= eta["default"] <= eta["high"]


def test_models_names_what_the_embedded_model_was_trained_on():
    from core import load_pipeline
    from studio.endpoints.models import described

    told = described(load_pipeline())
    json.dumps(told, allow_nan=False)  # a program can read all of it
    assert "red apple" in told["vocabulary"]["concepts"] and "3d" in told["vocabulary"]["styles"]
    assert "en" in told["vocabulary"]["languages"] and told["width"] == 128


@contextlib.asynccontextmanager
async def connected(url):
    """An MCP client's session."""
    async with (
        streamable_http_client(f"{url}{API}/mcp/") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session


def test_the_endpoints_are_mcp_tools_and_one_of_them_can_be_called(studio, info):
    async def visit():
        async with connected(studio.url) as session:
            tools = (await session.list_tools()).tools
            return tools, await session.call_tool("generate", {"prompt": "a cat", "seed": 7, "steps": 2})

    tools, made = asyncio.run(asyncio.wait_for(visit(), 120))
    assert {tool.name for tool in tools} == {name.removeprefix("/") for name in info}
    for tool in tools:
        assert tool.description, tool.name
        given = {parameter["parameter_name"] for parameter in info[f"/{tool.name}"]["parameters"]}
        assert set(tool.inputSchema["properties"]) == given, tool.name
        for name, one in tool.inputSchema["properties"].items():
            assert one.get("description") and {"type", "enum", "anyOf", "oneOf"} & set(one), (tool.name, name)
    assert not made.isError
    assert any("'seed': 7" in part.text or '"seed": 7' in part.text for part in made.content if part.type == "text")


@pytest.mark.slow
def test_who_calls_by_mcp_has_one_running_and_one_waiting_whatever_sessions_he_opens(studio):
    studio.pipe.seconds = 0.3

    async def visit(seed):
        await asyncio.sleep(0.6 * seed)
        async with connected(studio.url) as session:
            return await session.call_tool("generate", {"prompt": f"mcp {seed}", "seed": seed, "steps": 20})

    async def all_of_them():
        return await asyncio.gather(*(visit(seed) for seed in range(4)))

    made = asyncio.run(asyncio.wait_for(all_of_them(), 120))
    refused = [one.content[0].text for one in made if one.isError]
    assert len(refused) == 2 and all("something waiting already" in sentence for sentence in refused), made
    assert {prompt for prompt in studio.pipe.log} == {"mcp 0", "mcp 1"}


EVERY = set(Recipe.model_fields) - {"model"}
HELD = {  # what an endpoint does without, since it has that by another name or it would mean nothing
    "generate": set(),
    "denoise": {"batch"},
    "guidance_sweep": {"prompt", "gamma", "guidance", "batch", "image", "mask", "strength", "branch"},
    "sampler_race": {"sampler", "knobs", "schedule", "spacing", "end", "sigmas", "batch", "image", "mask", "strength", "branch"},
}


@pytest.mark.parametrize("name", HELD)
def test_an_endpoint_takes_what_a_recipe_holds(info, name):
    taken = {one["parameter_name"] for one in info[f"/{name}"]["parameters"]}
    assert taken >= EVERY - HELD[name] and not taken & HELD[name]


GIVEN = {"schedule": "cosine", "end": "first", "guidance": {"interval": [0.1, 5], "rescale": 0.5}, "tier": "fast"}


@pytest.mark.parametrize("name", ["generate", "denoise"])
def test_all_that_a_recipe_says_can_be_asked_for_by_a_program(studio, name):
    branch = {"step": 2, "changes": {"prompt": "a dog"}}
    event, (file, told) = script(studio.url, name, prompt="a cat", seed=5, steps=4, branch=branch, **GIVEN)
    made = Recipe(**told["recipe"])
    assert event == "complete" and file and made.guidance.interval == (0.1, 5) and made.branch.changes == {"prompt": "a dog"}
    assert (made.schedule, made.end, made.tier, made.guidance.rescale) == ("cosine", "first", "fast", 0.5)
    event, (_, told) = script(studio.url, name, prompt="a cat", seed=5, sigmas=[9, 3, 1, 0])
    assert event == "complete" and told["recipe"]["steps"] == 3 and told["nfe"] == 6


def test_a_sweep_takes_the_rest_of_a_recipe_too(studio):
    given = {"schedule": "cosine", "width": 64, "rng": "cpu", "tier": "fast"}
    event, (_, told) = script(studio.url, "guidance_sweep", prompts=["a cat"], gammas=[0, 4], seeds=1, steps=2, **given)
    assert event == "complete" and given.items() <= told["recipe"].items()


def test_a_film_may_start_from_a_picture_and_paint_only_what_its_mask_says(studio):
    def upload(color):
        buffer = BytesIO()
        Image.new("RGB", (32, 32), color).save(buffer, "PNG")
        files = {"files": ("a.png", buffer.getvalue())}
        return {"path": httpx.post(f"{studio.url}{API}/upload", files=files).json()[0], "meta": {"_type": "gradio.FileData"}}

    event, (file, told) = script(studio.url, "denoise", prompt="a cat", seed=1, steps=8, strength=0.5,
                                 image=upload("red"), mask=upload("white"), form="sheet")  # fmt: skip
    assert event == "complete" and file
    assert told["recipe"]["image"] and told["recipe"]["mask"] and len(told["frames"]) == 4 + 1
    assert any("start from" in note for note in told["notes"])


def test_a_guidance_that_no_recipe_may_have_is_refused_with_a_sentence(studio):
    event, said = script(studio.url, "generate", prompt="a cat", guidance={"interval": [5, 1]}, steps=2)
    assert event == "error" and "guidance.interval" in str(said)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 1.5), ("steps", float("nan")), ("steps", "5"), ("steps", None), ("steps", 1e9), ("steps", 0), ("steps", True),
        ("gamma", float("nan")), ("gamma", float("inf")), ("strength", 2), ("seed", 2**64), ("seed", -2), ("width", 7),
        ("batch", 1000), ("sampler", "magic"), ("knobs", {"eta": 9}), ("prompt", None), ("prompt", "x" * 2001),
    ],
)  # fmt: skip
def test_a_value_that_no_recipe_may_have_is_refused_by_name_before_anything_runs(studio, name, value):
    event, said = script(studio.url, "generate", **{"prompt": "a cat", "steps": 2, name: value})
    assert event == "error" and said["error"].startswith(name) and said["error"].endswith(".") and not studio.pipe.log, said


def test_a_prompt_arrives_in_the_made_picture_without_what_nobody_types(studio):
    words = "a\x00 red\ud800 \u202ecat\u202c\ufeff"
    event, (file, told) = script(studio.url, "generate", prompt=words, seed=3, steps=2)
    assert event == "complete" and told["recipe"]["prompt"] == "a red cat"
    made = read_png(httpx.get(file["url"], timeout=60).content).recipe
    assert made is not None and made.prompt == "a red cat" and studio.pipe.log == ["a red cat"] * 2
