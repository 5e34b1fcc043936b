"""A run that was stopped leaves no output that looks complete, and the next one ends with the same bytes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from codefit.errors import UserError
from codefit.manifest import ROOT
from codefit.outputs import alone, make_folder, partial, workspace
from codefit.records import Document, Rejection, write_jsonl
from codefit.sources.journal import Journal, Tally
from codefit.sources.source import Place
from tests.support.sources import git, parse, project, tar_of


def repository(folder, name, files):
    path = project(folder, name, files)
    git(path, "init", "-q", "-b", "main")
    git(path, "add", "-A")
    git(path, "commit", "-qm", "first")
    return f"file://{path}"


def many(start):
    """Return files with one blob that every source has, and one that is rejected everywhere."""
    files = {f"f{n}.kt": b"val n = %d\n" % n * 300 for n in range(start, start + 60)}
    return {**files, "same.kt": b"val same = 1\n", "binary.kt": b"\0"}


def outputs(output):
    return output.read_bytes(), output.with_name(output.name + ".rejected.jsonl").read_bytes()


def started(output, sources):
    command = [sys.executable, str(ROOT / "parse_data.py"), "--output", str(output), "--repository", *sources]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def left_of(tmp_path, name):
    return sorted(path.name for path in tmp_path.glob(f"{name}*"))


@pytest.mark.parametrize(("suffix", "kills"), [(".jsonl", 3), (".parquet", 1)])
def test_kills_at_random_moments_change_nothing(tmp_path, suffix, kills):
    sources = [repository(tmp_path, f"r{n}", many(60 * n)) for n in range(3)]
    sources += [project(tmp_path, "folder", many(1000)), str(tar_of(tmp_path / "a.tar.gz", many(2000)))]
    reference = tmp_path / f"reference{suffix}"
    began = time.monotonic()
    assert started(reference, sources).wait() == 0
    seconds = time.monotonic() - began
    draw = random.Random(0)
    output = tmp_path / f"out{suffix}"
    for _ in range(kills):
        process = started(output, sources)
        time.sleep(draw.uniform(0.2, 1) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if output.exists():
            assert outputs(output) == outputs(reference)  # what exists is complete
            output.unlink()
    parse(output, *sources)
    assert outputs(output) == outputs(reference)
    assert left_of(tmp_path, "out") == sorted(
        [f"out{suffix}", f"out{suffix}.manifest.json", f"out{suffix}.rejected.jsonl"]
    )


def test_finished_remote_sources_are_not_read_again(tmp_path):
    sources = [repository(tmp_path, f"r{n}", many(60 * n)) for n in range(6)]
    parse(tmp_path / "reference.jsonl", *sources)
    output = tmp_path / "out.jsonl"
    progress = tmp_path / ".out.jsonl.codefit" / "progress"
    process = started(output, sources)
    deadline = time.monotonic() + 60
    while not (progress.exists() and progress.read_bytes().count(b"\n") > 2) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists()
    shutil.rmtree(tmp_path / "r0")  # it is not needed any more
    parse(output, *sources)
    assert outputs(output) == outputs(tmp_path / "reference.jsonl")
    manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_text())
    assert manifest["sources"] == json.loads((tmp_path / "reference.jsonl.manifest.json").read_text())["sources"]
    assert manifest["files"] == 6 * 62


def test_an_unreachable_source_keeps_finished_work(tmp_path):
    good, away = repository(tmp_path, "good", many(0)), "http://127.0.0.1:1/owner/away"
    with pytest.raises(UserError, match="owner/away cannot be reached; check the network"):
        parse(tmp_path / "out.jsonl", good, away)
    left = {path.name for path in (tmp_path / ".out.jsonl.codefit").iterdir()}
    assert left == {"changes", "codefit-lock", "documents", "progress", "rejected"}
    shutil.rmtree(tmp_path / "good")
    with pytest.raises(UserError, match="owner/away cannot be reached"):  # and not: good is not a repository
        parse(tmp_path / "out.jsonl", good, away)
    with pytest.raises(UserError, match="good is not a git repository"):  # another command starts over
        parse(tmp_path / "out.jsonl", good, away, "--max_bytes", "100000")
    assert not workspace(tmp_path / "out.jsonl").exists()


def test_local_sources_are_always_read_again(tmp_path):
    folder, away = project(tmp_path, "folder", {"a.kt": b"val a = 1\n"}), "http://127.0.0.1:1/owner/away"
    with pytest.raises(UserError, match="cannot be reached"):
        parse(tmp_path / "out.jsonl", folder, away)
    with alone(tmp_path / "out.jsonl"):
        assert Journal(tmp_path / "out.jsonl", {}).tallies == []


PLACE = Place("url", "https://example.invalid/a/b", "a/b")


def noted(output, command):
    """Write a journal with one finished source and the beginning of another."""
    make_folder(partial(output).parent)
    journal = Journal(output, command)
    for blob, path in (("1", "a.kt"), ("2", "b.kt")):
        tally = Tally(PLACE)
        for outcome in (Document("val a = 1\n", path, "a/b", blob=blob), Rejection("binary")):
            tally.add(outcome)
            journal.write(PLACE, path, outcome)
        if path == "a.kt":
            journal.finish(tally)
    journal.close()
    return journal


@pytest.mark.parametrize("torn", [b"", b'{"tally": {"pla'])
def test_unfinished_lines_are_cut_off(tmp_path, torn):
    journal = noted(tmp_path / "out.jsonl", {"revision": None})
    with journal.progress.open("ab") as file:
        file.write(torn)
    again = Journal(tmp_path / "out.jsonl", {"revision": None})
    assert again.tallies == journal.tallies
    assert again.seen == {"1": ("a/b", "a.kt")}
    assert again.documents.read_bytes().count(b"\n") == 1
    assert again.rejected.read_bytes().count(b"\n") == 1
    other = Journal(tmp_path / "out.jsonl", {"revision": "v1"})
    assert (other.tallies, other.seen, other.documents.read_bytes()) == ([], {}, b"")


@pytest.mark.parametrize("name", ["documents", "rejected"])
def test_a_file_that_was_moved_on_is_not_taken_for_long(tmp_path, name):
    journal = noted(tmp_path / "out.jsonl", {})
    getattr(journal, name).unlink()
    assert Journal(tmp_path / "out.jsonl", {}).tallies == []


def test_a_journal_remembers_the_command_from_the_start(tmp_path):
    folder = workspace(tmp_path / "out.jsonl")
    folder.mkdir()
    write_jsonl(folder / "documents", [Document("old", "old.kt")])
    journal = Journal(tmp_path / "out.jsonl", {"revision": None})
    assert journal.seen == {}
    assert json.loads(journal.progress.read_text()) == {"revision": None}
    journal.remove()
    assert os.listdir(folder) == []


@pytest.mark.parametrize("damage", [b"{\n", b"[]\n", b"\xff\n", b'{}\n{"tally": 1, "documents": 0, "rejected": 0}\n'])
def test_a_damaged_journal_is_started_again(tmp_path, damage):
    journal = noted(tmp_path / "out.jsonl", {})
    journal.progress.write_bytes(damage)
    again = Journal(tmp_path / "out.jsonl", {})
    assert (again.tallies, again.seen) == ([], {})
