"""The tasks: a module of this folder is a task, named after its file.

Each has a docstring, `NEEDS_TOKENS` (whether it must know where tokens start) and

    build_pairs(document, starts, options, skipped) -> Iterator[Pair]

where `starts` holds the character at which each token of the document begins (empty without `NEEDS_TOKENS`) and
`skipped` counts by reason what gave no pair.
"""

import importlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from codefit.records import Document, Pair

TASKS = tuple(sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py")))


@dataclass(frozen=True, slots=True)
class Options:
    """The limits that a task keeps to, in tokens."""

    max_prompt_tokens: int
    max_completion_tokens: int
    window_step: int
    max_pairs_per_file: int
    seed: int


class Task(Protocol):
    """What a task module offers."""

    NEEDS_TOKENS: bool

    def build_pairs(
        self, document: Document, starts: Sequence[int], options: Options, skipped: Counter[str]
    ) -> Iterator[Pair]:
        """Yield the pairs of one document."""


def load_task(name: str) -> Task:
    """Return the module of a task; the names are `TASKS`."""
    return cast(Task, importlib.import_module(f"codefit.tasks.{name}"))
