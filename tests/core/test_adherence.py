"""Fidelity against diversity, and the plane of guidance: closed forms, and resampling written out a second time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from core.adherence import DRAWS, adherence, distances, diversity, drawn
from core.errors import UserError
from core.plane import plane

RANDOM = np.random.default_rng(1)
FEATURES = RANDOM.normal(size=(3, 5, 8))
SCORES = RANDOM.normal(size=(3, 5))


def test_pictures_that_are_alike_have_no_diversity_and_those_at_right_angles_have_one() -> None:
    assert diversity(np.ones((2, 4, 3))).value == pytest.approx(0, abs=1e-12)
    assert diversity(np.eye(4)[None]).value == pytest.approx(1)
    assert diversity(np.array([[[1.0, 0], [-3.0, 0]]])).value == pytest.approx(2)


def test_diversity_is_the_mean_over_prompts_and_pairs_of_one_minus_the_cosine() -> None:
    pairs = [
        1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for rows in FEATURES for a, b in itertools.combinations(rows, 2)
    ]
    assert diversity(FEATURES).value == pytest.approx(np.mean(pairs))


def test_the_interval_of_diversity_is_that_of_seeds_drawn_again_without_pairs_of_one_with_itself() -> None:
    apart = np.mean([distances(rows) for rows in FEATURES], axis=0)
    found = []
    for counts in drawn(5, seed=3).astype(int):
        chosen = np.repeat(np.arange(5), counts)
        kept = [apart[i, j] for i, j in itertools.combinations(chosen, 2) if i != j]
        found += [np.mean(kept)] if kept else []
    low, high = np.quantile(found, [0.025, 0.975])
    ours = diversity(FEATURES, seed=3)
    assert (ours.low, ours.high) == (pytest.approx(low), pytest.approx(high))
    assert ours.low < ours.value < ours.high


def test_the_interval_of_adherence_draws_the_same_seeds_for_every_prompt() -> None:
    around = [SCORES[:, np.repeat(np.arange(5), counts)].mean() for counts in drawn(5, seed=3).astype(int)]
    ours = adherence(SCORES, seed=3)
    assert ours == (pytest.approx(SCORES.mean()), *(pytest.approx(q) for q in np.quantile(around, [0.025, 0.975])))


def test_what_all_seeds_share_is_certain_and_more_seeds_say_it_more_surely() -> None:
    shared = np.array([[1.0], [5.0]]) + np.zeros((2, 6))
    assert adherence(shared).value == 3
    wide, narrow = (adherence(np.random.default_rng(0).normal(size=(1, n))) for n in (8, 128))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_one_seed_has_no_diversity_and_two_have_no_interval() -> None:
    assert math.isnan(diversity(FEATURES[:, :1]).value) and math.isnan(adherence(SCORES[:, :1]).low)
    two = diversity(FEATURES[:, :2])
    assert math.isfinite(two.value) and math.isnan(two.low)
    assert drawn(5, 0).shape == (DRAWS, 5) and (drawn(5, 0).sum(1) == 5).all()


def test_features_of_zeros_are_refused() -> None:
    with pytest.raises(UserError, match="point nowhere"):
        diversity(np.zeros((1, 3, 2)))


# ------------------------------------------------------------------------------------------------------------ the plane


@pytest.mark.parametrize("gamma", [-1.0, -0.4, 0.0, 3.0, 11.5])
def test_lengths_and_angles_in_the_plane_are_those_of_the_whole_space(gamma: float) -> None:
    torch.manual_seed(0)
    empty, cond, w = torch.randn(1, 4, 16, 16), torch.randn(1, 4, 16, 16), 1 + gamma
    guided = (1 + gamma) * cond - gamma * empty
    found = plane(empty, cond, guided, w)
    assert found.norm(w) == pytest.approx(float(guided.norm()), rel=1e-5)
    product = (found.a + w * found.d) * found.a + found.h**2  # of the points of both scales in the plane
    assert product == pytest.approx(float((guided * empty).sum()), rel=1e-5)
    assert found.d == pytest.approx(float((cond - empty).norm()), rel=1e-6) and found.off < 1e-6


def test_what_lies_off_the_line_is_told_as_a_share_of_its_length() -> None:
    empty, cond = torch.tensor([0.0, 2.0, 0.0]), torch.tensor([1.0, 2.0, 0.0])
    assert plane(empty, cond) == pytest.approx((0, 1, 2, 0))
    assert plane(empty, cond, torch.tensor([3.0, 4.0, 0.5]), w=3).off == pytest.approx(math.hypot(2, 0.5) / math.hypot(3, 2))


def test_where_the_condition_changes_nothing_the_line_is_a_point() -> None:
    same = torch.ones(4)
    found = plane(same, same, same, 8)
    assert found.d == 0 and found.norm(8) == pytest.approx(2)
