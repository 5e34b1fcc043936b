"""The formulas of codefit/scoring/statistics.py give the values of SciPy 1.17.1 and statsmodels 0.15.0.

The values are stored here, so that neither package is needed. The comment above each test says how they were made.
"""

import numpy as np
import pytest

from codefit.scoring import statistics

MEAN = statistics.Scale(statistics.mean)
HITS = statistics.Scale(statistics.mean, is_hit=True, bounds=(0.0, 100.0))


# scipy.stats.t.ppf(0.975, freedom)
@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.706204736), (3, 3.182446305), (12, 2.178812830), (60, 2.000297822), (201, 1.971836507)],
)
def test_students_quantile(freedom: int, quantile: float) -> None:
    assert statistics.student(freedom) == pytest.approx(quantile, rel=2e-5)


# scipy.stats.t.ppf(0.975, freedom)
@pytest.mark.parametrize(
    ("freedom", "quantile", "too_large"), [(1.2896639926267295, 7.602867222, 0.19), (3.5, 2.940088638, 0.004)]
)
def test_between_whole_degrees_the_quantile_is_never_too_small(
    freedom: float, quantile: float, too_large: float
) -> None:
    assert quantile <= statistics.student(freedom) <= quantile * (1 + too_large)


# statsmodels.stats.contingency_tables.mcnemar([[9, only_a], [only_b, 7]], exact=True)
@pytest.mark.parametrize(
    ("only_a", "only_b", "p"), [(3, 11, 0.057373046875), (12, 30, 0.007915897334896727), (121, 59, 4.434449263754e-06)]
)
def test_mcnemar(only_a: int, only_b: int, p: float) -> None:
    hits_a = np.repeat([1.0, 0.0, 1.0, 0.0], [only_a, only_b, 9, 7])
    hits_b = np.repeat([0.0, 1.0, 1.0, 0.0], [only_a, only_b, 9, 7])
    assert statistics.mcnemar(hits_a, hits_b) == pytest.approx(p, rel=1e-9)


# statsmodels.stats.proportion.proportion_confint(hits, n, method="wilson")
@pytest.mark.parametrize(
    ("hits", "n", "low", "high"), [(0, 20, 0.0, 16.11251580528194), (20, 20, 83.88748419471804, 100.0)]
)
def test_wilson(hits: int, n: int, low: float, high: float) -> None:
    stats = np.stack([np.repeat([100.0, 0.0], [hits, n - hits]), np.ones(n)], axis=1)
    found = statistics.interval(stats, [str(item) for item in range(n)], HITS)
    assert (found.low, found.high) == pytest.approx((low, high))


# the same of 16 of 148 and 80 of 264, in two files with the same share of hits, where the design effect is 1
@pytest.mark.parametrize(
    ("hits", "n", "low", "high"), [(16, 148, 6.76474436, 16.83978308), (80, 264, 25.07452855, 36.09653120)]
)
def test_wilson_of_two_files(hits: int, n: int, low: float, high: float) -> None:
    scores = np.tile(np.repeat([100.0, 0.0], [hits // 2, (n - hits) // 2]), 2)
    stats = np.stack([scores, np.ones(n)], axis=1)
    found = statistics.interval(stats, np.repeat(["a", "b"], n // 2).tolist(), HITS)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-7)


# Method 10 of Newcombe (1998), written once more from the paper: both, the first alone, the second alone, neither
@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ((36, 12, 2, 0), 5.692958400323889, 34.04276029749407),
        ((53, 16, 8, 23), -1.6720274256974615, 17.445912068535194),
        ((1, 1, 7, 12), -50.6920226686141, -2.555912416485978),
        ((0, 30, 0, 0), 83.94678198623838, 100.0),
        ((29, 0, 1, 0), -16.670390991409179, 8.344597542543345),
    ],
)
def test_newcombe(table: tuple[int, int, int, int], low: float, high: float) -> None:
    first, second = np.repeat([1.0, 1.0, 0.0, 0.0], table), np.repeat([1.0, 0.0, 1.0, 0.0], table)
    assert statistics.newcombe(second, first) == pytest.approx((low, high), abs=1e-9)


# statsmodels.stats.multitest.multipletests(values, method="holm")
@pytest.mark.parametrize(
    ("values", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005, 0.2], [0.04, 0.09, 0.09, 0.025, 0.2]),
        ([0.5, 0.6, 0.7], [1.0, 1.0, 1.0]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
    ],
)
def test_holm(values: list[float], corrected: list[float]) -> None:
    assert statistics.holm(values) == pytest.approx(corrected)


# scipy.stats.permutation_test((a, b), mean of b - a, permutation_type="samples", n_resamples=numpy.inf)
@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1.5, 2.0, -0.5, 3.0, 1.0], 0.125),
        ([1.0, 1.0, 1.0, -1.0, 2.0, 2.0, -3.0], 0.6875),
        ([0.4, -1.1, 2.6, 3.1, 0.9, -0.2, 1.7, 2.2], 0.0703125),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.03125),
        ([0.0, 0.0, 1.0, 1.0], 0.5),
    ],
)
@pytest.mark.parametrize("level", [0.0, 1 / 3, 70.1])
def test_permutation(differences: list[float], p: float, level: float) -> None:
    a = np.stack([np.full(len(differences), level), np.ones(len(differences))], axis=1)
    b = a + np.stack([np.array(differences), np.zeros(len(differences))], axis=1)
    found = statistics.compare(a, b, [str(item) for item in range(len(a))], MEAN)
    assert found.p == pytest.approx(p)


def test_a_difference_of_nothing_but_rounding_has_p_1() -> None:
    """The differences add up to zero, but not in floating point."""
    a = np.stack([np.array([7.29, -0.21, -2.2, -3.16, 2.6, -2.96]), np.ones(6)], axis=1)
    b = np.stack([np.array([9.29, -2.21, -2.2, -5.16, 4.6, -2.96]), np.ones(6)], axis=1)
    assert 0 < abs((b - a)[:, 0].sum()) < 1e-12
    assert statistics.compare(a, b, list("abcdef"), MEAN).p == 1.0


# scipy.stats.binom.sf(hits - 1, n, share)
@pytest.mark.parametrize(
    ("hits", "n", "share", "chance"),
    [
        (1, 10, 0.01, 0.09561792499119552),
        (6, 200, 0.05, 0.9376575049577053),
        (6, 200, 0.0398, 0.8106399510744968),
        (10, 20, 0.5, 0.5880985260009766),
        (3, 1000, 0.001, 0.080209342840201),
        (0, 5, 0.0, 1.0),
        (1, 5, 0.0, 0.0),
        (3, 2, 0.5, 0.0),
        (5, 3, 1.0, 0.0),
        (3, 3, 1.0, 1.0),
    ],
)
def test_at_least(hits: int, n: int, share: float, chance: float) -> None:
    assert statistics.at_least(hits, n, share) == pytest.approx(chance, abs=1e-10)
