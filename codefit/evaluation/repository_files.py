"""The other files of a repository that the author of a prompt had, from what stage 2 keeps next to the pairs.

Of a pair that names a later commit these are the files before that commit. Of any other pair they are the documents of
all splits; in a data set that is split by time, only those that are older than the prompt's own file. The prompt's own
file is for the caller to leave out: what is below its cursor is the answer.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

import orjson

from codefit.dates import moment
from codefit.records import DOCUMENTS, HISTORY, Document, Pair, Prediction, read_jsonl
from codefit.sources.timeline import Timeline, Version

Asked = Pair | Prediction


class RepositoryFiles(Protocol):
    """Where the files of prompts are looked up. Paths are in memory, and texts on disk."""

    def of(self, asked: Asked) -> Mapping[str, Version] | None:
        """Return the versions of the files that the author of a prompt had, by path; None if they are not known."""

    def text(self, version: Version) -> str:
        """Return the text of a version."""


def path_of(pairs: Path) -> Path | None:
    """Return the file next to a file of pairs that holds the files of their repositories; None where there is none."""
    return next((path for name in (HISTORY, DOCUMENTS) if (path := pairs.with_name(name)).is_file()), None)


def opened(path: Path, repositories: Collection[str]) -> RepositoryFiles:
    """Return the files of some repositories in a file that `path_of` has found.

    Raises:
        UserError: the file is broken.
    """
    return _History(path) if path.name == HISTORY else _Documents(path, repositories)


class _History:
    """The files before each commit of a history."""

    def __init__(self, path: Path) -> None:
        self._timeline = Timeline(path)
        self._last: tuple[tuple[str, str], Mapping[str, Version]] | None = None

    def of(self, asked: Asked) -> Mapping[str, Version] | None:
        if not asked.commit:
            return None
        key = asked.repository, asked.commit
        if self._last is None or self._last[0] != key:
            self._last = key, self._timeline.before(*key).versions
        return self._last[1]

    def text(self, version: Version) -> str:
        return self._timeline.text(version)


class _Documents:
    """The documents of a data set, which are of one state unless they have dates."""

    def __init__(self, path: Path, repositories: Collection[str]) -> None:
        self._texts = path.open("rb")  # closed with the object
        self._versions: dict[str, dict[str, Version]] = {}
        self._dates: dict[tuple[str, str], datetime | None] = {}
        self._last: tuple[tuple[str, datetime], Mapping[str, Version]] | None = None
        for document in read_jsonl(path, Document):
            offset = self._texts.tell()
            self._texts.readline()
            if document.repository and document.repository in repositories:
                version = Version(offset, document.language)
                self._versions.setdefault(document.repository, {})[document.path] = version
                self._dates[document.repository, document.path] = moment(document.committed_at)

    def of(self, asked: Asked) -> Mapping[str, Version] | None:
        files = self._versions.get(asked.repository)
        date = self._dates.get((asked.repository, asked.path))
        if files is None or not date:
            return files
        key = asked.repository, date
        if self._last is None or self._last[0] != key:
            dates = {path: self._dates[asked.repository, path] for path in files}
            older = {path: it for path, it in files.items() if (when := dates[path]) and when < date}
            self._last = key, older
        return self._last[1]

    def text(self, version: Version) -> str:
        self._texts.seek(version.offset)
        return str(orjson.loads(self._texts.readline())["content"])
