"""Locks that end with their process, and temporary folders that the next run can tell from those of a living one."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 3  # seconds for the worker processes of a killed run to end, which hold its lock


@contextlib.contextmanager
def beside(path: Path) -> Iterator[bool]:
    """Hold `path.lock` while the block runs; yield whether it could be had. A killed run keeps nobody away.

    Raises:
        OSError: nothing can be written there.
    """
    lock = path.with_name(path.name + ".lock")
    until = time.monotonic() + PATIENCE
    with contextlib.suppress(FileExistsError):  # a file, of which the lock then says that it is no folder
        path.parent.mkdir(parents=True, exist_ok=True)
    while (held := _locked(lock)) is None and time.monotonic() < until:
        time.sleep(0.05)
    try:
        yield held is not None
    finally:
        if held is not None:
            lock.unlink(missing_ok=True)
            os.close(held)


def _locked(lock: Path) -> int | None:
    """Return a descriptor that holds a lock until it is closed or the process ends; None if somebody else holds it."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(lock)):  # otherwise its holder has just removed it
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield an empty folder that is gone when the block ends; those of killed runs are removed first."""
    place = Path(tempfile.gettempdir())
    for lock in place.glob("codefit-*.lock"):
        with contextlib.suppress(OSError):  # of another user
            if (held := _locked(lock)) is not None:
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                if not lock.with_suffix("").exists():  # git may still be writing into it
                    lock.unlink()
                os.close(held)
    folder = place / f"codefit-{uuid.uuid4().hex}"
    with beside(folder):  # before it is there, so that nobody takes it for a left one
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
