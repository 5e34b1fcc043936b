"""Pairs for preference training without people: the author's completion against the model's own wrong one.

A completion is wrong if it goes on where an editor would cut it, is longer than the author's and has no end, repeats
itself, or calls or accesses names that occur neither around the cursor nor in the training data. Any other completion
may be as good as the author's.
"""

import dataclasses
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from codefit.code.lexer import IDENTIFIER
from codefit.evaluation import output_checks, truncation
from codefit.records import Pair, Prediction, read_jsonl

OVER_LONG, REPEATS, INVENTS = "over-long", "repeats itself", "invents names"
USED_NAME = re.compile(r"\.\s*([^\W\d]\w*)|([^\W\d]\w*)\s*\(")  # accessed or called


@dataclasses.dataclass(frozen=True, slots=True)
class Preference:
    """A prompt with a completion that is preferred to another one; `why` is what is wrong with that one."""

    prediction: Prediction
    why: str

    @property
    def row(self) -> dict[str, str | None]:
        """What is kept of it to be read."""
        item = self.prediction
        return {
            "id": item.id,
            "why": self.why,
            "prompt": item.prompt,
            "suffix": item.suffix,
            "chosen": item.reference,
            "rejected": item.prediction,
            "rejected_finish_reason": item.finish_reason,
        }


def sampled(path: Path, count: int, seed: int) -> list[Pair]:
    """Return training pairs with a natural end: at most `count`, sampled by seed, in their order in the file."""
    whole = [pair for pair in read_jsonl(path, Pair) if pair.finish_reason == "stop" and pair.completion.strip()]
    chosen = sorted(random.Random(seed).sample(range(len(whole)), min(count, len(whole))))
    return [whole[number] for number in chosen]


def found(items: Iterable[Prediction], known: set[str]) -> list[Preference]:
    """Return a preference for every wrong completion.

    Args:
        items: completions of prompts whose references have a natural end.
        known: identifiers that are not invented, wherever they are used.
    """
    return [Preference(item, why) for item in items if (why := fault(item, known))]


def fault(item: Prediction, known: set[str]) -> str:
    """Return what is wrong with a completion: OVER_LONG, REPEATS or INVENTS; "" for nothing that is certain."""
    shown = truncation.as_editor(item, item.prediction)
    never_ended = item.finish_reason == "length" and len(item.prediction) > len(item.reference)
    if truncation.as_editor(item, item.reference).rstrip() == item.reference.rstrip() and (
        never_ended or shown.rstrip() != item.prediction.rstrip()
    ):
        return OVER_LONG
    if output_checks.repeats(item.prediction, "") and not output_checks.repeats(item.reference, ""):
        return REPEATS
    return INVENTS if invented(item, shown, known) else ""


def invented(item: Prediction, text: str, known: set[str]) -> set[str]:
    """Return the names that a text at the cursor calls or accesses and that occur nowhere else."""
    cut = re.search(r"(?:\.\s*)?\w*$", item.prompt)  # a name that the cursor cuts, or one that is accessed
    begun = cut[0] if cut else ""
    used = {name for names in USED_NAME.findall(begun + text) for name in names if name}
    around = " ".join([item.prompt, item.suffix or "", begun + item.reference])
    return used - known - set(IDENTIFIER.findall(around))


def counts(preferences: Sequence[Preference]) -> dict[str, int]:
    """Return the number of preferences by what is wrong."""
    return {why: sum(each.why == why for each in preferences) for why in (OVER_LONG, REPEATS, INVENTS)}
