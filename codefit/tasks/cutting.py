"""Cutting documents into prompts and completions: the parts that several tasks share."""

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

MIN_PROMPT_TOKENS = 16  # characters before the first cut point of a file

CLOSING = re.compile(r"[\s)\]};,:]*(?:end)?[\s)\]};,:]*")  # a text of closing brackets only

LEAST_LINES = 3  # lines of a function: CodeSearchNet's limit (arXiv 1909.09436)

Item = TypeVar("Item")


@functools.lru_cache(maxsize=1)
def parsed(document: Document) -> Syntax:
    """Return the syntax tree of a document; that of the last one is cached."""
    return Syntax(document.content, LANGUAGES[document.language], document.path)


def name_of(document: Document) -> str:
    """Return the name of a document in ids: `owner/name/path`, or `repository//path` for any other repository name.

    The names of two documents never collide: a joined `a/b/c` could be `c` of `a/b` or `b/c` of `a`.
    """
    owner, _, name = document.repository.partition("/")
    if owner and name and "/" not in name:
        return f"{document.repository}/{document.path}"
    return f"{document.repository.replace('%', '%25').replace('/', '%2F')}//{document.path}"


def chance_of(document: Document, seed: int) -> random.Random:
    """Return a random generator that depends only on the seed and the name of the document."""
    name = f"{document.repository}/{document.path}".removeprefix("/")
    return random.Random(hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest())


def thinned(places: Sequence[Item], limit: int, skipped: Counter[str]) -> Sequence[Item]:
    """Return at most `limit` places, evenly spread; the others are counted as skipped."""
    if len(places) <= limit:
        return places
    skipped["over the per-file limit"] += len(places) - limit
    return [places[n * len(places) // limit] for n in range(limit)]


def places(starts: Sequence[int], options: TaskOptions, chance: random.Random, skipped: Counter[str]) -> Sequence[int]:
    """Return characters to cut near: a random one per step, thinned evenly to the limit per file."""
    steps = range(MIN_PROMPT_TOKENS, len(starts), options.window_step)
    tokens = [token for step in steps if (token := step + int(chance.random() * options.window_step)) < len(starts)]
    return [starts[token] for token in thinned(tokens, options.max_pairs_per_file, skipped)]


def id_of(document: Document, position: int) -> str:
    """Return the id of the pair at a character of a document: name, line and column, both counted from 1."""
    line = document.content.count("\n", 0, position) + 1
    return f"{name_of(document)}:{line}:{position - document.content.rfind(chr(10), 0, position)}"


def tokens_of(starts: Sequence[int], first: int, end: int) -> int:
    """Return the number of tokens between two characters of a document, including tokens that these cut in two."""
    if end <= first:
        return 0
    return bisect.bisect_left(starts, end) - max(bisect.bisect_right(starts, first) - 1, 0)


def cut_at_lines(text: str, start: int, end: int, starts: Sequence[int], limit: int) -> int:
    """Return the end of a piece of at most `limit` tokens: `end`, or the last line end that fits."""
    if tokens_of(starts, start, end) <= limit:
        return end
    last = starts[max(bisect.bisect_right(starts, start) - 1, 0) + limit]
    return max(text.rfind("\n", start, last) + 1, start)


def whole_lines(text: str, start: int, end: int) -> str:
    """Return a piece of a text, extended to the beginning of its first line."""
    return text[text.rfind("\n", 0, start) + 1 : end]


def dedented(code: str) -> str:
    """Return code with the indentation of its first line removed from every line that has it."""
    first = code[: len(code) - len(code.lstrip(" \t"))]
    return "\n".join(line.removeprefix(first) for line in code.split("\n"))


def without_docstring(code: str, docstring: tuple[int, int], end: int) -> str:
    """Return the code of a definition up to a character of its file, dedented, without the lines of its docstring."""
    start = end - len(code)
    if docstring[0] < start:
        return dedented(code).rstrip()
    before, after = code[: docstring[0] - start].rstrip(), code[docstring[1] - start :]
    return dedented(before + "\n" + after.lstrip("\n") if after.strip() else before).rstrip()


def is_short(text: str, function: Definition) -> bool:
    """Return whether a function has fewer than LEAST_LINES lines, without decorators, docstring and blank lines."""
    code = text[function.head : function.span[1]]
    if function.docstring and function.docstring[0] > function.head:
        code = text[function.head : function.docstring[0]] + text[function.docstring[1] : function.span[1]]
    return sum(map(bool, map(str.strip, code.split("\n")))) < LEAST_LINES
