"""The interface of all sources: a list of members that can be read in one stream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from codefit.errors import UserError
from codefit.records import Rejection

LONGEST_PATH = 4096  # bytes, as Linux has it


class Unreachable(UserError):
    """A source that cannot be reached now, but perhaps later."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a source. The source reads it by `key`; `blob` is its git blob id if known before reading."""

    path: str
    key: Any = None
    blob: str = ""
    rejection: Rejection | None = None


class Source(Protocol):
    """An open source. `commit` and `committed_at` are "" if they are not known."""

    commit: str
    committed_at: str

    def members(self) -> list[Member]:
        """Return every file, sorted by path."""

    def fetch(self, members: Sequence[Member]) -> None:
        """Fetch the members that will be read and are not on this machine yet, in one request."""

    def read(self, members: Sequence[Member], max_bytes: int) -> Iterator[bytes | Rejection]:
        """Yield the bytes of each member in the given order, or its rejection."""


@dataclass(frozen=True, slots=True)
class Place:
    """A source that is not opened yet; kind is "url", "git", "bundle", "archive" or "directory"."""

    kind: str
    where: str
    name: str


def unsafe(path: str) -> bool:
    """Return whether a path of a source would leave the folder that it is unpacked into."""
    slashed = path.replace("\\", "/")
    away = slashed.startswith("/") or (slashed[1:2] == ":" and slashed[0].isalpha()) or slashed in {"", "."}
    return away or "\0" in path or (".." in slashed and ".." in slashed.split("/"))


def named(raw: bytes, key: Any, blob: str = "", rejection: Rejection | None = None) -> Member:
    """Return the member for a path as stored in the source; rejected if the path is unsafe or not UTF-8."""
    try:
        path = raw.decode("utf-8")
    except UnicodeDecodeError:
        return Member(raw.decode("utf-8", "backslashreplace"), rejection=Rejection("path is not UTF-8"))
    if len(raw) > LONGEST_PATH:
        return Member(path, rejection=Rejection("path too long", len(raw)))
    return Member(path, key, blob, Rejection("unsafe path") if unsafe(path) else rejection)
