"""The documents that are kept, on disk so that memory stays flat, and the log of rejected ones."""

import dataclasses
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from codefit import records
from codefit.curation.dedup import Hashes, shingles
from codefit.manifest import sha256
from codefit.records import Document, Rejection

CACHED_BYTES = 4 << 20  # shingle sets cached for comparisons, about 10 kB each


class RejectionLog:
    """Writes every rejection to a file, and counts files and bytes by rule with one example each."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w", encoding="utf-8", newline="\n")
        self.files: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def add(self, repository: str, path: str, length: int, rejection: Rejection) -> None:
        row: dict[str, Any] = {"repository": repository, "path": path, **dataclasses.asdict(rejection)}
        self.file.write(records.to_line(row))
        self.files[rejection.rule] += 1
        self.bytes[rejection.rule] += length
        self.examples.setdefault(rejection.rule, path)

    def close(self) -> None:
        self.file.close()

    def rows(self) -> Iterator[list[Any]]:
        """Yield rule, files, bytes and an example, the most frequent rule first."""
        for rule, files in self.files.most_common():
            yield [rule, files, self.bytes[rule], self.examples[rule]]


@dataclasses.dataclass(slots=True)
class Entry:
    """What is kept in memory for a document; `length` is in bytes."""

    repository: str
    path: str
    language: str
    content_id: bytes
    offset: int
    length: int
    committed_at: str = ""
    license: str = ""
    split: str = ""  # as long as it has none

    @property
    def name(self) -> str:
        return f"{self.repository}/{self.path}"


class Corpus:
    """Documents by number. The texts are in an anonymous temporary file, which disappears with the process."""

    def __init__(self, folder: Path) -> None:
        self.texts = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the corpus
        self.entries: list[Entry] = []
        self.sets: dict[int, Hashes] = {}  # cached shingle sets, the most recently used last
        self.bytes_of_sets = 0

    def add(self, document: Document, content_id: bytes) -> None:
        data = document.content.encode()
        offset = self.texts.seek(0, 2)
        self.texts.write(data)
        self.entries.append(
            Entry(
                document.repository,
                document.path,
                document.language,
                content_id,
                offset,
                len(data),
                document.committed_at,
                sys.intern(document.license),  # a few names for all documents
            )
        )

    def text(self, number: int) -> str:
        entry = self.entries[number]
        self.texts.seek(entry.offset)
        return self.texts.read(entry.length).decode()

    def document(self, number: int) -> Document:
        entry = self.entries[number]
        return Document(self.text(number), entry.path, entry.repository, language=entry.language)

    def write(self, path: Path, with_dates: bool) -> str:
        """Write the documents that are in a split, in the order of their names, and return the sha256 of the file.

        Dates are written only if the split is by time: no other data set depends on them.
        """
        kept = sorted(
            (entry.repository, entry.path, number)
            for number, entry in enumerate(self.entries)
            if entry.split in records.SPLITS
        )
        rows = (
            {
                "repository": repository,
                "path": name,
                "language": self.entries[number].language,
                "committed_at": self.entries[number].committed_at if with_dates else None,
                "content": self.text(number),
            }
            for repository, name, number in kept
        )
        records.write_jsonl(path, rows)
        return sha256(path)

    def shingles_of(self, number: int) -> Hashes:
        """Return the shingle set of a document (sorted uint64 hashes, shape (shingles,)); recent ones are cached."""
        if (found := self.sets.pop(number, None)) is None:
            found = shingles(self.text(number))
            self.bytes_of_sets += found.nbytes
        self.sets[number] = found
        while self.bytes_of_sets > CACHED_BYTES:
            self.bytes_of_sets -= self.sets.pop(next(iter(self.sets))).nbytes
        return found

    def forget_shingles(self) -> None:
        """Free the memory of the cached shingle sets."""
        self.sets.clear()
        self.bytes_of_sets = 0

    def of_split(self, split: str) -> list[int]:
        return [number for number, entry in enumerate(self.entries) if entry.split == split]

    def by_preference(self, numbers: Sequence[int]) -> list[int]:
        """Return documents in the order of preference for keeping them: the shortest path first, then by name."""
        entries = self.entries
        return sorted(numbers, key=lambda n: (len(entries[n].path), entries[n].path, entries[n].repository))

    def reject(self, log: RejectionLog, number: int, rule: str, value: str) -> None:
        """Remove a document from its split and log the reason."""
        entry = self.entries[number]
        entry.split = "rejected"
        log.add(entry.repository, entry.path, entry.length, Rejection(rule, value))
