"""Stop conditions in addition to end-of-sequence: one per task, checked after every decoded token."""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

from codefit.code.structure import end_of_body
from codefit.tasks.task import TASKS, load_task

RULES = ("end", "line", "body", "statement")
STATEMENT = re.compile(r"\"(?:[^\"\\]|\\.)*(?:\"|\\?\Z)|'(?:[^'\\]|\\.)*(?:'|\\?\Z)|([;}])|(\{)", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class StopRule:
    """A stop condition: its name in manifests, and a function that tests the tokens decoded so far."""

    name: str
    has_ended: Callable[[list[int]], bool]


def rule(name: str, encoder: Any) -> StopRule | None:
    """Return a stop condition by name; None for "end", where only end-of-sequence ends a completion.

    In addition to end-of-sequence, "line" stops at the end of the first line with text (for models without
    end-of-sequence and for benchmarks of single lines), "body" at the end of the function whose signature ended the
    prompt, and "statement" at `;`, `}` or `{`. The last token may hold text after that end: see `text_until`.

    Args:
        name: one of RULES.
        encoder: a codefit.encoding.Encoder.
    """
    if name == "end":
        return None

    @functools.cache
    def breaks_line(token: int) -> bool:
        return "\n" in encoder.decode([token])

    if name == "body":
        return StopRule(
            "body", lambda ids: any(map(breaks_line, ids[-2:])) and end_of_body(encoder.decode(ids)) is not None
        )
    if name == "statement":
        return StopRule("statement", lambda ids: _end_of_statement(encoder.decode(ids)) is not None)
    return StopRule("line", lambda ids: breaks_line(ids[-1]) and "\n" in encoder.decode(ids).lstrip())


def _end_of_statement(text: str) -> int | None:
    """Return where the first `;` or `}` ends or the first `{` begins, outside of strings; None if there is none."""
    found = next((match for match in STATEMENT.finditer(text) if match.lastindex), None)
    return found and (found.end() if found[1] else found.start())


def of_tasks(names: Iterable[str]) -> str:
    """Return the stop condition that all given tasks share; "end" where they differ or are not known."""
    found = {load_task(name).STOP if name in TASKS else "end" for name in set(names)}
    return found.pop() if len(found) == 1 else "end"


def text_until(name: str, text: str) -> str:
    """Return a text cut where the stop condition of this name is met."""
    if name == "end":
        return text
    if name == "body":
        return text[: end_of_body(text)]
    if name == "statement":
        return text[: _end_of_statement(text)].rstrip()
    written = text.lstrip()
    return text[: len(text) - len(written)] + written.partition("\n")[0]
