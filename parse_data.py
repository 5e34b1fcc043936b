"""Turn repositories into documents: one record per source file, and one per rejected file with the reason.

    python parse_data.py --repository path/to/project --language python --output data/python_raw.jsonl

    python parse_data.py --repository JetBrains/kotlin project.bundle sources.tar.gz folder \\
        --language kotlin java --output data/kotlin_code_raw.parquet --min_bytes 50 --max_bytes 500000 --overwrite

    python parse_data.py --repository tiangolo/fastapi --language python --code_blocks --output data/blocks.jsonl

    python parse_data.py --repository path/to/project --language python --history 2026-01-01 \\
        --output data/python_raw.jsonl

    python parse_data.py --github_search "language:kotlin stars:>100 created:>2015-01-01" --language kotlin \\
        --output data/kotlin_many_raw.jsonl

A source is a git URL (or owner/name on GitHub), a local repository, a git bundle, a .tar.gz, .tgz, .zip or .whl
archive, or a folder. Git is read from its object store, archives are read in place, and no code of a source is ever
run. `*.rejected.jsonl`, next to the documents, lists all other files of the languages with the reason why each was
rejected; `*.manifest.json` records the run. --github_search reads GITHUB_TOKEN from the environment.

With --history, a repository is read as it was at a date, and `*.history.jsonl` holds what later commits changed:
preprocess_data.py makes the test pairs from it (docs/history.md).
"""

import argparse
import contextlib
import dataclasses
import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from codefit import cli, console, outputs, records, temporary
from codefit.code.languages import BY_SUFFIX, LANGUAGES
from codefit.errors import UserError
from codefit.manifest import Manifest, read_manifest, toolkit_commit
from codefit.records import Document, Rejection
from codefit.sources.documents import OpenSource, Outcome, Selection, opened
from codefit.sources.history import opened_changes
from codefit.sources.journal import Journal, Tally, write_parquet
from codefit.sources.locate import locate, open_source
from codefit.sources.source import Place, Unreachable

DEFAULT_REPOSITORY = "https://github.com/JetBrains/kotlin"
DEFAULT_OUTPUT = Path("data/kotlin_code_raw.jsonl")
PARQUET_ROWS = 512
MOST_LISTED = 20_000  # repositories of a search, up to which a dry run asks for its slices


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """The settings of a run: the flags, with the default source where none is given."""

    sources: Sequence[str]
    query: str | None
    selection: Selection
    revision: str | None
    output: Path
    hf_repository: str | None
    private: bool | None
    overwrite: bool
    dry_run: bool

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Request":
        """Return the settings that a command line gives.

        Raises:
            UserError: the file name of the output has no known format.
        """
        output = args.output or default_output(
            args.repository or [], args.github_search, args.language, args.code_blocks
        )
        if output.suffix not in {".jsonl", ".parquet"}:
            raise UserError(f"--output {output} must end in .jsonl or .parquet.")
        return cls(
            sources=args.repository or ([] if args.github_search else [DEFAULT_REPOSITORY]),
            query=args.github_search,
            selection=Selection(
                tuple(args.language),
                args.min_bytes,
                args.max_bytes,
                args.code_blocks,
                args.subfolder,
                args.uncommitted,
                args.history or "",
            ),
            revision=args.revision,
            output=output,
            hf_repository=args.hf_repository,
            private=args.private or None,
            overwrite=args.overwrite,
            dry_run=args.dry_run,
        )


def default_output(sources: Sequence[str], query: str | None, languages: Sequence[str], code_blocks: bool) -> Path:
    """Return an output named after the sources and languages: data/httpx_python_raw.jsonl."""
    if not sources and not query:
        return DEFAULT_OUTPUT
    names = [locate(text).name.rpartition("/")[2] for text in sources]
    first = re.sub(r"[^\w.-]+", "_", names[0]).lstrip(".-")[:80] if names else "github"
    more = [f"and_{len(names) - 1}_more"] if len(names) > 1 else []
    return Path("data", "_".join([first, *more, *languages, "blocks" if code_blocks else "raw"]) + ".jsonl")


def build_parser() -> cli.Parser:
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--repository",
        nargs="+",
        metavar="SOURCE",
        help=f"one or more sources, read in this order (default: {DEFAULT_REPOSITORY})",
    )
    parser.add_argument("--github_search", metavar="QUERY", help="read all repositories that this GitHub search finds")
    parser.add_argument("--revision", help="branch, tag or commit of a git source (default: its HEAD)")
    parser.add_argument(
        "--subfolder",
        type=cli.subfolder,
        default="",
        metavar="FOLDER",
        help="read only this folder of every source; paths stay relative to the source",
    )
    parser.add_argument(
        "--uncommitted",
        action="store_true",
        help="read local repositories as they are in their work tree, not their last commit",
    )
    parser.add_argument(
        "--history",
        type=cli.date,
        metavar="SINCE",
        help="read git repositories as they were before this date, and what later commits changed (docs/history.md)",
    )
    parser.add_argument("--language", nargs="+", choices=LANGUAGES, default=["kotlin"], help="languages to keep")
    parser.add_argument(
        "--code_blocks",
        action="store_true",
        help="read code blocks of Markdown, RST and HTML pages, and the files they include, instead of source files",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help=".jsonl or .parquet (default: named after the source, data/SOURCE_LANGUAGE_raw.jsonl)",
    )
    parser.add_argument(
        "--max_bytes", type=cli.number(int, 1), default=1_000_000, help="largest file to keep, in bytes"
    )
    parser.add_argument("--min_bytes", type=cli.number(int, 0), default=1, help="smallest file to keep, in bytes")
    parser.add_argument("--hf_repository", help="push to this Hub data set; documents are not redacted")
    parser.add_argument("--private", action="store_true", help="push only to a private data set; a new one is private")
    cli.add_output_flags(parser)
    return parser


# ------------------------------------------------------------------------------------------- all sources, one output


def parse_places(places: Sequence[Place], searched: set[str], journal: Journal, request: Request) -> None:
    """Write the outcome of every file of the sources that are not in the journal yet.

    Args:
        searched: the names of sources that a search found. If one of them cannot be read, it is counted and the run
            continues; a source that the user named must be readable.
    """
    left = places[len(journal.tallies) :]
    with opened(left, request.revision, request.selection, journal.seen) as sources:
        many = len(places) > 1
        for place, source in console.progress(sources, "sources", len(left), "source") if many else sources:
            tally = Tally(place)
            outcomes: Iterable[Outcome]
            if isinstance(source, UserError):
                if place.name not in searched or isinstance(source, Unreachable):
                    raise source
                outcomes = [("", Rejection("source cannot be read", console.masked(str(source))))]
            else:
                for note in source.notes:
                    console.show(note)
                facts = source.facts
                tally.facts = {"commit": facts.commit, "committed_at": facts.committed_at, "license": facts.license}
                tally.suffixes.update(
                    posixpath.splitext(member.path)[1].lower()
                    for member in source.members
                    if request.selection.covers(member.path)
                )
                outcomes = source.outcomes(journal.seen)
                if not many:
                    outcomes = console.progress(
                        outcomes, place.name, None if request.selection.code_blocks else len(source.wanted), "file"
                    )
            kept: set[str] = set()
            for path, outcome in outcomes:
                tally.add(outcome)
                journal.write(place, path, outcome)
                kept.update([path] if isinstance(outcome, Document) else [])
            if request.selection.since and not isinstance(source, UserError):
                record_changes(source, kept, tally, journal)
            journal.finish(tally)


def record_changes(source: OpenSource, kept: set[str], tally: Tally, journal: Journal) -> None:
    """Write what commits after the date changed in a repository; `kept` are the paths of its documents."""
    with opened_changes(source, kept) as changes:
        for change in console.progress(changes, "later changes", unit="file"):
            tally.add_change(change)
            journal.write_change(change)


# ------------------------------------------------------------------------------------------- messages and tables


def refuse_empty(tallies: Sequence[Tally], languages: Sequence[str]) -> None:
    """Raise UserError if the sources contain no document to keep; the message says what they contain instead."""
    if any(tally.documents for tally in tallies):
        return
    names, asked = " and ".join(tally.place.name for tally in tallies), " or ".join(languages)
    reasons = sum((tally.rejections for tally in tallies), Counter())
    if reasons:
        listed = ", ".join(f"{count} {rule}" for rule, count in reasons.most_common(4))
        raise UserError(
            f"every {asked} file of {names} was rejected ({listed}); change the limits, or choose another source."
        )
    suffixes = sum((tally.suffixes for tally in tallies), Counter())
    known = [(suffix, count) for suffix, count in suffixes.most_common() if suffix in BY_SUFFIX][:3]
    if not known:
        raise UserError(f"{names} has no {asked} files, and none in {', '.join(LANGUAGES)}; choose another source.")
    held = " and ".join(f"{count} {suffix}" for suffix, count in known)
    hint = BY_SUFFIX[known[0][0]].name
    raise UserError(f"{names} has no {asked} files, but it has {held}; add --language {hint}.")


def refuse_unchanged(tallies: Sequence[Tally], since: str) -> None:
    """Raise UserError if later commits changed nothing about which something can be asked."""
    if any(tally.changes for tally in tallies):
        return
    reasons = sum((tally.left_out for tally in tallies), Counter())
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "there are none"
    raise UserError(
        f"no change since {since} can be asked about (files left out: {listed}); choose another date for --history."
    )


def summary(tallies: Sequence[Tally]) -> str:
    """Return the table of sources and the table of rejections."""
    rows = [
        [
            console.shortened(t.place.name),
            t.place.kind,
            t.facts.get("license") or "unknown",
            t.files,
            t.documents,
            t.bytes,
        ]
        for t in tallies
    ]
    text = console.table(rows, ["source", "kind", "licence", "files", "documents", "bytes"])
    reasons = sum((tally.rejections for tally in tallies), Counter())
    if reasons:
        text += "\n\n" + console.table(reasons.most_common(), ["rejected because", "files"])
    if changes := sum(tally.changes for tally in tallies):
        left_out = sum((tally.left_out for tally in tallies), Counter())
        kept: list[tuple[str, int]] = [("kept", changes), *left_out.most_common()]
        text += "\n\n" + console.table(kept, ["later changes", "files"])
    return text


def places_of(texts: Sequence[str], found: Sequence[Place]) -> list[Place]:
    """Return the sources in order. Raises UserError for two with the same name: their files would be mixed up."""
    places = [locate(text) for text in texts]
    named = {place.name for place in places}
    places += [place for place in found if place.name not in named]
    for name, count in Counter(place.name for place in places).items():
        if count > 1:
            raise UserError(f"{count} sources have the name {name}; rename one, or their files are mixed up.")
    return places


def print_dry_run(request: Request) -> None:
    """Print the sources, the slices of the search and the output."""
    if places := places_of(request.sources, []):
        console.show(console.table([[p.name, p.kind, p.where] for p in places], ["source", "kind", "where"]))
    if request.query:
        print_search(request.query, request)
    kind = "code blocks" if request.selection.code_blocks else "files"
    since = request.selection.since
    history = f" as they were before {since}, and later changes to {history_of(request.output)}" if since else ""
    console.show(f"would write the {' and '.join(request.selection.languages)} {kind} to {request.output}{history}")


def print_search(query: str, request: Request) -> None:
    """Print the slices of a search, where they are few, and what reading its repositories would take."""
    from codefit.sources import github_search, search_estimate

    drawn = search_estimate.draw(query, console.show)
    if drawn.total <= MOST_LISTED:
        parts = github_search.slices(query, console.show)
        console.show(console.table([[str(part), part.count] for part in parts], ["created", "repositories"]))
        console.show(f"{sum(part.count for part in parts):,} repositories, slices: {len(parts)}")
    found = search_estimate.read(drawn.places, request.selection, request.revision)
    console.show("\n".join(search_estimate.sentences(drawn, found)))


def write_output(request: Request, manifest: Manifest) -> list[Tally]:
    """Search, read all sources and write the output. After a failure, the next run continues from the journal."""
    found: list[Place] = []
    state = outputs.workspace(request.output) / "search"
    if request.query:
        from codefit.sources import github_search

        found, counted = github_search.search(request.query, state, console.show)
        manifest.update(github_search={"query": request.query, "counted": counted, "found": len(found)})
        console.show(f"GitHub reports {counted:,} repositories and returned {len(found):,}")
    places = places_of(request.sources, found)
    chosen = {"revision": request.revision, **dataclasses.asdict(request.selection)}
    command = {**chosen, "toolkit": toolkit_commit(), "places": [dataclasses.asdict(place) for place in places]}
    journal = Journal(request.output, command)
    try:
        with contextlib.closing(journal):
            parse_places(places, {place.name for place in found}, journal, request)
        refuse_empty(journal.tallies, request.selection.languages)
        if request.selection.since:
            refuse_unchanged(journal.tallies, request.selection.since)
    except UserError as error:
        if not isinstance(error, Unreachable):
            journal.remove()
        raise
    for place in places:
        if place.kind in {"bundle", "archive"}:
            manifest.add_input(Path(place.where))
    manifest.update(
        read=states(places, request),
        files=sum(tally.files for tally in journal.tallies),
        documents=sum(tally.documents for tally in journal.tallies),
        rejections=sum((tally.rejections for tally in journal.tallies), Counter()),
        changes=sum(tally.changes for tally in journal.tallies),
        changes_left_out=sum((tally.left_out for tally in journal.tallies), Counter()),
        sources=[
            {**dataclasses.asdict(tally.place), **tally.facts, "documents": tally.documents}
            for tally in journal.tallies
        ],
    )
    finish(journal, request, manifest)
    state.unlink(missing_ok=True)
    return journal.tallies


def finish(journal: Journal, request: Request, manifest: Manifest) -> None:
    """Turn a complete journal into the output."""
    output = request.output
    aside = outputs.partial(output)
    if output.suffix == ".parquet":
        write_parquet(aside, records.read_jsonl(journal.documents, Document), PARQUET_ROWS)
    else:
        journal.documents.replace(aside)
    manifest.write(outputs.workspace(output))
    history = {history_of(output): journal.changes} if request.selection.since else {}
    outdated = has_history(output) and not history
    outputs.commit_file(output, {rejected_of(output): journal.rejected, **history})
    if outdated:
        history_of(output).unlink(missing_ok=True)
    journal.remove()


def rejected_of(output: Path) -> Path:
    """Return the path of the list of rejected files."""
    return output.with_name(output.name + ".rejected.jsonl")


def history_of(output: Path) -> Path:
    """Return the path of the changes of later commits."""
    return output.with_name(f"{output.name}.{records.HISTORY}")


def has_history(output: Path) -> bool:
    """Return whether an earlier run wrote changes next to an output; any other file with their name is the user's."""
    with contextlib.suppress(UserError):  # a damaged manifest does not say so
        return bool((read_manifest(output).get("arguments") or {}).get("history"))
    return False


def refuse_output(request: Request) -> None:
    """Raise UserError if the output, its rejections, its history or its manifest may not be written."""
    output, overwrite = request.output, request.overwrite
    outputs.refuse_existing(output, overwrite, is_file=True)
    written_before = outputs.manifest_of(output).is_file()  # then codefit wrote all three
    for place in (rejected_of(output), outputs.manifest_of(output)):
        outputs.refuse_existing(place, overwrite or written_before, is_file=True)
    if request.selection.since:
        outputs.refuse_existing(history_of(output), overwrite or has_history(output), is_file=True)


def states(places: Sequence[Place], request: Request) -> dict[str, str]:
    """Return the state of each local folder and repository: the commit, or a digest of its files."""
    return {place.where: state_of(place, request) for place in places if place.kind in {"git", "directory"}}


def state_of(place: Place, request: Request) -> str:
    """Return the state of a folder or repository, as `states` does."""
    with open_source(place, request.revision) as source:
        if place.kind == "git":
            return source.commit
        members = [member for member in source.members() if member.rejection is None]
        digest = hashlib.sha256()
        for member, content in zip(members, source.read(members, request.selection.max_bytes), strict=True):
            digest.update(repr((member.path, content)).encode())
        return digest.hexdigest()


def is_done(request: Request, manifest: Manifest) -> bool:
    """Return whether the same command made the output from local sources that have not changed since."""
    try:
        places = [] if request.query else places_of(request.sources, [])
        return manifest.repeats(request.output, read=states(places, request))
    except UserError:  # of a source, which is reported where it is read
        return False


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.uncommitted and args.revision:
        parser.error("--uncommitted reads no commit, so it cannot be used with --revision")
    if args.history and (args.uncommitted or args.code_blocks):
        parser.error("--history reads files of commits, so it cannot be used with --uncommitted or --code_blocks")
    request = Request.of(args)
    # Where a finished output is pushed to does not change what it contains.
    manifest = Manifest({**vars(args), "output": request.output, "hf_repository": None, "private": False})
    if request.dry_run:
        print_dry_run(request)
        return
    outputs.recover(request.output)
    done = request.output.exists() and not request.overwrite and is_done(request, manifest)
    if not done:
        refuse_output(request)
    if request.hf_repository:
        from codefit.publishing import push

        push.check_repository(request.hf_repository, "dataset", private=request.private)
    if not done:
        parse(request, manifest)
    if request.hf_repository:
        url = push.push_documents(
            request.output, rejected_of(request.output), request.hf_repository, private=request.private
        )
        console.show(f"pushed to {url}")


def parse(request: Request, manifest: Manifest) -> None:
    """Write the output, and print what was kept and rejected."""
    output = request.output
    try:
        with outputs.alone(output):
            refuse_output(request)
            temporary.remove_left()  # reading a source does this too, but finished sources are not read again
            tallies = write_output(request, manifest)
    except OSError as error:  # errors of a source are raised as UserError where it is read
        raise UserError(f"cannot write {output}: {error.strerror}; choose another place.") from None
    console.show(summary(tallies))
    history = [history_of(output).name] if request.selection.since else []
    names = [str(output), rejected_of(output).name, *history]
    console.show(f"\nwrote {', '.join(names)} and {outputs.manifest_of(output).name}")


if __name__ == "__main__":
    cli.run(main)
