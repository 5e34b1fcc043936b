"""Where code comes from: git, archives and directories, each a list of members that can be read in one stream.

`locate` says what a given text is, without touching it; `open_source` opens it. Nothing in a source is ever run or
unpacked, and no path of it is ever written to.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from codefit.cli import UserError

BUNDLE_HEADERS = (b"# v2 git bundle", b"# v3 git bundle")
ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".zip", ".whl")
URL_SCHEMES = ("https", "http", "ssh", "git", "file")


class Unreachable(UserError):
    """A source that may well be there another time."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why something did not go through: the name of the rule, and the value that broke it."""

    rule: str
    value: Any = None


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


def locate(text: str) -> Place:
    """Return what kind of source a text names.

    Raises:
        UserError: nothing lies there, or the URL is one that could run a command or holds a password.
    """
    if text.startswith("-") or "::" in text:
        raise UserError(f"{text} is refused because git could take it for a command; give a plain URL or path.")
    path = Path(text).expanduser()
    if path.exists():
        return _locate_path(path)
    if "://" in text or re.match(r"[\w.-]+@[\w.-]+:", text):
        return Place("url", text, _name_of_url(text))
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", text) and not text.endswith((*ARCHIVE_SUFFIXES, ".bundle")):
        return Place("url", f"https://github.com/{text}", text.removesuffix(".git"))
    raise UserError(
        f"{text} is not there; give a git URL, owner/name on GitHub, a repository, bundle, archive or folder."
    )


def _name_of_url(url: str) -> str:
    """Return owner/name. A URL is `scheme://host/path`, or `user@host:path` for ssh."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _last_two(url.partition(":")[2])
    host, _, path = rest.partition("/")
    if scheme not in URL_SCHEMES:
        raise UserError(f"{scheme}:// is not a protocol that is allowed here; use one of {', '.join(URL_SCHEMES)}.")
    if "@" in host and (scheme != "ssh" or ":" in host.partition("@")[0]):
        raise UserError("a repository URL may not hold a user or token; let git's credential helper supply it.")
    return _last_two(path).rpartition("/")[2] if scheme == "file" else _last_two(path)


def _last_two(path: str) -> str:
    return "/".join(path.strip("/").removesuffix(".git").split("/")[-2:])


def _locate_path(path: Path) -> Place:
    resolved = path.resolve()
    name = resolved.name
    if path.is_dir():
        bare = all((path / part).exists() for part in ("HEAD", "objects", "refs"))
        kind = "git" if bare or (path / ".git").exists() else "directory"
        return Place(kind, str(resolved), name.removesuffix(".git") or "root")
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(len(BUNDLE_HEADERS[0]))
        if head in BUNDLE_HEADERS:
            return Place("bundle", str(resolved), name.removesuffix(".bundle"))
        for suffix in ARCHIVE_SUFFIXES:
            if name.lower().endswith(suffix):
                return Place("archive", str(resolved), name[: -len(suffix)])
    raise UserError(f"{path} is no git bundle and no {', '.join(ARCHIVE_SUFFIXES)} archive; give one, or a folder.")


@contextlib.contextmanager
def open_source(place: Place, revision: str | None = None) -> Iterator[Source]:
    """Open a source for reading; what it put on the disk is gone when the block ends.

    Raises:
        UserError: it cannot be read, or has no such revision.
    """
    if place.kind in {"url", "git", "bundle"}:
        from codefit.sources.git import open_git

        with open_git(place.kind, place.where, revision) as repository:
            yield repository
        return
    if revision:
        raise UserError(f"{place.where} has no git history, so --revision {revision} means nothing; leave it out.")
    if place.kind == "archive":
        from codefit.sources.archive import open_archive

        with open_archive(Path(place.where)) as archive:
            yield archive
    else:
        from codefit.sources.directory import Directory

        yield Directory(Path(place.where))


def unsafe(path: str) -> bool:
    """Return whether a path of a source would lead out of the folder it is unpacked into."""
    slashed = path.replace("\\", "/")
    away = slashed.startswith("/") or (slashed[1:2] == ":" and slashed[0].isalpha()) or slashed in {"", "."}
    return away or (".." in slashed and ".." in slashed.split("/"))


def named(raw: bytes, key: Any, blob: str = "", rejection: Rejection | None = None) -> Member:
    """Return a member for a path as the source spells it; a path that is unsafe or not UTF-8 is a rejection."""
    try:
        path = raw.decode("utf-8")
    except UnicodeDecodeError:
        return Member(raw.decode("utf-8", "backslashreplace"), rejection=Rejection("path is not UTF-8"))
    return Member(path, key, blob, Rejection("unsafe path") if unsafe(path) else rejection)
