"""Completion where a later commit added lines: the prompt is the file before the cursor, the completion is added.

A change is asked about once every `--window_step` tokens that it added in one place, at least once, at cut points like
those of the task completion. A completion ends at its natural end; where that is after the added lines, the rest of the
line is asked for instead, or nothing. So the prompt holds what the author had written above, and never what came later.
"""

import bisect
import dataclasses
import difflib
import functools
import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from codefit.code.languages import LANGUAGES
from codefit.code.structure import Structure
from codefit.code.syntax import Span
from codefit.records import PLACES, Document, Pair
from codefit.tasks.completion import GOES_ON, cut_near, pair_at, pair_of
from codefit.tasks.cutting import MIN_PROMPT_TOKENS, name_of, parsed, thinned
from codefit.tasks.repository_context import Near
from codefit.tasks.task import TaskOptions

NEW_FILE, IMPORT, OWN_CALL, CHANGED_FUNCTION, OTHER = PLACES
SHOWN = 12  # characters of a commit in the id of a pair, as many as git shows in a large repository
IMPORT_LINE = re.compile(r"\s*(?:import|from|package|using|use|require|#\s*include)\b")
CALL = re.compile(r"(?P<defined>\b(?:def|class|fun|func|function|fn)\s+)?(?<!\w)(?P<name>[^\W\d]\w*)\s*\(")


@dataclasses.dataclass(frozen=True, slots=True)
class Addition:
    """A file to which a commit added lines.

    Attributes:
        document: the file at the commit.
        spans: start and end of each run of added lines, in characters.
        is_new: whether the commit added the file.
        own: the functions and classes of the repository before the commit that the file calls.
        near: the nearest files before the commit.
    """

    document: Document
    spans: tuple[Span, ...]
    is_new: bool = False
    own: frozenset[str] = frozenset()
    near: Near = ()


def added_lines(before: str, after: str) -> tuple[Span, ...]:
    """Return the runs of lines of a text that another one lacks, in characters; white space around lines is ignored."""
    lines = after.splitlines(keepends=True)
    old, new = ([line.strip() for line in text] for text in (before.splitlines(), lines))
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    matcher = difflib.SequenceMatcher(None, old[head : len(old) - tail], new[head : len(new) - tail])
    runs = ((head + first, head + end) for kind, _, _, first, end in matcher.get_opcodes() if kind != "equal")
    return tuple((starts[first], starts[end]) for first, end in runs if any(new[first:end]))


def build_pairs(
    addition: Addition, starts: Sequence[int], options: TaskOptions, skipped: Counter[str]
) -> Iterator[Pair]:
    """Yield the pairs of one addition; `starts` holds the character at which each token of the file begins."""
    document = addition.document
    name = f"{name_of(document)}@{document.commit[:SHOWN]}"
    chance = random.Random(hashlib.blake2b(f"{options.seed}\0{name}".encode(), digest_size=8).digest())
    structure = Structure(document.content, LANGUAGES[document.language])
    used: set[int] = set()
    for near, last in thinned(list(_places(addition, starts, options, chance)), options.max_pairs_per_file, skipped):
        cut = cut_near(structure, near, chance)
        outcome = pair_at(structure, cut, starts, options, used, last) if cut < last else GOES_ON
        if outcome == GOES_ON and cut < last and (inside := _after_indentation(structure, cut)) > cut:
            cut = inside
            outcome = pair_at(structure, cut, starts, options, used, last)
        if isinstance(outcome, str):
            skipped[outcome] += 1
            continue
        pair = pair_of(document, name, structure, cut, outcome)
        place = place_of(addition, cut, cut + len(pair.completion))
        yield dataclasses.replace(pair, commit=document.commit, place=place)


def _places(
    addition: Addition, starts: Sequence[int], options: TaskOptions, chance: random.Random
) -> Iterator[tuple[int, int]]:
    """Yield characters to cut near, a random one per step, each with the end of its run of lines."""
    for begin, last in addition.spans:
        first, end = max(bisect.bisect_left(starts, begin), MIN_PROMPT_TOKENS), bisect.bisect_left(starts, last)
        for step in range(first, end, options.window_step):
            token = step + int(chance.random() * min(options.window_step, end - step))
            yield starts[token], last


def _after_indentation(structure: Structure, cut: int) -> int:
    """Return the first character of a line that is no white space, if the line begins at the cut; else the cut."""
    line = structure.line_at(cut)
    text = structure.text[cut : structure.ends[line]]
    return cut + len(text) - len(text.lstrip()) if cut == structure.starts[line] else cut


def place_of(addition: Addition, cut: int, end: int) -> str:
    """Return the kind of place of a completion: the first of PLACES that fits."""
    text = addition.document.content
    if addition.is_new:
        return NEW_FILE
    line = text.rfind("\n", 0, cut) + 1
    if IMPORT_LINE.match(text, line):
        return IMPORT
    if any(at >= cut and name in addition.own for at, name in _calls(text, line, end)):
        return OWN_CALL
    return CHANGED_FUNCTION if _in_changed_function(addition, cut) else OTHER


def _in_changed_function(addition: Addition, cut: int) -> bool:
    """Return whether a character is in a function whose first line was there before."""
    around = (head for head, end in _functions(addition.document) if head < cut < end)
    return any(not any(start <= head < end for start, end in addition.spans) for head in around)


@functools.lru_cache(maxsize=1)
def _functions(document: Document) -> list[Span]:
    """Return the head and the end of each function of a file; those of the last file are cached."""
    return [(function.head, function.span[1]) for function in parsed(document).functions()]


def calls(document: Document, spans: Sequence[Span]) -> set[str]:
    """Return the names that are called in some lines of a file."""
    return {name for start, end in spans for _, name in _calls(document.content, start, end)}


def _calls(text: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    """Yield the end of each call's name in a piece of a text, and the name; definitions are no calls."""
    for match in CALL.finditer(text, start, end):
        if not match["defined"]:
            yield match.end("name"), match["name"]
