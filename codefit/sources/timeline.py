"""The files of repositories at every commit of a history, built up from its changes. Texts stay on disk.

timeline = Timeline(folder / records.HISTORY)
files = timeline.before(pair.repository, pair.commit)   # a mapping from path to text: what the author had
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import orjson

from codefit.errors import UserError
from codefit.records import Change, from_row

Key = tuple[str, str]  # repository and commit


@dataclasses.dataclass(frozen=True, slots=True)
class Version:
    """A text of a file: where its row is, and the language of the file. Equal versions have equal texts."""

    offset: int
    language: str


Versions = dict[str, Version | None]  # by path; None for a file that was removed


class Files(Mapping[str, str]):
    """The files of a repository at one commit, by path; a text is read from disk when it is asked for.

    Attributes:
        versions: the version of each file, which a cache can use as its key.
    """

    def __init__(self, timeline: "Timeline", versions: dict[str, Version]) -> None:
        self.versions = versions
        self._timeline = timeline

    def __getitem__(self, path: str) -> str:
        return self._timeline.text(self.versions[path])

    def __iter__(self) -> Iterator[str]:
        return iter(self.versions)

    def __len__(self) -> int:
        return len(self.versions)


class Timeline:
    """A history file. In memory are the paths that each commit changed, not their texts.

    Args:
        path: a file of Change rows, a parent before its children.

    Raises:
        UserError: the file is missing, a row is broken, or a row needs a commit or text that no earlier row has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parents: dict[Key, str] = {}
        self._changed: dict[Key, Versions] = {}
        self._last: tuple[Key, dict[str, Version]] | None = None  # the commit asked for last, and its versions
        try:
            self._file: IO[bytes] = path.open("rb")  # closed with the timeline
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}; prepare the data again.") from None
        self._index()

    def _index(self) -> None:
        """Read where the text of each version is."""
        known: dict[tuple[str, str, str], Version] = {}
        offset = 0
        for number, line in enumerate(self._file, 1):
            change = self._row(line, number)
            key = change.repository, change.commit
            if change.parent and (change.repository, change.parent) not in self._parents:
                raise self._broken(number, f"the parent {change.parent[:12]} has no row before it")
            if self._parents.setdefault(key, change.parent) != change.parent:
                raise self._broken(number, f"{change.commit[:12]} has two parents")
            version = None
            if change.blob:
                name = change.repository, change.path, change.blob
                if change.content is not None:
                    known.setdefault(name, Version(offset, change.language))
                if name not in known:
                    raise self._broken(number, f"there is no text for {change.path}")
                version = known[name]
            self._changed.setdefault(key, {})[change.path] = version
            offset += len(line)

    def _row(self, line: bytes, number: int) -> Change:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise self._broken(number, "it is not valid JSON") from None
        return from_row(Change, FIELDS, row if isinstance(row, dict) else {}, f"{self.path}:{number}")

    def _broken(self, number: int, reason: str) -> UserError:
        return UserError(f"{self.path}:{number} is broken ({reason}); prepare the data again.")

    def __contains__(self, key: object) -> bool:
        """Return whether a (repository, commit) has rows."""
        return key in self._parents

    def at(self, repository: str, commit: str) -> Files:
        """Return the files of a repository at a commit.

        Raises:
            UserError: the history has no such commit.
        """
        self._known((repository, commit))
        older, newer = self._nearest((repository, commit))
        versions = dict(older)
        for key in newer:
            for path, version in self._changed[key].items():
                if version is None:
                    versions.pop(path, None)
                else:
                    versions[path] = version
        self._last = (repository, commit), versions
        return Files(self, versions)

    def before(self, repository: str, commit: str) -> Files:
        """Return the files that the author of a commit had: those at its parent.

        Raises:
            UserError: the history has no such commit.
        """
        self._known((repository, commit))
        parent = self._parents[repository, commit]
        return self.at(repository, parent) if parent else Files(self, {})

    def text(self, version: Version) -> str:
        """Return the text of a version."""
        self._file.seek(version.offset)
        return str(orjson.loads(self._file.readline())["content"])

    def _known(self, key: Key) -> None:
        if key not in self._parents:
            raise UserError(f"{self.path} has no commit {key[1]} of {key[0]}; prepare the data again.")

    def _nearest(self, key: Key) -> tuple[dict[str, Version], list[Key]]:
        """Return the versions at the nearest ancestor that was asked for last, and the commits after it, in order.

        If the last one was none, these are all commits since the first.
        """
        newer: list[Key] = []
        while self._last is None or key != self._last[0]:
            newer.append(key)
            if not (parent := self._parents[key]):
                return {}, newer[::-1]
            key = key[0], parent
        return self._last[1], newer[::-1]


FIELDS = {field.name: field for field in dataclasses.fields(Change)}
