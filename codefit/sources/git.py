"""Git repositories, read from the object store: no worktree, so no hook, filter, submodule or LFS smudge ever runs."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

from codefit.errors import UserError
from codefit.outputs import temporary_folder
from codefit.records import Rejection
from codefit.sources.source import Member, Unreachable, named

SYMLINK, SUBMODULE = b"120000", b"160000"
CHUNK = 1 << 20
# Set in the environment, so that they hold whatever the configuration of the user or of a repository says.
SETTINGS = {
    "core.hooksPath": "/dev/null",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.negotiationAlgorithm": "noop",  # as git itself fetches single blobs; otherwise it misses them afterwards
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "log.showSignature": "false",  # it runs gpg.program, which the repository itself could name
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
}
FAILURES = (
    ("could not read Username", "does not exist or needs a login; check the name, or set up a git credential helper"),
    ("Authentication failed", "refused the login; check git's stored credentials"),
    ("Permission denied", "needs a login that was refused; check the ssh key and the name"),
    ("Host key verification failed", "has an unknown ssh host key; connect to it once with ssh and accept the key"),
    ("not found", "does not exist; check the name"),
    ("does not appear to be a git repository", "is not a git repository; check the path"),
    ("couldn't find remote ref", "has no such revision; give a branch, a tag or a full commit id as --revision"),
    ("not our ref", "has no such revision; give a branch, a tag or a full commit id as --revision"),
    ("Could not resolve host", "cannot be reached; check the network, or give a local repository or bundle"),
    ("unable to access", "cannot be reached; check the network, or give a local repository or bundle"),
    ("Could not read from remote", "cannot be reached; check the address and the network"),
    ("lacks these prerequisite", "is a bundle that needs commits it does not hold; create it with the whole history"),
    ("dubious ownership", "belongs to another user; allow it with git config --global --add safe.directory"),
)


class GitRepository:
    """One commit of a repository on this disk."""

    def __init__(self, git: Any, commit: str, fetched: bool) -> None:
        self.git = git
        self.commit = commit
        # Not `show` or `log`: they read .gitmodules and check signatures with a program that a repository can name.
        self.committed_at = str(git.rev_list("--max-count=1", "--no-commit-header", "--format=%cI", commit))
        self.missing = self._missing() if fetched else set()

    def members(self) -> list[Member]:
        """Return every file of the commit; symlinks and submodules carry their rejection."""
        listing = self.git.ls_tree("-r", "-z", self.commit, stdout_as_string=False, strip_newline_in_stdout=False)
        return [_member(line) for line in listing.split(b"\0") if line]

    def fetch(self, members: Sequence[Member]) -> None:
        """Fetch the blobs that a blobless clone does not have yet, in one request."""
        wanted = sorted({member.key for member in members if not member.rejection} & self.missing)
        if not wanted:
            return
        with _ids(wanted) as ids, _stated(self.git.config("--get", "remote.origin.url")):
            self.git.fetch("origin", "--no-tags", "--no-write-fetch-head", "--filter=blob:none", "--stdin", istream=ids)
        self.missing.difference_update(wanted)

    def _missing(self) -> set[str]:
        objects = self.git.rev_list("--objects", "--missing=print", self.commit).splitlines()
        return {line[1:] for line in objects if line.startswith("?")}

    def read(self, members: Sequence[Member], max_bytes: int) -> Iterator[bytes | Rejection]:
        """Yield the content of each member from one `cat-file --batch` stream."""
        self.fetch(members)
        # The ids come from a file, not from a pipe: git can then never wait for us while we wait for it.
        with _ids(member.key for member in members) as ids:
            process = self.git.cat_file("--batch", "--buffer", istream=ids, as_process=True)
            stream = process.stdout
            for member in members:
                yield _next_blob(stream, member, max_bytes)


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
    return named(path, blob.decode(), blob.decode(), kinds.get(mode))


def _next_blob(stream: IO[bytes], member: Member, max_bytes: int) -> bytes | Rejection:
    header = stream.readline().split()
    if len(header) != 3:
        return Rejection("unreadable", "the object is missing")
    size = int(header[2])
    if size <= max_bytes:
        content = stream.read(size + 1)[:-1]
        return content if len(content) == size else Rejection("unreadable", "the object is cut off")
    left = size + 1
    while left and (block := stream.read(min(left, CHUNK))):
        left -= len(block)
    return Rejection("too large", size)


@contextlib.contextmanager
def open_git(kind: str, where: str, revision: str | None) -> Iterator[GitRepository]:
    """Open a local repository in place, or fetch a URL or a bundle into a folder that is removed at the end."""
    if revision and revision.startswith("-"):
        raise UserError(f"--revision {revision} is refused because git could take it for an option.")
    try:
        import git
    except ImportError:
        raise UserError("git is not installed; install git and run the same command again.") from None
    with contextlib.ExitStack() as stack:
        if kind == "git":
            with _stated(where):
                repository = git.Repo(where)
                _secure(repository.git, "none")
                commit = _commit(repository.git, revision or "HEAD")
        else:
            folder = stack.enter_context(temporary_folder())
            repository = git.Repo.init(folder, bare=True)
            _secure(repository.git, "file:git:http:https:ssh")
            with _stated(where):
                commit = (_fetch if kind == "url" else _unbundle)(repository, where, revision)
        stack.callback(repository.close)
        with _stated(where):
            opened = GitRepository(repository.git, commit, fetched=kind == "url")
        yield opened


def _secure(git: Any, protocols: str) -> None:
    """Never ask, never run a hook, and reach out by the given protocols only ("none" for none at all)."""
    numbered = {
        f"GIT_CONFIG_{part}_{n}": text
        for n, item in enumerate(SETTINGS.items())
        for part, text in zip(("KEY", "VALUE"), item, strict=True)
    }
    git.update_environment(
        GIT_TERMINAL_PROMPT="0", GIT_ALLOW_PROTOCOL=protocols, GIT_CONFIG_COUNT=str(len(SETTINGS)), **numbered
    )


def _fetch(repository: Any, url: str, revision: str | None) -> str:
    """Fetch one commit without its files where the server can filter, with them where it cannot."""
    repository.create_remote("origin", url)
    repository.git.fetch("--depth=1", "--filter=blob:none", "--no-tags", "--", "origin", revision or "HEAD")
    return _commit(repository.git, "FETCH_HEAD")


def _unbundle(repository: Any, path: str, revision: str | None) -> str:
    repository.create_remote("origin", path)
    repository.git.fetch("--", "origin", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
    heads = {line.split()[1]: line.split()[0] for line in repository.git.bundle("list-heads", path).splitlines()}
    branches = [name for name in heads if name.startswith("refs/heads/")]
    for name in ("HEAD", "refs/heads/main", "refs/heads/master"):
        if not revision and name in heads:
            return str(heads[name])
    if not revision and len(branches) != 1:
        raise UserError(f"{path} names no HEAD; choose with --revision one of {', '.join(sorted(heads))}.")
    return _commit(repository.git, revision or branches[0])


def _commit(git: Any, revision: str) -> str:
    return str(git.rev_parse("--verify", "--end-of-options", revision + "^{commit}"))


@contextlib.contextmanager
def _stated(where: str) -> Iterator[None]:
    """Turn what git says into one sentence."""
    import git

    try:
        yield
    except git.GitCommandNotFound:
        raise UserError("git is not installed; install git and run the same command again.") from None
    except (git.InvalidGitRepositoryError, git.NoSuchPathError):
        raise UserError(f"{where} is not a git repository; check the path.") from None
    except git.UnsafeProtocolError:
        raise UserError(
            f"{where} is refused because git could take it for a command; give a plain URL or path."
        ) from None
    except git.GitCommandError as error:
        sentence = _sentence(where, str(error.stderr))
        raise (Unreachable if "cannot be reached" in sentence else UserError)(sentence) from None


def _sentence(where: str, said: str) -> str:
    for phrase, meaning in FAILURES:
        if phrase in said:
            return f"{where} {meaning}."
    if "Needed a single revision" in said or "unknown revision" in said:
        return f"{where} has no such revision; give a branch, a tag or a commit id as --revision."
    fatal = [line.strip(" '") for line in said.splitlines() if "fatal:" in line or "error:" in line]
    return f"git cannot read {where} ({fatal[0] if fatal else 'it gave no reason'}); check it with git itself."
