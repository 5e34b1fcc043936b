"""The harness of torture/ sees what it is there to see, and a small part of it is run."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codefit.manifest import ROOT
from torture import kills, mutate, tables, trees
from torture.faults import traps
from torture.server import ERRORS, FAIL_FROM_HERE_ON, FAIL_ONCE, MEMORY, Outcome

needs_compiler = pytest.mark.skipif(not shutil.which("cc") or sys.platform != "linux", reason="needs cc on Linux")

# A stage that writes its output in place, in two halves, and removes a file of the user's.
CARELESS = """
import sys
from pathlib import Path
from types import SimpleNamespace
from torture import server

def main():
    Path("x").unlink(missing_ok=True)
    with open("out", "wb", buffering=0) as file:
        file.write(b"one ")
        file.write(b"two ")

machine = server.Server(server.enter("careless"), stages=())
machine.stages["careless"] = SimpleNamespace(main=main)
for name in ("work", "tmp"):
    (machine.trial / name).mkdir(parents=True)
out = machine.trial / "work" / "out"
print([call for call, _ in (machine.run("careless", [], log=True), machine.changes())[1]])
for action, error in ((server.KILL, 0), (server.FAIL_ONCE, 28), (server.FAIL_FROM_HERE_ON, 28)):
    for number in (1, 2, 3, 4, 5):
        out.unlink(missing_ok=True)
        ended = machine.run("careless", [], server.Trap(number, action, error))
        print(number, ended.code, ended.trapped, out.read_bytes().decode() if out.exists() else None)
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=120)


@needs_compiler
def test_a_stage_is_killed_at_the_change_that_was_named(tmp_path: Path) -> None:
    (tmp_path / "careless.py").write_text(CARELESS)
    command = [sys.executable, "-m", "careless"]
    path = f"{tmp_path}:{ROOT}"
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    calls, *lines = ended.stdout.splitlines()
    assert calls == "['unlink', 'open', 'write', 'write']", ended.stderr
    assert lines[:5] == ["1 -9 True None", "2 -9 True None", "3 -9 True on", "4 -9 True one tw", "5 0 False one two "]
    assert lines[5:10] == ["1 1 True None", "2 1 True None", "3 1 True ", "4 1 True one ", "5 0 False one two "]
    assert lines[10:] == ["1 1 True None", "2 1 True None", "3 1 True ", "4 1 True one ", "5 0 False one two "]


@needs_compiler
@pytest.mark.parametrize(
    "words",
    [
        ["torture.kills", "--only", "parse_data to JSON Lines", "--most", "3"],
        ["torture.faults", "--only", "parse_data to JSON Lines", "--most", "1"],
        ["torture.together", "--only", "parse_data to JSON Lines", "--pairs", "1"],
        ["torture.mutations", "--only", "zip", "--number", "20"],
    ],
)
def test_reading_sources_survives(words: list[str]) -> None:
    ended = run("-m", *words)
    assert ended.returncode == 0, ended.stdout + ended.stderr


# ---------------------------------------------------------------------------------------------- how an end is judged


@pytest.mark.parametrize(
    ("code", "stderr", "complaint"),
    [
        (0, "50%\r100%\n\x1b[A", None),
        (1, "note: x\nerror: a is not there; give b.\n", None),
        (1, "error: was it trained on another base?\n", None),
        (1, "error: a is not there; give b", "exit 1 without one sentence"),
        (1, "error: a.\nerror: b.\n", "exit 1 without one sentence"),
        (1, "error: a.\nand more", "exit 1 without one sentence"),
        (1, "", "exit 1 without one sentence"),
        (2, "error: a.\n", "exit code 2"),
        (-11, "", "exit code -11"),
        (1, "Traceback (most recent call last):\n  File\nValueError: no\n", "traceback: ValueError: no"),
        (1, "error: \x1b[2J.\n", "control characters"),
        (None, "", "did not end"),
    ],
)
def test_an_end_is_judged(code: int | None, stderr: str, complaint: str | None) -> None:
    found = Outcome(code, "", stderr, 0, 0, False).complaint()
    assert found is None if complaint is None else found is not None and complaint in found


def test_an_end_that_took_too_much_memory_is_none() -> None:
    assert "GB of memory" in (Outcome(0, "", "", MEMORY + 1, 0, False).complaint() or "")


def test_files_are_compared_without_times(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "manifest.json").write_text(json.dumps({"seconds": 1, "in": [{"train_runtime": 2, "loss": 3}]}))
    (tmp_path / "a" / "link").symlink_to("elsewhere")
    trees.copy(tmp_path / "a", tmp_path / "b")
    assert trees.tree(tmp_path / "b") == trees.tree(tmp_path / "a")
    (tmp_path / "b" / "manifest.json").write_text(json.dumps({"seconds": 9, "in": [{"train_runtime": 8, "loss": 3}]}))
    assert trees.tree(tmp_path / "b") == trees.tree(tmp_path / "a")
    (tmp_path / "b" / "manifest.json").write_text(json.dumps({"seconds": 1, "in": [{"train_runtime": 2, "loss": 4}]}))
    assert trees.tree(tmp_path / "b") != trees.tree(tmp_path / "a")
    assert trees.part({"x": "/", "x/y": "1", "xy": "2"}, ("x",)) == {"x": "/", "x/y": "1"}


# ---------------------------------------------------------------------------------------------- what is tried

CHANGES = [("open", "a"), ("write", "a"), ("write", "a"), ("rename", "a"), ("fsync", "a"), ("unlink", "b")]


def test_every_change_that_is_no_write_is_killed_at_first() -> None:
    assert kills.chosen(CHANGES, 100, seed=0) == [1, 2, 3, 4, 5, 6]
    assert set(kills.chosen(CHANGES, 4, seed=0)) > {1, 4, 6}


def test_errors_come_only_where_they_can() -> None:
    full = traps(CHANGES, "ENOSPC", 100, seed=0)
    assert [trap.number for trap in full] == [1, 2, 3]
    assert {(trap.action, trap.error) for trap in full} == {(FAIL_FROM_HERE_ON, ERRORS["ENOSPC"])}
    assert [trap.number for trap in traps(CHANGES, "EACCES", 100, seed=0)] == [1, 4, 6]
    assert {trap.action for trap in traps(CHANGES, "EIO", 100, seed=0)} == {FAIL_ONCE}


TENSORS = (24).to_bytes(8, "little") + b'{"x": {"dtype": "F32"}} ' + bytes(64)


@pytest.mark.parametrize(
    ("mutator", "content"),
    [
        (mutate.of_bytes, b"some bytes of a file"),
        (mutate.of_json, b'{"a": [1, {"b": null}], "c": "d"}'),
        (mutate.of_jsonl, b'{"a": 1}\n{"a": 2}\n'),
        (mutate.of_safetensors, TENSORS),
    ],
)
def test_mutations_differ_and_can_be_repeated(mutator: mutate.MUTATOR, content: bytes) -> None:
    made = [mutator(content, random.Random(seed)) for seed in range(200)]
    assert made == [mutator(content, random.Random(seed)) for seed in range(200)]
    assert len(set(made)) > 80
    assert sum(content == other for other in made) < 20


def test_a_table_counts_what_survived(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    row = tables.Row("train")
    row.add([], "change 1")
    row.add(["left over: x"], "change 2")
    row.show()
    assert tables.finish([row], "Killed", tmp_path / "table.md") == 1
    assert "left over: x\n    first at change 2" in capsys.readouterr().out
    assert "| train | 2 | 1 |" in (tmp_path / "table.md").read_text()
    assert tables.finish([tables.Row("train", 2, 2)], "Killed", tmp_path / "table.md") == 0
