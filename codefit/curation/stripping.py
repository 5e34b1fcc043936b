"""Remove comments and docstrings from a text so that it stays valid; if that is not certain, it is left unchanged."""

import ast
import re
import warnings
from collections.abc import Iterator, Sequence

from codefit.code.languages import Language
from codefit.code.lexer import comments
from codefit.code.syntax import Span, Syntax
from codefit.curation.licence_headers import KEPT_LINE

MARK = "\0"  # replaces a comment
ALONE = re.compile(r"^(?:[ \t]*\0)+[ \t]*(?:\n|\Z)", re.M)
BEHIND_CODE = re.compile(r"(?<![ \t\0])(?:[ \t]*\0)+[ \t]*$", re.M)
NEEDLESS = re.compile(r"(?<=[ \t])\0|\0(?=[ \t])")  # there is already a space
DIRECTIVE = re.compile(r"//(?:go:|\s*\+build|/\s*<reference|export )")
BLANK_REST = re.compile(r"[ \t]*(?:\n|\Z)")


def without_comments(text: str, language: Language, path: str = "") -> str | None:
    """Return a text without comments and the lines they leave empty; None if comments cannot be recognised reliably.

    A shebang, an encoding line, and comments that compilers read (`//go:build`) stay. A comment is what the grammar
    and, if the text has syntax errors, also the scanner recognise as one. The text without them must parse to the
    same tree, or have fewer errors.
    """
    if MARK in text:
        return None
    syntax = Syntax(text, language, path)
    spans = syntax.comments()
    if syntax.has_error:
        known = {start for start, _ in comments(text, language)}
        spans = [span for span in spans if span[0] in known]
        if not spans:
            return None
    stripped = _without(text, spans)
    return None if stripped != text and _is_worse(Syntax(stripped, language, path), syntax) else stripped


def _is_worse(after: Syntax, before: Syntax) -> bool:
    """Return whether removing comments changed the meaning of a text."""
    return after.shape() != before.shape() and after.errors() >= before.errors()


def _without(text: str, spans: Sequence[Span]) -> str:
    """Return a text without the comments at the given (start, end) spans, in order, and the lines they leave empty."""
    kept = 0
    while match := KEPT_LINE.match(text, kept):
        kept = match.end()
    pieces, position = [], 0
    for start, end in spans:
        if start >= kept and not DIRECTIVE.match(text, start):
            # a multi-line comment ends a statement in languages where a line end does
            ends_line = "\n" in text[start:end] and not BLANK_REST.match(text, end)
            pieces += [text[position:start], MARK + "\n" if ends_line else MARK]
            position = end
    marked = "".join([*pieces, text[position:]])
    return NEEDLESS.sub("", BEHIND_CODE.sub("", ALONE.sub("", marked))).replace(MARK, " ")


def without_docstrings(text: str) -> str | None:
    """Return a Python text without its docstrings; None if it does not parse. An empty body becomes `pass`."""
    tree = _parsed(text)
    if tree is None:
        return None
    data, edges = text.encode(), [0]
    for line in data.split(b"\n"):
        edges.append(edges[-1] + len(line) + 1)
    for start, end, replacement in sorted(_docstrings(tree, data, edges), reverse=True):
        data = data[:start] + replacement + data[end:]
    stripped = data.decode()
    return stripped if _parsed(stripped) is not None else None


def _parsed(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about escapes in third-party strings
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _docstrings(tree: ast.Module, data: bytes, edges: list[int]) -> Iterator[tuple[int, int, bytes]]:
    """Yield the byte span of each docstring, and its replacement."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if not node.body or ast.get_docstring(node, clean=False) is None:
            continue
        first = node.body[0]
        start = edges[first.lineno - 1] + first.col_offset
        end = edges[(first.end_lineno or first.lineno) - 1] + (first.end_col_offset or 0)
        if len(node.body) == 1 and not isinstance(node, ast.Module):
            yield start, end, b"pass"
            continue
        rest = re.compile(rb"[ \t]*;?[ \t]*").match(data, end)
        end = rest.end() if rest else end
        line = data.rfind(b"\n", 0, start) + 1
        if not data[line:start].strip() and data[end : end + 1] in {b"\n", b""}:
            blank_lines = re.compile(rb"(?:[ \t]*\n)+").match(data, end)
            start, end = line, blank_lines.end() if blank_lines else end
        yield start, end, b""
