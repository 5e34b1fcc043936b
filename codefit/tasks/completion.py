"""Completion at the cursor: the prompt is the text before a cut point, the completion runs to its natural end.

A file is cut about every `--window_step` tokens, at points drawn from a hash of the seed and the file. Half of the cut
points are at line starts (the indentation belongs to the completion), half within a line, as in an editor: 70 % of
these between words or operators and 30 % inside a word. If the natural end (codefit/code/structure.py) is within
`--max_completion_tokens`, the finish reason is "stop"; otherwise the limit cuts the completion: "length".

Tokens are counted in the whole file, which is tokenised only once. A prompt or completion tokenised separately can
differ by a token or two at the cut point.
"""

import bisect
import functools
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from codefit.code.languages import LANGUAGES
from codefit.code.structure import Structure
from codefit.records import Document, Pair
from codefit.tasks.cutting import CLOSING, MIN_PROMPT_TOKENS, chance_of, name_of, places
from codefit.tasks.task import TaskOptions

NEEDS_TOKENS = True
NEEDS_SYNTAX = False
STOP = "end"

GOES_ON = "goes on after the added lines"

LINE_STARTS = 0.5
INSIDE_WORDS = 0.3
INSIDE_WORD = re.compile(r"(?<=\w)(?=\w)")


def build_pairs(
    document: Document, starts: Sequence[int], options: TaskOptions, skipped: Counter[str]
) -> Iterator[Pair]:
    """Yield the pairs of one document; `starts` holds the character at which each of its tokens begins."""
    name = name_of(document)
    chance = chance_of(document, options.seed)
    cuts = places(starts, options, chance, skipped)
    structure = Structure(document.content, LANGUAGES[document.language]) if cuts else None
    used: set[int] = set()
    for place in cuts:
        assert structure is not None
        cut = cut_near(structure, place, chance)
        outcome = pair_at(structure, cut, starts, options, used)
        if isinstance(outcome, str):
            skipped[outcome] += 1
            continue
        yield pair_of(document, name, structure, cut, outcome)


def pair_of(document: Document, name: str, structure: Structure, cut: int, outcome: tuple[str, str, str]) -> Pair:
    """Return the pair of a cut point, from the prompt, completion and finish reason of `pair_at`."""
    prompt, completion, reason = outcome
    line = structure.line_at(cut)
    return Pair(
        id=f"{name}:{line + 1}:{cut - structure.starts[line] + 1}",
        task="completion",
        prompt=prompt,
        completion=completion,
        finish_reason=reason,
        repository=document.repository,
        path=document.path,
        language=document.language,
    )


def cut_near(structure: Structure, place: int, chance: random.Random) -> int:
    """Return the cut point for a place: in its line, or in the next line that is not blank."""
    line = structure.line_at(place)
    while line + 1 < len(structure.starts) and structure.is_blank(line):
        line += 1
    start = structure.starts[line]
    if chance.random() < LINE_STARTS:
        return start
    inside, between = _places_in(structure, line)
    wanted, other = (inside, between) if chance.random() < INSIDE_WORDS else (between, inside)
    choices = wanted or other or [start]
    return choices[int(chance.random() * len(choices))]


@functools.lru_cache(maxsize=1)
def _places_in(structure: Structure, line: int) -> tuple[list[int], list[int]]:
    """Return the characters of a line, blanks around it left out, to cut at: inside words, and the rest.

    A file of one long line is cut in it thousands of times, so those of the last line are at hand.
    """
    start = structure.starts[line]
    text = structure.text[start : structure.ends[line]]
    first, end = start + len(text) - len(text.lstrip()) + 1, start + len(text.rstrip())
    inside = [match.start() for match in INSIDE_WORD.finditer(structure.text, first, end)]
    known = set(inside)
    return inside, [position for position in range(first, end) if position not in known]


def pair_at(
    structure: Structure,
    cut: int,
    starts: Sequence[int],
    options: TaskOptions,
    used: set[int],
    last: int | None = None,
) -> tuple[str, str, str] | str:
    """Return prompt, completion and finish reason of a cut point, or the reason why there is no pair.

    Args:
        structure: of the text.
        cut: the character to cut at.
        starts: the character at which each token begins.
        options: the limits.
        used: the cut points so far; this one is added.
        last: where the completion must end; None for the end of the text.
    """
    before = bisect.bisect_left(starts, cut)
    if cut in used:
        return "cut used before"
    if before < MIN_PROMPT_TOKENS:
        return "short prompt"
    used.add(cut)
    first = before if before < len(starts) and starts[before] == cut else before - 1
    after = first + options.max_completion_tokens
    limit = starts[after] if after < len(starts) else len(structure.text)
    last = limit if last is None else last
    end = structure.natural_end(cut, min(limit, last))
    if end is None and last < limit:
        return GOES_ON
    completion = structure.text[cut : limit if end is None else end]
    if not completion.strip():
        return "blank completion"
    if CLOSING.fullmatch(completion):
        return "only closing brackets"
    prompt = structure.text[starts[max(0, before - options.max_prompt_tokens)] : cut]
    return prompt, completion, "length" if end is None else "stop"
