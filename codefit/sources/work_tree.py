"""The work tree of a local repository: its files as they are, committed or not, without those that git ignores.

Git only lists names and its index here. It never compares the content of files, so that no filter or other program of
the repository runs.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from codefit.sources.directory import Directory
from codefit.sources.git import Git
from codefit.sources.source import Member

UNTRACKED = ("--others", "--exclude-standard")
# An entry of the index: object id, path, and what `stat` said when git last looked at the file.
ENTRY = re.compile(
    r"[0-7]+ ([0-9a-f]+) [0-3]\t([^\0]*)\0"
    r"(?:  ctime: [^\n]*\n  mtime: ([^\n]*)\n  dev: [^\n]*\n  uid: [^\n]*\n  size: ([0-9]+)[^\n]*\n?)?"
)


class WorkTree(Directory):
    """The tracked files and the new ones; git does not ignore any of them."""

    def __init__(self, root: Path, git: Git) -> None:
        super().__init__(root)
        self.git = git

    def members(self) -> list[Member]:
        """Return every file that git does not ignore, sorted by path."""
        known = set(_listed(self.git, self.root, "--cached", *UNTRACKED).split("\0"))
        return [member for member in super().members() if member.path in known]


def uncommitted(root: Path, git: Git, committed: Iterable[Member], wants: Callable[[str], bool]) -> list[str]:
    """Return the paths of the wanted files in a work tree that the commit lacks or has with another content."""
    blobs = {member.path: member.blob for member in committed}
    found = [path for path in _listed(git, root, *UNTRACKED).split("\0") if path and wants(path)]
    for blob, path, *known in ENTRY.findall(_listed(git, root, "--cached", "--stage", "--debug")):
        if wants(path) and (blob != blobs.get(path) or _is_changed(root / path, blob, known)):
            found.append(path)
    return sorted(set(found))


def _listed(git: Git, root: Path, *words: str) -> str:
    return git.text(f"--work-tree={root}", "ls-files", "-z", *words)


def _is_changed(file: Path, blob: str, known: list[str]) -> bool:
    """Return whether a regular file has another content than a blob; it is read only if `stat` says something new."""
    try:
        now = os.lstat(file)
        if not stat.S_ISREG(now.st_mode):
            return False
        seconds, nanoseconds = divmod(now.st_mtime_ns, 10**9)
        if known == [f"{seconds}:{nanoseconds}", f"{now.st_size}"]:
            return False
        content = file.read_bytes()
    except OSError:
        return False
    header = b"blob %d\0" % len(content)
    return hashlib.new("sha1" if len(blob) == 40 else "sha256", header + content).hexdigest() != blob
