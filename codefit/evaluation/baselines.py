"""Baselines without a model: floors and a ceiling for every score.

Empty, constant and random answers show where a metric starts; the nearest training item shows what a look-up reaches.
The references, encoded and decoded like predictions, must score 100: less means that the pipeline loses text.
"""

import random
from collections.abc import Mapping, Sequence

from codefit.evaluation import task_metrics
from codefit.evaluation.result_schema import Baseline
from codefit.records import Prediction

LABELS = {
    "empty": "an empty answer",
    "random": "the reference of another prompt",
    "constant": "the most frequent training completion",
    "nearest": "the nearest training item",
    "references": "the references, through the tokenizer",
}
CEILING = "references"
FLOORS = ("empty", "constant", "nearest")  # not "random", which uses references
STORED = ("constant", "nearest", CEILING)  # these need training data or a tokenizer, and are stored for --rescore


def rows(items: Sequence[Prediction], stored: Mapping[str, Sequence[str]], seed: int) -> list[Baseline]:
    """Return the score of every baseline whose answers are known, the ceiling last.

    Args:
        items: the predictions of any model, which hold prompts and references.
        stored: known answers by baseline.
        seed: seed of the random baseline.
    """
    found = answers(items, stored, seed)
    metrics = task_metrics.text_metrics(task_metrics.task_of(items))
    return [
        Baseline(
            name,
            LABELS[name],
            {metric.name: metric.corpus_score(metric.of_items(items, texts)) for metric in metrics},
        )
        for name, texts in found.items()
    ]


def answers(items: Sequence[Prediction], stored: Mapping[str, Sequence[str]], seed: int) -> dict[str, Sequence[str]]:
    """Return the answers of every known baseline, the ceiling last; the arguments are those of `rows`."""
    known: dict[str, Sequence[str]] = {"empty": [""] * len(items), **stored}
    if len(items) > 1:  # of one prompt there is no other reference
        known["random"] = _others(items, seed)
    if CEILING not in stored:
        known[CEILING] = [item.reference for item in items]
    return {name: known[name] for name in LABELS if name in known}


def _others(items: Sequence[Prediction], seed: int) -> list[str]:
    """Return for each item the reference of another one: that of the previous item in a random cyclic order."""
    order = list(range(len(items)))
    random.Random(seed).shuffle(order)
    answers = [""] * len(items)
    for place, index in enumerate(order):
        answers[index] = items[order[place - 1]].reference
    return answers


def findings(table: Sequence[Baseline], task: str) -> list[str]:
    """Return a sentence for every text metric in which the references do not reach 100."""
    ceiling = next(row.values for row in table if row.baseline == CEILING)
    labels = {metric.name: metric.label for metric in task_metrics.text_metrics(task)}
    return [
        f"The references themselves score {value:.1f} in {labels[name]}, not 100: the tokenizer or the metric "
        "loses text, and no model can score more."
        for name, value in ceiling.items()
        if value < 100 - 1e-6
    ]
