"""One row a programming language: suffixes, comment syntax, strings, and how a block is written."""

import dataclasses
from pathlib import PurePosixPath


@dataclasses.dataclass(frozen=True, slots=True)
class Language:
    """What the toolkit knows of a language.

    `blocks` is "indent" where indentation makes a block (Python) and "braces" where `{` `}` do. `strings` are the
    string delimiters, the longest first; `raw_strings` those in which a backslash escapes nothing.
    """

    name: str
    suffixes: tuple[str, ...]
    line_comments: tuple[str, ...]
    block_comments: tuple[tuple[str, str], ...]
    strings: tuple[str, ...]
    blocks: str
    raw_strings: tuple[str, ...] = ()


_C_COMMENTS = (("/*", "*/"),)

LANGUAGES = {
    row.name: row
    for row in (
        Language("python", (".py", ".pyi"), ("#",), (), ('"""', "'''", '"', "'"), "indent"),
        Language("kotlin", (".kt", ".kts"), ("//",), _C_COMMENTS, ('"""', '"', "'"), "braces", ('"""',)),
        Language("java", (".java",), ("//",), _C_COMMENTS, ('"""', '"', "'"), "braces"),
        Language("javascript", (".js", ".jsx", ".mjs", ".cjs"), ("//",), _C_COMMENTS, ('"', "'", "`"), "braces"),
        Language("typescript", (".ts", ".tsx"), ("//",), _C_COMMENTS, ('"', "'", "`"), "braces"),
        Language("go", (".go",), ("//",), _C_COMMENTS, ('"', "'", "`"), "braces", ("`",)),
    )
}

BY_SUFFIX = {suffix: row for row in LANGUAGES.values() for suffix in row.suffixes}


def language_of(path: str) -> Language | None:
    """Return the language of a path by its suffix, or None if the table has no row for it."""
    return BY_SUFFIX.get(PurePosixPath(path).suffix.lower())
