"""A folder of files that is not a git repository."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from codefit.errors import UserError
from codefit.records import Rejection
from codefit.sources.source import Member, named

SKIPPED_FOLDERS = {".git", ".hg", ".svn"}
FOREIGN_FOLDERS = {"node_modules", "bower_components", ".venv", ".tox", ".nox", ".eggs"}  # code that others wrote
ENVIRONMENT = b"pyvenv.cfg"  # in the top folder of every virtual environment of Python


class Directory:
    """All files in a folder and its subfolders; links are neither followed nor read.

    `skipped` lists the folders of installed packages that `members` left out. The folder itself can be one.
    """

    commit = ""
    committed_at = ""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.skipped: list[str] = []

    def members(self) -> list[Member]:
        """Return every file, sorted by path; links and special files carry their rejection."""
        found = []
        self.skipped = []
        for folder, folders, files in os.walk(os.fsencode(self.root), onerror=_refuse):
            foreign = {name for name in folders if _is_foreign(folder, name)}
            self.skipped += sorted(os.path.relpath(os.fsdecode(os.path.join(folder, n)), self.root) for n in foreign)
            folders[:] = [n for n in folders if n not in foreign and os.fsdecode(n) not in SKIPPED_FOLDERS]
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


def _is_foreign(folder: bytes, name: bytes) -> bool:
    """Return whether a subfolder holds packages that were installed there."""
    return os.fsdecode(name) in FOREIGN_FOLDERS or os.path.isfile(os.path.join(folder, name, ENVIRONMENT))


def _refuse(error: OSError) -> None:
    """Raise UserError for a folder that cannot be listed: its missing files could not be reported."""
    raise UserError(f"cannot read {os.fsdecode(error.filename)}: {error.strerror}; check its permissions.")
