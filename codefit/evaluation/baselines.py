"""Floors and a ceiling next to every score: what answers get that no model wrote.

Empty, constant and random answers show where a metric starts, and the nearest training item shows what a look-up gives.
The references, encoded and decoded as predictions are, must score 100: less means that the pipeline loses text.
"""

import random
from collections.abc import Mapping, Sequence

from codefit.evaluation import task_metrics
from codefit.evaluation.result_schema import Baseline
from codefit.records import Prediction

LABELS = {
    "empty": "nothing at all",
    "random": "the reference of another prompt",
    "constant": "the most frequent training completion",
    "nearest": "the nearest training item",
    "references": "the references, through the tokenizer",
}
CEILING = "references"
STORED = ("constant", "nearest", CEILING)  # they need training data or a tokenizer, and are stored for --rescore


def rows(items: Sequence[Prediction], stored: Mapping[str, Sequence[str]], seed: int) -> list[Baseline]:
    """Return the score of every baseline whose answers are known, the ceiling last.

    Args:
        items: the predictions of any model, for their prompts and references.
        stored: answers by baseline, as far as they are known.
        seed: of the random references.
    """
    answers = {"empty": [""] * len(items), "random": _others(items, seed), **stored}
    if CEILING not in stored:
        answers[CEILING] = [item.reference for item in items]
    metrics = task_metrics.text_metrics(task_metrics.task_of(items))
    references = [item.reference for item in items]
    found = []
    for baseline in (baseline for baseline in LABELS if baseline in answers):
        values = {metric.name: metric.score(answers[baseline], references) for metric in metrics}
        found.append(Baseline(baseline, LABELS[baseline], values))
    return found


def _others(items: Sequence[Prediction], seed: int) -> list[str]:
    """Return for each item the reference of another one: of the previous item in a random ring."""
    order = list(range(len(items)))
    random.Random(seed).shuffle(order)
    answers = [""] * len(items)
    for place, index in enumerate(order):
        answers[index] = items[order[place - 1]].reference
    return answers


def findings(table: Sequence[Baseline], task: str) -> list[str]:
    """Return a sentence for every metric of a task's texts in which the references do not reach 100."""
    ceiling = next(row.values for row in table if row.baseline == CEILING)
    labels = {metric.name: metric.label for metric in task_metrics.text_metrics(task)}
    return [
        f"The references themselves score {value:.1f} in {labels[name]}, not 100: the tokenizer or the metric "
        "loses text, and no model can score more."
        for name, value in ceiling.items()
        if value < 100 - 1e-6
    ]
