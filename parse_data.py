"""Turn repositories into documents: one record for every source file, and one for every file that was left out.

    python parse_data.py --repository path/to/project --language python --output data/python_raw.jsonl

    python parse_data.py --repository JetBrains/kotlin project.bundle sources.tar.gz folder \\
        --language kotlin java --output data/kotlin_code_raw.parquet --min_bytes 50 --max_bytes 500000 --overwrite

    python parse_data.py --repository tiangolo/fastapi --language python --code_blocks --output data/blocks.jsonl

    python parse_data.py --github_search "language:kotlin stars:>100 created:>2015-01-01" --language kotlin \\
        --output data/kotlin_many_raw.jsonl

A source is a git URL (or owner/name on GitHub), a local repository, a git bundle, a .tar.gz, .tgz, .zip or .whl
archive, or a folder. Git is read from its object store and archives in place: nothing of a source is ever run.
Next to the documents lie `*.rejected.jsonl`, which names every other file of the languages with the reason why it was
left out, and `*.manifest.json`. GITHUB_TOKEN in the environment is for --github_search.
"""

import argparse
import contextlib
import dataclasses
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from codefit import cli, console, outputs, records, temporary
from codefit.code.languages import BY_SUFFIX, LANGUAGES
from codefit.errors import UserError
from codefit.manifest import Manifest, toolkit_commit
from codefit.records import Document, Rejection
from codefit.sources.documents import Outcome, Selection, opened
from codefit.sources.journal import Journal, Tally, write_parquet
from codefit.sources.locate import locate
from codefit.sources.source import Place, Unreachable

DEFAULT_REPOSITORY = "https://github.com/JetBrains/kotlin"
PARQUET_ROWS = 512


def build_parser() -> cli.Parser:
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--repository",
        nargs="+",
        metavar="SOURCE",
        help=f"one or more sources, read in this order (default: {DEFAULT_REPOSITORY})",
    )
    parser.add_argument("--github_search", metavar="QUERY", help="all repositories that this search on GitHub finds")
    parser.add_argument("--revision", help="branch, tag or commit of a git source (default: its HEAD)")
    parser.add_argument("--language", nargs="+", choices=LANGUAGES, default=["kotlin"], help="languages to keep")
    parser.add_argument(
        "--code_blocks",
        action="store_true",
        help="instead of files: the code blocks of Markdown, RST and HTML pages, and the files that these include",
    )
    parser.add_argument("--output", type=Path, default=Path("data/kotlin_code_raw.jsonl"), help=".jsonl or .parquet")
    parser.add_argument("--max_bytes", type=cli.number(int, 1), default=1_000_000, help="largest file to keep")
    parser.add_argument("--min_bytes", type=cli.number(int, 0), default=1, help="smallest file to keep")
    cli.add_output_flags(parser)
    return parser


# ------------------------------------------------------------------------------------------- all sources, one output


def parse_places(places: Sequence[Place], searched: set[str], journal: Journal, args: argparse.Namespace) -> None:
    """Write what became of every file of the sources that the journal does not hold yet.

    Args:
        searched: the names of sources that a search found. One of them that is gone is counted, and the others go on;
            one that the user named has to be there.
    """
    selection = Selection(frozenset(args.language), args.min_bytes, args.max_bytes, args.code_blocks)
    left = places[len(journal.tallies) :]
    with opened(left, args.revision, selection, journal.seen) as sources:
        many = len(places) > 1
        for place, source in console.progress(sources, "sources", len(left), "source") if many else sources:
            tally = Tally(place)
            outcomes: Iterable[Outcome]
            if isinstance(source, UserError):
                if place.name not in searched or isinstance(source, Unreachable):
                    raise source
                outcomes = [("", Rejection("source cannot be read", str(source)))]
            else:
                facts = source.facts
                tally.facts = {"commit": facts.commit, "committed_at": facts.committed_at, "license": facts.license}
                tally.suffixes.update(posixpath.splitext(member.path)[1].lower() for member in source.members)
                outcomes = source.outcomes(journal.seen)
                if not many:
                    outcomes = console.progress(
                        outcomes, place.name, None if args.code_blocks else len(source.wanted), "file"
                    )
            for path, outcome in outcomes:
                tally.add(outcome)
                journal.write(place, path, outcome)
            journal.finish(tally)


# ------------------------------------------------------------------------------------------- what is said about it


def refuse_empty(tallies: Sequence[Tally], languages: Sequence[str]) -> None:
    """Raise UserError if no source gave a document, and say what the sources hold instead."""
    if any(tally.documents for tally in tallies):
        return
    names, asked = " and ".join(tally.place.name for tally in tallies), " or ".join(languages)
    reasons = sum((tally.rejections for tally in tallies), Counter())
    if reasons:
        listed = ", ".join(f"{count} {rule}" for rule, count in reasons.most_common(4))
        raise UserError(f"every {asked} file of {names} was rejected ({listed}); choose another source or limit.")
    suffixes = sum((tally.suffixes for tally in tallies), Counter())
    known = [(suffix, count) for suffix, count in suffixes.most_common() if suffix in BY_SUFFIX][:3]
    if not known:
        raise UserError(f"{names} holds no {asked} files, nor any of {', '.join(LANGUAGES)}; choose another source.")
    held = " and ".join(f"{count} {suffix}" for suffix, count in known)
    hint = BY_SUFFIX[known[0][0]].name
    raise UserError(f"{names} holds no {asked} files; it holds {held}; add --language {hint}.")


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
    return text


def places_of(texts: Sequence[str], found: Sequence[Place]) -> list[Place]:
    """Return the sources in order; two of the same name could not be told apart in what follows."""
    places = [locate(text) for text in texts]
    named = {place.name for place in places}
    places += [place for place in found if place.name not in named]
    for name, count in Counter(place.name for place in places).items():
        if count > 1:
            raise UserError(f"{count} sources are called {name}; rename one, so that their files can be told apart.")
    return places


def say_what_would_happen(args: argparse.Namespace, repositories: Sequence[str]) -> None:
    """Print the sources, the slices of the search and the output."""
    if places := places_of(repositories, []):
        print(console.table([[p.name, p.kind, p.where] for p in places], ["source", "kind", "where"]))
    if args.github_search:
        from codefit.sources import github_search

        parts = github_search.slices(args.github_search, print)
        print(console.table([[str(part), part.count] for part in parts], ["created", "repositories"]))
        print(f"{sum(part.count for part in parts):,} repositories, slices: {len(parts)}")
    kind = "code blocks" if args.code_blocks else "files"
    print(f"would write the {' and '.join(args.language)} {kind} to {args.output}")


def write_output(args: argparse.Namespace, repositories: Sequence[str], manifest: Manifest) -> list[Tally]:
    """Search, read all sources and make the output. What a failure leaves is what the next run can go on with."""
    found: list[Place] = []
    state = outputs.workspace(args.output) / "search"
    if args.github_search:
        from codefit.sources import github_search

        found, counted = github_search.search(args.github_search, state, print)
        manifest.update(github_search={"query": args.github_search, "counted": counted, "found": len(found)})
        print(f"GitHub counts {counted:,} repositories and lists {len(found):,}")
    places = places_of(repositories, found)
    chosen = {name: getattr(args, name) for name in ("revision", "language", "code_blocks", "min_bytes", "max_bytes")}
    command = {**chosen, "toolkit": toolkit_commit(), "places": [dataclasses.asdict(place) for place in places]}
    journal = Journal(args.output, command)
    try:
        with contextlib.closing(journal):
            parse_places(places, {place.name for place in found}, journal, args)
        refuse_empty(journal.tallies, args.language)
    except UserError as error:
        if not isinstance(error, Unreachable):
            journal.remove()
        raise
    for place in places:
        if place.kind in {"bundle", "archive"}:
            manifest.add_input(Path(place.where))
    manifest.update(
        files=sum(tally.files for tally in journal.tallies),
        documents=sum(tally.documents for tally in journal.tallies),
        rejections=sum((tally.rejections for tally in journal.tallies), Counter()),
        sources=[
            {**dataclasses.asdict(tally.place), **tally.facts, "documents": tally.documents}
            for tally in journal.tallies
        ],
    )
    finish(journal, args.output, manifest)
    state.unlink(missing_ok=True)
    return journal.tallies


def finish(journal: Journal, output: Path, manifest: Manifest) -> None:
    """Make the output of what the journal holds."""
    aside = outputs.partial(output)
    if output.suffix == ".parquet":
        write_parquet(aside, records.read_jsonl(journal.documents, Document), PARQUET_ROWS)
    else:
        journal.documents.replace(aside)
    manifest.write(outputs.workspace(output))
    outputs.commit_file(output, {rejected_of(output): journal.rejected})
    journal.remove()


def rejected_of(output: Path) -> Path:
    """Return where the files that were left out are listed."""
    return output.with_name(output.name + ".rejected.jsonl")


def refuse_output(output: Path, overwrite: bool) -> None:
    """Raise UserError if the output, its list of rejections or its manifest may not be written."""
    outputs.refuse_existing(output, overwrite, is_file=True)
    written_before = outputs.manifest_of(output).is_file()  # then all three are ours
    for place in (rejected_of(output), outputs.manifest_of(output)):
        outputs.refuse_existing(place, overwrite or written_before, is_file=True)


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    output: Path = args.output
    if output.suffix not in {".jsonl", ".parquet"}:
        raise UserError(f"--output {output} must end in .jsonl or .parquet.")
    repositories = args.repository or ([] if args.github_search else [DEFAULT_REPOSITORY])
    if args.dry_run:
        say_what_would_happen(args, repositories)
        return
    refuse_output(output, args.overwrite)
    manifest = Manifest(vars(args))
    try:
        with outputs.alone(output):
            refuse_output(output, args.overwrite)
            temporary.remove_left()  # a source that is finished opens none, and would leave what a kill left
            tallies = write_output(args, repositories, manifest)
    except OSError as error:  # what goes wrong with a source is stated where it is read
        raise UserError(f"cannot write {output}: {error.strerror}; choose another place.") from None
    print(summary(tallies))
    print(f"\nwrote {output}, {rejected_of(output).name} and {outputs.manifest_of(output).name}")


if __name__ == "__main__":
    cli.run(main)
