"""The manifests that say what made an output."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from codefit import manifest
from codefit.errors import UserError
from codefit.manifest import Manifest, read_manifest, toolkit_commit, versions
from codefit.outputs import manifest_of
from tests.support.files import fill


def manifest_for(monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.setattr(sys, "argv", ["some/where/train.py", "--output_dir", "outputs/a", "--seed", "1"])
    return Manifest({"output_dir": Path("outputs/a"), "seed": 1, "words": ["a"], "limit": None})


@pytest.mark.parametrize(
    ("output", "place"),
    [
        ("raw.jsonl", "raw.jsonl.manifest.json"),
        ("raw.parquet", "raw.parquet.manifest.json"),
        ("folder/", "folder/manifest.json"),
    ],
)
def test_a_manifest_is_in_its_folder_or_next_to_its_file(tmp_path: Path, output: str, place: str) -> None:
    path = tmp_path / output
    path.mkdir() if output.endswith("/") else path.write_text("")
    (tmp_path / place).write_text('{"kept": 3}')
    assert manifest_of(path) == tmp_path / place
    assert read_manifest(path)["kept"] == 3


def test_a_manifest_says_what_made_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = fill(tmp_path / "in.jsonl", "abc")
    record = manifest_for(monkeypatch)
    record.add_input(source)
    record.update(rejections=Counter({"binary": 2}), place=Path("a/b"), by={1: Path("c")}, name="Ünï")
    record.write(tmp_path)
    text = (tmp_path / "manifest.json").read_text(encoding="utf-8")
    content = json.loads(text)
    assert "Ünï" in text
    assert content.pop("seconds") >= 0
    assert content.pop("versions")["python"] == sys.version.split()[0]
    assert content.pop("toolkit_commit") == manifest.toolkit_commit()
    assert content == {
        "command": ["train.py", "--output_dir", "outputs/a", "--seed", "1"],
        "arguments": {"output_dir": "outputs/a", "seed": 1, "words": ["a"], "limit": None},
        "folders": {},
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
    sentence = r"manifest.json(: the file must be| is not) .*; run the stage .* again, with --overwrite"
    with pytest.raises(UserError, match=sentence):
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


def test_asking_for_the_commit_writes_nothing_into_the_repository(toolkit: Path) -> None:
    index = toolkit / ".git" / "index"
    before = index.read_bytes()
    os.utime(toolkit / "train.py", (0, 0))  # git would refresh what it knows of this file
    assert toolkit_commit() is not None
    assert index.read_bytes() == before


def test_a_manifest_counts_files_or_lists_them(tmp_path: Path) -> None:
    for files in (3, ["model-Q8_0.gguf"]):
        (tmp_path / "manifest.json").write_text(json.dumps({"toolkit_commit": None, "files": files}), encoding="utf-8")
        assert read_manifest(tmp_path)["files"] == files


# --------------------------------------------------------------------------------------------- the same command again


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The output of a run that read a file and the folder of a model."""
    for folder in ("model/.cache", "model/more"):
        (tmp_path / folder).mkdir(parents=True)
    fill(tmp_path / "in.jsonl", "abc")
    fill(tmp_path / "model" / "config.json", "{}")
    output = tmp_path / "out"
    output.mkdir()
    made = manifest_for(monkeypatch)
    made.add_model(str(tmp_path / "in.jsonl"))
    made.add_model(str(tmp_path / "model"))
    made.add_model("owner/name")
    made.update(read={"/a": "1"})
    made.write(output)
    return output


def test_the_same_command_on_the_same_inputs_has_nothing_to_do(finished, monkeypatch, capsys):
    again = manifest_for(monkeypatch)
    fill(finished.parent / "model" / ".cache" / "lock", "hidden files do not count")
    assert again.repeats(finished)
    assert again.repeats(finished, read={"/a": "1"})
    said = capsys.readouterr().out.splitlines()[0]
    assert (
        said
        == f"{finished} is complete: the same command made it from the same inputs; add --overwrite to make it again"
    )
    again.content["arguments"].update(overwrite=True, a_new_flag=None)
    del again.content["arguments"]["limit"]
    assert again.repeats(finished)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder, run: fill(folder / "in.jsonl", "abd"),
        lambda folder, run: (folder / "in.jsonl").unlink(),
        lambda folder, run: fill(folder / "model" / "config.json", "[]"),
        lambda folder, run: fill(folder / "model" / "more" / "weights", ""),
        lambda folder, run: shutil.rmtree(folder / "model"),
        lambda folder, run: fill(folder / "out" / "manifest.json", "{"),
        lambda folder, run: (folder / "out" / "manifest.json").unlink(),
        lambda folder, run: run.content["arguments"].update(seed=2),
        lambda folder, run: run.content["arguments"].update(a_new_flag=2),
        lambda folder, run: run.content["arguments"].pop("seed"),
        lambda folder, run: run.content.update(command=["merge_lora.py"]),
    ],
)
def test_another_command_or_other_inputs_are_not_the_same(finished, monkeypatch, capsys, change):
    run = manifest_for(monkeypatch)
    change(finished.parent, run)
    assert not run.repeats(finished)
    assert not run.repeats(finished, read={"/a": "2"})
    assert capsys.readouterr().out == ""


def test_scores_that_were_computed_again_are_those_of_the_first_command(finished, monkeypatch):
    first = json.loads((finished / "manifest.json").read_text())
    (finished / "manifest.json").write_text(json.dumps({"command": ["train.py", "--rescore"], "predicted_by": first}))
    assert manifest_for(monkeypatch).repeats(finished)


def test_a_large_file_of_a_folder_counts_by_size_and_date(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "LARGE", 10)
    (tmp_path / "model").mkdir()
    weights = fill(tmp_path / "model" / "weights", "12345678901")
    before = manifest.digest_of_folder(tmp_path / "model")
    assert manifest.digest_of_folder(tmp_path / "model") == before
    os.utime(weights, ns=(1, 1))
    assert manifest.digest_of_folder(tmp_path / "model") != before
