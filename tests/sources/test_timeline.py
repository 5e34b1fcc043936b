"""The files at every commit of a history, with branches, removed files and broken rows."""

import dataclasses

import pytest

from codefit.errors import UserError
from codefit.records import Change, write_jsonl
from codefit.sources.timeline import Timeline

ROWS = [
    Change("a.py", "base", repository="r", language="python", blob="1", content="A = 1\n"),
    Change("b.py", "base", repository="r", language="python", blob="2", content="B = 1\n"),
    Change("a.py", "main", "base", "r", language="python", blob="3", content="A = 2\n"),
    Change("c.py", "side", "base", "r", language="python", blob="4", content="C = 1\n"),
    Change("b.py", "side", "base", "r", language="python", left_out="removed"),
    Change("a.py", "later", "main", "r", language="python", blob="1", left_out="revert"),
    Change("x.py", "base", repository="other", language="python", blob="1", content="A = 1\n"),
]


def written(tmp_path, rows):
    write_jsonl(tmp_path / "history.jsonl", rows)
    return tmp_path / "history.jsonl"


@pytest.fixture
def timeline(tmp_path):
    return Timeline(written(tmp_path, ROWS))


STATES = {
    "base": {"a.py": "A = 1\n", "b.py": "B = 1\n"},
    "main": {"a.py": "A = 2\n", "b.py": "B = 1\n"},
    "side": {"a.py": "A = 1\n", "c.py": "C = 1\n"},
    "later": {"a.py": "A = 1\n", "b.py": "B = 1\n"},
}


@pytest.mark.parametrize("order", [list(STATES), list(reversed(STATES)), ["side", "later", "base", "main"]])
def test_the_files_at_a_commit_do_not_depend_on_what_was_asked_before(order, timeline):
    for commit in order:
        assert dict(timeline.at("r", commit)) == STATES[commit]
    assert dict(timeline.at("other", "base")) == {"x.py": "A = 1\n"}


def test_the_author_of_a_commit_had_the_files_of_its_parent(timeline):
    assert dict(timeline.before("r", "side")) == STATES["base"]
    assert dict(timeline.before("r", "later")) == STATES["main"]
    assert dict(timeline.before("r", "base")) == {}
    assert ("r", "later") in timeline
    assert ("r", "none") not in timeline


def test_equal_versions_are_equal_texts_that_a_cache_can_keep(timeline):
    older, newer = timeline.at("r", "base"), timeline.at("r", "later")
    assert older.versions == newer.versions
    assert hash(older.versions["a.py"]) == hash(newer.versions["a.py"])
    assert older.versions["a.py"] != timeline.at("r", "main").versions["a.py"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (Change("a.py", "x", "missing", "r", blob="9", content=""), r":8 is broken \(the parent missing has no row"),
        (Change("a.py", "later", "base", "r", blob="9", content=""), r":8 is broken \(later has two parents"),
        (Change("a.py", "x", "base", "r", blob="9"), r":8 is broken \(there is no text for a.py"),
        ({"path": "a.py"}, r':8: the field "commit" of a Change is missing'),
    ],
)
def test_a_broken_row_is_named(row, reason, tmp_path):
    with pytest.raises(UserError, match=reason):
        Timeline(written(tmp_path, [*ROWS, row]))


def test_other_errors_are_one_sentence(tmp_path, timeline):
    with pytest.raises(UserError, match=r"has no commit z of r; prepare the data again"):
        timeline.before("r", "z")
    with pytest.raises(UserError, match=r"cannot read .*none.jsonl: No such file"):
        Timeline(tmp_path / "none.jsonl")
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{\n")
    with pytest.raises(UserError, match=r"broken.jsonl:1 is broken \(it is not valid JSON\)"):
        Timeline(broken)


def test_a_change_is_written_and_read_unchanged(tmp_path):
    from codefit.records import read_jsonl

    row = dataclasses.replace(ROWS[2], committed_at="2026-01-01T00:00:00+00:00", license="MIT")
    assert list(read_jsonl(written(tmp_path, [row, ROWS[4]]), Change)) == [row, ROWS[4]]
