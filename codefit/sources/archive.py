"""Archives (.tar.gz, .tgz, .zip, .whl, sdists), read in place and never unpacked.

An archive that would unpack to more than `MAX_TOTAL` bytes or `MAX_MEMBERS` files is refused as a bomb, and so is one
that would grow more than `MAX_RATIO`-fold beyond `HARMLESS` bytes: by the size it declares for zip (which Python does
not read beyond), by the bytes that really come out for gzip. Archives inside an archive are files like others.
"""

import contextlib
import datetime
import gzip
import re
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from codefit.errors import UserError
from codefit.records import Rejection
from codefit.sources.source import Member, named

MAX_TOTAL = 4 << 30
MAX_MEMBERS = 1_000_000
MAX_RATIO, HARMLESS = 200, 256 << 20  # source code shrinks to a fifth or a tenth, deflate's limit is 1,032
CHUNK = 1 << 20
UNIX_TIME = b"UT\x05\x00\x01"  # begins the extra field of Info-ZIP that holds the seconds since 1970
BROKEN = (
    *(OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError),
    UnicodeDecodeError,  # a name in a zip that is said to be UTF-8
)


class Archive:
    """An open archive. A single folder that holds everything (`name-1.0/`) is left out of the paths.

    What `git archive` made, as GitHub does, states its commit; every file then has the date of the commit. The dates in
    other archives can be anything, and are not taken for one.
    """

    def __init__(self, file: tarfile.TarFile | zipfile.ZipFile, most: int) -> None:
        self.file = file
        infos = file.infolist() if isinstance(file, zipfile.ZipFile) else list(_limited(file))
        if len(infos) > MAX_MEMBERS or sum(_size(info) for info in infos) > most:
            raise _bomb()
        self.infos = infos
        self.commit = _commit(file)
        self.committed_at = _date(infos[0]) if self.commit and infos else ""

    def members(self) -> list[Member]:
        """Return every file, sorted by path; links and special files carry their rejection."""
        infos = {_path(info): info for info in self.infos if not _is_folder(info)}
        roots = {path.partition("/")[0] if "/" in path else "" for path in infos}
        root = roots.pop() + "/" if len(roots) == 1 and roots.isdisjoint({"", ".."}) else ""
        return [_member(path.removeprefix(root), infos[path]) for path in sorted(infos)]

    def fetch(self, members: Sequence[Member]) -> None:
        """Do nothing: all of it is here."""

    def read(self, members: Sequence[Member], max_bytes: int) -> Iterator[bytes | Rejection]:
        """Yield the content of each member; its declared size is looked at before it is read."""
        for member in members:
            size = _size(member.key)
            yield Rejection("too large", size) if size > max_bytes else self._content(member.key)

    def _content(self, info: Any) -> bytes | Rejection:
        try:
            stream = self.file.open(info) if isinstance(self.file, zipfile.ZipFile) else self.file.extractfile(info)
            assert stream is not None  # only regular files are read
            with stream:
                return stream.read(_size(info))
        except BROKEN as error:
            return Rejection("unreadable", str(error))


def _member(path: str, info: Any) -> Member:
    return named(path.encode("utf-8", "surrogateescape"), info, rejection=_kind(info))


def _kind(info: Any) -> Rejection | None:
    if isinstance(info, zipfile.ZipInfo):
        return Rejection("symlink") if stat.S_ISLNK(info.external_attr >> 16) else None
    if info.issym() or info.islnk():
        return Rejection("symlink")
    return None if info.isreg() else Rejection("not a regular file")


def _path(info: Any) -> str:
    return str(info.filename if isinstance(info, zipfile.ZipInfo) else info.name).removeprefix("./")


def _size(info: Any) -> int:
    return int(info.file_size if isinstance(info, zipfile.ZipInfo) else info.size)


def _commit(file: tarfile.TarFile | zipfile.ZipFile) -> str:
    """Return the id that `git archive` left in the comment of an archive, or ""."""
    comment = (
        file.comment.decode("latin-1") if isinstance(file, zipfile.ZipFile) else file.pax_headers.get("comment", "")
    )
    return comment if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", comment) else ""


def _date(info: Any) -> str:
    """Return when a file was changed, or "" for a file of a zip that states local time only."""
    if isinstance(info, zipfile.ZipInfo):
        at = info.extra.find(UNIX_TIME)
        seconds = int.from_bytes(info.extra[at + 5 : at + 9], "little") if at >= 0 else None
    else:
        seconds = info.mtime
    return "" if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()


def _is_folder(info: Any) -> bool:
    return bool(info.is_dir() if isinstance(info, zipfile.ZipInfo) else info.isdir())


def _limited(file: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for number, info in enumerate(file):
        if number >= MAX_MEMBERS:
            raise _bomb()
        yield info


def _bomb() -> UserError:
    return UserError(
        f"the archive would unpack to more than {MAX_TOTAL >> 30} GiB, {MAX_RATIO} times its size or {MAX_MEMBERS:,} "
        "files and is refused; unpack what you trust and give the folder."
    )


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
                archive = Archive(stack.enter_context(zipfile.ZipFile(path)), most)
            else:
                plain = stack.enter_context(tempfile.TemporaryFile())
                _copy_limited(stack.enter_context(gzip.open(path)), plain, most)
                archive = Archive(stack.enter_context(tarfile.open(fileobj=plain, mode="r:")), most)
        except BROKEN as error:
            raise UserError(f"{path} is damaged or no archive ({error}); get it again.") from None
        yield archive


def _copy_limited(compressed: IO[bytes] | Any, plain: IO[bytes], most: int) -> None:
    """Uncompress to a temporary file, because a gzip stream cannot be read in any order but its own."""
    left = most
    while block := compressed.read(CHUNK):
        left -= len(block)
        if left < 0:
            raise _bomb()
        plain.write(block)
    plain.seek(0)
