"""Test pairs of later commits: what the author had, and nothing that came later, is in prompt and context."""

import collections
import dataclasses
import json
import re

import pytest

import parse_data
from codefit.curation.later_changes import definitions
from codefit.curation.leaks import verify
from codefit.errors import UserError
from codefit.records import PLACES, Change, Document, Pair, read_jsonl, write_jsonl
from codefit.sources.timeline import Timeline
from codefit.tasks.additions import Addition, added_lines, place_of
from codefit.tasks.repository_context import own_prompt, pieces
from tests.support.history import History

WORDS = ["tree", "table", "index", "chart", "frame", "stream", "packet", "cursor", "ledger", "garden"]


def module(number, *extra):
    """Return a module with functions of its own, and further lines at its end."""
    lines = [
        f'"""Reads the {WORDS[number % 10]} of number {number}."""',
        "",
        "import os",
        "from pathlib import Path",
        "",
    ]
    for word in WORDS[:5]:
        lines += [
            "",
            f"def {word}_{number}(path, limit={number}):",
            f"    found = [line for line in Path(path).read_text().splitlines() if '{word}{number}' in line]",
            f"    return found[: limit + {number}] or os.environ.get('{word.upper()}_{number}')",
            "",
        ]
    return "\n".join([*lines, *extra, ""]).encode()


def planted(number):
    """Return a function that a commit plants, with a name that occurs nowhere else."""
    return ["", f"def planted_{number}(path):", f"    return tree_1(path, {number}) or planted_{number}", ""]


NEW = ["from sys import argv", *planted(4), "def unchanged(argument):", "    return argument.strip().lower()"]


def history():
    """Return a history in which each commit plants an identifier, on two branches, in two files at once."""
    made = History()
    base = {f"package/m{number}.py": module(number) for number in range(8)}
    made.commit("base", "2025-06-01", {**base, "LICENSE": b"MIT License\n", "vendor/x.py": module(99)})
    made.commit(
        "one", "2026-01-02", {"package/m1.py": module(1, *planted(1)), "package/m2.py": module(2, *planted(11))}
    )
    made.commit("side", "2026-01-03", {"package/m3.py": module(3, *planted(2))}, parents=["base"])
    made.commit("merge", "2026-01-04", {"package/m3.py": module(3, *planted(2))}, parents=["one", "side"])
    made.commit("new", "2026-01-05", {"package/new.py": module(50, *planted(3))})
    made.commit("more", "2026-01-06", {"package/m4.py": module(4, *NEW)})
    inside = module(5).replace(b"    return found[", b"    assert found, planted_5\n    return found[")
    made.commit("inside", "2026-01-07", {"package/m5.py": inside})
    made.commit("vendored", "2026-01-08", {"vendor/x.py": module(99, *planted(6))})
    made.commit("secret", "2026-01-09", {"package/m6.py": module(6, 'MAIL = "someone@company.org"', *planted(7))})
    return made


def order():
    """Return the planted numbers by the name of the commit."""
    return {"one": {1, 11}, "side": {2}, "new": {3}, "more": {4}, "inside": {5}, "vendored": {6}, "secret": {7}}


# The commits that an author of each commit could know.
KNOWN = {
    "one": set(),
    "side": set(),
    "new": {"one", "side"},
    "more": {"one", "side", "new"},
    "inside": {"one", "side", "new", "more"},
    "secret": {"one", "side", "new", "more", "inside"},
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("history")
    repository, ids = history().build(folder / "project.git")
    words = [
        "--repository",
        repository,
        "--language",
        "python",
        "--history",
        "2026-01-01",
        "--output",
        folder / "d.jsonl",
    ]
    parse_data.main([*map(str, words)])
    return folder / "d.jsonl", {commit: name for name, commit in ids.items()}


@pytest.fixture(scope="module")
def prepared(raw, vocabulary, tmp_path_factory):
    import preprocess_data

    folder = tmp_path_factory.mktemp("prepared") / "pairs"
    words = ["--input", raw[0], "--output", folder, "--model_name_or_path", vocabulary, "--window_step", "16"]
    words += ["--max_prompt_tokens", "5600", "--repository_context", "5000"]
    preprocess_data.main([*map(str, words)])
    return folder


def pairs_of(folder):
    files = [path for name in ("test", "test_overlap") if (path := folder / f"{name}.jsonl").is_file()]
    return [pair for file in files for pair in read_jsonl(file, Pair)]


def numbers(text):
    return {int(number) for number in re.findall(r"planted_(\d+)", text)}


def test_no_later_identifier_is_in_a_prompt_or_context(raw, prepared):
    names = raw[1]
    asked = collections.Counter()
    for pair in pairs_of(prepared):
        name = names[pair.commit]
        known = {number for commit in KNOWN[name] for number in order()[commit]}
        context = "".join(text for _, _, text in pieces(pair))
        assert numbers(context) <= known
        # the file itself is as at the commit, but only up to the cursor
        assert numbers(own_prompt(pair)) <= known | order()[name]
        assert not (len(order()[name]) > 1 and numbers(own_prompt(pair)) >= order()[name]), "of another file"
        asked[name] += bool(numbers(pair.completion) & order()[name])
        asked["context"] += bool(numbers(context))
    assert set(asked) >= {*KNOWN, "context"}, "each commit is asked about, and contexts hold earlier commits"
    assert min(asked[name] for name in KNOWN) > 0
    assert asked["context"] > 0


def test_completions_are_what_the_commit_added(raw, prepared):
    timeline = Timeline(prepared / "history.jsonl")
    for pair in pairs_of(prepared):
        now = timeline.at("project", pair.commit)[pair.path]
        text = own_prompt(pair) + pair.completion
        assert text in now
        before = timeline.before("project", pair.commit).get(pair.path, "")
        assert text not in before
        assert pair.id.startswith(f"project//{pair.path}@{pair.commit[:12]}:")


def test_training_holds_only_the_past(prepared):
    for split in ("train", "validation"):
        rows = list(read_jsonl(prepared / f"{split}.jsonl", Pair))
        assert rows
        assert not any(numbers(pair.prompt + pair.completion) for pair in rows)
        assert {pair.commit for pair in rows} == {pair.place for pair in rows} == {None}


def test_kinds_of_places(raw, prepared):
    kinds = collections.defaultdict(set)
    for pair in pairs_of(prepared):
        kinds[raw[1][pair.commit]].add(pair.place)
    assert kinds["new"] == {"new file"}
    assert "changed function" in kinds["inside"]
    assert {"import", "call of an own API"} <= kinds["more"]
    assert set.union(*kinds.values()) <= set(PLACES)


def test_what_curation_rejects_is_counted_and_secrets_are_redacted(prepared):
    manifest = json.loads((prepared / "manifest.json").read_text())
    assert manifest["history_changes"] == 7
    assert manifest["history_left_out"] == {"merge": 1, "vendored or minified path": 1}
    assert manifest["splits"]["test"]["documents"] == 7
    text = (prepared / "history.jsonl").read_text()
    assert "someone@company.org" not in text
    assert "<EMAIL>" in text
    assert "planted_6" not in text


def test_the_same_bytes_from_each_run_and_number_of_processes(raw, prepared, vocabulary, tmp_path):
    import preprocess_data

    words = [
        "--input",
        raw[0],
        "--output",
        tmp_path / "again",
        "--model_name_or_path",
        vocabulary,
        "--window_step",
        "16",
    ]
    words += ["--max_prompt_tokens", "5600", "--repository_context", "5000", "--num_workers", "1", "--describe"]
    preprocess_data.main([*map(str, words)])
    for name in ("train.jsonl", "test.jsonl", "history.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (prepared / name).read_bytes()


def test_verify_finds_what_was_planted(prepared, tmp_path):
    assert re.search(r"no leak: \d+ train files against \d+ held-out files and \d+ pairs of later", verify(prepared))
    test, rows = prepared / "test.jsonl", (prepared / "history.jsonl").read_text()
    kept = test.read_text()
    pairs = list(read_jsonl(test, Pair))
    last, first = max(pairs, key=lambda pair: numbers(pair.completion) == {7}), pairs[0]
    later = dataclasses.replace(first, prompt=last.prompt, context=last.context, path=last.path)
    unchanged = dataclasses.replace(first, prompt="import os\n", completion="from pathlib import Path", context=None)
    nowhere = dataclasses.replace(first, commit="0" * 40)
    for pair, sentence in [
        (later, r"test pairs that (have a context that was not there|are not what their commit added)"),
        (unchanged, "test pairs that are not what their commit added: 1 "),
        (nowhere, "test pairs that are of no commit of the history: 1 "),
    ]:
        try:
            write_jsonl(test, [pair, *pairs[1:]])
            with pytest.raises(UserError, match=sentence):
                verify(prepared)
        finally:
            test.write_text(kept)
    try:
        (prepared / "history.jsonl").write_text(rows.replace("planted_1(", "planted_9("))
        with pytest.raises(UserError, match=r"history.jsonl is not the history of the input"):
            verify(prepared)
    finally:
        (prepared / "history.jsonl").write_text(rows)


def test_a_dry_run_says_where_the_test_pairs_come_from(raw, prepare, capsys):
    prepare(raw[0], "--dry_run")
    assert re.search(r"d.jsonl.history.jsonl: 0.0 MB of later changes, for the test pairs", capsys.readouterr().out)


def test_flags_that_do_not_suit_a_history(raw, prepare, tmp_path):
    with pytest.raises(UserError, match=r"gives test pairs of the task completion only; use --task completion"):
        prepare(raw[0], "--task", "infill")
    with pytest.raises(UserError, match=r"gives the test pairs, so --split_by time has nothing to split"):
        prepare(raw[0], "--split_by", "time")
    for suffix in ("", ".manifest.json"):
        (tmp_path / f"d.jsonl{suffix}").write_bytes(raw[0].with_name(raw[0].name + suffix).read_bytes())
    with pytest.raises(UserError, match=r"d.jsonl.history.jsonl is missing; run parse_data.py again, or put"):
        prepare(tmp_path / "d.jsonl")
    changes = read_jsonl(raw[0].with_name("d.jsonl.history.jsonl"), Change)
    rows = [dataclasses.replace(row, left_out=row.left_out or "merge") for row in changes]
    write_jsonl(tmp_path / "d.jsonl.history.jsonl", rows)
    with pytest.raises(UserError, match=r"later commits gave no test pair \(9 merge\); choose an earlier date"):
        prepare(tmp_path / "d.jsonl")


@pytest.mark.parametrize(
    ("before", "after", "added"),
    [
        ("a\nb\n", "a\nx\nb\n", ["x\n"]),
        ("a\nb\n", "a\n    b\n", []),
        ("", "a\nb", ["a\nb"]),
        ("a\nb\nc\n", "x\na\ny\nz\nc\n", ["x\n", "y\nz\n"]),
        ("a\n", "a\n\n\n", []),
        ("a\nb\n", "a\n", []),
        ("a\nb", "a\nb\nc", ["c"]),
    ],
)
def test_added_lines(before, after, added):
    assert [after[start:end] for start, end in added_lines(before, after)] == added


@pytest.mark.parametrize(
    ("text", "at", "kind"),
    [
        ("import os\nx = 1\n", "os", "import"),
        ("x = 1\ny = read_all(x)\n", "y =", "call of an own API"),
        ("x = 1\ny = read_all(x)\n", "all(x)", "call of an own API"),
        ("x = 1\ny = read_some(x)\n", "y =", "other code"),
        ("def read_all(x):\n    return x\n", "def", "other code"),
        ("def old(x):\n    y = 1\n    return x\n", "y =", "changed function"),
    ],
)
def test_the_kind_of_a_place(text, at, kind):
    cut = text.index(at)
    line = text.rindex("\n", 0, cut) + 1 if "\n" in text[:cut] else 0
    span = (line, text.index("\n", cut) + 1)
    addition = Addition(Document(text, "a.py", language="python"), (span,), own=frozenset({"read_all", "os"}))
    assert place_of(addition, cut, span[1]) == kind


def test_definitions_in_several_languages():
    text = """
def one(x): pass
class Two: pass
suspend fun three() {}
func (s *Server) four() {}
    public static List<String> five(int x) throws E {
    if (x) { while (y) { return six(x); } }
    } else if (x) {
pub fn seven() {}
"""
    assert definitions(text) == {"one", "Two", "three", "four", "five", "seven"}


def test_a_repository_without_a_kept_file_at_the_date(vocabulary, tmp_path):
    """Its later files were written by authors who had none."""
    import preprocess_data

    kept = History().commit("a0", "2025-01-01", {f"{n}.py": module(n) for n in range(4)})
    kept.commit("a1", "2026-02-01", {"4.py": module(4)}).build(tmp_path / "kept.git")
    empty = History().commit("b0", "2025-01-01", {"README.md": b"later\n"})
    empty.commit("b1", "2026-02-01", {"5.py": module(5)}).commit("b2", "2026-03-01", {"6.py": module(6)})
    empty.build(tmp_path / "empty.git")
    raw, folder = tmp_path / "raw.jsonl", tmp_path / "pairs"
    words = ["--repository", tmp_path / "kept.git", tmp_path / "empty.git", "--language", "python"]
    parse_data.main([*map(str, [*words, "--history", "2026-01-01", "--output", raw])])
    preprocess_data.main([*map(str, ["--input", raw, "--output", folder, "--model_name_or_path", vocabulary])])
    assert {(pair.repository, pair.path) for pair in pairs_of(folder)} == {
        ("kept", "4.py"),
        ("empty", "5.py"),
        ("empty", "6.py"),
    }
    timeline = Timeline(folder / "history.jsonl")
    later = {
        pair.path: timeline.before("empty", pair.commit) for pair in pairs_of(folder) if pair.repository == "empty"
    }
    assert {path: sorted(files) for path, files in later.items()} == {"5.py": [], "6.py": ["5.py"]}
    assert verify(folder).startswith("no leak")
