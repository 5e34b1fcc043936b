"""Repository context: the files nearest to a file, from the same split and language and without the file itself.

First come the files that it imports, matched by name (`import a.Reader` and `Reader.kt`, `from .reader import x` and
`reader.py`), those with the most folders in common first. Then come the files of its folder and subfolders, those of
the parent folder, and so on, by depth and path, so that the order does not depend on the engine. The text up to the
last import of a file says little about it and is left out.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from codefit.curation.corpus import Corpus
from codefit.records import Document

CHARACTERS = 8  # most characters per token of code, on average; no more text than this is read
IMPORT = re.compile(r"^[ \t]*(?:import|from|export)\b.*|^.*\brequire\(.*", re.MULTILINE)
HEAD = re.compile(r"^(?:package|import|from)\b[^\n(]*(?:\([^)]*\))?[^\n]*(?:\n+|\Z)", re.MULTILINE)
Key = tuple[str, str, str]


class Near:
    """Files by folder and by name, among which the nearest to a file are found.

    Args:
        files: repository, language and path of each file.
        max_tokens: tokens that the nearest files may fill.
    """

    def __init__(self, files: Iterable[Key], max_tokens: int) -> None:
        self.characters = CHARACTERS * max_tokens
        self.below: dict[Key, list[str]] = defaultdict(list)
        self.called: dict[Key, list[str]] = defaultdict(list)
        for repository, language, path in sorted(set(files), key=lambda file: (file[2].count("/"), file[2], file)):
            for folder in _folders(path):
                self.below[repository, language, folder].append(path)
            stem = posixpath.splitext(posixpath.basename(path))[0]
            self.called[repository, language, stem].append(path)

    def of(self, document: Document, text_of: Callable[[str], str | None]) -> list[tuple[str, int, str]]:
        """Return the nearest files of a document, up to the token limit: path, start of the text in the file, text.

        Args:
            document: the file.
            text_of: returns the text of a path of its repository, None for a file that is not there.
        """
        found: list[tuple[str, int, str]] = []
        room = self.characters
        for path in dict.fromkeys(self._ranked(document)):
            if path == document.path or (whole := text_of(path)) is None:
                continue
            start = max((match.end() for match in HEAD.finditer(whole)), default=0)
            text = whole[start:]
            if len(text) > room:
                text = text[: text.rfind("\n", 0, room) + 1]
            found.append((path, start, text))
            room -= len(text) + len(path)
            if room < self.characters // 8:
                break
        return found

    def _ranked(self, document: Document) -> Iterator[str]:
        names = dict.fromkeys(word for line in IMPORT.findall(document.content) for word in re.findall(r"\w+", line))
        imported = [n for name in names for n in self.called.get((document.repository, document.language, name), ())]
        folders = set(_folders(document.path))
        yield from sorted(imported, key=lambda path: -len(folders & set(_folders(path))))
        nearer = None
        for folder in _folders(document.path):
            for path in self.below.get((document.repository, document.language, folder), ()):
                if nearer is None or not path.startswith(f"{nearer}/"):
                    yield path
            nearer = folder


class Neighbours:
    """The files of one split, by folder and by name."""

    def __init__(self, corpus: Corpus, split: str, max_tokens: int) -> None:
        self.corpus = corpus
        entries = [(number, corpus.entries[number]) for number in corpus.of_split(split)]
        self.numbers = {(entry.repository, entry.path): number for number, entry in entries}
        self.near = Near(((entry.repository, entry.language, entry.path) for _, entry in entries), max_tokens)

    def of(self, document: Document) -> list[tuple[str, int, str]]:
        """Return the nearest files of a document in its split; see `Near.of`."""
        return self.near.of(document, lambda path: self.corpus.text(self.numbers[document.repository, path]))


def _folders(path: str) -> Iterator[str]:
    """Yield the parent folders of a path, the innermost first, the root as ""."""
    while path:
        path = posixpath.dirname(path)
        yield path
