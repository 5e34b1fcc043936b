"""The interface of a task: a module of this folder whose name is one of `TASKS`.

It has a docstring, `NEEDS_TOKENS` (whether it needs the token positions), `NEEDS_SYNTAX` (whether it needs the syntax
tree), `STOP` (the stop condition of predictions: "end" is only end-of-sequence, "line" also the first line end, "body"
also the end of a function's body) and

    build_pairs(document, starts, options, skipped) -> Iterator[Pair]

where `starts` holds the character at which each token of the document begins (empty without `NEEDS_TOKENS`) and
`skipped` counts by reason what gave no pair. The metrics of the task are a row in codefit/evaluation/task_metrics.py.
"""

import importlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

from codefit.records import Document, Pair

TASKS = ("completion", "document", "infill", "line", "method", "naming", "summary")


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """The limits of a task, in tokens unless the name says otherwise."""

    max_prompt_tokens: int
    max_completion_tokens: int
    window_step: int
    max_pairs_per_file: int
    seed: int
    lines_before: int = 15
    lines_after: int = 10
    prompt_format: str = "plain"
    repository_context: int = 0  # part of max_prompt_tokens
    without_docstring: bool = False  # in the prompts of the task naming
    check_docstrings: bool = False  # of the task summary

    def with_room_for(self, special: int) -> "TaskOptions":
        """Return the limits for a tokenizer that puts so many special tokens, such as BOS, around every text."""
        return replace(self, max_prompt_tokens=self.max_prompt_tokens - special)


class Task(Protocol):
    """The interface of a task module."""

    NEEDS_TOKENS: bool
    NEEDS_SYNTAX: bool
    STOP: str

    def build_pairs(
        self, document: Document, starts: Sequence[int], options: TaskOptions, skipped: Counter[str]
    ) -> Iterator[Pair]:
        """Yield the pairs of one document."""


def load_task(name: str) -> Task:
    """Return the module of a task; the names are `TASKS`."""
    return cast(Task, importlib.import_module(f"codefit.tasks.{name}"))
