"""Outputs that are complete or absent: workspaces, atomic replacement, and locks.

Everything that belongs to an unfinished output is in one hidden folder next to it, the workspace `.OUTPUT.codefit`. Its
file `codefit-lock` is the lock that keeps other runs out, and the mark without which a folder is never touched.
"""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from codefit.disk_errors import cannot_write, write_errors
from codefit.errors import UserError

if TYPE_CHECKING:
    from filelock import BaseFileLock

MANIFEST = "manifest.json"
LOCK = "codefit-lock"
PLAN = "commit.json"  # in a workspace: the planned moves of a finished output
MARK = "This folder belongs to a run of codefit; it is removed when the run has finished.\n"
PATIENCE = 3  # seconds to wait for a lock: the workers of a killed run may need a moment to end
SCRIPTS = {"parse_data.py", "preprocess_data.py", "train.py", "merge_lora.py", "benchmarking.py"}
LONGEST_NAME = 255  # bytes, on every common file system


# ---------------------------------------------------------------------------------------------- what may be replaced


def manifest_of(output: Path) -> Path:
    """Return the path of an output's manifest: inside a folder, next to a file."""
    return output / MANIFEST if output.is_dir() else output.with_name(output.name + ".manifest.json")


def next_to(name: str, what: str) -> Path:
    """Return the default place of an output: next to what it is made of, or under outputs/ if that is on the Hub."""
    source = Path(name)
    if not source.exists():
        return Path("outputs") / source.name / what
    return (source if source.name not in {"", ".."} else source.resolve()).with_name(what)


def refuse_existing(output: Path, overwrite: bool, is_file: bool = False) -> None:
    """Raise UserError if an output cannot be written, or if something exists there that may not be replaced.

    With --overwrite a folder is replaced if it is empty or has a manifest of codefit, and a file if it is a regular
    file. Links, mount points, devices, FIFOs and sockets are never replaced.

    Args:
        output: the file or folder that a stage is to write.
        overwrite: whether the user gave --overwrite.
        is_file: whether the stage writes a file; otherwise it writes a folder.
    """
    if output.name in {"", ".."}:
        raise UserError(f"{output} cannot be an output; name a new file or folder in it.")
    longest = f"{output}.rejected.jsonl" if is_file else output  # files next to an output file have longer names
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in Path(longest).parts):
        raise UserError(f"cannot write {output}: File name too long; choose another place.")
    recover(output)
    if _mode(output) is not None:
        _refuse_kind(output, overwrite, is_file)


def refuse_own_inputs(output: Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise UserError if an output is, or holds, what the run reads: replacing the one would destroy the other.

    Args:
        output: the folder that a stage is to write.
        inputs: files and folders; names that are none of these, such as Hub ids, are passed over.
    """
    place = output.resolve()
    for source in [Path(name) for name in inputs if name]:
        if source.exists() and source.resolve().is_relative_to(place):
            holds = "" if source.resolve() == place else f"holds {source}, which "
            raise UserError(f"{output} {holds}is read by this run; name another folder for the output.")


def _refuse_kind(output: Path, overwrite: bool, is_file: bool) -> None:
    """Raise UserError if what exists there may not be replaced."""
    mode = _mode(output) or 0
    kind = next((words for is_kind, words in KINDS if is_kind(mode)), "neither a file nor a folder")
    wanted = KINDS[0][1] if is_file else KINDS[1][1]
    if kind != wanted:
        raise UserError(f"{output} is {kind}, and this stage writes {wanted}; choose another place.")
    if _is_mount_point(output):
        raise UserError(f"{output} is a mount point and cannot be replaced; name a new file or folder inside it.")
    if not is_file and any(listed(output)):
        _refuse_folder_of_another(output)
    if not overwrite:
        raise UserError(f"{output} already exists and is complete; add --overwrite to replace it.")
    if _belongs_to_another(output):
        raise UserError(f"{output} belongs to another user and cannot be replaced; choose another place.")


KINDS = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def _mode(path: Path) -> int | None:
    """Return type and permissions of a path without following links; None if nothing is there."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise cannot_write(path, error) from None


def listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise cannot_write(folder, error) from None


def _refuse_folder_of_another(folder: Path) -> None:
    """Raise UserError for a folder without a manifest of the running script; a damaged manifest passes."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError:  # there is none
        content = {"command": None}
    except (ValueError, RecursionError):
        return
    if not isinstance(content, dict) or not content:
        return
    if "toolkit_commit" not in content:
        raise UserError(f"{folder} was not written by codefit and is not replaced; choose another place.")
    words = content.get("command")
    script = Path(words[0]).name if isinstance(words, list) and words and isinstance(words[0], str) else ""
    if script in SCRIPTS - {Path(sys.argv[0]).name}:
        raise UserError(f"{folder} was written by {script}, and only that replaces it; choose another place.")


MOUNTS = Path("/proc/self/mountinfo")  # the kernel's table; absent on some systems


def _belongs_to_another(path: Path) -> bool:
    """Return whether the sticky bit of a shared folder, such as /tmp, keeps us from replacing what is there."""
    folder, me = path.parent.stat(), os.geteuid()
    return bool(folder.st_mode & stat.S_ISVTX) and me not in {0, folder.st_uid, path.lstat().st_uid}


def _is_mount_point(path: Path) -> bool:
    """Return whether a path is a mount point; bind mounts are only in the kernel's table."""
    with contextlib.suppress(OSError):
        table = MOUNTS.read_bytes().splitlines()
        place = os.fsencode(path.parent.resolve() / path.name)
        names = (re.sub(rb"\\([0-7]{3})", lambda it: bytes([int(it[1], 8)]), row.split(b" ")[4]) for row in table)
        return place in names
    return os.path.ismount(path)


# ---------------------------------------------------------------------------------------------- building an output


def workspace(output: Path) -> Path:
    """Return the hidden folder next to an output in which it is built."""
    name = os.fsencode(f".{output.name}.codefit")
    if len(name) > LONGEST_NAME:
        return output.with_name(f".{hashlib.sha256(name).hexdigest()}.codefit")
    return output.with_name(os.fsdecode(name))


def partial(output: Path) -> Path:
    """Return the path at which an output is built before it moves to its final place."""
    return workspace(output) / "partial"


@contextlib.contextmanager
def alone(output: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Keep other runs away from an output and its workspace. The lock of a killed run does not count.

    A commit that a kill interrupted is finished first. The workspace is removed at the end, unless it contains
    something from which a later run can continue.

    Args:
        output: the output.
        patience: seconds to wait until another run has ended.

    Raises:
        UserError: another run is writing the output, nothing can be written there, or the disk is full.
    """
    folder = workspace(output)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        held = lock_folder(folder, patience)
    except OSError as error:
        raise cannot_write(output, error) from None
    if held is None:
        raise UserError(f"another run is writing {output}; wait until it has ended, or choose another place.")
    try:
        with write_errors(output):
            _repair(output)
            yield
    finally:
        _leave(folder)
        held.release()


@contextlib.contextmanager
def new_directory(output: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill; if the block succeeds, it is fsynced and becomes `output`.

    A killed run leaves only its workspace, so an output that exists is complete. A run that fails, or is stopped with
    Ctrl-C, leaves nothing.
    """
    with alone(output), filled(output, overwrite) as aside:
        yield aside


@contextlib.contextmanager
def filled(output: Path, overwrite: bool = False) -> Iterator[Path]:
    """Do the same as `new_directory` for a caller that already keeps other runs away with `alone`."""
    refuse_existing(output, overwrite)
    aside = partial(output)
    make_folder(aside, empty=True)
    try:
        with write_errors(output):
            yield aside
            commit(aside, output)
    except BaseException:
        if _mode(workspace(output) / PLAN) is None:  # otherwise the output is finished, and the next run moves it
            with contextlib.suppress(OSError):
                _remove(aside)
        raise


def make_folder(folder: Path, empty: bool = False) -> None:
    """Make a folder and its parents; raise UserError if that fails. `empty` removes its content."""
    try:
        if folder.parent.name.endswith(".codefit"):
            _mark(folder.parent)
        if empty:
            _remove(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None


def commit(aside: Path, output: Path) -> None:
    """Flush a finished folder to disk and move it to its final place, replacing an existing output.

    The plan of the move is written first, so that the next run can finish it after a kill.
    """
    mask = os.umask(0o077)
    os.umask(mask)
    for file in [path for path in aside.rglob("*") if path.is_file()]:
        if not file.is_symlink():
            file.chmod(stat.S_IMODE(file.stat().st_mode) | (0o666 & ~mask))  # safetensors writes files with mode 0600
        fsync(file)
    if _mode(output) is not None:
        _refuse_kind(output, overwrite=True, is_file=False)  # it may have appeared in the meantime
    plan = {"folder": aside.name, "inode": aside.stat().st_ino}
    write_whole(workspace(output) / PLAN, json.dumps(plan))
    _finish(output)


def commit_file(output: Path, parts: Mapping[Path, Path]) -> None:
    """Move a finished file to its final place, with its manifest and other files that belong to it.

    The plan of the moves is written first, so that the next run can finish them after a kill. The old manifest is
    removed first and the new one moved last, so that no manifest ever describes another file.

    Args:
        output: the file; it was built in `partial(output)`, and its manifest in `workspace(output) / MANIFEST`.
        parts: other files that belong to it: their paths in the workspace, by their final paths.
    """
    folder = workspace(output)
    moves = {**parts, output: partial(output), manifest_of(output): folder / MANIFEST}
    for file in moves.values():
        fsync(file)
    plan = {"files": {file.name: place.name for place, file in moves.items()}}
    write_whole(folder / PLAN, json.dumps(plan))
    _finish(output)


def _finish(output: Path) -> None:
    """Do the rest of a planned move, and remove everything else in the workspace except the lock."""
    folder = workspace(output)
    plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    if "files" in plan:
        _move_files(output, plan["files"])
    else:
        _move_folder(output, folder / plan["folder"], plan["inode"])
    fsync(output.parent)
    for name in sorted(set(listed(folder)) - {LOCK, PLAN}):
        _remove(folder / name)
    (folder / PLAN).unlink()


def _move_files(output: Path, moves: Mapping[str, str]) -> None:
    folder, manifest = workspace(output), manifest_of(output)
    if _mode(folder / MANIFEST) is not None:
        manifest.unlink(missing_ok=True)
        fsync(output.parent)
    for name, place in moves.items():
        if _mode(folder / name) is not None:
            (folder / name).replace(output.with_name(place))
            fsync(output.parent)


def _move_folder(output: Path, aside: Path, inode: int) -> None:
    """Move a folder, identified by its inode, to its final place unless it is already there."""
    mode = _mode(output)
    if _mode(aside) is None or (mode is not None and output.stat().st_ino == inode):
        return
    if mode is None:
        aside.rename(output)
    elif not _exchange(aside, output):
        output.rename(aside.with_name("old"))  # if killed between these two, the next run finishes the move
        aside.rename(output)


def recover(output: Path) -> None:
    """Finish a commit that a kill interrupted, unless another run is active there."""
    if output.name in {"", ".."}:  # cannot be an output: `refuse_existing`
        return
    folder = workspace(output)
    with contextlib.suppress(OSError):
        if not folder.is_dir():
            return
        if not listed(folder):  # a run was killed in its last step
            folder.rmdir()
            return
    try:
        if is_ours(folder) and (held := lock_folder(folder, 0)) is not None:
            try:
                _repair(output)
            finally:
                _leave(folder)
                held.release()
    except OSError as error:
        raise cannot_write(output, error) from None


def _repair(output: Path) -> None:
    """Finish a planned move; without a plan, no move has begun."""
    try:
        if _mode(workspace(output) / PLAN) is not None:
            _finish(output)
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{workspace(output) / PLAN} is damaged; move {workspace(output)} away and run the same command again."
        ) from None


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two paths atomically; return False if the system or file system cannot do that."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------- writing


def write_whole(path: Path, text: str) -> None:
    """Write a text file atomically: a reader, or the next run after a kill, finds either the old or the new text."""
    aside = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}.codefit")
    try:
        with aside.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    fsync(path.parent)


def fsync(path: Path) -> None:
    """Flush a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------------------------------------- folders of our own


def lock_folder(folder: Path, patience: float) -> "BaseFileLock | None":
    """Make a folder of codefit's own and lock it; return None if another run holds the lock.

    Raises:
        UserError: the folder exists and is not codefit's.
        OSError: nothing can be written there.
    """
    from filelock import FileLock, Timeout  # slow to import, and not needed for --help

    lock = FileLock(folder / LOCK, mode=0o600, thread_local=False)
    while True:
        _refuse_foreign(folder)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            lock.acquire(timeout=patience)
            _mark(folder)
            return lock
        except Timeout:
            return None
        except (FileNotFoundError, FileExistsError):  # another run has just removed the folder
            lock.release()
            if not folder.parent.is_dir() or folder.is_file():
                raise
        except BaseException:
            if lock.is_locked:
                _leave(folder)
            with contextlib.suppress(OSError):
                folder.rmdir()  # nothing could be written in it
            lock.release()
            raise


def _mark(folder: Path) -> None:
    _refuse_foreign(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        file.write(MARK[file.tell() :])  # the rest of a mark that a kill left unfinished


def _refuse_foreign(folder: Path) -> None:
    """Raise UserError for a folder that is not codefit's. Another run may make, mark or remove it meanwhile."""
    if _mode(folder) is None or is_ours(folder):
        return
    try:
        left = os.listdir(folder) if is_folder(folder) else [folder.name]
    except FileNotFoundError:
        return
    if left and not is_ours(folder) and _mode(folder) is not None:
        raise UserError(f"{folder} was not made by codefit and is left alone; move it away, or choose another place.")


def is_folder(path: Path) -> bool:
    return stat.S_ISDIR(_mode(path) or 0)


def is_ours(folder: Path, begun: bool = True) -> bool:
    """Return whether a folder carries our mark; `begun` also counts the unfinished mark that a kill can leave."""
    try:
        mark = folder / LOCK
        if not is_folder(folder) or not stat.S_ISREG(mark.lstat().st_mode) or mark.stat().st_size > len(MARK):
            return False
        text = mark.read_text(encoding="utf-8")
        return text == MARK or (begun and MARK.startswith(text))
    except (OSError, ValueError):
        return False


def _leave(folder: Path) -> None:
    """Remove a folder of codefit's own if nothing is left in it."""
    with contextlib.suppress(OSError):
        if os.listdir(folder) == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()
