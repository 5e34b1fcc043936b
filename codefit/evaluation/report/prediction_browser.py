"""The data of the page's prediction browser: prompts, references and predictions, with differences marked."""

from collections.abc import Mapping, Sequence
from typing import Any

from codefit.evaluation import prompt_groups
from codefit.evaluation.comparison import ByModel
from codefit.evaluation.result_schema import BenchmarkResult, Scores
from codefit.records import Prediction
from codefit.scoring.metric import in_sentence
from codefit.scoring.text_diff import differing

MOST_ITEMS = 500  # more would make the page heavy; all items are in the predictions files
PROMPT_TAIL = 1000  # characters
LONGEST_TEXT = 2000  # characters of a reference or a prediction


def content(scores: Scores, predictions: Mapping[str, ByModel]) -> dict[str, Any]:
    """Return the data of the page's script: `models`, `kinds` of groups, `metrics` by benchmark, and `items`."""
    limit = MOST_ITEMS // len(predictions)
    return {
        "models": [model.label for model in scores.models.values()],
        "kinds": list(prompt_groups.TITLES.values()),
        "metrics": {found.title: in_sentence(found.headline.label) for found in scores.benchmarks.values()},
        "items": [
            _item(scores.benchmarks[name], [items[at] for items in by_model.values()])
            for name, by_model in predictions.items()
            for at in range(min(limit, len(by_model["base"])))
        ],
    }


def shown(predictions: Mapping[str, ByModel]) -> str:
    """Return a sentence on how many prompts the browser shows."""
    limit = MOST_ITEMS // len(predictions)
    sizes = [len(by_model["base"]) for by_model in predictions.values()]
    count = sum(min(limit, size) for size in sizes)
    if count == sum(sizes):
        return f"{count} prompts, with the predictions of all models."
    return f"The first prompts of each benchmark, {count} of {sum(sizes)}; all are in the predictions files."


def _item(result: BenchmarkResult, answers: Sequence[Prediction]) -> dict[str, Any]:
    first = answers[0]
    return {
        "id": first.id,
        "where": result.title,
        "path": first.path,
        "groups": list(prompt_groups.of(first).values()),
        "prompt": ("… " if len(first.prompt) > PROMPT_TAIL else "") + first.prompt[-PROMPT_TAIL:],
        "suffix": _cut(first.suffix or ""),
        "reference": _cut(first.reference),
        "answers": [_answer(item, result.headline.metric) for item in answers],
    }


def _answer(item: Prediction, headline: str) -> dict[str, Any]:
    return {
        "score": round(item.scores[headline], 6),  # the page shows one decimal, but compares exactly
        "end": "stopped by itself" if item.finish_reason == "stop" else "cut at the token limit",
        "parts": differing(_cut(item.prediction), _cut(item.reference)),
    }


def _cut(text: str) -> str:
    rest = len(text) - LONGEST_TEXT
    return text if rest <= 0 else f"{text[:LONGEST_TEXT]} … ({rest} more characters)"
