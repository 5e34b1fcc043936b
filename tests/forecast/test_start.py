"""Where a forecast divides a history, and which repositories it refuses."""

import shutil
import subprocess

import pytest

from codefit.errors import UserError
from codefit.forecast import start
from codefit.forecast.start import Dated, divided, start_of
from tests.support.history import History


def day(number):
    return f"2026-{1 + number // 28:02}-{1 + number % 28:02}"


def repository(tmp_path, commits=40, files_each=3, suffix="py"):
    """Return a repository whose commits each change the same files."""
    history = History()
    for number in range(commits):
        files = {f"src/m{n}.{suffix}": b"x = %d\n" % number for n in range(files_each)}
        history.commit(f"c{number}", day(number), {**files, "README.md": b"%d" % number})
    return str(history.build(tmp_path / "project.git")[0])


def dated(date, count):
    """Return a commit of so many changed files."""
    return Dated(date, ("a.py",) * count)


def test_half_of_a_short_history_is_the_test(tmp_path):
    found = start_of(repository(tmp_path))
    assert found.languages == ("python",)
    assert found.since.startswith(day(20))
    assert (found.earlier, found.later, found.files) == (60, 60, 3)


def test_of_a_long_history_the_last_changes_are_the_test():
    commits = [dated(f"day {number}", 7) for number in range(1000, 0, -1)]
    since, later = divided(commits, "project")
    assert later == 406
    assert since == "day 943"  # the 58th from the end


def test_one_commit_with_everything_stays_in_the_past():
    since, later = divided([dated("day 3", 10), dated("day 2", 20), dated("day 1", 5000)], "project")
    assert (since, later) == ("day 2", 30)


@pytest.mark.parametrize(
    ("commits", "said"),
    [
        ([], "0 commits (merges aside) with 0 changed code files"),
        ([dated("day 1", 900)], "1 commit (merges aside) with 900 changed code files"),
        ([dated("day 2", 3), dated("day 1", 4)], "2 commits (merges aside) with 7 changed code files"),
    ],
)
def test_too_little_history_is_one_sentence(commits, said):
    with pytest.raises(UserError) as error:
        divided(commits, "project")
    assert f"the history of project is too short for a forecast: {said}, and it needs two and 60" in str(error.value)


def test_merges_are_no_changes(tmp_path):
    history = History().commit("first", day(0), {"a.py": b"a = 1\n"})
    for number in range(1, 80):
        history.commit(f"m{number}", day(number), {"a.py": b"a = %d\n" % number}, parents=[history.names[-1], "first"])
    with pytest.raises(UserError, match="too short for a forecast: 1 commit "):
        start_of(str(history.build(tmp_path / "merges.git")[0]))


def test_a_folder_whose_name_is_not_ascii(tmp_path):
    history = History()
    for number in range(70):
        history.commit(f"c{number}", day(number), {"größe/a.py": b"a = %d\n" % number})
    found = start_of(str(history.build(tmp_path / "letters.git")[0]), (), "größe")
    assert (found.earlier, found.later, found.files) == (35, 35, 1)


def test_a_commit_without_files_has_no_code(tmp_path):
    place = str(History().commit("only", day(0), {}).build(tmp_path / "bare.git")[0])
    with pytest.raises(UserError, match="there is no code in a known language"):
        start_of(place)


@pytest.mark.parametrize("date", [lambda number: day(0), lambda number: day(70 - number)], ids=["one", "decreasing"])
def test_dates_that_do_not_divide_a_history_are_refused(tmp_path, date):
    history = History()
    for number in range(70):
        history.commit(f"c{number}", date(number), {"a.py": b"a = %d\n" % number})
    with pytest.raises(UserError, match="cannot be divided into past and later changes: many commits have the same"):
        start_of(str(history.build(tmp_path / "imported.git")[0]))


def test_only_files_of_the_wanted_languages_and_folder_count(tmp_path):
    history = History()
    for number in range(70):
        files = {"src/a.py": b"a = %d\n" % number, "src/b.kt": b"val b = %d\n" % number, "c.py": b"c = %d\n" % number}
        history.commit(f"c{number}", day(number), files)
    place = str(history.build(tmp_path / "two.git")[0])
    assert start_of(place).earlier == 70 + 70 + 70 - 105
    assert start_of(place, ["python"], "src").earlier == 35
    assert start_of(place, ["python"], "src").files == 1
    with pytest.raises(UserError, match=r"has no folder lib; check --subfolder\."):
        start_of(place, ["python"], "lib")


def test_a_bundle_and_a_work_tree_are_read_like_a_bare_clone(tmp_path):
    place = repository(tmp_path)
    bundle = tmp_path / "project.bundle"
    subprocess.run(["git", "-C", place, "bundle", "create", "-q", str(bundle), "main"], check=True)
    subprocess.run(["git", "clone", "-q", place, str(tmp_path / "tree")], check=True)
    assert start_of(str(bundle)) == start_of(place) == start_of(str(tmp_path / "tree"))


def test_a_large_repository_names_the_part_that_changes_most(tmp_path, monkeypatch):
    monkeypatch.setattr(start, "MOST_FILES", 2)
    history = History()
    for number in range(70):
        still = {"a/x.py": b"1", "a/y.py": b"2"}
        history.commit(f"c{number}", day(number), {**still, "b/c/z.py": b"%d" % number})
    place = str(history.build(tmp_path / "large.git")[0])
    with pytest.raises(UserError, match=r"has 3 code files, and .* at most 2; .*--subfolder b/c with 1 file, the"):
        start_of(place)
    assert start_of(place, subfolder="b/c").files == 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("https://example.invalid/a/b", "is not on this machine; clone it first, with all its history"),
        ("folder", "has no git history, which a forecast learns from"),
    ],
)
def test_a_source_without_a_history_here_is_refused(source, said, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=said):
        start_of(source if ":" in source else str(tmp_path / source))


def test_a_shallow_clone_says_what_it_lacks(tmp_path):
    place = repository(tmp_path)
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{place}", str(shallow)], check=True)
    with pytest.raises(UserError, match="if this is a shallow clone"):
        start_of(str(shallow))
    shutil.rmtree(shallow)
