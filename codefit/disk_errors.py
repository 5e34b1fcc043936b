"""Errors of the file system as one sentence: a full disk, a used-up quota, no permission."""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codefit.errors import UserError

# Also matched by text, since libraries in other languages give only that.
NO_ROOM = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EFBIG: "a file would exceed the limit on file sizes; raise it with ulimit -f and run the same command again",
}
BROKEN_PLACE = {
    errno.EIO,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENXIO,
    errno.ESTALE,
    errno.EMFILE,
    errno.ENFILE,
}
SHORT_WRITE = re.compile(
    r"requested and \d+ written|PytorchStreamWriter failed writing|unexpected pos \d+ vs|iostream error"
)
OPEN_FAILED = re.compile(r"strerror: |\(os error \d+\)")  # of PyTorch, and of libraries in Rust


def no_room(error: BaseException) -> str | None:
    """Return what is used up, and what to do, if an error of any library says so; otherwise None."""
    if isinstance(error, OSError) and error.errno is not None:
        if error.errno == errno.ENOSPC and _no_inodes(error.filename):
            return "no inodes are left, the disk holds too many files; remove some and run the same command again"
        return NO_ROOM.get(error.errno)
    said = str(error)
    for code, words in NO_ROOM.items():
        if os.strerror(code) in said:
            return words
    return (
        "a file could only be written in part; free some space, and check ulimit -f"
        if SHORT_WRITE.search(said)
        else None
    )


def _no_inodes(path: Any) -> bool:
    """Return whether the file system on which a file could not be made has bytes left, but no inode."""
    if not isinstance(path, str | os.PathLike):
        return False
    try:
        room = os.statvfs(Path(path).parent)
    except OSError:
        return False
    return room.f_files > 0 and room.f_ffree == 0 and room.f_bavail > 0


def cannot_write(place: Path | str, error: OSError) -> UserError:
    """Return the sentence that says why something cannot be written."""
    if place and Path(place).name == "partial" and Path(place).parent.name.endswith(".codefit"):
        place = Path(place).parent.with_name(Path(place).parent.name.removeprefix(".").removesuffix(".codefit"))
    return UserError(f"cannot write {place}: {no_room(error) or f'{error.strerror}; choose another place'}.")


@contextlib.contextmanager
def write_errors(output: Path) -> Iterator[None]:
    """Turn errors of the file system, from whatever library, into one sentence that names the place."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = no_room(error)
        if reason is None and isinstance(error, OSError) and error.errno in BROKEN_PLACE:
            place = error.filename
            if isinstance(place, str) and not Path(place).is_relative_to(output.parent):
                raise UserError(
                    f"cannot use {place}: {error.strerror}; check it and run the same command again."
                ) from None
            reason = f"{error.strerror}; check the disk and its permissions, or choose another place"
        if reason is None and OPEN_FAILED.search(str(error)):
            found = next((os.strerror(code) for code in BROKEN_PLACE if os.strerror(code) in str(error)), None)
            reason = found and f"{found}; check the disk and its permissions, or choose another place"
        if reason is None:
            raise
        raise UserError(f"cannot write {_full(output)}: {reason}.") from None


def _full(output: Path) -> Path:
    """Return the output, or the folder for temporary files if that is the one without room."""
    with contextlib.suppress(OSError):
        temporary = Path(tempfile.gettempdir())
        if temporary.stat().st_dev != output.parent.stat().st_dev and not shutil.disk_usage(temporary).free:
            return temporary
    return output
