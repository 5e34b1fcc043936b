"""Which files of a local source are read: committed or not, installed packages, a subfolder; and the default output."""

import os
import tarfile

import pytest

import parse_data
from codefit.console import counted
from codefit.errors import UserError
from tests.support.sources import git, parse, write

FILES = {"a.py": b"a = 1\n", "src/b.py": b"b = 1\n", "src/c.kt": b"val c = 1\n", ".gitignore": b"out/\n"}


@pytest.fixture
def repository(tmp_path):
    folder = write(tmp_path / "project", FILES)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def paths(tmp_path, *words):
    documents = parse(tmp_path / "out.jsonl", *words, "--language", "python", "--overwrite")
    return {document.path: document.content for document in documents}


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda folder: write(folder, {"new.py": b"new = 1\n", "out/x.py": b"x = 1\n", "new.kt": b"val n = 1\n"}), 1),
        (lambda folder: write(folder, {"a.py": b"a = 2\n"}), 1),
        (lambda folder: (write(folder, {"a.py": b"a = 2\n", "n.py": b"n\n"}), git(folder, "add", "-A")), 2),
        (lambda folder: os.utime(folder / "a.py", (0, 0)), 0),
        (lambda folder: (folder / "a.py").unlink(), 0),
        (lambda folder: (folder / ".git" / "index").write_bytes(b"damaged"), 0),
    ],
)
def test_files_that_are_not_committed_are_mentioned(repository, tmp_path, capsys, change, count):
    change(repository)
    assert paths(tmp_path, repository) == {"a.py": "a = 1\n", "src/b.py": "b = 1\n"}
    told = [line for line in capsys.readouterr().out.splitlines() if "uncommitted" in line]
    sentence = (
        f"project has {counted(count, 'file')} with uncommitted changes; the last commit was read, and --uncommitted "
        "reads the files as they are"
    )
    assert told == [sentence] * (count > 0)


def test_the_work_tree_is_read_without_ignored_files(repository, tmp_path):
    write(repository, {"a.py": b"a = 2\n", "new.py": b"new = 1\n", "out/x.py": b"x = 1\n"})
    found = {"a.py": "a = 2\n", "new.py": "new = 1\n", "src/b.py": "b = 1\n"}
    assert paths(tmp_path, repository, "--uncommitted") == found
    assert paths(tmp_path, repository, "--revision", "main")["a.py"] == "a = 1\n"


def test_no_filter_of_the_repository_runs(repository, tmp_path):
    write(repository, {".gitattributes": b"*.py filter=x\n", "a.py": b"a = 2\n"})
    git(repository, "config", "filter.x.clean", f"touch {tmp_path / 'ran'}; cat")
    git(repository, "config", "core.fsmonitor", f"touch {tmp_path / 'ran'}")
    (tmp_path / "ran").unlink(missing_ok=True)
    paths(tmp_path, repository)
    paths(tmp_path, repository, "--uncommitted")
    assert not (tmp_path / "ran").exists()


def test_a_bare_repository_has_no_work_tree(repository, tmp_path):
    git(tmp_path, "clone", "-q", "--bare", str(repository), "bare.git")
    with pytest.raises(UserError, match=r"bare.git has no work tree, so --uncommitted cannot be used; omit it"):
        paths(tmp_path, tmp_path / "bare.git", "--uncommitted")


def test_uncommitted_and_revision_exclude_each_other(repository, capsys):
    with pytest.raises(SystemExit) as caught:
        parse_data.main(["--repository", str(repository), "--uncommitted", "--revision", "main"])
    assert caught.value.code == 2
    assert "--uncommitted reads no commit" in capsys.readouterr().err


def test_installed_packages_in_a_folder_are_left_out_with_one_line(tmp_path, capsys):
    installed = {"web/node_modules/x/y.py": b"1\n", ".venv/lib/z.py": b"2\n", "mine/lib/z.py": b"3\n"}
    folder = write(tmp_path / "plain", {"a.py": b"a = 1\n", "venv/own.py": b"4\n", **installed, "mine/pyvenv.cfg": b""})
    assert sorted(paths(tmp_path, folder)) == ["a.py", "venv/own.py"]
    assert "left out installed packages in plain: .venv, mine, web/node_modules\n" in capsys.readouterr().out
    assert sorted(paths(tmp_path, folder / "mine")) == ["lib/z.py"]


@pytest.mark.parametrize("kind", ["git", "folder", "archive", "work tree"])
def test_a_subfolder_is_read_from_every_kind_of_source(repository, tmp_path, kind):
    write(repository, {"src/deep/d.py": b"d = 1\n", "srcx/e.py": b"e = 1\n"})
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "second")
    source = repository
    if kind == "archive":
        source = tmp_path / "project-1.0.tar.gz"
        with tarfile.open(source, "w:gz") as file:
            for name in ("a.py", "src", "srcx"):
                file.add(repository / name, f"project-1.0/{name}")
    elif kind == "folder":
        (repository / ".git").rename(tmp_path / "elsewhere")
    words = [source, *(["--uncommitted"] if kind == "work tree" else [])]
    assert sorted(paths(tmp_path, *words, "--subfolder", "./src/")) == ["src/b.py", "src/deep/d.py"]
    assert len(paths(tmp_path, *words, "--subfolder", ".")) == 4
    with pytest.raises(UserError, match="has no folder sr; check --subfolder"):
        paths(tmp_path, *words, "--subfolder", "sr")


def test_a_subfolder_of_installed_packages_keeps_its_licence(tmp_path):
    name = "alpha-1.0.dist-info"
    metadata = b"Metadata-Version: 2.1\nName: alpha\nLicense-Expression: MIT\n"
    record = b"alpha/a.py,,\n"
    files = {"alpha/a.py": b"a = 1\n", "beta/b.py": b"b = 1\n", f"{name}/METADATA": metadata, f"{name}/RECORD": record}
    folder = write(tmp_path / "site-packages", files)
    (document,) = parse(tmp_path / "out.jsonl", folder, "--language", "python", "--subfolder", "alpha")
    assert (document.path, document.license) == ("alpha/a.py", "MIT")


def test_a_subfolder_inside_the_source(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_data.main(["--subfolder", "a/../../b"])
    assert caught.value.code == 2
    assert "leaves the source" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "data/kotlin_code_raw.jsonl"),
        (["--repository", "encode/httpx", "--language", "python"], "data/httpx_python_raw.jsonl"),
        (["--repository", "a/b", "c/d", "e/f", "--language", "go", "c"], "data/b_and_2_more_go_c_raw.jsonl"),
        (["--repository", "a/b", "--language", "python", "--code_blocks"], "data/b_python_blocks.jsonl"),
        (["--github_search", "stars:>9", "--language", "java"], "data/github_java_raw.jsonl"),
        (["--repository", "a/b", "--output", "x.parquet"], "x.parquet"),
    ],
)
def test_the_output_is_named_after_sources_and_languages(words, expected):
    assert str(parse_data.Request.of(parse_data.build_parser().parse_args(words)).output) == expected


def test_the_default_output_of_an_odd_folder_is_a_plain_name(tmp_path):
    folder = write(tmp_path / "..My project's (old)", {"a.py": b"1\n"})
    words = ["--repository", str(folder), "--language", "python"]
    output = parse_data.Request.of(parse_data.build_parser().parse_args(words)).output
    assert str(output) == "data/My_project_s_old__python_raw.jsonl"
