"""Where documents are cut into prompts and completions: what several tasks need."""

import bisect
import functools
import hashlib
import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from codefit.code.languages import LANGUAGES
from codefit.code.syntax import Definition, Syntax
from codefit.records import Document
from codefit.tasks.task import TaskOptions

MIN_PROMPT_TOKENS = 16  # before the first cut of a file

CLOSING = re.compile(r"[\s)\]};,:]*(?:end)?[\s)\]};,:]*")  # a text that only closes what is open

LEAST_LINES = 3  # of a function that says something: CodeSearchNet's limit (arXiv 1909.09436)

Item = TypeVar("Item")


@functools.lru_cache(maxsize=1)
def parsed(document: Document) -> Syntax:
    """Return the tree of a document; that of the last one is at hand."""
    return Syntax(document.content, LANGUAGES[document.language], document.path)


def name_of(document: Document) -> str:
    """Return how a document is called in ids and in the seed of its cuts."""
    return f"{document.repository}/{document.path}".removeprefix("/")


def chance_of(document: Document, seed: int) -> random.Random:
    """Return a source of chance that depends on nothing but the seed and the name of the document."""
    return random.Random(hashlib.blake2b(f"{seed}\0{name_of(document)}".encode(), digest_size=8).digest())


def thinned(places: Sequence[Item], limit: int, skipped: Counter[str]) -> Sequence[Item]:
    """Return at most `limit` places, evenly spread; those left out are counted."""
    if len(places) <= limit:
        return places
    skipped["over the per-file limit"] += len(places) - limit
    return [places[n * len(places) // limit] for n in range(limit)]


def places(starts: Sequence[int], options: TaskOptions, chance: random.Random, skipped: Counter[str]) -> Sequence[int]:
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
