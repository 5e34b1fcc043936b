"""Removal of licence headers: the copyright and licence text in the comments at the top of a file.

They are removed first, because they teach nothing, fill the first window of every file and make different files look
alike. A comment that only mentions a licence stays, and so do other paragraphs of a header and everything that tools
read: a shebang, an encoding line, `//go:build`, `# mypy:`, the metadata of PEP 723. A header may also follow lines that
come before any other code: `#nullable enable`, `@file:Suppress(...)`, `"use strict"`, `package a`, a docstring.
"""

import functools
import re
from collections.abc import Iterator, Sequence

from codefit.code.languages import Language
from codefit.code.lexer import leading_comments
from codefit.code.syntax import Span

KEPT_LINE = re.compile(r"#!.*\n|[ \t]*#.*?coding[:=].*\n|<\?php\b[ \t]*\n?|\s+")
PREPROCESSED = r"#[ \t]*(?:nullable|pragma|region|define|undef|if|ifdef|ifndef|include|!\[[^\]\n]*\])(?!\w)[^\n]*"
FIRST_CODE = {
    "python": r"""[rR]?(?P<mark>\"{3}|'{3})(?s:.*?)(?P=mark)|from[ ]__future__[ ]import[ ][\w, \t]+""",
    "kotlin": r"@file:[ \t]*(?:\[[^\]]*\]|[\w.]+(?:\([^()]*\))?)|package[ \t]+[\w.`]+;?",
    "javascript": r"""(?P<mark>["'])use [a-z]+(?P=mark);?""",
    "php": r"(?:<\?php[ \t]+)?(?:declare[ \t]*\([^()\n]*\)|namespace[ \t]+[\w\\]+)[ \t]*;",
    "java": r"package[ \t]+[\w.]+[ \t]*;",
}
FIRST_CODE |= {"typescript": FIRST_CODE["javascript"], "scala": FIRST_CODE["kotlin"], "go": FIRST_CODE["kotlin"]}
FIRST_CODE |= dict.fromkeys(("c", "cpp", "csharp", "rust", "swift"), PREPROCESSED)
LEGAL = re.compile(
    r"""\bcopyrights?[ \t]*:?[ \t]*(?:\(c\)|©|&copy;|[0-9]{4}|by\b|holder|(?-i:[A-Z]))|\babove[ ]copyright[ ]notice
    |(?:\(c\)|©)[ \t]*(?:copyright|[0-9]{4}|by\b)|\ball[ ]rights[ ]reserved|\bSPDX-
    |\blicen[cs]ed[ ](?:to[ ]the|to[ ]you|under)\b|\blicen[cs]e[ ]agreement|\blicenses?/
    |\b(?:public|apache|mit|bsd|isc|boost|zlib|x11)[ ]licen[cs]e|\bpublic[ ]domain\b|\bunlicense\b|(?-i:\bAS[ ]IS\b)
    |\bwarrant(?:y|ies)\b|\bliab(?:le|ility)[ ]for\b|\bpermission[ ](?:is[ ]hereby[ ]granted|to[ ]use[ ]?,)
    |\bredistribute[ ]it\b|\bredistributions?[ ](?:and|of|in)\b|\bgoverned[ ]by[ ][^.]{0,40}licen[cs]e
    |\bunder[ ]the[ ]terms\b|\bsubject[ ]to[ ]the[ ](?:terms|following)\b|\bendorse[ ]or[ ]promote
    |\bcopy[ ]of[ ]the[ ](?:\w+[ ]){0,4}licen[cs]e|\bthis[ ]file[ ]is[ ]part[ ]of\b
    |\bdistributed[ ](?:under|in[ ]the[ ]hope|without)|(?-i:\bLICEN[CS]E(?:\.|_|[ ]file))
    |\bsee[ ](?:the[ ])?licen[cs]e\b""",
    re.I | re.X,
)
DIRECTIVE = re.compile(
    r"(?://|/\*+|\#)[ \t]*(?:go:|\+build\b|/[ \t]*<\w|@\w|!|-\*-|(?!https?:)[a-z][\w-]*:[ \t]*\S|eslint\b|global\b"
    r"|noqa\b|NOLINT|swift-tools-version|swiftlint\b|prettier-|clang-format|ktlint-|IWYU[ \t]+pragma\b|<auto-?generated"
    r"|>[ \t]*using\b|export\b|typed:)"
)
LEGAL_WORDS = (  # every match of LEGAL contains one of these, which are much faster to find
    *(
        "copyright",
        "(c)",
        "©",
        "rights",
        "spdx",
        "licen",
        "domain",
        "as is",
        "warrant",
        "liab",
        "permission",
        "redistrib",
    ),
    *("terms", "subject", "endorse", "this file", "distributed"),
)
NOTICE = re.compile(
    r"[\s/*#@]*(?:copyright\b(?![ \t]+(?-i:[a-z]))|licen[cs]e[ \t]?:|\(c\)[ \t][^\n@]{1,200}@)", re.I
)  # beginnings of lines to keep
SIGNS = re.compile(r"^[ \t]*(?:/?\*+|//+!?|#+)[ \t]*", re.M)
METADATA, METADATA_END = re.compile(r"# /// [\w-]+$"), "# ///"
BARE = re.compile(r"[\s/*#=!~_+-]*")


def remove_licence_headers(text: str, language: Language) -> tuple[str, int]:
    """Return the text without licence headers, and the number of comments that changed."""
    kept = 0
    while match := KEPT_LINE.match(text, kept):
        kept = match.end()
    parts, position, removed = [], 0, 0
    for start, end in _leading_comments(text, language, kept):
        comment = text[start:end]
        shorter = _without_legal_text(comment)
        if shorter != comment:
            removed += 1
            parts += [text[position:start], shorter]
            position = end if shorter else len(text) - len(text[end:].lstrip(" \t\n"))
        elif not all(DIRECTIVE.match(line) for line in comment.split("\n")):
            break  # the rest is about the file itself
    return "".join([*parts, text[position:]]), removed


def _leading_comments(text: str, language: Language, start: int) -> Iterator[Span]:
    """Yield the spans of comments before any code but FIRST_CODE."""
    code = _first_code(language)
    while True:
        for span in _comments(text, language, start):
            yield span
            start = span[1]
        match = code.match(text, start)
        if not match:
            return
        start = match.end()


@functools.cache
def _first_code(language: Language) -> re.Pattern[str]:
    """Return the pattern of one piece of code that a licence header may follow, up to its line end."""
    return re.compile(rf"\s*(?:{FIRST_CODE.get(language.name, '(?!)')})[ \t]*\n")


def _comments(text: str, language: Language, start: int) -> Iterator[Span]:
    """Yield the spans of comments before any code: block comments, and line comments on consecutive lines as one."""
    first, last = start, start
    for begin, end in leading_comments(text, language, start):
        between = text[last:begin]
        is_line = text.startswith(language.line_comments, begin)
        joined = is_line and between.count("\n") == 1 and text.startswith(language.line_comments, first)
        if first < last and not joined:
            yield first, last
        first, last = begin if not joined else first, end
    if first < last:
        yield first, last


def _without_legal_text(comment: str) -> str:
    """Return a comment without its legal paragraphs; "" if no text is left."""
    left: list[str] = []
    for paragraph in _paragraphs(comment.split("\n")):
        legal = _is_legal(paragraph) and not METADATA.match(paragraph[0])
        left += filter(_is_kept, paragraph) if legal else paragraph
    if "\n".join(left) == comment:
        return comment
    while left and BARE.fullmatch(left[0]):
        left.pop(0)
    while left and BARE.fullmatch(left[-1]) and left[-1].strip() != METADATA_END:
        left.pop()
    if not left:
        return ""
    shorter = "\n".join(left)
    if not comment.startswith("/*"):
        return shorter.lstrip()
    opening, closing = comment[: 3 if comment.startswith("/**") else 2], comment.endswith("*/")
    shorter = shorter if shorter.startswith("/*") else f"{opening}\n{shorter}"
    return shorter if not closing or shorter.endswith("*/") else f"{shorter}\n */"


def _is_legal(paragraph: Sequence[str]) -> bool:
    if any(map(NOTICE.match, paragraph)):
        return True
    text = "\n".join(paragraph)
    lower = text.lower()
    if not any(word in lower for word in LEGAL_WORDS):
        return False
    return LEGAL.search(SIGNS.sub("", text).replace("\n", " ")) is not None


def _is_kept(line: str) -> bool:
    """Return whether a line of a legal paragraph is kept because a tool reads it."""
    return bool(DIRECTIVE.match(line.strip())) and not _is_legal([line])


def _paragraphs(lines: Sequence[str]) -> Iterator[list[str]]:
    """Yield paragraphs: lines up to an empty one, with the empty lines after them; PEP 723 metadata counts as one."""
    run: list[str] = []
    metadata = ended = False
    for line in lines:
        begins = METADATA.match(line.strip()) is not None
        if run and not metadata and ((ended and not BARE.fullmatch(line)) or begins):
            yield run
            run = []
        run.append(line)
        ended = bool(BARE.fullmatch(line)) and not metadata
        if metadata and line.strip() == METADATA_END:
            yield run
            run, metadata = [], False
        metadata = metadata or begins
    if run:
        yield run
