"""PNG text: what we write is read back whole, what others wrote is understood as far as it goes."""

import json
import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.errors import UserError
from core.recipe import MAX_SEED, Guidance, Recipe, clean_text
from core.sampling import SAMPLERS
from studio.formats.infotext import VERSION, infotext, parse
from studio.formats.png import alone, read_png, save_png

PROMPTS = [
    "a smiling cat face",
    "",
    "a cat\nNegative prompt: not really",
    "a cat\nSteps: 3, Sampler: Euler a, CFG scale: 7, Seed: 1",
    'say "hi, there": a, b',
    "emoji 👩‍🚀 ❤️ قطة 猫",
    "two\n\nlines",
    "<script>alert(1)</script> ${window.f()} {{x}} </tEXt>",
    "x" * 2000,
]
IMAGE = Image.fromarray(np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3))


def chunks(path: Path) -> dict[str, str]:
    with Image.open(path) as image:
        return dict(image.info)


def picture(**texts: str) -> bytes:
    """A PNG with these text chunks, as another program would have written it."""
    info = PngInfo()
    for key, value in texts.items():
        info.add_text(key.replace("_dash_", "-"), value)
    file = BytesIO()
    IMAGE.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def test_the_example_of_the_conventions_is_written_to_the_letter():
    recipe = Recipe(
        prompt="a smiling cat face",
        negative="blurry",
        spacing="karras",
        gamma=6,
        seed=42,
        width=128,
        height=128,
        model="emoji-128",
    )
    assert infotext(recipe, "1a2b3c4d5e") == (
        "a smiling cat face\nNegative prompt: blurry\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, "
        f"Size: 128x128, Model hash: 1a2b3c4d5e, Model: emoji-128, RNG: NV, Version: diffusion-studio-{VERSION}"
    )


def test_the_version_is_that_of_the_package():
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert f'version = "{VERSION}"' in project.read_text(encoding="utf-8")


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
@pytest.mark.parametrize("negative", ["", "blurry, bad: ugly", "one\ntwo"])
def test_prompt_and_negative_survive_the_text_alone(prompt, negative):
    values = parse(infotext(Recipe(prompt=prompt, negative=negative)))
    assert (values["prompt"], values["negative"]) == (prompt, negative)


TEXTS = st.text(st.sampled_from('ab ,:"\n\\猫🙂{}<') | st.characters(codec=None), max_size=60).map(clean_text)
RECIPES = st.builds(
    Recipe,
    prompt=st.sampled_from(PROMPTS) | TEXTS,
    negative=st.sampled_from(PROMPTS) | TEXTS,
    sampler=st.sampled_from(sorted(SAMPLERS)),
    spacing=st.none() | st.sampled_from(["karras", "trailing", "leading"]),
    steps=st.integers(1, 1000),
    gamma=st.floats(-1, 49),
    seed=st.integers(0, MAX_SEED),
    model=st.none() | st.text(st.characters(codec="utf-8"), max_size=50),
    rng=st.sampled_from(["nv", "cpu"]),
    guidance=st.builds(Guidance, rescale=st.floats(0, 1)),
    width=st.just(24),
    height=st.just(16),
)


@given(recipe=RECIPES)
@settings(max_examples=60, deadline=None)
def test_what_is_saved_is_read_back(tmp_path_factory, recipe):
    path = save_png(tmp_path_factory.getbasetemp() / "round.png", IMAGE, recipe)
    reading = read_png(path)
    assert reading.program == "Diffusion Studio" and reading.recipe == recipe and reading.notes == ()
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(IMAGE))


@given(recipe=RECIPES)
@settings(max_examples=60, deadline=None)
def test_the_text_alone_gives_the_recipe_but_for_what_it_has_no_words_for(recipe):
    recipe = recipe.replace(
        guidance=Guidance(),
        model=None,
        prompt=recipe.prompt.replace("\n", " "),
        negative=recipe.negative.replace("\n", " "),
    )
    again = read_png(picture(parameters=infotext(recipe))).recipe
    assert again == recipe.replace(gamma=again.gamma) and again.gamma == pytest.approx(recipe.gamma, abs=1e-9)


def test_each_picture_of_a_batch_carries_the_recipe_that_makes_it_alone(tmp_path):
    recipe = Recipe(prompt="a cat", seed=MAX_SEED, batch=3)
    seeds = [read_png(save_png(tmp_path / f"{i}.png", IMAGE, recipe, i)).recipe for i in range(3)]
    assert [(one.seed, one.batch) for one in seeds] == [(MAX_SEED, 1), (0, 1), (1, 1)]
    assert alone(recipe.replace(batch=1), 0) == recipe.replace(batch=1)


def test_nothing_of_an_uploaded_photo_comes_along(tmp_path):
    photo = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    photo.info |= {"exif": b"Exif\0\0secret place", "icc_profile": b"profile", "Comment": "home"}
    info = chunks(save_png(tmp_path / "a.png", photo, Recipe(prompt="")))
    assert set(info) == {"parameters", "diffusion_studio"}


def test_a_failed_write_leaves_neither_a_part_nor_a_broken_picture(tmp_path, monkeypatch):
    save_png(tmp_path / "a.png", IMAGE, Recipe(prompt="old"))

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        save_png(tmp_path / "a.png", IMAGE, Recipe(prompt="new"))
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert read_png(tmp_path / "a.png").recipe.prompt == "old"


def test_another_version_is_read_and_what_differs_is_listed():
    about = {"version": "9.9", "torch": "1.0", "recipe": {"prompt": "a cat", "steps": 30, "warp": 3, "sampler": "new"}}
    reading = read_png(picture(diffusion_studio=json.dumps(about)))
    assert reading.recipe == Recipe(prompt="a cat", steps=30)
    said = " ".join(reading.notes)
    assert "warp" in said and "seed" in said and "sampler is 'new'" in said and "PyTorch 1.0" in said


def test_automatic1111_is_understood():
    text = (
        "a cat, (masterpiece:1.2)\nwith a hat\nNegative prompt: blurry\nugly\nSteps: 30, Sampler: DPM++ 2M Karras, "
        'CFG scale: 7.5, Seed: 123, Size: 512x768, Model hash: abc, Model: "my, model", Clip skip: 2, Version: v1.6.0'
    )
    reading = read_png(picture(parameters=text))
    assert reading.program == "AUTOMATIC1111" and reading.notes == ("Not understood: Clip skip.",)
    assert reading.recipe == Recipe(
        prompt="a cat, (masterpiece:1.2)\nwith a hat",
        negative="blurry\nugly",
        steps=30,
        sampler="dpmpp_2m",
        spacing="karras",
        gamma=6.5,
        seed=123,
        width=512,
        height=768,
        model="my, model",
        rng="nv",
    )


AUTOMATIC = "a cat{extra}\nSteps: 20, Sampler: {sampler}, Schedule type: Automatic, CFG scale: 7, Seed: 1, Size: 512x512{more}"


@pytest.mark.parametrize(
    ("sampler", "spacing"),
    [("DPM++ 2M", "karras"), ("DPM++ 2M SDE", "exponential"), ("Euler a", "linspace"), ("Heun", "linspace"), ("DDIM", "leading")],
)
def test_the_automatic_schedule_of_automatic1111_is_the_samplers_own(sampler, spacing):
    reading = read_png(picture(parameters=AUTOMATIC.format(sampler=sampler, extra="", more="")))
    assert reading.recipe.spacing == spacing and reading.notes == ()


def test_what_automatic1111_loads_or_starts_from_and_we_cannot_is_named():
    text = AUTOMATIC.format(sampler="Euler", extra=", (hat:1.2) <lora:shiny thing:0.7>", more=", Denoising strength: 0.4")
    reading = read_png(picture(parameters=text))
    assert reading.recipe.prompt == "a cat, (hat:1.2)" and reading.recipe.strength == 0.75
    assert any("<lora:shiny thing:0.7>" in note for note in reading.notes)
    assert any("Denoising strength" in note and "neither is in the file" in note for note in reading.notes)


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_jpeg_and_webp_keep_the_text_in_exif(format):
    file, exif = BytesIO(), Image.Exif()
    text = infotext(Recipe(prompt="猫", steps=7))
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode("utf-16-be")
    IMAGE.save(file, format, exif=exif)
    assert read_png(file.getvalue()).recipe.prompt == "猫"


COMFY = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 5,
            "steps": 25,
            "cfg": 8.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 384, "batch_size": 2}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "bad", "clip": ["4", 1]}},
    "9": {"class_type": "FancyUpscaler", "inputs": {"image": ["8", 0]}},
}


def test_comfyui_is_understood_and_unknown_nodes_are_named():
    reading = read_png(picture(prompt=json.dumps(COMFY), workflow="{}"))
    assert reading.program == "ComfyUI" and "FancyUpscaler" in reading.notes[0]
    assert reading.recipe == Recipe(
        prompt="a cat",
        negative="bad",
        steps=25,
        gamma=7,
        sampler="euler",
        rng="cpu",
        seed=5,
        spacing="linspace",
        model="sd15.safetensors",
        width=512,
        height=384,
        batch=2,
    )


def test_invokeai_and_fooocus_are_understood():
    invoke = {
        "positive_prompt": "a cat",
        "negative_prompt": "bad",
        "seed": 5,
        "steps": 25,
        "cfg_scale": 8,
        "width": 512,
        "height": 384,
        "scheduler": "dpmpp_2m_k",
        "model": {"name": "sd15"},
        "rand_device": "cpu",
        "loras": [1],
    }
    reading = read_png(picture(invokeai_metadata=json.dumps(invoke)))
    expected = Recipe(
        prompt="a cat",
        negative="bad",
        seed=5,
        steps=25,
        gamma=7,
        width=512,
        height=384,
        sampler="dpmpp_2m",
        spacing="karras",
        model="sd15",
        rng="cpu",
    )
    assert (reading.program, reading.recipe, reading.notes) == ("InvokeAI", expected, ("Not understood: loras.",))
    fooocus = {
        "prompt": "a cat",
        "negative_prompt": "bad",
        "seed": "5",
        "steps": 25,
        "guidance_scale": 8,
        "base_model": "sd15",
        "resolution": "(512, 384)",
        "sampler": "dpmpp_2m",
        "scheduler": "karras",
        "version": "Fooocus v2.5",
    }
    reading = read_png(picture(parameters=json.dumps(fooocus), fooocus_scheme="fooocus"))
    assert (reading.program, reading.recipe, reading.notes) == ("Fooocus", expected, ())


HOSTILE = [
    {"parameters": "a\n" + ", ".join(f"K{i}: {i}" for i in range(90_000))},
    {"parameters": "<img src=x onerror=alert(1)>\nSteps: 1e9, Sampler: <b>, CFG scale: nan, Seed: -5, Size: 7x9999999"},
    {"parameters": 'a\nSteps: "["' + "[" * 50_000 + ", Seed: 1, Size: 1x1"},
    {"prompt": "[" * 100_000},
    {"prompt": json.dumps({"1": {"class_type": ["x"], "inputs": 3}})},
    {
        "prompt": json.dumps(
            {"3": {"class_type": "KSampler", "inputs": {"positive": ["3", 0], "seed": "x", "steps": {}}}}
        )
    },
    {"prompt": json.dumps({"3": {"class_type": "KSampler", "inputs": {"positive": [["3"], 0], "cfg": float("nan")}}})},
    {"invokeai_metadata": json.dumps({"positive_prompt": ["a"], "model": 3, "scheduler": {"a": 1}, "steps": "many"})},
    {"sd_dash_metadata": json.dumps({"image": {"prompt": [{"prompt": 3}], "sampler": 4}})},
    {"parameters": json.dumps({"prompt": None, "resolution": [], "seed": {}, "sampler": [1]})},
    {"diffusion_studio": json.dumps({"version": [], "recipe": {"prompt": {"a": 1}, "steps": "9" * 999, "": 1}})},
    {"diffusion_studio": "[" * 100_000, "parameters": "nothing here"},
]


@pytest.mark.parametrize("texts", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_gives_notes_and_never_an_error(texts):
    reading = read_png(picture(**texts))
    assert reading.recipe is None or 1 <= reading.recipe.steps <= 1000
    assert sum(map(len, reading.notes)) < 20_000 and len(reading.text) <= 10_000


@given(st.text(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_text_at_all_is_read_without_an_error(text):
    parse(text)
    read_png(picture(parameters=text, prompt=text.encode("utf-8", "ignore").decode()))


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"GIF89a" + b"\0" * 50,
        b"<svg onload=alert(1)>",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
        b"%PDF-1.4",
        b"\xff\xd8\xff\xe0junk",
    ],
    ids=range(6),
)
def test_what_is_no_picture_is_refused_with_a_sentence(junk):
    with pytest.raises(UserError, match="PNG, JPEG or WebP, please"):
        read_png(junk)


def test_a_picture_without_settings_and_a_file_too_large_say_so(tmp_path):
    assert "no settings" in read_png(picture()).notes[0]
    with pytest.raises(UserError, match="at most 16: save it smaller"):
        read_png(b"\0" * 16_000_001)
    with pytest.raises(UserError, match="no longer here; upload it again"):
        read_png(tmp_path / "none.png")
