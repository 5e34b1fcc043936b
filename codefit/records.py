"""The records that pass between the stages, and their files: JSONL, or Parquet for documents.

A broken line is reported with its file and line number. Unknown fields are ignored, so that third-party data sets
(JetBrains/KStack, TRL's prompt-completion rows) can be read unchanged.
"""

import dataclasses
import datetime
import functools
import gzip
import itertools
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import orjson

from codefit import console, hub_names
from codefit.errors import UserError, first_line

TYPES: dict[str, tuple[Any, str]] = {  # types of the fields that are not text
    "scores": (dict[str, float], "an object of numbers"),
    "context": (list[dict[str, Any]], "a list of objects"),
}

# Column names for the fields of a document in data sets of code: The Stack v1 and v2, StarCoderData, github-code,
# KStack, and CodeSearchNet, as published and as on the Hub. The first column that exists is used.
COLUMNS = {
    "content": ("content", "code", "whole_func_string", "func_code_string", "original_string"),
    "path": ("path", "max_stars_repo_path", "func_path_in_repository", "file_path"),
    "repository": ("repository", "max_stars_repo_name", "repo_name", "repository_name", "repo", "nwo"),
    "commit": ("commit", "commit_sha", "max_stars_repo_head_hexsha", "revision_id", "sha"),
    "committed_at": ("committed_at", "committer_date", "commit_date"),
    "language": ("language", "lang"),
    "license": ("license", "max_stars_repo_licenses", "detected_licenses", "licenses"),
    "blob": ("blob", "blob_id", "hexsha"),
}
OWNER, NAME = "owner", "name"  # of a repository, if they are two columns
FUNCTION = "func_name"  # if a row is one function of a file
ADDRESSES = ("func_code_url", "url")  # URLs of a function, with its lines
# StarCoderData starts some texts with metadata of the file: `<reponame>o/r<filename>a.py\n`.
MARKER = re.compile(r"<(reponame|filename|gh_stars)>([^<\n]*)")
MARKERS = re.compile(rf"(?:{MARKER.pattern})+\n?")
MARKED = {"reponame": "repository", "filename": "path"}

PREPARED = "data/kotlin_prepared_dataset"  # where preprocess_data.py writes and later stages read, unless told
SPLITS = ("train", "validation", "test")
DOCUMENTS = "documents.jsonl"  # in a prepared data set: the files that its pairs were made from, and their neighbours
OVERLAP = "test_overlap"  # test pairs whose completion is also in train; they are measured separately
STATE = "state"  # why a row of a history is left out that is no change, but says which files a commit had
HISTORY = "history.jsonl"  # in a prepared data set: the files at every commit that a pair names
# The kinds of places that later commits added to; the first that fits counts.
PLACES = ("new file", "import", "call of an own API", "changed function", "other code")
MAX_PROMPT_TOKENS = 512  # of a prompt, unless a flag, the data or the model says otherwise


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One source file. `blob` is git's object id of the bytes; `committed_at` is ISO 8601."""

    content: str
    path: str
    repository: str = ""
    commit: str = ""
    committed_at: str = ""
    language: str = ""
    license: str = ""
    blob: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A file of a history that a commit made different from its parent.

    The rows of a repository are in an order in which a parent comes before its children, so that the files at every
    commit can be built up: codefit/sources/timeline.py.

    Attributes:
        path: the file.
        commit: the commit.
        parent: the commit that it is compared with; "" for none, so that all its files are listed.
        repository: the repository.
        committed_at: date of the commit, in ISO 8601.
        language: of the file.
        license: of the repository.
        blob: git's object id of the file at the commit; "" if the commit removed the file.
        previous: the same at the parent; "" if the file is new.
        content: the text; None if the file was removed, or if an earlier row or document has this path and blob.
        left_out: why nothing is asked about the change; "" where something can be.
    """

    path: str
    commit: str
    parent: str = ""
    repository: str = ""
    committed_at: str = ""
    language: str = ""
    license: str = ""
    blob: str = ""
    previous: str = ""
    content: str | None = None
    left_out: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """One training or test example.

    `finish_reason` is "stop" if the completion reaches its natural end, where a model should also stop, and "length" if
    the limit cut it. `suffix` is the text after the cursor, for fill-in-the-middle. `prompt_format` is "chat" if the
    prompt is a user message, to be laid out with the model's chat template. `context` lists the other files that the
    prompt begins with: `path`, `start` and `characters` of each.

    A pair from a later commit of a history names it: `commit`. Its author had the files that the repository had before,
    and `place` is the kind of place: one of PLACES.
    """

    id: str
    task: str
    prompt: str
    completion: str
    finish_reason: str = "stop"
    suffix: str | None = None
    repository: str = ""
    path: str = ""
    language: str = ""
    prompt_format: str | None = None
    context: list[dict[str, Any]] | None = None
    commit: str | None = None
    place: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """What a model wrote for one pair. `finish_reason`: "stop" (it emitted end-of-sequence) or "length" (the limit).

    `scores` has the values of the item by metric name; `reference_finish_reason`, `task`, `language`, `repository`,
    `commit` and `place` are those of the pair.
    """

    id: str
    prompt: str
    prediction: str
    reference: str
    finish_reason: str = "stop"
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    path: str = ""
    suffix: str | None = None
    reference_finish_reason: str = "stop"
    task: str = "completion"
    language: str = ""
    repository: str = ""
    commit: str | None = None
    place: str | None = None


Record = TypeVar("Record", Document, Change, Pair, Prediction)


def read_jsonl(path: Path, kind: type[Record]) -> Iterator[Record]:
    """Yield the records of a JSONL file.

    Raises:
        UserError: the file is missing, a line is not JSON, or a field is missing or of the wrong type.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for place, row in read_rows(path):
        yield from_row(kind, fields, row, place)


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a JSONL file, gzipped or not, each with its place "file:line" for error messages.

    Raises:
        UserError: the file is missing, not UTF-8 or an incomplete gzip file, or a line is not a JSON object.
    """
    try:
        opening: Any = gzip.open if path.suffix == ".gz" else open
        file = opening(path, "rt", encoding="utf-8-sig", newline="\n")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path.") from None
    with file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}:{number}", _object(line, f"{path}:{number}")
        except UnicodeDecodeError as error:
            if error.start == 0 and error.object.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise UserError(
                    f"{path} is UTF-16 text, but a JSONL file must be UTF-8; convert it to UTF-8."
                ) from None
            raise UserError(f"{path} is not UTF-8 text; give a JSONL file.") from None
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise UserError(f"{path} is a damaged or incomplete gzip file; get it again.") from None


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: not valid JSON ({error}); repair or remove the line.") from None
    if not isinstance(row, dict):
        raise UserError(f"{place}: not a JSON object but of type {type(row).__name__}; repair or remove the line.")
    return row


def from_row(kind: type[Record], fields: dict[str, Any], row: dict[str, Any], place: str) -> Record:
    """Build a record from a dict, checking that required fields are present and all have the right type."""
    known = _known(row) if kind is Document and not row.keys() >= fields.keys() else row
    values = {name: known[name] for name in fields if known.get(name) is not None}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            have = ", ".join(list(row)[:8]) or "nothing"
            raise UserError(f'{place}: the field "{name}" of a {kind.__name__} is missing (it has {have}); add it.')
        if name in values and not isinstance(values[name], str):
            wanted, words = TYPES.get(name, (str, "text"))
            try:
                msgspec.convert(values[name], wanted)
            except (ValueError, RecursionError):  # of msgspec, or of a name that is not valid Unicode
                kind_found = type(values[name]).__name__
                raise UserError(f'{place}: the field "{name}" must be {words}, not {kind_found}.') from None
        elif name in TYPES and name in values:
            raise UserError(f'{place}: the field "{name}" must be {TYPES[name][1]}, not str.')
        elif (
            name in values and kind is not Document and _holds_half_a_pair(values[name])
        ):  # curation rejects such documents
            raise UserError(
                f'{place}: the field "{name}" contains a lone surrogate (not valid Unicode); repair or remove it.'
            )
    return kind(**values)


def _known(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a third-party data set with the field names of a document."""
    known = dict(row)
    for field, columns in COLUMNS.items():
        texts = (_text(row.get(column)) for column in columns)
        if row.get(field) is None or (field == "license" and isinstance(row[field], list)):
            known[field] = next((text for text in texts if text), None)
    _take_markers(known)
    if not known["repository"] and _text(row.get(OWNER)) and _text(row.get(NAME)):
        known["repository"] = f"{row[OWNER]}/{row[NAME]}"
    if _text(row.get(FUNCTION)) and isinstance(known["path"], str):
        lines = next((url.partition("#")[2] for name in ADDRESSES if (url := _text(row.get(name)))), "")
        known["path"] += f"#{lines or row[FUNCTION]}"  # functions of one file can share a name
    return known


def _take_markers(known: dict[str, Any]) -> None:
    """Remove StarCoderData's markers from the text; they give repository and path where no column does."""
    content = known["content"]
    if not isinstance(content, str) or not (markers := MARKERS.match(content)):
        return
    known["content"] = content[markers.end() :]
    for name, value in MARKER.findall(markers[0]):
        if name in MARKED and not known[MARKED[name]]:
            known[MARKED[name]] = value.strip()


def _text(value: Any) -> str | None:
    """Return a text; several texts (such as licences) as one, a date as ISO 8601, None for other values."""
    if isinstance(value, datetime.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).isoformat()
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return " AND ".join(value)
    return value if isinstance(value, str) and value else None


def _holds_half_a_pair(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def write_jsonl(path: Path, records: Iterable[Document | Change | Pair | Prediction | dict[str, Any]]) -> int:
    """Write records, one JSON object per line, and return their number. Fields that are None are left out."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(to_line(record))
            count += 1
    return count


def to_line(record: Document | Change | Pair | Prediction | dict[str, Any]) -> str:
    """Return a record as one line of JSONL, with its newline."""
    row = record if isinstance(record, dict) else {name: getattr(record, name) for name in record.__slots__}
    try:
        fields = [f"{_key(key)}: {_json(value)}" for key, value in row.items() if value is not None]
    except orjson.JSONEncodeError:  # a lone surrogate is not valid Unicode
        line = json.dumps({key: value for key, value in row.items() if value is not None}, ensure_ascii=False)
        return line.encode("utf-8", "backslashreplace").decode() + "\n"
    return "{" + ", ".join(fields) + "}\n"


@functools.cache
def _key(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _json(value: Any) -> str:
    """Return a value like `json.dumps`; texts, which are most of every file, with a faster library."""
    return orjson.dumps(value).decode() if type(value) is str else json.dumps(value, ensure_ascii=False)


def read_documents(source: str, taken: set[str] | None = None, revision: str | None = None) -> Iterator[Document]:
    """Yield the documents of a JSONL or Parquet file or of a Hub data set; COLUMNS has the column names.

    Documents without a repository may share a path: all but the first with a path are put into a folder named after
    their row.

    Args:
        source: a local path, or the id of a Hub data set such as `JetBrains/KStack`.
        taken: paths of documents without a repository so far; extended here.
        revision: the commit of a Hub data set; without it, the newest.
    """
    taken = set() if taken is None else taken
    said = False
    for number, document in enumerate(_documents(source, revision), 1):
        if document.repository:
            yield document
            continue
        if not said:
            said = True
            console.show(
                f"note: {source} has no repository names; files with the same path are kept apart by row",
                file=sys.stderr,
            )
        yield dataclasses.replace(document, path=_free(document.path, number, taken))


def _free(path: str, row: int, taken: set[str]) -> str:
    """Return a path that is not in `taken`, and add it."""
    names = itertools.chain([path, f"row-{row}/{path}"], (f"row-{row}-{again}/{path}" for again in itertools.count(2)))
    free = next(name for name in names if name not in taken)
    taken.add(free)
    return free


def is_on_hub(source: str) -> bool:
    """Return whether a source of documents is a data set on the Hub, not a file."""
    path = Path(source)
    return not (path.exists() or path.suffix in {".jsonl", ".json", ".parquet"}) and source.count("/") == 1


def _documents(source: str, revision: str | None) -> Iterator[Document]:
    path = Path(source)
    if path.suffix == ".parquet" and path.is_file():
        columns = [*itertools.chain(*COLUMNS.values()), OWNER, NAME, FUNCTION, *ADDRESSES]
        yield from _checked(rows_of_parquet(path, columns), f"{path}: row")
    elif is_on_hub(source):
        yield from _checked(_rows_of_hub(source, revision), f"{source}: row")
    else:
        yield from read_jsonl(path, Document)


def _checked(rows: Iterable[dict[str, Any]], place: str) -> Iterator[Document]:
    fields = {field.name: field for field in dataclasses.fields(Document)}
    for number, row in enumerate(rows, 1):
        yield from_row(Document, fields, row, f"{place} {number}")


def rows_of_parquet(path: Path, wanted: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file; only the wanted columns, if the first of these exists.

    Raises:
        UserError: the file is missing or not a Parquet file.
    """
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = file.schema_arrow.names
        # Without the text column, all columns are read, so that the error can list them.
        columns = [name for name in wanted if name in names] if wanted and wanted[0] in names else None
        for batch in file.iter_batches(batch_size=256, columns=columns):
            yield from batch.to_pylist()
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        raise UserError(f"cannot read {path} as Parquet ({first_line(error)}); write it again.") from None


def _rows_of_hub(name: str, revision: str | None) -> Iterator[dict[str, Any]]:
    import datasets

    try:
        for row in datasets.load_dataset(name, split="train", streaming=True, revision=revision):
            yield dict(row)
    except Exception as error:  # the client raises a dozen unrelated types, here or while streaming
        raise unreadable(name, error) from None


def unreadable(name: str, error: Exception) -> UserError:
    """Return the error for documents on the Hub that cannot be read."""
    return UserError(f"cannot read the data set {name} from the Hub ({first_line(error)}); give a local file instead.")


def dataset_folder(name: str) -> Path:
    """Return the folder of a prepared data set: a local one, or a downloaded Hub data set.

    Raises:
        UserError: there is no such folder or Hub data set, or it has no train.jsonl.
    """
    folder = Path(name)
    make = "write one with preprocess_data.py"
    if folder.exists():
        remedy = f"{make}."
    else:
        hub_names.refuse_unfinished(name)
        remedy = hub_names.suggestion(name, make)
        folder = _download(name) if name.count("/") == 1 else folder
    if not (folder / "train.jsonl").is_file():
        raise UserError(f"{name} is not a prepared data set (no train.jsonl); {remedy}")
    return folder


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    hub_names.reach_for(name)
    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=["*.jsonl", "manifest.json"]))
    except Exception as error:  # OSError, ValueError and bare transport errors, all for "not available"
        raise UserError(
            f"{name} is neither a local folder nor a data set on the Hub ({first_line(error)}); "
            f"{hub_names.suggestion(name, 'write one with preprocess_data.py')}"
        ) from None


@dataclass(frozen=True, slots=True)
class Rejection:
    """The reason for leaving something out: the name of the rule, and the value that broke it."""

    rule: str
    value: Any = None
