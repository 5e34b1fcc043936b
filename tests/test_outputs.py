"""Outputs that are whole or absent, and what may be replaced."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from codefit import disk_errors, outputs
from codefit.errors import UserError
from codefit.manifest import ROOT
from codefit.outputs import manifest_of
from codefit.temporary import temporary_folder
from tests.support.files import files_of, fill

# ---------------------------------------------------------------------------------------------- outputs


def socket_at(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:  # a socket's path has to be short
        made.bind(path.name)


def link_at(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.mkdir()
    path.symlink_to(target)


ODD: dict[str, Callable[[Path], None]] = {
    "FIFO": os.mkfifo,
    "socket": socket_at,
    "symbolic link": link_at,
}


def ours(path: Path, text: str = "old") -> Path:
    """Make a folder that codefit wrote."""
    return fill(path, {"old.txt": text, "manifest.json": '{"toolkit_commit": null}'})


def test_an_output_is_built_in_a_hidden_folder_next_to_its_place(tmp_path: Path) -> None:
    assert outputs.partial(tmp_path / "raw.jsonl") == tmp_path / ".raw.jsonl.codefit" / "partial"


@pytest.mark.parametrize("length", [246, 247, 255])
def test_the_longest_name_can_be_built_and_locked(tmp_path: Path, length: int) -> None:
    output = tmp_path / ("ä" * (length // 2) + "a" * (length % 2))
    with outputs.new_directory(output) as folder:
        fill(folder, {"a.txt": "a"})
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


@pytest.mark.parametrize(("length", "is_file"), [(256, False), (256, True), (255, True), (241, True)])
def test_a_name_that_is_too_long_is_one_sentence(tmp_path: Path, length: int, is_file: bool) -> None:
    with pytest.raises(UserError, match=r"^cannot write .*: File name too long; choose another place\.$"):
        outputs.refuse_existing(tmp_path / ("a" * length), overwrite=True, is_file=is_file)


@pytest.mark.parametrize("make", [ours, Path.mkdir])
def test_a_folder_of_codefit_or_an_empty_one_is_replaced_when_asked(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    outputs.refuse_existing(tmp_path / "out", overwrite=False)
    make(tmp_path / "out")
    outputs.refuse_existing(tmp_path / "out", overwrite=True)
    with pytest.raises(UserError, match="already exists and is complete; add --overwrite to replace it"):
        outputs.refuse_existing(tmp_path / "out", overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("manifest", [None, '{"name": "a web page", "icons": []}', "folder"])
def test_a_folder_of_the_user_is_never_replaced(tmp_path: Path, manifest: str | None, overwrite: bool) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    if manifest == "folder":
        (tmp_path / "manifest.json").mkdir()
    elif manifest:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(UserError, match=r"was not written by codefit and is not replaced; choose another place\.$"):
        outputs.refuse_existing(tmp_path, overwrite)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"{}", b"[" * 100_000])
def test_a_folder_with_a_damaged_manifest_can_be_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    outputs.refuse_existing(tmp_path, overwrite=True)


@pytest.mark.parametrize("place", [".", "..", "outputs/.."])
def test_a_path_without_a_name_cannot_be_an_output(place: str) -> None:
    with pytest.raises(UserError, match="cannot be an output; name a new file or folder in it"):
        outputs.refuse_existing(Path(place), overwrite=True)


@pytest.mark.parametrize("is_file", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", [*ODD, "mount"])
def test_special_files_and_links_are_never_replaced(
    tmp_path: Path, kind: str, overwrite: bool, is_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    if kind == "mount":
        output.mkdir() if not is_file else output.touch()
        monkeypatch.setattr(outputs, "MOUNTS", mounts(tmp_path / "table", str(output)))
    else:
        ODD[kind](output)
    before = output.lstat()
    with pytest.raises(
        UserError, match=f"out is a {kind}.*; (choose another place|name a new file or folder)"
    ) as caught:
        outputs.refuse_existing(output, overwrite, is_file)
    assert "--overwrite" not in str(caught.value)
    assert output.lstat() == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_and_a_folder_never_replace_each_other(tmp_path: Path, overwrite: bool) -> None:
    folder, file = ours(tmp_path / "folder"), fill(tmp_path / "file.jsonl", "text")
    for output, is_file, words in (
        (folder, True, "a folder, and this stage writes a file"),
        (file, False, "a file, and"),
    ):
        with pytest.raises(UserError, match=f"is {words}.*; choose another place") as caught:
            outputs.refuse_existing(output, overwrite, is_file)
        assert "--overwrite" not in str(caught.value)


def mounts(table: Path, *places: str) -> Path:
    """Write a table of mounts as the kernel does."""
    rows = (f"36 35 98:0 / {place} rw,noatime master:1 - ext3 /dev/root rw" for place in ("/", "/proc", *places))
    table.write_text("\n".join(rows) + "\n")
    return table


def test_a_mount_point_is_found_in_the_table_of_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, other = ours(tmp_path / "a b\\c"), ours(tmp_path / "other")
    monkeypatch.setattr(outputs, "MOUNTS", mounts(tmp_path / "table", rf"{tmp_path}/a\040b\134c"))
    with pytest.raises(UserError, match="is a mount point and cannot be replaced"):
        outputs.refuse_existing(output, overwrite=True)
    outputs.refuse_existing(other, overwrite=True)


def test_without_a_table_of_mounts_an_output_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "MOUNTS", tmp_path / "absent")
    outputs.refuse_existing(ours(tmp_path / "out"), overwrite=True)


# ---------------------------------------------------------------------------------------------- what lies next to it


@pytest.mark.parametrize("suffix", [".old", ".partial", ".lock", ".manifest.json"])
def test_files_of_the_user_next_to_an_output_are_left_alone(tmp_path: Path, suffix: str) -> None:
    ours(tmp_path / "out")
    fill(tmp_path / f"out{suffix}", {"backup.txt": "mine"})
    fill(tmp_path / f"other{suffix}", "mine")
    for name in ("out", "other"):
        with outputs.new_directory(tmp_path / name, overwrite=True) as folder:
            fill(folder, {"new.txt": "new"})
    assert files_of(tmp_path) == {
        f"out{suffix}/backup.txt": "mine",
        f"other{suffix}": "mine",
        "out/new.txt": "new",
        "other/new.txt": "new",
    }


@pytest.mark.parametrize(
    "content", ["text", {"a.txt": "mine"}, {"codefit-lock": "mine"}, {"codefit-lock": "m" * 10**6}, *ODD]
)
def test_a_folder_with_our_name_but_without_our_mark_is_left_alone(tmp_path: Path, content: object) -> None:
    aside = outputs.workspace(tmp_path / "out")
    if isinstance(content, str) and content in ODD:
        ODD[content](aside)
    else:
        fill(aside, content)  # type: ignore[arg-type]
    before = files_of(tmp_path), sorted(tmp_path.iterdir())
    message = rf"^{aside} was not made by codefit and is left alone; move it away, or choose another place\.$"
    with pytest.raises(UserError, match=message), outputs.new_directory(tmp_path / "out"):
        pytest.fail("the block must not start")
    assert (files_of(tmp_path), sorted(tmp_path.iterdir())) == before


def test_an_output_that_appeared_in_the_meantime_is_not_replaced(tmp_path: Path) -> None:
    def work() -> None:
        with outputs.new_directory(tmp_path / "out") as folder:
            fill(folder, {"new.txt": "new"})
            fill(tmp_path / "out", {"mine.txt": "mine"})

    with pytest.raises(UserError, match="was not written by codefit"):
        work()
    assert files_of(tmp_path) == {"out/mine.txt": "mine"}


def test_existence_is_checked_again_under_the_lock(tmp_path: Path) -> None:
    ours(tmp_path / "out")
    with pytest.raises(UserError, match="already exists"), outputs.new_directory(tmp_path / "out"):
        pytest.fail("the block must not start")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


# ---------------------------------------------------------------------------------------------- building


def test_a_new_directory_appears_when_it_is_complete(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "output"
    with outputs.new_directory(output) as folder:
        fill(folder, {"a.txt": "a", "sub/b.txt": "b"})
        assert not output.exists()
    assert files_of(tmp_path) == {"deep/output/a.txt": "a", "deep/output/sub/b.txt": "b"}


@pytest.mark.parametrize("fails", [False, True])
def test_an_existing_output_is_replaced_only_at_the_end(tmp_path: Path, fails: bool) -> None:
    output = ours(tmp_path / "output")
    before = files_of(output)

    def work() -> None:
        with outputs.new_directory(output, overwrite=True) as folder:
            fill(folder, {"new.txt": "new"})
            assert files_of(output) == before
            if fails:
                raise UserError("no.")

    if fails:
        with pytest.raises(UserError):
            work()
        assert files_of(tmp_path) == {f"output/{name}": text for name, text in before.items()}
    else:
        work()
        assert files_of(tmp_path) == {"output/new.txt": "new"}


BEGUN = """
import sys
from pathlib import Path
from codefit import outputs
from codefit.temporary import temporary_folder
with outputs.new_directory(Path(sys.argv[1])) as folder, temporary_folder() as temporary:
    (folder / "half.txt").write_text("half")
    (temporary / "clone").mkdir()
    print("begun", flush=True)
    input()
"""


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], subprocess.Popen[str]]:
    """A function that starts a run, which then waits in the middle; its temporary folders lie in `temporary`."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)

    def begin(output: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", BEGUN, str(output)]
        run = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert run.stdout is not None
        assert run.stdout.readline() == "begun\n"
        return run

    return begin


def test_a_killed_run_leaves_no_output_and_the_next_removes_what_it_left(
    tmp_path: Path, begin: Callable[[Path], subprocess.Popen[str]]
) -> None:
    output = tmp_path / "output"
    with begin(output) as run:
        run.send_signal(signal.SIGKILL)
    assert files_of(outputs.partial(output)) == {"half.txt": "half"}
    assert not output.exists()
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    with outputs.new_directory(output) as folder, temporary_folder() as temporary:
        assert files_of(folder) == {}
        assert list(temporary.iterdir()) == []
        assert list((tmp_path / "temporary").iterdir()) == [temporary.parent]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["output", "temporary"]


def test_nothing_of_a_run_that_is_alive_is_removed(
    tmp_path: Path, begin: Callable[[Path], subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "PATIENCE", 0.1)
    output = tmp_path / "output"
    with begin(output) as run:
        before = sorted(tmp_path.rglob("*"))
        message = f"^another run is writing {output}; wait until it has ended, or choose another place.$"
        with pytest.raises(UserError, match=message), outputs.new_directory(output):
            pytest.fail("the block must not start")
        with temporary_folder() as one, temporary_folder() as other:
            assert one.is_dir()
            assert other.is_dir()
        assert sorted(tmp_path.rglob("*")) == before
        run.communicate("go on\n")
    assert run.returncode == 0
    assert files_of(tmp_path) == {"output/half.txt": "half"}


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    fill(tmp_path / "file", "text")
    message = "cannot write .*file/output: (Not a directory|File exists); choose another place"
    with pytest.raises(UserError, match=message), outputs.new_directory(tmp_path / "file" / "output"):
        pytest.fail("the block must not start")


@pytest.mark.parametrize(("empty", "left"), [(False, {"a/b/left.txt": "left"}), (True, {})])
def test_a_folder_is_made_with_its_parents_and_emptied_when_asked(
    tmp_path: Path, empty: bool, left: dict[str, str]
) -> None:
    outputs.make_folder(tmp_path / "a" / "b")
    fill(tmp_path / "a" / "b", {"left.txt": "left"})
    outputs.make_folder(tmp_path / "a" / "b", empty=empty)
    assert (tmp_path / "a" / "b").is_dir()
    assert files_of(tmp_path) == left


@pytest.mark.parametrize("name", ["file", "file/b"])
def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "file", "text")
    with pytest.raises(UserError, match=rf"^cannot write {tmp_path}/{name}: (File exists|Not a directory); choose"):
        outputs.make_folder(tmp_path / name)


@pytest.mark.parametrize("had", [True, False])
@pytest.mark.parametrize("in_one_step", [True, False])
def test_commit_replaces_what_was_there(
    tmp_path: Path, had: bool, in_one_step: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_one_step:
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())  # a system without renameat2
    output = tmp_path / "output"
    if had:
        ours(output)
    with outputs.alone(output):
        outputs.make_folder(outputs.partial(output))
        outputs.commit(fill(outputs.partial(output), {"new.txt": "new"}), output)
    assert files_of(tmp_path) == {"output/new.txt": "new"}


@pytest.mark.parametrize("fallback", [True, False])
def test_a_kill_at_any_step_of_a_commit_is_repaired(
    tmp_path: Path, fallback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child process is ended before its nth change of names; the next run finds the old output or the new one."""
    code = """
import os, sys
from pathlib import Path
from codefit import outputs
from codefit.temporary import temporary_folder
left, fallback, output = int(sys.argv[1]), sys.argv[2] == "True", Path(sys.argv[3])
def counted(step):
    def run(*args, **options):
        global left
        if (left := left - 1) < 0:
            os._exit(9)
        return step(*args, **options)
    return run
with outputs.new_directory(output, overwrite=True) as folder:
    (folder / "manifest.json").write_text("{}")
    os.rename, os.unlink, os.rmdir = counted(os.rename), counted(os.unlink), counted(os.rmdir)
    os.replace = counted(os.replace)
    outputs._exchange = (lambda *paths: False) if fallback else counted(outputs._exchange)
"""
    ended, seen = None, set()
    for steps in range(20):
        output = ours(tmp_path / str(steps) / "output")
        command = [sys.executable, "-c", code, str(steps), str(fallback), str(output)]
        ended = subprocess.run(command, cwd=ROOT, check=False).returncode
        if ended == 0:
            break
        assert ended == 9
        with outputs.alone(output):
            found = set(files_of(output))
            assert found in ({"manifest.json"}, {"old.txt", "manifest.json"})
            seen.add(len(found))
        with outputs.new_directory(output, overwrite=True) as folder:
            fill(folder, {"manifest.json": "{}"})
        assert files_of(output.parent) == {"output/manifest.json": "{}"}
    assert ended == 0
    assert seen == {1, 2}


def test_a_file_never_has_the_manifest_of_another(tmp_path: Path) -> None:
    """The same for a file: old data with no manifest or its own, new data with no manifest or its own."""
    code = """
import os, sys
from pathlib import Path
from codefit import outputs
from codefit.temporary import temporary_folder
left, output = int(sys.argv[1]), Path(sys.argv[2])
with outputs.alone(output):
    outputs.partial(output).write_text("new")
    (outputs.workspace(output) / "manifest.json").write_text("new")
    (outputs.workspace(output) / "part").write_text("new")
    def counted(step):
        def run(*args, **options):
            global left
            if (left := left - 1) < 0:
                os._exit(9)
            return step(*args, **options)
        return run
    os.replace, os.unlink = counted(os.replace), counted(os.unlink)
    outputs.commit_file(output, {output.with_name("part"): outputs.workspace(output) / "part"})
"""
    ended = None
    for steps in range(20):
        output = tmp_path / str(steps) / "out.jsonl"
        output.parent.mkdir()
        fill(output.parent, {"out.jsonl": "old", "out.jsonl.manifest.json": "old", "part": "old"})
        ended = subprocess.run([sys.executable, "-c", code, str(steps), str(output)], cwd=ROOT, check=False).returncode
        place = manifest_of(output)
        if place.exists():
            assert place.read_text() == output.read_text() == (output.parent / "part").read_text()
        with outputs.alone(output):
            if output.read_text() == "new":
                assert place.read_text() == "new"
        if ended == 0:
            break
        assert ended == 9
    assert ended == 0
    assert files_of(output.parent) == {"out.jsonl": "new", "out.jsonl.manifest.json": "new", "part": "new"}


def test_commit_flushes_every_file_and_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    output = tmp_path / "output"
    with outputs.alone(output):
        outputs.make_folder(outputs.partial(output))
        fill(outputs.partial(output), {"a": "a", "sub/b": "b"})
        monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append(output.exists()))
        outputs.commit(outputs.partial(output), output)
    assert calls == [False, False, False, False, True], "two files, the plan and its folder, the place of the output"


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = fill(tmp_path / "record.json", "old")
    with pytest.raises(UnicodeEncodeError):
        outputs.write_whole(file, "half " * 10_000 + "\udc80")
    assert files_of(tmp_path) == {"record.json": "old"}
    outputs.write_whole(file, "new ä\n")
    assert files_of(tmp_path) == {"record.json": "new ä\n"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("basic_ios::clear: iostream error", "a file could only be written in part"),
        (
            "[enforce fail at x.cc:747] . open file failed with strerror: Input/output error",
            "Input/output error; check",
        ),
        ("Error while serializing: I/O error: Permission denied (os error 13) at path x", "Permission denied; check"),
    ],
)
def test_errors_of_libraries_in_other_languages_are_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=f"cannot write .*{sentence}"), disk_errors.write_errors(tmp_path / "out"):
        raise RuntimeError(text)
