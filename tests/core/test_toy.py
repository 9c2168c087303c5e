"""Exact models: each answer against quadrature, autograd, brute force or a limit that is known."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
import torch
from torch import Tensor

from core import SCHEDULES
from core.errors import UserError
from core.prediction import unconditional
from core.sampling import sample
from core.schedules import CLEAN, Level, make_path, zero_terminal_snr
from core.toy import TOYS, FiniteData, GaussianMixture, two_peaks

SCHEDULE = SCHEDULES["cosine"]()
LEVELS = [SCHEDULE.at(t) for t in (0, 150, 600, 950)]
F64 = {"dtype": torch.float64}


@pytest.fixture(autouse=True)
def one_thread_and_the_same_numbers():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def tilted(d: int = 3, k: int = 4) -> GaussianMixture:
    """Full covariances, unequal weights, two labels."""
    generator = torch.Generator().manual_seed(d)
    roots = torch.randn(k, d, d, generator=generator, **F64) / 2
    covariances = roots @ roots.mT + 0.01 * torch.eye(d, **F64)
    return GaussianMixture.of(torch.randn(k, d, generator=generator, **F64), covariances,
                              weights=torch.arange(1.0, k + 1), labels=[0, 1] * (k // 2))  # fmt: skip


def points(d: int, n: int = 50) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0), **F64)


# --------------------------------------------------------------------------------------------------------- mixtures


@pytest.mark.parametrize("at", LEVELS)
def test_a_posterior_mean_is_the_one_that_numerical_integration_finds(at: Level) -> None:
    """In one dimension: E[x0 | x] = ∫ x0 p(x0) N(x; alpha·x0, sigma²) dx0 over the same without x0."""
    mixture = two_peaks()
    x0 = torch.linspace(-4, 4, 40_001, **F64)
    log_prior = torch.logsumexp(
        torch.log(mixture.weights) - ((x0[:, None] - mixture.means[:, 0]) / mixture.stds[:, 0]) ** 2 / 2
        - mixture.stds[:, 0].log(), -1)  # fmt: skip
    for x in (-1.5, -0.2, 0.9):
        w = torch.softmax(log_prior - (x - at.alpha * x0) ** 2 / (2 * at.sigma**2), 0)
        (p,) = mixture(torch.tensor([[x]], **F64), at, (None,))
        assert p.x0.item() == pytest.approx((w * x0).sum().item(), abs=1e-6)


@pytest.mark.parametrize("cond", [None, 0, 1])
@pytest.mark.parametrize("at", [*LEVELS, CLEAN])
def test_the_score_is_the_gradient_of_the_log_density(at: Level, cond: int | None) -> None:
    mixture = tilted()
    x = points(3).requires_grad_(True)
    (gradient,) = torch.autograd.grad(mixture.log_density(x, at, cond).sum(), x)
    torch.testing.assert_close(mixture.score(x.detach(), at, cond), gradient, rtol=1e-8, atol=1e-8)
    if at.sigma:
        (p,) = mixture(x.detach(), at, (cond,))
        torch.testing.assert_close(p.score, gradient, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("at", LEVELS)
def test_a_mixture_says_x0_and_eps_that_fit_together_and_tweedies_formula_holds(at: Level) -> None:
    mixture, x = tilted(), points(3)
    (p,) = mixture(x, at, (None,))
    torch.testing.assert_close(at.alpha * p.x0 + at.sigma * p.eps, x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(p.x0, (x + at.sigma**2 * mixture.score(x, at)) / at.alpha, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("at", [*LEVELS, CLEAN])
def test_the_density_of_a_mixture_is_scipys_and_integrates_to_one(at: Level) -> None:
    stats = pytest.importorskip("scipy.stats")
    mixture, x = tilted(2), points(2)
    covariances = mixture.axes @ torch.diag_embed(mixture.stds**2) @ mixture.axes.mT
    theirs = sum(
        w * stats.multivariate_normal(at.alpha * m, at.alpha**2 * c + at.sigma**2 * np.eye(2)).pdf(x.numpy())
        for w, m, c in zip(mixture.weights.numpy(), mixture.means.numpy(), covariances.numpy(), strict=True)
    )
    np.testing.assert_allclose(mixture.log_density(x, at).exp().numpy(), theirs, rtol=1e-8)
    line = torch.linspace(-12, 12, 20_001, **F64)[:, None]
    for cond in (None, 1):
        total = torch.trapezoid(two_peaks().log_density(line, at, cond).exp(), line[:, 0])
        assert total.item() == pytest.approx(1, abs=1e-6)


def test_isotropic_stds_and_the_covariances_that_they_stand_for_are_one_mixture() -> None:
    means, stds = points(2, 3), torch.tensor([0.2, 0.5, 1.0], **F64)
    full = stds[:, None, None] ** 2 * torch.eye(2, **F64)
    at, x = LEVELS[1], points(2)
    one, two = (GaussianMixture.of(means, spread)(x, at, (None,))[0] for spread in (stds, full))
    torch.testing.assert_close(one.x0, two.x0)


def test_one_gaussian_is_the_linear_filter_of_wiener() -> None:
    mixture = GaussianMixture.of([[2.0, -1.0]], 0.7)
    for at in LEVELS:
        x = points(2)
        gain = at.alpha * 0.49 / (at.alpha**2 * 0.49 + at.sigma**2)
        (p,) = mixture(x, at, (None,))
        torch.testing.assert_close(p.x0, mixture.means + gain * (x - at.alpha * mixture.means))


def test_the_posterior_of_labels_is_bayes_rule_and_sums_to_one() -> None:
    mixture, x, at = tilted(), points(3), LEVELS[2]
    prior = [mixture.weights[mixture.labels == label].sum().log() for label in (0, 1)]
    posterior = [mixture.log_posterior(x, at, label) for label in (0, 1)]
    for label in (0, 1):
        bayes = mixture.log_density(x, at, label) + prior[label] - mixture.log_density(x, at)
        torch.testing.assert_close(posterior[label], bayes)
    torch.testing.assert_close(torch.stack(posterior).exp().sum(0), torch.ones(50, **F64))


def test_samples_have_the_mean_and_the_covariance_of_their_mixture() -> None:
    n = 200_000
    for mixture in (tilted(), tilted(2)):
        x = mixture.sample(n, torch.Generator().manual_seed(0))
        w = mixture.weights
        mean = w @ mixture.means
        away = mixture.means - mean
        within = torch.einsum("k,kij,kj,klj->il", w, mixture.axes, mixture.stds**2, mixture.axes)
        covariance = within + torch.einsum("k,ki,kj->ij", w, away, away)
        scale = covariance.diagonal().max().item()
        torch.testing.assert_close(x.mean(0), mean, atol=5 * math.sqrt(scale / n), rtol=0)
        torch.testing.assert_close(x.T.cov(), covariance, atol=10 * scale / math.sqrt(n), rtol=0)
    only = two_peaks().sample(20_000, torch.Generator().manual_seed(0), cond=1)
    assert only.mean().item() == pytest.approx(1, abs=0.02) and only.std().item() == pytest.approx(0.4, abs=0.01)


def test_noise_moves_samples_to_the_density_of_their_level() -> None:
    stats = pytest.importorskip("scipy.stats")
    at = SCHEDULE.at(500)
    generator = torch.Generator().manual_seed(0)
    x = at.alpha * two_peaks().sample(20_000, generator) + at.sigma * torch.randn(20_000, 1, generator=generator)
    line = torch.linspace(-6, 6, 4001, **F64)
    cdf = torch.cumsum(two_peaks().log_density(line[:, None], at).exp(), 0) * (line[1] - line[0])
    assert stats.kstest(x[:, 0].numpy(), lambda v: np.interp(v, line.numpy(), cdf.numpy())).pvalue > 1e-3


@pytest.mark.parametrize("name", TOYS)
def test_a_fine_run_with_an_exact_model_ends_on_its_distribution(name: str) -> None:
    """The whole chain at once: the mean log-density of what a run makes is that of true samples."""
    mixture = TOYS[name]()
    generator = torch.Generator().manual_seed(1)
    n, d = 3000, mixture.means.shape[1]
    denoise = unconditional(mixture)
    path = make_path(SCHEDULES["linear"](), "karras", 40, end="first")
    *_, step = sample(denoise, path, "dpmpp_2m", lambda draw: torch.randn(n, d, generator=generator, **F64))
    made = mixture.log_density(step.x_next)
    true = mixture.log_density(mixture.sample(n, generator))
    error = math.sqrt((made.var() + true.var()) / n)
    assert made.mean().item() == pytest.approx(true.mean().item(), abs=5 * error + 0.05)
    share = torch.bincount(torch.cdist(step.x_next, mixture.means).argmin(1), minlength=len(mixture.means)) / n
    if name not in ("cross", "two_peaks"):  # there the nearest mean is the component
        torch.testing.assert_close(share.double(), mixture.weights, atol=5 / math.sqrt(n), rtol=0)


@pytest.mark.parametrize("name", TOYS)
def test_a_preset_has_about_the_spread_of_trained_data_and_a_sentence(name: str) -> None:
    x = TOYS[name]().sample(5000, torch.Generator().manual_seed(0))
    assert 0.5 < x.std() < 1.5 and x.mean(0).abs().max() < 0.3
    assert (TOYS[name].__doc__ or "").endswith(".")


def test_x_may_have_any_leading_shape_and_any_type_and_conditions_share_a_call() -> None:
    mixture, x = tilted(), points(3, 24)
    (flat,) = mixture(x, LEVELS[1], (None,))
    a, b = mixture(x.view(2, 12, 3).float(), LEVELS[1], (None, 1))
    assert a.x0.dtype == b.eps.dtype == torch.float32
    torch.testing.assert_close(a.x0.double().view(24, 3), flat.x0, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(b.x0.double().view(24, 3), mixture(x, LEVELS[1], (1,))[0].x0, rtol=1e-5, atol=1e-5)


def test_pure_noise_is_answered_with_the_mean_and_an_unknown_label_with_a_sentence() -> None:
    noise = zero_terminal_snr(SCHEDULE).at(999)
    mixture, x = tilted(), points(3)
    (p,) = mixture(x, noise, (None,))
    torch.testing.assert_close(p.x0, (mixture.weights @ mixture.means).expand(50, 3))
    torch.testing.assert_close(p.eps, x)
    with pytest.raises(UserError, match="knows the labels 0, 1"):
        mixture(x, noise, (7,))


# ------------------------------------------------------------------------------------------------------ finite data


def pictures(n: int = 40, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, 2, 3, 3, generator=torch.Generator().manual_seed(5), **F64).add(0.5).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("at", LEVELS)
def test_the_perfect_denoiser_is_the_sum_over_all_pictures(at: Level, dtype: torch.dtype) -> None:
    rows = pictures(dtype=dtype)
    x = at.alpha * rows[:7].double() + at.sigma * torch.randn(7, 2, 3, 3, **F64)
    distance = (x[:, None] - at.alpha * rows.double()).square().sum((2, 3, 4))
    w = torch.softmax(-distance / (2 * at.sigma**2), 1)
    (p,) = FiniteData.of(rows)(x, at, (None,))
    loose = 1e-9 if dtype == torch.float64 else 1e-3
    torch.testing.assert_close(p.x0, torch.einsum("bn,nchw->bchw", w, rows.double()), rtol=loose, atol=loose)
    torch.testing.assert_close(FiniteData.of(rows).weights(x, at).double(), w, rtol=loose, atol=loose)


def test_it_is_the_mixture_of_points_without_width() -> None:
    rows = points(3, 10)
    mixture, data = GaussianMixture.of(rows, 0.0, labels=[0, 1] * 5), FiniteData.of(rows, labels=[0, 1] * 5)
    for at in LEVELS:
        for cond in (None, 1):
            (a,), (b,) = mixture(points(3), at, (cond,)), data(points(3), at, (cond,))
            torch.testing.assert_close(a.x0, b.x0, rtol=1e-6, atol=1e-7)


def test_entropy_falls_from_the_logarithm_of_the_count_to_nothing() -> None:
    rows = pictures()
    data = FiniteData.of(rows)
    noise = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(1), **F64)
    levels = [zero_terminal_snr(SCHEDULE).at(999), *(SCHEDULE.at(t) for t in (950, 800, 600, 300, 0)), CLEAN]
    entropies = [data.entropy(at.alpha * rows[3:4] + at.sigma * noise, at).item() for at in levels]
    assert entropies[0] == pytest.approx(math.log(40), abs=1e-9) and entropies[-1] == 0
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(entropies))


def test_a_run_with_the_perfect_denoiser_only_ever_returns_training_pictures() -> None:
    rows = pictures(dtype=torch.float32)
    denoise = unconditional(FiniteData.of(rows))
    for sampler in ("ddim", "dpmpp_2m", "euler_ancestral", "heun"):
        generator = torch.Generator().manual_seed(2)
        path = make_path(SCHEDULE, "trailing", 40)
        *_, step = sample(denoise, path, sampler, lambda draw, g=generator: torch.randn(8, 2, 3, 3, generator=g))
        nearest = torch.cdist(step.x_next.flatten(1), rows.flatten(1)).amin(1)
        assert nearest.max() < 1e-3 * rows.flatten(1).norm(dim=1).mean()


def test_labels_select_pictures_and_many_x_are_worked_off_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, at = pictures(), SCHEDULE.at(100)
    data = FiniteData.of(rows, labels=torch.arange(40) % 4)
    x = pictures(16)
    whole = data(x, at, (None, 3))
    assert (data.weights(x, at, 3)[:, torch.arange(40) % 4 != 3] == 0).all()
    monkeypatch.setattr("core.toy.CELLS", 120)  # three x at a time
    for a, b in zip(whole, data(x, at, (None, 3)), strict=True):
        torch.testing.assert_close(a.x0, b.x0)


def test_in_float32_at_little_noise_far_from_the_origin_the_right_picture_is_still_found() -> None:
    rows = pictures(dtype=torch.float32) + 100
    at = Level.of_nsr(1.0, 0.02)
    x = at.alpha * rows + at.sigma * torch.randn(40, 2, 3, 3)
    (p,) = FiniteData.of(rows)(x, at, (None,))
    torch.testing.assert_close(p.x0, rows, rtol=0, atol=1e-3)


def test_thousands_of_latents_are_searched_in_at_most_a_tenth_of_a_second() -> None:
    torch.set_num_threads(2)
    data = FiniteData.of(torch.randn(3616, 4, 16, 16).half())
    x, seconds = torch.randn(4, 4, 16, 16), []
    for _ in range(8):
        start = time.perf_counter()
        data(x, SCHEDULE.at(500), (None,))
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1
