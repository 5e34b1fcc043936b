"""Find credentials in text by their format: the patterns of detect-secrets, and those of issuers that it lacks.

Our own patterns are documented by the issuers or listed by gitleaks 8 (github.com/gitleaks/gitleaks). A word with few
different characters, or with "example" in it, is a placeholder and not reported, and neither is a part of a longer
word. Secrets without a fixed format are found by variable name and entropy: see secret_assignments.py.
"""

import base64
import dataclasses
import functools
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from codefit.curation.secret_assignments import SOMETHING_ELSE, assigned_secrets, is_password, is_random

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
JSON_WEB_TOKEN = r"eyJ[\w=-]{12,2000}+\.[\w=-]{12,8000}+\.[\w=-]{12,2000}+"
URL_PASSWORD = r"://[^\s/:@\"'`<>()]{0,64}:([^\s/@\"'`<>]{3,128})@(?=[\w\[])"
BASE64 = "[A-Za-z0-9+/]{12,400}={0,2}"
AWS_KEY_IN_TWO = r"(?:AKIA|ASIA)[A-Z0-9]{0,15}[\"'`]\s{0,20}[+.]\s{0,20}[\"'`][A-Z0-9]{1,16}(?=[\"'`])"
ORACLE_PASSWORD = r"jdbc:oracle:\w{2,8}:[^\s/@:\"'`]{1,64}/([^\s/@\"'`]{3,128})@"
CURL_PASSWORD = r"\bcurl\b[^\n]{0,200}?\s-u [\"']?[^\s:\"']{1,64}:([^\s\"'@]{8,128})"


@dataclasses.dataclass(frozen=True, slots=True)
class Pattern:
    """A kind of secret.

    `probe` is a regular expression that matches somewhere in every text with such a secret. It starts with a literal
    character, which `re` finds much faster than anything else, and kinds that share a probe are searched once.
    `source` is a regular expression, or a plugin of detect-secrets with several. `group` is the group of the
    expression that matches the secret, if it has one.
    """

    kind: str
    probe: str
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


A_WORD = r"A(?:KIA|SIA|BIA|CCA|Iza|ccountKey=)"
AFTER_UNDERSCORE = r"_(?=[A-Za-z0-9]{16}|auth)"
AFTER_HYPHEN = r"-(?=[\w-]{16}|us[0-9]|u [^\s:]{1,64}:)"
AFTER_COLON = r":(?:AA[\w-]{33}|oracle:)"
HEADER = r"B(?:earer|asic) (?=[\w.~+/-]{12})"
WEBHOOK = r"://(?:hooks\.slack\.com/|(?:\w{1,16}\.)?discord(?:app)?\.com/api/webhooks/)"
PATTERNS = (
    Pattern("AWS key", A_WORD, r"(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[A-Z0-9]{16}"),
    Pattern("AWS key", A_WORD, AWS_KEY_IN_TWO),
    Pattern("Azure storage key", A_WORD, "azure_storage_key.AzureStorageKeyDetector"),
    Pattern("GitHub token", AFTER_UNDERSCORE, "github_token.GitHubTokenDetector"),
    Pattern("GitHub token", AFTER_UNDERSCORE, r"github_pat_\w{82}"),
    Pattern("GitLab token", AFTER_HYPHEN, "gitlab_token.GitLabTokenDetector"),
    Pattern("GitLab token", "GR1348941", "gitlab_token.GitLabTokenDetector"),
    Pattern("Hugging Face token", AFTER_UNDERSCORE, r"hf_(?=[a-z]*[A-Z])(?=[A-Z]*[a-z])[A-Za-z]{34}"),
    Pattern("Slack token", AFTER_HYPHEN, "slack.SlackDetector"),
    Pattern("Slack token", WEBHOOK, "slack.SlackDetector"),
    Pattern("Discord webhook", WEBHOOK, r"/api/webhooks/[0-9]{17,20}/([\w-]{60,80})", 1),
    Pattern("Google API key", A_WORD, r"AIza[\w-]{35}(?![\w-])"),
    Pattern("Stripe key", AFTER_UNDERSCORE, r"[sr]k_live_[A-Za-z0-9]{20,}"),
    Pattern("OpenAI key", AFTER_HYPHEN, r"sk-[\w-]{20,}T3BlbkFJ[\w-]{20,}"),
    Pattern("Anthropic key", AFTER_HYPHEN, r"sk-ant-[a-z0-9]+-[\w-]{80,}"),
    Pattern("npm token", AFTER_UNDERSCORE, r"npm_[A-Za-z0-9]{36}"),
    Pattern("npm token", AFTER_UNDERSCORE, r"_authToken=([\w-]{32,64})", 1),
    Pattern("Shopify token", AFTER_UNDERSCORE, r"shp(?:at|ca|pa|ss)_[0-9a-f]{32}"),
    Pattern("DigitalOcean token", AFTER_UNDERSCORE, r"do[opr]_v1_[0-9a-f]{64}"),
    Pattern("Mailgun key", AFTER_HYPHEN, r"key-[0-9a-f]{32}"),
    Pattern("age key", AFTER_HYPHEN, r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}"),
    Pattern("PyPI token", AFTER_HYPHEN, "pypi_token.PypiTokenDetector"),
    Pattern("SendGrid key", r"SG\.", "sendgrid.SendGridDetector"),
    Pattern("Square token", AFTER_HYPHEN, "square_oauth.SquareOAuthDetector"),
    Pattern("Mailchimp key", AFTER_HYPHEN, "mailchimp.MailchimpDetector"),
    Pattern("Telegram token", AFTER_COLON, r"(?:\bbot)?(?<![0-9])[0-9]{8,10}:AA[\w-]{33}(?![\w-])"),
    Pattern("JSON web token", r"\.ey[AIJ]", JSON_WEB_TOKEN),
    Pattern("password in a URL", "://", URL_PASSWORD, 1),
    Pattern("password in a URL", AFTER_COLON, ORACLE_PASSWORD, 1),
    Pattern("Azure signature", "&sig=", r"&sig=([A-Za-z0-9%+/]{40,64}(?:%3[Dd]|=))", 1),
    Pattern("password of a command", AFTER_HYPHEN, CURL_PASSWORD, 1),
    Pattern("authorization header", HEADER, r"Bearer ([A-Za-z0-9._~+/-]{20,400}=*)", 1),
    Pattern("authorization header", HEADER, rf"Basic ({BASE64})(?![A-Za-z0-9+/=])", 1),
    Pattern("authorization header", AFTER_UNDERSCORE, rf"_auth[ \t]*=[ \t]*({BASE64})", 1),
    Pattern("authorization header", '"auth', rf"\"auth\\?\"[ \t]*:[ \t]*\\?\"({BASE64})\\?\"", 1),
)


@functools.cache
def _expressions(source: str) -> tuple[re.Pattern[str], ...]:
    """Return the regular expressions of a pattern; a plugin is imported when one of its marks is first found."""
    module, _, name = source.partition(".")
    if not name.endswith("Detector"):
        return (re.compile(source),)
    plugin = getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), name)
    return tuple(plugin.denylist)


PROBES = {pattern.probe: re.compile(pattern.probe) for pattern in PATTERNS}


def find_secrets(text: str) -> Iterator[Secret]:
    """Yield the secrets of a text, kind by kind; two kinds may overlap."""
    if "PRIVATE KEY" in text:
        yield from _private_keys(text)
    probed = {probe: expression.search(text) is not None for probe, expression in PROBES.items()}
    for pattern in PATTERNS:
        if probed[pattern.probe]:
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
        user = text[max(0, start - 65) : start - 1].rpartition("/")[2]
        return is_password(word) and word != user
    if kind == "password of a command":
        return is_random(word)
    if kind == "authorization header" and (password := _basic_password(word)):
        return is_password(password)
    if kind == "authorization header" and not (text[start - 2] == "r" and is_random(word)):
        return False
    joined = _is_word_before(text, start) or (end < len(text) and _is_word(text[end]))
    return not (joined or len(set(word[-20:])) < MIN_DISTINCT or "example" in word.lower())


def _basic_password(word: str) -> str:
    """Return the password in base64 of `user:password`; "" if it is none."""
    try:
        user, _, password = base64.b64decode(word, validate=True).decode("ascii").partition(":")
    except ValueError:
        return ""
    return password if user and user.isprintable() and password.isprintable() else ""


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
    mixed = run != run.lower() and run != run.upper() and not SOMETHING_ELSE.fullmatch(run)
    return len(run) >= KEY_LINE and len(set(run)) >= 2 * MIN_DISTINCT and mixed


def kind_of_secret(text: str) -> str | None:
    """Return the kind of the first secret in a text, or None."""
    return next((secret.kind for secret in find_secrets(text)), None)


def scan(folder: Path) -> Iterator[Finding]:
    """Yield the lines with secrets in all files of a folder and its subfolders, sorted by name."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if kind := kind_of_secret(_text(line)):
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
