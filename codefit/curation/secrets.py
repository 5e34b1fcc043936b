"""Find credentials in text by their shapes: those of detect-secrets, and those of issuers that it does not know.

Own shapes are those that their issuers document or that gitleaks 8 lists (github.com/gitleaks/gitleaks). A word that is
made of few different characters, or says "example", is a placeholder and not reported; so is one that is a part of a
longer word. The detectors that guess (entropy, names of variables) are left out: in code they hit hashes and test data.
"""

import dataclasses
import functools
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

MIN_DISTINCT = 8  # characters; "xxxxxxxxxxxxxxxx" has 1, a random token of 20 has about 16
PRIVATE_KEY = r"-----BEGIN (?:\w+ )*PRIVATE KEY-----(?:\\[nr]|[\s\"'+,])*[A-Za-z0-9+/=]{16,}"
KEY_END = "-----END"
KEY_LINE = re.compile(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/=]{16,}+")
PASSWORD = re.compile(r"[^\s{}$<>/\\\"'`%(),;]{4,}")  # what can be a password in a URL, and is no variable
NO_PASSWORDS = re.compile(r"pass(?:word|wd|phrase)?\d*|pw?d|secret|token|user(?:name)?|tiger|changeme|x+|\*+|\.+", re.I)


@dataclasses.dataclass(frozen=True, slots=True)
class Pattern:
    """A kind of secret. `marks` are plain texts of which one must be there: looking for them first is fast.

    `source` is a regular expression, or the plugin of detect-secrets that holds some. `group` is the group of the
    expression that is the secret, where it has one.
    """

    kind: str
    marks: tuple[str, ...]
    source: str
    group: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret stands in a text: characters start to end."""

    kind: str
    start: int
    end: int


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Where a secret is; never what it is."""

    path: Path
    line: int
    kind: str


PATTERNS = (
    # a header alone may be a parser's constant: only one that the body of a key follows is a key
    Pattern("private key", ("-----BEGIN",), PRIVATE_KEY),
    Pattern("AWS key", ("AKIA", "ASIA", "ABIA", "ACCA", "aws", "AWS"), "aws.AWSKeyDetector", 1),
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
    Pattern("JSON web token", ("eyJ",), r"eyJ[\w=-]{12,}\.[\w=-]{12,}\.[\w=-]{12,}"),
    Pattern("password in a URL", ("://",), "basic_auth.BasicAuthDetector", 1),
)


@functools.cache
def _expressions(source: str) -> tuple[re.Pattern[str], ...]:
    """Return the regular expressions of a pattern; a plugin is imported when its mark is first seen."""
    module, _, name = source.partition(".")
    if not name.endswith("Detector"):
        return (re.compile(source),)
    plugin = getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), name)
    return tuple(plugin.denylist)


def find_secrets(text: str) -> Iterator[Secret]:
    """Yield the secrets of a text, kind by kind; two kinds may overlap."""
    for pattern in PATTERNS:
        if any(mark in text for mark in pattern.marks):
            for expression in _expressions(pattern.source):
                for match in expression.finditer(text):
                    start, end = match.span(min(pattern.group, expression.groups))
                    if _is_secret(pattern.kind, text, start, end):
                        yield from _parts(pattern.kind, text, start, end)


def _is_secret(kind: str, text: str, start: int, end: int) -> bool:
    word = text[start:end]
    if kind == "password in a URL":
        return bool(PASSWORD.fullmatch(word)) and not NO_PASSWORDS.fullmatch(word)
    joined = (start and _is_word(text[start - 1])) or (end < len(text) and _is_word(text[end]))
    placeholder = len(set(word[-20:])) < MIN_DISTINCT or "example" in word.lower()
    return not placeholder and (kind == "private key" or not joined)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _parts(kind: str, text: str, start: int, end: int) -> Iterator[Secret]:
    """Yield the secret; of a private key every line of its body, so that what stands between the lines is kept."""
    if kind != "private key":
        yield Secret(kind, start, end)
        return
    body, stop = text.index("KEY-----", start) + len("KEY-----"), text.find(KEY_END, end)
    for match in KEY_LINE.finditer(text, body, stop if stop > 0 else end):
        yield Secret(kind, *match.span())


def kind_of_secret(text: str) -> str | None:
    """Return the kind of the first secret in a text, or None."""
    return next((secret.kind for secret in find_secrets(text)), None)


def scan(folder: Path) -> Iterator[Finding]:
    """Yield the lines with secrets of every file below a folder, in the order of their names."""
    marks = tuple(mark for pattern in PATTERNS for mark in pattern.marks)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if any(mark in line for mark in marks):
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
