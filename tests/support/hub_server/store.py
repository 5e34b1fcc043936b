"""What the loopback Hub holds: users, repositories, commits, files."""

import dataclasses
import hashlib
import json

# Tokens look like real ones, so that a redaction by shape or by value is put to the test.
WRITE_TOKEN = "hf_" + "AbCdEfGhIj" * 3 + "wxyz"
READ_TOKEN = "hf_" + "KlMnOpQrSt" * 3 + "wxyz"
USERS = {
    WRITE_TOKEN: {"name": "tester", "orgs": ["acme"], "role": "write"},
    READ_TOKEN: {"name": "tester", "orgs": ["acme"], "role": "read"},
}
LARGE = (".safetensors", ".parquet", ".gguf", ".bin", ".pt")  # what .gitattributes sends to large file storage


class HubError(Exception):
    """An answer that is not a success; `code` becomes the X-Error-Code header by which the client tells them apart."""

    def __init__(self, status: int, message: str, code: str = "", **body: object) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body


@dataclasses.dataclass(frozen=True)
class File:
    """One file of a commit: its bytes, or the sha256 under which large file storage has them."""

    size: int
    blob: str
    data: bytes | None = None
    sha256: str | None = None

    @classmethod
    def regular(cls, data: bytes) -> "File":
        return cls(len(data), git_blob(data), data=data)

    @classmethod
    def large(cls, sha256: str, size: int) -> "File":
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        return cls(size, git_blob(pointer.encode()), sha256=sha256)


@dataclasses.dataclass(frozen=True)
class Commit:
    """A state of a repository."""

    oid: str
    title: str
    files: dict[str, File]


class Repository:
    """A model or a data set: a line of commits."""

    def __init__(self, kind: str, repo_id: str, private: bool) -> None:
        self.kind, self.repo_id, self.private = kind, repo_id, private
        self.commits: list[Commit] = []
        attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE)
        self.add("initial commit", {".gitattributes": File.regular(attributes.encode())})

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def add(self, title: str, files: dict[str, File]) -> Commit:
        """Append a commit; equal files make a commit too, as they do on the Hub."""
        state = [title, len(self.commits), sorted((path, file.blob) for path, file in files.items())]
        self.commits.append(Commit(hashlib.sha1(json.dumps(state).encode()).hexdigest(), title, files))
        return self.head

    def at(self, revision: str) -> Commit:
        """Return the commit of `main` or of an object id."""
        found = [commit for commit in self.commits if revision == "main" or commit.oid == revision]
        if not found:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found[-1]


def git_blob(data: bytes) -> str:
    """Return git's object id of some bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(path: str, size: int) -> bool:
    """Say whether a file goes to large file storage: by its suffix, or over 10 MB."""
    return path.endswith(LARGE) or size > 10_000_000
