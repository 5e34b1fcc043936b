"""The other files of a repository that the author of a prompt had, from the documents of the prepared data set.

These are the files that stage 2 kept, of all splits. In a data set that is split by time, only files older than the
prompt's own. The prompt's own file is for the caller to leave out: what is below its cursor is the answer.
"""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path

import orjson

from codefit.records import Document, Pair, Prediction, read_jsonl

Asked = Pair | Prediction


@dataclasses.dataclass(frozen=True, slots=True)
class Version:
    """A text of a file: where its row is, and the language of the file. Equal versions have equal texts."""

    offset: int
    language: str


class RepositoryFiles:
    """The documents of some repositories. Paths are in memory, and texts on disk.

    Args:
        documents: a file of documents.
        repositories: those that prompts come from.

    Raises:
        UserError: the file is broken.
    """

    def __init__(self, documents: Path, repositories: Collection[str]) -> None:
        self._texts = documents.open("rb")  # closed with the object
        self._versions: dict[str, dict[str, Version]] = {}
        self._dates: dict[tuple[str, str], str] = {}
        self._older: tuple[tuple[str, str], dict[str, Version]] | None = None  # what was asked for last, and its files
        for document in read_jsonl(documents, Document):
            offset = self._texts.tell()
            self._texts.readline()
            if document.repository and document.repository in repositories:
                version = Version(offset, document.language)
                self._versions.setdefault(document.repository, {})[document.path] = version
                self._dates[document.repository, document.path] = document.committed_at

    def of(self, asked: Asked) -> Mapping[str, Version] | None:
        """Return the versions of the files that the author of a prompt had, by path; None if no repository is known."""
        files = self._versions.get(asked.repository)
        date = self._dates.get((asked.repository, asked.path), "")
        if files is None or not date:  # without dates, all files are of one state
            return files
        key = asked.repository, date
        if self._older is None or self._older[0] != key:
            self._older = key, {path: it for path, it in files.items() if self._dates[asked.repository, path] < date}
        return self._older[1]

    def text(self, version: Version) -> str:
        """Return the text of a version."""
        self._texts.seek(version.offset)
        return str(orjson.loads(self._texts.readline())["content"])
