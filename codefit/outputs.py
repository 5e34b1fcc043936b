"""Outputs that are whole or absent, the locks that keep two runs apart, and temporary folders."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from codefit.errors import UserError
from codefit.manifest import manifest_of


def refuse_existing(output: Path, overwrite: bool) -> None:
    """Raise UserError if output exists and may not be replaced; a folder of the user's own never is."""
    if output.name in {"", ".."}:
        raise UserError(f"{output} cannot be an output; name a new file or folder in it.")
    if output.exists() and not overwrite:
        raise UserError(f"{output} is already there and complete; add --overwrite to replace it.")
    if output.is_dir() and any(output.iterdir()) and not manifest_of(output).is_file():
        raise UserError(f"{output} was not written by codefit and is not replaced; choose another place.")


def partial(output: Path) -> Path:
    """Return the name under which an output is built, lock_beside its final place."""
    return output.with_name(output.name + ".partial")


@contextlib.contextmanager
def new_directory(output: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; when the block ends well it is fsynced and becomes `output`.

    A killed run leaves only `output.partial`, so an output that exists is a complete one; a UserError leaves nothing.
    """
    aside = partial(output)
    with alone(output):
        make_folder(aside, empty=True)
        try:
            yield aside
        except UserError:
            _remove(aside)
            raise
        commit(aside, output)


@contextlib.contextmanager
def alone(output: Path) -> Iterator[None]:
    """Keep other runs away from an output and what lies lock_beside it for it. A killed run keeps nobody away.

    Raises:
        UserError: another run is writing the output, or nothing can be written there.
    """
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(lock_beside(output))
        except OSError as error:
            raise UserError(f"cannot write {output}: {error.strerror}; choose another place.") from None
        if not held:
            raise UserError(f"another run is writing {output}; wait until it has ended, or choose another place.")
        yield


def make_folder(folder: Path, empty: bool = False) -> None:
    """Make a folder and its parents; raise UserError where that cannot be. `empty` removes what was in it."""
    try:
        if empty:
            _remove(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        place = str(folder).removesuffix(".partial")
        raise UserError(f"cannot write {place}: {error.strerror}; choose another place.") from None


def commit(aside: Path, output: Path) -> None:
    """Flush a finished file or folder to disk and move it to its final place, replacing what was there."""
    for file in [aside] if aside.is_file() else [p for p in aside.rglob("*") if p.is_file()]:
        fsync(file)
    if output.exists() and (output.is_dir() or aside.is_dir()):  # only a file takes a file's place in one step
        old = output.with_name(output.name + ".old")
        _remove(old)
        output.rename(old)
        aside.rename(output)
        _remove(old)
    else:
        aside.replace(output)
    fsync(output.parent)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Flush a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


PATIENCE = 3  # seconds for the worker processes of a killed run to end, which hold its lock


@contextlib.contextmanager
def lock_beside(path: Path) -> Iterator[bool]:
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
    with lock_beside(folder):  # before it is there, so that nobody takes it for a left one
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
