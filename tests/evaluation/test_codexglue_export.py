"""Prepared methods in CodeXGLUE's format: markers, kept literals, and reading the result back."""

import json
from collections import Counter

import pytest

import preprocess_data
from codefit.errors import UserError
from codefit.evaluation.benchmarks import codexglue as reader
from codefit.evaluation.benchmarks import codexglue_export
from codefit.records import Document, Pair, read_jsonl, read_rows, write_jsonl
from tests.support.texts import SOURCES

COMMON = codexglue_export.Literals(frozenset([("STR", "a"), ("STR", "aU+002CU+0020b"), ("NUM", "1")]))


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("def f(a, b=1, *, c='a'):", "def f(a, b=<NUM_LIT:1>, *, c='<STR_LIT:a>'):<EOL>"),
        ("x = 22\n\n\ny = 'b' + 'a,  b'", "x = <NUM_LIT><EOL>y = '<STR_LIT>' + '<STR_LIT:aU+002CU+0020b>'<EOL>"),
        (
            "if a:\n  b\n  if c:\n    d\nelse:\n  e",
            "if a:<EOL><INDENT>b<EOL>if c:<EOL><INDENT>d<EOL><DEDENT><DEDENT>else:<EOL><INDENT>e<EOL><DEDENT>",
        ),
        ("# why\na  # so\n    # here\nb", "a<EOL>b<EOL>"),
        ("f(a,\n  b)\n", "f(a,<EOL>b)<EOL>"),
        ("a = b and \\\n    c", "a = b and c<EOL>"),
        ("x = rf\"{a} b\" f''\n", "x = rf\"<STR_LIT>\" f'<STR_LIT>'<EOL>"),
        ("x = '''a\nb'''\n", "x = '''<STR_LIT>'''<EOL>"),
    ],
)
def test_code_is_written_with_the_formats_markers(code, wanted):
    assert codexglue_export.normalised(code + "\n", COMMON) == wanted


def pair_of(body: str, language: str = "python", prompt: str = 'def f():\n    """Say it."""\n') -> Pair:
    return Pair("a.py:1:5", "method", prompt, body, language=language)


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (pair_of("    return (\n"), "not a function with a docstring"),
        (pair_of("    return 1", prompt="def f():\n"), "not a function with a docstring"),
        (pair_of("    return 1", language="java"), "not Python"),
        (pair_of("    if a:\n        b\n      c"), "not readable by this Python"),
    ],
)
def test_pairs_without_a_row_have_a_reason(pair, reason):
    assert codexglue_export.row(pair, codexglue_export.Literals()) == reason


def test_a_signature_keeps_its_decorators_and_loses_its_line_end():
    prompt = '@a(1)\ndef f(\n    b,\n):  # c\n    """Say it.\n\n      More.\n    """\n\n'
    row = codexglue_export.row(pair_of("    return b", prompt=prompt), COMMON)
    assert row == {
        "signature": "@a(<NUM_LIT:1>)<EOL>def f(<EOL>b,<EOL>):",
        "body": "return b<EOL>",
        "docstring": "Say it.\n\nMore.",
        "id": "a.py:1:5",
    }


class Everything(codexglue_export.Literals):
    """All literals are kept, so that nothing is lost."""

    def mask(self, kind: str, text: str) -> str:
        return f"<{kind}_LIT:{text}>"


def test_an_exported_item_is_read_back_unchanged(tmp_path):
    prompt = 'def f(a, b="x"):\n    """Say it.\n\n    More."""\n'
    body = '    if a:\n        return g("y") + 0.5\n    for c in d:\n        h(c)\n    return None'
    pair = pair_of(body, prompt=prompt)
    write_jsonl(tmp_path / "dev.jsonl", [codexglue_export.row(pair, Everything())])
    (back,) = reader.load(tmp_path / "dev.jsonl")
    assert (back.id, back.task, back.prompt, back.completion) == (pair.id, "method", prompt, body)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, vocabulary):
    folder = tmp_path_factory.mktemp("exported")
    files = [
        Document(path.read_text(), path.stem + ".py", "me/" + path.parent.name, language="python") for path in SOURCES
    ]
    java = "/** Adds one to a number. */\nint f(int a) {\n  return a + 1;\n}\n"
    write_jsonl(
        folder / "raw.jsonl", [*files, Document(f"class A {{\n{java}int g;\n}}\n", "A.java", "me/a", language="java")]
    )
    words = ["--input", folder / "raw.jsonl", "--output", folder / "out", "--task", "method", "--codexglue"]
    words += ["--model_name_or_path", vocabulary, "--max_prompt_tokens", 2000, "--max_completion_tokens", 2000]
    words += ["--rule", "mostly_comments=off", "duplicate_lines=off", "few_letters=off"]
    preprocess_data.main([str(word) for word in [*words, "--test_share", 0.2, "--num_workers", 1]])
    return folder / "out"


def test_all_splits_of_a_data_set_are_exported(exported):
    counted = Counter(json.loads((exported / "manifest.json").read_text())["codexglue"])
    found = 0
    for split, name in codexglue_export.SPLITS.items():
        pairs = {pair.id: pair for pair in read_jsonl(exported / f"{split}.jsonl", Pair) if pair.language == "python"}
        back = reader.load(exported / "codexglue" / f"{name}.jsonl")
        assert [pair.id for pair in back] == list(pairs)
        assert [pair.path for pair in back] == [key.split(":")[0] for key in pairs]
        for pair in back:
            compile(pair.prompt + pair.completion, pair.id, "exec")
            names = [line.split("(")[0].strip() for line in pair.prompt.split("\n") if line.startswith("def ")]
            assert names[0] in pairs[pair.id].prompt
        found += len(back)
    assert counted == {"exported": found, "not Python": 1}
    assert found > 100


def test_the_most_frequent_literals_of_train_are_kept(exported):
    listed = json.loads((exported / "codexglue" / "literals.json").read_text())
    assert (len(listed["str"]), listed["char"]) == (codexglue_export.STRINGS, [])
    assert {"0", "1"} <= set(listed["num"])
    assert len(listed["num"]) <= codexglue_export.NUMBERS
    text = "".join(row["body"] for _, row in read_rows(exported / "codexglue" / "train.jsonl"))
    assert f"<STR_LIT:{listed['str'][0]}>" in text
    assert "<STR_LIT>" in text


@pytest.mark.parametrize("words", [["--task", "completion"], ["--task", "method", "--language", "kotlin"]])
def test_pairs_of_other_tasks_cannot_be_exported(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        preprocess_data.main(["--codexglue", *words])
    assert "--codexglue needs --task method and Python, the only language of its format" in capsys.readouterr().err


def test_the_reader_names_a_file_without_rows(tmp_path):
    (tmp_path / "dev.jsonl").write_text("")
    with pytest.raises(UserError, match=r"dev\.jsonl has no rows"):
        reader.load(tmp_path / "dev.jsonl")
