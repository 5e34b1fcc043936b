"""What later commits changed: the files that each author had, and a reason for all that is left out."""

import collections
import json
import random
import subprocess
import time

import pytest

import parse_data
from codefit.code.languages import LANGUAGES
from codefit.code.tokens import only_layout
from codefit.errors import UserError
from codefit.records import STATE, Change, Document, read_jsonl, write_jsonl
from codefit.sources.timeline import Timeline
from tests.support.history import History
from tests.support.sources import git, write

SINCE = "2026-01-01"
READER = b'"""Reads."""\n\n\ndef read_lines(path):\n    with open(path) as file:\n        return file.readlines()\n'
WRITER = b'"""Writes."""\n\n\ndef write_lines(path, lines):\n    open(path, "w").writelines(lines)\n'
NEW = READER.replace(b"    with", b"    check(path)\n    with")


def history():
    """Return a history with a branch from before the date, a merge, and each kind of change."""
    made = History()
    made.commit("first", "2025-11-01", {"reader.py": READER, "old.py": WRITER, "copy.py": READER, "notes.md": b"a\n"})
    made.commit("base", "2025-12-31T23:59:59", {"writer.py": b"LINES = 1\n" + WRITER})
    made.commit("early", "2025-12-20", {"early.py": b"EARLY = 1\n"}, parents=["first"])
    made.commit("side", "2026-01-02", {"side.py": b"from reader import read_lines\n"})
    made.commit("added", "2026-01-01", {"reader.py": NEW}, parents=["base"])
    made.commit("text", "2026-01-03", {"notes.md": b"b\n"})
    made.commit("merge", "2026-01-04", {"side.py": b"from reader import read_lines\n"}, parents=["text", "side"])
    made.commit("layout", "2026-01-05", {"writer.py": b"LINES = 1\n" + WRITER.replace(b'"w"', b"'w',\n    ")})
    made.commit("moved", "2026-01-06", {"old.py": None, "new.py": WRITER})
    made.commit("revert", "2026-01-07", {"reader.py": READER})
    made.commit("said", "2026-01-08", {"reader.py": READER + b"X = 1\n"}, 'Revert "something"\n\nThis is better.')
    made.commit("less", "2026-01-09", {"new.py": WRITER.rpartition(b"    open")[0]})
    made.commit("gone", "2026-01-10", {"new.py": None, "link.py": (b"120000", b"reader.py")})
    made.commit("binary", "2026-01-11", {"copy.py": b"A\0"})
    made.commit("last", "2026-01-12", {"last.py": b"from writer import LINES\n"})
    return made


@pytest.fixture
def repository(tmp_path):
    return history().build(tmp_path / "repository.git")


def parse(source, output, *words, since=SINCE):
    words = ["--repository", source, "--language", "python", "--history", since, "--output", output, *words]
    parse_data.main([*map(str, words)])
    return list(read_jsonl(output, Document)), list(
        read_jsonl(output.with_name(f"{output.name}.history.jsonl"), Change)
    )


def states(documents, changes, folder):
    """Return the timeline of documents and changes."""
    base = [Change(d.path, d.commit, "", d.repository, blob=d.blob, content=d.content) for d in documents]
    write_jsonl(folder / "timeline.jsonl", [*base, *changes])
    return Timeline(folder / "timeline.jsonl")


def in_git(folder, commit):
    """Return the Python files of a commit that are text."""
    found = {}
    for line in git(folder, "ls-tree", "-r", commit).splitlines():
        (mode, _, blob), path = line.split("\t")[0].split(), line.split("\t")[1]
        content = subprocess.run(
            ["git", "-C", folder, "cat-file", "blob", blob], capture_output=True, check=True
        ).stdout
        if path.endswith(".py") and mode != "120000" and b"\0" not in content:
            found[path] = content.decode()
    return found


def test_the_documents_are_those_of_the_last_commit_before_the_date(repository, tmp_path):
    documents, _ = parse(repository[0], tmp_path / "d.jsonl")
    assert {document.commit for document in documents} == {repository[1]["base"]}
    assert [document.path for document in documents] == ["copy.py", "old.py", "writer.py"]  # reader.py is a copy


def test_every_author_had_the_files_that_git_has(repository, tmp_path):
    folder, ids = repository
    timeline = states(*parse(folder, tmp_path / "d.jsonl"), tmp_path)
    recorded = [commit for commit in ids.values() if ("repository", commit) in timeline]
    assert len(recorded) == len(ids) - 1  # "text" changed no code
    for commit in recorded:
        assert dict(timeline.at("repository", commit)) == in_git(folder, commit)
        if commit != ids["base"] and commit != ids["first"]:
            parent = git(folder, "rev-parse", f"{commit}^")
            assert dict(timeline.before("repository", commit)) == in_git(folder, parent)


def test_what_is_left_out_has_a_reason(repository, tmp_path):
    folder, ids = repository
    _, changes = parse(folder, tmp_path / "d.jsonl")
    names = {commit: name for name, commit in ids.items()}
    assert sorted((names[it.commit], it.path, it.left_out) for it in changes) == sorted(EXPECTED)
    manifest = json.loads((tmp_path / "d.jsonl.manifest.json").read_text())
    assert manifest["changes"] == 3
    counted = collections.Counter(it.left_out for it in changes if it.left_out not in {"", STATE})
    assert manifest["changes_left_out"] == dict(counted)


EXPECTED = [
    ("base", "reader.py", STATE),
    ("first", "writer.py", STATE),
    ("early", "early.py", "before the date"),
    ("side", "side.py", ""),
    ("added", "reader.py", ""),
    ("merge", "side.py", "merge"),
    ("layout", "writer.py", "formatting"),
    ("moved", "old.py", STATE),
    ("moved", "new.py", "rename"),
    ("revert", "reader.py", "revert"),
    ("said", "reader.py", "revert"),
    ("less", "new.py", "nothing added"),
    ("gone", "new.py", "removed"),
    ("binary", "copy.py", "binary"),
    ("last", "last.py", ""),
]


def test_a_change_says_what_it_is(repository, tmp_path):
    folder, ids = repository
    _, changes = parse(folder, tmp_path / "d.jsonl")
    (added,) = [it for it in changes if it.commit == ids["added"]]
    assert added == Change(
        path="reader.py",
        commit=ids["added"],
        parent=ids["base"],
        repository="repository",
        committed_at="2026-01-01T00:00:00+00:00",
        language="python",
        blob=git(folder, "rev-parse", f"{ids['added']}:reader.py"),
        previous=git(folder, "rev-parse", f"{ids['base']}:reader.py"),
        content=NEW.decode(),
    )


@pytest.mark.parametrize("kind", ["work tree", "bundle", "url"])
def test_every_kind_of_git_source_gives_the_same_bytes(kind, repository, tmp_path):
    folder, _ = repository
    parse(folder, tmp_path / "bare.jsonl")
    other = tmp_path / "elsewhere" / "repository"
    if kind == "bundle":
        other = tmp_path / "repository.bundle"
        git(folder, "bundle", "create", "-q", str(other), "main")
    elif kind == "url":
        other = f"file://{folder}"
    else:
        git(tmp_path, "clone", "-q", str(folder), str(other))
    parse(other, tmp_path / "other.jsonl")
    for suffix in ("", ".history.jsonl"):
        assert (tmp_path / f"other.jsonl{suffix}").read_bytes() == (tmp_path / f"bare.jsonl{suffix}").read_bytes()


def only(*commits):
    made = History()
    for name, date, files, *parents in commits:
        made.commit(name, date, files, parents=parents or None)
    return made


A, B = {"a.py": READER}, {"b.py": WRITER}


@pytest.mark.parametrize(
    ("made", "since", "sentence"),
    [
        (
            only(("a", "2026-02-01", A)),
            SINCE,
            r"no commit before 2026-01-01 \(its first one is of 2026-02-01\); ch",
        ),
        (only(("a", "2025-02-01", A)), SINCE, r"no commit since 2026-01-01 \(its last one is of 2025-02-01\); choose"),
        (history(), "1960-01-01", r"has no commit before 1960-01-01"),
        (history(), "2026-01-13", r"has no commit since 2026-01-13 \(its last one is of 2026-01-12\)"),
        (
            only(("a", "2025-01-01", A), ("b", "2025-02-01", B), ("c", "2025-02-01", {}, "a")).commit(
                "d", "2026-02-01", B, parents=["c", "b"]
            ),
            SINCE,
            r"no change since 2026-01-01 can be asked about \(files left out: 1 before the date, 1 merge\); choose",
        ),
        (
            only(("a", "2025-01-01", A), ("b", "2026-02-01", {"x.md": b"x"})),
            SINCE,
            r"no change since 2026-01-01 can be asked about \(files left out: there are none\)",
        ),
    ],
)
def test_a_history_without_an_answer_is_one_sentence(made, since, sentence, tmp_path):
    folder, _ = made.build(tmp_path / "r.git")
    with pytest.raises(UserError, match=sentence):
        parse(folder, tmp_path / "d.jsonl", since=since)
    assert [path.name for path in tmp_path.iterdir() if "d.jsonl" in path.name] == []


def handmade(folder, like, parents, date):
    """Add a commit with the files of another one and a date that git itself would not write; return its id."""
    tree = git(folder, "rev-parse", f"{like}^{{tree}}").strip()
    people = [f"{role} n <n@n>{date}" for role in ("author", "committer")]
    text = folder / "handmade"
    text.write_text("\n".join([f"tree {tree}", *(f"parent {name}" for name in parents), *people, "", "text", ""]))
    return git(folder, "hash-object", "-t", "commit", "-w", "--literally", str(text)).strip()


@pytest.mark.parametrize("parents", [["other"], ["other", "base"]])
def test_a_commit_without_a_date_on_a_branch(parents, tmp_path):
    made = only(("base", "2025-01-01", A), ("later", "2026-02-01", {"a.py": NEW}))
    folder, ids = made.commit("other", "2025-02-01", B, parents=["base"]).build(tmp_path / "r.git")
    undated = handmade(folder, ids["other"], [ids[name] for name in parents], "")
    both = handmade(folder, ids["later"], [ids["later"], undated], " 1772323200 +0000")
    git(folder, "update-ref", git(folder, "symbolic-ref", "HEAD").strip(), both)
    _, changes = parse(folder, tmp_path / "d.jsonl")
    assert [it.path for it in changes if not it.left_out] == ["a.py"]
    assert undated not in {it.commit for it in changes if not it.left_out}


def test_seven_files_are_enough(tmp_path):
    made = only(("a", "2025-01-01", {f"{n}.py": READER + b"N = %d\n" % n for n in range(7)}), ("b", "2026-02-01", B))
    documents, changes = parse(made.build(tmp_path / "r.git")[0], tmp_path / "d.jsonl")
    assert len(documents) == 7
    assert [it.path for it in changes if not it.left_out] == ["b.py"]


def test_shallow_clones(repository, tmp_path):
    folder, ids = repository
    shallow = tmp_path / "shallow.git"
    git(tmp_path, "clone", "-q", "--bare", "--depth=4", f"file://{folder}", str(shallow))
    sentence = r"is a shallow clone that begins on 2026-01-09, not before 2026-01-01; complete it with git fetch"
    with pytest.raises(UserError, match=sentence):
        parse(shallow, tmp_path / "d.jsonl")
    assert len(parse(shallow, tmp_path / "d.jsonl", since="2026-01-10")[1]) == 3
    # the main line reaches back far enough, and a branch does not
    graft = tmp_path / "graft.git"
    git(tmp_path, "clone", "-q", "--bare", str(folder), str(graft))
    (graft / "shallow").write_text(f"{ids['side']}\n{ids['first']}\n")
    documents, changes = parse(graft, tmp_path / "g.jsonl")
    timeline = states(documents, changes, tmp_path)
    assert [it.left_out for it in changes if it.commit == ids["side"]] == ["no parent"] * 3
    assert dict(timeline.at("graft", ids["side"])) == in_git(folder, ids["side"])
    assert dict(timeline.at("graft", ids["last"])) == in_git(folder, ids["last"])


def test_partial_clones_archives_and_other_flags_are_refused(repository, tmp_path, capsys):
    folder, _ = repository
    git(folder, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--bare", "--filter=blob:none", f"file://{folder}", str(tmp_path / "partial.git"))
    with pytest.raises(UserError, match=r"is a partial clone, which lacks the texts of earlier commits; clone it with"):
        parse(tmp_path / "partial.git", tmp_path / "d.jsonl")
    with pytest.raises(UserError, match=r"has no git history, so --history cannot be used; give a git repository, or"):
        parse(write(tmp_path / "folder", A), tmp_path / "d.jsonl")
    for words, sentence in [
        (["--uncommitted"], "--history reads files of commits"),
        (["--history", "3 months ago"], "'3 months ago' is not a date such as 2020-01-31"),
    ]:
        with pytest.raises(SystemExit):
            parse(folder, tmp_path / "d.jsonl", *words)
        assert sentence in capsys.readouterr().err


def test_a_file_of_the_user_with_the_name_of_a_history_stays(repository, tmp_path):
    folder, _ = repository
    output, own = tmp_path / "d.jsonl", tmp_path / "d.jsonl.history.jsonl"
    words = ["--repository", str(folder), "--language", "python", "--output", str(output)]
    own.write_text("mine")
    parse_data.main(words)
    parse_data.main([*words, "--overwrite", "--min_bytes", "2"])
    output.unlink()
    parse_data.main(words)
    assert own.read_text() == "mine"
    output.unlink()
    with pytest.raises(UserError, match=r"d.jsonl.history.jsonl already exists"):
        parse(folder, output)
    assert own.read_text() == "mine"


def test_a_history_that_is_not_asked_for_again_does_not_stay(repository, tmp_path):
    folder, _ = repository
    output = tmp_path / "d.jsonl"
    parse(folder, output)
    before = output.read_bytes(), (tmp_path / "d.jsonl.history.jsonl").read_bytes()
    parse(folder, output)  # there is nothing to do
    parse(folder, output, "--overwrite")
    assert (output.read_bytes(), (tmp_path / "d.jsonl.history.jsonl").read_bytes()) == before
    parse_data.main(["--repository", str(folder), "--language", "python", "--output", str(output), "--overwrite"])
    assert not (tmp_path / "d.jsonl.history.jsonl").exists()
    assert {document.path for document in read_jsonl(output, Document)} >= {"last.py"}


@pytest.mark.slow
def test_ten_thousand_commits_take_less_than_a_minute(tmp_path):
    chance = random.Random(0)
    files = {f"src/p{n % 40}/m{n}.py": [function(chance) for _ in range(60)] for n in range(1000)}
    made = only(("base", "2025-01-01", {path: b"".join(texts) for path, texts in files.items()}))
    for number in range(10_000):
        paths = chance.sample(sorted(files), 3)
        for path in paths:
            files[path][chance.randrange(60)] = function(chance)
        date = f"2026-{1 + number // 900:02}-{1 + number // 36 % 25:02}T{number % 24:02}:00:00"
        made.commit(f"c{number}", date, {path: b"".join(files[path]) for path in paths})
    folder, _ = made.build(tmp_path / "r.git")
    began = time.monotonic()
    parse_data.main(
        ["--repository", str(folder), "--language", "python", "--history", SINCE, "--output", f"{folder}.jsonl"]
    )
    assert time.monotonic() - began < 60
    assert json.loads((tmp_path / "r.git.jsonl.manifest.json").read_text())["changes"] > 29_000


def function(chance):
    """Return a function of about a hundred characters."""
    name, value, other = (chance.randrange(10**6) for _ in range(3))
    return b"def function_%d(value):\n    return value + %d * other_%d(value)\n\n\n" % (name, value, other)


@pytest.mark.parametrize(
    ("language", "one", "other", "same"),
    [
        ("python", "f(a, b)\n", "f(\n    a,\n    b,\n)\n", True),
        ("python", "x = 'a'  #  note\n", 'x = "a"  # note\n', True),
        ("python", "x = a + \\\n    b\n", "x = a + b\n", True),
        ("python", "x = 'a\"'\n", 'x = "a\'"\n', False),
        ("python", "x = [1, 2]\n", "x = [12]\n", False),
        ("python", "x = 'a b'\n", "x = 'a  b'\n", False),
        ("python", "ab = 1\n", "a b = 1\n", False),
        ("java", "char a = 'a';\n", 'char a = "a";\n', False),
        ("go", "f(a)\n", "f(b)\n", False),
    ],
)
def test_layout_is_told_from_code(language, one, other, same):
    assert only_layout(one.encode(), other.encode(), LANGUAGES[language]) is same
