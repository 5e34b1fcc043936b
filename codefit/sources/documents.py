"""Turn the files of a source into documents, with a reason for every file that is rejected.

Several sources are opened at a time, because opening is mostly waiting for the network. They are read one after the
other, so that the result does not depend on which was ready first.
"""

import contextlib
import dataclasses
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from codefit import console
from codefit.code.languages import language_of
from codefit.errors import UserError
from codefit.records import Document, Rejection
from codefit.sources.code_blocks import Block, code_blocks, is_page
from codefit.sources.licences import licence_of, licences_of_packages
from codefit.sources.locate import open_source
from codefit.sources.source import Member, Place, Source

OPEN_AHEAD = 8  # sources opened in advance while one is read
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MARKS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
BINARY_PROBE = 8192  # bytes searched for a NUL, as many as in git's own test

Seen = dict[str, tuple[str, str]]  # repository and path of each blob so far
Outcome = tuple[str, Document | Rejection]


@dataclasses.dataclass(frozen=True, slots=True)
class Selection:
    """Which files of a source are wanted. With `code_blocks` these are pages, and the code blocks in them.

    Only files of `subfolder` are wanted, if it is not "". With `uncommitted`, local repositories are read as they are,
    with `since`, git repositories as they were at that date.
    """

    languages: Sequence[str]
    min_bytes: int = 1
    max_bytes: int = 1_000_000
    code_blocks: bool = False
    subfolder: str = ""
    uncommitted: bool = False
    since: str = ""

    def covers(self, path: str) -> bool:
        """Return whether a file is in the subfolder."""
        return not self.subfolder or path.startswith(f"{self.subfolder}/")

    def wants(self, path: str) -> bool:
        """Return whether a file is wanted by its name."""
        if not self.covers(path):
            return False
        row = language_of(path)
        return is_page(path) if self.code_blocks else row is not None and row.name in self.languages


class OpenSource:
    """An open source with its wanted files on this machine.

    Attributes:
        facts: what all its documents share.
        notes: sentences about files that were left out.

    Raises:
        UserError: it has no file in the selected subfolder.
    """

    def __init__(self, place: Place, source: Source, selection: Selection, seen: Seen) -> None:
        self.source = source
        self.selection = selection
        self.members = source.members()
        if selection.subfolder and not any(selection.covers(member.path) for member in self.members):
            raise UserError(f"{place.name} has no folder {selection.subfolder}; check --subfolder.")
        license = licence_of(source, self.members)
        self.facts = Document("", "", place.name, source.commit, source.committed_at, license=license)
        self.wanted = [member for member in self.members if selection.wants(member.path)]
        self.packages: dict[str, str] = {}  # licences by file, if the source is a folder of installed packages
        if place.kind == "directory":
            self.packages = licences_of_packages(source, self.members, {member.path for member in self.wanted})
        self.notes = list(_notes(place.name, source, self.members, selection))
        source.fetch([member for member in self.wanted if member.blob not in seen])

    def outcomes(self, seen: Seen) -> Iterator[Outcome]:
        """Yield each wanted file: its path, and its document or rejection.

        Args:
            seen: repository and path of each blob so far, by blob id; extended here. These blobs are not read again.
        """
        if self.selection.code_blocks:
            return self._blocks(seen)
        return self._files(self.wanted, seen)

    def _files(self, members: Sequence[Member], seen: Seen) -> Iterator[Outcome]:
        """Yield the outcome of each member. If several members have the same blob, only the first is read."""
        planned: set[str] = set()
        to_read = []
        for member in members:
            if not (member.rejection or member.blob in seen or member.blob in planned):
                to_read.append(member)
                planned.update([member.blob] if member.blob else [])
        contents = self.source.read(to_read, self.selection.max_bytes)
        refused: dict[str, Rejection] = {}
        for member in members:
            outcome: Document | Rejection | None
            outcome = member.rejection or _repeated(seen, member.blob) or refused.get(member.blob)
            if outcome is None:
                content = next(contents)
                outcome = content if isinstance(content, Rejection) else self._document(member, content, seen)
                if member.blob and isinstance(outcome, Rejection):
                    refused[member.blob] = outcome
            yield member.path, outcome

    def _document(self, member: Member, content: bytes, seen: Seen) -> Document | Rejection:
        row = language_of(member.path)
        assert row is not None  # only files of the wanted languages get here
        return self._kept(member.path, row.name, content, member.blob or blob_id(content), seen)

    def _kept(self, path: str, language: str, content: bytes, blob: str, seen: Seen) -> Document | Rejection:
        text = _repeated(seen, blob) or text_of(content, self.selection.min_bytes)
        if isinstance(text, Rejection):
            return text
        facts = self.facts
        seen[blob] = facts.repository, path
        where, commit, date = facts.repository, facts.commit, facts.committed_at
        license = self.packages.get(path) or self.packages.get(path.partition("/")[0]) or facts.license
        return Document(text, path, where, commit, date, language, license, blob)

    # ------------------------------------------------------------------------------------------- code blocks

    def _blocks(self, seen: Seen) -> Iterator[Outcome]:
        """Yield the blocks of each page, then each file that pages include, once."""
        included: set[str] = set()
        files = {member.path: member for member in self.members}
        contents = self.source.read([page for page in self.wanted if not page.rejection], self.selection.max_bytes)
        for member in self.wanted:
            content = member.rejection or next(contents)
            text = content if isinstance(content, Rejection) else text_of(content)
            if isinstance(text, Rejection):
                yield member.path, text
                continue
            for block in code_blocks(member.path, text, files):
                if block.includes:
                    included.update(path for path in block.includes if self._asked(language_of(path)))
                elif block.rejection or self._asked(block.language):
                    yield block.path, block.rejection or self._block(block, seen)
        yield from self._files([files[path] for path in sorted(included)], seen)

    def _asked(self, language: object) -> bool:
        return getattr(language, "name", None) in self.selection.languages

    def _block(self, block: Block, seen: Seen) -> Document | Rejection:
        assert block.language is not None
        content = block.content.encode()
        if len(content) > self.selection.max_bytes:
            return Rejection("too large", len(content))
        return self._kept(block.path, block.language.name, content, blob_id(content), seen)


def _notes(name: str, source: Source, members: Sequence[Member], selection: Selection) -> Iterator[str]:
    if skipped := [folder for folder in getattr(source, "skipped", ()) if selection.covers(f"{folder}/")]:
        listed = ", ".join(skipped[:3]) + (f" and {len(skipped) - 3} more" if len(skipped) > 3 else "")
        yield f"left out installed packages in {name}: {listed}"
    if root := getattr(source, "work_tree", None):
        from codefit.sources.work_tree import uncommitted

        changed: list[str] = []
        with contextlib.suppress(UserError):  # a damaged index does not matter, since the commit is read
            changed = uncommitted(root, source.git, members, selection.wants)  # type: ignore[attr-defined]
        if changed:
            yield (
                f"{name} has {console.counted(len(changed), 'file')} with uncommitted changes; "
                "the last commit was read, and --uncommitted reads the files as they are"
            )


def blob_id(content: bytes) -> str:
    """Return git's blob id of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _repeated(seen: Seen, blob: str) -> Rejection | None:
    return Rejection("same blob", "/".join(seen[blob])) if blob in seen else None


def text_of(content: bytes, min_bytes: int = 0) -> str | Rejection:
    """Return a file as text without its byte order mark, or the reason why it is not text."""
    if len(content) < min_bytes:
        return Rejection("too small", len(content))
    if content.startswith(LFS_POINTER):
        return Rejection("LFS pointer", len(content))
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return Rejection("not UTF-8", encoding)
    if (position := content.find(b"\0", 0, BINARY_PROBE)) >= 0:
        return Rejection("binary", f"NUL at byte {position}")
    try:
        return content.removeprefix(BYTE_ORDER_MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        return Rejection("not UTF-8", f"byte {error.start}")


# ------------------------------------------------------------------------------------------- many sources


@contextlib.contextmanager
def opened(
    places: Iterable[Place], revision: str | None, selection: Selection, seen: Seen
) -> Iterator[Iterator[tuple[Place, OpenSource | UserError]]]:
    """Open sources, several at a time, and yield an iterator over them in their order.

    A source is closed, and its temporary files are removed, when the next one is requested. A source that could not be
    opened is yielded as its error.
    """

    def start(place: Place) -> tuple[contextlib.ExitStack, OpenSource | UserError]:
        with contextlib.ExitStack() as stack:
            try:
                source = open_source(place, revision, selection.uncommitted, selection.since)
                found = OpenSource(place, stack.enter_context(source), selection, seen)
            except UserError as error:
                return stack.pop_all(), error
            return stack.pop_all(), found

    def in_order() -> Iterator[tuple[Place, OpenSource | UserError]]:
        for place in waiting:
            begun.append((place, pool.submit(start, place)))
            if len(begun) > OPEN_AHEAD:
                yield from first()
        while begun:
            yield from first()

    def first() -> Iterator[tuple[Place, OpenSource | UserError]]:
        place, future = begun[0]
        stack, found = future.result()
        with stack:
            yield place, found
        begun.popleft()

    waiting = iter(places)
    begun: deque[tuple[Place, Future[tuple[contextlib.ExitStack, OpenSource | UserError]]]] = deque()
    with ThreadPoolExecutor(OPEN_AHEAD, "codefit-source") as pool:
        try:
            yield in_order()
        finally:
            for _, future in begun:
                if not future.cancel():
                    future.result()[0].close()
