"""The model that ships in assets: a diffusers folder that diffusers itself opens, small, complete and honest about itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from core import Recipe, load_pipeline
from core.noise import Noise
from core.pipeline import EMBEDDED, TextToImage
from core.training.export import restore
from core.training.loop import trained_weights
from core.training.parts import Plan
from tests.quality.card import card, quality

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def pipe() -> TextToImage:
    return load_pipeline(device="cpu")


@pytest.fixture(scope="module")
def vocabulary() -> dict:
    return json.loads((EMBEDDED / "vocabulary.json").read_text(encoding="utf-8"))


def provenance() -> list[dict]:
    return [json.loads(line) for line in (EMBEDDED / "provenance.jsonl").read_text(encoding="utf-8").splitlines()]


def test_diffusers_opens_the_folder_and_makes_the_same_picture_of_the_same_noise(pipe: TextToImage) -> None:
    diffusers = pytest.importorskip("diffusers")
    peer = diffusers.StableDiffusionPipeline.from_pretrained(EMBEDDED, torch_dtype=torch.float32)
    peer.set_progress_bar_config(disable=True)
    recipe = Recipe(prompt="cat face, flat", sampler="ddim", end="clean", steps=10, gamma=4, seed=1)
    theirs = peer(
        recipe.prompt, num_inference_steps=10, guidance_scale=5, latents=Noise([1], (4, 16, 16))(0), output_type="np"
    ).images[0]
    ours = np.asarray(pipe.images(recipe)[0]) / 255
    assert ours.shape == (128, 128, 3)
    assert -10 * np.log10(np.mean((ours - theirs) ** 2)) > 50


def test_it_is_as_small_as_it_says() -> None:
    files = [path for path in EMBEDDED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files if path.suffix == ".safetensors") <= 100 * MEGABYTE
    assert max(path.stat().st_size for path in files) <= 80 * MEGABYTE


def test_its_latents_have_the_factor_of_the_document(pipe: TextToImage) -> None:
    assert 3 * pipe.size**2 / (4 * (pipe.size // pipe.vae.factor) ** 2) == 48


def test_what_it_claims_has_the_agreed_form(vocabulary: dict) -> None:
    assert len(vocabulary["concepts"]) >= 450
    assert all(set(concept) == {"hexcode", "label"} for concept in vocabulary["concepts"])
    assert [style["source"] for style in vocabulary["styles"]] == [
        "3d", "gradient", "flat", "mono", "noto", "twemoji", "emojione"
    ]  # fmt: skip
    assert len(vocabulary["languages"]) >= 10 and len(vocabulary["colours"]) >= 10
    hexcodes = {concept["hexcode"] for concept in vocabulary["concepts"]}
    assert all(pair["hexcode"] in hexcodes for pair in vocabulary["held_out"])


def test_no_held_out_pair_is_among_the_training_latents(vocabulary: dict) -> None:
    words = {style["source"]: style["word"] for style in vocabulary["styles"]}
    trained = {(record["hexcode"], words[record["source"]]) for record in provenance()}
    held = {(pair["hexcode"], pair["style"]) for pair in vocabulary["held_out"]}
    assert held and not held & trained


def test_every_training_latent_has_its_provenance_and_they_are_standardised() -> None:
    with safe_open(EMBEDDED / "latents.safetensors", "pt") as file:
        latents = file.get_tensor("latents")
    assert len(latents) == len(provenance()) and latents.shape[1:] == (4, 16, 16) and latents.dtype == torch.float16
    assert (latents.float().std(dim=(0, 2, 3)) - 1).abs().max() < 0.3  # as a whole they have 1; these are those on white
    assert all(record["licence"] for record in provenance())


def test_the_vae_gives_a_training_picture_back(pipe: TextToImage) -> None:
    with safe_open(EMBEDDED / "latents.safetensors", "pt") as file:
        latent = file.get_slice("latents")[:2].float()
    picture = pipe.pictures(latent)
    again = torch.cat([pipe.encode(image) for image in picture])
    assert (again - latent).square().mean() < 0.1 * latent.square().mean()


def test_a_preview_follows_the_colours_of_flat_pictures(pipe: TextToImage) -> None:
    for colour in [(220, 30, 30), (30, 30, 220), (255, 255, 255), (20, 20, 20)]:
        preview = np.asarray(pipe.preview(pipe.encode(Image.new("RGB", (128, 128), colour)))[0], dtype=float)
        assert np.abs(preview[4:12, 4:12].mean((0, 1)) - colour).max() < 60


def test_the_weights_name_the_configuration_that_made_them() -> None:
    made = json.loads((EMBEDDED / "training.json").read_text(encoding="utf-8"))
    for part in ("vae", "clip", "unet"):
        assert made[part]["commit"] and made[part]["config"]["run"]["steps"] and made[part]["curve"]


def test_training_goes_on_from_what_ships(pipe: TextToImage, tmp_path: Path) -> None:
    plan = Plan("two_cores", tmp_path, tmp_path, torch.device("cpu"))
    list(restore(plan, EMBEDDED))
    made = json.loads((EMBEDDED / "training.json").read_text(encoding="utf-8"))
    assert [path.name for path in plan.folder("unet").glob("checkpoint-*")] == [f"checkpoint-{made['unet']['step']:08d}"]
    shipped = pipe.unet.state_dict()
    for name, value in trained_weights(plan.folder("unet")).items():
        torch.testing.assert_close(value, shipped[name])
    ids = pipe.tokenizer.encode(["a red apple", "un gato"])
    assert torch.equal(plan.text_encoder()(ids).states, pipe.text_encoder(ids).states)


def test_the_words_of_its_captions_hold_every_name_it_claims_and_no_word_of_nothing(pipe: TextToImage) -> None:
    lexicon = pipe.extras.lexicon
    assert lexicon.complete and len(lexicon.words) > 3000
    assert lexicon.unseen("a red apple on a blue background, un gato, eine Katze, 猫, flat") == []
    assert lexicon.unseen("a red xylophagous apple") == ["xylophagous"]


def test_the_model_card_says_what_lies_beside_it() -> None:
    """`python -m tests.quality --card` writes it again."""
    assert (EMBEDDED / "README.md").read_text(encoding="utf-8") == card(EMBEDDED)


def test_what_was_measured_was_measured_of_these_weights(pipe: TextToImage) -> None:
    assert json.loads((EMBEDDED / "quality.json").read_text(encoding="utf-8"))["weights"] == pipe.hash


def test_the_examples_under_the_prompt_were_seen_of_these_weights_and_none_was_held_out(pipe: TextToImage) -> None:
    """`python -m tests.quality examples` chooses them again."""
    written = json.loads((EMBEDDED / "examples.json").read_text(encoding="utf-8"))
    assert written["weights"] == pipe.hash and tuple(written["prompts"]) == pipe.extras.examples
    trained = {f"{one.label}, {one.style}" for one in pipe.extras.training.origins}
    *said, blue, elsewhere = pipe.extras.examples
    assert len(said) >= 4 and {*said, blue.removesuffix(", on a blue background")} <= trained
    assert len({text.partition(",")[0] for text in said}) == len(said) and pipe.extras.lexicon.unseen(elsewhere) == []


def test_the_card_says_what_was_not_measured() -> None:
    rows = list(quality({"trained": {"n": 8, "first": 0.5, "five": 0.75, "style": 1.0}}))
    assert rows[1] == ("trained pair, concept at first guess", "50.0%", "8", "≥ 90 %") and "not measured" in rows[4][1]
