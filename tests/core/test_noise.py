"""Noise with an address: known answers, the statistics of a normal distribution, independence of all else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from core.noise import Noise, normal, philox

MANY = 200_000
ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0, 0, 0, 0], 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([ONES] * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], 0x299F31D0A4093822,
         [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
    ],
)  # fmt: skip
def test_philox_gives_the_words_that_its_authors_published(counter: list[int], key: int, words: list[int]) -> None:
    """The three vectors of Random123 for Philox 4×32 with ten rounds."""
    assert philox(np.array(counter, np.uint32)[:, None], key)[:, 0].tolist() == words


def test_seed_0_begins_with_the_numbers_that_a_gpu_gives() -> None:
    wanted = [-0.92466259, -0.42534415, -2.6438457, 0.14518388, -0.12086647, -0.57972564]
    torch.testing.assert_close(Noise([0], (4, 8, 8))(0).flatten()[:6], torch.tensor(wanted), rtol=1e-6, atol=0)


@pytest.mark.parametrize("rng", ["nv", "cpu"])
def test_an_image_has_the_same_noise_alone_and_in_any_batch(rng: str) -> None:
    together = Noise([5, 2**40 + 7, 5, 2**64 - 1], (4, 8, 8), rng)
    for draw in range(3):
        batch = together(draw)
        for i, seed in enumerate(together.seeds):
            assert torch.equal(batch[i : i + 1], Noise([seed], (4, 8, 8), rng)(draw))


@pytest.mark.parametrize("rng", ["nv", "cpu"])
def test_draws_have_addresses_and_need_not_be_made_in_order(rng: str) -> None:
    noise = Noise([1], (4, 8, 8), rng)
    inorder = [noise(draw) for draw in range(4)]
    for draw in (3, 0, 2, 2):
        assert torch.equal(noise(draw), inorder[draw])


def test_draws_and_seeds_differ_in_every_bit_that_a_seed_may_have() -> None:
    seeds = [0, *(2**bit for bit in range(64))]
    rows = [Noise([seed], (16,))(draw) for seed in seeds for draw in (0, 1)]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(rows, 2))


def test_noise_from_torch_is_what_one_generator_gives_call_after_call() -> None:
    generator = torch.Generator().manual_seed(11)
    noise = Noise([11], (4, 8, 8), "cpu")
    for draw in range(3):
        assert torch.equal(noise(draw)[0], torch.randn(4, 8, 8, generator=generator))


def test_every_draw_of_torch_s_generator_is_made_once_and_is_the_same_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in (11, 12)]
    wanted = [torch.stack([torch.randn(4, 8, 8, generator=each) for each in generators]) for _ in range(20)]
    noise, made, randn = Noise([11, 12], (4, 8, 8), "cpu"), list[int](), torch.randn
    monkeypatch.setattr(torch, "randn", lambda *given, **more: made.append(1) or randn(*given, **more))
    assert all(torch.equal(noise(draw), wanted[draw]) for draw in range(20)) and len(made) == 2 * 20
    assert all(torch.equal(noise(draw), wanted[draw]) for draw in (7, 7, 3, 15, 0, 19, 1))
    made.clear()
    assert torch.equal(Noise([11, 11, 11], (4, 8, 8), "cpu")(5)[2], wanted[5][0]) and len(made) == 6


def test_a_number_belongs_to_its_place_however_many_there_are() -> None:
    """Every element has a counter of its own, so a large tensor begins with a small one and needs no counter twice."""
    large = normal(2**20, seed=3, draw=2)
    assert np.array_equal(large[:1000], normal(1000, seed=3, draw=2))
    assert len(np.unique(large)) > 0.95 * len(large)  # equal ones are float32's doing


def test_the_numbers_are_normal() -> None:
    stats = pytest.importorskip("scipy.stats")
    x = normal(MANY, seed=1, draw=0).astype(np.float64)
    error = 1 / np.sqrt(MANY)
    assert abs(x.mean()) < 4 * error
    assert abs(x.var() - 1) < 4 * np.sqrt(2) * error
    assert abs(stats.skew(x)) < 4 * np.sqrt(6) * error and abs(stats.kurtosis(x)) < 4 * np.sqrt(24) * error
    assert stats.kstest(x, "norm").pvalue > 1e-3


@pytest.mark.parametrize("other", [{"seed": 2, "draw": 0}, {"seed": 1, "draw": 1}, {"seed": 1 + 2**32, "draw": 0}])
def test_other_seeds_and_other_draws_are_independent(other: dict[str, int]) -> None:
    a, b = normal(MANY, seed=1, draw=0), normal(MANY, **other)
    for one, two in ((a, b), (a**2, b**2), (np.sign(a), np.sign(b)), (a[1:], b[:-1])):
        assert abs(np.corrcoef(one, two)[0, 1]) < 4 / np.sqrt(MANY)


def test_neighbours_within_a_draw_are_independent() -> None:
    a = normal(MANY, seed=4, draw=7)
    for gap in (1, 2, 16, 64, 256):
        assert abs(np.corrcoef(a[gap:], a[:-gap])[0, 1]) < 4 / np.sqrt(MANY)


@pytest.mark.parametrize("word", [0, 1, 2**31, ONES])
def test_the_most_extreme_words_make_finite_numbers(word: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.noise.philox", lambda counter, seed: np.full_like(counter, word))
    assert np.isfinite(normal(4, 0, 0)).all() and abs(normal(4, 0, 0)).max() < 7


def test_noise_comes_in_the_type_that_was_asked_for_and_means_the_same_there() -> None:
    whole = Noise([1, 2], (4, 8, 8))(0)
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        assert torch.equal(Noise([1, 2], (4, 8, 8), dtype=dtype)(0), whole.to(dtype))


@pytest.mark.cuda
def test_up_to_the_threads_of_a_device_its_own_torch_randn_gives_these_numbers() -> None:
    device = torch.cuda.get_device_properties(0)
    limit = device.multi_processor_count * device.max_threads_per_multi_processor
    for seed in (0, 2**33 + 5):
        generator = torch.Generator("cuda").manual_seed(seed)
        for draw in range(3):
            theirs = torch.randn(limit, generator=generator, device="cuda")
            torch.testing.assert_close(Noise([seed], (limit,), device="cuda")(draw)[0], theirs, atol=1e-5, rtol=1e-5)
