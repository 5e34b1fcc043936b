"""What a source of code is: a list of members that can be read in one stream, whatever it is stored in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from codefit.errors import UserError
from codefit.records import Rejection

LONGEST_PATH = 4096  # bytes, as Linux has it


class Unreachable(UserError):
    """A source that may well be there another time."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a source: `key` is what the source reads it by, `blob` its git id where known before reading."""

    path: str
    key: Any = None
    blob: str = ""
    rejection: Rejection | None = None


class Source(Protocol):
    """An open source. `commit` and `committed_at` are "" where git left no word of them."""

    commit: str
    committed_at: str

    def members(self) -> list[Member]:
        """Return every file, sorted by path."""

    def fetch(self, members: Sequence[Member]) -> None:
        """Bring what will be read to this machine, at once, where it is not here yet."""

    def read(self, members: Sequence[Member], max_bytes: int) -> Iterator[bytes | Rejection]:
        """Yield the bytes of each member in the given order, or why there are none."""


@dataclass(frozen=True, slots=True)
class Place:
    """A source that was named but not opened: kind is "url", "git", "bundle", "archive" or "directory"."""

    kind: str
    where: str
    name: str


def unsafe(path: str) -> bool:
    """Return whether a path of a source would lead out of the folder it is unpacked into."""
    slashed = path.replace("\\", "/")
    away = slashed.startswith("/") or (slashed[1:2] == ":" and slashed[0].isalpha()) or slashed in {"", "."}
    return away or "\0" in path or (".." in slashed and ".." in slashed.split("/"))


def named(raw: bytes, key: Any, blob: str = "", rejection: Rejection | None = None) -> Member:
    """Return a member for a path as the source spells it; a path that is unsafe or not UTF-8 is a rejection."""
    try:
        path = raw.decode("utf-8")
    except UnicodeDecodeError:
        return Member(raw.decode("utf-8", "backslashreplace"), rejection=Rejection("path is not UTF-8"))
    if len(raw) > LONGEST_PATH:
        return Member(path, rejection=Rejection("path too long", len(raw)))
    return Member(path, key, blob, Rejection("unsafe path") if unsafe(path) else rejection)
