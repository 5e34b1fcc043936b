"""Find credentials in text by their format: the patterns of detect-secrets, and those of issuers that it lacks.

Our own patterns are documented by the issuers or listed by gitleaks 8 (github.com/gitleaks/gitleaks). A word with few
different characters, or with "example" in it, is a placeholder and not reported, and neither is a part of a longer
word. Secrets without a fixed format are found by variable name and entropy: see secret_assignments.py.
"""

import dataclasses
import functools
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from codefit.curation.secret_assignments import NAMES, assigned_secrets

MIN_DISTINCT = 8  # different characters; "xxxxxxxxxxxxxxxx" has 1, a random token of 20 has about 16
PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")
KEY_END = re.compile(r"-----END|-----BEGIN")
KEY_LENGTH = 1 << 14  # characters after a header that are searched for its key
KEY_BEGINS = 400  # characters after a header, or before its end, within which a line of the key must occur
# A run of base64. It may follow `\n`, whose n does not belong to it.
KEY_RUN = re.compile(r"(?<![A-Za-z0-9+/=])(?:(?<=\\)[nrt])?([A-Za-z0-9+/=]{8,})")
KEY_LINE = 24
KEY_FIELD = re.compile(r"[A-Za-z-]+: [^\n\\]*")  # such as `DEK-Info: AES-128-CBC,...`
ESCAPED = re.compile(r"(?:\\[abfnrtv0]|\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|%[0-9A-Fa-f]{2})\Z")
AWS_SECRET = r"(?:aws|AWS)[\w .-]{0,20}(?i:key|pwd|pw|pass|token)[\w\"'\]: =>]{0,24}[\"'`]([A-Za-z0-9/+]{40})[\"'`]"
JSON_WEB_TOKEN = r"eyJ[\w=-]{12,2000}+\.[\w=-]{12,8000}+\.[\w=-]{12,2000}+"
URL_PASSWORD = r"://[^\s/:@\"'`<>()]{0,64}:([^\s/@\"'`<>]{3,128})@(?=[\w\[])"
QUERY_PASSWORD = r"(?i:[?&;](?:password|pwd)=)([^\s&;\"'`<>]{4,128})"
ORACLE_PASSWORD = r"jdbc:oracle:\w{2,8}:[^\s/@:\"'`]{1,64}/([^\s/@\"'`]{3,128})@"
PASSWORD = re.compile(r"[^\s{}<>/\\\"'`(),;]{4,}")  # what can be a password in a URL
VARIABLE = re.compile(r"\$[A-Za-z_][A-Z_a-z]*[0-9]?|%\w+%|%[sd]|[*.]+")
NO_PASSWORDS = re.compile(r"pass(?:word|wd|phrase)?\d*|pw?d|secret|token|user(?:name)?|tiger|changeme|x+|\*+|\.+", re.I)


@dataclasses.dataclass(frozen=True, slots=True)
class Pattern:
    """A kind of secret. `marks` are plain texts of which one must occur: searching for them first is fast.

    `source` is a regular expression, or a plugin of detect-secrets with several. `group` is the group of the
    expression that matches the secret, if it has one.
    """

    kind: str
    marks: tuple[str, ...]
    source: str
    group: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Secret:
    """A secret in a text: its kind and its span in characters."""

    kind: str
    start: int
    end: int


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """The place of a secret; never its value."""

    path: Path
    line: int
    kind: str


PATTERNS = (
    Pattern("AWS key", ("AKIA", "ASIA", "ABIA", "ACCA"), r"(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[A-Z0-9]{16}"),
    Pattern("AWS key", ("aws", "AWS"), AWS_SECRET, 1),
    Pattern("Azure storage key", ("AccountKey=",), "azure_storage_key.AzureStorageKeyDetector"),
    Pattern("GitHub token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), "github_token.GitHubTokenDetector"),
    Pattern("GitHub token", ("github_pat_",), r"github_pat_\w{82}"),
    Pattern(
        "GitLab token",
        ("glpat-", "gldt-", "glft-", "glrt-", "GR1348941", "glptt-", "gloas-"),
        "gitlab_token.GitLabTokenDetector",
    ),
    Pattern("Hugging Face token", ("hf_",), r"hf_(?=[a-z]*[A-Z])(?=[A-Z]*[a-z])[A-Za-z]{34}"),
    Pattern("Slack token", ("xox", "hooks.slack.com"), "slack.SlackDetector"),
    Pattern("Google API key", ("AIza",), r"AIza[\w-]{35}(?![\w-])"),
    Pattern("Stripe key", ("k_live_",), r"[sr]k_live_[A-Za-z0-9]{20,}"),
    Pattern("OpenAI key", ("T3BlbkFJ",), r"sk-[\w-]{20,}T3BlbkFJ[\w-]{20,}"),
    Pattern("Anthropic key", ("sk-ant-",), r"sk-ant-[a-z0-9]+-[\w-]{80,}"),
    Pattern("npm token", ("npm_",), r"npm_[A-Za-z0-9]{36}"),
    Pattern("PyPI token", ("pypi-AgE",), "pypi_token.PypiTokenDetector"),
    Pattern("SendGrid key", ("SG.",), "sendgrid.SendGridDetector"),
    Pattern("Square token", ("sq0csp-",), "square_oauth.SquareOAuthDetector"),
    Pattern("Mailchimp key", ("-us",), "mailchimp.MailchimpDetector"),
    Pattern("Telegram token", (":AA",), "telegram_token.TelegramBotTokenDetector"),
    Pattern("JSON web token", ("eyJ",), JSON_WEB_TOKEN),
    Pattern("password in a URL", ("://",), URL_PASSWORD, 1),
    Pattern("password in a URL", ("assword=", "pwd="), QUERY_PASSWORD, 1),
    Pattern("password in a URL", ("jdbc:oracle",), ORACLE_PASSWORD, 1),
)


@functools.cache
def _expressions(source: str) -> tuple[re.Pattern[str], ...]:
    """Return the regular expressions of a pattern; a plugin is imported when one of its marks is first found."""
    module, _, name = source.partition(".")
    if not name.endswith("Detector"):
        return (re.compile(source),)
    plugin = getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), name)
    return tuple(plugin.denylist)


def find_secrets(text: str) -> Iterator[Secret]:
    """Yield the secrets of a text, kind by kind; two kinds may overlap."""
    if "PRIVATE KEY" in text:
        yield from _private_keys(text)
    for pattern in PATTERNS:
        if any(mark in text for mark in pattern.marks):
            for expression in _expressions(pattern.source):
                for match in expression.finditer(text):
                    start, end = match.span(min(pattern.group, expression.groups))
                    if _is_secret(pattern.kind, text, start, end):
                        yield Secret(pattern.kind, start, end)
    for start, end in assigned_secrets(text):
        yield Secret("secret by its name", start, end)


def _is_secret(kind: str, text: str, start: int, end: int) -> bool:
    word = text[start:end]
    if kind == "password in a URL":
        return bool(PASSWORD.fullmatch(word)) and not (NO_PASSWORDS.fullmatch(word) or VARIABLE.fullmatch(word))
    joined = _is_word_before(text, start) or (end < len(text) and _is_word(text[end]))
    return not (joined or len(set(word[-20:])) < MIN_DISTINCT or "example" in word.lower())


def _is_word_before(text: str, start: int) -> bool:
    """Return whether the character before a position belongs to the same word, not to an escape such as `\\n`."""
    return start > 0 and _is_word(text[start - 1]) and not ESCAPED.search(text, max(0, start - 6), start)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _private_keys(text: str) -> Iterator[Secret]:
    """Yield every line of the body of every private key, so that the text between the lines is kept.

    A header alone may be a constant of a parser; it counts only if the body of a key follows. Comment signs, margins,
    quotes and header fields may come between the lines.
    """
    for header in PRIVATE_KEY.finditer(text):
        stop = KEY_END.search(text, header.end(), header.end() + KEY_LENGTH)
        end = stop.start() if stop else min(len(text), header.end() + KEY_LENGTH)
        fields = [field.span() for field in KEY_FIELD.finditer(text, header.end(), end)]
        runs = [match.span(1) for match in KEY_RUN.finditer(text, header.end(), end)]
        if not stop:
            runs = _unbroken(runs, header.end())
        runs = [
            run
            for run in runs
            if not any(first <= run[0] < last for first, last in fields if "=" not in text[first:last])
        ]
        if any(_is_key_line(text[slice(*run)]) for run in runs):
            yield from (Secret("private key", *run) for run in runs)


def _unbroken(runs: list[tuple[int, int]], position: int) -> list[tuple[int, int]]:
    """Return the runs up to the first gap that is too long for a key."""
    kept = []
    for start, end in runs:
        if start - position > KEY_BEGINS:
            break
        kept.append((start, end))
        position = end
    return [run for run in kept if run[1] - run[0] >= KEY_LINE]


def _is_key_line(run: str) -> bool:
    return len(run) >= KEY_LINE and len(set(run)) >= 2 * MIN_DISTINCT and run != run.lower() and run != run.upper()


def kind_of_secret(text: str) -> str | None:
    """Return the kind of the first secret in a text, or None."""
    return next((secret.kind for secret in find_secrets(text)), None)


def scan(folder: Path) -> Iterator[Finding]:
    """Yield the lines with secrets in all files of a folder and its subfolders, sorted by name."""
    marks = ("PRIVATE KEY", *(mark for pattern in PATTERNS for mark in pattern.marks))
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if any(mark in line for mark in marks) or any(name in line.lower() for name in NAMES):
                    kind = kind_of_secret(_text(line))
                    if kind:
                        yield Finding(path.relative_to(folder), number, kind)


def _text(line: str) -> str:
    """Return the texts of a JSON record, and once more joined, to find a secret that the cut of a pair divides."""
    try:
        row = json.loads(line)
    except ValueError:
        return line
    if not isinstance(row, dict):
        return line
    whole = "".join(str(row.get(name) or "") for name in ("prompt", "completion", "suffix"))
    return "\n".join([*map(str, row.values()), whole])
