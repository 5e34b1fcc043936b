"""Secrets recognised by the name they are assigned to: `password = "..."`, `"api_key": "..."`, `DB_PASSWORD=...`.

The name alone is weak evidence, since most such values are names of settings, placeholders or words. A value counts
only if it looks random: it mixes letters and digits, has few repeats, and contains no placeholder word.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator

NAMES = ("passw", "passphrase", "pwd", "secret", "token", "credential", "key")
KEY_OF = re.compile(r"(?:api|access|auth|aws|private|signing|encryption|account|storage|app)[_-]?\Z")
REST_OF_NAME = r"[A-Za-z0-9_-]{0,24}"
NAME = re.compile(REST_OF_NAME)
# a name and its value as two entries: `name: DB_PASSWORD`, `value: ...`
PAIR = r"""(?:,?\s{1,60}\\?["']?value\\?["']?(?=[ \t]{0,8}[:=]))?"""
TAG = r"(?:</(?:key|name)>\s{0,60}<(?:string|value))?"
QUOTED = re.compile(
    REST_OF_NAME
    + r"""(?:\\?["'`])?[\])]?(?:[ \t]{0,8}[:?][ \t]?[A-Za-z_&*'][\w.<>?\[\] |&*']{0,40}?)?"""
    + PAIR
    + r"""(?:[ \t]{0,16}(?:(?:={1,3}|:=|=>|:|->|\|\||\?\?|\?:|\bor\b)\s{0,16}|,[ \t]{0,16})|[ \t]{1,16}|\{|\()"""
    + r"""[A-Za-z@$]{0,2}\#{0,3}(?P<quote>\\?["'`]{1,3})(?P<value>[^\s"'`\\]{8,200})(?P=quote)"""
)
BARE = re.compile(
    REST_OF_NAME
    + PAIR
    + TAG
    + r"""(?:=|:[ \t]{1,8}|[ \t]=[ \t]|>)(?P<value>[^\s"'`,;(){}<>\[\]\\|&]{8,200})(?=[\s"'`;<\\|&]|\Z)"""
)
# `ENV NAME value`, and `password value` behind `login name`
SPACED = re.compile(REST_OF_NAME + r"[ \t]{1,8}(?P<value>[^\s\"'`<>]{8,200})(?=\s|\\n|\Z)")
BEFORE_SPACED = re.compile(r"(?:^|\n)[ \t]*(?:ENV|setenv)[ \t]+\w*\Z|\blogin[ \t]+\S+\s+\Z")
# a literal that goes on as another one
CONCATENATED = re.compile(
    r"""\\?["'`]{1,3}\s{0,60}(?:[+.&]\s{0,60})?(?P<quote>["'`])(?P<value>[^\s"'`\\]{8,200})(?P=quote)"""
)
# what such a name says of its value: not the secret, but something about it
ABOUT = re.compile(
    r"[_-]?(?:id|ids|name|type|ur[il]|path|file|dir|folder|class|count|len|length|size|limit|expir\w*|version|format|header"
    r"|field|label|hint|regex|pattern|alg|algorithm|policy|enabled|required|min|max|prefix|suffix|alias|ref|arn|provider"
    r"|encoder|encoding|index|kind|text|title|message|placeholder|error|param\w*|column|chars|charset|alphabet|env|var)\Z",
    re.I,
)

NO_VALUE = re.compile(
    r"\$\{|\$\(|\{\{|\}\}|%[({]|(?<!\w)%[sd](?!\w)|</?\w|\[\w|://|^[{<.]|\.\.\.|^%\w+%$|"
    r"example|sample|dummy|placeholder|change|insert|replace|redact|default|invalid|secret|passw|token|"
    r"api_?key|qwert|asdf|lorem|abcde|12345|xxxx|000000|credential|username|localhost|"
    r"(?:^|[_. -])(?-i:your|Your|YOUR|my|My|MY|test|Test|TEST|fake|Fake|mock|Mock|foo|bar|FOO|BAR)(?![a-z])|"
    r"\.(?:pem|key|crt|cer|p12|jks|pub|txt|cfg|conf|properties|env|token|keystore|sock|log)\Z|"
    r"^(?-i:ES|RS|HS|PS|AES|RSA|SHA|HMAC|EC|MD)[-_]?[0-9]{1,3}\w{0,2}(?![A-Za-z0-9]{4})",
    re.I,
)
# always something else: a UUID, a version, an e-mail address, words in camel case
SOMETHING_ELSE = re.compile(
    r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|v?[0-9]+(?:\.[0-9]+){1,3}(?:[-+.][0-9A-Za-z]+)*"
    r"|[\w.+-]+@[\w-]+(?:\.[a-z]{2,8})+|(?:(?:[A-Z][a-z]{2,}+|[a-z]{3,}+|[A-Z]{2,4}+(?![a-z]))[0-9]{0,2}[._/:-]?)+"
)
WORDS = re.compile(
    r"[A-Za-z]+(?:[._/:@$-]+[A-Za-z]+)*[0-9]{0,3}[._/:!@$-]*"  # that a number may follow
    r"|(?:[A-Za-z]{3,}[0-9]{0,2}[._/:-]+)*[A-Za-z]{3,}[0-9]{0,2}|v?[0-9]+(?:[.:-][0-9A-Za-z]+)*"
    r"|[A-Za-z_]\w*(?:[.:-]+[A-Za-z_]\w*)+|[$%]?[A-Za-z_]\w*"  # the name of something
    r"|[\w.-]+\.(?:com|org|net|io|py|[jt]s|java|html?|xml|json|ya?ml|php)"
)
MIXED = 0.36  # share of neighbouring characters of different kinds; `camelCaseWords2` has less
BARE_MIXED = 0.3
PHRASE = re.compile(r"[A-Za-z]+(?:[._/:-]+[A-Za-z]+)+[0-9]{0,3}")
NO_DIGITS_LENGTH, NO_DIGITS_MIXED = 20, 0.4
SCATTERED_LENGTH, SCATTERED = 16, 3  # groups of digits, in a word without separators: no name has so many
DIGITS = re.compile(r"[0-9]+")
LEAST_BITS = 2.9  # bits of entropy per character; a random word of 9 different characters has 3.2


PASSWORD = re.compile(r"[^\s{}<>/\\\"'`(),;]{4,}")  # what can be a password in a URL
VARIABLE = re.compile(r"\$[A-Za-z_][A-Z_a-z]*[0-9]?|%\w+%|%[sd]|[*.]+")
NO_PASSWORDS = re.compile(
    r"(?:my|your|the|some|new|db|a|test)?[_-]?(?:pass(?:word|wd|phrase)?|pw?d|secret|token|user(?:name)?)[_-]?(?:here)?\d*"
    r"|tiger|change_?me|x+|\*+|\.+|guest|admin\d*|root|toor|postgres|mysql|redis|mongo|rabbitmq|demo|test\d*|example"
    r"|foo(?:bar)?|bar|baz|qux|hunter2|letmein|abc\d*|1?2345\d*",
    re.I,
)
QUERY = re.compile(r"(?i:password|pwd)=(?P<value>[^\s&;\"'`<>]{4,128})")  # after one of `?&;`


def assigned_secrets(text: str) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of each random-looking value that is assigned to a name such as `password`."""
    for start, end in _names(text):
        queried = QUERY.match(text, start) if start and text[start - 1] in "?&;" else None
        if queried and is_password(queried["value"]):
            yield queried.span("value")
            continue
        quoted, bare = QUOTED.match(text, end), BARE.match(text, end)
        if quoted and is_random(quoted["value"]):
            found = quoted
        elif bare and _is_certain(bare["value"]):
            found = bare
        else:
            spaced = SPACED.match(text, end)
            if not (spaced and is_random(spaced["value"]) and BEFORE_SPACED.search(text, max(0, start - 80), start)):
                continue
            found = spaced
        if ABOUT.search(NAME.match(text, end)[0]):  # type: ignore[index]  # it matches anywhere
            continue
        yield found.span("value")
        while (piece := CONCATENATED.match(text, found.end("value"))) and is_random(piece["value"]):
            yield piece.span("value")
            found = piece


def _names(text: str) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of each word that can name a secret; the name can continue after it."""
    lower = text.lower()
    if len(lower) != len(text):  # lower-casing changes the length of a few letters
        lower = "".join(letter.lower() if letter.isascii() else letter for letter in text)
    for name in NAMES:
        at = lower.find(name)
        while at >= 0:
            end = at + len(name)
            if name != "key" or KEY_OF.search(lower, max(0, at - 11), at):
                yield at, end
            at = lower.find(name, end)


def is_password(value: str) -> bool:
    """Return whether a value in the place of a password can be one: neither a variable nor a placeholder."""
    return bool(PASSWORD.fullmatch(value)) and not (NO_PASSWORDS.fullmatch(value) or VARIABLE.fullmatch(value))


def is_random(value: str) -> bool:
    """Return whether a value looks random, not like a word, a name, a path or a placeholder."""
    if not value.isascii() or NO_VALUE.search(value) or PHRASE.fullmatch(value) or SOMETHING_ELSE.fullmatch(value):
        return False
    if bits(value) < LEAST_BITS:
        return False
    mixed = mixture(value)
    if not any(map(str.isdigit, value)):
        return len(value) >= NO_DIGITS_LENGTH and mixed >= NO_DIGITS_MIXED and not WORDS.fullmatch(value)
    if value.isalnum() and len(value) >= SCATTERED_LENGTH and len(DIGITS.findall(value)) >= SCATTERED:
        return not value.isdigit()
    return any(map(str.isalpha, value)) and (mixed > MIXED or not WORDS.fullmatch(value))


def _is_certain(value: str) -> bool:
    """Return whether an unquoted value looks random; the limit is higher, since it could be code."""
    return mixture(value) > BARE_MIXED and is_random(value)


def mixture(value: str) -> float:
    """Return the share of neighbouring characters of different kinds: lower case, upper case, digits, other signs."""
    kinds = [(character.islower(), character.isupper(), character.isdigit()) for character in value]
    return sum(one != other for one, other in itertools.pairwise(kinds)) / max(1, len(kinds) - 1)


def bits(value: str) -> float:
    """Return the Shannon entropy of the characters of a value, in bits per character."""
    counts = Counter(value)
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())
