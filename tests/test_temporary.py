"""Temporary folders, the mark of codefit, and disks on which nothing can be written."""

import errno
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from codefit import outputs
from codefit.errors import UserError
from codefit.temporary import temporary_folder
from tests.support.files import files_of, fill


@pytest.mark.parametrize("name", ["codefit-results", f"codefit-{'0' * 32}", f"codefit-{'0' * 32}.lock", "codefit-0"])
@pytest.mark.parametrize("mark", [None, "", "mine"])
def test_only_temporary_folders_with_our_name_and_mark_are_removed(
    tmp_path: Path, name: str, mark: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fill(tmp_path / name, {"model.safetensors": "weights"} | ({} if mark is None else {outputs.LOCK: mark}))
    fill(tmp_path / f"{name}.lock", "")
    before = files_of(tmp_path)
    with temporary_folder() as folder:
        assert list(folder.iterdir()) == []
    assert files_of(tmp_path) == before


def test_no_place_for_temporary_files_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none" / "file"))
    (tmp_path / "none").touch()
    message = r"^cannot write temporary files: no folder for temporary files is writable; set TMPDIR to one that is\.$"
    with pytest.raises(UserError, match=message), temporary_folder():
        pytest.fail("the block must not start")


@pytest.mark.parametrize("length", [0, 1, 40, len(outputs.MARK) - 1])
def test_an_unfinished_mark_of_a_killed_run_is_known_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder, left = outputs.workspace(tmp_path / "out"), tmp_path / f"codefit-{'0' * 32}"
    for place in (folder, left):
        place.mkdir()
        (place / outputs.LOCK).write_text(outputs.MARK[:length])
    with temporary_folder():
        assert not left.exists()
    with outputs.alone(tmp_path / "out"):
        assert (folder / outputs.LOCK).read_text() == outputs.MARK
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["x", outputs.MARK + "x", outputs.MARK[1:]])
def test_another_mark_is_not_ours(tmp_path: Path, text: str) -> None:
    folder = outputs.workspace(tmp_path / "out")
    folder.mkdir()
    (folder / outputs.LOCK).write_text(text)
    with pytest.raises(UserError, match="was not made by codefit"), outputs.alone(tmp_path / "out"):
        pass
    assert (folder / outputs.LOCK).read_text() == text


@pytest.mark.parametrize("call", ["open", "_mark"])
@pytest.mark.parametrize(
    ("free", "sentence"), [(0, "no inodes are left"), (9, "the disk is full; free some space")], ids=["inodes", "bytes"]
)
def test_a_disk_without_room_for_a_lock_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, free: int, sentence: str
) -> None:
    def fail(*args: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(outputs.workspace(tmp_path / "out") / outputs.LOCK))

    room = SimpleNamespace(f_files=100, f_ffree=free, f_bavail=1000)
    with monkeypatch.context() as full:
        full.setattr(os, "statvfs", lambda path: room)
        full.setattr(*((os, "open") if call == "open" else (outputs, "_mark")), fail)
        with pytest.raises(UserError, match=sentence), outputs.alone(tmp_path / "out"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_what_another_user_owns_in_a_shared_folder_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "raw.jsonl"
    output.write_text("theirs")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    outputs.refuse_existing(output, overwrite=True, is_file=True)
    tmp_path.chmod(0o1777)
    with pytest.raises(UserError, match="belongs to another user and cannot be replaced; choose another place"):
        outputs.refuse_existing(output, overwrite=True, is_file=True)
