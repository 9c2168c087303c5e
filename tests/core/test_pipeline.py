"""Recipe to pictures, whole: against diffusers' own pipeline, and its own identities, on small random models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers")

from core import Recipe, load_pipeline
from core.errors import UserError
from core.nets.vae import TILE
from core.noise import Noise
from core.pipeline import TextToImage
from core.recipe import Branch, Guidance
from tests.checkpoints.builders import SMALL_1, SMALL_2, build, write_folder
from tests.conftest import Parity

SMALL = Recipe(prompt="a red apple", steps=4, seed=7, gamma=2, width=64, height=32)


@pytest.fixture(scope="module", params=[SMALL_1, SMALL_2], ids=["sd1", "sd2"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A random model as diffusers' pipeline and as ours, from the same folder."""
    sizes = request.param
    peer = build(sizes, prediction="epsilon" if sizes is SMALL_1 else "v_prediction")
    folder = write_folder(peer, tmp_path_factory.mktemp("model") / "model")
    peer.set_progress_bar_config(disable=True)
    return peer, load_pipeline(folder, device="cpu")


@pytest.fixture(scope="module")
def pipe(both) -> TextToImage:
    return both[1]


def last(pipe: TextToImage, recipe: Recipe, **kwargs) -> torch.Tensor:
    *_, step = pipe.run(recipe, **kwargs)
    return step.x_next


def test_a_picture_is_the_one_that_diffusers_makes_of_the_same_noise(both, parity: Parity) -> None:
    peer, pipe = both
    recipe = SMALL.replace(sampler="ddim", negative="blurry", steps=6)
    f = pipe.vae.factor
    noise = Noise([recipe.seed], (4, 32 // f, 64 // f))(0)
    theirs = peer(
        recipe.prompt, negative_prompt=recipe.negative, num_inference_steps=6, guidance_scale=1 + recipe.gamma,
        latents=noise, height=32, width=64, output_type="latent",
    ).images  # fmt: skip
    latent, name = last(pipe, recipe), "SD 1" if pipe.parts.prediction == "eps" else "SD 2"
    parity("whole run", f"{name}, ddim, 6 steps, CFG scale 3", "diffusers StableDiffusionPipeline",
           ((latent - theirs).abs().max() / theirs.abs().max()).item())  # fmt: skip
    with torch.no_grad():
        picture = peer.image_processor.postprocess(peer.vae.decode(theirs / peer.vae.config.scaling_factor).sample, "np")
    ours = np.stack([np.asarray(image) / 255 for image in pipe.images(recipe)])
    assert -10 * np.log10(np.mean((ours - picture) ** 2)) > 50


def test_a_picture_is_the_same_alone_and_in_any_batch(pipe: TextToImage) -> None:
    """To one of 255 levels; pictures of other seeds are far from it, so that this says something."""
    alone = [np.asarray(pipe.images(SMALL.replace(seed=SMALL.seed + i))[0], dtype=int) for i in range(4)]
    assert min(np.abs(alone[i] - alone[j]).max() for i in range(4) for j in range(i)) > 20
    for batch in (2, 3, 4):
        for i, image in enumerate(pipe.images(SMALL.replace(batch=batch))):
            assert np.abs(np.asarray(image, dtype=int) - alone[i]).max() <= 1


def test_different_recipes_run_as_one_batch_as_they_run_alone(pipe: TextToImage) -> None:
    recipes = [SMALL, SMALL.replace(prompt="a green pear", seed=3, gamma=0), SMALL.replace(negative="red", gamma=5, batch=2)]
    *_, step = pipe.run_many(recipes)
    alone = torch.cat([last(pipe, recipe) for recipe in recipes])
    torch.testing.assert_close(step.x_next, alone, rtol=1e-3, atol=1e-3)


def test_recipes_that_differ_in_more_than_a_batch_allows_are_refused(pipe: TextToImage) -> None:
    with pytest.raises(UserError, match="differ in more"):
        next(pipe.run_many([SMALL, SMALL.replace(steps=5)]))


def test_the_same_recipe_gives_the_same_picture_twice_and_another_seed_another(pipe: TextToImage) -> None:
    assert torch.equal(last(pipe, SMALL), last(pipe, SMALL))
    assert not torch.equal(last(pipe, SMALL), last(pipe, SMALL.replace(seed=8)))


def test_gamma_minus_one_does_not_hear_the_prompt_and_zero_does_not_hear_the_negative(pipe: TextToImage) -> None:
    assert torch.equal(last(pipe, SMALL.replace(gamma=-1)), last(pipe, SMALL.replace(gamma=-1, prompt="else")))
    assert torch.equal(last(pipe, SMALL.replace(gamma=0)), last(pipe, SMALL.replace(gamma=0, negative="else")))
    assert not torch.equal(last(pipe, SMALL), last(pipe, SMALL.replace(negative="else")))


def test_steps_count_evaluations_and_guided_ones_twice(pipe: TextToImage) -> None:
    assert [step.nfe for step in pipe.run(SMALL)] == [2, 4, 6, 8]
    assert [step.nfe for step in pipe.run(SMALL.replace(gamma=0))] == [1, 2, 3, 4]
    assert [step.nfe for step in pipe.run(SMALL.replace(sampler="heun", gamma=0))] == [2, 4, 6, 7]


def test_a_branch_without_a_difference_is_the_run_itself_and_counts_on(pipe: TextToImage) -> None:
    recipe = SMALL.replace(sampler="euler_ancestral")
    branched = recipe.replace(branch=Branch(step=2, changes={"gamma": recipe.gamma}))
    assert torch.equal(last(pipe, recipe), last(pipe, branched))
    steps = list(pipe.run(recipe.replace(branch=Branch(step=2, changes={"prompt": "a pear"}))))
    assert [step.index for step in steps] == [0, 1, 2, 3] and [step.nfe for step in steps] == [2, 4, 6, 8]
    assert torch.equal(steps[1].x_next, list(pipe.run(recipe))[1].x_next)
    assert not torch.equal(steps[3].x_next, last(pipe, recipe))


def test_the_steps_before_a_branch_are_not_computed_where_they_are_known(
    pipe: TextToImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    branched = SMALL.replace(branch=Branch(step=3, changes={"prompt": "a pear"}))
    trunk, alone = list(pipe.run(SMALL)), list(pipe.run(branched))
    calls, forward = [], type(pipe.unet).forward

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return forward(*arguments, **named)

    monkeypatch.setattr(type(pipe.unet), "forward", counted)
    steps = list(pipe.run_many([branched], trunk=trunk))
    assert len(calls) == 1  # the guided pair of the last step
    assert [step.nfe for step in steps] == [step.nfe for step in alone]
    assert all(torch.equal(one.x_next, two.x_next) for one, two in zip(steps, alone, strict=True))


def test_ones_own_levels_are_those_that_a_run_visits(pipe: TextToImage) -> None:
    sigmas = (9.0, 3.0, 0.7, 0.0)
    steps = list(pipe.run(SMALL.replace(sigmas=sigmas)))
    assert [step.cur.nsr for step in steps] + [steps[-1].nxt.nsr] == pytest.approx(sigmas)


def picture() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (32, 64, 3), dtype=np.uint8))


DIGEST, MASK = "0" * 16, "1" * 16


def test_from_a_picture_fewer_steps_are_run_and_it_must_be_at_hand(pipe: TextToImage) -> None:
    recipe = SMALL.replace(image=DIGEST, strength=0.5)
    assert len(list(pipe.run(recipe, {DIGEST: picture()}))) == 2
    for strength in (0, 0.1, 0.4, 0.9, 1):
        one = recipe.replace(strength=strength, steps=7)
        assert len(pipe.path(one)) == one.moves >= 1 and one.replace(image=None).moves == 7
    with pytest.raises(UserError, match="not at hand"):
        next(pipe.run(recipe))


def test_a_branch_behind_the_end_of_a_run_from_a_picture_is_refused(pipe: TextToImage) -> None:
    recipe = SMALL.replace(image=DIGEST, strength=0.5, branch=Branch(step=2, changes={"prompt": "a pear"}))
    with pytest.raises(UserError, match=r"branch\.step is 2; .* has 2 steps"):
        next(pipe.run(recipe, {DIGEST: picture()}))
    assert len(list(pipe.run(recipe.replace(branch=Branch(step=1, changes={})), {DIGEST: picture()}))) == 2


def test_inpainting_keeps_what_the_mask_leaves_and_changes_the_rest(pipe: TextToImage) -> None:
    f = pipe.vae.factor
    mask = np.zeros((32, 64), np.uint8)
    mask[:, 32:] = 255
    recipe = SMALL.replace(image=DIGEST, mask=MASK, strength=1.0)
    x = last(pipe, recipe, pictures={DIGEST: picture(), MASK: Image.fromarray(mask)})
    known = pipe.encode(picture())
    half = 32 // f
    torch.testing.assert_close(x[..., :half], known[..., :half], rtol=1e-4, atol=1e-4)
    assert (x[..., half:] - known[..., half:]).abs().mean() > 0.1
    other = recipe.replace(branch=Branch(step=2, changes={"prompt": "a pear"}))
    y = last(pipe, other, pictures={DIGEST: picture(), MASK: Image.fromarray(mask)})
    torch.testing.assert_close(y[..., :half], known[..., :half], rtol=1e-4, atol=1e-4)
    assert not torch.equal(x[..., half:], y[..., half:])


def test_an_interval_that_holds_no_level_is_the_conditional_model_at_half_the_calls(pipe: TextToImage) -> None:
    steps = list(pipe.run(SMALL.replace(guidance=Guidance(interval=(1e5, 1e6)))))
    assert steps[-1].nfe == 4
    assert torch.equal(steps[-1].x_next, last(pipe, SMALL.replace(gamma=0)))


def test_a_recipe_is_completed_with_what_the_model_has_and_completing_twice_changes_nothing(pipe: TextToImage) -> None:
    full = pipe.complete(Recipe(prompt="x", width=64, height=64))
    assert full.spacing and full.end and full.model == pipe.name
    assert pipe.complete(full) == full
    assert "hash" not in vars(pipe.parts)  # 4 GB need not be read before a picture
    assert pipe.complete(Recipe(prompt="x", model=pipe.hash)).model == pipe.name
    with pytest.raises(UserError, match="another"):
        pipe.complete(Recipe(prompt="x", model="another"))


def test_a_prompt_is_remembered_right_however_many_others_came_between(
    pipe: TextToImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.pipeline.REMEMBERED", 3)
    apple, pear = pipe.text_states(["an apple"])[0], pipe.text_states(["a pear"])[0]
    for word in ("one", "two", "three", "four"):  # at each, an old one and a new one are asked for together
        together = pipe.text_states(["an apple", word, "an apple"])
        assert torch.equal(together[0], apple) and torch.equal(together[2], apple)
    assert len(pipe.text_states([f"word {i}" for i in range(9)])) == 9 and len(pipe._states) == 3
    torch.testing.assert_close(pipe.text_states(["a pear", "x"])[0], pear)


def test_words_that_do_not_fit_are_named(pipe: TextToImage) -> None:
    note = pipe.notes(Recipe(prompt="apple " * 90 + "pear"))
    assert len(note) == 1 and note[0].endswith("pear")
    assert pipe.notes(SMALL) == []


def test_a_result_that_is_not_finite_is_said_and_not_shown(pipe: TextToImage) -> None:
    with torch.no_grad():
        weight = pipe.unet.conv_out.weight
        kept = weight.clone()
        weight.fill_(float("inf"))
        try:
            with pytest.raises(UserError, match="NaN"):
                last(pipe, SMALL)
        finally:
            weight.copy_(kept)


def test_a_picture_that_overflows_only_when_it_is_decoded_is_said_and_not_shown(pipe: TextToImage) -> None:
    """As a VAE does in fp16: without a word the picture would be black."""
    with pytest.raises(UserError, match="NaN when it was decoded"):
        pipe.pictures(torch.full((1, 4, 4, 8), 1e38))


@pytest.mark.parametrize("model", ["../../etc/passwd", "/etc/passwd", "a\0b", "https://example.org/x.safetensors", "~/x"])
def test_a_recipe_names_a_loaded_model_and_never_a_file(pipe: TextToImage, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*_: object) -> None:
        raise AssertionError("a model was looked for")

    monkeypatch.setattr("core.pipeline.load_checkpoint", unexpected)
    monkeypatch.setattr("core.checkpoints.plan.read_header", unexpected)
    with pytest.raises(UserError, match=f"and {pipe.name} is loaded"):
        next(pipe.run(SMALL.replace(model=model)))


def test_a_preview_has_a_pixel_a_cell_and_is_linear_in_the_latents(pipe: TextToImage) -> None:
    z = 0.01 * torch.randn(2, 4, 8, 6)
    assert [image.size for image in pipe.preview(z)] == [(6, 8), (6, 8)]
    mean, both = np.asarray(pipe.preview(z.mean(0, keepdim=True))[0], float), [np.asarray(i, float) for i in pipe.preview(z)]
    assert np.abs(mean - (both[0] + both[1]) / 2).max() <= 1


def test_large_latents_are_decoded_in_tiles_to_the_right_size(pipe: TextToImage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.nets.vae.TILED_ABOVE", 8 * 8)
    f, decode, tiles = pipe.vae.factor, pipe.vae.decode, list[torch.Size]()
    monkeypatch.setattr(pipe.vae, "decode", lambda z: tiles.append(z.shape[-2:]) or decode(z))
    assert pipe.decode(torch.randn(1, 4, 16, 72)).shape == (1, 3, 16 * f, 72 * f)
    assert tiles == [(16, TILE)] * 2


def test_a_picture_whose_sides_are_no_multiples_of_the_factor_is_refused(pipe: TextToImage) -> None:
    f = pipe.vae.factor
    assert pipe.encode(Image.new("RGB", (8 * f, 4 * f))).shape == (1, 4, 4, 8)
    for size in ((8 * f + 1, 4 * f), (8 * f, 4 * f - 1)):
        with pytest.raises(UserError, match=f"has {size[0]}×{size[1]} pixels; this model needs multiples of {f}"):
            pipe.encode(Image.new("RGB", size))


def test_an_empty_prompt_gives_the_unconditional_picture_at_any_scale(pipe: TextToImage) -> None:
    unconditional = last(pipe, SMALL.replace(gamma=-1))  # which hears no words, whatever the prompt is
    *_, step = pipe.run_many([*(SMALL.replace(prompt="", gamma=gamma) for gamma in (0.0, 3.0, 12.0)), SMALL])
    torch.testing.assert_close(step.x_next[:3], unconditional.expand(3, -1, -1, -1), rtol=1e-3, atol=1e-3)
    assert (step.x_next[3] - unconditional[0]).abs().max() > 1e-2  # and words say something


def test_an_unknown_dtype_device_and_model_each_get_a_sentence(tmp_path: Path) -> None:
    for arguments, says in (
        ({"dtype": "fp12"}, "fp12"), ({"device": "cuda:99"}, "cuda:99"), ({"device": "toaster"}, "this machine has cpu"),
        ({"device": "meta"}, "this machine has cpu"), ({"path": tmp_path / "missing.safetensors"}, "There is no model"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=says):
            load_pipeline(**arguments)


def test_the_fast_tier_is_the_same_picture_in_fewer_digits(pipe: TextToImage) -> None:
    exact, fast = last(pipe, SMALL), last(pipe, SMALL.replace(tier="fast"))
    off = ((fast - exact).norm() / exact.norm()).item()
    if not pipe.has_fast:
        assert off == 0 and "fast tier" in pipe.notes(SMALL.replace(tier="fast"))[-1]
        pytest.skip("a processor without bf16")
    assert fast.dtype == torch.float32 and 1e-5 < off < 0.05
    assert torch.equal(last(pipe, SMALL), exact)  # and the exact tier does not remember it


def test_where_memory_is_short_a_model_stays_on_the_plain_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipe: TextToImage
) -> None:
    folder = write_folder(build(SMALL_1), tmp_path / "model")
    monkeypatch.setattr("core.pipeline.free_memory", lambda device: 0)
    assert "forward" not in vars(load_pipeline(folder, device="cpu").unet.conv_in)
    assert "forward" in vars(pipe.unet.conv_in)
