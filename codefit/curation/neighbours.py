"""Repository context: the files nearest to a file, from the same split and language and without the file itself.

First come the files that it imports, matched by name (`import a.Reader` and `Reader.kt`, `from .reader import x` and
`reader.py`), those with the most folders in common first. Then come the files of its folder and subfolders, those of
the parent folder, and so on, by depth and path, so that the order does not depend on the engine. The text up to the
last import of a file says little about it and is left out.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator

from codefit.curation.corpus import Corpus
from codefit.records import Document

CHARACTERS = 8  # most characters per token of code, on average; no more text than this is read
IMPORT = re.compile(r"^[ \t]*(?:import|from|export)\b.*|^.*\brequire\(.*", re.MULTILINE)
HEAD = re.compile(r"^(?:package|import|from)\b[^\n(]*(?:\([^)]*\))?[^\n]*(?:\n+|\Z)", re.MULTILINE)
Key = tuple[str, str, str]


class Neighbours:
    """The files of one split, by folder and by name."""

    def __init__(self, corpus: Corpus, split: str, max_tokens: int) -> None:
        self.corpus = corpus
        self.characters = CHARACTERS * max_tokens
        self.below: dict[Key, list[int]] = defaultdict(list)
        self.called: dict[Key, list[int]] = defaultdict(list)
        entries = corpus.entries
        for number in sorted(corpus.of_split(split), key=lambda n: (entries[n].path.count("/"), entries[n].path)):
            entry = entries[number]
            for folder in _folders(entry.path):
                self.below[entry.repository, entry.language, folder].append(number)
            stem = posixpath.splitext(posixpath.basename(entry.path))[0]
            self.called[entry.repository, entry.language, stem].append(number)

    def of(self, document: Document) -> list[tuple[str, int, str]]:
        """Return the nearest files of a document, up to the token limit: path, start of the text in the file, text."""
        found: list[tuple[str, int, str]] = []
        room = self.characters
        for number in dict.fromkeys(self._ranked(document)):
            path = self.corpus.entries[number].path
            if path == document.path:
                continue
            whole = self.corpus.text(number)
            start = max((match.end() for match in HEAD.finditer(whole)), default=0)
            text = whole[start:]
            if len(text) > room:
                text = text[: text.rfind("\n", 0, room) + 1]
            found.append((path, start, text))
            room -= len(text) + len(path)
            if room < self.characters // 8:
                break
        return found

    def _ranked(self, document: Document) -> Iterator[int]:
        names = dict.fromkeys(word for line in IMPORT.findall(document.content) for word in re.findall(r"\w+", line))
        imported = [n for name in names for n in self.called.get((document.repository, document.language, name), ())]
        folders = set(_folders(document.path))
        yield from sorted(imported, key=lambda n: -len(folders & set(_folders(self.corpus.entries[n].path))))
        nearer = None
        for folder in _folders(document.path):
            for number in self.below[document.repository, document.language, folder]:
                if nearer is None or not self.corpus.entries[number].path.startswith(f"{nearer}/"):
                    yield number
            nearer = folder


def _folders(path: str) -> Iterator[str]:
    """Yield the parent folders of a path, the innermost first, the root as ""."""
    while path:
        path = posixpath.dirname(path)
        yield path
