"""The chunks of a repository, ranked by how much they are like the text at a cursor.

A chunk is a few lines of a file. It ends early at a blank line or before a definition, so that a change elsewhere in
the file leaves it as it is, and the same chunk of many versions of a file is indexed once. Frequencies of words are
those of all files that any prompt may see; only they, and no text, could be newer than a prompt of an earlier commit.
"""

import dataclasses
import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from codefit.code import names
from codefit.code.lexer import IDENTIFIER
from codefit.scoring.statistics import Array
from codefit.sources.timeline import Version

LINES, LEAST = 8, 3  # of a chunk: at most, and at least where it ends early
QUERY = 600  # characters before the cursor that are searched for
LAST = 2  # lines before the cursor that count again
IMPORTED, SAME_FOLDER = 1.0, 0.3  # bonus of a chunk, as a share of its score
HEAD = re.compile(
    r"[ \t]*(?:[a-z]+[ \t]+)*(?:def|class|fun|func|function|fn|interface|object|struct|enum|trait|type)\b"
)
Place = tuple[str, Version]  # path and text of a file
Numbers = NDArray[np.intp]


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk that was found: its file, its first and last character there, and its score."""

    path: str
    version: Version
    start: int
    end: int
    score: float


class ChunkIndex:
    """The chunks of all files of a repository, in all states that are asked about.

    Args:
        places: the files.
        text_of: returns the text of a version.
    """

    def __init__(self, places: Iterable[Place], text_of: Callable[[Version], str]) -> None:
        import bm25s

        numbers: dict[tuple[str, str], int] = {}
        tokens: list[list[str]] = []
        self._chunks: dict[Place, Numbers] = {}
        # The state that was asked for last, with what it shows.
        self._state: tuple[Mapping[str, Version], tuple[list[Place], Numbers, Numbers]] | None = None
        for path, version in places:
            text = text_of(version)
            rows = []
            for start, end in chunks(text):
                key = path, text[start:end]
                if key not in numbers:
                    numbers[key] = len(tokens)
                    tokens.append(words(key[1]))
                rows.append((numbers[key], start, end))
            self._chunks[path, version] = np.array(rows, np.intp).reshape(-1, 3)
        self._size = len(tokens)
        self._bm25 = bm25s.BM25()
        if tokens:
            self._bm25.index(tokens, show_progress=False)

    def best(
        self, prompt: str, suffix: str, files: Mapping[str, Version], own: str, imported: Collection[str], most: int
    ) -> list[Chunk]:
        """Return the best chunks, the best first.

        Args:
            prompt: the text before the cursor.
            suffix: as much of the text after the cursor as is searched for.
            files: the state that the prompt may see.
            own: path of the prompt's file, which it may not see.
            imported: words of its imports.
            most: number of chunks.
        """
        places, rows, file_of = self._visible(files)
        if not len(rows):
            return []
        last = "\n".join([line for line in prompt[-QUERY:].splitlines() if line.strip()][-LAST:])
        scores = self._scores(words(prompt[-QUERY:]) + words(suffix) + words(last))
        found = scores[rows[:, 0]] * np.array([_factor(path, own, imported) for path, _ in places])[file_of]
        order = np.argsort(-found, kind="stable")[:most]
        return [_chunk(places[file_of[at]], rows[at], float(found[at])) for at in order if found[at] > 0]

    def _scores(self, query: list[str]) -> Array:
        """Return the score of each chunk, shape (chunks,), float64."""
        if not query:
            return np.zeros(self._size)
        return np.asarray(self._bm25.get_scores(query), np.float64)

    def _visible(self, files: Mapping[str, Version]) -> tuple[list[Place], Numbers, Numbers]:
        """Return the files of a state that have chunks, and the chunks with the numbers of their files.

        A row of the chunks, shape (visible, 3), intp, is the number of the text, its start and its end.
        """
        if self._state is None or self._state[0] is not files:
            places = [place for place in files.items() if len(self._chunks.get(place, ()))]
            rows = [self._chunks[place] for place in places]
            file_of = np.repeat(np.arange(len(places)), [len(each) for each in rows])
            self._state = files, (places, np.concatenate([np.zeros((0, 3), np.intp), *rows]), file_of)
        return self._state[1]


def _chunk(place: Place, row: Numbers, score: float) -> Chunk:
    """Return a chunk from its row, shape (3,): the number of its text, its start and its end."""
    path, version = place
    return Chunk(path, version, int(row[1]), int(row[2]), score)


def _factor(path: str, own: str, imported: Collection[str]) -> float:
    """Return what the scores of a file are multiplied by; 0 for the prompt's own file."""
    if path == own:
        return 0.0
    folder, name = posixpath.split(path)
    stem = posixpath.splitext(name)[0]
    is_imported = (posixpath.basename(folder) if stem == "__init__" else stem) in imported
    return 1 + IMPORTED * is_imported + SAME_FOLDER * (folder == posixpath.dirname(own))


def chunks(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of the chunks of a text, without the blank lines around them; each has a word."""
    start = at = lines = 0
    blank = False  # whether the line before is
    for line in text.splitlines(keepends=True):
        if lines >= LINES or (lines >= LEAST and (blank or HEAD.match(line))):
            yield from _stripped(text, start, at)
            start, lines = at, 0
        at += len(line)
        lines += 1
        blank = not line.strip()
    yield from _stripped(text, start, at)


def _stripped(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of the lines of a part of a text from the first to the last that is not blank."""
    piece = text[start:end]
    if IDENTIFIER.search(piece):
        first = piece.rfind("\n", 0, len(piece) - len(piece.lstrip())) + 1
        last = piece.find("\n", len(piece.rstrip())) + 1
        yield start + first, start + last if last else end


def words(text: str) -> list[str]:
    """Return the names of a text and, in lower case, the parts of names of several parts."""
    found = []
    for name in IDENTIFIER.findall(text):
        parts = names.parts(name)
        found += [name, *(parts if len(parts) > 1 else ())]
    return found
