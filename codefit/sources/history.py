"""The history of a repository after a date: how later commits changed its files, and why a change is left out.

Git lists the commits once (`rev-list`), then the files of each that differ from its parent (`diff-tree`), and gives the
texts one by one (`cat-file`): three streams, whose length does not matter to the memory that they need. What is kept in
memory is ids: of the commits, and of the texts that each path has had.

Every commit is recorded, those too that are left out: the files that an author had are only known if all changes are. A
branch that began before the date is recorded with what its first commit differs in from the commit at the date.
"""

import contextlib
import dataclasses
import tempfile
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO

from codefit.code.languages import Language, language_of
from codefit.code.tokens import only_layout
from codefit.dates import moment
from codefit.errors import UserError
from codefit.records import STATE, Change, Document, Rejection
from codefit.sources.documents import OpenSource, Selection, text_of
from codefit.sources.git import CHUNK, MAX_FILES, MAX_LISTING, SUBMODULE, SYMLINK, Git, GitRepository
from codefit.sources.source import Member, named

REVERTS = ("-E", "--grep=^This reverts commit [0-9a-f]{7,64}", '--grep=^Revert "')
SIMILARITY, MOST_RENAMES = "-M50%", "-l400"  # a rename changes at most half of a file; files compared per commit
AHEAD = 128  # texts asked for at once: their ids fit into the buffer of a pipe
CACHED_BYTES = 8 << 20  # texts kept for the next commits, which often change the same files

NOTHING = b"000000"  # the mode of a file that does not exist


@dataclasses.dataclass(frozen=True, slots=True)
class Commit:
    """A commit to record: the commit that it is compared with, its date, and why all its changes are left out."""

    parent: str
    committed_at: str = ""
    left_out: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """A file that two commits differ in. A blob is "" where there is no regular file; `was` is its earlier path."""

    path: bytes
    was: bytes
    blob: str
    previous: str


class Past(GitRepository):
    """A repository as it was at a date, and what later commits changed.

    Attributes:
        commit: the last commit of the main line before the date.
        tip: the newest commit.
        since: the date.

    Raises:
        UserError: there is no commit before the date or none after it, or the clone is partial.
    """

    def __init__(self, repository: GitRepository, since: str) -> None:
        git, tip = repository.git, repository.commit
        if repository.may_lack:
            raise UserError(
                f"{git.where} is a partial clone, which lacks the texts of earlier commits; clone it without --filter."
            )
        super().__init__(git, _last_before(git, tip, since), may_lack=False)
        self.tip, self.since = tip, since
        if self.commit == tip:
            raise UserError(
                f"{git.where} has no commit since {since} (its last one is of {self.committed_at[:10]}); choose an "
                "earlier date for --history."
            )

    def commits(self) -> dict[str, Commit]:
        """Return the commits after the date by id, a parent before its children."""
        since = _seconds(self.since)
        span = f"{self.commit}..{self.tip}"
        reverts = set(self.git.text("rev-list", *REVERTS, span).split())
        found = {self.commit: Commit("")}
        words = ("--topo-order", "--reverse", "--no-commit-header", "--format=%H|%ct|%cI|%P")
        with self.git.stream("rev-list", *words, span) as stream:
            for line in stream:
                name, seconds, date, known = line.decode().strip().split("|")
                parents, left_out = known.split(), ""
                if not parents:  # the first commit of an unrelated branch, or of a shallow clone
                    left_out = "no parent"
                elif len(parents) > 1:
                    left_out = "merge"
                elif int(seconds or 0) < since:  # git knows no seconds of a commit without a date
                    left_out = "before the date"
                elif name in reverts:
                    left_out = "revert"
                parent = parents[0] if parents else self.commit
                if parent not in found:
                    found[parent] = Commit(self.commit, left_out=STATE)
                found[name] = Commit(parent, date if moment(date) else "", left_out)
        del found[self.commit]
        return found

    def differences(self, commits: Mapping[str, Commit]) -> Iterator[tuple[str, list[Difference]]]:
        """Yield the files in which each commit differs from its parent; commits without any are left out."""
        with tempfile.TemporaryFile() as pairs:
            pairs.writelines(f"{name} {commit.parent}\n".encode() for name, commit in commits.items())
            pairs.seek(0)
            words = ("diff-tree", "--stdin", "-r", "-z", "--raw", SIMILARITY, MOST_RENAMES)
            with self.git.stream(*words, stdin=pairs) as stream:
                yield from self._grouped(self._fields(stream))

    def _fields(self, stream: IO[bytes]) -> Iterator[bytes]:
        """Yield the texts between NULs."""
        rest = b""
        while block := stream.read(CHUNK):
            *fields, rest = (rest + block).split(b"\0")
            yield from fields
            if len(rest) > MAX_LISTING:
                raise self._too_large()

    def _grouped(self, fields: Iterator[bytes]) -> Iterator[tuple[str, list[Difference]]]:
        """Yield each commit with its files from the output of `diff-tree --stdin -z --raw`."""
        name, group = "", list[Difference]()
        for field in fields:
            if field[:1] == b":":
                _, mode, previous, blob, status = field.split()
                was = next(fields)
                path = next(fields) if status[:1] == b"R" else was
                there = mode not in {SYMLINK, SUBMODULE} and status != b"D"
                before = field[1:7] not in {SYMLINK, SUBMODULE, NOTHING}
                group.append(Difference(path, was, blob.decode() * there, previous.decode() * before))
                if len(group) > MAX_FILES:
                    raise self._too_large()
                continue
            if group:
                yield name, group
            name, group = field.decode(), []
        if group:
            yield name, group

    def _too_large(self) -> UserError:
        return UserError(
            f"{self.git.where} has a commit that changes more than {MAX_FILES:,} files or {MAX_LISTING >> 20} MiB of "
            "paths and is refused; give a later date for --history."
        )


def _seconds(date: str) -> int:
    """Return a date as seconds since 1970, as git counts."""
    found = moment(date)
    assert found is not None, "dates are checked earlier"
    return int(found.timestamp())


def _last_before(git: Git, tip: str, since: str) -> str:
    """Return the last commit of the main line, the chain of first parents, before a date."""
    latest = _seconds(since) - 1
    line = ("rev-list", "--first-parent", "--max-count=1")
    if latest > 0 and (found := git.text(*line, f"--min-age={latest}", tip)):
        return found
    first = git.text(
        "rev-list", "--first-parent", "--no-commit-header", "--format=%cs", "--max-parents=0", tip
    ).splitlines()[-1]
    if git.text("rev-parse", "--is-shallow-repository") == "true":
        raise UserError(
            f"{git.where} is a shallow clone that begins on {first}, not before {since}; complete it with git fetch "
            "--unshallow, or choose a later date for --history."
        )
    raise UserError(
        f"{git.where} has no commit before {since} (its first one is of {first}); choose a later date for --history."
    )


# ------------------------------------------------------------------------------------------- changes


class Texts:
    """The texts of blobs, from one `cat-file --batch` that answers one question at a time."""

    def __init__(self, past: Past, streams: tuple[IO[bytes], IO[bytes]], limits: Selection) -> None:
        self.past = past
        self.questions, self.answers = streams
        self.limits = limits
        self.cached: OrderedDict[str, bytes | Rejection] = OrderedDict()
        self.bytes = 0

    def read(self, blob: str, path: str) -> bytes | Rejection:
        """Return the content of a blob, or why it is no text; the path is for errors."""
        if blob not in self.cached:
            self.read_ahead([(blob, path)])
        self.cached.move_to_end(blob)
        return self.cached[blob]

    def read_ahead(self, wanted: Sequence[tuple[str, str]]) -> None:
        """Read blobs at once, with their paths for errors; at most AHEAD, so that git never waits for codefit."""
        missing = {blob: path for blob, path in wanted if blob and blob not in self.cached}
        with contextlib.suppress(BrokenPipeError):  # then there is no answer, which is an error
            self.questions.write("".join(f"{blob}\n" for blob in missing).encode())
            self.questions.flush()
        for blob, path in missing.items():
            self._keep(blob, self._answer(path))

    def _answer(self, path: str) -> bytes | Rejection:
        found = self.past.next_blob(self.answers, path, self.limits.max_bytes)
        if isinstance(found, bytes) and isinstance(text := text_of(found, self.limits.min_bytes), Rejection):
            found = text
        return found

    def _keep(self, blob: str, found: bytes | Rejection) -> None:
        self.cached[blob] = found
        self.bytes += _size(found)
        while self.bytes > CACHED_BYTES and len(self.cached) > 1:
            self.bytes -= _size(self.cached.popitem(last=False)[1])


def _size(found: bytes | Rejection) -> int:
    return len(found) if isinstance(found, bytes) else 0


@contextlib.contextmanager
def opened_changes(source: OpenSource, kept: set[str]) -> Iterator[Iterator[Change]]:
    """Yield an iterator over the changes of all commits after the date.

    The files at the date that no document holds come first: they are copies of other files.

    Args:
        source: a repository that was opened at a date.
        kept: the paths of its documents.
    """
    past = source.source
    assert isinstance(past, Past), "only git repositories are opened at a date"
    with past.git.dialogue("cat-file", "--batch") as streams:
        texts = Texts(past, streams, source.selection)
        yield iter(Changes(past, source.selection, source.facts, texts, source.wanted, kept))


class Changes:
    """The changes of all commits after the date; see `opened_changes`."""

    def __init__(
        self,
        past: Past,
        selection: Selection,
        facts: Document,
        texts: Texts,
        members: Sequence[Member],
        kept: set[str],
    ) -> None:
        self.past = past
        self.selection = selection
        self.texts = texts
        self.members = members
        self.known = {member.path: {member.blob} for member in members if member.path in kept}
        self.had = {member.path: {member.blob} for member in members}
        self.facts = Change("", "", repository=facts.repository, license=facts.license)

    def __iter__(self) -> Iterator[Change]:
        yield from self._copies()
        commits = self.past.commits()
        recorded = {self.past.commit: self.past.commit}  # by commit: itself, or its nearest ancestor that has rows

        def nearest(name: str) -> str:
            passed = []
            while name not in recorded:
                passed.append(name)
                name = commits[name].parent
            recorded.update(dict.fromkeys(passed, recorded[name]))
            return recorded[name]

        for group in _several(self.past.differences(commits)):
            self._read_ahead(group)
            for name, differences in group:
                commit = dataclasses.replace(commits[name], parent=nearest(commits[name].parent))
                rows = list(self._rows(name, commit, differences))
                if rows:
                    recorded[name] = name
                yield from rows

    def _read_ahead(self, group: Sequence[tuple[str, Sequence[Difference]]]) -> None:
        """Read the texts of some commits at once: git and codefit take turns less often."""
        paths = ((self._wanted(it.path), it) for _, differences in group for it in differences[:AHEAD])
        wanted = [(blob, path) for path, it in paths if path for blob in (it.blob, it.previous)]
        self.texts.read_ahead(wanted[:AHEAD])

    def _copies(self) -> Iterator[Change]:
        """Yield the files at the date that are no documents, since an earlier file has the same text."""
        base = dataclasses.replace(self.facts, commit=self.past.commit, committed_at=self.past.committed_at)
        for member in self.members:
            if not member.rejection and member.path not in self.known:
                yield from self._row(base, member.path, member.blob, "", STATE)

    def _rows(self, name: str, commit: Commit, differences: Sequence[Difference]) -> Iterator[Change]:
        """Yield the rows of a commit: removed files first, then by path."""
        common = dataclasses.replace(self.facts, commit=name, parent=commit.parent, committed_at=commit.committed_at)
        gone, there = dict[str, Change](), dict[str, Difference]()
        for it in differences:
            path, was = self._wanted(it.path), self._wanted(it.was)
            if it.blob and path:
                there[path] = it
            if was and it.previous and (was != path or not it.blob):
                reason = STATE if path != was and path else commit.left_out or "removed"
                gone[was] = dataclasses.replace(common, path=was, previous=it.previous, left_out=reason)
        yield from (gone[path] for path in sorted(gone))
        for path, it in sorted(there.items()):
            if it.was == it.path:
                yield from self._row(common, path, it.blob, it.previous, commit.left_out)
            else:
                yield from self._row(common, path, it.blob, "", commit.left_out or "rename")

    def _wanted(self, raw: bytes) -> str:
        """Return a path as text; "" if its file is not wanted or cannot be named."""
        member = named(raw, None)
        return member.path if not member.rejection and self.selection.wants(member.path) else ""

    def _row(self, common: Change, path: str, blob: str, previous: str, left_out: str) -> Iterator[Change]:
        """Yield the row of a file that is there at a commit; if it is no text, its earlier text is gone."""
        language = language_of(path)
        assert language is not None  # only files of the wanted languages get here
        row = dataclasses.replace(common, path=path, language=language.name, blob=blob, previous=previous)
        content = self.texts.read(blob, path)
        if isinstance(content, Rejection):
            if common.parent:
                yield dataclasses.replace(row, blob="", left_out=left_out or content.rule)
            return
        if not left_out:
            left_out = self._left_out(row, content, language)
        self.had.setdefault(path, set()).add(blob)
        known = self.known.setdefault(path, set())
        if blob not in known:
            known.add(blob)
            text = text_of(content)
            assert isinstance(text, str)
            row = dataclasses.replace(row, content=text)
        yield dataclasses.replace(row, left_out=left_out)

    def _left_out(self, row: Change, content: bytes, language: Language) -> str:
        """Return why nothing can be asked about a changed text; "" if something can."""
        if row.blob in self.had.get(row.path, ()):
            return "revert"
        if not row.previous:
            return ""
        before = self.texts.read(row.previous, row.path)
        if isinstance(before, Rejection):
            return "no earlier text"
        if only_layout(before, content, language):
            return "formatting"
        return "" if _lines(content) - _lines(before) else "nothing added"


def _several(commits: Iterable[tuple[str, list[Difference]]]) -> Iterator[list[tuple[str, list[Difference]]]]:
    """Yield commits in lists that differ in about AHEAD / 2 files, each of which has two texts."""
    group: list[tuple[str, list[Difference]]] = []
    size = 0
    for name, differences in commits:
        group.append((name, differences))
        size += len(differences)
        if size >= AHEAD // 2:
            yield group
            group, size = [], 0
    if group:
        yield group


def _lines(content: bytes) -> Counter[bytes]:
    """Return how often each line occurs, without the white space around it; blank lines are not counted."""
    return Counter(filter(None, map(bytes.strip, content.split(b"\n"))))
