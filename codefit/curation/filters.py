"""The rules that tell a useful file from data, generated code and noise: one table, two profiles.

Thresholds: StarCoder2 (arXiv 2402.19173, section 3) for line lengths, letters, encoded data and generated markers;
OpenCoder for duplicate lines and damaged characters; refact for digits; BigCode for XML headers and the comment
share. The giant values are this project's own. Every rule returns the value that broke it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from codefit.languages import Language
from codefit.lexer import comment_length
from codefit.sources import Rejection

PROFILES = ("light", "standard")

LETTERS = bytes(range(ord("a"), ord("z") + 1)) + bytes(range(ord("A"), ord("Z") + 1)) + bytes(range(128, 256))
DIGITS = b"0123456789"
BLANKS = b" \t\r\n\f\v"
BASE64 = re.compile(rb"[A-Za-z0-9+/=\n]{64,}+")
HEX_BYTES = re.compile(rb"(?:\b(?:0x|\\x)?[0-9A-Fa-f]{2}(?:,\s*+|\b\s*+)){8,}")
ESCAPES = re.compile(rb"(?:\\u[0-9A-Fa-f]{4}){8,}+")
HEX_RUN = b"h" * 16  # what 8 hexadecimal bytes leave once their separators are gone; a cheap look before the slow rule
HEX_CLASSES = bytes(ord("h") if chr(byte) in "0123456789abcdefABCDEF" else ord(".") for byte in range(256))
HEX_SEPARATORS = b" \t\r\n\f\v,x\\"
ENCODED_LENGTH = 1024  # characters of one match
GENERATED = re.compile(
    r"auto-?generated|automatically generated|generated automatically|this file is generated|@generated|do not edit",
    re.I,
)
GENERATED_LINES = 5
VENDORED = re.compile(
    r"(?:^|/)(?:node_modules|bower_components|vendor|vendored|_vendor|third[-_]?party|site-packages|dist-packages|"
    r"external[-_]?libs?)/|[.-]min\.(?:js|mjs|cjs)$",
    re.I,
)
XML_PROBE = 100


@dataclass(frozen=True)
class File:
    """A file as the rules see it."""

    text: str
    path: str
    language: Language

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
        """How many bytes are not blank; at least 1."""
        return len(self.data.translate(None, BLANKS)) or 1

    def share(self, kept: bytes) -> float:
        """Return the share of bytes, blanks left out, that belong to a class."""
        return (len(self.data) - len(self.data.translate(None, kept))) / self.solid


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
    match = GENERATED.search("\n".join(file.lines[:GENERATED_LINES]))
    return match[0] if match else None


def _vendored(file: File, _: Any) -> str | None:
    match = VENDORED.search(file.path)
    return match[0].strip("/") if match else None


def _xml(file: File, _: Any) -> str | None:
    return "<?xml" if "<?xml version=" in file.text[:XML_PROBE] else None


def _encoded(file: File, limit: float) -> str | None:
    """A match of more than 1,024 characters, or matches that make up more than `limit` of the file."""
    hexadecimal = HEX_RUN in file.data.translate(HEX_CLASSES, HEX_SEPARATORS)
    for pattern in (BASE64, ESCAPES, HEX_BYTES) if hexadecimal else (BASE64, ESCAPES):
        lengths = [match.end() - match.start() for match in pattern.finditer(file.data)]
        if lengths and (max(lengths) > ENCODED_LENGTH or sum(lengths) > limit * len(file.data)):
            return f"{sum(lengths)} bytes"
    return None


def _long_digits(file: File, limit: int) -> str | None:
    match = re.search(rf"[0-9]{{{limit}}}", file.text)
    return f"at character {match.start()}" if match else None


def _share_of_duplicates(file: File) -> float:
    """The share of lines that occur before; lines of up to three characters, mostly brackets, do not count."""
    lines = [line for line in file.full_lines if len(line) > 3]
    return 1 - len(set(lines)) / max(1, len(lines))


# name: rule, its limit in the light and in the standard profile; None switches it off.
RULES: dict[str, tuple[Rule, Any, Any]] = {
    "vendored or minified path": (_vendored, True, True),
    "too many characters": (_over(lambda file: len(file.text)), 2_000_000, 1_000_000),
    "too few characters": (_under(lambda file: len(file.text.strip())), 1, 50),
    "too few lines": (_under(lambda file: len(file.full_lines)), 1, 5),
    "too many lines": (_over(lambda file: len(file.lines)), 100_000, 20_000),
    "long line": (_over(lambda file: max(map(len, file.lines))), 100_000, 1000),
    "long lines on average": (_over(lambda file: len(file.text) / len(file.lines)), None, 100),
    "damaged characters": (_over(lambda file: file.text.count("\ufffd") / len(file.text)), 0.01, 0.01),
    "generated": (_generated, None, True),
    "XML header": (_xml, None, True),
    "giant number": (_long_digits, None, 40),
    "giant token": (_over(lambda file: max(map(len, file.text.split()))), None, 199),
    "few letters": (_under(lambda file: file.share(LETTERS)), None, 0.25),
    "many digits": (_over(lambda file: file.share(DIGITS)), None, 0.30),
    "encoded data": (_encoded, None, 0.5),
    "duplicate lines": (_over(_share_of_duplicates), None, 0.70),
    "mostly comments": (_over(lambda file: comment_length(file.text, file.language) / file.solid), None, 0.80),
}


def rejected(text: str, path: str, language: Language, profile: str) -> Rejection | None:
    """Return the first rule of a profile that a file breaks, or None if it passes them all."""
    file = File(text, path, language)
    for name, (rule, *limits) in RULES.items():
        limit = limits[PROFILES.index(profile)]
        if limit is None:
            continue
        value = rule(file, limit)
        if value is not None:
            return Rejection(name, round(value, 3) if isinstance(value, float) else value)
    return None
