"""Find credentials in text: few patterns, each so specific that a hit is worth stopping for.

The shapes are those that their issuers document or that gitleaks 8 lists (github.com/gitleaks/gitleaks). A word that is
made of few different characters, or says "example", is a placeholder and not reported.
"""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

MIN_DISTINCT = 8  # characters; "xxxxxxxxxxxxxxxx" has 1, a random token of 20 has about 16


@dataclasses.dataclass(frozen=True, slots=True)
class Pattern:
    """A kind of secret. `marks` are plain texts of which one must be there: looking for them first is fast."""

    kind: str
    marks: tuple[str, ...]
    regex: re.Pattern[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Where a secret is; never what it is."""

    path: Path
    line: int
    kind: str


PATTERNS = tuple(
    Pattern(kind, tuple(marks.split()), re.compile(regex))
    for kind, marks, regex in (
        # a header alone may be a parser's constant: only one that the body of a key follows is a key
        ("private key", "-----BEGIN", r"-----BEGIN (?:\w+ )*PRIVATE KEY-----(?:\\[nr]|[\s\"'+,])*[A-Za-z0-9+/=]{16,}"),
        ("AWS access key", "AKIA ASIA", r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
        ("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", r"\bgh[pousr]_[A-Za-z0-9]{36}\b"),
        ("GitHub token", "github_pat_", r"\bgithub_pat_\w{82}\b"),
        ("GitLab token", "glpat-", r"\bglpat-[\w-]{20}\b"),
        ("Hugging Face token", "hf_", r"\bhf_(?=[a-z]*[A-Z])(?=[A-Z]*[a-z])[A-Za-z]{34}\b"),
        ("Slack token", "xox", r"\bxox[abeoprs]-[0-9]{10,13}-[A-Za-z0-9-]{20,}"),
        ("Slack webhook", "hooks.slack.com", r"hooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{20,}"),
        ("Google API key", "AIza", r"\bAIza[\w-]{35}(?![\w-])"),
        ("Stripe key", "_live_", r"\b[sr]k_live_[A-Za-z0-9]{20,}\b"),
        ("OpenAI key", "T3BlbkFJ", r"\bsk-[\w-]{20,}T3BlbkFJ[\w-]{20,}"),
        ("Anthropic key", "sk-ant-", r"\bsk-ant-[a-z0-9]+-[\w-]{80,}"),
        ("npm token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
        ("PyPI token", "pypi-AgEI", r"\bpypi-AgEI[\w-]{50,}"),
    )
)


def kind_of_secret(text: str) -> str | None:
    """Return the kind of the first secret in a text, or None."""
    for pattern in PATTERNS:
        if any(mark in text for mark in pattern.marks):
            for match in pattern.regex.finditer(text):
                if not _placeholder(match[0]):
                    return pattern.kind
    return None


def _placeholder(word: str) -> bool:
    return len(set(word[-20:])) < MIN_DISTINCT or "example" in word.lower()


def scan(folder: Path) -> Iterator[Finding]:
    """Yield the lines with secrets of every file below a folder, in the order of their names."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if any(mark in line for pattern in PATTERNS for mark in pattern.marks):
                    kind = kind_of_secret(_text(line))
                    if kind:
                        yield Finding(path.relative_to(folder), number, kind)


def _text(line: str) -> str:
    """Return what a line says: the texts of a JSON record, and once more without the border that cut a pair in two."""
    try:
        row = json.loads(line)
    except ValueError:
        return line
    if not isinstance(row, dict):
        return line
    whole = "".join(str(row.get(name) or "") for name in ("prompt", "completion", "suffix"))
    return "\n".join([*map(str, row.values()), whole])
