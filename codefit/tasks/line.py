"""One line from its context: `--lines_before` lines before it and `--lines_after` lines after it.

Every line that is not blank and has more than closing brackets gives a pair, at most `--max_pairs_per_file` of a file.
The completion begins with the line's indentation and ends before its line end. With `--lines_after 0` there is no
suffix, and any model can be used. Otherwise it is fill-in-the-middle or, with `--prompt_format verbose`, the lines
after come as a comment before the lines before, for models without sentinels. Both together have at most
`--max_prompt_tokens`: the lines after get a quarter of that and what the lines before do not need; the lines before
are cut at their beginning.
"""

import bisect
from collections import Counter
from collections.abc import Iterator, Sequence

from codefit.code.languages import LANGUAGES
from codefit.records import Document, Pair
from codefit.tasks.cutting import CLOSING, cut_at_lines, id_of, thinned, tokens_of
from codefit.tasks.task import TaskOptions

NEEDS_TOKENS = True
NEEDS_SYNTAX = False
STOP = "line"

CODE_FOLLOWS = "Code:"


def build_pairs(
    document: Document, starts: Sequence[int], options: TaskOptions, skipped: Counter[str]
) -> Iterator[Pair]:
    """Yield the pairs of one document; `starts` holds the character at which each of its tokens begins."""
    lines = document.content.split("\n")
    begins = [0]
    for line in lines:
        begins.append(begins[-1] + len(line) + 1)
    asked = []
    for number, line in enumerate(lines):
        end = begins[number] + len(line.rstrip())
        if not any(map(str.strip, lines[max(0, number - options.lines_before) : number])) or not line.strip():
            continue  # blank, or without context
        if CLOSING.fullmatch(line):
            skipped["only closing brackets"] += 1
        elif tokens_of(starts, begins[number], end) > options.max_completion_tokens:
            skipped["line over the limit"] += 1
        else:
            asked.append(number)
    for number in thinned(asked, options.max_pairs_per_file, skipped):
        yield _pair(document, lines, begins, number, starts, options)


def _pair(
    document: Document, lines: list[str], begins: list[int], number: int, starts: Sequence[int], options: TaskOptions
) -> Pair:
    first, last = max(0, number - options.lines_before), number + options.lines_after
    end, last_end = begins[number] + len(lines[number].rstrip()), begins[min(last + 1, len(lines))] - 1
    is_verbose = options.prompt_format == "verbose" and options.lines_after > 0
    room, comment = options.max_prompt_tokens, ""
    spare = 0 if is_verbose else room - tokens_of(starts, begins[first], begins[number])
    behind_end = _cut(starts, end, last_end, max(room // 4, spare))
    behind = document.content[end:behind_end]
    if is_verbose:
        behind = document.content[end : cut_at_lines(document.content, end, last_end, starts, room // 4)]
        comment = _comment(behind, LANGUAGES[document.language].line_comments[0])
        room -= room // 4
    elif options.lines_after:
        room -= tokens_of(starts, end, behind_end)
    while first < number - 1 and tokens_of(starts, begins[first], begins[number]) > room:
        first += 1
    begin = max(begins[first], starts[max(bisect.bisect_left(starts, begins[number]) - room, 0)])
    return Pair(
        id=id_of(document, begins[number]),
        task="line",
        prompt=comment + document.content[begin : begins[number]],
        completion=document.content[begins[number] : end],
        suffix=behind if options.lines_after and not comment else None,
        repository=document.repository,
        path=document.path,
        language=document.language,
    )


def _cut(starts: Sequence[int], start: int, end: int, limit: int) -> int:
    """Return the end of the longest piece of at most `limit` tokens."""
    behind = max(bisect.bisect_right(starts, start) - 1, 0) + limit
    return min(end, max(starts[behind], start)) if behind < len(starts) else end


def _comment(behind: str, mark: str) -> str:
    """Return the lines after the line as a comment with a heading."""
    lines = behind.strip("\n").split("\n")
    return (
        "\n".join(f"{mark} {line}".rstrip() for line in ("Lines behind the missing line:", *lines, CODE_FOLLOWS)) + "\n"
    )
