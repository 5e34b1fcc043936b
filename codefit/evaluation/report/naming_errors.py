"""The error page of a naming benchmark: which names are confused, and the scores by length of the name."""

import html
from collections import Counter
from collections.abc import Sequence

from codefit.console import markdown_table
from codefit.evaluation.report.wording import Models
from codefit.records import Prediction
from codefit.scoring.exact_match import EXACT_MATCH
from codefit.scoring.naming import NAMING_F1, NAMING_STEMMED, parts, stems

SHOWN = 15  # rows of a table of confusions
LONGEST = 5  # parts of a name, from which on names are one row
ROW = ("parts of the name", "prompts", "exact match", "stemmed match", "name F1", "parts of the answer")


def page(by_model: dict[str, list[Prediction]], models: Models, title: str) -> str:
    """Return the page as Markdown.

    Args:
        by_model: the predictions of each model, all of the task naming.
        models: by key, for their labels.
        title: title of the benchmark.
    """
    text = [f"# Names that went wrong: {title}"]
    for key, items in by_model.items():
        label = models[key].label
        text += [f"## {label}", f"By the number of parts of the real name (`read_two_lines` has three), {label}:"]
        text += [markdown_table(lengths(items), ROW)]
        one, missed, added = confusions(items)
        text += [f"One part replaced by another, with all other parts correct: {one.total()} prompts."]
        text += [_counts(("real", "predicted", "times"), one)]
        text += ["Parts that are most often missing, and parts that are most often superfluous:"]
        text += [_counts(("missing", "times"), missed), _counts(("superfluous", "times"), added)]
        wrong: Counter[tuple[str, ...]] = Counter(
            (item.reference, _answer(item)) for item in items if _answer(item) != item.reference.strip()
        )
        repaired = Counter({pair: times for pair, times in wrong.items() if stems(pair[0]) == stems(pair[1])})
        text += [f"Names that differ only in case, underscores or the endings of words: {repaired.total()} prompts."]
        text += [_counts(("real", "predicted", "times"), repaired)]
        text += ["Most frequently confused names:", _counts(("real", "predicted", "times"), wrong)]
    return html.escape("\n\n".join(text), quote=False) + "\n"


def lengths(items: Sequence[Prediction]) -> list[tuple[str, ...]]:
    """Return a row for the names of each number of parts."""
    groups: dict[int, list[Prediction]] = {}
    for item in items:
        groups.setdefault(min(max(len(parts(item.reference)), 1), LONGEST), []).append(item)
    return [_length(size, groups[size]) for size in sorted(groups)]


def _length(size: int, items: list[Prediction]) -> tuple[str, ...]:
    texts = [item.prediction for item in items], [item.reference for item in items]
    values = (metric.score(*texts) for metric in (EXACT_MATCH, NAMING_STEMMED, NAMING_F1))
    answered = sum(len(parts(item.prediction)) for item in items) / len(items)
    name = f"{size} or more" if size == LONGEST else str(size)
    return (name, str(len(items)), *(f"{value:.1f}" for value in values), f"{answered:.1f}")


def confusions(items: Sequence[Prediction]) -> tuple[Counter[tuple[str, ...]], ...]:
    """Return how often a single part is replaced by another, a part is missing, and a part is superfluous."""
    one: Counter[tuple[str, ...]] = Counter()
    missed: Counter[tuple[str, ...]] = Counter()
    added: Counter[tuple[str, ...]] = Counter()
    for item in items:
        found, wanted = Counter(parts(item.prediction)), Counter(parts(item.reference))
        lost, more = list((wanted - found).elements()), list((found - wanted).elements())
        if len(lost) == len(more) == 1:
            one[lost[0], more[0]] += 1
        missed.update((part,) for part in lost)
        added.update((part,) for part in more)
    return one, missed, added


def _answer(item: Prediction) -> str:
    return item.prediction.strip().partition("\n")[0][:60]


def _counts(header: tuple[str, ...], counts: Counter[tuple[str, ...]]) -> str:
    """Return the most frequent rows as a table; those of the same count by their text."""
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))[:SHOWN]
    cells = [(*(f"`{part}`" if part else "nothing" for part in key), str(count)) for key, count in rows]
    return markdown_table(cells, header) if cells else "None."
