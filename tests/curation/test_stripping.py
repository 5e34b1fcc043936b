"""Formatting and stripping leave text that is valid, and leave alone what they cannot judge."""

import ast
import json
import tokenize

import pytest
import ruff

from codefit.code.languages import LANGUAGES
from codefit.curation.curate import CurationOptions, curate_batch
from codefit.curation.formatting import formatted
from codefit.curation.stripping import without_comments, without_docstrings
from codefit.manifest import ROOT
from codefit.records import Document, write_jsonl
from tests.support.corpus import manifest_of, pairs_of

KOTLIN, GO, TYPESCRIPT, PYTHON = (LANGUAGES[name] for name in ("kotlin", "go", "typescript", "python"))
HERE = sorted([*ROOT.glob("*.py"), *ROOT.glob("codefit/*.py"), *ROOT.glob("codefit/curation/*.py")])


# --------------------------------------------------------------------------------------------- formatting


def test_python_is_formatted_and_syntax_errors_are_counted():
    texts = ["x = {  'a':1 }\n", "def (:\n", "y=1\n", "", "print 'two'\n", "z = 'ä'\n"]
    assert formatted(texts) == ['x = {"a": 1}\n', None, "y = 1\n", "", None, 'z = "ä"\n']
    assert formatted([]) == []


def test_a_file_that_crashes_the_formatter_does_not_affect_other_files(tmp_path, monkeypatch):
    fake = tmp_path / "ruff"
    real = ruff.find_ruff_bin()
    fake.write_text(f'#!/bin/sh\nif grep -q BREAK *.py; then exit 101; fi\nexec {real} "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setattr("ruff.find_ruff_bin", lambda: str(fake))
    assert formatted(["a=1\n", "b=1\n", "BREAK=1\n", "c=1\n"]) == ["a = 1\n", "b = 1\n", None, "c = 1\n"]


def test_only_python_is_formatted_and_local_ruff_settings_are_ignored(tmp_path, monkeypatch):
    (tmp_path / "ruff.toml").write_text("line-length = 20")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    line = "value = function(argument, 'other')\n"
    documents = [Document(line * 6, "a.py"), Document(line * 6, "a.kt"), Document("def (\n" * 12, "b.py")]
    python, kotlin, broken = curate_batch(documents, CurationOptions(format=True, rule=["duplicate_lines=off"]))
    assert python.outcome.content == line.replace("'", '"') * 6
    assert kotlin.outcome.content == line * 6
    assert broken.outcome.content == "def (\n" * 12
    assert [curated.counts["not_formatted"] for curated in (python, kotlin, broken)] == [0, 0, 1]


# --------------------------------------------------------------------------------------------- comments


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        (KOTLIN, "// one\nval a = 1 // two\n/* three\n */\nval b = 2\n", "val a = 1\nval b = 2\n"),
        (KOTLIN, "fun f(a: Int /* b */, c: Int)\n", "fun f(a: Int , c: Int)\n"),
        (KOTLIN, "return/* a */b\n", "return b\n"),
        (KOTLIN, "val a = 1 /* x\n y */ val b = 2\n", "val a = 1\n val b = 2\n"),
        (KOTLIN, "  /* a */ /* b */\nval c = 1\n", "val c = 1\n"),
        (KOTLIN, "/* a */ val c = 1", " val c = 1"),
        (KOTLIN, 'val a = "// no" + \'"\' // yes', 'val a = "// no" + \'"\''),
        (KOTLIN, "/* a /* b */ c */\nval d = 1\n", "val d = 1\n"),
        (KOTLIN, 'val a = "${f("//x")}"\n', 'val a = "${f("//x")}"\n'),
        (GO, "//go:build linux\n\n// a\npackage b // c\n", "//go:build linux\n\npackage b\n"),
        (TYPESCRIPT, "const a = /a\\//.test(b) // c\n", "const a = /a\\//.test(b)\n"),
        (PYTHON, "#!/bin/env python\n# a\nb = 1  # c\n", "#!/bin/env python\nb = 1\n"),
        (PYTHON, "def f():\n    # a\n    return '#'  # b\n", "def f():\n    return '#'\n"),
        (PYTHON, "a = 'open\n", None),
        (PYTHON, "def f(:\n  (\n", None),
        (KOTLIN, "a\0b // c\n", None),
    ],
)
def test_comments_are_removed_and_code_is_kept(language, text, expected):
    assert without_comments(text, language) == expected


@pytest.mark.parametrize("path", HERE, ids=lambda path: path.name)
def test_stripped_python_means_the_same(path):
    text = path.read_text()
    without = without_comments(text, PYTHON)
    assert ast.dump(ast.parse(without)) == ast.dump(ast.parse(text))
    with path.open("rb") as file:
        assert any(token.type == tokenize.COMMENT for token in tokenize.tokenize(file.readline)) == (without != text)
    bare = ast.parse(without_docstrings(text))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    assert not any(ast.get_docstring(node) for node in ast.walk(bare) if isinstance(node, documented))


# --------------------------------------------------------------------------------------------- docstrings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"""A."""\n\nimport a\n', "import a\n"),
        ('"""A."""\n', ""),
        ('def f():\n    """A\n    b."""\n    return 1\n', "def f():\n    return 1\n"),
        ('def f():\n    """A."""\n', "def f():\n    pass\n"),
        ('def f(): "A"\n', "def f(): pass\n"),
        ('def f(): "A"; return 1\n', "def f(): return 1\n"),
        ('class A:\n    "A" ;\n\n    b = "ä"\n', 'class A:\n    b = "ä"\n'),
        ('class Ä:\n    """Ä."""  # kept\n    b = 1\n', "class Ä:\n    # kept\n    b = 1\n"),
        ('def f():\n    ("A"\n     "b")\n    return 1\n', "def f():\n    return 1\n"),
        ('def f():\n    f"{1}"\n    return "a"\n', 'def f():\n    f"{1}"\n    return "a"\n'),
        (
            "async def f():\n    '''A'''\n    def g():\n        '''B'''\n",
            "async def f():\n    def g():\n        pass\n",
        ),
        ("print 'two'\n", None),
        ("(" * 10_000, None),
    ],
)
def test_docstrings_are_removed_and_the_rest_parses(text, expected):
    assert without_docstrings(text) == expected


# --------------------------------------------------------------------------------------------- the stage


def test_the_stage_formats_and_strips_and_verifies_itself(prepare, tmp_path, capsys):
    lines = ["def f{0}(x):", "    '''Says {0}.'''", "    return   [x,{0}]+other{0}(x) # remark {0}"]
    files = [
        Document("\n".join("\n".join(lines).format(f"{n}_{k}") for k in range(9)), f"d/f{n}.py", "me/one")
        for n in range(1, 31)
    ]
    files += [Document("print 'two'\n" * 3 + files[0].content.replace("f1", "f99"), "d/old.py", "me/one")]
    write_jsonl(tmp_path / "documents.jsonl", files)
    output = prepare(
        tmp_path / "documents.jsonl", "--format", "--strip_comments", "--strip_docstrings", "--rule", "many_digits=off"
    )
    printed = capsys.readouterr().out
    assert "not formatted, since it does not parse: 1 file\n" in printed
    assert "not stripped, since it does not parse: 1 file\n" in printed
    manifest = manifest_of(output)
    assert (manifest["not_formatted"], manifest["not_stripped"]) == (1, 1)
    text = json.dumps([pair.prompt + pair.completion for pair in pairs_of(output)["train"] if "old" not in pair.path])
    assert "remark" not in text
    assert "Says" not in text
    assert "] + other" in text
    prepare(tmp_path / "documents.jsonl", "--verify")
