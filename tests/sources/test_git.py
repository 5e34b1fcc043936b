"""Git is read as the folder that was named, whatever the environment says, and never changes a repository."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from codefit.errors import UserError
from codefit.manifest import toolkit_commit
from codefit.sources import git as git_source
from tests.support.sources import git, read, write

FILES = {"a.py": b"A = 1\n", "b/c.py": b"C = 3\n"}


def committed(folder: Path, files: dict[str, bytes], *options: str) -> Path:
    write(folder, files)
    git(folder, "init", "-q", "-b", "main", *options)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def state(folder: Path) -> dict[str, str]:
    """Return the content of every file of a repository, by path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def mine(tmp_path):
    return committed(tmp_path / "mine", {"mine.py": b"MINE = 1\n"})


@pytest.fixture
def other(tmp_path):
    return committed(tmp_path / "other", FILES)


def hook_environment(mine: Path) -> dict[str, str]:
    """What git sets for a hook in a linked worktree, and more that a shell may hold."""
    return {
        "GIT_DIR": str(mine / ".git"),
        "GIT_WORK_TREE": str(mine),
        "GIT_INDEX_FILE": str(mine / ".git" / "index"),
        "GIT_OBJECT_DIRECTORY": str(mine / ".git" / "objects"),
        "GIT_COMMON_DIR": str(mine / ".git"),
        "GIT_PREFIX": "src/",
        "GIT_NAMESPACE": "x",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.bare",
        "GIT_CONFIG_VALUE_0": "true",
        "GIT_CONFIG_PARAMETERS": "'core.bare=true'",
        "GIT_DEFAULT_HASH": "sha256",
        "GIT_TEMPLATE_DIR": "/nowhere",
    }


@pytest.mark.parametrize("kind", ["bundle", "url", "repository", "bare"])
def test_what_git_sets_for_a_hook_reaches_nothing(kind, mine, other, tmp_path, monkeypatch):
    where: object = other
    if kind == "bundle":
        where = tmp_path / "o.bundle"
        git(other, "bundle", "create", "-q", str(where), "HEAD", "main")
    elif kind == "bare":
        where = tmp_path / "o.git"
        git(tmp_path, "clone", "-q", "--bare", str(other), str(where))
    before = state(mine)
    for name, value in hook_environment(mine).items():
        monkeypatch.setenv(name, value)
    assert read(f"file://{other}" if kind == "url" else where)[0] == FILES
    assert state(mine) == before


def test_the_commit_of_the_toolkit_is_not_that_of_the_environment(mine, monkeypatch):
    expected = toolkit_commit()
    for name, value in hook_environment(mine).items():
        monkeypatch.setenv(name, value)
    assert toolkit_commit() == expected


@pytest.mark.parametrize("config", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_a_git_directory_of_any_name_is_read_as_itself(config, inside, mine, other, tmp_path):
    place = (mine if inside else tmp_path) / "copied.git"
    (other / ".git").rename(place)
    if not config:
        (place / "config").unlink()
    assert read(place)[0] == FILES


def test_a_linked_worktree_and_a_submodule_are_followed(other, tmp_path):
    git(other, "worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    assert read(tmp_path / "linked")[0] == FILES
    outer = committed(tmp_path / "outer", {"x.py": b"X = 1\n"})
    git(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "inner")
    assert read(outer / "inner")[0] == FILES


@pytest.mark.parametrize("form", ["file", "link", "commondir", "objects", "refs"])
def test_a_git_folder_that_points_to_a_repository_of_the_user_is_refused(form, mine, tmp_path):
    folder = tmp_path / "downloaded"
    folder.mkdir()
    if form == "file":
        (folder / ".git").write_text(f"gitdir: {mine}/.git\n")
    elif form == "link":
        (folder / ".git").symlink_to(mine / ".git")
    elif form in {"objects", "refs"}:
        committed(folder, {"y.py": b"Y = 1\n"})
        shutil.rmtree(folder / ".git" / form)
        (folder / ".git" / form).symlink_to(mine / ".git" / form)
    else:
        committed(folder, {"y.py": b"Y = 1\n"})
        (folder / ".git" / "commondir").write_text(f"{mine}/.git\n")
    with pytest.raises(UserError, match=r"the .git of .*downloaded points to .*; if you want that repository"):
        read(folder)


@pytest.mark.parametrize("form", ["link", "file", "commondir"])
def test_links_in_a_circle_are_refused(form, tmp_path):
    committed(tmp_path, {"y.py": b"Y = 1\n"})
    if form == "commondir":
        (tmp_path / ".git" / "loop").symlink_to("loop")
        (tmp_path / ".git" / "commondir").write_text("loop\n")
    else:
        shutil.rmtree(tmp_path / ".git")
        (tmp_path / "loop").symlink_to("loop")
        if form == "link":
            (tmp_path / ".git").symlink_to(".git")
        else:
            (tmp_path / ".git").write_text("gitdir: loop/x\n")
    with pytest.raises(UserError, match=r"the .git of .* points to|names no git directory"):
        read(tmp_path)


def test_a_partial_clone_loses_only_the_missing_files(other, tmp_path):
    git(other, "config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial"
    words = ["clone", "-q", "--no-local", "--filter=blob:none", "--no-checkout", f"file://{other}", str(partial)]
    git(tmp_path, *words)
    git(partial, "cat-file", "-p", "HEAD:a.py")
    assert read(partial)[0] == {"a.py": FILES["a.py"], "b/c.py": "unreadable"}


def test_git_that_ends_early_is_an_error_and_not_a_missing_file(other, tmp_path, monkeypatch):
    real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\ncase " $* " in *" cat-file "*) exit 1;; esac\nexec {real} "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=os.pathsep)
    with pytest.raises(
        UserError, match=r"git stopped while reading a.py of .*other; check the repository with git fsck"
    ):
        read(other)


@pytest.mark.parametrize("detached", [True, False])
def test_a_bundle_of_head_alone(detached, other, tmp_path):
    if detached:
        git(other, "checkout", "-q", "--detach")
    git(other, "bundle", "create", "-q", str(tmp_path / "h.bundle"), "HEAD")
    assert read(tmp_path / "h.bundle")[0] == FILES


@pytest.mark.parametrize("kind", ["repository", "url", "bundle"])
@pytest.mark.parametrize("preferred", ["sha1", "sha256"])
def test_the_object_format_is_that_of_the_source(kind, preferred, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DEFAULT_HASH", preferred)
    for form in ("sha1", "sha256"):
        source = committed(tmp_path / form, FILES, f"--object-format={form}")
        where: object = source if kind == "repository" else f"file://{source}"
        if kind == "bundle":
            where = tmp_path / f"{form}.bundle"
            git(source, "bundle", "create", "-q", str(where), "HEAD", "main")
        contents, (commit, *_) = read(where)
        assert contents == FILES
        assert len(commit) == {"sha1": 40, "sha256": 64}[form]


def test_nested_trees_that_list_endless_paths_are_refused(tmp_path, monkeypatch):
    """Thirty trees, each of ten entries for the next one, are a few hundred bytes and list 10**30 paths."""
    monkeypatch.setattr(git_source, "MAX_FILES", 10_000)
    folder = tmp_path / "bomb"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")

    def written(kind: str, data: bytes) -> str:
        command = ["git", "-C", str(folder), "hash-object", "-w", "--literally", "-t", kind, "--stdin"]
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout.decode().strip()

    tree = written("tree", b"100644 a\0" + bytes.fromhex(written("blob", b"x")))
    for _ in range(30):
        tree = written("tree", b"".join(b"40000 %d\0" % number + bytes.fromhex(tree) for number in range(10)))
    git(folder, "update-ref", "refs/heads/main", git(folder, "commit-tree", "-m", "bomb", tree))
    with pytest.raises(
        UserError, match=r"lists more than 10,000 files or 256 MiB of paths in one commit and is refused"
    ):
        read(folder)
