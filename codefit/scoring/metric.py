"""The interface of a metric. The metrics of each task are listed in codefit/evaluation/task_metrics.py.

A metric turns an item into sufficient statistics, and sums of statistics into a value. So the score of a corpus, of one
item and of a corpus without one of its files all come from the same two methods (as in sacrebleu).
"""

import abc
import functools
import importlib.metadata
import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from codefit.records import Prediction
from codefit.scoring.statistics import Array, Scale, mean


def library(name: str) -> str:
    """Return name and version of a library, for the signatures of the metrics that it computes."""
    return f"{name} {importlib.metadata.version(name)}"


class Metric(abc.ABC):
    """A metric of k sufficient statistics per item.

    Attributes:
        name: its key in scores.json.
        label: its name in tables and plots.
        unit: "%", or "" for a number without a unit.
        higher_is_better: whether a higher value is better.
        is_hit: whether an item is a hit or a miss (100 or 0), so that McNemar's exact test applies.
        is_ratio: whether values are positive and compared by ratio, so that intervals are computed on the log scale.
        size: index of the statistic that is the size of an item, its weight in the value of a corpus.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    unit: ClassVar[str] = "%"
    higher_is_better: ClassVar[bool] = True
    is_hit: ClassVar[bool] = False
    is_ratio: ClassVar[bool] = False
    size: ClassVar[int] = -1

    @property
    def scale(self) -> Scale:
        """The properties of the metric that intervals and comparisons need."""
        bounds = (0.0, 100.0) if self.unit == "%" else (-math.inf, math.inf)
        return Scale(self.value, self.higher_is_better, self.is_hit, self.is_ratio, bounds, self.size)

    @abc.abstractmethod
    def of_item(self, item: Prediction) -> tuple[float, ...]:
        """Return the k statistics of one item."""

    @abc.abstractmethod
    def signature(self, n: int) -> str:
        """Return the signature of a value of n items, in the style of sacrebleu."""

    def applies(self, items: Sequence[Prediction]) -> bool:
        """Return whether the metric can be computed for all items."""
        return True

    def have_value(self, stats: Array) -> NDArray[np.bool_]:
        """Return which of n items have a value, shape (n,), from their statistics, shape (n, k); by default all."""
        return np.ones(len(stats), np.bool_)

    def of_items(self, items: Sequence[Prediction], texts: Sequence[str] | None = None) -> Array:
        """Return the statistics of n items, shape (n, k), float64.

        Args:
            items: predictions with their references.
            texts: scored instead of the items' predictions by text metrics; other metrics ignore them.
        """
        return np.array([self.of_item(item) for item in items], np.float64)

    def value(self, sums: Array) -> Array:
        """Return values in the metric's unit: sums of statistics, shape (..., k), to values, shape (...), float64.

        Unless a metric overrides it, the statistics are (score, 1), and the value is the mean of the items.
        """
        return mean(sums)

    def corpus_score(self, stats: Array) -> float:
        """Return the value of a whole corpus from the statistics of its n items, shape (n, k), float64."""
        return float(self.value(stats.sum(axis=0)))


class TextMetric(Metric):
    """A metric that needs only the texts of a prediction and its reference."""

    @abc.abstractmethod
    def of_pair(self, prediction: str, reference: str) -> tuple[float, ...]:
        """Return the k statistics of one prediction."""

    def of_item(self, item: Prediction) -> tuple[float, ...]:
        """Return the k statistics of one item."""
        return self.of_pair(item.prediction, item.reference)

    def of_items(self, items: Sequence[Prediction], texts: Sequence[str] | None = None) -> Array:
        """Return the statistics of n items, shape (n, k), float64; `texts` replace their predictions."""
        found = [item.prediction for item in items] if texts is None else texts
        return self.of_texts(found, [item.reference for item in items])

    def of_texts(self, predictions: Sequence[str], references: Sequence[str]) -> Array:
        """Return the statistics of n predictions, shape (n, k), float64.

        Raises:
            ValueError: there are no predictions, or their number differs from that of the references.
        """
        if len(predictions) != len(references) or not len(references):
            raise ValueError(f"{len(predictions)} predictions for {len(references)} references cannot be scored")
        return _cached(self, tuple(predictions), tuple(references))

    def batch(self, predictions: Sequence[str], references: Sequence[str]) -> Array:
        """Return `of_pair` for n predictions, shape (n, k), float64. Metrics with a faster way override it."""
        pairs = zip(predictions, references, strict=True)
        return np.array([self.of_pair(prediction, reference) for prediction, reference in pairs], np.float64)

    def score(self, predictions: Sequence[str], references: Sequence[str]) -> float:
        """Return the value of a corpus of texts."""
        return self.corpus_score(self.of_texts(predictions, references))


@functools.lru_cache(maxsize=32)  # a report needs the same statistics for items, totals and comparisons
def _cached(metric: TextMetric, predictions: tuple[str, ...], references: tuple[str, ...]) -> Array:
    """Return the statistics of n predictions, shape (n, k), float64, read-only."""
    found = metric.batch(predictions, references)
    found.setflags(write=False)
    return found


def in_sentence(label: str) -> str:
    """Return a label for the middle of a sentence: "edit similarity", but "BLEU" and "chrF"."""
    return label if label[:2].isupper() else label[0].lower() + label[1:]
