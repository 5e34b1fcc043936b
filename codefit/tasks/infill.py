"""Fill-in-the-middle: the completion is a gap, the prompt and suffix are the text before and after it.

There is about one gap every `--window_step` tokens. 90 % of the gaps are whole syntax nodes, half of them with some of
the siblings that follow; 10 % run between two random characters (AST-FIM, arXiv 2506.00204). A gap has at most
`--max_completion_tokens`, so that every completion is whole. The prefix gets three quarters of `--max_prompt_tokens`,
the suffix one quarter, and each also what the other does not need. codefit/encoding.py lays out both with the model's
sentinels.
"""

import bisect
import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence

from codefit.code.syntax import Span, Syntax
from codefit.records import Document, Pair
from codefit.tasks.cutting import CLOSING, chance_of, id_of, parsed, places, tokens_of
from codefit.tasks.task import TaskOptions

NEEDS_TOKENS = True
NEEDS_SYNTAX = True
STOP = "end"

SYNTAX = 0.9
SIBLINGS = 0.5
SENTINELS = 4  # tokens reserved for three sentinels and beginning-of-sequence
LEVELS = 12  # levels of the tree above a place that are considered


def build_pairs(
    document: Document, starts: Sequence[int], options: TaskOptions, skipped: Counter[str]
) -> Iterator[Pair]:
    """Yield the pairs of one document; `starts` holds the character at which each of its tokens begins."""
    chance = chance_of(document, options.seed)
    cuts = places(starts, options, chance, skipped)
    syntax = parsed(document) if cuts else None
    used: set[int] = set()
    for place in cuts:
        assert syntax is not None
        gap = _gap(syntax, place, starts, options.max_completion_tokens, chance)
        if reason := _refusal(document.content, gap, used):
            skipped[reason] += 1
            continue
        used.add(gap[0])
        prefix, suffix = surroundings(document.content, gap, starts, options.max_prompt_tokens - SENTINELS)
        yield Pair(
            id=id_of(document, gap[0]),
            task="infill",
            prompt=prefix,
            completion=document.content[slice(*gap)],
            suffix=suffix,
            repository=document.repository,
            path=document.path,
            language=document.language,
        )


def _gap(syntax: Syntax, place: int, starts: Sequence[int], limit: int, chance: random.Random) -> Span:
    """Return a gap at a place; an empty one if no node fits."""
    if chance.random() >= SYNTAX:
        first = bisect.bisect_right(starts, place) - 1
        last = min(first + 1 + int(chance.random() * (limit - 1)), len(starts) - 1)
        begin = place + int(chance.random() * (starts[min(first + 1, len(starts) - 1)] - place))
        return _trimmed(syntax.text, (begin, max(starts[last] - int(chance.random() * 2), begin)))
    fitting = []
    for node in itertools.islice(syntax.nodes_at(place), LEVELS):
        if tokens_of(starts, *syntax.span(node)) > limit:
            break
        fitting.append(node)
    if not fitting:
        return place, place
    node = fitting[int(chance.random() * len(fitting))]
    start, end = syntax.span(node)
    if chance.random() < SIBLINGS:
        ends, sibling = [end], node.next_named_sibling
        while sibling is not None and tokens_of(starts, start, syntax.span(sibling)[1]) <= limit:
            ends.append(syntax.span(sibling)[1])
            sibling = sibling.next_named_sibling if len(ends) < LEVELS else None
        end = ends[int(chance.random() * len(ends))]
    return _trimmed(syntax.text, (start, end))


def _trimmed(text: str, gap: Span) -> Span:
    """Return a gap without trailing white space, which then belongs to the suffix."""
    return gap[0], gap[0] + len(text[slice(*gap)].rstrip())


def _refusal(text: str, gap: Span, used: set[int]) -> str:
    """Return the reason why a gap gives no pair; "" if it gives one."""
    if gap[0] in used:
        return "gap used before"
    if gap[0] >= gap[1]:
        return "nothing that fits"
    return "only closing brackets" if CLOSING.fullmatch(text, *gap) else ""


def surroundings(text: str, gap: Span, starts: Sequence[int], room: int) -> tuple[str, str]:
    """Return the text before and after a gap, together about `room` tokens, divided as in codefit/encoding.py."""
    before, behind = bisect.bisect_left(starts, gap[0]), bisect.bisect_left(starts, gap[1])
    suffix_tokens = min(len(starts) - behind, max(room // 4, room - before))
    prefix_tokens = min(before, room - suffix_tokens)
    end = starts[behind + suffix_tokens] if behind + suffix_tokens < len(starts) else len(text)
    return text[starts[before - prefix_tokens] if prefix_tokens else gap[0] : gap[0]], text[gap[1] : end]
