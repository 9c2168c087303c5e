"""How good are the pictures? Distances and scores of feature arrays, whatever network made the features.

    (1)  Frechet distance   |m_r − m_g|² + Tr S_r + Tr S_g − 2·Tr (S_r^½ S_g S_r^½)^½           of the two Gaussians' m, S
    (2)  its floor at n     (Tr S + Σ_ij l_i·l_j·(1 + [i = j]) / (2·(l_i + l_j))) / n           l: the eigenvalues of S
    (3)  inception score    exp(mean over x of KL(p(y|x) ‖ p(y)))                               from 1 to the number of classes
    (4)  kernel distance    mean k(r, r') + mean k(g, g') − 2·mean k(r, g),   k(a, b) = (a·b/D + 1)³,   no row with itself
    (5)  CLIP score         100·cos(image, text), pair by pair
    (6)  precision          share of generated rows within reach of a real row: no farther than its k-th neighbour is
         recall             the same with the roles exchanged
    (7)  PSNR               10·log10(2²/MSE) in dB, picture by picture                          they reach from −1 to 1

Rows are pictures, columns what a network says of each: features [n, D], class probabilities [n, K]. Everything is computed in
float64. A number means something only beside others of the same features and the same n, so none here is called FID: whose
features they are, and what that makes of the name, `core.evaluation.critics` knows.
"""

from __future__ import annotations

import inspect
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, SupportsFloat, TypeVar

import numpy as np
from torch import Tensor

from core.errors import UserError

Array = np.ndarray | Tensor
F = TypeVar("F", bound=Callable[..., SupportsFloat])
MOST_BYTES = 2**30  # a file of statistics: Inception's 2048 features take 34 MB


@dataclass(frozen=True)
class Metric:
    """A registered metric: `function` of the arrays that `takes` names gives something that float() understands.

    `better`: "low" or "high". `paired`: row i of one array belongs to row i of the other.
    """

    id: str
    label: str
    function: Callable[..., SupportsFloat]
    takes: tuple[str, ...]
    better: str
    paper: str
    paired: bool

    @property
    def doc(self) -> str:
        """The first paragraph of the metric's docstring."""
        return (inspect.getdoc(self.function) or "").split("\n\n")[0].replace("\n", " ")


METRICS: dict[str, Metric] = {}


def metric(label: str, *, takes: tuple[str, ...], better: str, paper: str, paired: bool = False) -> Callable[[F], F]:
    """Register a function of arrays under its own name."""

    def register(function: F) -> F:
        METRICS[function.__name__] = Metric(function.__name__, label, function, takes, better, paper, paired)
        return function

    return register


class Score(NamedTuple):
    """A value, and its standard deviation over splits, subsets or pairs (NaN where there is only one)."""

    value: float
    std: float = math.nan

    def __float__(self) -> float:
        return self.value

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray) -> Score:
        """Mean and standard deviation (divided by n, as the papers' code does)."""
        return cls(float(np.mean(values)), float(np.std(values)) if len(values) > 1 else math.nan)


def matrix(values: Array, least: int = 2) -> np.ndarray:
    """An array [n, D] in float64; raises UserError for another shape, fewer rows than `least`, and NaN."""
    given = values.detach().cpu().double().numpy() if isinstance(values, Tensor) else values
    rows = np.asarray(given, dtype=np.float64)
    if rows.ndim != 2 or not rows.shape[1]:
        raise UserError(f"The array has the shape {list(rows.shape)}; a metric needs one row a picture: [n, features].")
    if len(rows) < least:
        raise UserError(f"There are {len(rows)} pictures; this metric needs at least {least}: make more.")
    if bad := int((~np.isfinite(rows)).any(1).sum()):
        raise UserError(f"{bad} of {len(rows)} rows hold NaN or infinity, which no metric survives: leave those pictures out.")
    return rows


def same_columns(a: np.ndarray, b: np.ndarray) -> None:
    """Raises UserError where two sets of features cannot come from one network."""
    if a.shape[-1] != b.shape[-1]:
        raise UserError(f"One side has {a.shape[-1]} features, the other {b.shape[-1]}: take both from the same network.")


def blocks(rows: np.ndarray, size: int = 1024) -> Iterator[np.ndarray]:
    """Some rows at a time, for where every row meets every other."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Mean [D] and covariance [D, D] of features, and the number of rows they were measured on (infinite: known exactly)."""

    mean: np.ndarray
    cov: np.ndarray
    n: float = math.inf

    def __post_init__(self) -> None:
        fits = self.mean.ndim == 1 and self.cov.shape == self.mean.shape * 2
        if not (fits and np.isfinite(self.mean).all() and np.isfinite(self.cov).all() and np.allclose(self.cov, self.cov.T)):
            raise UserError("These are no mean [D] and covariance [D, D], finite and symmetric: measure the features again.")

    @cached_property
    def root(self) -> np.ndarray:
        """The symmetric square root of the covariance, [D, D], by its eigenvalues."""
        values, vectors = np.linalg.eigh(self.cov)
        return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an .npz with mu, sigma and n, whole or not at all."""
        part = Path(f"{path}.part")
        with part.open("wb") as file:
            np.savez(file, mu=self.mean, sigma=self.cov, n=np.float64(self.n))
        part.replace(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Gaussian:
        """Read what `save` wrote, or pytorch-fid's mu and sigma (no n: taken as exact). Raises UserError for anything else."""
        try:
            if not Path(path).is_file():  # to open a pipe would wait for ever
                raise FileNotFoundError(path)
            with np.load(path, allow_pickle=False) as data:
                if sum(entry.file_size for entry in data.zip.infolist()) > MOST_BYTES:
                    raise ValueError("too large")
                mean, cov = (np.asarray(data[key], dtype=np.float64) for key in ("mu", "sigma"))
                n = float(data["n"]) if "n" in data else math.inf
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{Path(path).name} holds no statistics (an .npz with mu and sigma): measure them again.") from error
        return cls(mean, cov, n)


def statistics(features: Array) -> Gaussian:
    """The Gaussian that has the mean and the covariance (divided by n − 1) of features [n, D]."""
    rows = matrix(features)
    mean = rows.mean(0)
    centred = rows - mean
    return Gaussian(mean, centred.T @ centred / (len(rows) - 1), len(rows))


class Frechet(NamedTuple):
    """Equation (1) as the sum of two parts, and what is to be said of it."""

    mean: float  # |m_r − m_g|²
    cov: float  # what is left when the means agree
    note: str = ""

    @property
    def value(self) -> float:
        return self.mean + self.cov

    def __float__(self) -> float:
        return self.value


@metric("Frechet distance", takes=("features", "features"), better="low", paper="1706.08500")
def frechet_distance(real: Array | Gaussian, generated: Array | Gaussian, allow_few: bool = False) -> Frechet:
    """How far two clouds of features lie apart, each taken as a Gaussian.

    Equation (1), the squared 2-Wasserstein distance of the Gaussians, in squared units of the features (1706.08500 eq. 6 with
    Tr (S_r S_g)^½ written symmetrically). Features are [n, D] and [m, D]; a Gaussian stands for what was measured before.
    n samples span n − 1 dimensions, so fewer than D + 1 raise UserError; with allow_few they only leave a note.
    """
    r, g = (side if isinstance(side, Gaussian) else matrix(side) for side in (real, generated))
    means = [side.mean if isinstance(side, Gaussian) else side.mean(0) for side in (r, g)]
    same_columns(*means)
    dims, few = len(means[0]), min(side.n if isinstance(side, Gaussian) else len(side) for side in (r, g))
    note = ""
    if few < dims + 1:
        note = (f"{few:.0f} pictures cannot fill {dims} dimensions, so most of this distance would be their small number: "
                f"take at least {dims + 1}, better {10 * dims}.")  # fmt: skip
        if not allow_few:
            raise UserError(note)
    if isinstance(r, np.ndarray) and isinstance(g, np.ndarray) and max(len(r), len(g)) <= dims:
        cov = apart(r - means[0], g - means[1])
    else:
        r, g = (side if isinstance(side, Gaussian) else statistics(side) for side in (r, g))
        inner = r.root @ g.cov @ r.root
        cross = np.sqrt(np.maximum(np.linalg.eigvalsh((inner + inner.T) / 2), 0)).sum()
        cov = np.trace(r.cov) + np.trace(g.cov) - 2 * cross
    return Frechet(float(((means[0] - means[1]) ** 2).sum()), max(float(cov), 0.0), note)


def apart(r: np.ndarray, g: np.ndarray) -> float:
    """The second part of (1) from centred rows [n, D] and [m, D], without any [D, D]: quick where n and m are below D.

    With S_r = AᵀA and S_g = BᵀB the eigenvalues of S_r·S_g that are not 0 are those of (A·Bᵀ)(A·Bᵀ)ᵀ; so the trace of the root
    is the sum of the singular values of A·Bᵀ [n, m].
    """
    a, b = (rows / math.sqrt(len(rows) - 1) for rows in (r, g))
    return float((a**2).sum() + (b**2).sum() - 2 * np.linalg.svd(a @ b.T, compute_uv=False).sum())


def frechet_floor(gaussian: Gaussian, n: int) -> float:
    """The Frechet distance to expect between a Gaussian and n samples of itself: nobody can tell apart what lies below it.

    Equation (2), the first order in 1/n for normal features: right to a tenth from n = 2·D on. Two samples add their floors.
    """
    values = np.linalg.eigvalsh(gaussian.cov)
    values = values[values > 0]
    pairs = values[:, None] * values / (2 * (values[:, None] + values))
    return float((values.sum() + pairs.sum() + np.trace(pairs)) / n)


@metric("Inception score", takes=("probabilities",), better="high", paper="1606.03498")
def inception_score(probabilities: Array, splits: int = 1, seed: int = 0) -> Score:
    """How sure a classifier is of each picture, and how many classes it sees in all.

    Equation (3) for class probabilities [n, K]: 1 when all rows are alike, K when each class is met equally often and for sure;
    never more than n. The value is the mean over `splits` shuffled parts (1606.03498 takes 10). Real pictures play no part.
    """
    rows = matrix(probabilities, least=1)
    if rows.min() < 0 or np.abs(rows.sum(1) - 1).max() > 0.01:
        raise UserError("These rows are no probabilities (not negative, sum 1): take the softmax of the classifier's output.")
    if not 1 <= splits <= len(rows):
        raise UserError(f"splits is {splits}; {len(rows)} pictures can be split into 1 to {len(rows)} parts.")
    rows = rows / rows.sum(1, keepdims=True)
    if splits > 1:  # pictures often come sorted by class
        rows = rows[np.random.default_rng(seed).permutation(len(rows))]
    return Score.of([math.exp(entropy(part.mean(0)) - entropy(part).mean()) for part in np.array_split(rows, splits)])


def entropy(p: np.ndarray) -> np.ndarray:
    """−Σ p·log p over the last axis, in nats, with 0·log 0 = 0; the mean KL of (3) is H(mean p) − mean H(p)."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


@metric("Kernel distance", takes=("features", "features"), better="low", paper="1801.01401")
def kernel_distance(real: Array, generated: Array, subsets: int = 1, size: int | None = None, seed: int = 0) -> Score:
    """How much more alike two pictures of one side are than two of different sides.

    Equation (4): the squared maximum mean discrepancy under a cubic kernel (1801.01401 §4, KID), for features [n, D] and [m, D].
    Unbiased at every n: 0 on average when the sides do not differ, so often below it. With several subsets: mean and standard
    deviation over draws of `size` rows from each side (by default half of the smaller one).
    """
    r, g = matrix(real), matrix(generated)
    same_columns(r, g)
    fewest = min(len(r), len(g))
    if subsets == 1 and size is None:
        return Score(discrepancy(r, g))
    size = max(fewest // 2, 2) if size is None else size
    if subsets < 1 or not 2 <= size <= fewest:
        raise UserError(f"{subsets} subsets of {size} pictures: take at least one subset, of 2 to {fewest} pictures.")
    random = np.random.default_rng(seed)
    draws = ([random.choice(side, size, replace=False) for side in (r, g)] for _ in range(subsets))
    return Score.of([discrepancy(x, y) for x, y in draws])


def discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    """Equation (4) of all rows of x [n, D] and y [m, D]."""

    def total(a: np.ndarray, b: np.ndarray) -> float:
        return sum(float(((part @ b.T / a.shape[1] + 1) ** 3).sum()) for part in blocks(a))

    def among(a: np.ndarray) -> float:
        with_itself = float((((a**2).sum(1) / a.shape[1] + 1) ** 3).sum())
        return (total(a, a) - with_itself) / (len(a) * (len(a) - 1))

    return among(x) + among(y) - 2 * total(x, y) / (len(x) * len(y))


@metric("CLIP score", takes=("images", "texts"), better="high", paper="2104.08718", paired=True)
def clip_score(images: Array, texts: Array) -> Score:
    """How well pictures fit their texts: the mean over pairs, and the standard deviation, of `clip_scores`."""
    return Score.of(clip_scores(images, texts))


def clip_scores(images: Array, texts: Array) -> np.ndarray:
    """How well each picture fits its text, [n], from −100 to 100.

    Equation (5) for embeddings [n, D] by one CLIP's two towers (2104.08718 §3, which takes 2.5 for 100 and cuts at 0). Raises
    UserError for unequal numbers and for embeddings that are all zeros.
    """
    i, t = matrix(images, least=1), matrix(texts, least=1)
    same_columns(i, t)
    if len(i) != len(t):
        raise UserError(f"There are {len(i)} pictures and {len(t)} texts: give one text for each picture.")
    lengths = np.linalg.norm(i, axis=1) * np.linalg.norm(t, axis=1)
    if not lengths.all():
        raise UserError("An embedding is all zeros, so it points nowhere: check the network that made it.")
    return 100 * (i * t).sum(1) / lengths


@metric("Precision", takes=("features", "features"), better="high", paper="1904.06991")
def precision(real: Array, generated: Array, k: int = 3) -> float:
    """The share of generated pictures that could be real: they lie among the real ones.

    Equation (6): no farther from some real row than its k-th nearest real neighbour is (1904.06991 eq. 1 and 2).
    """
    return share_within(matrix(generated, least=1), matrix(real, least=k + 1), k)


@metric("Recall", takes=("features", "features"), better="high", paper="1904.06991")
def recall(real: Array, generated: Array, k: int = 3) -> float:
    """The share of real pictures that the model could have made: they lie among the generated ones.

    Equation (6) with the roles exchanged (1904.06991 eq. 1 and 2).
    """
    return share_within(matrix(real, least=1), matrix(generated, least=k + 1), k)


def share_within(points: np.ndarray, manifold: np.ndarray, k: int) -> float:
    """The share of points [m, D] that lie in a ball around a row of manifold [n, D] that reaches its k-th neighbour."""
    same_columns(points, manifold)
    if k < 1:
        raise UserError(f"k is {k}; take at least the first neighbour (the usual k is 3).")
    centre = manifold.mean(0)
    points, manifold = points - centre, manifold - centre
    square = (manifold**2).sum(1)

    def squared_distances(x: np.ndarray, slack: float = 0.0) -> Iterator[np.ndarray]:
        return (((part**2).sum(1)[:, None] + square) * (1 - slack) - 2 * part @ manifold.T for part in blocks(x))

    # The nearest row is the row itself. The slack keeps a picture's copy where the picture is, whatever the rounding.
    reach = np.concatenate([np.partition(part, k, axis=1)[:, k] for part in squared_distances(manifold)])
    return float(np.concatenate([(part <= reach).any(1) for part in squared_distances(points, 1e-12)]).mean())


class Interval(NamedTuple):
    """A value, and the interval for what it is on average over samples of this size."""

    value: float
    low: float
    high: float


def binomial(k: int, n: int) -> Interval:
    """The share k/n of independent trials, with Wilson's interval: (p + z²/2n ± z·√(p·(1 − p)/n + z²/4n²)) / (1 + z²/n) at 95 %."""
    p, z = k / n, 1.959963985
    centre, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return Interval(p, max(0.0, (centre - half) / (1 + z**2 / n)), min(1.0, (centre + half) / (1 + z**2 / n)))


def bootstrap(
    metric: Callable[..., SupportsFloat], arrays: Sequence[Array | Gaussian], n: int = 200, seed: int = 0,
    *, level: float = 0.95, paired: bool = False,
) -> Interval:  # fmt: skip
    """The value of a metric of arrays, with the interval that its samples allow.

    Rows are drawn with replacement, n times, from every array by itself or (paired) the same rows from all; a Gaussian stays.
    Repeated rows shift most metrics: all resamples of a Frechet distance may lie above it, and their plain quantiles with them.
    So the resamples are moved until their mean is the value: low = value + q_low − mean, high = value + q_high − mean. The
    interval is for this n; what n itself adds is in `frechet_floor` and `core.evaluation.bias`.
    """
    return bootstraps(lambda *given: (metric(*given),), arrays, n, seed, level=level, paired=paired)[0]


def bootstraps(
    metrics: Callable[..., Sequence[SupportsFloat]], arrays: Sequence[Array | Gaussian], n: int = 200, seed: int = 0,
    *, level: float = 0.95, paired: bool = False,
) -> list[Interval]:  # fmt: skip
    """`bootstrap` of several values that are taken of the same resamples, such as two metrics and their difference."""
    if n < 2 or not 0 < level < 1:
        raise UserError(f"{n} resamples at level {level:g}: take at least 2 (better 200), and a level between 0 and 1.")
    given: list[Any] = [array if isinstance(array, Gaussian) else matrix(array, least=1) for array in arrays]
    sizes = {len(array) for array in given if not isinstance(array, Gaussian)}
    if paired and len(sizes) != 1:
        raise UserError(f"Pairs need as many rows on each side; there are {' and '.join(map(str, sorted(sizes)))}.")
    random = np.random.default_rng(seed)

    def resampled() -> list[Any]:
        together = random.integers(max(sizes, default=1), size=max(sizes, default=1))
        return [a if isinstance(a, Gaussian) else a[together if paired else random.integers(len(a), size=len(a))] for a in given]

    values = [float(value) for value in metrics(*given)]
    around = np.array([[float(value) for value in metrics(*resampled())] for _ in range(n)])
    low, high = np.quantile(around - around.mean(0), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Interval(value, value + float(a), value + float(b)) for value, a, b in zip(values, low, high, strict=True)]


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Equation (7) for each pair of pictures [N, 3, H, W], float64 [N]; infinite for equal ones."""
    return -10 * ((x.double() - y.double()).square().flatten(1).mean(1) / 4).log10()
