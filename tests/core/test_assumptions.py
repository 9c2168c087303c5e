"""The six assumptions as curves: each held to a closed form, to Bayes' rule on a grid, or to an independent implementation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from core.assumptions import approximation, closed_world, forward, moves
from core.assumptions.line import Line, difference, kolmogorov, over_runs, wasserstein
from core.metrics import Interval
from core.perfect import Perfect
from core.pipeline import TextToImage, load_pipeline
from core.prediction import unconditional
from core.schedules import CLEAN, make, make_path
from core.toy import GaussianMixture, ring, two_peaks
from tests.core.tiny import write_tiny

SCHEDULE = make("linear")


# ------------------------------------------------------------------------------------------------- on a line


def test_the_law_at_a_level_is_the_mixtures_own() -> None:
    at = SCHEDULE.at(200)
    line, x = Line.of(two_peaks(), at), np.linspace(-3, 3, 50)
    assert np.allclose(np.log(line.density(x)), two_peaks().log_density(torch.from_numpy(x)[:, None], at).numpy(), atol=1e-12)
    assert np.allclose(line.cdf(line.quantiles(np.linspace(0.01, 0.99, 9))), np.linspace(0.01, 0.99, 9), atol=1e-6)


def test_the_distance_of_shifted_quantiles_is_the_shift() -> None:
    line = Line.of(two_peaks(), CLEAN)
    quantiles = line.quantiles((np.arange(1000) + 0.5) / 1000)
    assert wasserstein(np.random.default_rng(0).permutation(quantiles), line) < 1e-9
    assert wasserstein(quantiles + 0.3, line) == pytest.approx(0.3)


def test_the_distance_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(1)
    a, b = random.standard_normal(500), random.standard_normal(400) + 0.1
    theirs = stats.ks_2samp(a, b, method="asymp")
    ours = kolmogorov(a, b)
    assert ours.distance == pytest.approx(theirs.statistic)
    assert ours.p == pytest.approx(stats.kstwobign.sf(ours.distance * np.sqrt(500 * 400 / 900)), abs=1e-9)


def test_the_interval_of_runs_is_students() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(2).standard_normal(8)
    low, high = stats.t.interval(0.95, 7, values.mean(), values.std(ddof=1) / np.sqrt(8))
    assert over_runs(values) == pytest.approx((values.mean(), low, high), abs=1e-3)
    assert np.isnan(over_runs([1.0]).low)


def test_the_interval_of_a_difference_covers_the_true_one_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    a, b = 0.5 + random.standard_normal((2000, 12)), 2 * random.standard_normal((2000, 12))
    found = [difference(over_runs(x), over_runs(y)) for x, y in zip(a, b, strict=True)]
    assert np.mean([one.low <= 0.5 <= one.high for one in found]) == pytest.approx(0.955, abs=0.02)


# ------------------------------------------------------------------------------------------------- 1: the forward process


def test_walking_the_forward_chain_gives_its_closed_form() -> None:
    found = forward.marginals(SCHEDULE)
    hits = [m.mean.low <= m.alpha <= m.mean.high for m in found] + [m.std.low <= m.sigma <= m.std.high for m in found]
    assert np.mean(hits) > 0.8  # 95 % intervals, along one walk


@pytest.mark.parametrize(("t", "before"), [(999, 998), (500, 100), (1, 0)])
def test_the_step_back_is_bayes_rule_on_a_grid(t: int, before: int) -> None:
    cur, nxt = SCHEDULE.at(t), SCHEDULE.at(before)
    move, x0, beta = forward.weights(cur, nxt), 0.7, 1 - (cur.alpha / nxt.alpha) ** 2
    x = cur.alpha * x0 + 1.5 * cur.sigma
    y = nxt.alpha * x0 + nxt.sigma * np.linspace(-12, 12, 200_001)
    p = np.exp(-(((y - nxt.alpha * x0) / nxt.sigma) ** 2) / 2 - (x - np.sqrt(1 - beta) * y) ** 2 / (2 * beta))
    mean = (p @ y) / p.sum()
    assert move.x0 * x0 + move.x * x == pytest.approx(mean, abs=1e-9)
    assert move.std == pytest.approx(np.sqrt(p @ (y - mean) ** 2 / p.sum()), rel=1e-6)
    assert move.x == pytest.approx(np.sqrt(1 - beta) * nxt.sigma**2 / cur.sigma**2)  # as DDPM writes it


def test_what_is_fitted_to_the_walk_is_the_closed_form_and_leaves_a_gaussian() -> None:
    found = forward.posteriors(SCHEDULE, two_peaks())
    hits = [each.low <= exact <= each.high for one in found for each, exact in zip(one.fitted, one.exact, strict=True)]
    assert np.mean(hits) > 0.85 and min(one.left.p for one in found) * len(found) > 0.01
    assert found[0].t == 1 and found[-1].t == 999


def test_few_steps_miss_the_symbols_and_many_hit_them() -> None:
    few, many = forward.off_symbols(SCHEDULE, ["ddim"], (3, 60))
    assert few.share.low > 0.5 and many.share.value < 0.01


# ------------------------------------------------------------------------------------------------- 2: small steps


def test_the_posterior_is_bayes_rule_on_a_grid() -> None:
    line, beta, x = Line.of(two_peaks(), SCHEDULE.at(100)), 0.3, 0.2
    y = np.linspace(-4, 4, 8001)
    likelihood = np.exp(-((x - np.sqrt(1 - beta) * y) ** 2) / (2 * beta))
    wanted = line.density(y) * likelihood
    wanted /= wanted.sum() * (y[1] - y[0])
    q = moves.posterior(line, beta, np.array([x]))
    assert np.allclose(Line(*(part[0] for part in q)).density(y), wanted, atol=1e-6)


def test_a_gaussian_loses_nothing_to_its_gaussian() -> None:
    line = Line(np.array([1.0]), np.array([0.5]), np.array([0.7]))
    assert moves.nats(line, 0.4) < 1e-9


def test_the_loss_of_two_far_narrow_peaks_is_that_of_a_coin_in_a_wide_gaussian() -> None:
    """At beta near 1 x_t says nothing: what is left is KL of the two peaks from their Gaussian, ½ log(2πe·Var) − H."""
    m, s = 5.0, 0.1
    line = Line(np.array([0.5, 0.5]), np.array([-m, m]), np.array([s, s]))
    wanted = 0.5 * np.log(2 * np.pi * np.e * (m**2 + s**2)) - (np.log(2) + 0.5 * np.log(2 * np.pi * np.e * s**2))
    assert moves.lost(Line(*(part[None] for part in line)))[0] == pytest.approx(wanted, abs=2e-3)
    assert moves.nats(line, 1 - 1e-9) == pytest.approx(wanted, abs=2e-3)


def test_the_loss_rises_by_orders_of_magnitude_with_beta() -> None:
    found = moves.small_steps(two_peaks(), CLEAN)
    nats = [one.nats for one in found]
    assert nats == sorted(nats) and nats[-1] > 1e4 * nats[0]
    assert all((1 - one.beta) ** one.moves <= 4e-5 < (1 - one.beta) ** (one.moves - 1) for one in found)


def test_the_quadrature_has_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line.of(two_peaks(), CLEAN)
    before = [moves.nats(line, beta) for beta in (0.01, 0.5)]
    monkeypatch.setattr(moves, "OVER", 4 * moves.OVER)
    monkeypatch.setattr(moves, "WITHIN", 4 * moves.WITHIN)
    assert before == pytest.approx([moves.nats(line, beta) for beta in (0.01, 0.5)], rel=0.02)


def test_a_chain_of_more_moves_loses_less() -> None:
    found = [moves.chain(two_peaks(), make_path(SCHEDULE, "trailing", steps)) for steps in (2, 10, 50)]
    assert found[0] > 3 * found[1] > 9 * found[2] > 0


def test_a_chain_to_one_gaussian_loses_what_its_start_does_and_no_more() -> None:
    one = GaussianMixture.of([[1.5]], [0.4])
    top = SCHEDULE.at(len(SCHEDULE) - 1)
    mean, variance = top.alpha * 1.5, (top.alpha * 0.4) ** 2 + top.sigma**2
    normal = torch.distributions.Normal
    wanted = float(torch.distributions.kl_divergence(normal(torch.tensor(mean).double(), torch.tensor(variance).double().sqrt()),
                                                     normal(torch.tensor(0.0).double(), torch.tensor(1.0).double())))  # fmt: skip
    assert wanted > 1e-6 and moves.chain(one, make_path(SCHEDULE, "trailing", 10)) == pytest.approx(wanted, abs=1e-7)
    assert moves.start(Line.of(one, CLEAN)) == pytest.approx((1.5**2 + 0.4**2 - 1) / 2 - math.log(0.4), rel=1e-4)


def test_a_chains_moves_are_the_forward_chains_turned_round() -> None:
    """Through x_0, by the closed form given it, and through x_{t-1}'s own law: two ways to q(x_{t-1} | x_t)."""
    path, x = make_path(SCHEDULE, "trailing", 5), np.linspace(-2, 2, 9)
    for cur, nxt in path:
        y = np.linspace(-3, 3, 61)[:, None]
        through, own = (moves.backward(two_peaks(), cur, nxt, x),
                        moves.posterior(Line.of(two_peaks(), nxt), 1 - (cur.alpha / nxt.alpha) ** 2, x))  # fmt: skip
        for row in range(len(x)):
            one, other = (Line(*(part[row] for part in q)).density(y[:, 0]) for q in (through, own))
            assert np.allclose(one, other, rtol=1e-6, atol=1e-9)
    steps = sum(moves.nats(Line.of(two_peaks(), nxt), 1 - (cur.alpha / nxt.alpha) ** 2) for cur, nxt in path)
    assert moves.chain(two_peaks(), path) == pytest.approx(moves.start(Line.of(two_peaks(), path.levels[0])) + steps)


# ------------------------------------------------------------------------------------------------- 4: Gaussian moves


def test_gaussian_moves_are_exact_on_one_gaussian_however_few_and_on_two_peaks_only_if_many() -> None:
    chance = moves.by_chance(moves.alike(two_peaks()), CLEAN)
    for left in moves.gaussian_moves(two_peaks(), SCHEDULE, [moves.CONTROL], (1, 2, 3, 100)):
        assert left.distance.low < chance.high
    few, many = moves.gaussian_moves(two_peaks(), SCHEDULE, [moves.GAUSSIAN], (2, 100))
    assert few.distance.low > 3 * chance.high and many.distance.low < moves.by_chance(two_peaks(), CLEAN).high
    assert few.left.high < 0.35 and many.left.value == pytest.approx(0.4, abs=0.04)


def test_one_move_from_noise_is_the_gaussian_of_the_datas_mean_and_variance() -> None:
    """With alpha near 0, x_T says nothing: one move draws from N(mean, variance), whose W2 from the data a grid has."""
    (left,) = moves.gaussian_moves(two_peaks(), SCHEDULE, [moves.GAUSSIAN], (1,))
    line, share = Line.of(two_peaks(), CLEAN), (np.arange(4000) + 0.5) / 4000
    wanted = wasserstein(Line.of(moves.alike(two_peaks()), CLEAN).quantiles(share), line)
    assert left.distance.value == pytest.approx(wanted, abs=0.03)


def test_the_control_has_the_mean_and_variance_of_the_data() -> None:
    x = two_peaks().sample(200_000, torch.Generator().manual_seed(0))
    one = moves.alike(two_peaks())
    assert float(one.means) == pytest.approx(float(x.mean()), abs=0.01)
    assert float(one.stds) == pytest.approx(float(x.std()), abs=0.01)


def test_ddpms_smaller_variance_costs_a_single_gaussian_what_its_closed_form_says() -> None:
    """On N(m, s²) DDPM's last move puts out x0 itself: two moves leave a spread that two linear equations give."""
    data = moves.alike(two_peaks())
    m, s = float(data.means), float(data.stds)
    first, second = SCHEDULE.at(999), SCHEDULE.at(499)
    known = lambda at: at.alpha * s**2 / (at.alpha**2 * s**2 + at.sigma**2)  # noqa: E731  x0 = m + known·(x − alpha·m)
    beta = 1 - (first.alpha / second.alpha) ** 2
    a = second.alpha * beta / first.sigma**2 * known(first) + (1 - beta) ** 0.5 * second.sigma**2 / first.sigma**2
    variance = known(second) ** 2 * (a**2 + beta * second.sigma**2 / first.sigma**2)  # from x of variance 1
    (left,) = moves.gaussian_moves(data, SCHEDULE, [moves.DDPM], (2,))
    assert left.distance.value == pytest.approx(s - variance**0.5, abs=0.05) and m == pytest.approx(0.2)


def test_the_valley_lies_between_the_peaks() -> None:
    assert moves.valley(GaussianMixture.of([[-1.0], [1.0]], [0.2, 0.2]), CLEAN) == pytest.approx(0, abs=0.01)


# ------------------------------------------------------------------------------------------------- 5: approximation


def test_the_stacked_networks_are_the_networks_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    nets = approximation.Nets.new(3, 8, generator)
    for part in nets.weights:
        part.data.normal_(generator=generator)
    x, at = torch.randn(5, 2, generator=generator), SCHEDULE.at(300)
    together = nets(x.expand(3, -1, -1), torch.full((3, 5), at.lam))
    assert torch.allclose(together[1], nets.denoiser(1)(x, at).eps, atol=1e-5)


def test_an_exact_answer_has_no_error_and_silence_has_all() -> None:
    exam = approximation.Exam.of(ring(), approximation.levels(SCHEDULE))
    quiet = approximation.Nets.new(2, 4, torch.Generator().manual_seed(0))  # its last layer begins at 0
    assert exam.errors(quiet) == pytest.approx([1, 1])
    at = approximation.levels(SCHEDULE)[7]
    part = slice(7 * 50, 8 * 50)
    exact = unconditional(ring())(exam.x[part].double(), at).eps
    assert torch.allclose(exact.float(), exam.eps[part], atol=1e-4)


def test_training_tells_of_itself_and_gets_better() -> None:
    seen = list(approximation.trained(ring(), SCHEDULE, (16,), (256,), seeds=2, steps=150))
    curve = seen[-1].curves[16, 256]
    assert [step for step, _ in curve] == [50, 100, 150] and seen[-1].part == 1
    assert curve[-1][1] < curve[0][1] < 1 and seen[-1].errors[16, 256].low < seen[-1].errors[16, 256].high
    assert seen[-1].short == ()


def test_on_a_slow_machine_every_width_is_trained_a_little_and_said_to_have_ended_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximation, "SECONDS", 0.0)
    seen = list(approximation.trained(ring(), SCHEDULE, (8, 16), (8, 64), seeds=2))
    assert [now.short for now in seen] == [(8,), (8, 16)] and [now.part for now in seen] == [0.5, 1]
    assert {key: [step for step, _ in curve] for key, curve in seen[-1].curves.items()} == {
        (width, size): [1] for width in (8, 16) for size in (8, 64)
    }


# ------------------------------------------------------------------------------------------------- 6: the closed world


def test_textures_have_the_spectrum_of_photographs() -> None:
    x = closed_world.textures(4, 64)[:, 0]
    power = torch.fft.fft2(x).abs().square().mean(0)
    low, high = float(power[0, 2:4].mean()), float(power[0, 16:32].mean())
    assert x.shape == (4, 64, 64) and x.abs().max() <= 1
    assert 20 < low / high < 500  # 1/f²: (2.5/23)⁻² is 85


def test_shapes_are_one_colour_on_white() -> None:
    for picture in closed_world.shapes(6, 32):
        assert len(picture.flatten(1).T.unique(dim=0)) == 2 and (picture == 1).all(0).any()


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> TextToImage:
    return load_pipeline(write_tiny(Path(tmp_path_factory.mktemp("tiny"))), device="cpu")


def test_the_nearest_training_picture_is_nearest_and_never_the_picture_itself(pipe: TextToImage) -> None:
    known, perfect = pipe.extras.training.latents.float(), Perfect.of(pipe)
    x = closed_world.shapes(3, pipe.size)
    z = pipe.vae.encode(x).mean * pipe.vae.config.scaling_factor
    d = torch.cdist(z.flatten(1), known.flatten(1)) / z[0].numel() ** 0.5
    found = closed_world.world(pipe, perfect, "shapes", x)
    assert [near.row for near in found.near] == d.argmin(1).tolist()
    assert found.away == pytest.approx(over_runs(d.amin(1).detach().numpy()), rel=1e-4)
    own = d.argmin(1).tolist()
    rest = closed_world.world(pipe, perfect, "as if they were these", x, own)
    assert [near.row for near in rest.near] == d.scatter(1, torch.tensor(own)[:, None], torch.inf).argmin(1).tolist()


def test_training_pictures_are_compared_with_their_neighbours_and_the_gap_has_an_interval(pipe: TextToImage) -> None:
    found = list(closed_world.worlds(pipe, count=4))
    rows = [int((i + 0.5) * 3) for i in range(4)]  # every third of twelve
    assert all(near.row != row for near, row in zip(found[0].near, rows, strict=True))
    gap = closed_world.gap(found)
    assert gap.value == pytest.approx(found[0].psnr.value - found[2].psnr.value) and gap.low < gap.value < gap.high


def test_the_gap_is_between_training_pictures_and_textures_in_any_order() -> None:
    def world(name: str, psnr: float) -> closed_world.World:
        nothing = torch.zeros(0)
        return closed_world.World(name, Interval(psnr, psnr - 3, psnr + 3), *[Interval(0, 0, 0)] * 2, nothing, nothing, ())

    worlds = [world("photo-like textures", 10), world("your picture", 50), world("training pictures", 40)]
    assert closed_world.gap(worlds) == pytest.approx((30, 30 - 18**0.5, 30 + 18**0.5))
