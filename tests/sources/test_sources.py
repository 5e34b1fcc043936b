"""Every kind of source gives the same files; a hostile or broken one is a stated problem and never runs anything."""

import gzip
import os
import random
import tarfile
import zipfile
from datetime import datetime

import pytest

from codefit.errors import UserError
from codefit.sources import archive
from codefit.sources.locate import locate, open_source
from tests.support.sources import LIMIT, git, read, tar_of, write

FILES = {
    "LICENSE": b"Apache License\n  Version 2.0, January 2004\n",
    "a.kt": b"val a = 1\n",
    "src/b.kt": b"val b = 2\n",
}


@pytest.fixture
def repository(tmp_path):
    folder = write(tmp_path / "project", FILES)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    git(folder, "tag", "v1")
    (folder / "a.kt").write_bytes(b"val a = 3\n")
    git(folder, "commit", "-qam", "second")
    return folder


def zip_of(path, files):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


# --------------------------------------------------------------------------------------------- kinds


@pytest.mark.parametrize(
    ("name", "make", "kind"),
    [
        ("folder", lambda path: write(path, FILES), "directory"),
        ("x.tar.gz", lambda path: tar_of(path, FILES), "archive"),
        ("x.tgz", lambda path: tar_of(path, {f"x-1.0/{name}": data for name, data in FILES.items()}), "archive"),
        ("x.zip", lambda path: zip_of(path, FILES), "archive"),
        ("x.whl", lambda path: zip_of(path, {f"x-1.0/{name}": data for name, data in FILES.items()}), "archive"),
    ],
)
def test_folders_and_archives_give_the_same_files(tmp_path, name, make, kind):
    path = make(tmp_path / name)
    assert locate(str(path)).kind == kind
    assert locate(str(path)).name == name.split(".")[0]
    files, facts = read(path)
    assert files == FILES
    assert list(files) == sorted(files)
    assert facts == ("", "", "Apache-2.0")


@pytest.mark.parametrize("kind", ["worktree", "bare", "bundle", "url", "blobless url"])
@pytest.mark.parametrize("revision", [None, "v1", "main", "commit"])
def test_every_way_to_git_gives_the_commit(tmp_path, repository, kind, revision):
    where = repository
    if kind == "bare":
        where = tmp_path / "bare.git"
        git(tmp_path, "clone", "-q", "--bare", str(repository), str(where))
    if kind == "bundle":
        where = tmp_path / "project.bundle"
        git(repository, "bundle", "create", "-q", str(where), "main", "v1")  # without a HEAD
    if "url" in kind:
        git(repository, "config", "uploadpack.allowFilter", "true" if kind == "blobless url" else "false")
        where = f"file://{repository}"
    expected = git(repository, "rev-parse", "v1" if revision == "v1" else "HEAD")
    files, facts = read(where, expected if revision == "commit" else revision)
    assert files == {**FILES, "a.kt": b"val a = 1\n" if revision == "v1" else b"val a = 3\n"}
    assert facts == (expected, "2020-02-02T02:02:02+00:00", "Apache-2.0")


def test_a_blobless_fetch_brings_only_the_wanted_files(repository):
    git(repository, "config", "uploadpack.allowFilter", "true")
    with open_source(locate(f"file://{repository}")) as source:
        wanted = [member for member in source.members() if member.path == "a.kt"]
        assert list(source.read(wanted, LIMIT)) == [b"val a = 3\n"]
        objects = source.git.text("rev-list", "--objects", "--missing=print", source.commit).splitlines()
    assert len([line for line in objects if line.startswith("?")]) == len(FILES) - 1


def test_no_files_of_a_fetched_source_are_left(repository, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    read(f"file://{repository}")
    assert list(scratch.iterdir()) == []


def test_symlinks_and_submodules_are_not_followed(repository):
    (repository / "link.kt").symlink_to("/etc/passwd")
    git(repository, "add", "link.kt")
    head = git(repository, "rev-parse", "HEAD")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{head},module.kt")
    git(repository, "commit", "-qm", "links")
    files, _ = read(repository)
    assert files["link.kt"] == "symlink"
    assert files["module.kt"] == "submodule"
    assert files["a.kt"] == b"val a = 3\n"


def test_hooks_and_configured_commands_never_run(repository, tmp_path):
    witness = tmp_path / "ran"
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc"):
        path = repository / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {witness}\n")
        path.chmod(0o755)
    git(repository, "config", "core.fsmonitor", f"touch {witness}")
    git(repository, "config", "filter.evil.smudge", f"touch {witness}")
    (repository / ".gitattributes").write_text("*.kt filter=evil\n")
    read(repository)
    read(f"file://{repository}")
    assert not witness.exists()


# --------------------------------------------------------------------------------------------- limits and damage


def test_large_files_are_counted_and_not_read(tmp_path, repository):
    big = b"x" * 5000
    write(repository, {"a.kt": big})
    git(repository, "commit", "-qam", "big")
    sources = [
        repository,
        write(tmp_path / "folder", {"a.kt": big, "src/b.kt": b"val b = 2\n"}),
        tar_of(tmp_path / "x.tar.gz", {"a.kt": big, "src/b.kt": b"val b = 2\n"}),
        zip_of(tmp_path / "x.zip", {"a.kt": big, "src/b.kt": b"val b = 2\n"}),
    ]
    for source in sources:
        files, _ = read(source)
        assert files["a.kt"] == "too large"
        assert files["src/b.kt"] == b"val b = 2\n"  # the stream goes on behind the large one


def test_a_missing_git_object_is_unreadable(repository):
    blob = git(repository, "rev-parse", "HEAD:a.kt")
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    files, _ = read(repository)
    assert files["a.kt"] == "unreadable"
    assert files["src/b.kt"] == b"val b = 2\n"


def test_links_pipes_and_loops_in_a_folder(tmp_path):
    folder = write(tmp_path / "folder", {"a.kt": b"val a = 1\n"})
    (folder / "loop.kt").symlink_to("loop.kt")
    (folder / "circle").symlink_to(folder)
    os.mkfifo(folder / "pipe.kt")
    (folder / "new\nline.kt").write_bytes(b"val n = 1\n")
    with open(os.fsencode(folder) + b"/\xff.kt", "wb") as file:
        file.write(b"val x = 1\n")
    files, _ = read(folder)
    assert files == {
        "\\xff.kt": "path is not UTF-8",
        "a.kt": b"val a = 1\n",
        "loop.kt": "symlink",
        "new\nline.kt": b"val n = 1\n",
        "pipe.kt": "not a regular file",
    }


def test_archive_members_that_leave_the_archive(tmp_path):
    names = {"../up.kt": b"1", "/root.kt": b"2", "C:\\x.kt": b"3", "ok.kt": b"4"}
    for path in (tar_of(tmp_path / "x.tar.gz", names), zip_of(tmp_path / "x.zip", names)):
        files, _ = read(path)
        assert files["ok.kt"] == b"4"
        assert files["../up.kt"] == "unsafe path"
        assert files["/root.kt"] == "unsafe path"
        assert sum(value == "unsafe path" for value in files.values()) == 3


def test_links_in_archives(tmp_path):
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for kind, name in ((tarfile.SYMTYPE, "soft.kt"), (tarfile.LNKTYPE, "hard.kt"), (tarfile.FIFOTYPE, "pipe.kt")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
    assert read(path)[0] == {"soft.kt": "symlink", "hard.kt": "symlink", "pipe.kt": "not a regular file"}
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        info = zipfile.ZipInfo("soft.kt")
        info.external_attr = 0o120777 << 16
        file.writestr(info, "/etc/passwd")
    assert read(path)[0] == {"soft.kt": "symlink"}


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_bombs_are_refused_by_size_and_by_number(tmp_path, monkeypatch, suffix):
    make = tar_of if suffix == ".tar.gz" else zip_of
    path = make(tmp_path / f"x{suffix}", {f"{n}.kt": b"0" * 3000 for n in range(9)})
    monkeypatch.setattr(archive, "MAX_MEMBERS", 8)
    with pytest.raises(UserError, match="or 8 files, so it is refused; unpack it if you trust"):
        read(path)
    monkeypatch.setattr(archive, "MAX_MEMBERS", 9)
    assert len(read(path, limit=5000)[0]) == 9
    monkeypatch.setattr(archive, "MAX_TOTAL", 20_000)
    with pytest.raises(UserError, match="would unpack to more than"):
        read(path)


@pytest.mark.parametrize("name", ["x.tar.gz", "x.zip"])
def test_bombs_are_refused_by_how_much_they_grow(tmp_path, monkeypatch, name):
    path = tmp_path / name
    if name == "x.zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a.kt", b"0" * 300_000)
    else:
        tar_of(path, {"a.kt": b"0" * 300_000})
    assert 200 * path.stat().st_size < 300_000
    assert read(path)[0] == {"a.kt": "too large"}  # small enough to do no harm
    monkeypatch.setattr(archive, "HARMLESS", 250_000)
    with pytest.raises(UserError, match="200 times its size or 1,000,000 files, so it is refused"):
        read(path)
    assert read(tar_of(tmp_path / "y.tar.gz", {"a.kt": random.Random(0).randbytes(400_000)}))[0]


@pytest.mark.parametrize("form", ["tar.gz", "zip"])
def test_an_archive_that_git_made_states_its_commit(tmp_path, repository, form):
    path = tmp_path / f"x.{form}"
    git(repository, "archive", f"--format={form}", "--prefix=x-1.0/", f"--output={path}", "v1")
    with open_source(locate(str(path))) as packed, open_source(locate(str(repository)), "v1") as original:
        assert packed.commit == original.commit
        assert datetime.fromisoformat(packed.committed_at) == datetime.fromisoformat(original.committed_at)


@pytest.mark.parametrize("comment", ["", "made by hand", "1" * 39, "g" * 40])
def test_other_archives_have_neither_commit_nor_date(tmp_path, comment):
    path = zip_of(tmp_path / "x.zip", {"a.kt": b"val a = 1\n"})
    with zipfile.ZipFile(path, "a") as file:
        file.comment = comment.encode()
    with open_source(locate(str(path))) as source:
        assert (source.commit, source.committed_at) == ("", "")


def test_a_damaged_member_is_unreadable_and_the_others_are_read(tmp_path):
    path = zip_of(tmp_path / "x.zip", {"a.kt": b"val a = 1\n", "b.kt": b"val b = 2\n"})
    path.write_bytes(path.read_bytes().replace(b"val a = 1\n", b"val a = 9\n"))  # its checksum is now wrong
    assert read(path)[0] == {"a.kt": "unreadable", "b.kt": b"val b = 2\n"}


# --------------------------------------------------------------------------------------------- stated problems


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ext::sh -c touch% ran", "could take it for a command; give a plain URL or path"),
        ("--upload-pack=touch ran", "could take it for a command"),
        ("ext://sh", "ext:// is not an allowed protocol"),
        ("ftp://example.invalid/x/y", "ftp:// is not an allowed protocol"),
        ("https://secret-token@example.invalid/a/b", "contains a user or token"),
        ("ssh://git:secret-token@example.invalid/a/b", "contains a user or token"),
        ("ext::sh https://me:secret-token@example.invalid", "contains a user or token"),
        ("me:secret-token@example.invalid:o/r", "contains a user or token"),
        ("https://example.invalid/o/r.git?private_token=secret-token", "contains a user or token"),
        ("nothing", "nothing does not exist; give a git URL"),
        ("~no-such-user-here/x", "does not exist; give a git URL"),
        ("x" * 5000, "xxx does not exist; give a git URL"),
        ("x\0y", "does not exist; give a git URL"),
        ("folder/deeper/nothing", "does not exist; give a git URL"),
        ("data/missing.zip", "does not exist; give a git URL"),
    ],
)
def test_refused_names(text, message):
    with pytest.raises(UserError, match=message) as caught:
        locate(text)
    assert "secret-token" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "where", "name"),
    [
        ("JetBrains/kotlin", "https://github.com/JetBrains/kotlin", "JetBrains/kotlin"),
        ("https://github.com/a/b.git", "https://github.com/a/b.git", "a/b"),
        ("https://gitlab.example.invalid/group/sub/b/", "https://gitlab.example.invalid/group/sub/b/", "sub/b"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git", "a/b"),
        ("ssh://git@github.com/a/b", "ssh://git@github.com/a/b", "a/b"),
        ("file:///some/where/b.git", "file:///some/where/b.git", "b"),
    ],
)
def test_names_of_urls(text, where, name):
    place = locate(text)
    assert (place.kind, place.where, place.name) == ("url", where, name)


def test_a_local_path_wins_over_a_github_name(tmp_path, monkeypatch):
    write(tmp_path, {"owner/name/a.kt": b"1"})
    monkeypatch.chdir(tmp_path)
    assert locate("owner/name").kind == "directory"


@pytest.mark.parametrize(
    ("make", "revision", "message"),
    [
        (lambda repository: repository, "nonsense", "has no such revision; give a branch, a tag or a commit id"),
        (lambda repository: repository, "--output=x", "could take it for an option"),
        (lambda repository: f"file://{repository}", "nonsense", "has no such revision"),
        (lambda repository: f"file://{repository}/none", None, "is not a git repository; check the path"),
        (lambda repository: repository / "src", "v1", "has no git history, so --revision v1 cannot be used"),
    ],
)
def test_git_problems_are_one_sentence(repository, make, revision, message):
    with pytest.raises(UserError, match=message) as caught:
        read(make(repository), revision)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"text", "x.txt", "is neither a git bundle nor a .tar.gz"),
        (b"text", "x.bundle", "is neither a git bundle"),
        (b"text", "x.tar.gz", "is damaged or not an archive"),
        (b"text", "x.zip", "is damaged or not an archive"),
        (gzip.compress(b"x" * 5000, mtime=0)[:-9], "x.tgz", "is damaged or not an archive"),
        (b"# v2 git bundle\n" + b"1" * 40 + b" refs/heads/main\n\nPACK", "x.bundle", "git cannot read .*x.bundle"),
    ],
)
def test_damaged_files_are_one_sentence(tmp_path, content, name, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_bundle_without_its_history_and_one_without_a_head(tmp_path, repository):
    thin, many = tmp_path / "thin.bundle", tmp_path / "many.bundle"
    git(repository, "bundle", "create", "-q", str(thin), "v1..main")
    with pytest.raises(UserError, match="needs commits it does not contain"):
        read(thin)
    git(repository, "branch", "-m", "main", "one")
    git(repository, "branch", "two", "v1")
    git(repository, "bundle", "create", "-q", str(many), "one", "two")
    with pytest.raises(UserError, match="has no HEAD; add --revision with one of refs/heads/one, refs/heads/two"):
        read(many)
    assert read(many, "two")[0] == FILES


def test_an_empty_repository_and_missing_git(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q", "empty")
    with pytest.raises(UserError, match="empty has no commit yet; commit something"):
        read(tmp_path / "empty")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="git is not installed; install git"):
        read(tmp_path / "empty")
