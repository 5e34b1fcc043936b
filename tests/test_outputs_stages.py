"""Every stage: what may be at its output, and a disk, or a limit on files, that ends in the middle of its work."""

import contextlib
import json
import os
import re
import resource
import socket
import sys
from pathlib import Path

import pytest

import benchmarking
import merge_lora
import parse_data
import preprocess_data
import train
from codefit import cli, outputs
from tests.support.benchmark import EOS  # noqa: F401 - heavy imports come here, not under a limit on files
from tests.support.training import command

STAGES = ("parse_data", "parse_data to parquet", "preprocess_data", "train", "search", "merge_lora", "benchmarking")
STAGES_OF_FILES = STAGES[:2]
LOCKED = [stage for stage in STAGES if stage not in {"train", "search"}]


@pytest.fixture
def run(made, source, vocabulary, prepared, tiny_base, tmp_path, capsys):
    """A function that runs a stage on an output as its script does; it returns the exit code and stderr."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.kt").write_text("val a = 1\n" * 500)
    written = json.loads((made / "adapter" / "manifest.json").read_text())
    (made / "adapter" / "manifest.json").write_text(json.dumps({**written, "command": ["train.py"], "versions": {}}))
    search = ["--trials", "1", "--search", "learning_rate=0.001,0.002"]
    merging = ["--hf_repository", str(made / "adapter"), "--output_dir"]
    benchmark = ["--hf_repository", str(made / "adapter"), "--dataset", str(made / "data")]
    benchmark += ["--max_new_tokens", "8", "--max_prompt_tokens", "40", "--tokens_per_batch", "200", "--output_dir"]
    preparing = ["--input", str(source), "--model_name_or_path", str(vocabulary), "--output"]
    parsing = ["--repository", str(tmp_path / "code"), "--language", "kotlin", "--output"]
    stages = {
        "parse_data": (parse_data, lambda output: [*parsing, str(output)]),
        "parse_data to parquet": (parse_data, lambda output: [*parsing, str(output)]),
        "preprocess_data": (preprocess_data, lambda output: [*preparing, str(output)]),
        "train": (train, lambda output: command(tiny_base, prepared, output, "--max_steps", "2")),
        "search": (train, lambda output: command(tiny_base, prepared, output, "--max_steps", "2", *search)),
        "merge_lora": (merge_lora, lambda output: [*merging, str(output)]),
        "benchmarking": (benchmarking, lambda output: [*benchmark, str(output)]),
    }

    def run(stage, output, *words):
        script, of = stages[stage]
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.run(lambda: script.main([*of(output), *words]))
        return ended.value.code or 0, capsys.readouterr().err

    return run


def output_of(stage, folder):
    return folder / {"parse_data": "out.jsonl", "parse_data to parquet": "out.parquet"}.get(stage, "out")


def sentence(said):
    """Return the sentence on stderr, and check that it is one."""
    lines = re.findall("error: .*", said)  # a progress bar may come before it on its line
    assert "Traceback" not in said
    assert len(lines) == 1, said
    return lines[0]


def socket_at(path):
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


def link_at(path):
    path.with_name("elsewhere").mkdir()
    path.symlink_to(path.with_name("elsewhere"))


def thesis_at(path):
    path.mkdir()
    (path / "thesis.txt").write_text("years of work")


IN_THE_WAY = {
    "FIFO": os.mkfifo,
    "socket": socket_at,
    "symbolic link": link_at,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "folder": thesis_at,
    "file": lambda path: path.write_text("years of work"),
}


def everything(folder):
    return sorted(
        (str(path.relative_to(folder)), path.read_bytes() if path.is_file() else path.lstat().st_mode)
        for path in folder.rglob("*")
    )


def dates(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("words", [[], ["--overwrite"]])
@pytest.mark.parametrize("kind", IN_THE_WAY)
@pytest.mark.parametrize("stage", STAGES)
def test_files_of_the_user_are_never_replaced(run, tmp_path, stage, kind, words):
    if kind == "file" and stage in STAGES_OF_FILES:
        pytest.skip("a regular file with the right ending may be replaced")
    output = output_of(stage, tmp_path / "place")
    output.parent.mkdir()
    IN_THE_WAY[kind](output)
    before = everything(output.parent)
    code, said = run(stage, output, *words)
    assert code == 1
    assert str(output) in sentence(said)
    assert "--overwrite" not in sentence(said)
    assert everything(output.parent) == before


@pytest.mark.parametrize("stage", STAGES_OF_FILES)
def test_a_file_of_the_right_kind_is_replaced_only_when_asked(run, tmp_path, stage):
    output = output_of(stage, tmp_path / "place")
    output.parent.mkdir()
    output.write_text("old")
    code, said = run(stage, output)
    assert (code, output.read_text()) == (1, "old")
    assert "add --overwrite to replace it" in sentence(said)
    assert run(stage, output, "--overwrite")[0] == 0
    names = [output.name, f"{output.name}.manifest.json", f"{output.name}.rejected.jsonl"]
    assert sorted(path.name for path in output.parent.iterdir()) == names


FOLDER_STAGES = [stage for stage in STAGES if stage not in STAGES_OF_FILES]


@pytest.mark.parametrize("stage", FOLDER_STAGES)
def test_a_stage_replaces_no_output_of_another(run, tmp_path, stage, monkeypatch):
    output = tmp_path / "place"
    output.mkdir()
    (output / "weights").write_text("hours of work")
    (output / "manifest.json").write_text(json.dumps({"command": ["a/parse_data.py", "-x"], "toolkit_commit": "0"}))
    before = everything(output)
    code, said = run(stage, output, "--overwrite")
    assert code == 1
    assert f"{output} was written by parse_data.py, and only that replaces it" in sentence(said)
    assert everything(output) == before
    monkeypatch.setattr(sys, "argv", ["somewhere/parse_data.py"])  # as if it were the script that wrote it
    assert run(stage, output, "--overwrite")[0] == 0
    assert not (output / "weights").exists()


@pytest.mark.parametrize("stage", FOLDER_STAGES)
@pytest.mark.parametrize("holds", [False, True], ids=["is", "holds"])
def test_an_output_is_never_what_the_run_reads(run, made, source, prepared, tmp_path, stage, holds):
    read = {"preprocess_data": source, "merge_lora": made / "adapter", "benchmarking": made / "adapter"}
    place = Path(read.get(stage, prepared))
    place = place.parent if holds or place.is_file() else place
    before = everything(place)
    code, said = run(stage, place, "--overwrite")
    assert code == 1
    assert "is read by this run; name another folder for the output" in sentence(said)
    assert everything(place) == before


@pytest.mark.parametrize("stage", STAGES)
def test_files_next_to_an_output_are_left_alone_and_none_are_left_over(run, tmp_path, stage):
    output = output_of(stage, tmp_path / "place")
    output.parent.mkdir()
    theirs = [f"{output.name}{suffix}" for suffix in (".old", ".partial", ".lock")]
    for name in theirs:
        (output.parent / name).write_text("mine")
    before = None
    for words in ([], [], ["--overwrite"]):  # the second run has nothing to do
        assert run(stage, output, *words)[0] == 0
        if words == []:
            assert before in (None, dates(output.parent))
            before = dates(output.parent)
        left = {path.name for path in output.parent.iterdir()}
        ends = (".manifest.json", ".rejected.jsonl") if stage in STAGES_OF_FILES else ()
        assert left == {*theirs, output.name, *(output.name + end for end in ends)}
    assert {(output.parent / name).read_text() for name in theirs} == {"mine"}


@pytest.mark.parametrize("content", ["", "{", "[1]", "\0"])
@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in STAGES_OF_FILES])
def test_a_damaged_manifest_does_not_keep_an_output_from_being_replaced(run, tmp_path, stage, content):
    output = output_of(stage, tmp_path / "place")
    output.mkdir(parents=True)
    (output / "manifest.json").write_text(content)
    code, said = run(stage, output)
    assert code == 1
    assert "--overwrite" in sentence(said)
    if content == "{":  # all stages take their time
        assert run(stage, output, "--overwrite")[0] == 0
        assert (output / "manifest.json").stat().st_size > 100


@contextlib.contextmanager
def limit_on_files(size):
    """No file may become larger than some bytes, in this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 1000, 5000])
@pytest.mark.parametrize("stage", LOCKED)
def test_a_limit_on_files_is_one_sentence_and_nothing_is_half_written(run, tmp_path, stage, size, monkeypatch):
    monkeypatch.setattr("codefit.generation.prediction_cache.folder", lambda: None)
    output = output_of(stage, tmp_path / "place")
    output.parent.mkdir()
    with limit_on_files(size):
        code, said = run(stage, output)
    if code == 0:
        assert stage == "parse_data to parquet"  # it is compressed to less
    else:
        assert "written in part" in sentence(said) or "limit on file sizes" in sentence(said)
        assert str(output) in sentence(said)
        assert not output.exists()
        assert not list(output.parent.glob("out*"))
    assert run(stage, output, *(["--overwrite"] if output.exists() else []))[0] == 0
    assert not outputs.workspace(output).exists()


@pytest.mark.parametrize("name", ["a" * 256, "ä" * 128, "a" * 300])
@pytest.mark.parametrize("stage", STAGES)
def test_a_name_that_is_too_long_is_one_sentence(run, tmp_path, stage, name):
    output = tmp_path / "place" / (name + output_of(stage, Path()).suffix)
    code, said = run(stage, output)
    assert code == 1
    assert sentence(said).endswith(f"{name}{output.suffix}: File name too long; choose another place.")
    assert not list(tmp_path.glob("place/*"))
