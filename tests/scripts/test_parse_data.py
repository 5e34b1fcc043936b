"""Stage 1 from the command line: every file is a document or has a reason; the same command gives the same bytes."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import parse_data
from codefit.errors import UserError
from codefit.records import Document
from tests.support.sources import parse, project, rejections

SCRIPT = Path(parse_data.__file__)
KOTLIN = b"fun main() {\n    println(1)\n}\n"

BAD = {
    "bom.kt": b"\xef\xbb\xbf" + KOTLIN,
    "crlf.kt": KOTLIN.replace(b"\n", b"\r\n"),
    "cut.kt": "// ä".encode()[:-1],
    "deep.kt": b"val x = " + b"(" * 50_000 + b")" * 50_000,
    "empty.kt": b"",
    "good.kt": KOTLIN,
    "latin.kt": "// größe\n".encode("latin-1"),
    "lfs.kt": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "line.kt": b"x" * 5_000_000,
    "new\nline.kt": b"// a name with a line end\n",
    "nul.kt": b"val x = 1\0\n",
    "other.py": b"print(1)\n",
    "same.kt": KOTLIN,
    "utf16.kt": "val x = 1\n".encode("utf-16"),
    "ünïcode 名.kt": b"// a name in unicode\n",
}
REJECTED = {
    "cut.kt": ("not UTF-8", "byte 3"),
    "empty.kt": ("too small", 0),
    "latin.kt": ("not UTF-8", "byte 5"),
    "lfs.kt": ("LFS pointer", 63),
    "line.kt": ("too large", 5_000_000),
    "loop.kt": ("symlink", None),
    "nul.kt": ("binary", "NUL at byte 9"),
    "same.kt": ("same blob", "bad/good.kt"),
    "utf16.kt": ("not UTF-8", "UTF-16"),
}


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources") / "bad"
    folder.mkdir()
    for name, content in BAD.items():
        (folder / name).write_bytes(content)
    (folder / "loop.kt").symlink_to("loop.kt")
    return folder


def test_every_bad_file_is_a_document_or_has_a_reason(bad, tmp_path):
    output = tmp_path / "out.jsonl"
    documents = parse(output, bad)
    contents = {document.path: document.content for document in documents}
    expected = {
        name: BAD[name].removeprefix(b"\xef\xbb\xbf").decode()
        for name in BAD
        if name.endswith(".kt") and name not in REJECTED
    }
    assert contents == expected
    assert [document.path for document in documents] == sorted(expected)
    rows = {row["path"]: (row["rule"], row.get("value")) for row in rejections(output)}
    assert rows == REJECTED
    manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_text())
    assert manifest["files"] == manifest["documents"] + sum(manifest["rejections"].values())
    assert manifest["files"] == len([name for name in BAD if name.endswith(".kt")]) + 1
    assert manifest["rejections"] == {
        "not UTF-8": 3,
        "binary": 1,
        "too small": 1,
        "LFS pointer": 1,
        "too large": 1,
        "symlink": 1,
        "same blob": 1,
    }


def test_the_fields_of_a_document(bad, tmp_path):
    document = next(d for d in parse(tmp_path / "out.jsonl", bad) if d.path == "good.kt")
    blob = hashlib.sha1(b"blob %d\0" % len(KOTLIN) + KOTLIN).hexdigest()
    assert document == Document(KOTLIN.decode(), "good.kt", "bad", language="kotlin", blob=blob)


def test_blob_ids_are_those_of_git(bad, tmp_path):
    git = ["git", "-C", str(bad), "hash-object", "--no-filters"]
    for document in parse(tmp_path / "out.jsonl", bad):
        expected = subprocess.run([*git, document.path], capture_output=True, text=True, check=True).stdout.strip()
        assert document.blob == expected


def test_parquet_holds_the_same_documents(bad, tmp_path, monkeypatch):
    monkeypatch.setattr(parse_data, "PARQUET_ROWS", 2)
    assert parse(tmp_path / "out.parquet", bad) == parse(tmp_path / "out.jsonl", bad)
    assert (tmp_path / "out.jsonl.rejected.jsonl").is_file()


def test_the_same_blob_of_several_sources_is_kept_once(tmp_path):
    first = project(tmp_path, "one", {"a.kt": KOTLIN, "b.kt": b"val b = 1\n"})
    second = project(tmp_path, "two", {"c.kt": KOTLIN, "d.kt": b"val d = 1\n"})
    output = tmp_path / "out.jsonl"
    assert [d.path for d in parse(output, second, first)] == ["c.kt", "d.kt", "b.kt"]
    same = {"repository": "one", "path": "a.kt", "rule": "same blob", "value": "two/c.kt"}
    assert rejections(output) == [same]
    sources = json.loads((tmp_path / "out.jsonl.manifest.json").read_text())["sources"]
    assert [(source["name"], source["kind"], source["documents"]) for source in sources] == [
        ("two", "directory", 2),
        ("one", "directory", 1),
    ]


def test_sizes_and_languages_are_chosen_by_flags(tmp_path):
    source = project(
        tmp_path, "p", {"a.kt": b"1234", "b.kt": b"123", "c.kt": b"12345", "d.java": b"1235", "e.py": b"12"}
    )
    output = tmp_path / "out.jsonl"
    documents = parse(output, source, "--language", "kotlin", "java", "--min_bytes", "4", "--max-bytes", "4")
    assert [(d.path, d.language) for d in documents] == [("a.kt", "kotlin"), ("d.java", "java")]
    assert [(row["path"], row["rule"]) for row in rejections(output)] == [("b.kt", "too small"), ("c.kt", "too large")]


def test_the_summary_says_what_went_where(bad, tmp_path, capsys):
    output = tmp_path / "out.jsonl"
    documents = parse(output, bad)
    printed = capsys.readouterr().out
    size = sum(len(document.content.encode()) for document in documents)
    row = next(line for line in printed.splitlines() if line.startswith("bad"))
    assert row.split() == ["bad", "directory", "unknown", "15", "6", str(size)]
    assert "rejected because  files" in printed
    assert f"wrote {output}, out.jsonl.rejected.jsonl and out.jsonl.manifest.json" in printed


def test_a_dry_run_reads_and_writes_nothing(tmp_path, capsys):
    source = project(tmp_path, "p", {"a.kt": KOTLIN})
    output = tmp_path / "deep" / "out.jsonl"
    parse_data.main(["--repository", source, "JetBrains/kotlin", "--output", str(output), "--dry_run"])
    printed = capsys.readouterr().out
    assert "directory" in printed
    assert "https://github.com/JetBrains/kotlin" in printed
    assert f"would write the kotlin files to {output}" in printed
    assert not output.parent.exists()


def test_the_same_command_gives_the_same_bytes(bad, tmp_path):
    for name in ("one.jsonl", "two.jsonl", "one.parquet", "two.parquet"):
        parse(tmp_path / name, bad)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


# --------------------------------------------------------------------------------------------- problems


@pytest.mark.parametrize(
    ("files", "words", "message"),
    [
        (
            {"a.py": b"1", "b.py": b"2", "c.java": b"3", "d.md": b"4"},
            [],
            "p has no kotlin files, but it has 2 .py and 1 .java; add --language python.",
        ),
        ({"d.md": b"4"}, ["--language", "go", "java"], "p has no go or java files, and none in python, kotlin"),
        ({"a.kt": b"\0", "b.kt": b"\xff"}, [], r"every kotlin file of p was rejected \(1 binary, 1 not UTF-8\)"),
    ],
)
def test_no_document_is_an_error_that_leaves_nothing(tmp_path, files, words, message):
    source = project(tmp_path, "p", files)
    with pytest.raises(UserError, match=message):
        parse(tmp_path / "out" / "out.jsonl", source, *words)
    assert list((tmp_path / "out").iterdir()) == []


def test_outputs_are_not_replaced_without_overwrite_and_need_a_known_format(tmp_path):
    source = project(tmp_path, "p", {"a.kt": KOTLIN})
    with pytest.raises(UserError, match=r"--output .*out.csv must end in .jsonl or .parquet"):
        parse(tmp_path / "out.csv", source)
    parse(tmp_path / "out.jsonl", source)
    with pytest.raises(UserError, match="already exists and is complete; add --overwrite"):
        parse(tmp_path / "out.jsonl", source, "--min_bytes", "2")
    (tmp_path / "p" / "b.kt").write_bytes(b"val b = 1\n")
    with pytest.raises(UserError, match="already exists and is complete; add --overwrite"):
        parse(tmp_path / "out.jsonl", source)
    assert len(parse(tmp_path / "out.jsonl", source, "--overwrite")) == 2


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    source = project(tmp_path, "p", {"a.kt": KOTLIN})
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*out.jsonl: .*; choose another place"):
        parse(tmp_path / "file" / "out.jsonl", source)


def test_sources_of_the_same_name_are_refused(tmp_path):
    sources = [project(tmp_path, name, {"a.kt": KOTLIN}) for name in ("x/src", "y/src")]
    with pytest.raises(UserError, match="2 sources have the name src; rename one"):
        parse(tmp_path / "out.jsonl", *sources)


def test_a_failing_source_leaves_nothing_half_written(tmp_path):
    good = project(tmp_path, "good", {"a.kt": KOTLIN})
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    with pytest.raises(UserError, match="is damaged or not an archive"):
        parse(tmp_path / "out" / "out.jsonl", good, tmp_path / "broken.zip")
    assert list((tmp_path / "out").iterdir()) == []


def test_from_the_shell_a_problem_is_one_line_and_exit_code_1(tmp_path):
    command = [sys.executable, str(SCRIPT), "--repository", "nothing", "--output", str(tmp_path / "out.jsonl")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: nothing does not exist; ")
    assert result.stderr.count("\n") == 1
