"""Damages files: bytes of every kind of file, and values of JSON, JSON Lines, safetensors and compressed files."""

import copy
import gzip
import json
import random
import struct
from collections.abc import Callable
from typing import Any

PIECES = [
    *(
        b"\0",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\x1b[2J",
        b"\r",
        b"\n",
        b"\n\n",
        b"{",
        b"}",
        b"[" * 5000,
        b'"',
        b"\\",
        b",",
    ),
    *(b"NaN", b"1e999", b"-1", b"9" * 400, b"null", b"\xef\xbb\xbf", b"\\ud800", b"../../../x", b"A" * 70_000),
]
VALUES: list[Any] = [
    *(None, True, False, [], {}, "", "x", 0, -1, 1, 2**31, 2**63, 10**40, 1e308, float("nan"), float("inf"), 0.5),
    *("\0", "\x1b[31m", "\ud800", "../../etc", "/", "a" * 5000, ["x"], [None], [[]], {"x": 1}, {"": None}, [1, "a"]),
    *("NaN", "(a+)+$", "((((((a*)*)*)*)*)*)*b", "{{ x", "{% for i in range(10**9) %}x{% endfor %}", "[", "all-linear"),
    *("{{ raise_exception('no') }}", "{% include 'x' %}", "__class__", "cuda", "float8_e4m3fn", "F99", "BF16"),
]


def of_bytes(content: bytes, chance: random.Random) -> bytes:
    """Return a file with one to three places damaged, wherever they are."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        content = chance.choice((_flip, _flip, _insert, _remove, _double, _truncate, _swap, _replace))(content, chance)
    return content


def _span(content: bytes, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(content) + 1)
    return start, min(len(content), start + chance.choice((1, 1, 2, 8, 64, 1024)))


def _flip(content: bytes, chance: random.Random) -> bytes:
    if not content:
        return b"\0"
    where = chance.randrange(len(content))
    return content[:where] + bytes([content[where] ^ (1 << chance.randrange(8))]) + content[where + 1 :]


def _insert(content: bytes, chance: random.Random) -> bytes:
    where, _ = _span(content, chance)
    return content[:where] + chance.choice(PIECES) + content[where:]


def _replace(content: bytes, chance: random.Random) -> bytes:
    start, end = _span(content, chance)
    return content[:start] + chance.randbytes(end - start) + content[end:]


def _remove(content: bytes, chance: random.Random) -> bytes:
    start, end = _span(content, chance)
    return content[:start] + content[end:]


def _double(content: bytes, chance: random.Random) -> bytes:
    start, end = _span(content, chance)
    return content[:end] + content[start:end] * chance.choice((1, 1, 50)) + content[end:]


def _truncate(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.choice((0, 1, chance.randrange(len(content) + 1)))]


def _swap(content: bytes, chance: random.Random) -> bytes:
    where, _ = _span(content, chance)
    return content[where:] + content[:where]


def of_value(value: Any, chance: random.Random) -> Any:
    """Return a JSON value with one node of it replaced, removed, renamed or moved a level down."""
    places = list(_places(value))
    if not places or chance.random() < 0.03:
        return copy.deepcopy(chance.choice(VALUES))
    holder, key = chance.choice(places)
    deed = chance.random()
    if deed < 0.65:
        holder[key] = copy.deepcopy(chance.choice(VALUES))
    elif deed < 0.8:
        del holder[key]
    elif deed < 0.9:
        holder[key] = [holder[key]] if chance.random() < 0.5 else {"x": holder[key]}
    elif isinstance(holder, dict):
        holder[chance.choice(("x", "", "\ud800", f"{key} ", str(key).upper()))] = holder.pop(key)
    else:
        holder.insert(key, holder[key])
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every place in a value as its holder and the key there; of a list the first ten."""
    found: list[tuple[Any, Any]] = []
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, item in items[:200] if isinstance(value, dict) else items[:10]:
        found.append((value, key))
        found += _places(item)
    return found


def of_json(content: bytes, chance: random.Random) -> bytes:
    """Return a JSON file with a value damaged, or in a fifth of all cases its bytes."""
    if chance.random() < 0.2:
        return of_bytes(content, chance)
    value = json.loads(content)
    for _ in range(chance.choice((1, 1, 1, 2))):
        value = of_value(value, chance)
    return json.dumps(value).encode()


def of_jsonl(content: bytes, chance: random.Random) -> bytes:
    """Return a file of JSON Lines with a value of one line damaged, or in a third of all cases its bytes."""
    if chance.random() < 0.33:
        return of_bytes(content, chance)
    lines = content.splitlines()
    where = chance.randrange(len(lines))
    lines[where] = json.dumps(of_value(json.loads(lines[where]), chance)).encode()
    return b"\n".join(lines) + b"\n"


def of_safetensors(content: bytes, chance: random.Random) -> bytes:
    """Return a file of tensors with its header damaged, its numbers, or both."""
    if chance.random() < 0.3:
        return of_bytes(content, chance)
    size = struct.unpack("<Q", content[:8])[0]
    header, body = content[8 : 8 + size], content[8 + size :]
    if chance.random() < 0.8:
        header = of_json(header, chance)
    else:
        body = of_bytes(body, chance)
    length = chance.choice((0, 1, 2**40, 2**63, len(header) + 1)) if chance.random() < 0.1 else len(header)
    return struct.pack("<Q", length) + header + body


def of_gzip(content: bytes, chance: random.Random) -> bytes:
    """Return a compressed file with what is in it damaged, or in a third of all cases itself."""
    if chance.random() < 0.33:
        return of_bytes(content, chance)
    return gzip.compress(of_bytes(gzip.decompress(content), chance), mtime=0)


MUTATOR = Callable[[bytes, random.Random], bytes]
