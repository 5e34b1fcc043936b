"""Archives (.tar.gz, .tgz, .zip, .whl, sdists), read in place and never unpacked.

An archive that would unpack to more than `MAX_TOTAL` bytes or `MAX_MEMBERS` files is refused as a bomb, and so is one
that would grow more than `MAX_RATIO`-fold beyond `HARMLESS` bytes. For zip the declared size counts (Python reads no
more than that), for gzip the bytes that really come out. An archive inside an archive is treated as an ordinary file.
"""

import contextlib
import dataclasses
import datetime
import gzip
import lzma
import re
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from codefit.errors import UserError, first_line
from codefit.records import Rejection
from codefit.sources.source import Member, named
from codefit.sources.zip_directory import ENTRY, name_of, repaired

Files = tarfile.TarFile | zipfile.ZipFile

MAX_TOTAL = 4 << 30
MAX_MEMBERS = 1_000_000
MAX_RATIO, HARMLESS = 200, 256 << 20  # source code compresses 5-fold to 10-fold; the limit of deflate is 1,032
CHUNK = 1 << 20
UNIX_TIME = b"UT\x05\x00\x01"  # header of the Info-ZIP extra field that holds seconds since 1970
LONGEST_HEADER = 1 << 20  # bytes of a file's metadata in a tar: its name and PAX records
BROKEN = (
    *(OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError),
    *(RuntimeError, ValueError, OverflowError, LookupError, AttributeError, MemoryError, struct.error),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A file of an archive. `key` is used to read it: an offset in a tar, a `ZipInfo` in a zip."""

    path: str
    size: int
    key: Any
    rejection: Rejection | None = None


class Archive:
    """An open archive. A single top-level folder that contains everything (`name-1.0/`) is removed from the paths.

    An archive made by `git archive`, such as one from GitHub, states its commit, and all its files have the date of the
    commit. The dates in other archives mean nothing for a file and are ignored.

    Attributes:
        newest: the newest date of a file, in UTC, whatever it means; None if no file has a date.
    """

    def __init__(self, file: Files, plain: IO[bytes], most: int) -> None:
        self.file = file
        self.plain = plain
        self.entries: list[Entry] = []
        self.commit = self.committed_at = ""
        self.newest: datetime.datetime | None = None
        total = 0
        for number, (info, entry) in enumerate(_of_zip(file) if isinstance(file, zipfile.ZipFile) else _of_tar(file)):
            total += entry.size if entry else 0
            if number >= MAX_MEMBERS or total > most:
                raise _bomb()
            if number == 0:
                self.commit = _commit(file)
                self.committed_at = _date(info) if self.commit else ""
            self.entries += [entry] if entry else []
            if entry and (changed := _changed(info)):
                self.newest = max(self.newest or changed, changed)

    def members(self) -> list[Member]:
        """Return every file, sorted by path; one that cannot be read carries its rejection.

        If a name occurs more than once, the last file is kept, as after unpacking.
        """
        last = {entry.path: entry for entry in self.entries}
        roots = {path.partition("/")[0] if "/" in path else "" for path in last}
        root = roots.pop() + "/" if len(roots) == 1 and roots.isdisjoint({"", ".."}) else ""
        found = [_member(entry, root, last[entry.path] is not entry) for entry in self.entries]
        return sorted(found, key=lambda member: member.path)

    def fetch(self, members: Sequence[Member]) -> None:
        """Do nothing: the archive is local."""

    def read(self, members: Sequence[Member], max_bytes: int) -> Iterator[bytes | Rejection]:
        """Yield the content of each member; its declared size is checked before it is read."""
        for member in members:
            size = member.key.size
            yield Rejection("too large", size) if size > max_bytes else self._content(member.key)

    def _content(self, entry: Entry) -> bytes | Rejection:
        try:
            if isinstance(self.file, zipfile.ZipFile):
                with self.file.open(entry.key) as stream:
                    content = stream.read(entry.size)
            else:
                self.plain.seek(entry.key)
                content = self.plain.read(entry.size)
        except BROKEN as error:
            return Rejection("unreadable", first_line(error))
        return content if len(content) == entry.size else Rejection("unreadable", "the file is cut off")


def _member(entry: Entry, root: str, replaced: bool) -> Member:
    rejection = entry.rejection or (Rejection("same name", "a later file of the archive") if replaced else None)
    return named(entry.path.removeprefix(root).encode("utf-8", "surrogateescape"), entry, rejection=rejection)


def _of_zip(file: zipfile.ZipFile) -> Iterator[tuple[Any, Entry | None]]:
    """Yield each member of a zip with its entry, None for folders. Windows may write paths with backslashes."""
    for info in file.infolist():
        rejection = Rejection("symlink") if stat.S_ISLNK(info.external_attr >> 16) else None
        path = name_of(info).decode("utf-8", "surrogateescape").replace("\\", "/").removeprefix("./")
        yield info, None if path.endswith("/") else Entry(path, info.file_size, info, rejection)


def _of_tar(file: tarfile.TarFile) -> Iterator[tuple[Any, Entry | None]]:
    """Yield each member of a tar with its entry, None for folders. A hard link is read as the file that it names."""
    files: dict[str, Entry] = {}
    while info := file.next():
        file.members = []  # type: ignore[attr-defined]  # this list grows large and is not needed
        if info.size < 0 or info.offset_data < 0:
            raise tarfile.ReadError(f"a file of {info.size} bytes")
        path = info.name.removeprefix("./")
        target = files.get(info.linkname.removeprefix("./")) if info.islnk() else None
        if target:
            entry = dataclasses.replace(target, path=path)
        else:
            entry = Entry(path, info.size, info.offset_data, _not_a_file(info))
        if entry.rejection is None:
            files[path] = entry
        yield info, None if info.isdir() else entry


def _not_a_file(info: tarfile.TarInfo) -> Rejection | None:
    if info.issym() or info.islnk():
        return Rejection("symlink")
    return None if info.isreg() and not info.issparse() else Rejection("not a regular file")


def _commit(file: tarfile.TarFile | zipfile.ZipFile) -> str:
    """Return the commit id that `git archive` wrote into the comment of an archive, or ""."""
    comment = (
        file.comment.decode("latin-1") if isinstance(file, zipfile.ZipFile) else file.pax_headers.get("comment", "")
    )
    return comment if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", comment) else ""


def _date(info: Any) -> str:
    """Return when a file was changed, or "" if a zip states only local time."""
    if isinstance(info, zipfile.ZipInfo):
        at = info.extra.find(UNIX_TIME)
        seconds = int.from_bytes(info.extra[at + 5 : at + 9], "little") if at >= 0 else None
    else:
        seconds = info.mtime
    try:
        return "" if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
    except (OverflowError, ValueError, OSError):  # not a possible date
        return ""


def _changed(info: Any) -> datetime.datetime | None:
    """Return when a file was changed; the local time that a zip states is taken for UTC. None without a valid date."""
    try:
        if stated := _date(info):
            return datetime.datetime.fromisoformat(stated)
        return datetime.datetime(*info.date_time[:6]).replace(tzinfo=datetime.UTC)
    except (AttributeError, TypeError, ValueError):
        return None


def _bomb() -> UserError:
    return UserError(
        f"the archive would unpack to more than {MAX_TOTAL >> 30} GiB, {MAX_RATIO} times its size or {MAX_MEMBERS:,} "
        "files, so it is refused; unpack it if you trust it, and give the folder."
    )


class _Listing:
    """An archive file whose metadata is limited while it is read, whatever length it declares for them."""

    def __init__(self, file: IO[bytes], longest: int) -> None:
        self.file = file
        self.longest = longest
        self.is_opening = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; -1 reads to the end."""
        if size > self.longest:
            raise tarfile.ReadError(f"{size:,} bytes of metadata for one file")
        content = self.file.read(size)
        if len(content) > MAX_MEMBERS * len(ENTRY) and content.count(ENTRY) > MAX_MEMBERS:
            raise _bomb()
        return repaired(content) if self.is_opening and content.startswith(ENTRY) else content


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open an archive for reading in any order.

    Raises:
        UserError: it is damaged, or a bomb.
    """
    with contextlib.ExitStack() as stack:
        try:
            most = min(MAX_TOTAL, max(HARMLESS, MAX_RATIO * path.stat().st_size))
            if path.name.lower().endswith((".zip", ".whl")):
                plain: IO[bytes] = stack.enter_context(path.open("rb"))
                listing: Any = _Listing(plain, most)
                file = stack.enter_context(zipfile.ZipFile(listing))
                listing.is_opening = False
                archive = Archive(file, plain, most)
            else:
                plain = stack.enter_context(tempfile.TemporaryFile())
                _copy_limited(stack.enter_context(gzip.open(path)), plain, most)
                listing = _Listing(plain, LONGEST_HEADER)
                archive = Archive(stack.enter_context(tarfile.open(fileobj=listing, mode="r:")), plain, most)
        except BROKEN as error:
            raise UserError(f"{path} is damaged or not an archive ({first_line(error)}); get it again.") from None
        yield archive


def _copy_limited(compressed: IO[bytes] | Any, plain: IO[bytes], most: int) -> None:
    """Uncompress to a temporary file, because a gzip stream can only be read from beginning to end."""
    left = most
    while block := compressed.read(CHUNK):
        left -= len(block)
        if left < 0:
            raise _bomb()
        plain.write(block)
    plain.seek(0)
