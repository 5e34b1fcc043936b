"""Values that are secret by the name they are given to: `password = "..."`, `"api_key": "..."`, `DB_PASSWORD=...`.

A name alone says little: most of such values are names of settings, placeholders and words. So a value counts only if
it looks random: letters and digits mixed, few repeats, and none of the words that stand for a value.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator

NAMES = ("passw", "passphrase", "pwd", "secret", "token", "credential", "key")
KEY_OF = re.compile(r"(?:api|access|auth|private|signing|encryption|account|storage|app)[_-]?\Z")  # what names a key
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
MIXED = 0.36  # share of neighbours of different kinds; in `camelCaseWords2` it is less
BARE_MIXED = 0.3
PHRASE = re.compile(r"[A-Za-z]+(?:[._/:-]+[A-Za-z]+)+[0-9]{0,3}")
NO_DIGITS_LENGTH, NO_DIGITS_MIXED = 20, 0.4
LEAST_BITS = 2.9  # of entropy a character; a random word of 9 different characters has 3.2


def assigned_secrets(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each value stands that looks random and is given to a name such as `password`: (start, end)."""
    for end in _ends_of_names(text):
        quoted, bare = QUOTED.match(text, end), BARE.match(text, end)
        if quoted and is_random(quoted["value"]):
            yield quoted.span("value")
        elif bare and _is_certain(bare["value"]):
            yield bare.span("value")


def _ends_of_names(text: str) -> Iterator[int]:
    lower = text.lower()
    if len(lower) != len(text):  # a letter or two change their length
        lower = text
    for name in NAMES:
        at = lower.find(name)
        while at >= 0:
            end = at + len(name)
            if name != "key" or KEY_OF.search(lower, max(0, at - 11), at):
                yield end
            at = lower.find(name, end)


def is_random(value: str) -> bool:
    """Return whether a value looks like chance made it, and not like a word, a name, a path or a placeholder."""
    if not value.isascii() or NO_VALUE.search(value) or PHRASE.fullmatch(value) or bits(value) < LEAST_BITS:
        return False
    mixed = mixture(value)
    if not any(map(str.isdigit, value)):
        return len(value) >= NO_DIGITS_LENGTH and mixed >= NO_DIGITS_MIXED and not WORDS.fullmatch(value)
    return any(map(str.isalpha, value)) and (mixed > MIXED or not WORDS.fullmatch(value))


def _is_certain(value: str) -> bool:
    """Return whether a value without quotes looks random: it could be a piece of code, and must be more mixed."""
    return mixture(value) > BARE_MIXED and is_random(value)


def mixture(value: str) -> float:
    """Return the share of neighbouring characters of different kinds: lower case, upper case, digits, other signs."""
    kinds = [(character.islower(), character.isupper(), character.isdigit()) for character in value]
    return sum(one != other for one, other in itertools.pairwise(kinds)) / max(1, len(kinds) - 1)


def bits(value: str) -> float:
    """Return the Shannon entropy of the characters of a value, in bits a character."""
    counts = Counter(value)
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())
