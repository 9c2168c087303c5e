"""Looking into a run: moves taken apart into terms that are not computed from their sum, and where the words look."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from einops import rearrange
from torch import Tensor

from core import SAMPLERS, SCHEDULES, Recipe, load_pipeline
from core.errors import UserError
from core.noise import Noise
from core.observe import Layer, Word, anatomy, asked_then, attention, by_words, left_out, updates, watched, weights, words
from core.pipeline import TextToImage
from core.prediction import Denoiser, unconditional
from core.samplers import along, posterior_std
from core.sampling import Fresh, Step, sample, sampler
from core.schedules import Path as Levels
from core.schedules import make_path
from core.toy import ring
from tests.core.tiny import write_tiny

PATH = make_path(SCHEDULES["scaled_linear"](), "karras", 9)
NOISE = Noise([1, 2, 3], (2,), dtype=torch.float64)
ONE_FORMULA = ["ddpm", "ddim", "euler", "euler_ancestral"]


def run(name: str, path: Levels = PATH, **knobs: float) -> list[Step]:
    return list(sample(unconditional(ring()), path, name, NOISE, **knobs))


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> TextToImage:
    return load_pipeline(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu")


# ------------------------------------------------------------------------------------------------------ moves


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_terms_of_every_move_of_every_sampler_sum_to_x_next(name: str) -> None:
    steps = run(name)
    found = list(weights(PATH, name, steps))
    assert [one.move for one in found] == list(range(len(steps)))
    assert max(anatomy(steps, one, NOISE).error for one in found) < 1e-12


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_takes_the_same_three_terms_and_differs_in_the_correction_alone(name: str) -> None:
    path = PATH.finite() if SAMPLERS[name].finite else PATH
    for one, (_, nxt) in zip(weights(PATH, name, run(name)), path, strict=True):
        assert one.x0 == pytest.approx(nxt.alpha, abs=1e-12)
        assert one.eps == pytest.approx(math.sqrt(nxt.sigma**2 - one.std**2), abs=1e-12)
        assert bool(one.others) <= (name not in ONE_FORMULA)


def test_the_noise_term_has_the_std_of_the_posterior_scaled_by_eta() -> None:
    for eta in (0.0, 0.3, 1.0):
        for one, (cur, nxt) in zip(weights(PATH, "ddim", run("ddim", eta=eta), {"eta": eta}), PATH, strict=True):
            assert one.std == pytest.approx(eta * posterior_std(cur, nxt), abs=1e-12)


def test_corrections_come_from_earlier_moves_or_from_inside_the_move() -> None:
    back = {name: [one.looks_back for one in weights(PATH, name, run(name)) if one.others] for name in SAMPLERS}
    for name in ("dpmpp_2m", "dpmpp_2m_sde", "lms", "uni_pc"):
        assert back[name] and all(back[name])
    for name in ("heun", "dpm_solver_2", "dpm_solver_3"):
        assert back[name] and not any(back[name])


def test_the_sum_is_a_check_that_can_fail() -> None:
    steps = run("dpmpp_2m")
    one = list(weights(PATH, "dpmpp_2m", steps))[4]
    steps[4] = Step(**{**vars(steps[4]), "x_next": steps[4].x_next * (1 + 1e-5)})
    assert anatomy(steps, one, NOISE).error == pytest.approx(1e-5, rel=1e-3)
    stochastic = run("ddpm")
    wrong = Noise([1, 2, 4], (2,), dtype=torch.float64)  # the noise of another run
    assert anatomy(stochastic, next(weights(PATH, "ddpm", stochastic)), wrong).error > 1e-2


def test_a_new_sampler_is_taken_apart_without_a_line_about_it() -> None:
    @sampler("Lazy", order=None, paper="", same_as="")
    def lazy(denoise: Denoiser, path: Levels, x: Tensor, noise: Fresh) -> Iterator[Tensor]:
        """Lazy: half the slope of this move, half of the last."""
        last = None
        for move, (cur, nxt) in enumerate(path):
            p = denoise(x, cur)
            x = along(x, 0.5 * p.eps + 0.5 * (last or p).eps, cur, nxt) + 0.1 * nxt.sigma * noise(move)
            last = p
            yield x

    try:
        steps = run("lazy")
        found = list(weights(PATH, "lazy", steps))
    finally:
        del SAMPLERS["lazy"]
    assert max(anatomy(steps, one, NOISE).error for one in found) < 1e-12
    assert [(source.move, source.kind) for source, _ in found[3].others] == [(2, "eps")]
    _, nxt = list(PATH)[3]
    assert found[3].std == pytest.approx(0.1 * nxt.sigma)


@pytest.mark.parametrize("name", ["euler_ancestral", "heun", "dpmpp_2m", "uni_pc"])
def test_a_real_run_in_single_precision_is_its_terms_to_a_millionth_also_after_a_branch(pipe: TextToImage, name: str) -> None:
    recipe = Recipe(prompt="a red cat", sampler="lms", steps=7, seed=3, branch={"step": 3, "changes": {"sampler": name}})
    steps = list(pipe.run(recipe))
    found = updates(pipe, recipe, steps)
    for one, step in zip(found, steps, strict=True):
        grows = step.nxt.alpha / step.cur.alpha  # near pure noise LMS divides by alpha, and what float32 rounded grows by this
        assert anatomy(steps, one, pipe.noise([recipe])).error < 1e-6 * max(1, grows)
    assert found[2].looks_back and not found[3].looks_back  # a branch begins without memory
    assert all(source.move >= 3 for one in found[3:] for source, _ in one.others)


# ------------------------------------------------------------------------------------------------------ words


def test_words_hold_all_their_pieces_and_signs_stand_alone(pipe: TextToImage) -> None:
    text = "an apple's unheardofness, 3d"
    found = words(pipe.tokenizer, text)
    assert [word.text for word in found] == ["an", "apple's", "unheardofness", ",", "3d"]
    assert [position for word in found for position in word.positions] == list(range(1, len(pipe.tokenizer.pieces(text)) + 1))


def test_words_that_do_not_fit_are_not_there(pipe: TextToImage) -> None:
    found = words(pipe.tokenizer, "cat " * 500)
    assert found and found[-1].positions[-1] <= pipe.tokenizer.length - 2


def test_what_is_watched_is_what_the_network_used(pipe: TextToImage) -> None:
    step = next(pipe.run(Recipe(prompt="a red cat", steps=3, seed=1)))
    layer = next(module for name, module in pipe.unet.named_modules() if name.endswith("attn2"))
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    hook = layer.register_forward_hook(lambda module, args, out: seen.append((*args, out)))
    first = attention(pipe, Recipe(prompt="a red cat", steps=3, seed=1), step)[0]
    hook.remove()
    x, context, out = seen[0]
    with torch.no_grad():
        per_head = layer.weights(x, context)
        again = layer.to_out[0](rearrange(per_head @ layer.split(layer.to_v(context)), "b h l d -> b l (h d)"))
    torch.testing.assert_close(again, out, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(first.weights.flatten(1, 2), per_head.mean(1))


def test_watching_changes_nothing_and_leaves_nothing_behind(pipe: TextToImage) -> None:
    recipe = Recipe(prompt="a red cat", steps=3, seed=1)
    step = next(pipe.run(recipe))
    attention(pipe, recipe, step)
    assert not any(module._forward_pre_hooks for module in pipe.unet.modules())
    with pytest.raises(RuntimeError, match="in the middle"), watched(pipe.unet):
        raise RuntimeError("in the middle")
    assert not any(module._forward_pre_hooks for module in pipe.unet.modules())
    assert torch.equal(next(pipe.run(recipe)).x_next, step.x_next)


def test_the_maps_of_all_words_and_the_rest_sum_to_one_everywhere_in_every_layer(pipe: TextToImage) -> None:
    recipe = Recipe(prompt="a red cat, 3d", steps=3, width=64, height=32)
    found = words(pipe.tokenizer, recipe.prompt)
    layers = attention(pipe, recipe, next(pipe.run(recipe)))
    assert len(layers) == sum(name.endswith("attn2") for name, _ in pipe.unet.named_modules())
    for layer in layers:
        maps = by_words(layer, found)
        assert maps.shape[0] == len(found) + 1 and maps.shape[-1] == 2 * maps.shape[-2]
        torch.testing.assert_close(maps.sum(0), torch.ones_like(maps[0]))


def test_the_map_of_a_word_is_the_sum_over_its_tokens() -> None:
    layer = Layer("made up", torch.tensor([[[[0.1, 0.2, 0.3, 0.4]]]]))
    maps = by_words(layer, [Word("two", (1, 2))])
    torch.testing.assert_close(maps.flatten(), torch.tensor([0.5, 0.5]))


def test_leaving_out_no_word_gives_the_prediction_of_the_run_and_leaving_one_out_another(pipe: TextToImage) -> None:
    recipe = Recipe(prompt="a red cat", negative="blue", steps=3, gamma=2.5)
    step = next(pipe.run(recipe))
    torch.testing.assert_close(left_out(pipe, recipe, step), step.x0, rtol=1e-4, atol=1e-4)
    cat = words(pipe.tokenizer, recipe.prompt)[-1]
    without = left_out(pipe, recipe, step, cat)
    assert (without - step.x0).norm() > 1e-4 * step.x0.norm()
    everything = left_out(pipe, recipe.replace(gamma=0.0), next(pipe.run(recipe.replace(gamma=0.0))))
    assert everything.shape == step.x0.shape


@pytest.mark.parametrize("guidance", [{"rescale": 0.8}, {"interval": (0.0, 0.1)}])
def test_a_word_is_left_out_of_a_step_guided_as_the_run_was(pipe: TextToImage, guidance: dict[str, object]) -> None:
    recipe = Recipe(prompt="a red cat", steps=3, gamma=6, guidance=guidance)
    step = list(pipe.run(recipe))[1]
    torch.testing.assert_close(left_out(pipe, recipe, step), step.x0, rtol=1e-4, atol=1e-4)
    plain = next(pipe.run(recipe.replace(guidance={})))
    assert (plain.x0 - next(pipe.run(recipe)).x0).norm() > 1e-3 * plain.x0.norm()  # and the guidance is seen


def test_under_a_classifier_no_words_were_heard_and_none_are_looked_for(pipe: TextToImage) -> None:
    recipe = Recipe(prompt="animal-bug", steps=3, gamma=2, guidance={"kind": "classifier"})
    step = next(pipe.run(recipe))
    for asked in (attention, left_out):
        with pytest.raises(UserError, match="Under a classifier the network hears no words"):
            asked(pipe, recipe, step)


def test_after_a_branch_its_own_words_are_watched(pipe: TextToImage) -> None:
    recipe = Recipe(prompt="a red cat", steps=4, branch={"step": 2, "changes": {"prompt": "a blue apple"}})
    steps = list(pipe.run(recipe))
    assert [asked_then(pipe, recipe, step).prompt for step in steps] == ["a red cat"] * 2 + ["a blue apple"] * 2
