"""One line from the lines around it: `--lines_before` and `--lines_after` are known, the line is the completion.

Every line is asked that is not blank and holds more than closing brackets, at most `--max_pairs_per_file` of a file.
The completion begins with the line's indentation and ends before its line end. With `--lines_after 0` there is no
suffix, and any model can be asked; otherwise it is fill-in-the-middle. Where the lines before hold more than
`--max_prompt_tokens`, the first of them are cut.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from codefit.records import Document, Pair
from codefit.tasks import Options, id_of, thinned, tokens_of

NEEDS_TOKENS = True
STOP = "line"
METRICS = ("exact_match", "edit_similarity", "parse_rate", "bleu", "chrf", "perplexity", "bits_per_byte")

CLOSING = re.compile(r"[\s)\]};,:]*(?:end)?[\s)\]};,:]*")


def build_pairs(document: Document, starts: Sequence[int], options: Options, skipped: Counter[str]) -> Iterator[Pair]:
    """Yield the pairs of one document; `starts` is the character at which each of its tokens begins."""
    lines = document.content.split("\n")
    begins = [0]
    for line in lines:
        begins.append(begins[-1] + len(line) + 1)
    asked = []
    for number, line in enumerate(lines):
        end = begins[number] + len(line.rstrip())
        if not any(map(str.strip, lines[max(0, number - options.lines_before) : number])) or not line.strip():
            continue  # blank, or nothing to tell from
        if CLOSING.fullmatch(line):
            skipped["only closing brackets"] += 1
        elif tokens_of(starts, begins[number], end) > options.max_completion_tokens:
            skipped["line over the limit"] += 1
        else:
            asked.append(number)
    for number in thinned(asked, options.max_pairs_per_file, skipped):
        yield _pair(document, lines, begins, number, starts, options)


def _pair(
    document: Document, lines: list[str], begins: list[int], number: int, starts: Sequence[int], options: Options
) -> Pair:
    first, last = max(0, number - options.lines_before), number + options.lines_after
    while first < number - 1 and tokens_of(starts, begins[first], begins[number]) > options.max_prompt_tokens:
        first += 1
    end = begins[number] + len(lines[number].rstrip())
    behind = document.content[end : begins[min(last + 1, len(lines))] - 1]
    return Pair(
        id=id_of(document, begins[number]),
        task="line",
        prompt=document.content[begins[first] : begins[number]],
        completion=document.content[begins[number] : end],
        suffix=behind if options.lines_after else None,
        repository=document.repository,
        path=document.path,
        language=document.language,
    )
