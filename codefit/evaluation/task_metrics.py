"""Which metrics score which task, the headline first. Neither tasks nor metrics know of each other."""

import importlib
from collections.abc import Sequence
from typing import Any, cast

from codefit.records import Prediction
from codefit.scoring.metric import Metric, TextMetric, gather

_COMPLETION = (
    "edit_similarity",
    "exact_match",
    "next_line",
    "parse_rate",
    "bleu",
    "chrf",
    "perplexity",
    "bits_per_byte",
)
METRICS = {
    "completion": _COMPLETION,
    "infill": _COMPLETION,
    "line": ("exact_match", "edit_similarity", "parse_rate", "bleu", "chrf", "perplexity", "bits_per_byte"),
    "method": ("edit_similarity", "bleu", "exact_match", "chrf", "parse_rate", "perplexity", "bits_per_byte"),
    "naming": ("naming_f1", "naming_precision", "naming_recall", "naming_f1_micro", "exact_match", "naming_stemmed"),
    "summary": ("chrf", "rouge_l", "exact_match", "perplexity", "bits_per_byte"),
    "document": ("bits_per_byte", "perplexity"),
}


def metrics_of(task: str) -> tuple[str, ...]:
    """Return the names of the metrics of a task, the headline first; a task of others is scored as completion."""
    return METRICS.get(task, _COMPLETION)


def metrics(task: str) -> dict[str, Metric]:
    """Return the metrics of a task by their names, in the order of its tables: the headline first."""
    return {name: cast(Metric, importlib.import_module(f"codefit.scoring.{name}")) for name in metrics_of(task)}


def text_metrics(task: str) -> dict[str, TextMetric]:
    """Return the metrics of a task that need only texts; the others need more of an item."""
    return {name: cast(TextMetric, metric) for name, metric in metrics(task).items() if hasattr(metric, "statistics")}


def headline(task: str) -> Metric:
    """Return the metric that the verdict on a task is about."""
    return next(iter(metrics(task).values()))


def task_of(items: Sequence[Prediction]) -> str:
    """Return the task of items; where they are of different ones, all are scored as completions."""
    found = {item.task for item in items}
    return found.pop() if len(found) == 1 else "completion"


def applicable(items: Sequence[Prediction]) -> dict[str, Metric]:
    """Return the metrics of the items' task that can be computed for all of them."""
    table = metrics(task_of(items))
    return {name: metric for name, metric in table.items() if not hasattr(metric, "applies") or metric.applies(items)}


def scores(predictions: Sequence[str], references: Sequence[str], task: str = "completion") -> dict[str, Any]:
    """Return the honest profile: every text metric on the texts as they are, unrounded, with `n` and `signatures`."""
    table = text_metrics(task)
    values = {name: float(m.value(gather(m, predictions, references).sum(axis=0))) for name, m in table.items()}
    n = len(predictions)
    return {**values, "n": n, "signatures": {name: metric.signature(n) for name, metric in table.items()}}
