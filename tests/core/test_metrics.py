"""The metrics against closed forms, what must not change them, their own bias and coverage, and two independent peers."""

import math
import os
from itertools import product

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.metrics import (
    METRICS,
    Gaussian,
    bootstrap,
    clip_score,
    clip_scores,
    frechet_distance,
    frechet_floor,
    inception_score,
    kernel_distance,
    precision,
    psnr,
    recall,
    statistics,
)

DIMS = 6
EYE, ONES = np.eye(5), np.ones((5, 5))
REFUSED = [
    (lambda: inception_score(ONES), "softmax"),
    (lambda: inception_score(np.tile([1.5, -0.5], (5, 1))), "softmax"),
    (lambda: inception_score(EYE, splits=6), "1 to 5 parts"),
    (lambda: kernel_distance(EYE, EYE, subsets=0), "2 to 5 pictures"),
    (lambda: kernel_distance(EYE, EYE, subsets=3, size=6), "2 to 5 pictures"),
    (lambda: kernel_distance(EYE, EYE[:1]), "at least 2"),
    (lambda: clip_score(EYE, EYE[:2]), "5 pictures and 2 texts"),
    (lambda: clip_score(0 * EYE, EYE), "all zeros"),
    (lambda: recall(EYE, EYE[:3]), "at least 4"),
    (lambda: precision(EYE, EYE, k=0), "k is 0"),
    (lambda: bootstrap(kernel_distance, (EYE, EYE), n=1), "at least 2"),
    (lambda: bootstrap(kernel_distance, (EYE, EYE), level=1.0), "level between 0 and 1"),
    (lambda: bootstrap(clip_score, (EYE, EYE[:3]), paired=True), "3 and 5"),
    (lambda: Gaussian(EYE[0], EYE[:4]), "no mean"),
]


def precision_recall(real: np.ndarray, generated: np.ndarray, k: int = 3) -> tuple[float, float]:
    return precision(real, generated, k), recall(real, generated, k)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def rotation(dims: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(rng(seed).normal(size=(dims, dims)))[0]


def two_clouds(n: int = 90, m: int = 70, dims: int = DIMS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated, of different means, scales and sizes."""
    random = rng(seed)
    mixed = random.normal(size=(dims, dims))
    return random.normal(size=(n, dims)) @ mixed + 1, random.normal(size=(m, dims)) @ (mixed + 0.5 * rotation(dims)) + 1.5


def example(entry) -> tuple[np.ndarray, ...]:
    """Arrays that a registered metric takes."""
    return two_clouds(n=70) if len(entry.takes) == 2 else (rng().dirichlet(np.ones(5), size=60),)


def random_gaussian(seed: int, dims: int = DIMS) -> Gaussian:
    root = rng(seed).normal(size=(dims, dims))
    return Gaussian(rng(seed + 100).normal(size=dims), root @ root.T)


def test_the_registry_says_what_a_metric_takes_where_better_lies_and_what_it_is() -> None:
    assert list(METRICS) == ["frechet_distance", "inception_score", "kernel_distance", "clip_score", "precision", "recall"]
    for entry in METRICS.values():
        assert entry.better in ("low", "high") and entry.doc.endswith(".") and entry.function.__name__ == entry.id


@pytest.mark.parametrize("entry", METRICS.values(), ids=METRICS)
def test_arrays_and_tensors_of_any_precision_give_one_number(entry) -> None:
    arrays = [torch.tensor(array).bfloat16() for array in example(entry)]  # numpy has no bfloat16
    tensors = [array.clone().requires_grad_() for array in arrays]
    assert float(entry.function(*tensors)) == float(entry.function(*(array.double().numpy() for array in arrays)))
    assert float(entry.function(*tensors)) == float(entry.function(*(array.float() for array in arrays)))


@pytest.mark.parametrize("entry", METRICS.values(), ids=METRICS)
def test_the_order_of_pictures_does_not_matter(entry) -> None:
    arrays = example(entry)
    shuffles = [rng(0 if entry.paired else i).permutation(len(array)) for i, array in enumerate(arrays)]
    shuffled = [array[order] for array, order in zip(arrays, shuffles, strict=True)]
    assert float(entry.function(*shuffled)) == pytest.approx(float(entry.function(*arrays)), rel=1e-10)


@pytest.mark.parametrize("entry", METRICS.values(), ids=METRICS)
def test_nan_a_wrong_shape_and_no_pictures_are_refused_in_a_sentence(entry) -> None:
    for spoil in (lambda a: np.where(np.arange(len(a))[:, None] == 3, np.nan, a), lambda a: a[:, 0], lambda a: a[:0]):
        with pytest.raises(UserError, match=r"(1 of \d+ rows hold NaN|the shape \[\d+\]|There are 0 pictures).*\.$"):
            entry.function(*map(spoil, example(entry)))


@pytest.mark.parametrize(("call", "says"), REFUSED)
def test_what_cannot_be_measured_is_refused_in_a_sentence(call, says: str) -> None:
    with pytest.raises(UserError, match=rf"{says}.*\.$"):
        call()


@pytest.mark.parametrize("entry", [entry for entry in METRICS.values() if len(entry.takes) == 2], ids=lambda entry: entry.id)
def test_features_of_two_networks_are_refused(entry) -> None:
    one, other = example(entry)
    with pytest.raises(UserError, match="same network"):
        entry.function(one, other[:, :-1])


@pytest.mark.parametrize("entry", [entry for entry in METRICS.values() if "features" in entry.takes], ids=lambda entry: entry.id)
def test_turning_the_feature_space_changes_nothing(entry) -> None:
    real, generated = two_clouds()
    turned = float(entry.function(real @ rotation(DIMS, 5), generated @ rotation(DIMS, 5)))
    assert turned == pytest.approx(float(entry.function(real, generated)), rel=1e-9)


def test_in_one_dimension_it_is_the_difference_of_means_and_of_deviations_squared() -> None:
    one, other = Gaussian(np.array([1.0]), np.array([[4.0]])), Gaussian(np.array([-2.0]), np.array([[0.25]]))
    parts = frechet_distance(one, other)
    assert parts.mean == pytest.approx(9.0) and parts.cov == pytest.approx((2 - 0.5) ** 2)
    assert float(parts) == parts.value == parts.mean + parts.cov and not parts.note


def test_covariances_with_common_axes_give_the_differences_of_their_deviations_squared() -> None:
    axes, a, b = rotation(DIMS), np.arange(1.0, DIMS + 1), np.geomspace(0.1, 9, DIMS)
    one, other = (Gaussian(np.zeros(DIMS), (axes * spread**2) @ axes.T) for spread in (a, b))
    assert frechet_distance(one, other).cov == pytest.approx(((a - b) ** 2).sum(), rel=1e-12)


def test_two_by_two_covariances_that_do_not_commute_agree_with_the_closed_form() -> None:
    one, other = random_gaussian(1, 2), random_gaussian(2, 2)
    # (l1^½ + l2^½)² = l1 + l2 + 2·(l1·l2)^½ for the eigenvalues of the product
    cross = math.sqrt(np.trace(one.cov @ other.cov) + 2 * math.sqrt(np.linalg.det(one.cov) * np.linalg.det(other.cov)))
    assert np.linalg.norm(one.cov @ other.cov - other.cov @ one.cov) > 1
    assert frechet_distance(one, other).cov == pytest.approx(np.trace(one.cov) + np.trace(other.cov) - 2 * cross, rel=1e-9)


def test_it_is_zero_on_itself_and_the_same_both_ways() -> None:
    real, generated = two_clouds()
    assert frechet_distance(real, real).value == pytest.approx(0, abs=1e-12)
    assert frechet_distance(real, generated).value == pytest.approx(frechet_distance(generated, real).value, rel=1e-10)


def test_moving_adds_to_the_mean_part_alone_and_scaling_scales_by_the_square() -> None:
    real, generated = two_clouds()
    before, moved = frechet_distance(real, generated), frechet_distance(real, generated - generated.mean(0) + real.mean(0))
    assert moved.mean == pytest.approx(0, abs=1e-12) and moved.cov == pytest.approx(before.cov, rel=1e-9)
    assert frechet_distance(3 * real, 3 * generated).value == pytest.approx(9 * before.value, rel=1e-9)


@pytest.mark.parametrize("dims", [2, 16, 64])
def test_it_agrees_with_scipys_root_of_the_product(dims: int) -> None:
    sqrtm = pytest.importorskip("scipy.linalg").sqrtm
    one, other = random_gaussian(1, dims), random_gaussian(2, dims)
    cov = np.trace(one.cov + other.cov - 2 * sqrtm(one.cov @ other.cov).real)
    assert frechet_distance(one, other).value == pytest.approx(((one.mean - other.mean) ** 2).sum() + cov, rel=1e-6)


def test_too_few_pictures_are_refused_or_noted() -> None:
    real, generated = two_clouds(n=90, m=DIMS)
    with pytest.raises(UserError, match=f"{DIMS} pictures cannot fill {DIMS} dimensions.*at least {DIMS + 1}"):
        frechet_distance(real, generated)
    assert "cannot fill" in frechet_distance(real, generated, allow_few=True).note
    assert not frechet_distance(real, two_clouds(m=DIMS + 1)[1]).note


def test_the_nuclear_norm_of_few_centred_rows_is_the_trace_of_the_root_of_their_singular_covariances() -> None:
    real, generated = two_clouds(n=9, m=12, dims=20)
    few, many = (frechet_distance(one, other, allow_few=True)
                 for one, other in ((real, generated), (statistics(real), statistics(generated))))  # fmt: skip
    assert few[:2] == pytest.approx(many[:2], rel=1e-6) and few.note == many.note
    for dims in (20, 64, 200):  # rounding below zero must not show
        assert 0 <= frechet_distance(*[rng().normal(size=(dims // 2, dims))] * 2, allow_few=True).value < 1e-6


def test_statistics_come_back_from_a_file_and_files_of_mu_and_sigma_alone_are_read(tmp_path) -> None:
    saved = statistics(features := two_clouds()[0])
    np.testing.assert_allclose(saved.mean, features.mean(0), rtol=1e-12)
    np.testing.assert_allclose(saved.cov, np.cov(features, rowvar=False), rtol=1e-12)
    saved.save(tmp_path / "real.npz")
    loaded = Gaussian.load(tmp_path / "real.npz")
    assert np.array_equal(saved.mean, loaded.mean) and np.array_equal(saved.cov, loaded.cov) and loaded.n == 90
    assert os.listdir(tmp_path) == ["real.npz"]
    np.savez(tmp_path / "other.npz", mu=saved.mean, sigma=saved.cov)
    assert Gaussian.load(tmp_path / "other.npz").n == math.inf


def test_files_that_hold_no_statistics_are_refused(tmp_path, monkeypatch) -> None:
    good = statistics(two_clouds()[0])
    good.save(tmp_path / "whole.npz")
    monkeypatch.setattr("core.metrics.MOST_BYTES", 10**4)
    np.savez_compressed(tmp_path / "bomb.npz", mu=good.mean, sigma=good.cov, other=np.zeros(10**4))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:300])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "folder.npz").mkdir()
    os.mkfifo(tmp_path / "pipe.npz")
    np.save(tmp_path / "array.npy", good.cov)
    np.savez(tmp_path / "other_names.npz", mean=good.mean)
    np.savez(tmp_path / "pickled.npz", mu=np.array([{}]), sigma=good.cov)
    np.savez(tmp_path / "wrong_shape.npz", mu=good.mean[1:], sigma=good.cov)
    np.savez(tmp_path / "lopsided.npz", mu=good.mean, sigma=good.cov + np.triu(np.ones_like(good.cov)) - np.eye(DIMS))
    np.savez(tmp_path / "nan.npz", mu=good.mean * np.nan, sigma=good.cov)
    for path in {*tmp_path.iterdir(), tmp_path / "missing.npz"} - {tmp_path / "whole.npz"}:
        with pytest.raises(UserError, match=r"(holds no statistics|These are no mean).*\.$"):
            Gaussian.load(path)


@pytest.mark.parametrize("dims", [4, 24])
def test_samples_of_a_gaussian_lie_at_the_floor_from_it(dims: int) -> None:
    truth, n = random_gaussian(4, dims), 20 * dims
    root = np.linalg.cholesky(truth.cov)
    distances = [float(frechet_distance(truth, rng(i).normal(size=(n, dims)) @ root.T + truth.mean)) for i in range(60)]
    error = np.std(distances) / math.sqrt(60)
    flat = Gaussian(np.ones(dims + 1), np.diag([1.0] * dims + [0]))  # a feature that never changes adds nothing
    assert frechet_floor(flat, n) == pytest.approx((dims + dims * (dims + 1) / 4) / n)
    assert np.mean(distances) == pytest.approx(frechet_floor(truth, n), abs=4 * error + 0.03 * frechet_floor(truth, n))


def test_the_inception_score_is_1_for_uniform_and_for_equal_rows_and_k_for_balanced_one_hot() -> None:
    assert inception_score(np.full((30, 7), 1 / 7)).value == pytest.approx(1, abs=1e-12)
    assert inception_score(np.tile(rng().dirichlet(np.ones(7)), (30, 1))).value == pytest.approx(1, abs=1e-12)
    assert inception_score(np.tile(0.995 * np.eye(7), (4, 1))).value == pytest.approx(7, abs=1e-12)  # half precision's sums


def test_the_inception_score_is_the_exponential_of_the_mean_divergence_from_the_marginal() -> None:
    rows, shares = rng().dirichlet(np.ones(5), size=40), np.array([6, 3, 1])
    divergence = (rows * np.log(rows / rows.mean(0))).sum(1)
    assert inception_score(rows).value == pytest.approx(math.exp(divergence.mean()), rel=1e-12)
    entropy = -(shares / 10 * np.log(shares / 10)).sum()  # of the marginal: all that is left where every row is sure
    assert inception_score(np.repeat(np.eye(3), shares, axis=0)).value == pytest.approx(math.exp(entropy))


def test_splits_of_one_picture_each_score_1_and_splits_of_sorted_pictures_are_mixed() -> None:
    rows = np.repeat(np.eye(4), 250, axis=0)  # sorted: unmixed quarters would score 1
    assert inception_score(rows, splits=1000) == (1.0, 0.0)
    mixed = inception_score(rows, splits=4)
    assert 3.9 < mixed.value < 4 and 0 < mixed.std < 0.1 and math.isnan(inception_score(rows).std)


def test_the_kernel_distance_is_its_definition_and_more_rows_than_a_block_change_nothing() -> None:
    x, y = rng(1).normal(size=(1500, 3)), rng(2).normal(size=(1100, 3)) + 0.3
    k = {(i, j): (np.einsum("id,jd->ij", a, b) / 3 + 1) ** 3 for (i, a), (j, b) in product(enumerate((x, y)), repeat=2)}
    among = [k[i, i][~np.eye(len(a), dtype=bool)].mean() for i, a in enumerate((x, y))]
    assert kernel_distance(x, y).value == pytest.approx(sum(among) - 2 * k[0, 1].mean(), rel=1e-9)
    point, other = np.tile([1.0, 0.0], (4, 1)), np.tile([0.0, 2.0], (3, 1))
    assert kernel_distance(point, other, subsets=5, size=2) == pytest.approx((1.5**3 + 3**3 - 2 * 1**3, 0.0))


def test_the_kernel_distance_of_two_halves_is_0_on_average_at_every_n() -> None:
    for n in (4, 40):
        values = [kernel_distance(*np.split(rng(i).normal(size=(2 * n, DIMS)), 2)).value for i in range(600)]
        error = np.std(values) / math.sqrt(600)
        assert abs(np.mean(values)) < 4 * error and min(values) < 0 < max(values)
        diagonal = np.mean([(rng(i).normal(size=DIMS) ** 2).sum() / DIMS + 1 for i in range(600)]) ** 3 / n
        assert 4 * error < diagonal  # what counting each row with itself would add


def test_subsets_average_to_the_whole() -> None:
    x, y = two_clouds(n=60, m=80)
    whole, drawn = kernel_distance(x, y), kernel_distance(x, y, subsets=400)
    assert math.isnan(whole.std) and drawn.value == pytest.approx(whole.value, abs=4 * drawn.std / 20)
    assert drawn == kernel_distance(x, y, subsets=400, size=30) != kernel_distance(x, y, subsets=400, seed=1)


def test_the_clip_score_is_100_times_the_cosine_of_each_pair() -> None:
    images = np.array([[3.0, 0], [0, 2], [1, 1], [-5, 0]])
    texts = np.array([[9.0, 0], [1, 0], [0, 4], [1, 0]])
    np.testing.assert_allclose(clip_scores(images, texts), [100, 0, 100 / math.sqrt(2), -100], atol=1e-12)
    assert clip_score(images, texts) == pytest.approx((25 / math.sqrt(2), np.std([100, 0, 100 / math.sqrt(2), -100])))
    many = [torch.tensor(side[:70]) for side in two_clouds()]
    np.testing.assert_allclose(clip_scores(*many), 100 * torch.cosine_similarity(*many), rtol=1e-6)


def test_precision_and_recall_on_a_line_by_hand() -> None:
    real, generated = np.array([[0.0], [1], [10]]), np.array([[-1.0], [1.5], [2.5], [5]])
    # k = 1: real balls [-1, 1], [0, 2], [1, 19]; generated [-3.5, 1.5], [0.5, 2.5], [1.5, 3.5], [2.5, 7.5]
    assert precision(real[:2], generated, k=1) == 0.5
    assert precision_recall(real, generated, k=1) == (1.0, pytest.approx(2 / 3))


def test_equal_sets_have_precision_and_recall_1_even_far_from_the_origin_and_when_all_rows_are_copies() -> None:
    real = two_clouds()[0] + 1000
    assert precision_recall(real, real) == (1.0, 1.0)
    for dims in (DIMS, 64, 301):  # where matrix products of different sizes round differently
        real = two_clouds(dims=dims)[0] + 1000
        copies = np.repeat(real[:5], 8, axis=0)
        assert precision(copies, copies[::8]) == 1.0 and precision(copies, real[5:]) == 0.0


def test_a_dropped_mode_lowers_recall_and_an_invented_one_precision() -> None:
    both = np.concatenate([left := two_clouds()[0], two_clouds(seed=1)[0] + 100])
    assert precision_recall(both, left) == (1.0, 0.5)
    assert precision_recall(left, both) == (0.5, 1.0)


def test_precision_and_recall_agree_with_a_search_tree() -> None:
    tree = pytest.importorskip("scipy.spatial").cKDTree
    real, generated = rng(1).normal(size=(1300, 4)) + 1e5, 1.3 * rng(2).normal(size=(400, 4)) + 1e5  # more than a block

    def share(points, manifold, k):
        reach = tree(manifold).query(manifold, k + 1)[0][:, -1]
        reached = tree(points).query_ball_point(manifold, reach)
        return len(set().union(*reached)) / len(points)

    for k in (1, 3):
        assert precision_recall(real, generated, k) == pytest.approx((share(generated, real, k), share(real, generated, k)))
    assert 0.1 < precision(real, generated) < 0.95


def test_the_interval_of_a_mean_is_the_textbooks() -> None:
    rows = rng().normal(size=(400, 1))
    value, low, high = bootstrap(lambda a: a.mean(), (rows,), n=2000)
    error = rows.std() / 20
    assert value == rows.mean() and [value - low, high - value] == pytest.approx([1.96 * error] * 2, rel=0.1)
    narrow = bootstrap(lambda a: a.mean(), (rows,), n=2000, level=0.5)
    assert narrow.high - narrow.low == pytest.approx(2 * 0.674 * error, rel=0.1)
    value, low, high = bootstrap(lambda a: math.exp(3 * a.mean()), (rows,), n=2000)
    assert (high - value) / (value - low) == pytest.approx(math.exp(3 * 1.96 * error), rel=0.1)  # longer where it varies more


def test_intervals_of_the_frechet_distance_cover_its_average_at_this_n_though_its_resamples_lie_above_it() -> None:
    truth, clouds = Gaussian(np.zeros(8), np.eye(8)), [1.1 * rng(seed).normal(size=(60, 8)) + 0.1 for seed in range(1500)]
    average = np.mean([float(frechet_distance(truth, cloud)) for cloud in clouds])
    intervals = [bootstrap(frechet_distance, (truth, cloud), n=60) for cloud in clouds[:100]]
    assert all(interval.low < interval.value < interval.high for interval in intervals)
    assert np.mean([interval.low <= average <= interval.high for interval in intervals]) >= 0.88
    resampled = [float(frechet_distance(truth, clouds[0][rng(i).integers(60, size=60)])) for i in range(50)]
    assert np.mean([distance > intervals[0].value for distance in resampled]) > 0.9  # plain quantiles would not do


def test_pairs_are_drawn_together_single_arrays_apart_and_the_seed_decides() -> None:
    rows = rng().normal(size=(50, 3))
    apart = bootstrap(lambda a, b: np.abs(a - b).max(), (rows, rows), n=10)
    together = bootstrap(lambda a, b: np.abs(a - b).max(), (rows, rows), n=10, paired=True)
    assert together == (0, 0, 0) and apart.high > apart.low
    first, again, other = (bootstrap(kernel_distance, two_clouds(), n=5, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_the_inception_score_does_not_see_each_class_replaced_by_one_picture_while_the_frechet_distance_grows_many_fold() -> None:
    random, centres = rng(), 6 * np.eye(8)
    label = np.repeat(np.arange(8), 60)
    real, good = (centres[label] + random.normal(size=(480, 8)) for _ in range(2))
    dropped = good[np.unique(label, return_index=True)[1]][label]

    def classified(features):
        return torch.softmax(torch.tensor(6 * features @ centres.T / 6), dim=1)

    assert inception_score(classified(dropped)).value == pytest.approx(inception_score(classified(good)).value, rel=0.02)
    assert frechet_distance(real, dropped).value > 10 * frechet_distance(real, good).value
    assert precision_recall(real, dropped)[1] < 0.1 < 0.5 < min(precision_recall(real, good))


class Same(torch.nn.Module):
    """A feature extractor whose pictures are the features already."""

    num_features = DIMS

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_distances_and_inception_score_agree_with_torchmetrics() -> None:
    fid, kid, inception = (pytest.importorskip(f"torchmetrics.image.{name}") for name in ("fid", "kid", "inception"))
    real, generated = map(torch.tensor, two_clouds(n=80, m=80))
    for peer, ours in (
        (fid.FrechetInceptionDistance(feature=Same()), frechet_distance(real, generated).value),
        (kid.KernelInceptionDistance(feature=Same(), subsets=2, subset_size=80), kernel_distance(real, generated).value),
    ):
        peer.update(real, real=True)
        peer.update(generated, real=False)
        theirs = peer.compute()
        assert ours == pytest.approx(float(theirs[0] if isinstance(theirs, tuple) else theirs), rel=1e-6)
    peer = inception.InceptionScore(feature=Same(), splits=1)
    peer.update(real)
    assert inception_score(torch.softmax(real, 1)).value == pytest.approx(float(peer.compute()[0]), rel=1e-6)


def test_psnr_is_what_a_known_error_makes_of_it() -> None:
    x = torch.zeros(2, 3, 4, 4)
    off = torch.tensor([0.2, 0.02]).view(2, 1, 1, 1)
    assert psnr(x, x + off).tolist() == pytest.approx([20, 40]) and psnr(x, x).tolist() == [math.inf] * 2  # (2/0.2)² = 100
