"""How sure a score is: bootstrap over files from sufficient statistics, paired comparison, exact McNemar.

Two pairs cut from one file resemble each other, so files are resampled, not pairs. A corpus score such as BLEU is
computed again from the sums of every resample: no score is ever averaged.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Value = Callable[[Array], Array]
Verdict = Literal["better", "worse", "not resolved"]

RESAMPLES = 2000
Z = 1.959963984540054  # the normal quantile of a two-sided 95 % interval
POWER = 2.8  # 1.96 + 0.84: a true difference this many standard errors wide is found in 80 % of such experiments


class Interval(NamedTuple):
    """A value with its 95 % interval, in the unit of the metric."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """The difference b - a with its 95 % interval, in the unit of the metric.

    `p` is two-sided; `verdict` is "better", "worse" or "not resolved"; `smallest` is the smallest true difference
    that these items would show in four of five experiments.
    """

    difference: float
    low: float
    high: float
    p: float
    verdict: Verdict
    smallest: float


def mean(sums: Array) -> Array:
    """Return the mean of items whose statistics are (score, 1): sums of shape (..., 2) to values of shape (...)."""
    return np.asarray(sums[..., 0] / sums[..., 1])


def intervals(stats: Array, clusters: Sequence[str], value: Value, seed: int = 0) -> Interval:
    """Return the value of a metric with its 95 % bootstrap interval.

    Args:
        stats: the statistics of n items, shape (n, k), float64.
        clusters: the file of each item, length n; if all are the same, the items themselves are resampled.
        value: the metric's function from sums of shape (..., k) to values of shape (...).
        seed: the same seed gives the same interval.
    """
    sums = _cluster_sums(stats, clusters)
    observed = float(value(stats.sum(axis=0)))
    return Interval(observed, *_limits(_stretched(observed, value(_resampled(sums, seed)), len(sums))))


def compare(
    stats_a: Array,
    stats_b: Array,
    clusters: Sequence[str],
    value: Value,
    higher_is_better: bool = True,
    seed: int = 0,
) -> Comparison:
    """Compare two models on the same items by a paired bootstrap; the verdict is about b.

    Args:
        stats_a: the statistics of model a, shape (n, k), float64.
        stats_b: the statistics of model b on the same items in the same order, shape (n, k), float64.
        clusters: the file of each item, length n.
        value: the metric's function from sums to values.
        higher_is_better: the direction of the metric.
        seed: the same seed gives the same comparison.
    """
    if stats_a.shape != stats_b.shape:
        raise ValueError(f"a paired comparison needs the same items, not {stats_a.shape} and {stats_b.shape}")
    sums_a, sums_b = _cluster_sums(stats_a, clusters), _cluster_sums(stats_b, clusters)
    observed = float(value(stats_b.sum(axis=0)) - value(stats_a.sum(axis=0)))
    resampled = value(_resampled(sums_b, seed)) - value(_resampled(sums_a, seed))
    differences = _stretched(observed, resampled, len(sums_a))
    low, high = _limits(differences)
    resolved = len(sums_a) > 1 and (low > 0 or high < 0)
    verdict: Verdict = "not resolved"
    if resolved:
        verdict = "better" if (low > 0) == higher_is_better else "worse"
    return Comparison(
        observed,
        low,
        high,
        p=_two_sided(differences),
        verdict=verdict,
        smallest=POWER * float(differences.std(ddof=1)),
    )


def mcnemar(hits_a: Sequence[float] | Array, hits_b: Sequence[float] | Array) -> float:
    """Return the exact two-sided p of McNemar's test.

    Hits of two models on the same n items, shape (n,): 0 is a miss, any positive number a hit.

    Source: Q. McNemar, Psychometrika 12 (1947); exact form: the items only one model hit are fair coin tosses.
    """
    a, b = np.asarray(hits_a) > 0, np.asarray(hits_b) > 0
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    tosses, fewer = only_a + only_b, min(only_a, only_b)
    ways, tail = 1, 0
    for hits in range(fewer + 1):
        tail += ways
        ways = ways * (tosses - hits) // (hits + 1)
    return min(1.0, 2 * tail / (1 << tosses))


def at_least(hits: int, n: int, share: float) -> float:
    """Return the chance of so many hits or more among n items that are hit independently with this share (0 to 1)."""
    logs = (
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(share)
        + (n - k) * math.log1p(-share)
        for k in range(hits)
    )
    return max(0.0, 1 - sum(map(math.exp, logs)))


def holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number: below 0.05, one false alarm in twenty whole tables.

    Source: S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian J. of Statistics 6 (1979).
    """
    corrected, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest
    return corrected


def _cluster_sums(stats: Array, clusters: Sequence[str]) -> Array:
    """Return the sums of statistics, shape (n, k), over each cluster, shape (clusters, k); of one alone the items."""
    if len(clusters) != len(stats) or not len(stats):
        raise ValueError(f"{len(stats)} items with {len(clusters)} clusters cannot be resampled")
    count, index = _numbered(tuple(clusters))
    if count == 1:
        return stats
    return np.stack([np.bincount(index, weights=column, minlength=count) for column in stats.T], axis=1)


@functools.lru_cache(maxsize=1)  # all metrics of a report have the same files
def _numbered(clusters: tuple[str, ...]) -> tuple[int, NDArray[np.intp]]:
    """Return how many clusters there are, and which one each of n items is in, shape (n,)."""
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    return len(names), index


@functools.lru_cache(maxsize=1)  # all metrics of a report share the resamples: their verdicts are about the same draws
def _weights(count: int, seed: int) -> NDArray[np.uint8]:
    """Return how often each of `count` clusters is in each resample, shape (RESAMPLES, count), uint8.

    A byte holds it: a weight above 255 has a chance below 1e-500.
    """
    random = np.random.default_rng(seed)
    weights = np.empty((RESAMPLES, count), np.uint8)
    for block in np.array_split(weights, 20):  # all draws at once would need 8 times the memory
        draws = random.integers(count, size=block.shape) + count * np.arange(len(block))[:, np.newaxis]
        block[:] = np.bincount(draws.ravel(), minlength=block.size).reshape(block.shape)
    return weights


def _resampled(sums: Array, seed: int) -> Array:
    """Return the sums over each resample, shape (RESAMPLES, k), from those over each cluster, shape (clusters, k)."""
    return _drawn(np.asarray(sums, np.float64).tobytes(), sums.shape[1], seed)


@functools.lru_cache(maxsize=4)  # a model's interval and its differences to others need the same
def _drawn(sums: bytes, k: int, seed: int) -> Array:
    """Return the sums over each resample, shape (RESAMPLES, k), float64, of the bytes of those over each cluster."""
    of_clusters = np.frombuffer(sums).reshape(-1, k)
    blocks = np.array_split(_weights(len(of_clusters), seed), 20)  # as floats the whole would need 8 times the memory
    return np.concatenate([block.astype(np.float64) @ of_clusters for block in blocks])


def _stretched(observed: float, resampled: Array, count: int) -> Array:
    """Return a bootstrap distribution, shape (RESAMPLES,), widened by what it is too narrow with few clusters.

    The factor sqrt(n / (n - 1)) * t / z makes it as wide as a t interval. Source: T. Hesterberg, What Teachers Should
    Know about the Bootstrap, The American Statistician 69 (2015), "narrowness bias".
    """
    if count < 2:
        return resampled
    return observed + math.sqrt(count / (count - 1)) * _student(count - 1) / Z * (resampled - observed)


def _student(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t. Source: Abramowitz and Stegun, 26.7.5, the first three corrections.

    Off by 3 % at 2 degrees of freedom, by less than 0.3 % from 4 on.
    """
    first = (Z**3 + Z) / 4
    second = (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96
    third = (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384
    return Z + first / freedom + second / freedom**2 + third / freedom**3


def _limits(values: Array) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % quantiles of resampled values, shape (RESAMPLES,)."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _two_sided(differences: Array) -> float:
    """Return the two-sided p of no difference from resampled ones, shape (RESAMPLES,)."""
    fewer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (fewer + 1) / (len(differences) + 1))
