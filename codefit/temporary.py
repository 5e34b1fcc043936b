"""Temporary folders, removed after use; those of killed runs are removed by the next run."""

import contextlib
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from codefit.disk_errors import no_room
from codefit.errors import UserError
from codefit.outputs import LOCK, PATIENCE, is_folder, is_ours, listed, lock_folder

NAME = re.compile(r"codefit-[0-9a-f]{32}")


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield an empty folder that is removed when the block ends; those of killed runs are removed first."""
    try:
        remove_left()
        folder = Path(tempfile.gettempdir()) / f"codefit-{uuid.uuid4().hex}"
        folder.mkdir(mode=0o700)
        held = lock_folder(folder, PATIENCE)
        assert held is not None, "the name was drawn just now"
        (folder / "files").mkdir()
    except OSError as error:
        reason = no_room(error) or "no folder for temporary files is writable; set TMPDIR to one that is"
        raise UserError(f"cannot write temporary files: {reason}.") from None
    try:
        yield folder / "files"
    finally:
        _discard(folder)
        held.release()


def remove_left() -> None:
    """Remove the temporary folders of killed runs: those with codefit's name and mark that no run has locked."""
    for folder in Path(tempfile.gettempdir()).glob("codefit-*"):
        if NAME.fullmatch(folder.name) and is_folder(folder):
            with contextlib.suppress(OSError, UserError):  # of another user
                names = listed(folder)
                if not names:  # killed before the mark or after it; a living run makes it again
                    folder.rmdir()
                elif is_ours(folder, begun=names == [LOCK]) and (held := lock_folder(folder, 0)) is not None:
                    _discard(folder)
                    held.release()


def _discard(folder: Path) -> None:
    """Remove a temporary folder, the mark last, so that what a kill or an error leaves can still be recognised."""
    shutil.rmtree(folder / "files", ignore_errors=True)
    with contextlib.suppress(OSError):
        if not (folder / "files").exists():
            (folder / LOCK).unlink()
            folder.rmdir()
