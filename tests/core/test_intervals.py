"""The interval of a share is Wilson's, also at none and at all."""

from __future__ import annotations

import numpy as np
import pytest

from core.metrics import binomial


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 12), (12, 12), (3, 10), (17, 32), (319, 320), (5000, 10000)])
def test_the_interval_of_a_share_is_scipys(k: int, n: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(k, n).proportion_ci(0.95, "wilson")
    assert binomial(k, n) == pytest.approx((k / n, theirs.low, theirs.high), abs=1e-8)


def test_it_covers_the_true_share_about_as_often_as_it_says() -> None:
    for share, n in ((0.05, 32), (0.5, 32), (0.9, 12)):
        found = [binomial(int(k), n) for k in np.random.default_rng(0).binomial(n, share, 4000)]
        assert 0.92 < np.mean([one.low <= share <= one.high for one in found]) < 0.99
