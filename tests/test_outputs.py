"""Outputs that are whole or absent, and the manifests that say what made them."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from codefit import manifest, outputs
from codefit.errors import UserError
from codefit.manifest import ROOT, Manifest, manifest_of, read_manifest, toolkit_commit, versions

# ---------------------------------------------------------------------------------------------- outputs


def files_of(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def fill(path: Path, content: str | dict[str, str]) -> Path:
    """Make a file of a text, and a folder of a dict."""
    if isinstance(content, str):
        path.write_text(content)
    else:
        for name, text in content.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)
    return path


def test_an_output_is_built_beside_its_place(tmp_path: Path) -> None:
    assert outputs.partial(tmp_path / "raw.jsonl") == tmp_path / "raw.jsonl.partial"


def test_refuse_existing(tmp_path: Path) -> None:
    outputs.refuse_existing(tmp_path / "new", overwrite=False)
    outputs.refuse_existing(tmp_path, overwrite=True)
    with pytest.raises(UserError, match="is already there and complete; add --overwrite to replace it"):
        outputs.refuse_existing(tmp_path, overwrite=False)


def test_a_folder_of_the_user_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="was not written by codefit and is not replaced; choose another place"):
        outputs.refuse_existing(tmp_path, overwrite=True)
    (tmp_path / "manifest.json").write_text("{}")
    outputs.refuse_existing(tmp_path, overwrite=True)


@pytest.mark.parametrize("place", [".", "..", "outputs/.."])
def test_a_folder_without_a_name_of_its_own_is_no_output(place: str) -> None:
    with pytest.raises(UserError, match="cannot be an output; name a new file or folder in it"):
        outputs.refuse_existing(Path(place), overwrite=True)


def test_a_new_directory_appears_when_it_is_complete(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "output"
    with outputs.new_directory(output) as folder:
        fill(folder, {"a.txt": "a", "sub/b.txt": "b"})
        assert not output.exists()
    assert files_of(tmp_path) == {"deep/output/a.txt": "a", "deep/output/sub/b.txt": "b"}


@pytest.mark.parametrize("fails", [False, True])
def test_an_existing_output_is_replaced_only_at_the_end(tmp_path: Path, fails: bool) -> None:
    output = fill(tmp_path / "output", {"old.txt": "old"})

    def work() -> None:
        with outputs.new_directory(output) as folder:
            fill(folder, {"new.txt": "new"})
            assert files_of(output) == {"old.txt": "old"}
            if fails:
                raise UserError("no.")

    if fails:
        with pytest.raises(UserError):
            work()
        assert files_of(output) == {"old.txt": "old"}
    else:
        work()
        assert files_of(tmp_path) == {"output/new.txt": "new"}


BEGUN = """
import sys
from pathlib import Path
from codefit import outputs
with outputs.new_directory(Path(sys.argv[1])) as folder, outputs.temporary_folder() as temporary:
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
    assert len(list((tmp_path / "temporary").iterdir())) == 2
    with outputs.new_directory(output) as folder, outputs.temporary_folder() as temporary:
        assert files_of(folder) == {}
        assert list(temporary.iterdir()) == []
        assert {path.stem for path in (tmp_path / "temporary").iterdir()} == {temporary.name}
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
        with outputs.temporary_folder() as one, outputs.temporary_folder() as other:
            assert one.is_dir()
            assert other.is_dir()
        assert sorted(tmp_path.rglob("*")) == before
        run.communicate("go on\n")
    assert run.returncode == 0
    assert files_of(tmp_path) == {"output/half.txt": "half"}


def test_a_file_in_the_way_of_building_is_replaced(tmp_path: Path) -> None:
    fill(tmp_path / "output.partial", "left over")
    with outputs.new_directory(tmp_path / "output") as folder:
        fill(folder, {"a": "a"})
    assert files_of(tmp_path) == {"output/a": "a"}


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    fill(tmp_path / "file", "text")
    message = "cannot write .*file/output: Not a directory; choose another place"
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


@pytest.mark.parametrize("name", ["file", "file/b", "file.partial"])
def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "file", "text")
    fill(tmp_path / "file.partial", "text")
    place = name.removesuffix(".partial")
    with pytest.raises(UserError, match=rf"^cannot write {tmp_path}/{place}: (File exists|Not a directory); choose"):
        outputs.make_folder(tmp_path / name)


@pytest.mark.parametrize("had", ["old", {"old.txt": "old", "sub/older.txt": "older"}, None])
@pytest.mark.parametrize("made", ["new", {"new.txt": "new"}])
@pytest.mark.parametrize("left_over", [False, True])
def test_commit_replaces_whatever_was_there(
    tmp_path: Path, had: str | dict[str, str] | None, made: str | dict[str, str], left_over: bool
) -> None:
    output = tmp_path / "output"
    if had is not None:
        fill(output, had)
        if left_over:
            fill(tmp_path / "output.old", {"killed.txt": "in between"})
    aside = fill(outputs.partial(output), made)
    outputs.commit(aside, output)
    expected = {"output": made} if isinstance(made, str) else {f"output/{name}": text for name, text in made.items()}
    found = files_of(tmp_path)
    if isinstance(had, str) and isinstance(made, str):
        found.pop("output.old/killed.txt", None)  # a file replaces a file in one step and passes no other name
    assert found == expected


def test_commit_leaves_the_target_of_a_link_alone(tmp_path: Path) -> None:
    target = fill(tmp_path / "elsewhere", {"old.txt": "old"})
    output = tmp_path / "output"
    output.symlink_to(target)
    outputs.commit(fill(outputs.partial(output), {"new.txt": "new"}), output)
    assert files_of(target) == {"old.txt": "old"}
    assert files_of(output) == {"new.txt": "new"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "output"]


@pytest.mark.parametrize(("made", "flushed"), [("new", 2), ({"a": "a", "sub/b": "b"}, 3)])
def test_commit_flushes_every_file_and_the_folder(
    tmp_path: Path, made: str | dict[str, str], flushed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append((tmp_path / "output").exists()))
    outputs.commit(fill(tmp_path / "output.partial", made), tmp_path / "output")
    assert calls == [False] * (flushed - 1) + [True]


# ---------------------------------------------------------------------------------------------- manifest


def manifest_for(monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.setattr(sys, "argv", ["some/where/train.py", "--output_dir", "outputs/a", "--seed", "1"])
    return Manifest(argparse.Namespace(output_dir=Path("outputs/a"), seed=1, words=["a"], limit=None))


@pytest.mark.parametrize(
    ("output", "place"),
    [
        ("raw.jsonl", "raw.manifest.json"),
        ("raw.v2.parquet", "raw.v2.manifest.json"),
        ("folder/", "folder/manifest.json"),
    ],
)
def test_a_manifest_lies_beside_its_output(
    tmp_path: Path, output: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / output
    path.mkdir() if output.endswith("/") else path.write_text("")
    manifest = manifest_for(monkeypatch)
    manifest.update(kept=3)
    manifest.write(path)
    assert manifest_of(path) == tmp_path / place
    assert json.loads((tmp_path / place).read_text())["kept"] == 3
    assert read_manifest(path)["kept"] == 3


def test_a_manifest_says_what_made_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = fill(tmp_path / "in.jsonl", "abc")
    manifest = manifest_for(monkeypatch)
    manifest.add_input(source)
    manifest.update(rejections=Counter({"binary": 2}), place=Path("a/b"), by={1: Path("c")}, name="Ünï")
    manifest.write(tmp_path)
    text = (tmp_path / "manifest.json").read_text(encoding="utf-8")
    content = json.loads(text)
    assert "Ünï" in text
    assert content.pop("seconds") >= 0
    assert content.pop("versions")["python"] == sys.version.split()[0]
    assert content.pop("toolkit_commit") == toolkit_commit()
    assert content == {
        "command": ["train.py", "--output_dir", "outputs/a", "--seed", "1"],
        "arguments": {"output_dir": "outputs/a", "seed": 1, "words": ["a"], "limit": None},
        "inputs": {str(source): "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        "rejections": {"binary": 2},
        "place": "a/b",
        "by": {"1": "c"},
        "name": "Ünï",
    }


def test_two_manifests_of_one_command_differ_only_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for _ in range(2):
        manifest_for(monkeypatch).write(tmp_path)
        found.append(re.sub(r'"seconds": [\d.]+', "", (tmp_path / "manifest.json").read_text()))
    assert found[0] == found[1]


def test_versions_name_what_can_change_a_result() -> None:
    assert {"python", "torch", "transformers", "peft", "tokenizers"} <= set(versions())


def test_an_absent_manifest_is_empty(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) == {}
    assert read_manifest(tmp_path / "raw.jsonl") == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b'"text"', b"\xff\xfe"])
def test_a_broken_manifest_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=r"manifest.json is not .*; run the stage that wrote .* again\.$"):
        read_manifest(tmp_path)


@pytest.fixture
def toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, in the place of the toolkit's own."""
    root = fill(tmp_path / "toolkit", {"train.py": "pass\n", "inner/train.py": "pass\n"})
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "All."]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    monkeypatch.setattr(manifest, "ROOT", root)
    return root


def test_the_commit_of_the_toolkit_says_when_files_differ(toolkit: Path) -> None:
    clean = toolkit_commit()
    assert clean is not None
    assert re.fullmatch(r"[0-9a-f]{40}", clean)
    (toolkit / "notes.txt").write_text("a file that git does not know changes nothing")
    assert toolkit_commit() == clean
    (toolkit / "train.py").write_text("changed")
    assert toolkit_commit() == clean + "-dirty"


def test_a_toolkit_without_git_has_no_commit(toolkit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert toolkit_commit() is None


def test_a_toolkit_unpacked_in_another_repository_has_no_commit(toolkit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "ROOT", toolkit / "inner")
    assert toolkit_commit() is None
    shutil.rmtree(toolkit / ".git")
    assert toolkit_commit() is None
