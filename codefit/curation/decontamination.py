"""Decontamination: reject documents that contain a piece of a benchmark.

A piece is a 10-gram of words (DeepSeek-Coder, arXiv 2401.14196, section 2), or a whole benchmark text of three to nine
words that occurs in a document exactly, ignoring white space (StarCoder2, arXiv 2402.19173). A 10-gram that occurs in
more than ten documents, and in more than one of a thousand, is boilerplate such as a block of imports and is ignored.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codefit import records
from codefit.curation.dedup import Hashes, grams, is_in, word_hashes
from codefit.errors import UserError

GRAM, SHORTEST = 10, 3
COMMON_DOCUMENTS, COMMON_SHARE = 10, 0.001
NO_TEXTS = {
    "id",
    "task_id",
    "path",
    "repository",
    "repo",
    "language",
    "license",
    "url",
    "commit",
    "entry_point",
    "name",
}

Item = tuple[str, str]


def read_items(path: Path) -> Iterator[Item]:
    """Yield ("file:line", text) for every text in a JSONL or Parquet file; any other file is one text.

    Raises:
        UserError: the file cannot be read.
    """
    if path.suffix in {".jsonl", ".parquet"}:
        jsonl = path.suffix == ".jsonl"
        rows = (row for _, row in records.read_rows(path)) if jsonl else records.rows_of_parquet(path)
        for number, row in enumerate(rows, 1):
            values = [value for key, value in row.items() if key not in NO_TEXTS]
            yield from ((f"{path.name}:{number}", text) for text in _texts(values))
        return
    try:
        yield path.name, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"cannot read the benchmark {path}: {reason}; check --decontaminate.") from None


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


class Benchmarks:
    """The pieces of benchmark items, indexed to search for them in documents."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.names: list[str] = []
        self.short: dict[int, str] = {}  # for pieces of fewer than ten words: the whole text without white space
        owners: dict[int, int] = {}
        self.lengths: set[int] = set()
        for name, text in items:
            words = word_hashes(text)
            if len(words) < SHORTEST:
                continue
            length = min(GRAM, len(words))
            self.lengths.add(length)
            for piece in grams(words, length).tolist():
                owners.setdefault(piece, len(self.names))
                if length < GRAM:
                    self.short.setdefault(piece, _squeezed(text))
            self.names.append(name)
        self.pieces = np.array(sorted(owners), np.uint64)
        self.owners = [owners[piece] for piece in self.pieces.tolist()]

    def found_in(self, text: str) -> NDArray[np.int64]:
        """Return the numbers of the pieces that a document contains, sorted; shape (pieces found,), int64."""
        words = word_hashes(text)
        found: set[int] = set()
        for length in self.lengths if len(self.pieces) else ():
            held, places = is_in(self.pieces, grams(words, length))
            found.update(places[held].tolist())
        squeezed = _squeezed(text) if any(int(self.pieces[number]) in self.short for number in found) else ""
        return np.array(sorted(n for n in found if self.short.get(int(self.pieces[n]), "") in squeezed), np.int64)

    def name(self, piece: int) -> str:
        """Return the name of the first item that contains a piece."""
        return self.names[self.owners[piece]]


def _squeezed(text: str) -> str:
    return "".join(text.split())


def load_benchmarks(files: Sequence[Path]) -> Benchmarks:
    """Return the pieces of benchmark files.

    Raises:
        UserError: a file cannot be read, or none of them contains a text of three words.
    """
    benchmarks = Benchmarks(item for file in files for item in read_items(file))
    if not len(benchmarks.pieces):
        listed = ", ".join(map(str, files))
        raise UserError(f"{listed} contain no text of at least {SHORTEST} words; check --decontaminate.")
    return benchmarks


def contaminated(
    benchmarks: Benchmarks, found: Sequence[NDArray[np.int64]], boilerplate: Hashes | None = None
) -> tuple[dict[int, int], Hashes]:
    """Return the contaminated documents, {document: piece}, and the pieces that are boilerplate.

    Args:
        found: the pieces of each document, by `Benchmarks.found_in`; shape (pieces found,), int64.
        boilerplate: hashes of the pieces to ignore, shape (pieces,), uint64; None to find them from the documents.
    """
    if boilerplate is None:
        everything = np.concatenate([*found, np.zeros(0, np.int64)])
        numbers, documents = np.unique(everything, return_counts=True)
        common = numbers[documents > max(COMMON_DOCUMENTS, COMMON_SHARE * len(found))]
        boilerplate = benchmarks.pieces[common]
    counting = ~np.isin(benchmarks.pieces, boilerplate)
    first = {n: pieces[counting[pieces]] for n, pieces in enumerate(found) if len(pieces)}
    return {n: int(pieces[0]) for n, pieces in first.items() if len(pieces)}, boilerplate
