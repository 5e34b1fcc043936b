"""A small scanner that separates code from comments and strings, built from the language table.

One regular expression per language, one pass per file. An unterminated literal ends at the line end (single-line
strings) or at the end of the file. Not handled: unbalanced quotes inside the `${...}` of a string template, and names
in backticks that contain an apostrophe.
"""

import functools
import re
from collections.abc import Iterator

from codefit.code.languages import Language

BLANKS = re.compile(r"\s*")
BLOCK_COMMENT = re.compile(r"/\*|\*/")


Piece = tuple[int, int, bool]  # start, end, and whether it is a comment; otherwise a string or another literal
IDENTIFIER = re.compile(
    r"[^\W\d]\w*"
)  # an identifier in any language: a letter or underscore, then letters, digits, underscores


@functools.cache
def _scanner(language: Language) -> re.Pattern[str]:
    """Return a pattern that matches one comment (group 1), one string (group 2) or one other literal at a time."""
    comments = [re.escape(opening) + r"[^\n]*" for opening in language.line_comments]
    comments += [rf"{re.escape(left)}(?s:.*?)(?:{re.escape(right)}|\Z)" for left, right in language.block_comments]
    strings = [_string(quote, language) for quote in language.strings]
    # literals come first: some start like a comment, such as `#[` in PHP
    return re.compile("|".join([*language.literals, f"({'|'.join(comments)})", f"({'|'.join(strings)})"]), re.M)


def _string(quote: str, language: Language) -> str:
    mark = re.escape(quote)
    if quote in language.raw_strings:
        return rf"{mark}(?s:.*?)(?:{mark}|\Z)"
    if len(quote) == 1 and quote not in language.long_strings:
        return rf"{mark}(?>(?:[^{mark}\\\n]|\\(?s:.))*){mark}?"
    # an atomic group, not a possessive quantifier: Python before 3.11.4 loses matches of a possessive group
    return rf"{mark}(?>(?:[^{quote[0]}\\]|\\(?s:.)|(?!{mark}){quote[0]})*)(?:{mark}|\\?\Z)"


def pieces(text: str, language: Language) -> Iterator[Piece]:
    """Yield the comments and literals of a text, in order."""
    scanner = _scanner(language)
    comment, string = scanner.groups - 1, scanner.groups
    at: int | None = 0
    while at is not None:
        matches, at = scanner.finditer(text, at), None
        for match in matches:
            begin, end = match.span()
            if match.lastindex == string:
                yield begin, end, False
            elif match.lastindex == comment:
                if language.nested_comments and text.startswith("/*", begin) and text.find("/*", begin + 2, end) >= 0:
                    at = _end_of_nested(text, begin)
                    yield begin, at, True
                    break  # and continue scanning after it
                yield begin, end, True
            else:
                if match.lastgroup and match.lastgroup.startswith("code"):
                    begin = match.end(match.lastgroup)
                if begin < end:
                    yield begin, end, False


def _end_of_nested(text: str, start: int) -> int:
    """Return the end of a block comment that may contain nested ones."""
    depth = 0
    for mark in BLOCK_COMMENT.finditer(text, start):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return mark.end()
    return len(text)


def mask(text: str, language: Language) -> tuple[str, list[tuple[int, int]]]:
    """Return the text with comments as spaces and strings as quotes (same length), and the long spans.

    The rest of the mask is code, so that a newline in it ends a line of code. The long spans are the (start, end) of
    comments and strings that span more than one line, in order.
    """
    masked: list[str] = []
    spans: list[tuple[int, int]] = []
    position = 0
    for start, end, is_comment in pieces(text, language):
        masked += text[position:start], (" " if is_comment else '"') * (end - start)
        position = end
        if text.find("\n", start, end) >= 0:
            spans.append((start, end))
    return "".join([*masked, text[position:]]), spans


def comment_length(text: str, language: Language) -> int:
    """Return the number of characters in comments, without white space."""
    return sum(len("".join(text[start:end].split())) for start, end in comments(text, language))


def comments(text: str, language: Language) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each comment."""
    return ((begin, end) for begin, end, is_comment in pieces(text, language) if is_comment)


def leading_comments(text: str, language: Language, start: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end of the comments that follow a position with only white space in between."""
    scanner = _scanner(language)
    while match := scanner.match(text, BLANKS.match(text, start).end()):  # type: ignore[union-attr]
        if match.lastindex != scanner.groups - 1:
            return
        begin, start = match.span()
        if language.nested_comments and text.startswith("/*", begin) and text.find("/*", begin + 2, start) >= 0:
            start = _end_of_nested(text, begin)
        yield begin, start
