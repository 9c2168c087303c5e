"""The perfect denoiser of the training pictures: closed form, what it decides when, and the network's error beside it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from core import Recipe, load_pipeline
from core.perfect import Look, Near, Perfect, decided, eps_errors, error_curve, predicted, some_indices, some_of
from core.pipeline import TextToImage
from core.sampling import Step
from tests.core.tiny import COUNT, write_tiny


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> TextToImage:
    return load_pipeline(write_tiny(Path(tmp_path_factory.mktemp("tiny"))), device="cpu")


@pytest.fixture(scope="module")
def run(pipe: TextToImage) -> list[Step]:
    return list(pipe.run(Recipe(prompt="a red cat", steps=6, sampler="ddim", gamma=2, seed=1, width=32, height=32)))


def test_a_look_is_the_perfect_denoiser_of_the_step(pipe: TextToImage, run: list[Step]) -> None:
    perfect = Perfect.of(pipe)
    for step in run:
        look, at = perfect.look(step), step.evaluations[0].at
        assert torch.allclose(look.perfect, perfect.data(step.x, at, (None,))[0].x0, atol=1e-4)
        assert look.entropy == pytest.approx(float(perfect.data.entropy(step.x, at)[0]), abs=1e-4)
        assert torch.equal(look.network, step.evaluations[0].parts["cond"].x0)
        assert look.apart == pytest.approx(float((look.network - look.perfect).square().mean().sqrt()))


def test_the_nearest_of_a_training_picture_is_itself(pipe: TextToImage) -> None:
    perfect = Perfect.of(pipe)
    first, second, _ = perfect.nearest(pipe.extras.training.latents[3:4])
    assert first.row == 3 and first.value < 1e-3 < second.value
    assert len(perfect) == COUNT and perfect.usual > 0


def test_a_run_of_its_own_begins_where_the_networks_does_and_ends_in_a_training_picture(pipe: TextToImage, run: list[Step]) -> None:
    perfect, recipe = Perfect.of(pipe), Recipe(prompt="a red cat", steps=6, sampler="euler", seed=1, width=32, height=32)
    steps = list(perfect.run(pipe, recipe))
    assert torch.equal(steps[0].x / steps[0].cur.sigma, run[0].x / run[0].cur.sigma) and len(steps) == len(run)
    end = steps[-1].x_next
    row = perfect.nearest(end)[0].row
    assert torch.allclose(end[0], pipe.extras.training.latents[row], atol=1e-5)
    assert perfect.nearest(run[-1].x_next)[0].value > 0.05


def test_a_prompt_names_the_longest_trained_name_in_it(pipe: TextToImage) -> None:
    perfect = Perfect.of(pipe)
    name = perfect.names[1]
    assert perfect.named(f"({name}:1.2), flat") == 1
    assert perfect.named(f"a {name.upper()}, flat") == 1
    assert perfect.named("qzxv") is None


@pytest.mark.parametrize("more", [{"gamma": -1.0}, {"prompt": "animal-bug", "guidance": {"kind": "classifier"}}])
def test_a_look_at_a_run_without_words_is_of_the_network_before_guidance(pipe: TextToImage, more: dict[str, object]) -> None:
    recipe = Recipe(prompt="a red cat", steps=4, sampler="ddim", gamma=8, seed=1).replace(**more)
    step = list(pipe.run(recipe))[-1]
    look, at = Perfect.of(pipe).look(step), step.evaluations[0].at
    torch.testing.assert_close(look.network, predicted(pipe, step.x, at, [""]).x0, rtol=1e-4, atol=1e-4)
    assert (look.network - step.x0).norm() > 1e-4 * step.x0.norm() or recipe.gamma == -1


def test_the_moment_of_decision_is_where_doubt_ends_for_good() -> None:
    def looks(*entropies: float) -> list[Look]:
        empty = torch.zeros(1)
        return [Look(empty, empty, value, (Near(0, 1.0),), (Near(0, 1.0), Near(1, 2.0)), 0.0) for value in entropies]

    assert decided(looks(3.0, 0.1, 1.0, 0.2, 0.0)) == 3
    assert decided(looks(3.0, math.log(2))) is None and decided(looks(0.1)) == 0
    assert looks(0.0)[0].reach == 0.5


def test_nothing_undercuts_the_perfect_denoiser_on_its_own_pictures(pipe: TextToImage) -> None:
    found = list(error_curve(pipe, Perfect.of(pipe), COUNT, (100, 500, 900)))
    assert all(one.perfect.value <= one.network.value for one in found)
    assert found[0].perfect.value < 1e-3  # little noise: it is clear which picture it is


def test_the_errors_of_eps_need_no_words_and_tell_each_picture_apart(pipe: TextToImage) -> None:
    latents, at = some_of(pipe, 3), pipe.schedule.at(400)
    errors = eps_errors(pipe, latents, at)
    assert errors.shape == (3,) and torch.allclose(errors, eps_errors(pipe, latents, at, ["", "", ""]))
    assert some_indices(12, 3) == [2, 6, 10]
