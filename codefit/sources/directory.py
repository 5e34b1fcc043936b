"""A folder of files that is not a git repository."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from codefit.errors import UserError
from codefit.records import Rejection
from codefit.sources.source import Member, named

SKIPPED_FOLDERS = {".git", ".hg", ".svn"}


class Directory:
    """All files in a folder and its subfolders; links are neither followed nor read."""

    commit = ""
    committed_at = ""

    def __init__(self, root: Path) -> None:
        self.root = root

    def members(self) -> list[Member]:
        """Return every file, sorted by path; links and special files carry their rejection."""
        found = []
        for folder, folders, files in os.walk(os.fsencode(self.root), onerror=_refuse):
            folders[:] = [name for name in folders if os.fsdecode(name) not in SKIPPED_FOLDERS]
            found += [self._member(os.path.join(folder, name)) for name in files]
        return sorted(found, key=lambda member: member.path)

    def _member(self, file: bytes) -> Member:
        mode = os.lstat(file).st_mode
        path = os.path.relpath(file, os.fsencode(self.root))
        if stat.S_ISLNK(mode):
            return named(path, file, rejection=Rejection("symlink"))
        return named(path, file, rejection=None if stat.S_ISREG(mode) else Rejection("not a regular file"))

    def fetch(self, members: Sequence[Member]) -> None:
        """Do nothing: the folder is local."""

    def read(self, members: Sequence[Member], max_bytes: int) -> Iterator[bytes | Rejection]:
        """Yield the content of each member."""
        for member in members:
            try:
                size = os.stat(member.key).st_size
                with open(member.key, "rb") as file:
                    yield file.read() if size <= max_bytes else Rejection("too large", size)
            except OSError as error:
                yield Rejection("unreadable", error.strerror)


def _refuse(error: OSError) -> None:
    """Raise UserError for a folder that cannot be listed: its missing files could not be reported."""
    raise UserError(f"cannot read {os.fsdecode(error.filename)}: {error.strerror}; check its permissions.")
