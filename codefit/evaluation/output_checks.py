"""Defects of predictions, counted for the references too, since real code is sometimes repetitive."""

import collections
import re
from collections.abc import Callable, Mapping, Sequence

from codefit.evaluation import truncation
from codefit.evaluation.result_schema import Check, Count
from codefit.records import Prediction

ECHO = 80  # characters of the prompt's head and tail that are looked for
SHORTEST_ECHO = 20  # less than this may occur in a prediction by chance
VOIDED = 0.5  # a share of defective predictions that leaves no conclusion; of echoes, TOLERATED is enough
TOLERATED = 0.05  # a share of the predictions above that of the references by more than this is a finding
RUNS_ON = "runs_on"  # predictions that an editor cuts
FENCE = "```"  # how a chat model begins code
SAME = "same"  # predictions that are the most frequent one
MOST_OFTEN = 0.1  # a share above that of the references by more than this is a finding, from FEWEST_SAME on
FEWEST_SAME = 5
STOPS_AT_NATURAL_END = "stops_at_natural_end"
STOPPED_WELL = 0.9  # a share of natural ends at which a model stops too, below which is a finding

Text = Callable[[Prediction], str]


def rows(by_model: Mapping[str, Sequence[Prediction]]) -> list[Check]:
    """Return every check, counted for the references and for each model."""
    items = next(iter(by_model.values()))
    natural = {
        key: [item for item in found if item.reference_finish_reason == "stop"] for key, found in by_model.items()
    }
    ends = next(iter(natural.values()))
    return [
        Check(
            "stops",
            "stopped by itself",
            _count(ends, items),
            {key: _count(_stopped(found), found) for key, found in by_model.items()},
        ),
        Check(
            STOPS_AT_NATURAL_END,
            "… of those whose reference has a natural end",
            _count(ends, ends),
            {key: _count(_stopped(found), found) for key, found in natural.items()},
        ),
        Check(
            RUNS_ON,
            "goes on after an editor's cut",
            _count(_running_on(items, [item.reference for item in items]), items),
            {
                key: _count(_running_on(found, [item.prediction for item in found]), found)
                for key, found in by_model.items()
            },
        ),
        *(_of_texts(check, by_model) for check in TEXT_CHECKS),
        Check(
            SAME,
            "the most frequent one",
            Count(_most([item.reference for item in items]), len(items)),
            {key: Count(_most([item.prediction for item in found]), len(found)) for key, found in by_model.items()},
        ),
    ]


def _most(texts: Sequence[str]) -> int:
    """Return how often the most frequent text occurs; an empty one is another check."""
    return max(collections.Counter(filter(None, map(str.strip, texts))).values(), default=0)


def _of_texts(check: str, by_model: Mapping[str, Sequence[Prediction]]) -> Check:
    label, holds = TEXT_CHECKS[check]
    items = next(iter(by_model.values()))
    return Check(
        check,
        label,
        _count([item for item in items if holds(item.reference, item.prompt)], items),
        {
            key: _count([item for item in found if holds(item.prediction, item.prompt)], found)
            for key, found in by_model.items()
        },
    )


def _stopped(items: Sequence[Prediction]) -> list[Prediction]:
    return [item for item in items if item.finish_reason == "stop"]


def _running_on(items: Sequence[Prediction], texts: Sequence[str]) -> list[Prediction]:
    return [
        item
        for item, text in zip(items, texts, strict=True)
        if truncation.as_editor(item, text).rstrip() != text.rstrip()
    ]


def _count(found: Sequence[Prediction], of: Sequence[Prediction]) -> Count:
    return Count(len(found), len(of))


def is_empty(text: str, prompt: str) -> bool:
    """Return whether a text has only white space."""
    return not text.strip()


def echoes(text: str, prompt: str) -> bool:
    """Return whether the head or the tail of the prompt occurs in the text."""
    parts = (prompt[:ECHO].strip(), prompt[-ECHO:].strip())
    return any(len(part) >= SHORTEST_ECHO and part in text for part in parts)


def repeats(text: str, prompt: str) -> bool:
    """Return whether a sequence of four tokens, including a word, occurs in the text at least four times."""
    if max(collections.Counter(re.findall(r"\w+", text)).values(), default=0) < 4:  # a fast check for most texts
        return False
    tokens = re.findall(r"\w+|[^\w\s]", text)
    runs = collections.Counter(zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False))
    return any(count >= 4 and any(token[0].isalnum() for token in run) for run, count in runs.items())


def is_fenced(text: str, prompt: str) -> bool:
    """Return whether the text begins as a block of code in Markdown."""
    return text.lstrip().startswith(FENCE)


TEXT_CHECKS = {
    "empty": ("empty", is_empty),
    "echo": ("contains the prompt", echoes),
    "repeats": ("repeats itself", repeats),
    "fence": ("begins with a Markdown fence", is_fenced),
}


def findings(table: Sequence[Check], words: Mapping[str, str], base: str) -> list[str]:
    """Return a sentence for everything that a reader must know about a model before trusting its scores.

    Args:
        table: of `rows`.
        words: the name of each model in a sentence ("adapted model"), by key; only these are checked.
        base: what the base is called; its share is given too, since what it also does was not learned.
    """
    return [_sentence(row, key, word, base) for key, word in words.items() for row in table if _excess(row, key) > 0]


def doubts(table: Sequence[Check], key: str, word: str, base: str) -> list[str]:
    """Return the findings that make a conclusion about a model impossible; the arguments are those of `findings`."""
    found = [row for row in table if row.check != STOPS_AT_NATURAL_END and _excess(row, key) > 0]
    return [
        _sentence(row, key, word, base)
        for row in found
        if row.check in ("echo", SAME) or row.counts[key].share - row.reference.share > VOIDED
    ]


def _excess(row: Check, key: str) -> float:
    """Return by how much a share exceeds the tolerated one."""
    count, reference = row.counts[key], row.reference.share
    if row.check == SAME:
        return count.share - reference - MOST_OFTEN if count.count >= FEWEST_SAME else 0.0
    if row.check in TEXT_CHECKS:
        return count.share - reference - TOLERATED
    return STOPPED_WELL - count.share if row.check == STOPS_AT_NATURAL_END and count.of else 0.0


def _sentence(row: Check, key: str, word: str, base: str) -> str:
    reference, before, found = (100 * each.share for each in (row.reference, row.counts["base"], row.counts[key]))
    if row.check == STOPS_AT_NATURAL_END:
        return f"The {word} stops by itself at only {found:.0f} % of the natural ends ({base} {before:.0f} %)."
    return (
        f"{found:.0f} % of the predictions of the {word} {FINDINGS[row.check]} "
        f"({base} {before:.0f} %, references {reference:.0f} %)."
    )


FINDINGS = {
    "empty": "are empty",
    "echo": "contain the prompt",
    "repeats": "repeat themselves",
    "fence": "begin with a Markdown fence",
    SAME: "are the same text",
}
