"""The journal of an unfinished output: what was written so far, from which the next run can continue.

After each source the journal records the sizes of its files. The same command, run again, keeps the remote sources that
were finished and reads all others again: local sources may have changed, and reading them is fast.
"""

import contextlib
import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from codefit import outputs, records
from codefit.records import STATE, Change, Document, Rejection
from codefit.sources.source import Place


@dataclasses.dataclass
class Tally:
    """The counts of one source; `suffixes` counts all its files, wanted or not.

    `changes` are the files of later commits about which something can be asked, `left_out` the others by reason.
    """

    place: Place
    facts: dict[str, str] = dataclasses.field(default_factory=dict)
    files: int = 0
    documents: int = 0
    bytes: int = 0
    rejections: Counter[str] = dataclasses.field(default_factory=Counter)
    suffixes: Counter[str] = dataclasses.field(default_factory=Counter)
    changes: int = 0
    left_out: Counter[str] = dataclasses.field(default_factory=Counter)

    def add(self, outcome: Document | Rejection) -> None:
        """Count the outcome of one file."""
        self.files += 1
        if isinstance(outcome, Rejection):
            self.rejections[outcome.rule] += 1
        else:
            self.documents += 1
            text = outcome.content
            self.bytes += len(text) if text.isascii() else len(text.encode())

    def add_change(self, change: Change) -> None:
        """Count a change of a later commit."""
        if not change.left_out:
            self.changes += 1
        elif change.left_out != STATE:
            self.left_out[change.left_out] += 1


def _tally(row: dict[str, Any]) -> Tally:
    counters = {name: Counter(row[name]) for name in ("rejections", "suffixes", "left_out")}
    return Tally(**{**row, **counters, "place": Place(**row["place"])})


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


class Journal:
    """The files in the workspace that become the output: documents, rejections, changes, and a record of their sizes.

    Args:
        output: the final path of the documents.
        command: settings that must be equal for a run to continue an earlier one.
    """

    def __init__(self, output: Path, command: dict[str, Any]) -> None:
        folder = outputs.workspace(output)
        self.documents, self.rejected, self.changes, self.progress = (
            folder / name for name in ("documents", "rejected", "changes", "progress")
        )
        self.tallies: list[Tally] = []
        self.resumable = True
        sizes = self._recall(command)
        self._files = [self._opened(path, size) for path, size in zip(self._paths(), sizes, strict=True)]
        if not self.tallies:
            self._note(command)
        self.seen = {row.blob: (row.repository, row.path) for row in records.read_jsonl(self.documents, Document)}

    def _paths(self) -> tuple[Path, Path, Path, Path]:
        return self.documents, self.rejected, self.changes, self.progress

    def _recall(self, command: dict[str, Any]) -> tuple[int, int, int, int]:
        """Take over the tallies of finished sources, and return the valid size of each file."""
        try:
            return self._recalled(command)
        except (ValueError, TypeError, KeyError, AttributeError):  # damaged
            self.tallies = []
            return 0, 0, 0, 0

    def _recalled(self, command: dict[str, Any]) -> tuple[int, int, int, int]:
        sizes, end = (0, 0, 0, 0), 0
        lines = self.progress.read_bytes().splitlines(keepends=True) if self.progress.exists() else []
        for number, line in enumerate(lines):
            end += len(line)
            if not line.endswith(b"\n") or (number == 0 and json.loads(line) != json.loads(json.dumps(command))):
                break
            if number:
                row = json.loads(line)
                valid = row["documents"], row["rejected"], row["changes"]
                if any(_size(path) < size for path, size in zip(self._paths(), valid, strict=False)):
                    break  # the run was stopped while they became the output
                self.tallies.append(_tally(row["tally"]))
                sizes = (*valid, end)
        return sizes

    @staticmethod
    def _opened(path: Path, size: int) -> Any:
        path.touch()
        os.truncate(path, size)
        return path.open("ab", buffering=1 << 20)

    def write(self, place: Place, path: str, outcome: Document | Rejection) -> None:
        """Write a document, or the rejection of a path."""
        if isinstance(outcome, Rejection):
            row = {"repository": place.name, "path": path, "rule": outcome.rule, "value": outcome.value}
            self._files[1].write(records.to_line(row).encode())
        else:
            self._files[0].write(records.to_line(outcome).encode())

    def write_change(self, change: Change) -> None:
        """Write a change of a later commit."""
        self._files[2].write(records.to_line(change).encode())

    def finish(self, tally: Tally) -> None:
        """Record that a source is finished."""
        self.tallies.append(tally)
        self.resumable = self.resumable and tally.place.kind == "url"
        if self.resumable:
            for file in self._files[:3]:
                file.flush()
                os.fsync(file.fileno())
            documents, rejected, changes = (file.tell() for file in self._files[:3])
            row = {**vars(tally), "place": dataclasses.asdict(tally.place)}
            self._note({"tally": row, "documents": documents, "rejected": rejected, "changes": changes})

    def _note(self, row: dict[str, Any]) -> None:
        self._files[3].write(json.dumps(row).encode() + b"\n")
        self._files[3].flush()
        os.fsync(self._files[3].fileno())

    def close(self) -> None:
        """Flush and close the files."""
        with contextlib.ExitStack() as stack:
            for file in self._files:
                stack.callback(file.close)

    def remove(self) -> None:
        """Remove the files that are not part of the output, if they still exist."""
        for path in self._paths():
            path.unlink(missing_ok=True)


def write_parquet(path: Path, documents: Iterable[Document], rows_at_once: int) -> None:
    """Write documents as Parquet, with at most `rows_at_once` rows in memory."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([(field.name, pyarrow.string()) for field in dataclasses.fields(Document)])
    with pyarrow.parquet.ParquetWriter(path, schema) as file:
        rows: list[dict[str, str]] = []
        for document in documents:
            rows.append(dataclasses.asdict(document))
            if len(rows) == rows_at_once:
                file.write_table(pyarrow.Table.from_pylist(rows, schema))
                rows.clear()
        file.write_table(pyarrow.Table.from_pylist(rows, schema))
