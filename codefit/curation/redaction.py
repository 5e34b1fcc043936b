"""Replace what must not be learned: credentials by `<KEY>`, e-mail addresses by `<EMAIL>`, IP addresses by `<IP>`.

The placeholders are those of The Stack's redaction (arXiv 2305.06161, section 4). Addresses are searched only in
strings and comments, since `this@Outer.name` is Kotlin and `a@b.T` is Python. Addresses that identify nobody are kept:
the domains of RFC 2606, `git@` and `noreply@`; private, loopback, documentation and other non-global IP addresses,
public resolvers, versions, and numbers that begin with 0, 1 or 2, as object identifiers do.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator

from codefit.code.languages import Language
from codefit.code.lexer import mask
from codefit.curation.secrets import find_secrets

TOKENS = {"e-mail address": "<EMAIL>", "IP address": "<IP>"}
KEY = "<KEY>"

DOMAIN = re.compile(
    r"@(?:[A-Za-z0-9-]{1,63}\.)+([A-Za-z]{2,24})(?![\w@-])"
)  # starts with a literal, so that the search is fast
LOCAL_PART = re.compile(r"(?<![\w.%+-])(?=[\w.%+-]*[A-Za-z])[A-Za-z0-9][\w.%+-]{0,63}\Z", re.ASCII)
NOBODY = re.compile(
    r"(?:git|hg|no-?reply|this|super|return|break|continue|user(?:name)?|e?mail|name|foo|you|me)\Z", re.I
)
RESERVED = re.compile(r"[@.](?:example|test|invalid|localhost|local)(?:\.(?:com|org|net|edu))?\Z", re.I)
# top-level domains: all of two letters, and the frequent longer ones
TOP_LEVEL_DOMAIN = re.compile(
    r"[a-z]{2}|com|org|net|edu|gov|mil|int|info|biz|name|pro|aero|coop|museum|mobi|asia|tel|jobs|cat|travel|post|arpa"
    r"|dev|app|tech|cloud|online|site|store|blog|xyz|top|club|live|life|world|group|agency|email|studio|design|digital"
    r"|solutions|company|systems|network|software|services|space|team|today|media|zone|page|wiki|codes|engineering"
    r"|science|academy|center|computer|expert|global|technology|shop|art|web|host|press|news|social|support|tools"
    r"|community|foundation|institute|international|consulting|ventures|capital|finance|fund|bank|health|care|legal|law"
    r"|london|berlin|paris|nyc|tokyo|moscow|swiss|google|microsoft|apple|amazon",
    re.I,
)
FILE_SUFFIXES = {"js", "ts", "py", "rs", "md", "sh", "cc"}
CALL = re.compile(r"[(\[]")
DIST_TAG = re.compile(r"@(?:latest|next|beta|alpha|canary|rc|stable|master|main|head|v?[0-9]+)\.", re.I)
INSTALLED = re.compile(r"\b(?:npm|npx|yarn|pnpm|pip|bun|go|cargo|gem|composer|brew)\b[^\n@]{0,60}\Z", re.I)

MAYBE_IP = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9])|:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{1,4}:")
IPV4 = re.compile(r"(?<![\w.+~^-])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w+-]|\.[A-Za-z0-9])")
IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}(?::{1,2}[0-9A-Fa-f]{1,4}){2,7}(?:::)?(?![\w:])")
VERSION = re.compile(
    r"(?:version|release|revision|build|jdk|sdk|assembly|firmware|driver|product|package|library|dependency|artifact"
    r"|[=~<>^]=|[~^]|§|sections?|chapter|clause|oid|\bv|\bver|\brc|\btag)(?:[_\w]{0,12}(?=[\s\"'=:(>,]))?[\s\"'=:(>,\[]*\Z",
    re.I,
)
# a product (`Chrome/114.0.0.0`), a folder (`lib/5.10.20.30/`), a coordinate (`org.x:lib:12.4.55.6`)
OF_A_PRODUCT = re.compile(r"[\w)]/\Z|[A-Za-z][\w.-]*:[\w.-]*[A-Za-z][\w.-]*:\Z|\w==?\Z")
SMALL = 32  # four numbers below this are a version
RESOLVERS = {"8.8.8.8", "8.8.4.4", "9.9.9.9", "4.4.4.4", "208.67.222.222", "208.67.220.220"}


def redact(text: str, language: Language) -> tuple[str, Counter[str]]:
    """Return a text with credentials and addresses replaced, and the count of each kind."""
    spans = [(secret.start, secret.end, secret.kind) for secret in find_secrets(text)]
    addresses = [*_emails(text), *_ip_addresses(text)]
    if addresses:
        code = mask(text, language)[0]
        spans += [span for span in addresses if code[span[0]] != text[span[0]]]
    pieces, position = [], 0
    counts: Counter[str] = Counter()
    for start, end, kind in sorted(spans):
        if start < position:  # inside something already replaced
            continue
        pieces += [text[position:start], TOKENS.get(kind, KEY)]
        counts[kind] += 1
        position = end
    return "".join([*pieces, text[position:]]), counts


def _emails(text: str) -> Iterator[tuple[int, int, str]]:
    for match in DOMAIN.finditer(text):
        at = match.start()
        name = LOCAL_PART.search(text, max(0, at - 64), at)
        if not name or NOBODY.match(name[0]) or RESERVED.search(match[0]):
            continue
        if not _is_code(match, name[0], text):
            yield name.start(), match.end(), "e-mail address"


def _is_code(domain: re.Match[str], name: str, text: str) -> bool:
    """Return whether an apparent address is a matrix product, a file, or a package with its version."""
    if not TOP_LEVEL_DOMAIN.fullmatch(domain[1]) or domain[1].lower() in FILE_SUFFIXES:
        return True
    if CALL.match(text, domain.end()) or DIST_TAG.match(domain[0]):
        return True
    if len(name) + domain[0].count(".") == 2 and len(domain[0]) <= len("@y.to"):
        return True  # x@y.to
    return bool(INSTALLED.search(text, max(0, domain.start() - 80), domain.start()))


def _ip_addresses(text: str) -> Iterator[tuple[int, int, str]]:
    if not MAYBE_IP.search(text):
        return
    for expression in (IPV4, IPV6):
        for match in expression.finditer(text):
            before = max(0, match.start() - 48), match.start()
            if _is_public(match[0]) and not (VERSION.search(text, *before) or OF_A_PRODUCT.search(text, *before)):
                yield *match.span(), "IP address"


def _is_public(word: str) -> bool:
    try:
        address = ipaddress.ip_address(word)
    except ValueError:
        return False
    numbers = word.split(".")
    number_like = address.version == 4 and (int(numbers[0]) <= 2 or all(int(number) < SMALL for number in numbers))
    return address.is_global and word not in RESOLVERS and not number_like
