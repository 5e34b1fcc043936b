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
KEY_OF = re.compile(r"(?:api|access|auth|private|signing|encryption|account|storage|app)[_-]?\Z")  # names of keys
REST_OF_NAME = r"[A-Za-z0-9_-]{0,24}"
QUOTED = re.compile(
    REST_OF_NAME
    + r"""(?:\\?["'`])?\]?(?:[ \t]{0,8}[:?][ \t]?[A-Za-z_&*'][\w.<>?\[\] |&*']{0,40}?)?"""
    + r"""(?:[ \t]{0,16}(?:(?:={1,3}|:=|=>|:|->)\s{0,16}|,[ \t]{0,16})|[ \t]{1,16}|\{|\()"""
    + r"""[A-Za-z@$]{0,2}\#{0,3}(?P<quote>\\?["'`]{1,3})(?P<value>[^\s"'`\\]{8,200})(?P=quote)"""
)
BARE = re.compile(
    REST_OF_NAME + r"""(?:=|:[ \t]{1,8}|[ \t]=[ \t]|>)(?P<value>[^\s"'`,;(){}<>\[\]\\|&]{8,200})(?=[\s"'`;<\\|&]|\Z)"""
)

NO_VALUE = re.compile(
    r"\$\{|\$\(|\{\{|\}\}|%[({]|(?<!\w)%[sd](?!\w)|</?\w|\[\w|://|^[{<.]|\.\.\.|^%\w+%$|"
    r"example|sample|dummy|placeholder|change|insert|replace|redact|default|invalid|secret|passw|token|"
    r"api_?key|qwert|asdf|lorem|abcde|12345|xxxx|000000|credential|username|localhost|"
    r"(?<![a-z])(?:your|my|test|fake|mock|foo|bar)(?![a-z])",
    re.I,
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
LEAST_BITS = 2.9  # bits of entropy per character; a random word of 9 different characters has 3.2


def assigned_secrets(text: str) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of each random-looking value that is assigned to a name such as `password`."""
    for end in _ends_of_names(text):
        quoted, bare = QUOTED.match(text, end), BARE.match(text, end)
        if quoted and is_random(quoted["value"]):
            yield quoted.span("value")
        elif bare and _is_certain(bare["value"]):
            yield bare.span("value")


def _ends_of_names(text: str) -> Iterator[int]:
    lower = text.lower()
    if len(lower) != len(text):  # lower-casing changes the length of a few letters
        lower = text
    for name in NAMES:
        at = lower.find(name)
        while at >= 0:
            end = at + len(name)
            if name != "key" or KEY_OF.search(lower, max(0, at - 11), at):
                yield end
            at = lower.find(name, end)


def is_random(value: str) -> bool:
    """Return whether a value looks random, not like a word, a name, a path or a placeholder."""
    if not value.isascii() or NO_VALUE.search(value) or PHRASE.fullmatch(value) or bits(value) < LEAST_BITS:
        return False
    mixed = mixture(value)
    if not any(map(str.isdigit, value)):
        return len(value) >= NO_DIGITS_LENGTH and mixed >= NO_DIGITS_MIXED and not WORDS.fullmatch(value)
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
