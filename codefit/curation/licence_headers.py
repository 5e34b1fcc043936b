"""Licence headers: the comment at the top of a file that speaks of copyright or licence, the same in every file.

They are removed before anything else, because they teach nothing, fill the first window of every file and make
different files look alike. A shebang and an encoding line stay.
"""

import re

from codefit.code.languages import Language
from codefit.code.lexer import leading_comment

KEPT_LINE = re.compile(r"#!.*\n|[ \t]*#.*?coding[:=].*\n")
LEGAL = re.compile(r"copyright|licen[cs]e|SPDX|all rights reserved", re.I)


def remove_licence_headers(text: str, language: Language) -> tuple[str, int]:
    """Return the text without its licence headers, and how many were removed."""
    kept = 0
    while match := KEPT_LINE.match(text, kept):
        kept = match.end()
    rest, removed = text[kept:], 0
    while LEGAL.search(header := leading_comment(rest, language)):
        rest, removed = rest[len(header) :].lstrip(" \t\n"), removed + 1
    return (text[:kept] + rest, removed) if removed else (text, 0)
