"""Turn repositories into documents: one record for every source file, and one for every file that was left out.

    python parse_data.py --repository path/to/project --language python --output data/python_raw.jsonl

    python parse_data.py --repository JetBrains/kotlin project.bundle sources.tar.gz folder \\
        --language kotlin java --output data/kotlin_code_raw.parquet --min_bytes 50 --max_bytes 500000 --overwrite

A source is a git URL (or owner/name on GitHub), a local repository, a git bundle, a .tar.gz, .tgz, .zip or .whl
archive, or a folder. Git is read from its object store and archives in place: nothing of a source is ever run.
Beside the documents lie `*.rejected.jsonl`, which names every other file of the languages with the reason why it was
left out, and `*.manifest.json`.
"""

import argparse
import contextlib
import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from codefit import cli, records
from codefit.languages import BY_SUFFIX, LANGUAGES, language_of
from codefit.records import Document
from codefit.sources import Member, Place, Rejection, Source, locate, open_source
from codefit.sources.licences import licence_of

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BINARY_PROBE = 8192  # bytes that are searched for a NUL; git's own test reads as many
PARQUET_ROWS = 512


def build_parser() -> cli.Parser:
    parser = cli.Parser(__doc__)
    parser.add_argument("--repository", nargs="+", default=["https://github.com/JetBrains/kotlin"], metavar="SOURCE",
                        help="one or more sources, read in this order")  # fmt: skip
    parser.add_argument("--revision", help="branch, tag or commit of a git source (default: its HEAD)")
    parser.add_argument("--language", nargs="+", choices=LANGUAGES, default=["kotlin"], help="languages to keep")
    parser.add_argument("--output", type=Path, default=Path("data/kotlin_code_raw.jsonl"), help=".jsonl or .parquet")
    parser.add_argument("--max_bytes", type=cli.number(int, 1), default=1_000_000, help="largest file to keep")
    parser.add_argument("--min_bytes", type=cli.number(int, 0), default=1, help="smallest file to keep")
    cli.add_output_flags(parser)
    return parser


# ------------------------------------------------------------------------------------------- files to documents


def parse_source(
    source: Source, facts: Document, wanted: Sequence[Member], seen: dict[str, str], args: argparse.Namespace
) -> Iterator[tuple[Member, Document | Rejection]]:
    """Yield a document or a rejection for each wanted file.

    Args:
        facts: what all documents of this source share.
        seen: every blob so far and where it was found; it grows.
    """
    plan = [(m, m.rejection or _seen_before(seen, m.blob, f"{facts.repository}/{m.path}")) for m in wanted]
    contents = source.read([member for member, rejection in plan if not rejection], args.max_bytes)
    for member, rejection in plan:
        content = rejection or next(contents)
        if isinstance(content, bytes):
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
            repeated = _seen_before(seen, blob, f"{facts.repository}/{member.path}")
            text = repeated or text_of(content, args.min_bytes)
            yield member, text if isinstance(text, Rejection) else _document(facts, member, blob, text)
        else:
            yield member, content


def _seen_before(seen: dict[str, str], blob: str, place: str) -> Rejection | None:
    first = seen.setdefault(blob, place) if blob else place
    return None if first == place else Rejection("same blob", first)


def _document(facts: Document, member: Member, blob: str, text: str) -> Document:
    language = language_of(member.path)
    assert language is not None  # only files of the asked languages are read
    return dataclasses.replace(facts, content=text, path=member.path, language=language.name, blob=blob)


def text_of(content: bytes, min_bytes: int = 0) -> str | Rejection:
    """Return a file as text without its byte order mark, or why it is none."""
    if len(content) < min_bytes:
        return Rejection("too small", len(content))
    if content.startswith(LFS_POINTER):
        return Rejection("LFS pointer", len(content))
    if (position := content.find(b"\0", 0, BINARY_PROBE)) >= 0:
        return Rejection("binary", f"NUL at byte {position}")
    try:
        return content.removeprefix(BYTE_ORDER_MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        return Rejection("not UTF-8", f"byte {error.start}")


# ------------------------------------------------------------------------------------------- all sources, one output


@dataclasses.dataclass
class Tally:
    """What was counted in one source; `suffixes` counts all its files, wanted or not."""

    place: Place
    source: dict[str, str] = dataclasses.field(default_factory=dict)
    files: int = 0
    documents: int = 0
    bytes: int = 0
    rejections: Counter[str] = dataclasses.field(default_factory=Counter)
    suffixes: Counter[str] = dataclasses.field(default_factory=Counter)


def parse_place(
    place: Place, seen: dict[str, str], args: argparse.Namespace, write: Callable[[Document | dict[str, object]], None]
) -> Tally:
    """Write the documents and rejections of one source, and count them."""
    tally = Tally(place)
    with open_source(place, args.revision) as source:
        members = source.members()
        facts = Document("", "", place.name, source.commit, source.committed_at, license=licence_of(source, members))
        tally.source = {"commit": facts.commit, "committed_at": facts.committed_at, "license": facts.license}
        tally.suffixes.update(Path(member.path).suffix.lower() for member in members)
        wanted = [m for m in members if (row := language_of(m.path)) and row.name in args.language]
        tally.files = len(wanted)
        outcomes = parse_source(source, facts, wanted, seen, args)
        for member, outcome in cli.progress(outcomes, place.name, total=len(wanted), unit="file"):
            if isinstance(outcome, Document):
                tally.documents += 1
                tally.bytes += len(outcome.content.encode())
                write(outcome)
            else:
                tally.rejections[outcome.rule] += 1
                write({"repository": place.name, "path": member.path, **dataclasses.asdict(outcome)})
    return tally


@contextlib.contextmanager
def writer(documents: Path, rejected: Path, parquet: bool) -> Iterator[Callable[[Document | dict[str, object]], None]]:
    """Yield a function that writes a document to one file and a rejection to the other."""
    with contextlib.ExitStack() as stack:
        rejections = stack.enter_context(rejected.open("w", encoding="utf-8", newline="\n"))
        if parquet:
            write_document = stack.enter_context(_parquet_writer(documents))
        else:
            lines = stack.enter_context(documents.open("w", encoding="utf-8", newline="\n"))

            def write_document(document: Document) -> None:
                lines.write(records.to_line(document))

        def write(record: Document | dict[str, object]) -> None:
            if isinstance(record, Document):
                write_document(record)
            else:
                rejections.write(records.to_line(record))

        yield write


@contextlib.contextmanager
def _parquet_writer(path: Path) -> Iterator[Callable[[Document], None]]:
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([(field.name, pyarrow.string()) for field in dataclasses.fields(Document)])
    rows: list[dict[str, str]] = []
    with pyarrow.parquet.ParquetWriter(path, schema) as file:

        def flush() -> None:
            file.write_table(pyarrow.Table.from_pylist(rows, schema))
            rows.clear()

        def write(document: Document) -> None:
            rows.append(dataclasses.asdict(document))
            if len(rows) == PARQUET_ROWS:
                flush()

        yield write
        flush()


# ------------------------------------------------------------------------------------------- what is said about it


def refuse_empty(tallies: Sequence[Tally], languages: Sequence[str]) -> None:
    """Raise UserError if no source gave a document, and say what the sources hold instead."""
    if any(tally.documents for tally in tallies):
        return
    names, asked = " and ".join(tally.place.name for tally in tallies), " or ".join(languages)
    reasons = sum((tally.rejections for tally in tallies), Counter())
    if reasons:
        listed = ", ".join(f"{count} {rule}" for rule, count in reasons.most_common(4))
        raise cli.UserError(f"every {asked} file of {names} was rejected ({listed}); choose another source or limit.")
    suffixes = sum((tally.suffixes for tally in tallies), Counter())
    known = [(suffix, count) for suffix, count in suffixes.most_common() if suffix in BY_SUFFIX][:3]
    if not known:
        raise cli.UserError(
            f"{names} holds no {asked} files, nor any of {', '.join(LANGUAGES)}; choose another source."
        )
    held = " and ".join(f"{count} {suffix}" for suffix, count in known)
    hint = BY_SUFFIX[known[0][0]].name
    raise cli.UserError(f"{names} holds no {asked} files; it holds {held}; add --language {hint}.")


def summary(tallies: Sequence[Tally]) -> str:
    """Return the table of sources and the table of rejections."""
    rows = [
        [cli.shortened(t.place.name), t.place.kind, t.source["license"] or "unknown", t.files, t.documents, t.bytes]
        for t in tallies
    ]
    text = cli.table(rows, ["source", "kind", "licence", "files", "documents", "bytes"])
    reasons = sum((tally.rejections for tally in tallies), Counter())
    if reasons:
        text += "\n\n" + cli.table(reasons.most_common(), ["rejected because", "files"])
    return text


def places_of(texts: Sequence[str]) -> list[Place]:
    """Return the sources in order; two of the same name could not be told apart in what follows."""
    places = [locate(text) for text in texts]
    for name, count in Counter(place.name for place in places).items():
        if count > 1:
            raise cli.UserError(
                f"{count} sources are called {name}; rename one, so that their files can be told apart."
            )
    return places


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    output: Path = args.output
    if output.suffix not in {".jsonl", ".parquet"}:
        raise cli.UserError(f"--output {output} must end in .jsonl or .parquet.")
    places = places_of(args.repository)
    if args.dry_run:
        print(cli.table([[p.name, p.kind, p.where] for p in places], ["source", "kind", "where"]))
        print(f"would write the {' and '.join(args.language)} files to {output}")
        return
    cli.refuse_existing(output, args.overwrite)
    manifest = cli.Manifest(args)
    rejected = output.with_suffix(".rejected.jsonl")

    seen: dict[str, str] = {}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with writer(cli.partial(output), cli.partial(rejected), output.suffix == ".parquet") as write:
            tallies = [parse_place(place, seen, args, write) for place in places]
        refuse_empty(tallies, args.language)
    except OSError as error:  # what goes wrong with a source is stated where it is read
        raise cli.UserError(f"cannot write {output}: {error.strerror}; choose another place.") from None
    except cli.UserError:
        cli.partial(output).unlink(missing_ok=True)
        cli.partial(rejected).unlink(missing_ok=True)
        raise

    for place in places:
        if place.kind in {"bundle", "archive"}:
            manifest.add_input(Path(place.where))
    manifest.update(
        files=sum(tally.files for tally in tallies),
        documents=sum(tally.documents for tally in tallies),
        rejections=sum((tally.rejections for tally in tallies), Counter()),
        sources=[
            {"name": t.place.name, "kind": t.place.kind, "where": t.place.where, **t.source, "documents": t.documents}
            for t in tallies
        ],
    )
    cli.commit(cli.partial(rejected), rejected)
    manifest.write(output)
    cli.commit(cli.partial(output), output)
    print(summary(tallies))
    print(f"\nwrote {output}, {rejected.name} and {cli.manifest_of(output).name}")


if __name__ == "__main__":
    cli.run(main)
