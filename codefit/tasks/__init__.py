"""The tasks: a module of this folder is a task, named after its file.

Each has a docstring, `NEEDS_TOKENS` (whether it must know where tokens start), `STOP` (where a prediction ends: "end"
only at end-of-sequence, "line" also at its first line end, "body" also behind a function's body), `METRICS` (what its
predictions are scored by, the headline first; names of codefit.scoring) and

    build_pairs(document, starts, options, skipped) -> Iterator[Pair]

where `starts` holds the character at which each token of the document begins (empty without `NEEDS_TOKENS`) and
`skipped` counts by reason what gave no pair.
"""

import bisect
import dataclasses
import hashlib
import importlib
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from codefit.records import Document, Pair, to_line
from codefit.repository_context import Context, Near, lay_out
from codefit.syntax import Definition
from codefit.vocabulary import token_starts

TASKS = tuple(sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py")))

MIN_PROMPT_TOKENS = 16  # before the first cut of a file
CLOSING = re.compile(r"[\s)\]};,:]*(?:end)?[\s)\]};,:]*")  # a text that only closes what is open
LEAST_LINES = 3  # of a function that says something: CodeSearchNet's limit (arXiv 1909.09436)

Place = TypeVar("Place")


@dataclass(frozen=True, slots=True)
class Options:
    """The limits that a task keeps to, in tokens where nothing else is said."""

    max_prompt_tokens: int
    max_completion_tokens: int
    window_step: int
    max_pairs_per_file: int
    seed: int
    lines_before: int = 15
    lines_after: int = 10
    prompt_format: str = "plain"
    repository_context: int = 0  # of max_prompt_tokens


class Task(Protocol):
    """What a task module offers."""

    NEEDS_TOKENS: bool
    STOP: str
    METRICS: tuple[str, ...]

    def build_pairs(
        self, document: Document, starts: Sequence[int], options: Options, skipped: Counter[str]
    ) -> Iterator[Pair]:
        """Yield the pairs of one document."""


def load_task(name: str) -> Task:
    """Return the module of a task; the names are `TASKS`."""
    return cast(Task, importlib.import_module(f"codefit.tasks.{name}"))


@dataclass(frozen=True, slots=True)
class Built:
    """The pairs of some documents as lines of JSONL, what was counted, and by reason what gave no pair."""

    lines: str
    counts: Counter[str]
    skipped: Counter[str]


def build_in_repository(batch: tuple[Sequence[Document], Sequence[Near]], **settings: Any) -> Built:
    """Return the pairs of documents, those of each with files near it before the prompt; see `build_batch`."""
    documents, near = batch
    return build_batch(documents, near=near, **settings)


def build_batch(
    documents: Sequence[Document], task: str, tokenizer: Any, options: Options, near: Iterable[Near] | None = None
) -> Built:
    """Return the pairs of documents; the tokenizer is None for a task that needs no tokens."""
    counts, skipped = Counter(documents=len(documents)), Counter[str]()
    starts = token_starts(tokenizer, [document.content for document in documents]) if tokenizer else repeat([])
    lines: list[str] = []
    for document, start, files in zip(documents, starts, near or repeat(()), strict=False):
        context = lay_out(document, files, tokenizer, options.repository_context) if files else Context()
        own = dataclasses.replace(options, max_prompt_tokens=options.max_prompt_tokens - context.tokens)
        pairs = [context.before(pair) for pair in load_task(task).build_pairs(document, start, own, skipped)]
        lines += map(to_line, pairs)
        if near is not None:
            counts.update(pairs_with_context=len(pairs) if context.files else 0)
        counts.update(documents_without_pair=not pairs, tokens=len(start), pairs=len(pairs))
        counts.update(natural_ends=sum(pair.finish_reason == "stop" for pair in pairs))
    return Built("".join(lines), counts, skipped)


def metrics_of(task: str) -> tuple[str, ...]:
    """Return the names of the metrics of a task, the headline first; a task of others is scored as completion."""
    return load_task(task if task in TASKS else "completion").METRICS


# ------------------------------------------------------------------------------------------- what several tasks need


def name_of(document: Document) -> str:
    """Return how a document is called in ids and in the seed of its cuts."""
    return f"{document.repository}/{document.path}".removeprefix("/")


def chance_of(document: Document, seed: int) -> random.Random:
    """Return a source of chance that depends on nothing but the seed and the name of the document."""
    return random.Random(hashlib.blake2b(f"{seed}\0{name_of(document)}".encode(), digest_size=8).digest())


def thinned(places: Sequence[Place], limit: int, skipped: Counter[str]) -> Sequence[Place]:
    """Return at most `limit` places, evenly spread; those left out are counted."""
    if len(places) <= limit:
        return places
    skipped["over the per-file limit"] += len(places) - limit
    return [places[n * len(places) // limit] for n in range(limit)]


def places(starts: Sequence[int], options: Options, chance: random.Random, skipped: Counter[str]) -> Sequence[int]:
    """Return characters to cut near: one a step, somewhere in it, evenly thinned to the limit per file."""
    steps = range(MIN_PROMPT_TOKENS, len(starts), options.window_step)
    tokens = [token for step in steps if (token := step + int(chance.random() * options.window_step)) < len(starts)]
    return [starts[token] for token in thinned(tokens, options.max_pairs_per_file, skipped)]


def id_of(document: Document, position: int) -> str:
    """Return the id of the pair at a character of a document: its name, line and column, both from 1."""
    line = document.content.count("\n", 0, position) + 1
    return f"{name_of(document)}:{line}:{position - document.content.rfind(chr(10), 0, position)}"


def tokens_of(starts: Sequence[int], first: int, end: int) -> int:
    """Return how many tokens of the document lie between two characters, those cut in two included."""
    if end <= first:
        return 0
    return bisect.bisect_left(starts, end) - max(bisect.bisect_right(starts, first) - 1, 0)


def cut_at_lines(text: str, start: int, end: int, starts: Sequence[int], limit: int) -> int:
    """Return where a piece of a text ends within `limit` tokens: at `end`, or at the last line end that fits."""
    if tokens_of(starts, start, end) <= limit:
        return end
    last = starts[max(bisect.bisect_right(starts, start) - 1, 0) + limit]
    return max(text.rfind("\n", start, last) + 1, start)


def whole_lines(text: str, start: int, end: int) -> str:
    """Return a piece of a text from the beginning of its first line."""
    return text[text.rfind("\n", 0, start) + 1 : end]


def dedented(code: str) -> str:
    """Return code without the indentation of its first line, as far as its lines have it."""
    first = code[: len(code) - len(code.lstrip(" \t"))]
    return "\n".join(line.removeprefix(first) for line in code.split("\n"))


def is_short(text: str, function: Definition) -> bool:
    """Return whether a function has fewer than LEAST_LINES lines besides decorators, docstring and blank ones."""
    code = text[function.head : function.span[1]]
    if function.docstring and function.docstring[0] > function.head:
        code = text[function.head : function.docstring[0]] + text[function.docstring[1] : function.span[1]]
    return sum(map(bool, map(str.strip, code.split("\n")))) < LEAST_LINES
