"""Assumption 3: the walks and the likelihood of a noising process, Markov chain or not, held to closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from core.assumptions import forward, likelihood, walks
from core.assumptions.line import Line, over_runs
from core.schedules import CLEAN, Level, Path, make, make_path
from core.toy import GaussianMixture, two_peaks

SCHEDULE = make("linear")


def test_the_bound_on_whole_paths_is_the_sum_of_the_steps_where_noising_is_a_markov_chain() -> None:
    found = [likelihood.bound(two_peaks(), SCHEDULE, steps, 1.0, seed) for steps in (2, 5, 20) for seed in range(12)]
    assert np.mean([one.path.low <= one.terms <= one.path.high for one in found]) > 0.8  # 95 % intervals
    assert all(one.path.high - one.path.low < 0.25 * one.terms + 0.02 for one in found)


def test_without_a_markov_chain_the_bound_is_more_than_the_sum_of_the_steps() -> None:
    found = [likelihood.bound(two_peaks(), SCHEDULE, steps, 0.5) for steps in (5, 20, 50)]
    assert all(one.path.low > 1.5 * one.terms for one in found) and found[-1].path.low > 20 * found[-1].terms


def test_of_one_gaussian_a_path_costs_what_the_normal_law_of_all_its_states_says() -> None:
    """Paths are jointly normal there, and so are those of the moves back: KL in closed form, Markov chain or not."""
    data, path = GaussianMixture.of([[0.0]], [0.6]), make_path(SCHEDULE, "trailing", 4)
    for eta in (1.0, 0.5):
        q, p = joint(data, path, eta), backwards(data, path, eta)
        wanted = (np.trace(np.linalg.solve(p, q)) - len(q) + np.linalg.slogdet(p)[1] - np.linalg.slogdet(q)[1]) / 2
        found = [likelihood.bound(data, SCHEDULE, 4, eta, seed).path for seed in range(10)]
        assert over_runs([one.value for one in found]).value == pytest.approx(wanted, abs=0.01)


def joint(data: GaussianMixture, path: Path, eta: float) -> np.ndarray:
    """The covariance of a noising path's states, noisiest first: each is linear in x_0 and independent unit noise."""
    first, moved = path.levels[0], [forward.weights(cur, nxt, eta) for cur, nxt in path]
    rows = [np.r_[first.alpha * float(data.stds), first.sigma, np.zeros(len(moved))]]
    for index, move in enumerate(moved):
        row = move.x * rows[-1]
        row[0] += move.x0 * float(data.stds)
        row[2 + index] += move.std
        rows.append(row)
    return np.stack(rows) @ np.stack(rows).T


def backwards(data: GaussianMixture, path: Path, eta: float) -> np.ndarray:
    """The same of N(0, 1) and then moves x' = k·x + s·eps, k and s being those of the pair's own covariance."""
    cov, rows = joint(data, path, eta), [np.eye(len(path.levels))[0]]
    for i in range(1, len(cov)):
        k = cov[i, i - 1] / cov[i - 1, i - 1]
        rows.append(k * rows[-1] + np.sqrt(cov[i, i] - k * cov[i, i - 1]) * np.eye(len(cov))[i])
    return np.stack(rows) @ np.stack(rows).T


@pytest.fixture(scope="module")
def made() -> walks.Walks:
    return walks.walks(two_peaks(), SCHEDULE)


def test_both_walks_visit_the_same_laws(made: walks.Walks) -> None:
    found = [made.apart(level).p for level in range(len(made.levels))]
    assert min(found) * len(found) > 0.01


def test_ddim_keeps_the_order_on_a_line_and_ddpm_forgets_as_the_closed_form_says(made: walks.Walks) -> None:
    assert all(made.memory(1, level).low > 0.999 for level in range(len(made.levels)))
    start = made.levels[0]
    for level, at in enumerate(made.levels):
        assert made.memory(0, level).value == pytest.approx(walks.forgetting(two_peaks(), start, at), abs=0.12)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_every_noising_process_has_the_laws_of_the_schedule(eta: float) -> None:
    levels = walks.marks(SCHEDULE)
    x = walks.noised(two_peaks(), levels, eta)
    for at, points in zip(levels, x, strict=True):
        line = Line.of(two_peaks(), at)
        share = line.cdf(np.sort(points))
        assert np.abs(share - (np.arange(len(share)) + 0.5) / len(share)).max() < 1.95 / len(share) ** 0.5  # 1 in 1000 by chance


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_what_the_state_before_tells_is_the_partial_correlation_of_the_closed_form_covariance(eta: float) -> None:
    """x_t = alpha·x_0 + sigma·(noise), and from level to level the noise is kept by the share c = √(1 − std²/sigma'²)."""
    levels = walks.marks(SCHEDULE)
    x = walks.noised(two_peaks(), levels, eta)
    found = [over_runs(row) for row in walks.beyond_the_last(x)]
    spread = Line.of(two_peaks(), CLEAN).variance

    def kept(cur: Level, nxt: Level) -> float:
        return float((1 - (eta / cur.sigma) ** 2 * (1 - (cur.alpha / nxt.alpha) ** 2)) ** 0.5)

    for index, one in enumerate(found, 1):
        a, b, c = three = levels[index - 1 : index + 2]
        noise = np.eye(3)
        noise[0, 1] = noise[1, 0] = kept(a, b)
        noise[1, 2] = noise[2, 1] = kept(b, c)
        noise[0, 2] = noise[2, 0] = kept(a, b) * kept(b, c)
        alpha, sigma = (np.array([getattr(level, name) for level in three]) for name in ("alpha", "sigma"))
        cov = spread * np.outer(alpha, alpha) + noise * np.outer(sigma, sigma)
        inverse = np.linalg.pinv(cov, hermitian=True) if eta else None
        wanted = -1 if inverse is None else -inverse[0, 2] / np.sqrt(inverse[0, 0] * inverse[2, 2])
        assert one.value == pytest.approx(wanted, abs=0.1)


def test_the_walk_knows_a_gaussian_that_is_forgotten_exactly() -> None:
    one = GaussianMixture.of([[0.0]], [1.0])  # q(x_t) is N(0, 1) at every level
    at = SCHEDULE.at(500)
    pearson = walks.forgetting(one, SCHEDULE.at(999), at)
    assert 2 * np.sin(np.pi / 6 * pearson) == pytest.approx(SCHEDULE.at(999).alpha / at.alpha)
    assert walks.forgetting(one, at, at) == pytest.approx(1)


def test_the_rank_correlation_of_normal_pairs_is_the_formula_of_pearsons() -> None:
    random, rho = np.random.default_rng(0), 0.6
    a, b = random.normal(size=(2, 100_000))
    found = walks.rank_correlation(a, rho * a + (1 - rho**2) ** 0.5 * b)
    assert found == pytest.approx(6 / np.pi * np.arcsin(rho / 2), abs=0.006) and found < rho - 0.01
