"""Git repositories, read from the object store without a worktree: no hook, filter, submodule or LFS smudge runs."""

import contextlib
import dataclasses
import datetime
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from codefit import git_command
from codefit.errors import UserError
from codefit.records import Rejection
from codefit.sources.git_directory import git_directory, has_work_tree
from codefit.sources.git_messages import failure
from codefit.sources.source import Member, named
from codefit.temporary import temporary_folder

SYMLINK, SUBMODULE = b"120000", b"160000"
CHUNK = 1 << 20
MAX_FILES = 1_000_000  # files of one commit: nested trees of a few hundred bytes can list any number of paths
MAX_LISTING = 256 << 20  # bytes of all paths and ids of one commit
# Set in the environment, so that they override the configuration of the user and of the repository.
SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.quotePath": "false",  # else git writes letters that are not ASCII as numbers
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.negotiationAlgorithm": "noop",  # as in git's own fetches of single blobs; without it, git misses them later
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "log.showSignature": "false",  # this would run gpg.program, which the repository can set
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
}
PARTIAL_CLONE = r"^(extensions\.partialclone|remote\..*\.(promisor|partialclonefilter))$"


@dataclasses.dataclass(frozen=True, slots=True)
class Git:
    """Git commands on one git directory.

    Args:
        folder: the git directory, as an absolute path.
        where: the name of the source in errors.
        protocols: the only transports that git may use, such as "file:https"; "none" for none at all.
    """

    folder: Path
    where: str
    protocols: str = "none"

    def text(self, *words: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> str:
        """Return the output of a command without the final line end.

        Raises:
            UserError: git is not installed, or the command fails.
        """
        with self._started(words, stdin, subprocess.PIPE) as process:
            out, said = process.communicate()
        if process.returncode:
            raise self.failed(said)
        return out.decode("utf-8", "backslashreplace").rstrip("\n")

    def succeeds(self, *words: str) -> bool:
        """Return whether a command exits with code 0."""
        with self._started(words, subprocess.DEVNULL, subprocess.DEVNULL) as process:
            process.communicate()
        return process.returncode == 0

    @contextlib.contextmanager
    def stream(self, *words: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> Iterator[IO[bytes]]:
        """Yield the output of a command as a stream. If the block ends before the stream does, git is stopped."""
        with tempfile.TemporaryFile() as errors, self._started(words, stdin, errors) as process:
            assert process.stdout is not None
            try:
                yield process.stdout
                if process.stdout.read(1) == b"" and process.wait():
                    errors.seek(0)
                    raise self.failed(errors.read())
            finally:
                process.kill()

    @contextlib.contextmanager
    def dialogue(self, *words: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """Yield the input and the output of a command that answers line by line, such as `cat-file --batch`."""
        with self._started(words, subprocess.PIPE, subprocess.DEVNULL) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield process.stdin, process.stdout
            finally:
                process.kill()

    def failed(self, said: bytes = b"") -> UserError:
        """Return the error of a failed command, from what git wrote to standard error."""
        return failure(self.where, said.decode("utf-8", "backslashreplace"))

    def _started(
        self, words: Sequence[str], stdin: IO[bytes] | int, stderr: IO[bytes] | int
    ) -> subprocess.Popen[bytes]:
        numbered = {
            f"GIT_CONFIG_{part}_{n}": text
            for n, item in enumerate(SETTINGS.items())
            for part, text in zip(("KEY", "VALUE"), item, strict=True)
        }
        own = {
            "GIT_ALLOW_PROTOCOL": self.protocols,
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_CONFIG_COUNT": str(len(SETTINGS)),
            **numbered,
        }
        environment = git_command.environment(**own)
        if shutil.which("git", path=environment.get("PATH")) is None:
            raise UserError("git is not installed; install git and run the same command again.")
        command = git_command.command(self.folder, *words)
        # Run in "/", so that relative paths in a configuration lead nowhere.
        return subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, env=environment, cwd="/", bufsize=CHUNK
        )


class GitRepository:
    """One commit of a local repository.

    Args:
        may_lack: whether files of the commit may be missing because they have not been fetched.
        work_tree: the folder with the files of this commit, if it has been checked out.
    """

    def __init__(self, git: Git, commit: str, may_lack: bool, work_tree: Path | None = None) -> None:
        self.git = git
        self.work_tree = work_tree
        self.commit = commit
        self.may_lack = may_lack
        self.committed_at = _date(git, commit)
        self.missing = self._missing() if may_lack else set()

    def members(self) -> list[Member]:
        """Return every file of the commit; symlinks and submodules carry their rejection."""
        return [_member(line) for line in self._listing().split(b"\0") if line]

    def _listing(self) -> bytes:
        blocks: list[bytes] = []
        files = size = 0
        with self.git.stream("ls-tree", "-r", "-z", "--full-tree", self.commit) as stream:
            while block := stream.read(CHUNK):
                blocks.append(block)
                files += block.count(b"\0")
                size += len(block)
                if files > MAX_FILES or size > MAX_LISTING:
                    raise UserError(
                        f"{self.git.where} lists more than {MAX_FILES:,} files or {MAX_LISTING >> 20} MiB of paths in "
                        "one commit and is refused; give a folder with the files that you need."
                    )
        return b"".join(blocks)

    def fetch(self, members: Sequence[Member]) -> None:
        """Fetch the blobs that a blobless clone lacks, in one request, if fetching is allowed."""
        wanted = sorted({member.key for member in members if not member.rejection} & self.missing)
        if not wanted or self.git.protocols == "none":
            return
        with _ids(wanted) as ids:
            self.git.text(
                *("fetch", "--no-tags", "--no-write-fetch-head", "--filter=blob:none", "--stdin", "origin"), stdin=ids
            )
        self.missing.difference_update(wanted)

    def _missing(self) -> set[str]:
        """Return the ids of the commit's objects that are missing locally; unlike `cat-file`, this fetches none."""
        tree = self.commit + "^{tree}"
        with self.git.stream("rev-list", "--objects", "--missing=print", tree) as stream:
            return {line[1:].decode().strip() for line in stream if line.startswith(b"?")}

    def read(self, members: Sequence[Member], max_bytes: int) -> Iterator[bytes | Rejection]:
        """Yield the content of each member, all from one `cat-file --batch` stream."""
        self.fetch(members)
        here = [member.key for member in members if member.key not in self.missing]
        if not here:
            yield from (_absent() for _ in members)
            return
        # The ids come from a file, not from a pipe, so that git and codefit cannot wait for each other.
        with _ids(here) as ids, self.git.stream("cat-file", "--batch", "--buffer", stdin=ids) as stream:
            for member in members:
                yield _absent() if member.key in self.missing else self.next_blob(stream, member.path, max_bytes)

    def next_blob(self, stream: IO[bytes], path: str, max_bytes: int) -> bytes | Rejection:
        """Return the blob that `cat-file --batch` gives next, or why it is not read; the path is for errors."""
        header = stream.readline().split()
        if len(header) == 2 and header[1] == b"missing":
            return _absent()
        if len(header) != 3:
            raise UserError(
                f"git stopped while reading {path} of {self.git.where}; check the repository with git fsck."
            )
        size = int(header[2])
        if size <= max_bytes:
            content = stream.read(size + 1)[:-1]
            return content if len(content) == size else Rejection("unreadable", "the object is cut off")
        left = size + 1
        while left and (block := stream.read(min(left, CHUNK))):
            left -= len(block)
        return Rejection("too large", size)


def _absent() -> Rejection:
    return Rejection("unreadable", "the object is missing")


def _date(git: Git, commit: str) -> str:
    """Return the date of a commit in ISO 8601, or "" if it has no valid date."""
    # Not `show` or `log`: they read .gitmodules and check signatures with a program that the repository can set.
    date = git.text("rev-list", "--max-count=1", "--no-commit-header", "--format=%cI", commit)
    try:
        datetime.datetime.fromisoformat(date)
    except ValueError:
        return ""
    return date


@contextlib.contextmanager
def _ids(blobs: Iterable[str]) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        file.write("".join(f"{blob}\n" for blob in blobs).encode())
        file.seek(0)
        yield file


def _member(line: bytes) -> Member:
    information, _, path = line.partition(b"\t")
    mode, _, blob = information.split(b" ")
    kinds = {SYMLINK: Rejection("symlink"), SUBMODULE: Rejection("submodule")}
    name = blob.decode()
    return named(path, name, name, kinds.get(mode))


# ------------------------------------------------------------------------------------------- opening


@contextlib.contextmanager
def open_git(kind: str, where: str, revision: str | None, whole: bool = False) -> Iterator[GitRepository]:
    """Open a local repository in place, or fetch a URL or a bundle into a folder that is removed at the end.

    Args:
        kind: "git", "url" or "bundle".
        where: the folder, URL or file.
        revision: branch, tag or commit; None for its HEAD.
        whole: whether earlier commits are fetched, too, with all their files.
    """
    if revision is not None and (revision.startswith("-") or not revision.isprintable() or not revision):
        raise UserError(
            f"--revision {revision} is refused because git could take it for an option; give a branch, tag or commit."
        )
    if kind == "git":
        git = Git(git_directory(Path(where)), where)
        commit = _commit(git, revision)
        work_tree = Path(where) if revision is None and has_work_tree(Path(where)) else None
        yield GitRepository(git, commit, _is_partial(git), work_tree)
        return
    with temporary_folder() as folder:
        if kind == "url":
            git, commit = _fetch(folder, where, revision, whole)
        else:
            git, commit = _unbundle(folder, where, revision)
        yield GitRepository(git, commit, may_lack=kind == "url" and not whole)


def _new(folder: Path, where: str, object_format: str, protocols: str = "none") -> Git:
    """Make an empty repository that ignores the user's default format and hooks for new repositories."""
    git = Git(folder, where, protocols)
    git.text("init", "-q", "--bare", "--template=", f"--object-format={object_format}")
    return git


def _fetch(folder: Path, url: str, revision: str | None, whole: bool) -> tuple[Git, str]:
    """Fetch one commit, without its blobs if the server supports filters, otherwise with them; or all its history."""
    part = () if whole else ("--depth=1", "--filter=blob:none")
    for object_format in ("sha1", "sha256"):
        git = _new(folder / object_format, url, object_format, "file:git:http:https:ssh")
        git.text("config", "remote.origin.url", url)
        try:
            git.text("fetch", *part, "--no-tags", "--", "origin", revision or "HEAD")
        except UserError as error:
            if object_format == "sha1" and "another object format" in str(error):
                continue
            raise
        break
    return git, _commit(git, "FETCH_HEAD")


def _unbundle(folder: Path, path: str, revision: str | None) -> tuple[Git, str]:
    git = _new(folder, path, _format_of_bundle(Path(path)))
    listed = (line.split(" ", 1) for line in git.text("bundle", "unbundle", path).splitlines())
    heads = {name: commit for commit, name in listed}
    with tempfile.TemporaryFile() as file:
        for name, commit in heads.items():
            if name.startswith("refs/"):
                file.write(f"create {name} {commit}\n".encode())
        file.seek(0)
        git.text("update-ref", "--no-deref", "--stdin", stdin=file)
    if revision:
        return git, _commit(git, heads.get(revision, revision))
    branches = [name for name in heads if name.startswith("refs/heads/")]
    for name in ("HEAD", "refs/heads/main", "refs/heads/master", *(branches if len(branches) == 1 else ())):
        if name in heads:
            return git, _commit(git, heads[name])
    raise UserError(f"{path} has no HEAD; add --revision with one of {', '.join(sorted(heads))}.")


def _format_of_bundle(path: Path) -> str:
    """Return the object format in the header of a bundle; up to version 2 there is only one."""
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(4096), b""):
            if line == b"@object-format=sha256\n":
                return "sha256"
            if not line.startswith((b"#", b"@")):
                break
    return "sha1"


def _is_partial(git: Git) -> bool:
    """Return whether a repository is a partial clone, whose missing objects git would fetch on demand."""
    return git.succeeds("config", "--get-regexp", PARTIAL_CLONE)


def _commit(git: Git, revision: str | None) -> str:
    try:
        return git.text("rev-parse", "--verify", "--end-of-options", (revision or "HEAD") + "^{commit}")
    except UserError as error:
        if revision is None and "has no such revision" in str(error) and not git.text("for-each-ref", "--count=1"):
            raise _empty(git.where) from None
        raise


def _empty(where: str) -> UserError:
    return UserError(f"{where} has no commit yet; commit something, or give another source.")
