"""Confidence intervals and tests: jackknife intervals over files, paired permutation tests, exact tests for hits.

Pairs cut from one file are not independent, so files are the unit of resampling, not pairs. A corpus score such as BLEU
is computed again from the sums of statistics with a file left out or swapped: scores are never averaged.

- Interval: the delete-one jackknife over files with a t quantile (Efron and Tibshirani, An Introduction to the
  Bootstrap, 1993, chapter 11). Perplexity and bits per byte are on the log scale, their differences are not. Files
  differ in size, so t has the degrees of freedom of the effective number of files (Carter, Schnepel and
  Steigerwald, Review of Economics and Statistics 99, 2017): one huge file among nine small ones is not ten files.
- Verdict: a permutation test that swaps the labels of the two models file by file (Good, Permutation, Parametric, and
  Bootstrap Tests of Hypotheses, 2005), if the interval excludes zero. Below 13 files all assignments are tried. Above,
  random ones are drawn until ten differ as much, at most 50,000 (Besag and Clifford, Biometrika 78, 1991).
- Hits (exact match and the like): Wilson's and Newcombe's score intervals, McNemar's exact test.

Their error rates are measured by `python -m runs.calibrate` and listed in docs/benchmark.md.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Value = Callable[[Array], Array]
Verdict = Literal["better", "worse", "not resolved", "too few"]

RESOLVED = 0.05  # p below which a difference is resolved
PRIMARY_SHARE = 0.8  # share of RESOLVED for the primary difference
FEWEST_FILES = 6  # with fewer files, no assignment of labels is rare enough for a verdict: 2 / 2**5 is over 5 %
FEWEST_ITEMS = 30
PERMUTATIONS = 10_000  # in a block; the smallest p of one block is too large to be corrected for 100 differences
BLOCKS = 5  # at most; blocks are added while fewer than ENOUGH of their assignments give a difference as large
ENOUGH = 10
ALL_UP_TO = 12  # most files for which all 2**files assignments are tried
Z = 1.959963984540054  # the normal quantile of a two-sided 95 % interval
Z_POWER = 0.8416212335729143  # the normal quantile of 80 %: the share of experiments that find the smallest difference
TAIL = 2.0  # how far the spread of the deviations is trusted; 3 would be right for normal ones
ONE_SIDED_HITS = 6  # hits by one model alone that McNemar's exact test needs for p < 0.05: 2 / 2**6


class Interval(NamedTuple):
    """A value with its 95 % interval, in the unit of the metric."""

    value: float
    low: float
    high: float


class Gap(NamedTuple):
    """A difference with its 95 % interval, in the unit of the metric, and the smallest that four of five would show."""

    value: float
    low: float
    high: float
    smallest: float


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """The difference b - a with its 95 % interval, in the unit of the metric.

    Attributes:
        p: two-sided p value of the permutation test.
        verdict: about b. "too few" below FEWEST_FILES files or FEWEST_ITEMS items.
        smallest: the smallest true difference that these items would detect with a power of 80 %.
        mcnemar_p: p value of McNemar's exact test, for hits.
    """

    difference: float
    low: float
    high: float
    p: float
    verdict: Verdict
    smallest: float
    mcnemar_p: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """The properties of a metric that the statistics need.

    Attributes:
        value: maps sums of statistics, shape (..., k), to values, shape (...).
        higher_is_better: whether a higher value is better.
        is_hit: whether the first statistic of an item is 100 or 0, and the second 1.
        is_ratio: whether values are positive and compared by ratio; their intervals are computed on the log scale.
        bounds: of a value; a difference lies within plus and minus their distance.
        size: index of the statistic that is the size of an item, its weight.
    """

    value: Value
    higher_is_better: bool = True
    is_hit: bool = False
    is_ratio: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)
    size: int = -1

    def measured(self, sums: Array) -> Array:
        """Return values on the scale of the interval: sums, shape (..., k), to shape (...), float64."""
        found = self.value(sums)
        return np.log(found) if self.is_ratio else found


def mean(sums: Array) -> Array:
    """Return the mean of items with statistics (score, 1): sums of shape (..., 2) to values of shape (...)."""
    return np.asarray(sums[..., 0] / sums[..., 1])


# ---------------------------------------------------------------------------------------------- intervals


def interval(stats: Array, clusters: Sequence[str], scale: Scale) -> Interval:
    """Return the value of a metric with its 95 % interval.

    Args:
        stats: the statistics of n items, shape (n, k), float64.
        clusters: the file of each item, length n. With one file the interval is about items of that file only.
        scale: the properties of the metric.
    """
    sums = _cluster_sums(stats, clusters)
    value = float(scale.value(stats.sum(axis=0)))
    if scale.is_hit:
        low, high = _wilson(value / 100, _effective(stats, clusters))
        return Interval(value, 100 * low, 100 * high)
    error, quantile = _jackknife(sums, scale.measured, sums[:, scale.size])
    centre, half = float(scale.measured(stats.sum(axis=0))), quantile * error
    low, high = centre - half, centre + half
    if scale.is_ratio:
        low, high = math.exp(low), _exp(high)
    return Interval(value, max(low, scale.bounds[0]), min(high, scale.bounds[1]))


def difference(stats_a: Array, stats_b: Array, clusters: Sequence[str], scale: Scale) -> Gap:
    """Return the difference b - a of two models on the same items, both of shape (items, sums), as for `compare`."""
    if stats_a.shape != stats_b.shape:
        raise ValueError(f"a paired comparison needs the same items, not {stats_a.shape} and {stats_b.shape}")
    sums_a, sums_b = _cluster_sums(stats_a, clusters), _cluster_sums(stats_b, clusters)
    gap = float(scale.value(stats_b.sum(axis=0)) - scale.value(stats_a.sum(axis=0)))
    both = np.concatenate([sums_a, sums_b], axis=1)
    k = sums_a.shape[1]
    error, quantile = _jackknife(
        both, lambda sums: scale.value(sums[..., k:]) - scale.value(sums[..., :k]), sums_a[:, scale.size]
    )
    low, high = gap - quantile * error, gap + quantile * error
    smallest = (quantile + Z_POWER) * error
    if scale.is_hit:
        n = _effective(stats_b - stats_a, clusters)
        low, high = newcombe(stats_a[:, 0], stats_b[:, 0], n)
        smallest = max(smallest, 100 * _share_for(ONE_SIDED_HITS, n))
    span = scale.bounds[1] - scale.bounds[0]
    return Gap(gap, max(low, -span), min(high, span), smallest)


def compare(stats_a: Array, stats_b: Array, clusters: Sequence[str], scale: Scale, seed: int = 0) -> Comparison:
    """Compare two models on the same items; the verdict is about b.

    Args:
        stats_a: the statistics of model a, shape (n, k), float64.
        stats_b: the statistics of model b on the same items in the same order, shape (n, k), float64.
        clusters: the file of each item, length n.
        scale: of the metric.
        seed: the same seed gives the same comparison.
    """
    gap, low, high, smallest = difference(stats_a, stats_b, clusters, scale)
    p = _permutation_p(_cluster_sums(stats_a, clusters), _cluster_sums(stats_b, clusters), scale, seed)
    mcnemar_p = mcnemar(stats_a[:, 0], stats_b[:, 0]) if scale.is_hit else None
    resolved = max(p, mcnemar_p or 0.0) < RESOLVED and (low > 0 or high < 0)
    verdict = _verdict(gap, resolved, stats_a, clusters, scale.higher_is_better)
    return Comparison(gap, low, high, p, verdict, smallest, mcnemar_p)


def _verdict(gap: float, resolved: bool, stats: Array, clusters: Sequence[str], higher_is_better: bool) -> Verdict:
    """Return the verdict about b; `resolved` means that test and interval agree, so that tables are consistent.

    `stats` are the statistics of the items, shape (items, k).
    """
    if len(set(clusters)) < FEWEST_FILES or len(stats) < FEWEST_ITEMS:
        return "too few"
    if not resolved:
        return "not resolved"
    return "better" if (gap > 0) == higher_is_better else "worse"


class _Spread(NamedTuple):
    """The standard error of a value of all clusters, and the t quantile of its 95 % interval."""

    error: float
    quantile: float


def _jackknife(sums: Array, value: Value, sizes: Array) -> _Spread:
    """Return the standard error of a value, by the jackknife.

    Args:
        sums: the statistics summed over each cluster, shape (clusters, k), float64.
        value: maps sums, shape (..., k), to values, shape (...).
        sizes: sizes of the clusters, shape (clusters,), float64.
    """
    count = len(sums)
    unknown = _Spread(math.inf, student(1))
    if count < 2:
        return unknown
    with np.errstate(all="ignore"):  # if one file has all tokens of a corpus, there is no value without it
        left_out = value(sums.sum(axis=0) - sums)
    if not np.isfinite(left_out).all():
        return unknown
    squares = (left_out - left_out.mean()) ** 2
    error = math.sqrt((count - 1) / count * float(squares.sum()))
    return _Spread(error, student(min(_effective_number(sizes) - 1, _freedom(squares))))


def _effective_number(sizes: Array) -> float:
    """Return the effective number of files of these sizes, shape (files,): that of equal-sized files; at least two."""
    squares = float((sizes**2).sum())
    return max(float(sizes.sum()) ** 2 / squares if squares else 0.0, 2.0)


def _freedom(squares: Array) -> float:
    """Return the degrees of freedom of a sum of squared deviations, shape (files,), by their own spread; at least one.

    Few files that decide the sum make it uncertain (Satterthwaite, Biometrics Bulletin 2, 1946). Of n normal deviations
    the fourth powers have a mean of 3, and say n - 1 in large samples; small samples of long tails miss the tail and
    say too much. With TAIL in place of 3, intervals of BLEU hold the truth as often as they say (docs/benchmark.md).
    """
    total, count = float(squares.sum()), len(squares)
    if not total:
        return float(count - 1)
    return min(max(TAIL * total**2 / float((squares**2).sum()) - 1, 1.0), count - 1.0)


def _permutation_p(sums_a: Array, sums_b: Array, scale: Scale, seed: int) -> float:
    """Return the two-sided p value of the test that swaps the labels of the models file by file.

    Args:
        sums_a: the statistics of model a summed over each cluster, shape (clusters, k), float64.
        sums_b: the same for model b.
        scale: the properties of the metric.
        seed: of the random assignments, if not all are tried.
    """
    a, b = sums_a.sum(axis=0), sums_b.sum(axis=0)
    whole_a, whole_b = float(scale.measured(a)), float(scale.measured(b))
    observed = abs(whole_b - whole_a)
    rounding = 1e-9 * observed + 1e-12 * (abs(whole_a) + abs(whole_b))  # equal differences stay equal
    tried = as_large = 0
    for swaps in _assignments(len(sums_a), seed):
        moved = swaps @ (sums_b - sums_a)
        with np.errstate(all="ignore"):
            found = np.abs(scale.measured(b - moved) - scale.measured(a + moved))
        if math.isnan(observed) or np.isnan(found).any():
            return 1.0
        tried += len(found)
        as_large += int((found >= observed - rounding).sum())
        if as_large >= ENOUGH:
            break
    if len(sums_a) <= ALL_UP_TO:  # the observed assignment is among them
        return as_large / tried
    return (as_large + 1) / (tried + 1)


def _assignments(count: int, seed: int) -> Iterator[Array]:
    """Yield blocks of shape (assignments, count), 0 or 1: one with all for few files, else up to BLOCKS random ones."""
    yield _swaps(count, seed)
    if count > ALL_UP_TO:
        random = np.random.default_rng([seed, count])
        for _ in range(1, BLOCKS):
            yield random.integers(0, 2, size=(PERMUTATIONS, count), dtype=np.int8).astype(np.float64)


@functools.lru_cache(maxsize=4)  # all metrics of a benchmark have the same files
def _swaps(count: int, seed: int) -> Array:
    """Return which of `count` files swap their labels in each assignment, shape (assignments, count), 0 or 1."""
    if count <= ALL_UP_TO:
        return ((np.arange(1 << count)[:, np.newaxis] >> np.arange(count)) & 1).astype(np.float64)
    random = np.random.default_rng(seed)
    return random.integers(0, 2, size=(PERMUTATIONS, count)).astype(np.float64)


# ---------------------------------------------------------------------------------------------- hits


def _effective(stats: Array, clusters: Sequence[str]) -> float:
    """Return the effective number of independent items for hits with these statistics, shape (n, 2).

    Hits of one file are correlated, so n is divided by the design effect: the variance of the clustered mean over that
    of independent items (Kish, Survey Sampling, 1965), if that is above 1.
    """
    hits = stats[:, 0] / 100
    independent = float(hits.var()) / len(hits)
    counted = np.stack([hits, np.ones(len(hits))], axis=1)
    sums = _cluster_sums(counted, clusters)
    error, _ = _jackknife(sums, mean, sums[:, 1])
    if not independent or not math.isfinite(error):
        return float(len(hits))
    return len(hits) / max(1.0, error**2 / independent)


def _wilson(share: float, n: float) -> tuple[float, float]:
    """Return the 95 % score interval of a share of n items, 0 to 1. Source: E. Wilson, JASA 22 (1927)."""
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def newcombe(hits_a: Array, hits_b: Array, n: float | None = None) -> tuple[float, float]:
    """Return the 95 % interval of the difference b - a of two shares on the same items, in percent.

    Source: R. Newcombe, Improved Confidence Intervals for the Difference between Binomial Proportions Based on Paired
    Data, Statistics in Medicine 17 (1998), method 10.

    Args:
        hits_a: of model a, shape (items,): 0 is a miss, any positive number a hit.
        hits_b: of model b on the same items.
        n: effective number of independent items; None counts all.
    """
    a, b = np.asarray(hits_a) > 0, np.asarray(hits_b) > 0
    n = float(len(a)) if n is None else n
    share_a, share_b = float(a.mean()), float(b.mean())
    phi = _phi(a, b, n)
    (low_a, high_a), (low_b, high_b) = _wilson(share_a, n), _wilson(share_b, n)
    down_a, up_a, down_b, up_b = share_a - low_a, high_a - share_a, share_b - low_b, high_b - share_b
    below = math.sqrt(max(0.0, down_b**2 - 2 * phi * down_b * up_a + up_a**2))
    above = math.sqrt(max(0.0, up_b**2 - 2 * phi * up_b * down_a + down_a**2))
    return 100 * (share_b - share_a - below), 100 * (share_b - share_a + above)


def _phi(a: NDArray[np.bool_], b: NDArray[np.bool_], n: float) -> float:
    """Return Newcombe's correlation of two rows of hits, each of shape (items,), bool, with continuity correction."""
    both, neither, only_a, only_b = (n * float(cell.mean()) for cell in (a & b, ~a & ~b, a & ~b, ~a & b))
    product = both * neither - only_a * only_b
    if product > 0:
        product = max(product - n / 2, 0.0)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    return product / math.sqrt(margins) if margins > 0 else 0.0


def mcnemar(hits_a: Sequence[float] | Array, hits_b: Sequence[float] | Array) -> float:
    """Return the exact two-sided p value of McNemar's test.

    Hits of two models on the same n items, shape (n,): 0 is a miss, any positive number a hit.

    Source: Q. McNemar, Psychometrika 12 (1947); exact form: the discordant items are fair coin tosses.
    """
    a, b = np.asarray(hits_a) > 0, np.asarray(hits_b) > 0
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    tosses, fewer = only_a + only_b, min(only_a, only_b)
    ways, tail = 1, 0
    for hits in range(fewer + 1):
        tail += ways
        ways = ways * (tosses - hits) // (hits + 1)
    return min(1.0, 2 * tail / (1 << tosses))


def _share_for(hits: int, n: float) -> float:
    """Return the share at which n items give at least `hits` hits with a power of 80 %; 1 if no share does."""
    low, high = 0.0, 1.0
    if n < hits:
        return 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if at_least(hits, round(n), middle) >= 0.8 else (middle, high)
    return high


def at_least(hits: int, n: int, share: float) -> float:
    """Return the probability of at least `hits` hits among n independent items with this hit rate (0 to 1).

    Small probabilities are a difference from 1: correct to 1e-10, not in all digits.
    """
    if hits <= 0 or hits > n or not 0 < share < 1:
        return float(hits <= 0 or (hits <= n and share >= 1))
    logs = (
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(share)
        + (n - k) * math.log1p(-share)
        for k in range(hits)
    )
    return max(0.0, 1 - sum(map(math.exp, logs)))


# ---------------------------------------------------------------------------------------------- families, quantiles


def holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected for multiple comparisons: below 0.05, one table in twenty has a false alarm.

    Source: S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian J. of Statistics 6 (1979).
    """
    corrected, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest
    return corrected


def family(primary: float, secondary: Sequence[float]) -> tuple[float, list[float]]:
    """Return corrected p values of a primary and of secondary differences: one table in twenty has a false alarm.

    The primary one gets four fifths of the 5 %. The secondary ones together (Holm) get the rest, or all of the 5 % if
    the primary one is resolved. Source: B. Wiens, A Fixed Sequence Bonferroni Procedure, Pharmaceutical Stat. 2 (2003).
    """
    first = min(1.0, primary / PRIMARY_SHARE)
    factor = 1.0 if first < RESOLVED else 1 / (1 - PRIMARY_SHARE)
    return first, [min(1.0, factor * p) for p in holm(secondary)]


def student(freedom: float) -> float:
    """Return the 97.5 % quantile of Student's t, interpolated linearly in the reciprocal of the degrees of freedom.

    Between whole degrees it is too large, never too small: by at most 19 % from 1 to 2, 1.7 % from 2 to 3, and 0.4 %
    above. The rates in docs/benchmark.md include this.
    """
    below = math.floor(freedom)
    if below == freedom:
        return _student(below)
    share = (1 / below - 1 / freedom) / (1 / below - 1 / (below + 1))
    return (1 - share) * _student(below) + share * _student(below + 1)


@functools.cache
def _student(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t for whole degrees of freedom, by bisection of the exact CDF."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < 0.95 else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """Return the probability that Student's t is between -t and t. Source: Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    if freedom > 200:  # 26.7.8
        z = t * (1 - 1 / (4 * freedom)) / math.sqrt(1 + t * t / (2 * freedom))
        return math.erf(z / math.sqrt(2))
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term = total = (cosine if odd else 1.0) if freedom > 1 else 0.0
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def _exp(value: float) -> float:
    """Return e to a power, or infinity if that is too large for a float."""
    return math.exp(value) if value < 700 else math.inf


def _cluster_sums(stats: Array, clusters: Sequence[str]) -> Array:
    """Return the sums of statistics, shape (n, k), by cluster, shape (clusters, k); with one cluster, the items."""
    if len(clusters) != len(stats) or not len(stats):
        raise ValueError(f"{len(stats)} items with {len(clusters)} clusters cannot be compared")
    count, index = _numbered(tuple(clusters))
    if count == 1:
        return stats
    return np.stack([np.bincount(index, weights=column, minlength=count) for column in stats.T], axis=1)


@functools.lru_cache(maxsize=1)  # all metrics of a report share the same files
def _numbered(clusters: tuple[str, ...]) -> tuple[int, NDArray[np.intp]]:
    """Return the number of clusters, and the index of each item's cluster, shape (n,), intp."""
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    return len(names), index
