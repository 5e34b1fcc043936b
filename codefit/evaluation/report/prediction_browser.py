"""The data of the page's examples and prediction browser: prompts, references, predictions with marked differences."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from codefit import console
from codefit.code.languages import language_of
from codefit.evaluation import prompt_groups, truncation
from codefit.evaluation.comparison import ByModel
from codefit.evaluation.result_schema import BenchmarkResult, Scores
from codefit.records import Prediction
from codefit.scoring.metric import in_sentence
from codefit.scoring.text_diff import differing

MOST_ITEMS = 500  # more would make the page heavy; all items are in the predictions files
PROMPT_TAIL = 1000  # characters
LONGEST_TEXT = 2000  # characters of a reference or a prediction
EXAMPLES = 3  # at the head of a page
EXAMPLE_PROMPT = 6  # lines


def content(scores: Scores, predictions: Mapping[str, ByModel]) -> dict[str, Any]:
    """Return the data of the page's script.

    These are the names of `models`, the `kinds` of groups, and by benchmark, in order, the `metrics` that carry the
    verdict, and the `examples`; `items` are the prompts of all benchmarks, each with the number of its own as `where`.
    """
    limit = MOST_ITEMS // len(predictions)
    benchmarks = [(scores.benchmarks[name], by_model) for name, by_model in predictions.items()]
    return {
        "models": [model.label for model in scores.models.values()],
        "kinds": list(prompt_groups.TITLES.values()),
        "metrics": [in_sentence(found.headline.label) for found, _ in benchmarks],
        "items": [
            {"where": where, **_item(found, [items[at] for items in by_model.values()])}
            for where, (found, by_model) in enumerate(benchmarks)
            for at in range(min(limit, len(by_model["base"])))
        ],
        "examples": [examples(found, by_model) for found, by_model in benchmarks],
    }


def examples(result: BenchmarkResult, by_model: ByModel) -> list[dict[str, Any]]:
    """Return the examples of a benchmark: those whose ids have the smallest sha256, so that nobody chooses them."""
    base = by_model["base"]
    chosen = sorted(range(len(base)), key=lambda at: hashlib.sha256(base[at].id.encode()).digest())[:EXAMPLES]
    found = [_item(result, [items[at] for items in by_model.values()]) for at in chosen]
    prompts = [base[at].prompt for at in chosen]
    tails = ["\n".join(prompt[-PROMPT_TAIL:].split("\n")[-EXAMPLE_PROMPT:]) for prompt in prompts]
    return [item | _end_of(prompt, tail) for item, prompt, tail in zip(found, prompts, tails, strict=True)]


def rule(result: BenchmarkResult) -> str:
    """Return a sentence on how the examples were chosen."""
    count = min(EXAMPLES, result.n)
    which = (
        f"The {count} of {result.n} prompts whose ids have the smallest sha256" if count < result.n else "All prompts"
    )
    return f"{which}: nobody chose them. Marked parts differ from the reference; an editor cuts before grey text."


def _end_of(prompt: str, tail: str) -> dict[str, Any]:
    """Return the end of a prompt, and whether it begins inside a docstring."""
    cut = prompt.removesuffix(tail)
    return {"prompt": f"… {tail}" if cut else tail, "inside": cut.count('"""') % 2 == 1}


def shown(predictions: Mapping[str, ByModel]) -> str:
    """Return a sentence on how many prompts the browser shows."""
    limit = MOST_ITEMS // len(predictions)
    sizes = [len(by_model["base"]) for by_model in predictions.values()]
    count = sum(min(limit, size) for size in sizes)
    if count == sum(sizes):
        return f"{console.counted(count, 'prompt')}, with the predictions of all models."
    return f"The first prompts of each benchmark, {count} of {sum(sizes)}; all are in the predictions files."


def _item(result: BenchmarkResult, answers: Sequence[Prediction]) -> dict[str, Any]:
    first = answers[0]
    language = language_of(first.path, first.language)
    return {
        "id": first.id,
        "path": first.path,
        "language": language.name if language else "",
        "groups": list(prompt_groups.of(first).values()),
        **_end_of(first.prompt, first.prompt[-PROMPT_TAIL:]),
        "suffix": _cut(first.suffix or ""),
        "reference": _cut(first.reference),
        "answers": [_answer(item, result.headline.metric) for item in answers],
    }


def _answer(item: Prediction, headline: str) -> dict[str, Any]:
    kept = truncation.as_editor(item, item.prediction).rstrip()
    whole = not item.prediction.startswith(kept) or kept == item.prediction.rstrip()
    return {
        "score": round(item.scores[headline], 6),  # the page shows one decimal, but compares exactly
        "end": "stopped by itself" if item.finish_reason == "stop" else "cut at the token limit",
        "parts": differing(_cut(item.prediction), _cut(item.reference)),
    } | ({} if whole else {"kept": len(kept)})


def _cut(text: str) -> str:
    rest = len(text) - LONGEST_TEXT
    return text if rest <= 0 else f"{text[:LONGEST_TEXT]} … ({rest} more characters)"
