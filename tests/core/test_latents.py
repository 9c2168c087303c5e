"""Latents against closed forms: ways keep angles and lengths, axes are numpy's, spectra obey Parseval, costs are hand-counted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from core import Recipe, load_pipeline
from core.between import between_noises, between_prompts, run_from
from core.costs import counted, decoder_operations, multiply_adds, on_pixels, seconds, size, unet_operations, widened
from core.errors import UserError
from core.latents import (
    Edit,
    distances,
    edited,
    in_bands,
    linear,
    nearest,
    principal,
    rings,
    spherical,
    usual_distance,
    without,
)
from core.nets.configs import UNetConfig, VAEConfig
from core.nets.unet import UNet
from core.pipeline import TextToImage
from tests.core.tiny import write_tiny

SMALL = UNetConfig((32, 64), (False, True), (2, 4), 1, context_dim=48, groups=8, sample_size=16)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> TextToImage:
    return load_pipeline(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu")


# ------------------------------------------------------------------------------------------------------- edits


def test_an_edit_swaps_scales_and_shifts_channel_by_channel() -> None:
    z = torch.randn(2, 4, 5, 6)
    assert torch.equal(edited(z, [Edit(c) for c in range(4)]), z)
    made = edited(z, [Edit(1), Edit(0), Edit(2, -0.5), Edit(3, 0, 2)])
    assert torch.equal(made[:, :2], z[:, [1, 0]]) and torch.equal(made[:, 2], -0.5 * z[:, 2])
    assert torch.equal(made[:, 3], torch.full((2, 5, 6), 2.0))


def test_without_a_channel_that_channel_alone_is_zero() -> None:
    z = torch.randn(1, 4, 3, 3)
    for channel in range(4):
        change = edited(z, without(channel, 4)) - z
        assert torch.equal(change[:, channel], -z[:, channel]) and int((change != 0).sum()) == 9


# ------------------------------------------------------------------------------------------------------- ways


@pytest.mark.parametrize("s", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_on_the_sphere_angle_and_length_grow_evenly(s: float) -> None:
    a, b = torch.randn(1, 4, 8, 8).double(), 3 * torch.randn(1, 4, 8, 8).double()
    x = spherical(a, b, s)

    def angle(u: torch.Tensor, v: torch.Tensor) -> float:
        return math.acos(min(1.0, float((u * v).sum() / u.norm() / v.norm())))

    assert float(x.norm()) == pytest.approx((1 - s) * float(a.norm()) + s * float(b.norm()), rel=1e-12)
    assert angle(a, x) == pytest.approx(s * angle(a, b), abs=1e-7)
    assert angle(x, b) == pytest.approx((1 - s) * angle(a, b), abs=1e-7)


def test_both_ways_have_the_same_ends_and_halfway_the_straight_one_is_shorter_by_the_square_root_of_two() -> None:
    a, b = torch.randn(2, 200_000).double()
    for way in (linear, spherical):
        assert torch.allclose(way(a, b, 0.0), a) and torch.allclose(way(a, b, 1.0), b)
    assert float(spherical(a, b, 0.5).std()) == pytest.approx(1, abs=0.01)
    assert float(linear(a, b, 0.5).std()) == pytest.approx(math.sqrt(0.5), abs=0.01)


def test_parallel_and_opposite_ends_go_the_straight_way_and_stay_finite() -> None:
    a = torch.randn(1, 4, 2, 2)
    assert torch.allclose(spherical(a, 2 * a, 0.25), 1.25 * a)
    assert torch.allclose(spherical(a, a, 0.5), a)
    assert torch.allclose(spherical(a, -a, 0.25), 0.5 * a, atol=1e-5)
    assert torch.equal(spherical(torch.zeros(3), torch.zeros(3), 0.5), torch.zeros(3))


def test_token_by_token_every_row_goes_its_own_way() -> None:
    a, b = torch.randn(2, 1, 5, 16).double()
    together = spherical(a, b, 0.3, (-1,))
    for row in range(5):
        assert torch.allclose(together[:, row], spherical(a[:, row], b[:, row], 0.3))


# ------------------------------------------------------------------------------------------------------- axes and neighbours


def test_principal_axes_are_those_of_numpys_singular_values() -> None:
    z = torch.randn(60, 3, 2, 2).double() * torch.linspace(1, 3, 12).view(3, 2, 2)
    found = principal(z, 3)
    rows = z.flatten(1).numpy()
    _, values, vectors = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    np.testing.assert_allclose(found.variance, values**2 / 59, rtol=1e-9)
    np.testing.assert_allclose(np.abs(found.axes.numpy()), np.abs(vectors[:3]), atol=1e-9)
    np.testing.assert_allclose(np.abs(found.project(z).numpy()), np.abs((rows - rows.mean(0)) @ vectors[:3].T), atol=1e-9)
    assert float(found.shares.sum()) == pytest.approx(1) and bool((found.axes.amax(1) == found.axes.abs().amax(1)).all())


def test_a_projected_point_is_where_its_coordinates_say() -> None:
    found = principal(torch.randn(20, 6), 2)
    there = torch.tensor([[1.5, -2.0], [0.0, 3.0]]).double()
    torch.testing.assert_close(found.project(found.at(there)), there)
    all_axes = principal(z := torch.randn(20, 6), 6)
    torch.testing.assert_close(all_axes.at(all_axes.project(z)), z.double())


def test_the_nearest_latent_is_oneself_and_distance_is_per_number() -> None:
    among = torch.randn(30, 4, 3, 3)
    far, place = nearest(among[7:8], among, 3)
    assert int(place[0]) == 7 and float(far[0]) == 0 and float(far[1]) > 0
    assert float(distances(among[:1], among[:1] + 2)[0, 0]) == pytest.approx(2, rel=1e-5)
    assert len(nearest(among[:1], among[:2], 5)[1]) == 2


def test_the_usual_distance_is_that_to_the_nearest_other() -> None:
    places = torch.tensor([[0.0], [1.0], [3.0], [6.0], [16.0]])
    assert usual_distance(places) == pytest.approx(2)  # 1, 1, 2, 3, 10


# ------------------------------------------------------------------------------------------------------- what is lost


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 15, 24), (1, 7, 7)])
def test_the_rings_hold_all_the_energy_there_is(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    found = rings(x)
    assert found.energy.sum() == pytest.approx(float(x.double().square().sum()), rel=1e-12)
    assert found.waves.sum() == shape[1] * shape[2]


@pytest.mark.parametrize(("across", "down"), [(5, 0), (0, 9), (3, 4), (0, 0)])
def test_a_picture_of_one_wave_has_its_energy_in_one_ring(across: int, down: int) -> None:
    n = 32
    y, x = torch.meshgrid(torch.arange(n).double(), torch.arange(n).double(), indexing="ij")
    found = rings(torch.cos(2 * math.pi * (across * x + down * y) / n)[None])
    at = round(math.hypot(across, down))
    assert found.frequency[at] == pytest.approx(math.hypot(across, down) / n)
    assert found.energy[at] == pytest.approx(n * n / (2 if across or down else 1))
    assert found.energy.sum() == pytest.approx(found.energy[at])


def test_white_noise_has_the_same_energy_in_every_wave() -> None:
    found = rings(torch.randn(64, 64, 64))
    per_wave = found.energy[1:32] / found.waves[1:32] / 64
    np.testing.assert_allclose(per_wave, 1, atol=0.2)


def test_bands_share_the_energy_out() -> None:
    found = rings(torch.randn(3, 48, 48))
    bands = in_bands(found, (0, 1 / 16, 1 / 8, 1))
    assert bands.sum() == pytest.approx(found.energy[1:].sum())  # the mean, at 0, is in none
    assert bands[0] == pytest.approx(found.energy[1:4].sum())


# ------------------------------------------------------------------------------------------------------- runs between two


@pytest.mark.parametrize("way", ["linear", "spherical"])
def test_the_ends_of_a_way_between_noises_are_the_runs_of_both_seeds(pipe: TextToImage, way: str) -> None:
    recipe = Recipe(prompt="a red cat", steps=4, seed=3)
    *_, last = run_from(pipe, recipe, starts=between_noises(pipe, recipe, 8, (0, 0.5, 1), way))
    for row, seed in ((0, 3), (2, 8)):
        *_, alone = pipe.run(recipe.replace(seed=seed))
        torch.testing.assert_close(last.x_next[row : row + 1], alone.x_next, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("way", ["linear", "spherical"])
def test_the_ends_of_a_way_between_prompts_are_the_runs_of_both_prompts(pipe: TextToImage, way: str) -> None:
    recipe = Recipe(prompt="a red cat", negative="apple", steps=4, seed=3, sampler="euler_ancestral")
    *_, last = run_from(pipe, recipe, states=between_prompts(pipe, recipe, "a blue apple", (0, 0.5, 1), way))
    for row, prompt in ((0, "a red cat"), (2, "a blue apple")):
        *_, alone = pipe.run(recipe.replace(prompt=prompt))
        torch.testing.assert_close(last.x_next[row : row + 1], alone.x_next, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(last.x_next[0], last.x_next[1], atol=1e-3)


def test_runs_between_two_are_guided_and_as_exact_as_the_recipe_says(pipe: TextToImage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.pipeline.BF16", True)
    exact = list(pipe.run(Recipe(prompt="a red cat", steps=4, seed=3, gamma=6)))[-1].x_next
    for more in ({"guidance": {"rescale": 0.9}}, {"guidance": {"interval": (0.0, 0.5)}}, {"tier": "fast"}):
        recipe = Recipe(prompt="a red cat", steps=4, seed=3, gamma=6).replace(**more)
        *_, last = run_from(pipe, recipe, starts=between_noises(pipe, recipe, 8, (0, 1), "linear"))
        *_, alone = pipe.run(recipe)
        torch.testing.assert_close(last.x_next[:1], alone.x_next, atol=1e-4, rtol=1e-4)
        assert (alone.x_next - exact).norm() > 1e-3 * exact.norm()  # and what it says shows
    judged = Recipe(prompt="animal-bug", steps=4, gamma=2, guidance={"kind": "classifier"})
    *_, last = run_from(pipe, judged, starts=between_noises(pipe, judged, 8, (0, 1), "linear"))
    *_, alone = pipe.run(judged)
    torch.testing.assert_close(last.x_next[:1], alone.x_next, atol=1e-3, rtol=1e-3)
    with pytest.raises(UserError, match="the network hears no words"):
        run_from(pipe, judged, states=between_prompts(pipe, judged, "food-fruit", (0, 1), "linear"))


# ------------------------------------------------------------------------------------------------------- costs


def test_the_numbers_of_the_source_come_out() -> None:
    large, small = size(512), size(128)
    assert (large.pixels, large.latents, large.factor) == (786_432, 16_384, 48)
    assert (small.pixels, small.latents, small.factor) == (49_152, 1_024, 48)


def test_attention_has_slope_two_in_tokens_and_four_in_the_side() -> None:
    one, two = size(256), size(512)
    assert two.pixel_weights / one.pixel_weights == 2**4 and two.latent_weights / one.latent_weights == 2**4
    assert (two.latent_tokens / one.latent_tokens) ** 2 == two.latent_weights / one.latent_weights
    assert two.pixel_weights / two.latent_weights == 8**4


def test_operations_of_one_layer_are_those_counted_by_hand() -> None:
    x, layer = torch.randn(1, 3, 10, 12), nn.Conv2d(3, 7, 3, padding=1)
    assert counted(layer, lambda: layer(x)) == (2 * 9 * 3 * 7 * 10 * 12, 0)


def test_operations_are_a_square_in_the_positions_and_its_last_part_is_attention() -> None:
    sides, length = (8, 16, 24, 32), 7
    totals, attention = zip(*(unet_operations(SMALL, side, length) for side in sides), strict=True)
    a, b, c = np.linalg.solve(np.vander(np.square(sides[:3], dtype=float), 3, increasing=True), totals[:3])
    assert a + b * 32**2 + c * 32**4 == pytest.approx(totals[3], rel=1e-9)
    # Four transformers of width 64 at half the side: two products of 2·n·n·d, and of 2·n·length·d with the words.
    n, transformers = 16 * 16, 4
    assert attention[3] == transformers * 4 * 64 * (n * n + n * length)
    assert unet_operations(on_pixels(SMALL), 32, length).total > totals[3] * 0.99
    assert unet_operations(on_pixels(SMALL), 32, length).attention == attention[3]


def test_a_decoder_with_twice_the_side_takes_four_times_the_operations() -> None:
    config = VAEConfig((8, 16), 1, groups=4, mid_attention=False)
    assert decoder_operations(config, 16).total == 4 * decoder_operations(config, 8).total


def test_the_widened_network_is_the_same_layers_and_leaves_the_old_one_alone() -> None:
    network = UNet(SMALL)
    made = widened(network)
    context = torch.randn(1, 7, 48)
    with torch.no_grad():
        assert made(torch.randn(1, 3, 8, 8), 5, context).shape == (1, 3, 8, 8)
        assert network(torch.randn(1, 4, 8, 8), 5, context).shape == (1, 4, 8, 8)
    assert made.mid_block is network.mid_block and made.conv_in is not network.conv_in
    assert 0 < seconds(made, 8, context) < 60


@pytest.mark.parametrize(("calls", "told"), [((0.1, 0.5, 0.4, 0.6), 0.4), ((2.0,), 2.0)])
def test_a_short_first_call_is_not_counted_and_a_long_one_is_the_only_one(
    calls: tuple[float, ...], told: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = iter(calls)
    monkeypatch.setattr("core.costs.once", lambda *given: next(coming))
    assert seconds(UNet(UNetConfig((16, 32), (False, True), (1, 2), 1, context_dim=16, groups=8)), 8, torch.zeros(1)) == told
    assert not list(coming)


def test_a_call_that_fails_while_its_layers_are_counted_leaves_no_hook_behind() -> None:
    layer = torch.nn.Linear(2, 2)
    with pytest.raises(RuntimeError):
        multiply_adds(layer, lambda: layer(torch.zeros(3)))
    assert not layer._forward_hooks and multiply_adds(layer, lambda: layer(torch.zeros(5, 2))) == {"": 20}
