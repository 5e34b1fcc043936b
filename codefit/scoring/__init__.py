"""Metrics: one module each. The modules of this folder that have a NAME are the table of metrics.

A metric turns an item into sufficient statistics and sums of statistics into a value, so that a corpus score, the
score of a single item and every resample of a bootstrap come from the same two functions.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np

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


def metrics() -> dict[str, Metric]:
    """Return every metric by its name."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return {module.NAME: cast(Metric, module) for module in modules if hasattr(module, "NAME")}


def text_metrics() -> dict[str, TextMetric]:
    """Return the metrics that need only texts; the others need what a model knows (nats)."""
    return {name: cast(TextMetric, metric) for name, metric in metrics().items() if hasattr(metric, "statistics")}


def gather(metric: TextMetric, predictions: Sequence[str], references: Sequence[str]) -> Array:
    """Return the statistics of n items, shape (n, k)."""
    if len(predictions) != len(references) or not len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references cannot be scored")
    if hasattr(metric, "batch"):
        return cast(Array, metric.batch(predictions, references))
    pairs = zip(predictions, references, strict=True)
    return np.array([metric.statistics(prediction, reference) for prediction, reference in pairs], np.float64)


def scores(predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """Return the honest profile: every text metric on the texts as they are, unrounded, with `n` and `signatures`."""
    table = text_metrics()
    values = {name: float(m.value(gather(m, predictions, references).sum(axis=0))) for name, m in table.items()}
    n = len(predictions)
    return {**values, "n": n, "signatures": {name: metric.signature(n) for name, metric in table.items()}}
