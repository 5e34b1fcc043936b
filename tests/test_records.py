"""The records and their files: what is written comes back, and what is broken is named with its file and line."""

import dataclasses
import datetime
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow
import pyarrow.parquet
import pytest

from codefit import records
from codefit.errors import UserError
from codefit.records import Document, Pair, Prediction, Record, read_documents, read_jsonl, to_line, write_jsonl

SEPARATORS = "a\u2028b\u2029c\u0085d\x0b\x0c\x1ce\rf\r\ng\n"  # what str.splitlines splits at, all of it
DOCUMENT = Document(
    "fun f() = 1\n", "src/F.kt", "me/project", "c0ffee", "2024-01-02T03:04:05Z", "kotlin", "MIT", "b10b"
)
PAIR = Pair("a:1", "completion", "def f(", "x):", "length", "\n    pass", "me/project", "f.py", "python")
PREDICTION = Prediction("a:1", "def f(", "y):", "x):", "stop", {"nats": 1.5, "tokens": 2}, "f.py", "", "length")


def message(action: Callable[[], Any]) -> str:
    """Return the sentence of a stated problem."""
    with pytest.raises(UserError) as stated:
        action()
    text = str(stated.value)
    assert "\n" not in text
    return text


# ---------------------------------------------------------------------------------------------- JSONL


@pytest.mark.parametrize(
    "record",
    [
        DOCUMENT,
        PAIR,
        PREDICTION,
        Document("", ""),
        Pair("", "", "", ""),
        Prediction("", "", "", ""),
        Document(SEPARATORS, "ü/日本.py"),
        Pair(SEPARATORS, "t", 'quotes " and \\ and \t', "\x00\x1b 🦊 e\u0301", suffix=SEPARATORS),
        Prediction("1", "\ufeffp", "\u200b", "\U0010ffff", scores={}),
    ],
)
def test_a_record_comes_back_as_it_was(tmp_path: Path, record: Record) -> None:
    file = tmp_path / "records.jsonl"
    assert write_jsonl(file, [record, record]) == 2
    assert file.read_bytes().count(b"\n") == 2
    assert list(read_jsonl(file, type(record))) == [record, record]


def test_text_is_written_as_it_is_and_nothing_as_null(tmp_path: Path) -> None:
    line = to_line(Pair("1", "t", "日本", "🦊"))
    assert "日本" in line
    assert "🦊" in line
    assert "suffix" not in json.loads(line)
    assert to_line(dataclasses.replace(PAIR, suffix="")).count('"suffix": ""') == 1
    assert to_line({"rule": "binary", "value": None, "count": 0}) == '{"rule": "binary", "count": 0}\n'


def test_lines_end_alike_on_every_machine(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [DOCUMENT])
    assert b"\r" not in (tmp_path / "a.jsonl").read_bytes()


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    assert write_jsonl(tmp_path / "none.jsonl", []) == 0
    assert (tmp_path / "none.jsonl").read_bytes() == b""
    assert list(read_jsonl(tmp_path / "none.jsonl", Pair)) == []


GOOD = b'{"content": "a", "path": "a.py"}\n'


def documents(path: Path, content: bytes) -> list[Document]:
    path.write_bytes(content)
    return list(read_jsonl(path, Document))


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD.rstrip(b"\n"),
        b"\n \n" + GOOD + b"\t\n\n",
        GOOD.replace(b"\n", b"\r\n"),
        b'{"content": "a", "stars": [1, {"x": null}], "path": "a.py", "commit": null, "max_size": 3}\n',
    ],
    ids=["plain", "no last newline", "empty lines", "CRLF", "unknown fields and nulls"],
)
def test_what_others_write_is_read(tmp_path: Path, content: bytes) -> None:
    assert documents(tmp_path / "a.jsonl", content) == [Document("a", "a.py")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (GOOD + b'{"content": "a"\n', "a.jsonl:2: not valid JSON (Expecting"),
        (b"\n\n" + GOOD + b"half\n" + GOOD, "a.jsonl:4: not valid JSON ("),
        (b'{"content": "a", "path": "a.py"} {}\n', "a.jsonl:1: not valid JSON (Extra data"),
        (
            '{"content": "a"}'.encode("utf-16"),
            "a.jsonl is UTF-16 text, but a JSONL file must be UTF-8; convert it to UTF-8.",
        ),
        (b"[" * 200_000 + b"\n", "a.jsonl:1: not valid JSON ("),
        (GOOD + b"[1]\n", "a.jsonl:2: not a JSON object but of type list; repair or remove the line."),
        (GOOD + b"null\n", "a.jsonl:2: not a JSON object but of type NoneType; repair or remove the line."),
        (b"{}\n", 'a.jsonl:1: the field "content" of a Document is missing (it has nothing); add it.'),
        (
            GOOD + b'{"content": "a"}\n',
            'a.jsonl:2: the field "path" of a Document is missing (it has content); add it.',
        ),
        (
            b'{"content": null, "path": "p"}\n',
            'a.jsonl:1: the field "content" of a Document is missing (it has content, path); add it.',
        ),
        (b'{"content": 1, "path": "p"}\n', 'a.jsonl:1: the field "content" must be text, not int.'),
        (b'{"content": ["a"], "path": "p"}\n', 'a.jsonl:1: the field "content" must be text, not list.'),
        (
            b'{"content": "a", "path": "p", "commit": ["c"]}\n',
            'a.jsonl:1: the field "commit" must be text, not list.',
        ),
        (b'{"content": "a", "path": "p", "blob": false}\n', 'a.jsonl:1: the field "blob" must be text, not bool.'),
        (GOOD + b'{"content": "\xff", "path": "p"}\n', "a.jsonl is not UTF-8 text; give a JSONL file."),
        (b"PAR1\x00\x80\x81", "a.jsonl is not UTF-8 text; give a JSONL file."),
    ],
)
def test_a_broken_line_is_named_with_its_place(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "a.jsonl"
    assert message(lambda: documents(file, content)).startswith(f"{tmp_path}/{said}")


def test_the_records_before_a_broken_line_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD + b"{\n")
    rows = read_jsonl(tmp_path / "a.jsonl", Document)
    assert next(rows) == Document("a", "a.py")
    assert "a.jsonl:2" in message(lambda: next(rows))


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        (Pair, {"id": "1", "task": "t", "prompt": "p"}, 'the field "completion" of a Pair is missing'),
        (Pair, {"id": 1, "task": "t", "prompt": "p", "completion": "c"}, 'the field "id" must be text, not int.'),
        (Prediction, {"id": "1", "prompt": "p", "prediction": "x"}, 'the field "reference" of a Prediction is missing'),
        (
            Prediction,
            {"id": "1", "prompt": "p", "prediction": "x", "reference": "y", "scores": [1]},
            'the field "scores" must be an object of numbers, not list.',
        ),
        (
            Prediction,
            {"id": "1", "prompt": "p", "prediction": "x", "reference": "y", "scores": {"\ud800": "x"}},
            'the field "scores" must be an object of numbers, not dict.',
        ),
    ],
)
def test_pairs_and_predictions_are_checked_too(tmp_path: Path, kind: type[Record], row: dict[str, Any], said: str):
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    assert said in message(lambda: list(read_jsonl(tmp_path / "a.jsonl", kind)))


def test_rows_without_a_record_type_come_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"rule": "binary"}\n\n{"value": [1]}\n')
    rows = list(records.read_rows(tmp_path / "a.jsonl"))
    assert rows == [(f"{tmp_path}/a.jsonl:1", {"rule": "binary"}), (f"{tmp_path}/a.jsonl:3", {"value": [1]})]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("absent.jsonl", "No such file or directory"), ("folder", "Is a directory"), ("file/x.jsonl", "Not a directory")],
)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    path = tmp_path / name
    assert message(lambda: list(read_jsonl(path, Pair))) == f"cannot read {path}: {reason}; check the path."


# ---------------------------------------------------------------------------------------------- documents


def parquet(path: Path, /, **columns: list[Any]) -> str:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return str(path)


def test_documents_come_from_jsonl_whatever_the_name_ends_in(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json", "a.txt", "a"):
        write_jsonl(tmp_path / name, [DOCUMENT])
        assert list(read_documents(str(tmp_path / name))) == [DOCUMENT]


def test_documents_come_back_from_parquet(tmp_path: Path) -> None:
    wanted = [dataclasses.replace(DOCUMENT, content=f"{number}\n{SEPARATORS}") for number in range(600)]
    columns = {field.name: [getattr(row, field.name) for row in wanted] for field in dataclasses.fields(Document)}
    source = parquet(tmp_path / "a.parquet", stars=list(range(600)), **columns)
    assert list(read_documents(source)) == wanted


def test_parquet_may_lack_what_a_document_may_lack(tmp_path: Path) -> None:
    source = parquet(tmp_path / "a.parquet", path=["a.py", "b.py"], content=["a", "b"], license=[None, "MIT"])
    assert list(read_documents(source)) == [Document("a", "a.py"), Document("b", "b.py", license="MIT")]
    assert list(read_documents(parquet(tmp_path / "b.parquet", path=[], content=[]))) == []


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"text": ["a"], "path": ["p"]},
            'row 1: the field "content" of a Document is missing (it has text, path); add it.',
        ),
        ({"foo": [1]}, 'row 1: the field "content" of a Document is missing (it has foo); add it.'),
        ({"content": ["a", None], "path": ["p", "q"]}, 'row 2: the field "content" of a Document is missing'),
        ({"content": ["a"], "path": [1]}, 'row 1: the field "path" must be text, not int.'),
        ({"content": ["a"], "path": ["p"], "commit": [["c"]]}, 'row 1: the field "commit" must be text, not list.'),
    ],
)
def test_a_broken_row_of_parquet_is_named(tmp_path: Path, columns: dict[str, list[Any]], said: str) -> None:
    source = parquet(tmp_path / "a.parquet", **columns)
    assert message(lambda: list(read_documents(source))).startswith(f"{source}: {said}")


def test_a_file_that_is_no_parquet_is_one_sentence(tmp_path: Path) -> None:
    whole = Path(parquet(tmp_path / "whole.parquet", content=["a" * 100], path=["p"])).read_bytes()
    broken = whole[:4] + b"\xff" * 60 + whole[64:]  # the index at the end is whole, the rows are not
    for content in (b"", b"not", b"words that are no Parquet", whole[:-20], broken):
        file = tmp_path / "a.parquet"
        file.write_bytes(content)
        text = message(lambda: list(read_documents(str(tmp_path / "a.parquet"))))
        assert re.fullmatch(rf"cannot read {re.escape(str(file))} as Parquet \(.+\); write it again\.", text)


@pytest.mark.parametrize("name", ["absent.jsonl", "some/absent.jsonl", "some/absent.parquet", "absent", "a/b/c"])
def test_what_cannot_be_a_hub_id_is_looked_for_on_the_disk(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("the Hub was asked"))
    said = f"cannot read {name}: No such file or directory; check the path."
    assert message(lambda: list(read_documents(name))) == said


def test_documents_come_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, **options: Any) -> list[dict[str, Any]]:
        asked.append((name, options))
        return [{"content": "a", "path": "a.kt", "size": 1}, {"content": "b", "path": "b.kt", "commit": "c0ffee"}]

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert list(read_documents("JetBrains/KStack")) == [Document("a", "a.kt"), Document("b", "b.kt", commit="c0ffee")]
    assert asked == [("JetBrains/KStack", {"split": "train", "streaming": True, "revision": None})]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionError("Couldn't reach the Hub.\nTry again later."), "Couldn't reach the Hub"),
        (ValueError("  Bad  split\t'train'.  "), "Bad split 'train'"),
        (RuntimeError(), "RuntimeError"),
    ],
)
@pytest.mark.parametrize("rows", [0, 2])
def test_a_hub_data_set_that_cannot_be_had_is_one_sentence(
    error: Exception, reason: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may fail when it is opened, or while it streams."""

    def stream() -> Iterator[dict[str, str]]:
        yield from [{"content": "a", "path": "a.kt"}] * rows
        raise error

    def load(*_: Any, **__: Any) -> Iterator[dict[str, str]]:
        if not rows:
            raise error
        return stream()

    monkeypatch.setattr(datasets, "load_dataset", load)
    found: list[Document] = []
    text = message(lambda: found.extend(read_documents("me/absent")))
    assert text == f"cannot read the data set me/absent from the Hub ({reason}); give a local file instead."
    assert len(found) == rows


def test_a_broken_row_of_the_hub_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: [{"text": "a", "id": 1}])
    said = 'me/texts: row 1: the field "content" of a Document is missing (it has text, id); add it.'
    assert message(lambda: list(read_documents("me/texts"))) == said


# ---------------------------------------------------------------------------------------------- prepared data sets


def test_a_prepared_folder_is_itself(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").touch()
    assert records.dataset_folder(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["absent", "a/b/c", "empty/folder", "file.jsonl"])
def test_what_is_no_prepared_data_set_is_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty/folder").mkdir(parents=True)
    Path("file.jsonl").touch()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("the Hub was asked"))
    said = f"{name} is not a prepared data set (no train.jsonl); write one with preprocess_data.py."
    assert message(lambda: records.dataset_folder(name)) == said


def test_a_prepared_data_set_comes_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, **options: Any) -> str:
        assert (name, options["repo_type"]) == ("me/pairs", "dataset")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert "me/pairs is not a prepared data set (no train.jsonl)" in message(lambda: records.dataset_folder("me/pairs"))
    (tmp_path / "train.jsonl").touch()
    assert records.dataset_folder("me/pairs") == tmp_path


def test_a_prepared_data_set_that_the_hub_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise OSError("404 Client Error.\nRepository not found")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert message(lambda: records.dataset_folder("me/pairs")) == (
        "me/pairs is neither a local folder nor a data set on the Hub (404 Client Error); "
        "write one with preprocess_data.py."
    )


# ---------------------------------------------------------------------------------------------- data sets of others


OF_OTHERS = {
    "KStack": {"repo_id": 1, "owner": "o", "name": "r", "commit_sha": "c", "main_language": "Java", "size": 7},
    "The Stack v1": {
        **{"max_stars_repo_name": "o/r", "max_stars_repo_head_hexsha": "c", "lang": "Kotlin", "hexsha": "b", "size": 7},
        **{"path": None, "max_stars_repo_path": "a.kt", "max_stars_repo_licenses": ["MIT", "BSD"], "ext": "kt"},
    },
    "The Stack v2": {
        **{"repo_name": "o/r", "revision_id": "c", "blob_id": "b", "detected_licenses": ["MIT"], "language": "Kotlin"},
        **{"committer_date": "2020-01-01T00:00:00Z", "license_type": "permissive"},
    },
    "StarCoderData": {"path": None, "max_stars_repo_path": "a.kt", "max_stars_repo_name": "o/r", "id": "7"},
    "github-code": {"content": None, "code": "text", "repo_name": "o/r", "license": "mit", "language": "Kotlin"},
    "CodeSearchNet": {
        **{"content": None, "code": "text", "repo": "o/r", "sha": "c", "func_name": "f", "docstring": "x"},
        **{"language": "kotlin", "partition": "train"},
    },
    "CodeSearchNet of the Hub": {
        **{"content": None, "whole_func_string": "text", "path": None, "func_path_in_repository": "a.kt"},
        **{"repository_name": "o/r", "func_name": "f", "func_code_string": "cut"},
    },
    "CodeSearchNet with addresses": {
        **{"content": None, "whole_func_string": "text", "repository_name": "o/r", "func_name": "f"},
        **{"func_code_url": "https://example.com/o/r/blob/c/a.kt#L3-L9"},
    },
}
FOUND = {
    "KStack": Document("text", "a.kt", "o/r", "c"),
    "The Stack v1": Document("text", "a.kt", "o/r", "c", "", "Kotlin", "MIT AND BSD", "b"),
    "The Stack v2": Document("text", "a.kt", "o/r", "c", "2020-01-01T00:00:00Z", "Kotlin", "MIT", "b"),
    "StarCoderData": Document("text", "a.kt", "o/r"),
    "github-code": Document("text", "a.kt", "o/r", language="Kotlin", license="mit"),
    "CodeSearchNet": Document("text", "a.kt#f", "o/r", "c", language="kotlin"),
    "CodeSearchNet of the Hub": Document("text", "a.kt#f", "o/r"),
    "CodeSearchNet with addresses": Document("text", "a.kt#L3-L9", "o/r"),
}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", OF_OTHERS)
def test_data_sets_of_others_are_read_by_their_own_columns(
    tmp_path: Path, name: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {key: value for key, value in ({"content": "text", "path": "a.kt"} | OF_OTHERS[name]).items() if value}
    path = tmp_path / f"a.{form}"
    if form == "jsonl":
        path.write_text(json.dumps(row))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    assert list(read_documents(str(path))) == [FOUND[name]]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("licences", "expected"), [(["MIT"], "MIT"), (["MIT", "ISC"], "MIT AND ISC"), ([], ""), ([None], "")]
)
def test_a_list_of_licences_can_be_in_the_column_license(
    tmp_path: Path, licences: list[str | None], expected: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"content": "text", "path": "a.kt", "repo_name": "o/r", "license": licences}))
    assert [document.license for document in read_documents(str(path))] == [expected]


@pytest.mark.parametrize(
    ("content", "columns", "expected"),
    [
        ("<reponame>o/r<filename>src/a.py<gh_stars>10-100\nx = 1\n", {}, Document("x = 1\n", "src/a.py", "o/r")),
        (
            "<reponame>o/r<filename>b.py<gh_stars>0\nx = 1\n",
            {"max_stars_repo_path": "a.py", "max_stars_repo_name": "p/q"},
            Document("x = 1\n", "a.py", "p/q"),
        ),
        ("<filename>a.py\n\nx = 1\n", {}, Document("\nx = 1\n", "a.py")),
        ("<gh_stars>1000+\nx = 1\n", {"path": "a.py"}, Document("x = 1\n", "a.py")),
        ("<gh_stars>0", {"path": "a.py"}, Document("", "a.py")),
        ("x = '<filename>a.py'\n", {"path": "b.py"}, Document("x = '<filename>a.py'\n", "b.py")),
        ("<filename >a.py\n", {"path": "b.py"}, Document("<filename >a.py\n", "b.py")),
    ],
)
def test_the_markers_in_texts_of_starcoderdata_are_read_and_taken_off(
    tmp_path: Path, content: str, columns: dict[str, str], expected: Document
) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"content": content, **columns}))
    assert list(read_documents(str(tmp_path / "a.jsonl"))) == [expected]


def test_a_document_of_our_own_keeps_a_text_that_looks_like_markers(tmp_path: Path) -> None:
    document = Document("<filename>a.py\nx = 1\n", "b.py", "r")
    write_jsonl(tmp_path / "a.jsonl", [document])
    assert list(read_documents(str(tmp_path / "a.jsonl"))) == [document]


@pytest.mark.parametrize("zone", [None, datetime.UTC])
def test_a_date_of_parquet_is_iso_8601(tmp_path: Path, zone: datetime.tzinfo | None) -> None:
    date = datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=zone)
    source = parquet(tmp_path / "a.parquet", content=["x"], path=["a"], repo_name=["o/r"], committer_date=[date])
    assert list(read_documents(source)) == [Document("x", "a", "o/r", committed_at="2020-01-02T03:04:05+00:00")]


@pytest.mark.parametrize(
    "odd", [{"owner": 7, "name": "r"}, {"owner": "o"}, {"repo": {"id": 7}}, {"repo_name": ["o", 7]}]
)
def test_a_repository_that_is_no_text_is_none(tmp_path: Path, odd: dict[str, object]) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"content": "text", "path": "a.kt", **odd}))
    assert list(read_documents(str(tmp_path / "a.jsonl"))) == [Document("text", "a.kt")]


def test_files_without_a_repository_are_kept_apart_and_that_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "a.jsonl"
    write_jsonl(source, [{"content": str(n), "path": "src/Main.kt"} for n in range(3)])
    taken: set[str] = set()
    first, again = (list(read_documents(str(source), taken)) for _ in range(2))
    paths = [row.path for row in (*first, *again)]
    assert paths[:3] == ["src/Main.kt", "row-2/src/Main.kt", "row-3/src/Main.kt"]
    assert len(set(paths)) == 6
    assert all(path.endswith("/src/Main.kt") for path in paths[1:])
    assert (
        capsys.readouterr().err
        == f"note: {source} has no repository names; files with the same path are kept apart by row\n" * 2
    )


def test_a_half_of_a_surrogate_pair_is_written_as_an_escape(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"path": "a\ud800"}])
    assert (tmp_path / "a.jsonl").read_bytes() == b'{"path": "a\\ud800"}\n'
