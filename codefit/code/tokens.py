"""Whether two texts are the same code in another layout, from the tokens of the lexer; no formatter is needed.

Ignored are white space, commas before a closing bracket, backslashes at line ends, and the kind of quotes where a
language has two that mean the same. Indentation is white space, too, also in Python.
"""

import re
from collections.abc import Iterator

from codefit.code.languages import Language
from codefit.code.lexer import pieces

TOKEN = re.compile(r"\w+|\\(?=\n)|[^\w\s]")
CLOSING = frozenset(")]}>")
SAME_QUOTES = frozenset({"python", "javascript", "typescript"})
LAYOUT = b" \t\r\n\f\v,'\"\\"  # the bytes that can differ between texts with equal tokens


def only_layout(one: bytes, other: bytes, language: Language) -> bool:
    """Return whether two UTF-8 texts differ only in layout."""
    if one.translate(None, LAYOUT) != other.translate(None, LAYOUT):  # most texts differ here, and this is fast
        return False
    return tokens(one.decode(), language) == tokens(other.decode(), language)


def tokens(text: str, language: Language) -> list[str]:
    """Return the words, signs, strings and comments of a text, without what only lays it out."""
    found: list[str] = []
    for token in _raw(text, language):
        if token in CLOSING and found and found[-1] == ",":
            found.pop()
        found.append(token)
    return found


def _raw(text: str, language: Language) -> Iterator[str]:
    position = 0
    for start, end, is_comment in pieces(text, language):
        yield from _code(text, position, start)
        piece = text[start:end]
        yield " ".join(piece.split()) if is_comment else _requoted(piece, language)
        position = end
    yield from _code(text, position, len(text))


def _code(text: str, start: int, end: int) -> Iterator[str]:
    return (token for token in TOKEN.findall(text, start, end) if token != "\\")


def _requoted(string: str, language: Language) -> str:
    if language.name in SAME_QUOTES and string[0] == "'" == string[-1] and not set(string) & {'"', "\\"}:
        return string.replace("'", '"')
    return string
