"""What goes wrong in predictions, counted, with the references beside them: real code is sometimes repetitive too."""

import collections
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from codefit.records import Prediction

ECHO = 80  # characters of the prompt's head and tail that are looked for
SHORTEST_ECHO = 20  # less than this may stand in a prediction by chance
TOLERATED = 0.05  # a share of the predictions above that of the references by more than this is a finding
STOPPED_WELL = 0.9  # a share of natural ends at which a model stops too, below which is a finding

Text = Callable[[Prediction], str]


def rows(by_role: Mapping[str, Sequence[Prediction]]) -> list[dict[str, Any]]:
    """Return a row per check: `check`, `label`, and for `reference` and each model a `count` out of `of`."""
    items = next(iter(by_role.values()))
    natural = {
        role: [item for item in found if item.reference_finish_reason == "stop"] for role, found in by_role.items()
    }
    ends = next(iter(natural.values()))
    return [
        {
            "check": "stops",
            "label": "stopped by itself",
            "reference": _count(ends, items),
            **{role: _count(_stopped(found), found) for role, found in by_role.items()},
        },
        {
            "check": "stops_at_natural_end",
            "label": "… of those whose reference has a natural end",
            "reference": _count(ends, ends),
            **{role: _count(_stopped(found), found) for role, found in natural.items()},
        },
        *(_text_row(check, by_role) for check in TEXT_CHECKS),
    ]


def _text_row(check: str, by_role: Mapping[str, Sequence[Prediction]]) -> dict[str, Any]:
    label, holds = TEXT_CHECKS[check]
    items = next(iter(by_role.values()))
    return {
        "check": check,
        "label": label,
        "reference": _count([item for item in items if holds(item.reference, item.prompt)], items),
        **{
            role: _count([item for item in found if holds(item.prediction, item.prompt)], found)
            for role, found in by_role.items()
        },
    }


def _stopped(items: Sequence[Prediction]) -> list[Prediction]:
    return [item for item in items if item.finish_reason == "stop"]


def _count(found: Sequence[Prediction], of: Sequence[Prediction]) -> dict[str, int]:
    return {"count": len(found), "of": len(of)}


def is_empty(text: str, prompt: str) -> bool:
    """Return whether there is nothing but white space."""
    return not text.strip()


def echoes(text: str, prompt: str) -> bool:
    """Return whether the head or the tail of the prompt stands in the text."""
    parts = (prompt[:ECHO].strip(), prompt[-ECHO:].strip())
    return any(len(part) >= SHORTEST_ECHO and part in text for part in parts)


def repeats(text: str, prompt: str) -> bool:
    """Return whether one run of four tokens, a word among them, stands in the text four times or more."""
    if max(collections.Counter(re.findall(r"\w+", text)).values(), default=0) < 4:  # nearly always, and soon found
        return False
    tokens = re.findall(r"\w+|[^\w\s]", text)
    runs = collections.Counter(zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False))
    return any(count >= 4 and any(token[0].isalnum() for token in run) for run, count in runs.items())


TEXT_CHECKS = {
    "empty": ("empty", is_empty),
    "echo": ("contains the prompt", echoes),
    "repeats": ("repeats itself", repeats),
}


def share(count: dict[str, int]) -> float:
    """Return a count as a share; of nothing it is 0."""
    return count["count"] / count["of"] if count["of"] else 0.0


def findings(table: Sequence[dict[str, Any]], words: Mapping[str, str], base: str) -> list[str]:
    """Return a sentence for everything that a reader must know of a model before believing its scores.

    Args:
        table: of `rows`.
        words: what a model is called in a sentence ("adapted model"), by role; only these are looked at.
        base: what the base is called; its share stands beside, since what it does too was not learned.
    """
    sentences = []
    for role, word in words.items():
        for row in table:
            reference, before, found = (share(row[whose]) for whose in ("reference", "base", role))
            if row["check"] in TEXT_CHECKS and found > reference + TOLERATED:
                what = FINDINGS[row["check"]]
                sentences.append(
                    f"{100 * found:.0f} % of the predictions of the {word} {what} "
                    f"({base} {100 * before:.0f} %, references {100 * reference:.0f} %)."
                )
            if row["check"] == "stops_at_natural_end" and row[role]["of"] and found < STOPPED_WELL:
                sentences.append(
                    f"The {word} stops by itself at only {100 * found:.0f} % of the natural ends "
                    f"({base} {100 * before:.0f} %)."
                )
    return sentences


FINDINGS = {"empty": "are empty", "echo": "contain the prompt", "repeats": "repeat themselves"}
