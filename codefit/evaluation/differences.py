"""Scores and differences with intervals and verdicts, as scores.json holds them, from the statistics of items."""

from collections.abc import Sequence

import msgspec

from codefit.evaluation.result_schema import Conclusion, Difference, Score
from codefit.scoring import statistics
from codefit.scoring.metric import Metric
from codefit.scoring.statistics import Array


def score(metric: Metric, stats: Array, clusters: Sequence[str]) -> Score:
    """Return the score of n items from their statistics, shape (n, k)."""
    return Score(*statistics.interval(stats, clusters, metric.scale))


def difference(metric: Metric, before: Array, after: Array, clusters: Sequence[str], seed: int) -> Difference:
    """Return the difference of two models from the statistics of the same n items, shape (n, k)."""
    found = statistics.compare(before, after, clusters, metric.scale, seed)
    return Difference(found.difference, found.low, found.high, found.p, found.smallest, found.verdict, found.mcnemar_p)


def p_of(found: Difference) -> float:
    """Return the p that a verdict rests on: the larger one, where McNemar's test applies too."""
    return max(found.p, found.mcnemar_p or 0.0)


def with_p(found: Difference, p: float) -> Difference:
    """Return a difference with a corrected p, and the verdict that remains."""
    verdict: Conclusion = "not resolved" if p >= statistics.RESOLVED and found.verdict != "too few" else found.verdict
    return msgspec.structs.replace(found, p=p, verdict=verdict)
