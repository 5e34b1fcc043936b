"""Two models on the same prompts: scores of every item, metrics with intervals, and the verdicts. Needs no model."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from codefit import pathology, scoring
from codefit.benchmarks import codexglue
from codefit.records import Prediction
from codefit.scoring import statistics
from codefit.scoring.statistics import Array

ORDER = ("edit_similarity", "exact_match", "next_line", "bleu", "chrf", "perplexity", "bits_per_byte")
BINARY = ("exact_match", "next_line")


def score_items(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return the predictions with the value of every text metric per item; what the model measured (nats) is kept."""
    texts = [item.prediction for item in predictions], [item.reference for item in predictions]
    columns = {name: metric.value(scoring.gather(metric, *texts)) for name, metric in scoring.text_metrics().items()}
    return [
        dataclasses.replace(
            item, scores={**item.scores, **{name: float(column[at]) for name, column in columns.items()}}
        )
        for at, item in enumerate(predictions)
    ]


def scores(
    predictions: Mapping[str, tuple[Sequence[Prediction], Sequence[Prediction]]], models: dict[str, Any], seed: int
) -> dict[str, Any]:
    """Return the content of scores.json.

    Args:
        predictions: those of base and adapted model, by benchmark.
        models: what is known of both, by role.
        seed: of the bootstrap.
    """
    benchmarks = {name: compare(*both, seed) for name, both in predictions.items()}
    if "codexglue" in predictions:
        base, adapted = predictions["codexglue"]
        benchmarks["codexglue"]["compat"] = {"base": _codexglue(base), "adapted": _codexglue(adapted)}
    return {"models": models, "benchmarks": benchmarks}


def _codexglue(items: Sequence[Prediction]) -> dict[str, Any]:
    return codexglue.scores([item.prediction for item in items], [item.reference for item in items])


def compare(base: Sequence[Prediction], adapted: Sequence[Prediction], seed: int) -> dict[str, Any]:
    """Return what one benchmark found about two models.

    Args:
        base: predictions of the base.
        adapted: those of the adapted model for the same items in the same order.
        seed: of the bootstrap.

    Returns:
        `n`, `files`, `metrics` (a row per metric: `metric`, `label`, `unit`, `higher_is_better`, `n`, `signature`;
        `value`, `low`, `high` for `base`, `adapted` and `difference`; `verdict`), `checks` and `findings` of
        codefit.pathology.
    """
    clusters = [item.path or item.id for item in base]
    checks = pathology.rows(base, adapted)
    rows = [_row(name, base, adapted, clusters, seed) for name in _names(base, adapted)]
    return {
        "n": len(base),
        "files": len(set(clusters)),
        "metrics": rows,
        "checks": checks,
        "findings": pathology.findings(checks),
    }


def _names(base: Sequence[Prediction], adapted: Sequence[Prediction]) -> list[str]:
    """Return the metrics that these predictions allow: those of likelihood need nats in every item."""
    known = all("nats" in item.scores and "tokens" in item.scores for item in (*base, *adapted))
    counted = known and sum(item.scores["tokens"] for item in base) > 0
    names = scoring.metrics() if counted else scoring.text_metrics()
    return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def _statistics(name: str, items: Sequence[Prediction]) -> Array:
    if name == "perplexity":
        return np.array([(item.scores["nats"], item.scores["tokens"]) for item in items])
    if name == "bits_per_byte":
        return np.array([(item.scores["nats"], len(item.reference.encode())) for item in items])
    texts = [item.prediction for item in items], [item.reference for item in items]
    return scoring.gather(scoring.text_metrics()[name], *texts)


def _interval(metric: Any, stats: Array, clusters: Sequence[str], seed: int) -> dict[str, float]:
    """Return `value`, `low`, `high`; with few files the interval of a percentage is cut at 0 and 100."""
    found = statistics.intervals(stats, clusters, metric.value, seed)._asdict()
    if metric.UNIT == "%":
        found |= {"low": max(0.0, found["low"]), "high": min(100.0, found["high"])}
    return found


def _row(
    name: str, base: Sequence[Prediction], adapted: Sequence[Prediction], clusters: Sequence[str], seed: int
) -> dict[str, Any]:
    metric = scoring.metrics()[name]
    before, after = _statistics(name, base), _statistics(name, adapted)
    found = statistics.compare(before, after, clusters, metric.value, metric.HIGHER_IS_BETTER, seed)
    difference = {"value": found.difference, "low": found.low, "high": found.high, "p": found.p}
    if name in BINARY:
        difference["mcnemar_p"] = statistics.mcnemar(before[:, 0], after[:, 0])
    return {
        "metric": name,
        "label": metric.LABEL,
        "unit": metric.UNIT,
        "higher_is_better": metric.HIGHER_IS_BETTER,
        "n": len(base),
        "signature": metric.signature(len(base)),
        "base": _interval(metric, before, clusters, seed),
        "adapted": _interval(metric, after, clusters, seed),
        "difference": {**difference, "smallest": found.smallest},
        "verdict": found.verdict,
    }
