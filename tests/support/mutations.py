"""Damage to files, drawn by seed: what a torn download, a foreign tool or an attacker could have left."""

import json
import random

WRONG = (
    *(None, True, -1, 0, 3.5, 10**12, 10**400, float("nan"), float("inf"), "", "text", "\ud800", "../../x", "(a+)+$"),
    *([], [1], ["a", None], [[[[]]]], {}, {"a": 1}, {"type": "x"}),
)
DEEP = b"[" * 100_000


def damaged(content: bytes, seed: int) -> bytes:
    """Return the content of a file with one damage; a JSON file is changed in one of its fields half of the time."""
    draw = random.Random(seed)
    ways = [truncated, flipped, emptied, binary, with_mark, nested, doubled]
    try:
        json.loads(content.partition(b"\n")[0] if content.startswith(b'{"id"') else content)
    except ValueError:
        return draw.choice(ways)(content, draw)
    return draw.choice([*ways, *[changed] * 8, *[removed] * 3])(content, draw)


def truncated(content, draw):
    return content[: draw.randrange(len(content))]


def flipped(content, draw):
    found = bytearray(content)
    for _ in range(draw.choice((1, 3, 30))):
        found[draw.randrange(min(len(found), draw.choice((64, 2000, len(found)))))] ^= 1 << draw.randrange(8)
    return bytes(found)


def emptied(content, draw):
    return b""


def binary(content, draw):
    return draw.randbytes(draw.choice((1, 9, 4000)))


def with_mark(content, draw):
    return draw.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\0")) + content


def nested(content, draw):
    return draw.choice((DEEP, b'{"a":' * 100_000, b"[]", b"null", b"3", b'"text"'))


def doubled(content, draw):
    return content + content


def changed(content, draw):
    return _edited(content, draw, lambda holder, key: holder.__setitem__(key, draw.choice(WRONG)))


def removed(content, draw):
    return _edited(content, draw, lambda holder, key: holder.__delitem__(key))


def _edited(content, draw, edit):
    """Change one place of a JSON file, or of one line of a JSONL file; places near the root are drawn more often."""
    lines = content.splitlines(keepends=True) if content.startswith(b'{"id"') else [content]
    number = draw.randrange(len(lines))
    root = json.loads(lines[number])
    holder, key = {"root": root}, "root"
    while isinstance(holder[key], dict | list) and holder[key] and (holder[key] is root or draw.random() < 0.6):
        holder = holder[key]
        key = draw.choice(list(holder)) if isinstance(holder, dict) else draw.randrange(len(holder))
    edit(holder, key)
    lines[number] = json.dumps(root).encode() + b"\n" * lines[number].endswith(b"\n")
    return b"".join(lines)
