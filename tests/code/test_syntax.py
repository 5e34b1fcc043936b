"""The syntax tree of a file, in every language of the table."""

import subprocess
import sys

import pytest

from codefit.code.languages import LANGUAGES
from codefit.code.syntax import Syntax
from codefit.manifest import ROOT
from tests.support.documents import SOURCES, WORDS


@pytest.mark.parametrize("language", LANGUAGES)
def test_functions_and_classes_are_found_with_their_documentation(language):
    syntax = Syntax(SOURCES[language], LANGUAGES[language])
    assert not syntax.has_error
    (reader,) = syntax.classes()
    assert (reader.name, syntax.documentation(reader)) == ("Reader", WORDS)
    read_lines = next(f for f in syntax.functions() if f.name.lower().endswith("lines") and f.docstring)
    assert syntax.documentation(read_lines).endswith("stops at the limit.")
    for found in (reader, read_lines):
        assert syntax.text[slice(*found.name_span)] == found.name
        assert found.body is not None
        assert found.span[0] <= found.head <= found.name_span[0] < found.body[0] < found.body[1] <= found.span[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_positions_are_characters(language):
    mark = "" if language == "php" else LANGUAGES[language].line_comments[0]  # before `<?php` stands text
    moved = f"{mark} größe 🎉 名前\n" + SOURCES[language]
    spans = [definition.span for definition in Syntax(SOURCES[language], LANGUAGES[language]).functions()]
    shift = len(moved) - len(SOURCES[language])
    found = [definition.span for definition in Syntax(moved, LANGUAGES[language]).functions()]
    assert found == [(start + shift, end + shift) for start, end in spans]


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("python", 'def f():\n    r"""A.\n\n      b\n    c\n    """\n    x\n', "A.\n\n  b\nc"),
        ("python", "def f():\n    # no\n    'one'\n    x\n", "one"),
        ("python", "# no\ndef f():\n    x = 'no'\n", ""),
        ("python", 'def f():\n    f"no {x}"\n', ""),
        ("python", 'def f():\n    "no" + x\n', ""),
        ("python", '@a\ndef f():\n    """A."""\n', "A."),
        ("kotlin", "/**\n * A.\n *\n *  b\n * @param c d\n */\nfun f() {}\n", "A.\n\n b\n@param c d"),
        ("kotlin", "// a\n// b\nfun f() {}\n", "a\nb"),
        ("kotlin", "// a\n\nfun f() {}\n", ""),
        ("kotlin", "val x = 1 /* no */\nfun f() {}\n", ""),
        ("kotlin", "val x = 1 // no\nfun f() {}\n", ""),
        ("java", "class A {\n  /** A {@code b}. */\n  @Override\n  int f() { return 1; }\n}\n", "A {@code b}."),
        ("go", "package a\n\n// f is.\n//\n// More.\nfunc f() {\n}\n", "f is.\n\nMore."),
        ("typescript", "/** A. */\nexport function f() { }\n", "A."),
    ],
)
def test_docstrings_and_comments_that_document_a_function(language, text, words):
    syntax = Syntax(text, LANGUAGES[language])
    (found,) = syntax.functions()
    assert syntax.documentation(found) == words


@pytest.mark.parametrize("text", ["class A\n@B", "/** a */\n@C(x = 1)\nopen class A\n@B", "class A\n@"])
def test_an_annotation_at_the_very_end_of_kotlin_is_parsed(text):
    """Kotlin's grammar used to loop forever; the test has its own process, since nothing in this one could stop it."""
    code = (
        "from codefit.code import syntax, languages;"
        f"print(syntax.Syntax({text!r}, languages.LANGUAGES['kotlin']).errors())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True
    )
    assert int(found.stdout) >= 0


@pytest.mark.parametrize("language", ["c", "cpp"])
@pytest.mark.parametrize(
    ("head", "unread"),
    [
        ("local int add(const int *a)", 0),
        ("int WINAPI add(const int FAR *a)", 0),
        ("EXPORT char * CALLBACK add(const int *a)", 0),
        ("int WINAPI add(const int *a = )", 1),
    ],
)
def test_a_macro_in_the_head_hides_no_function(language, head, unread):
    syntax = Syntax(f"{head}\n{{\n    return *a;\n}}\n", LANGUAGES[language])
    assert syntax.has_error
    assert [function.name for function in syntax.functions()] == ["add"] * (not unread)
    assert syntax.unread_functions() == unread


@pytest.mark.parametrize(("language", "head"), [("c", "int WINAPI add(int a)"), ("go", "func add(a int) int")])
def test_a_function_with_an_error_in_its_body_is_not_read(language, head):
    syntax = Syntax(f"{head} {{\n    return a +;\n}}\n", LANGUAGES[language])
    assert syntax.functions() == []
    assert syntax.unread_functions() == 1


def test_the_shape_of_a_large_or_deep_tree_does_not_depend_on_comments_and_layout():
    deep = Syntax("[" * 30_000 + "]" * 30_000, LANGUAGES["javascript"])
    assert deep.shape()
    wide, commented, other = (
        Syntax(text * 6_000, LANGUAGES["javascript"]).shape() for text in ("a(b);\n", "a( b ); // c\n", "a(b, b);\n")
    )
    assert wide == commented != other
