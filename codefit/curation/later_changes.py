"""The test pairs of a history: curated files at every commit, and what each commit added to them.

The texts of a history are curated like documents, so that a prompt contains no secret, no generated code and no licence
header. A text that curation rejects is taken as absent. The curated history is part of the data set: it says for every
test pair which files its author had (codefit/sources/timeline.py).
"""

import dataclasses
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from codefit import console, records
from codefit.curation.curate import BATCH, CurationOptions, curate_all
from codefit.curation.neighbours import Near
from codefit.engine import Engine
from codefit.errors import UserError
from codefit.manifest import read_manifest
from codefit.records import STATE, Change, Document, Rejection
from codefit.sources.timeline import Files, Timeline, Version
from codefit.tasks.additions import Addition, added_lines, calls

Name = tuple[str, str, str]  # repository, path and blob of a text

# What introduces a function or class: a keyword before its name, or the head of a method in C, Java and their like.
DEFINITION = re.compile(
    r"\b(?:def|class|fun|func|function|fn|interface|object|struct|enum|trait|record)\s+(?:\([^()\n]*\)\s*)?([^\W\d]\w*)"
    r"|^[ \t]*(?:[\w<>\[\],.?*&:]+[ \t]+)+\*?([^\W\d]\w*)[ \t]*\([^;{}()\n]*\)[^;{}()\n]*\{",
    re.MULTILINE,
)
NO_NAMES = {"if", "for", "while", "switch", "catch", "synchronized", "using", "lock", "foreach", "when", "return"}
MOST_CACHED = 4096  # files whose definitions are kept


def histories(inputs: Sequence[str]) -> list[Path]:
    """Return the history of each document file that parse_data.py wrote with one.

    Raises:
        UserError: a history is missing.
    """
    found = []
    for source in map(Path, inputs):
        if source.is_file() and (read_manifest(source).get("arguments") or {}).get("history"):
            path = source.with_name(f"{source.name}.{records.HISTORY}")
            if not path.is_file():
                raise UserError(f"{path} is missing; run parse_data.py again, or put it next to {source}.")
            found.append(path)
    return found


def refuse_flags(histories: Sequence[Path], task: str, split_by: str) -> None:
    """Raise UserError if the flags do not suit test pairs from later commits."""
    if histories and task != "completion":
        raise UserError(f"{histories[0]} gives test pairs of the task completion only; use --task completion.")
    if histories and split_by == "time":
        raise UserError(
            f"{histories[0]} gives the test pairs, so --split_by time has nothing to split; use --split_by file."
        )


class CuratedHistory:
    """Writes the curated history of a data set: first the documents, then the changes.

    Attributes:
        left_out: the changes that are left out, by reason.
    """

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.known: set[Name] = set()
        self.commits: set[tuple[str, str]] = set()  # repository and commit
        self.left_out: Counter[str] = Counter()
        self.changes = 0

    def add_document(self, document: Document) -> None:
        """Write a curated document, as a file of the first commit."""
        self._write(
            Change(
                document.path,
                document.commit,
                repository=document.repository,
                committed_at=document.committed_at,
                language=document.language,
                license=document.license,
                blob=document.blob,
                content=document.content,
                left_out=STATE,
            )
        )

    def add_histories(self, paths: Iterable[Path], options: CurationOptions, engine: Engine) -> None:
        """Curate and write the changes of several histories."""
        for path in paths:
            changes = console.progress(records.read_jsonl(path, Change), "curate later changes", unit="file")
            self.add_changes(changes, options, engine)

    def add_changes(self, changes: Iterable[Change], options: CurationOptions, engine: Engine) -> None:
        """Curate and write the changes of a history."""
        waiting: deque[Change] = deque()

        def documents() -> Iterator[Document]:
            for change in changes:
                waiting.append(change)
                if change.content is not None:
                    yield _document(change, change.content)

        for _, curated in curate_all(documents(), options, engine):
            while waiting[0].content is None:
                self._add(waiting.popleft())
            change = waiting.popleft()
            if isinstance(curated.outcome, Rejection):
                self._add(dataclasses.replace(change, content=None, left_out=change.left_out or curated.outcome.rule))
            else:
                language = curated.outcome.language
                self._add(dataclasses.replace(change, content=curated.outcome.content, language=language))
        while waiting:
            self._add(waiting.popleft())

    def _add(self, change: Change) -> None:
        """Write a change; a text that was rejected is absent, and so is a parent of which no file is left."""
        if (change.repository, change.parent) not in self.commits:
            change = dataclasses.replace(change, parent="")
        if change.content is None and _name(change, change.blob) not in self.known:
            if change.left_out == STATE and not change.parent:
                return
            change = dataclasses.replace(change, blob="", left_out=change.left_out or "rejected text")
        if not change.left_out and change.previous and _name(change, change.previous) not in self.known:
            change = dataclasses.replace(change, left_out="no earlier text")
        if not change.left_out:
            self.changes += 1
        elif change.left_out != STATE:
            self.left_out[change.left_out] += 1
        self._write(change)

    def _write(self, change: Change) -> None:
        if change.blob:
            self.known.add(_name(change, change.blob))
        self.commits.add((change.repository, change.commit))
        self.file.write(records.to_line(change))


def _name(change: Change, blob: str) -> Name:
    return change.repository, change.path, blob


def _document(change: Change, content: str) -> Document:
    return Document(
        content,
        change.path,
        change.repository,
        change.commit,
        change.committed_at,
        change.language,
        change.license,
        change.blob,
    )


class Additions:
    """What the commits of a curated history added.

    Args:
        path: the curated history.
        max_tokens: tokens of each prompt to fill with other files.
    """

    def __init__(self, path: Path, max_tokens: int = 0) -> None:
        self.path = path
        self.timeline = Timeline(path)
        self.defining: dict[tuple[str, str], set[str]] = defaultdict(set)  # paths that ever defined a name
        self.cached: dict[Version, set[str]] = {}
        self.near = Near(self._indexed(), max_tokens) if max_tokens else None
        if not max_tokens:
            deque(self._indexed(), maxlen=0)

    def _indexed(self) -> Iterator[tuple[str, str, str]]:
        """Yield repository, language and path of every text, and note which names it defines."""
        for change in records.read_jsonl(self.path, Change):
            for name in definitions(change.content or ""):
                self.defining[change.repository, name].add(change.path)
            yield change.repository, change.language, change.path

    def __iter__(self) -> Iterator[Addition]:
        """Yield the additions of all changes that are not left out; one without an added line is left out, too."""
        before, at = None, ("", "")
        for change in records.read_jsonl(self.path, Change):
            if change.left_out or change.content is None:
                continue
            if before is None or at != (change.repository, change.commit):
                at = change.repository, change.commit
                before = self.timeline.before(*at)
            earlier = before[change.path] if change.previous else ""
            spans = added_lines(earlier, change.content)
            if spans:
                document = _document(change, change.content)
                own = frozenset(
                    name for name in calls(document, spans) if self._defined(change.repository, name, before)
                )
                near = self.near.of(document, before.get) if self.near else []
                yield Addition(document, spans, not change.previous, own, near)

    def _defined(self, repository: str, name: str, files: Files) -> bool:
        """Return whether one of the files defines a name."""
        paths = self.defining.get((repository, name), set())
        return any(name in self._definitions(files.versions[path]) for path in sorted(paths) if path in files.versions)

    def _definitions(self, version: Version) -> set[str]:
        if version not in self.cached:
            if len(self.cached) == MOST_CACHED:
                self.cached.clear()
            self.cached[version] = definitions(self.timeline.text(version))
        return self.cached[version]


def definitions(text: str) -> set[str]:
    """Return the names of the functions and classes that a text defines, as far as a pattern can tell."""
    return {one or other for one, other in DEFINITION.findall(text)} - NO_NAMES


def batched(additions: Iterable[Addition]) -> Iterator[list[Addition]]:
    """Yield additions in lists whose files have about a quarter of a megabyte."""
    batch: list[Addition] = []
    size = 0
    for addition in additions:
        batch.append(addition)
        size += len(addition.document.content)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
