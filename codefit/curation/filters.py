"""The filter rules against data, generated code and noise: one table, three profiles.

Thresholds: StarCoder2 (arXiv 2402.19173, section 3) for line lengths, letters, encoded data and generated markers;
OpenCoder (arXiv 2411.04905) for duplicate lines, damaged characters and the rules of the strict profile; refact for
digits; BigCode for XML headers and the comment share. The limits of the "giant" rules are codefit's own. Every rule
returns the value that broke it, and every limit can be set on the command line.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from codefit.code.languages import Language
from codefit.code.lexer import comment_length
from codefit.records import Rejection

PROFILES = ("light", "standard", "strict")

LETTERS = bytes(range(ord("a"), ord("z") + 1)) + bytes(range(ord("A"), ord("Z") + 1)) + bytes(range(128, 256))
DIGITS = b"0123456789"
BLANKS = b" \t\r\n\f\v"
BASE64 = re.compile(rb"[A-Za-z0-9+/=\n]{64,}+")
BASE64_CHARACTER = re.compile(rb"[A-Za-z0-9+/=\n]")
HEX_BYTES = re.compile(rb"(?:\b(?:0x|\\x)?[0-9A-Fa-f]{2}(?:,\s*+|\b\s*+)){8,}")
ESCAPES = re.compile(rb"(?:\\u[0-9A-Fa-f]{4}){8,}+")
HEX_RUN = b"h" * 16  # characters of 8 hexadecimal bytes without separators
HEX_CLASSES = bytes(ord("h") if chr(byte) in "0123456789abcdefABCDEF" else ord(".") for byte in range(256))
BASE64_RUN = b"b" * 64
BASE64_CLASSES = bytes(ord("b") if BASE64_CHARACTER.match(bytes([byte])) else ord(".") for byte in range(256))
DIGIT_CLASSES = bytes(ord("d") if byte in DIGITS else ord(".") for byte in range(256))
HEX_SEPARATORS = b" \t\r\n\f\v,x\\"
ENCODED_LENGTH = 1024  # most characters of one match
# a comment's statement about its own file; it must begin a sentence, unlike prose about generated code
_BEGIN = r"(?:^|[.!?:;,(]\s*|\s-+\s*)"
GENERATED = re.compile(
    r"(?-i:\bDO NOT (?:EDIT|MODIFY)\b)|@generated\b|"
    r"\bthis (?:\w+ )?(?:file|code|class|module|source|document|header|script|package|content|interface)\w* "
    r"(?:is|are|was|has been) (?:auto-? ?|automatically )?generated\b|"
    rf"{_BEGIN}(?:please )?do not (?:edit|modify) ?(?:$|[.!;,:-]|this|it|by|manually|directly|or)|"
    rf"{_BEGIN}(?:(?:this|file|code|source) )?(?:is )?"
    r"(?:auto-?generated|automatically generated|generated automatically)"
    r" ?(?:$|[.!;:,)-]|by\b|from\b|with\b|using\b|file\b|code\b|on\b|at\b|do not\b)|"
    rf"{_BEGIN}(?:file|code|source) generated (?:by|from|with)\b",
    re.I | re.M,
)
GENERATED_WORD = re.compile(r"(?:[Gg]enerate|GENERATE|[Ee]dit|EDIT|[Mm]odif|MODIF)")
CODE_LINE = re.compile(r"(?:package|import|from|use|using|require|namespace|module|/?usr|/?bin|env)\b|.*coding")
COMMENT_SIGNS = re.compile(r"[\s/*#;<!=\"'-]+|%+")
GENERATED_LINES = 5
MOST_SENTENCES = 10_000  # characters; a declaration is short
# a comment after licence and imports that says so about the class, as Kotlin's test generators write it
GENERATED_COMMENT = re.compile(r"^\s*(?:/\*+|\*|//|#)\s*this (?:class|file|code) (?:is|was) generated\b", re.I | re.M)
GENERATED_COMMENT_LINES = 40
VENDORED = re.compile(
    r"(?:^|/)(?:node_modules|bower_components|vendor|vendored|_vendor|third[-_]?party|site-packages|dist-packages|"
    r"external[-_]?libs?)/|[.-]min\.(?:js|mjs|cjs)$",
    re.I,
)
GENERATED_PATH = re.compile(
    r"_pb2(?:_grpc)?\.pyi?$|\.pb\.go$|\.designer\.\w+$|\.g(?:en(?:erated)?)?\.(?:kt|java|ts|go|cs|swift|rs)$|_generated\.\w+$",
    re.I,
)
XML_PROBE = 100
WORD = re.compile(r"[A-Za-z0-9_]+")
IMPORT = re.compile(r"import\b|from\s+\S+\s+import\b")
PASS = re.compile(r"pass\b")
ASSERT = re.compile(r"(?:self\.)?assert")
PRINT = re.compile(r"(?:System\.out\.|fmt\.|console\.)?(?:print|log\()", re.I)
TODO = re.compile(r"\b(?:TODO|FIXME)\b|your code here", re.I)
# SPDX ids; the most frequent permissive licences of The Stack (arXiv 2211.15533, appendix)
PERMISSIVE = (
    *(
        "0BSD",
        "Apache-2.0",
        "Artistic-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
    ),
    *("NCSA", "PostgreSQL", "PSF-2.0", "Python-2.0", "Unlicense", "UPL-1.0", "WTFPL", "Zlib"),
)


@dataclass(frozen=True)
class File:
    """A file with the measurements that the rules need."""

    text: str
    path: str
    language: Language
    license: str = ""

    @cached_property
    def data(self) -> bytes:
        return self.text.encode()

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    @cached_property
    def full_lines(self) -> list[str]:
        return [line for line in map(str.strip, self.lines) if line]

    @cached_property
    def solid(self) -> int:
        """Number of bytes that are not white space; at least 1."""
        return len(self.data.translate(None, BLANKS)) or 1

    def share(self, kept: bytes) -> float:
        """Return the share of bytes, without white space, that belong to a class."""
        return (len(self.data) - len(self.data.translate(None, kept))) / self.solid

    @cached_property
    def comments(self) -> float:
        """The length of the comments as a share of all bytes that are not white space."""
        return comment_length(self.text, self.language) / self.solid

    def share_of_lines(self, pattern: re.Pattern[str]) -> float:
        """Return the share of non-blank lines that begin with a pattern."""
        return sum(map(bool, map(pattern.match, self.full_lines))) / max(1, len(self.full_lines))


Rule = Callable[[File, Any], Any]


def _over(measure: Callable[[File], float]) -> Rule:
    def rule(file: File, limit: float) -> float | None:
        return value if (value := measure(file)) > limit else None

    return rule


def _under(measure: Callable[[File], float]) -> Rule:
    def rule(file: File, limit: float) -> float | None:
        return value if (value := measure(file)) < limit else None

    return rule


def _generated(file: File, _: Any) -> str | None:
    head = file.lines[:GENERATED_LINES]
    said = GENERATED_WORD.search("\n".join(head))  # a cheap check that rarely matches
    match = GENERATED.search(_sentences(head)) if said else None
    match = match or GENERATED_COMMENT.search("\n".join(file.lines[:GENERATED_COMMENT_LINES]))
    return match[0].strip(" .:;,(-!?") if match else None


def _sentences(lines: Iterable[str]) -> str:
    """Return the text of lines; a line that continues the sentence of the previous line is joined to it."""
    text = ""
    for line in lines:
        words = line[match.end() :] if (match := COMMENT_SIGNS.match(line)) else line
        above = text.rpartition("\n")[2]
        goes_on = above[-1:].islower() and words[:1].islower() and not CODE_LINE.match(above)
        text += f" {words.rstrip()}" if goes_on else f"\n{words.rstrip()}"
    return text[:MOST_SENTENCES]


def _vendored(file: File, _: Any) -> str | None:
    match = VENDORED.search(file.path)
    return match[0].strip("/") if match else None


def _generated_path(file: File, _: Any) -> str | None:
    match = GENERATED_PATH.search(file.path)
    return match[0] if match else None


def _xml(file: File, _: Any) -> str | None:
    return "<?xml" if "<?xml version=" in file.text[:XML_PROBE] else None


def _encoded(file: File, limit: float) -> str | None:
    """A match of more than 1,024 characters, or matches that make up more than `limit` of the file."""
    possible = {  # a cheap check before each slow expression
        BASE64: BASE64_RUN in file.data.translate(BASE64_CLASSES),
        ESCAPES: b"\\u" in file.data,
        HEX_BYTES: HEX_RUN in file.data.translate(HEX_CLASSES, HEX_SEPARATORS),
    }
    for pattern in (pattern for pattern, seen in possible.items() if seen):
        lengths = [match.end() - match.start() for match in pattern.finditer(file.data)]
        if lengths and (max(lengths) > ENCODED_LENGTH or sum(lengths) > limit * len(file.data)):
            return f"{sum(lengths)} bytes"
    return None


def _long_digits(file: File, limit: int) -> str | None:
    if b"d" * limit not in file.data.translate(DIGIT_CLASSES):  # much faster than the expression
        return None
    match = re.search(rf"[0-9]{{{limit}}}", file.text)
    return f"at character {match.start()}" if match else None


def _share_of_duplicates(file: File) -> float:
    """The share of lines that occurred before; lines of up to three characters, mostly brackets, are ignored."""
    lines = [line for line in file.full_lines if len(line) > 3]
    return 1 - len(set(lines)) / max(1, len(lines))


def _share_of_duplicate_grams(file: File, length: int) -> float:
    """The share of n-grams of `length` words that occurred before."""
    words = WORD.findall(file.text)
    grams = list(zip(*(words[start:] for start in range(length)), strict=False))
    return 1 - len(set(grams)) / max(1, len(grams))


def _share_of_todos(file: File) -> float:
    return len(TODO.findall(file.text)) / max(1, len(file.full_lines))


def _python(measure: Callable[[File], float]) -> Rule:
    """Return a rule for Python only: other languages import more, and have no `pass`."""
    over = _over(measure)
    return lambda file, limit: over(file, limit) if file.language.name == "python" else None


def _licence(file: File, allowed: Iterable[str]) -> str | None:
    known = {licence.lower() for licence in allowed}  # licences that all apply are joined by AND
    return None if all(part.lower() in known for part in file.license.split(" AND ")) else file.license or "unknown"


def _secrets(file: File, limit: int) -> int | None:
    from codefit.curation.secrets import find_secrets

    count = sum(1 for _ in find_secrets(file.text))
    return count if count > limit else None


# name: rule, and its limits in the light, standard and strict profile; None turns it off.
RULES: dict[str, tuple[Rule, Any, Any, Any]] = {
    "vendored or minified path": (_vendored, True, True, True),
    "generated path": (_generated_path, True, True, True),
    "licence": (_licence, None, None, PERMISSIVE),
    "too many characters": (_over(lambda file: len(file.text)), 2_000_000, 1_000_000, 1_000_000),
    "too few characters": (_under(lambda file: len(file.text.strip())), 1, 50, 50),
    "too few lines": (_under(lambda file: len(file.full_lines)), 1, 5, 10),
    "too many lines": (_over(lambda file: len(file.lines)), 100_000, 20_000, 20_000),
    "long line": (_over(lambda file: max(map(len, file.lines))), 100_000, 1000, 1000),
    "long lines on average": (_over(lambda file: len(file.text) / len(file.lines)), None, 100, 100),
    "short lines on average": (_under(lambda file: len(file.text) / len(file.lines)), None, None, 5),
    "too few words": (_under(lambda file: len(WORD.findall(file.text))), None, None, 30),
    "damaged characters": (_over(lambda file: file.text.count("\ufffd") / max(1, len(file.text))), 0.01, 0.01, 0.01),
    "generated": (_generated, None, True, True),
    "XML header": (_xml, None, True, True),
    "giant number": (_long_digits, None, 40, 40),
    "giant token": (_over(lambda file: max(map(len, file.text.split()), default=0)), None, 199, 199),
    "few letters": (_under(lambda file: file.share(LETTERS)), None, 0.25, 0.25),
    "many digits": (_over(lambda file: file.share(DIGITS)), None, 0.30, 0.20),
    "encoded data": (_encoded, None, 0.5, 0.5),
    "duplicate lines": (_over(_share_of_duplicates), None, 0.70, 0.70),
    "duplicate 5-grams": (_over(lambda file: _share_of_duplicate_grams(file, 5)), None, None, 0.80),
    "duplicate 10-grams": (_over(lambda file: _share_of_duplicate_grams(file, 10)), None, None, 0.60),
    "mostly comments": (_over(lambda file: file.comments), None, 0.80, 0.80),
    "few comments": (_under(lambda file: file.comments), None, None, 0.01),
    "mostly imports": (_python(lambda file: file.share_of_lines(IMPORT)), None, None, 0.30),
    "many pass lines": (_python(lambda file: file.share_of_lines(PASS)), None, None, 0.05),
    "mostly asserts": (_over(lambda file: file.share_of_lines(ASSERT)), None, None, 0.40),
    "mostly prints": (_over(lambda file: file.share_of_lines(PRINT)), None, None, 0.40),
    "many TODOs": (_over(_share_of_todos), None, None, 0.01),
    "secrets": (_secrets, None, None, 0),
}


def parsed_rule(text: str) -> tuple[str, Any]:
    """Return the name and the limit of `NAME=VALUE`; `off` is None, and `on` is the limit of the strict profile.

    Raises:
        ValueError: there is no such rule, or the value is not valid for it; the message says what is valid.
    """
    word, _, value = text.partition("=")
    names = {_plain(name): name for name in RULES}
    if _plain(word) not in names:
        close = difflib.get_close_matches(_plain(word), names, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"the rules are {', '.join(names)}"
        raise ValueError(f"there is no rule {word}; {hint}")
    name = names[_plain(word)]
    strict = RULES[name][-1]
    if value in {"on", "off"}:
        return name, strict if value == "on" else None
    if isinstance(strict, tuple) and value:
        return name, tuple(value.split(","))
    try:
        return name, _limit_like(strict, value)
    except ValueError as error:
        raise ValueError(f"{_plain(name)} takes {error}, not {value!r}") from None


def _limit_like(strict: Any, value: str) -> Any:
    if isinstance(strict, tuple):
        if not value:
            raise ValueError("SPDX ids with commas between")
        return tuple(value.split(","))
    if strict is True:
        raise ValueError("on or off")
    try:
        limit = type(strict)(value)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise ValueError("a number" if isinstance(strict, float) else "a whole number")
    return limit


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def limits_of(profile: str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Return the limit of every rule that is on in a profile, after the `NAME=VALUE` overrides.

    Raises:
        ValueError: an override names no rule, or its value is not valid for it.
    """
    limits = {name: row[1 + PROFILES.index(profile)] for name, row in RULES.items()}
    limits |= dict(map(parsed_rule, overrides))
    return {name: limit for name, limit in limits.items() if limit is not None}


def rejected(file: File, limits: Mapping[str, Any]) -> Rejection | None:
    """Return the rejection by the first rule that a file breaks, or None if it passes all of them."""
    for name, limit in limits.items():
        value = RULES[name][0](file, limit)
        if value is not None:
            return Rejection(name, round(value, 3) if isinstance(value, float) else value)
    return None
