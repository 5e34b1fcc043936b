"""Floors and a ceiling beside every score: what answers get that no model had to write.

Empty, constant and random answers show where a metric begins, the nearest training item what a look-up gives, and the
references, turned into tokens and back as predictions are, must score 100: less means that the pipeline loses text.
"""

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any

from codefit import scoring
from codefit.records import Prediction

LABELS = {
    "empty": "nothing at all",
    "random": "the reference of another prompt",
    "constant": "the most frequent training completion",
    "nearest": "the nearest training item",
    "references": "the references, through the tokenizer",
}
CEILING = "references"
STORED = ("constant", "nearest", CEILING)  # those that need training data or a tokenizer, and are kept for rescoring


def rows(items: Sequence[Prediction], stored: Mapping[str, Sequence[str]], seed: int) -> list[dict[str, Any]]:
    """Return a row per baseline: `baseline`, `label`, and `values` by metric.

    Args:
        items: the predictions of any model, for their prompts and references.
        stored: answers by baseline, as far as they are known.
        seed: of the random references.
    """
    answers = {"empty": [""] * len(items), "random": _others(items, seed), **stored}
    if CEILING not in stored:
        answers[CEILING] = [item.reference for item in items]
    table = {name: metric for name, metric in scoring.applicable(items).items() if not hasattr(metric, "applies")}
    found = []
    for name in (name for name in LABELS if name in answers):
        answered = [dataclasses.replace(item, prediction=text) for item, text in zip(items, answers[name], strict=True)]
        values = {
            metric.NAME: float(metric.value(scoring.measure(metric, answered).sum(axis=0))) for metric in table.values()
        }
        found.append({"baseline": name, "label": LABELS[name], "values": values})
    return found


def _others(items: Sequence[Prediction], seed: int) -> list[str]:
    """Return for each item the reference of another one: the items in a random ring."""
    order = list(range(len(items)))
    random.Random(seed).shuffle(order)
    answers = [""] * len(items)
    for place, index in enumerate(order):
        answers[index] = items[order[place - 1]].reference
    return answers


def findings(table: Sequence[dict[str, Any]]) -> list[str]:
    """Return a sentence for every metric of texts in which the references do not reach 100."""
    ceiling = next(row["values"] for row in table if row["baseline"] == CEILING)
    texts = scoring.text_metrics()
    return [
        f"The references themselves score {value:.1f} in {texts[name].LABEL}, not 100: the tokenizer or the metric "
        "loses text, and no model can score more."
        for name, value in ceiling.items()
        if name in texts and texts[name].UNIT == "%" and value < 100 - 1e-6
    ]
