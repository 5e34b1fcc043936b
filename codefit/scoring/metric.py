"""Metrics: one module each, named after its NAME. Which of them score a task is said in
codefit/evaluation/task_metrics.py.

A metric turns an item into sufficient statistics and sums of statistics into a value, so that a corpus score, the
score of a single item and every resample of a bootstrap come from the same two functions.

A metric that needs more than prediction and reference (the prompt, the nats that a model measured) has `of_item(item)`
in the place of `statistics(prediction, reference)`, and `applies(items)`, since what it needs may be absent.
"""

import functools
from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np

from codefit.records import Prediction
from codefit.scoring.statistics import Array


class Metric(Protocol):
    """A module that scores: `value` maps sums of statistics of shape (..., k) to values of shape (...).

    UNIT is "%" or ""; `signature` says for n items how the number was made, in the way of sacrebleu.
    """

    NAME: str
    LABEL: str
    UNIT: str
    HIGHER_IS_BETTER: bool

    def value(self, sums: Array) -> Array: ...

    def signature(self, n: int) -> str: ...


class TextMetric(Metric, Protocol):
    """A metric of texts: `statistics` gives the k statistics of one item.

    A module may also have `batch(predictions, references) -> Array` of shape (n, k): the same, faster for many items.
    """

    def statistics(self, prediction: str, reference: str) -> tuple[float, ...]: ...


def in_sentence(label: str) -> str:
    """Return a label for the middle of a sentence: "edit similarity", but "BLEU" and "chrF"."""
    return label if label[:2].isupper() else label[0].lower() + label[1:]


def measure(metric: Metric, items: Sequence[Prediction], texts: Sequence[str] | None = None) -> Array:
    """Return the statistics of n items, shape (n, k), whatever the metric needs of them.

    `texts`, where they are given, are scored in the place of the items' predictions.
    """
    if hasattr(metric, "of_item"):
        return np.array([metric.of_item(item) for item in items], np.float64)
    found = [item.prediction for item in items] if texts is None else texts
    return gather(cast(TextMetric, metric), found, [item.reference for item in items])


def gather(metric: TextMetric, predictions: Sequence[str], references: Sequence[str]) -> Array:
    """Return the statistics of n items, shape (n, k)."""
    if len(predictions) != len(references) or not len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references cannot be scored")
    return _gathered(cast(Any, metric), tuple(predictions), tuple(references))


@functools.lru_cache(maxsize=32)  # the items, the totals and the comparison of a report need the same
def _gathered(metric: Any, predictions: tuple[str, ...], references: tuple[str, ...]) -> Array:
    if hasattr(metric, "batch"):
        found = cast(Array, metric.batch(predictions, references))
    else:
        pairs = zip(predictions, references, strict=True)
        found = np.array([metric.statistics(prediction, reference) for prediction, reference in pairs], np.float64)
    found.setflags(write=False)
    return found
