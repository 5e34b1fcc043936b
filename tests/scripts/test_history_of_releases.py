"""Releases become a git repository: in the order of their versions, dated, and read without running anything."""

import io
import sys
import tarfile
import zipfile

import pytest

import parse_data
from codefit.dates import moment
from codefit.errors import UserError
from codefit.records import Change, Document, read_jsonl
from runs import history_of_releases
from tests.support.sources import git

TEXT = "def read(path):\n    return open(path).read()\n"


def sdist(folder, version, date, files):
    path = folder / f"my_project-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(f"my_project-{version}/{name}")
            info.size, info.mtime = len(content), moment(date).timestamp()
            file.addfile(info, io.BytesIO(content.encode()))
    return path


def wheel(folder, version, date, files):
    path = folder / f"my_project-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(zipfile.ZipInfo(name, moment(date).timetuple()[:6]), content)
    return path


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["history_of_releases", *map(str, words)])
    history_of_releases.main()


@pytest.fixture
def releases(tmp_path):
    files = {"project/a.py": TEXT, "setup.py": "raise SystemExit('this was run')\n", 'b c"\\.py': TEXT}
    return [
        sdist(tmp_path, "1.10", "2026-03-01", {**files, "project/new.py": TEXT + "NEW = 1\n", ".git/config": "x"}),
        sdist(tmp_path, "1.2", "2025-03-01", {**files, "gone.py": TEXT + "GONE = 1\n"}),
        wheel(tmp_path, "1.9", "2025-06-01", {"project/a.py": TEXT + "A = 1\n", "x.dist-info/METADATA": "x"}),
    ]


def test_releases_become_commits(releases, tmp_path, monkeypatch, capsys):
    output = tmp_path / "project.git"
    run(monkeypatch, *releases, "--output", output)
    log = git(output, "log", "--reverse", "--format=%s %cs").splitlines()
    assert log == ["my-project 1.2 2025-03-01", "my-project 1.9 2025-06-01", "my-project 1.10 2026-03-01"]
    assert git(output, "show", "HEAD:project/new.py") == (TEXT + "NEW = 1\n").strip()
    listed = git(output, "ls-tree", "-r", "-z", "--name-only", "HEAD").strip("\0").split("\0")
    assert listed == ['b c"\\.py', "project/a.py", "project/new.py", "setup.py"]
    assert "1.10 of 2026-03-01: 4 files" in capsys.readouterr().out
    run(monkeypatch, *reversed(releases), "--output", tmp_path / "again.git")
    assert git(output, "rev-parse", "HEAD") == git(tmp_path / "again.git", "rev-parse", "HEAD")
    words = [
        "--repository",
        output,
        "--language",
        "python",
        "--history",
        "2026-01-01",
        "--output",
        tmp_path / "d.jsonl",
    ]
    parse_data.main([*map(str, words)])
    assert [document.path for document in read_jsonl(tmp_path / "d.jsonl", Document)] == ["project/a.py"]
    changes = read_jsonl(tmp_path / "d.jsonl.history.jsonl", Change)
    assert "project/new.py" in {change.path for change in changes if not change.left_out}


def test_a_date_can_be_given(tmp_path, monkeypatch):
    same = [sdist(tmp_path, version, "2020-02-02", {"a.py": TEXT}) for version in ("2.0", "2.1")]
    with pytest.raises(
        UserError, match=r"2.1.tar.gz is of 2020-02-02 and not after 2.0 of 2020-02-02; say when it was "
    ):
        run(monkeypatch, *same, "--output", tmp_path / "x.git")
    run(monkeypatch, *same, "--date", "2.0=2024-01-01", "2.1=2024-05-01", "--output", tmp_path / "x.git")
    assert git(tmp_path / "x.git", "log", "--format=%cs").splitlines() == ["2024-05-01", "2024-01-01"]


def test_what_is_no_list_of_releases_is_one_sentence(releases, tmp_path, monkeypatch):
    other = tmp_path / "other-1.0.tar.gz"
    other.write_bytes(releases[0].read_bytes())
    notes = tmp_path / "notes.txt"
    notes.write_text("x")
    broken = tmp_path / "my_project-9.tar.gz"
    broken.write_bytes(b"x")
    twice = wheel(tmp_path, "1.2", "2025-03-02", {"a.py": TEXT})
    for words, sentence in [
        ([*releases, other], "the archives are of my-project and other; give those of one project"),
        ([notes], "notes.txt has not the name of an sdist or a wheel"),
        ([tmp_path / "my_project-8.tar.gz"], "my_project-8.tar.gz does not exist; check the path"),
        ([broken], "my_project-9.tar.gz is damaged or not an archive"),
        ([*releases, twice], "have the same version; give one of them"),
        ([*releases, "--date", "7=2025-01-01"], "--date names 7, and no archive has this version"),
    ]:
        with pytest.raises(UserError, match=sentence):
            run(monkeypatch, *words, "--output", tmp_path / "x.git")
        assert not (tmp_path / "x.git").exists()
    with pytest.raises(UserError, match="was not written by codefit"):
        run(monkeypatch, *releases, "--output", tmp_path)
