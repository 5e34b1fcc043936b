"""A small scanner that tells code from comments and strings, built from a row of the language table.

One regular expression a language, one pass a file, no backtracking into what was matched. Unterminated text ends at
the line end (one-line strings) or at the end of the file. Not handled: nested block comments, quotes inside the
`${...}` of a string template beyond their parity, names in backticks with an apostrophe, and JavaScript's regular
expression literals.
"""

import functools
import re
from collections.abc import Iterator

from codefit.code.languages import Language

IDENTIFIER = re.compile(r"[^\W\d]\w*")  # of any language: a letter or underscore, then letters, digits, underscores


@functools.cache
def _scanner(language: Language) -> re.Pattern[str]:
    """Return a pattern whose every match is one comment (group 1) or one string (group 2)."""
    comments = [re.escape(opening) + r"[^\n]*+" for opening in language.line_comments]
    comments += [rf"{re.escape(left)}(?s:.*?)(?:{re.escape(right)}|\Z)" for left, right in language.block_comments]
    strings = [_string(quote, quote in language.raw_strings) for quote in language.strings]
    return re.compile(f"({'|'.join(comments)})|({'|'.join(strings)})")


def _string(quote: str, raw: bool) -> str:
    mark = re.escape(quote)
    if len(quote) == 1 and quote != "`":
        return rf"{mark}(?>(?:[^{mark}\\\n]|\\(?s:.))*){mark}?"
    if raw:
        return rf"{mark}(?s:.*?)(?:{mark}|\Z)"
    # an atomic group, not a possessive repeat: Python before 3.11.4 loses matches of a possessive group
    return rf"{mark}(?>(?:[^{quote[0]}\\]|\\(?s:.)|(?!{mark}){quote[0]})*)(?:{mark}|\\?\Z)"


def mask(text: str, language: Language) -> tuple[str, list[tuple[int, int]]]:
    """Return a text of the same length in which comments are spaces and strings are quotes, and the long spans.

    What the mask shows is code: a newline in it is a line end of the code. The long spans are (start, end) of the
    comments and strings that go over more than one line, in order.
    """
    spans: list[tuple[int, int]] = []

    def blank(match: re.Match[str]) -> str:
        if "\n" in match[0]:
            spans.append(match.span())
        return (" " if match[1] is not None else '"') * len(match[0])

    return _scanner(language).sub(blank, text), spans


def comment_length(text: str, language: Language) -> int:
    """Return how many characters of comments a text holds, white space left out."""
    return sum(len("".join(text[start:end].split())) for start, end in comments(text, language))


def comments(text: str, language: Language) -> Iterator[tuple[int, int]]:
    """Yield where each comment starts and ends."""
    return (match.span() for match in _scanner(language).finditer(text) if match[1])


def leading_comment(text: str, language: Language) -> str:
    """Return the comment that a text begins with: one block, or line comments on consecutive lines; "" if none."""
    end = 0
    while match := _scanner(language).match(text, _skip_blanks(text, end)):
        if match[1] is None or (end and not _joined(text, end, match, language)):
            break
        end = match.end()
        if not text.startswith(language.line_comments, match.start()):
            break
    return text[:end]


def _skip_blanks(text: str, start: int) -> int:
    while start < len(text) and text[start].isspace():
        start += 1
    return start


def _joined(text: str, end: int, match: re.Match[str], language: Language) -> bool:
    between = text[end : match.start()]
    return between.count("\n") == 1 and text.startswith(language.line_comments, match.start())
