"""The git directory of a folder: never that of a parent folder, and another one only if it points back."""

import os
from pathlib import Path

from codefit.errors import UserError

POINTER = "gitdir: "


def is_git_directory(path: Path) -> bool:
    """Return whether a folder has the layout of a git directory, whatever its name."""
    return (path / "HEAD").is_file() and all((path / part).is_dir() for part in ("objects", "refs"))


def git_directory(path: Path) -> Path:
    """Return the git directory of a folder: its `.git`, the folder itself, or that of a linked worktree.

    A `.git` that points elsewhere is followed only if that git directory points back to this folder, as `git worktree`
    and `git submodule` set it up. Otherwise a downloaded folder could point to a repository of the user.

    Raises:
        UserError: there is none, or it points to a git directory that does not point back.
    """
    inner = path / ".git"
    if inner.is_symlink():
        raise _elsewhere(path, _real(inner))
    if inner.is_dir():
        found = inner
    elif inner.is_file():
        found = _pointed(path, inner)
    else:
        found = path
    found = _real(found)
    if (found / "commondir").exists() and not _is_linked(found):
        raise _elsewhere(path, found / "commondir")
    for part in ("objects", "refs", "HEAD"):  # through a link, a downloaded folder could read another repository
        if (found / part).is_symlink():
            raise _elsewhere(path, _real(found / part))
    if not is_git_directory(found) and not _is_linked(found):
        raise UserError(f"{path} is not a git repository; check the path.")
    return found


def has_work_tree(path: Path) -> bool:
    """Return whether the folder of a repository holds files that were checked out."""
    return (path / ".git").exists()


def _pointed(path: Path, pointer: Path) -> Path:
    """Return the git directory that a `.git` file names, if that directory points back to the file or its folder."""
    text = _line(pointer)
    target = _real(path / text.removeprefix(POINTER))
    if not text.startswith(POINTER) or not target.is_dir():
        raise UserError(f"{pointer} names no git directory; check it with git status.")
    back = _line(target / "gitdir")  # linked worktree
    if back and _real(target / back) == _real(pointer):
        return target
    for worktree in _worktrees(target / "config"):  # submodule
        if _real(target / worktree) == _real(path):
            return target
    raise _elsewhere(path, target)


def _is_linked(folder: Path) -> bool:
    """Return whether a folder is the git directory of a linked worktree: `worktrees/NAME` of the common one."""
    common = folder.parent.parent
    named = _real(folder / (_line(folder / "commondir") or "/nowhere"))
    return folder.parent.name == "worktrees" and named == common and is_git_directory(common)


def _worktrees(config: Path) -> list[str]:
    """Return the values of core.worktree in the configuration of a git directory."""
    try:
        lines = config.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    pairs = (line.partition("=") for line in lines)
    return [value.strip() for name, _, value in pairs if name.strip().lower() == "worktree"]


def _real(path: Path) -> Path:
    """Return a path without links, as far as they lead somewhere; Path.resolve raises on links in a circle."""
    return Path(os.path.realpath(path))


def _line(file: Path) -> str:
    """Return the first line of a small text file; "" if there is no such file."""
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            return lines.readline(4096).strip()
    except OSError:
        return ""


def _elsewhere(path: Path, target: Path) -> UserError:
    return UserError(f"the .git of {path} points to {target}; if you want that repository, give its path.")
