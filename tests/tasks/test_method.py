"""The task method: what is asked and what is left out, the two halves of a function, and where its body ends."""

from collections import Counter

import pytest

from codefit.code.languages import LANGUAGES
from codefit.code.structure import end_of_body
from codefit.encoding import Encoder
from codefit.generation import stopping
from tests.support.documents import SOURCES, build, document_of


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_two_halves_are_the_function(language):
    (pair,), _ = build("method", document_of(language))
    margin = " " * (len(pair.completion) - len(pair.completion.lstrip()))
    lines = (pair.prompt + pair.completion).split("\n")
    source = SOURCES[language].split("\n")
    assert any([line.strip() for line in lines] == [s.strip() for s in source[at:][: len(lines)]] for at in range(40))
    assert "stops at the limit." in pair.prompt
    assert pair.prompt.endswith({"python": '"""\n', "ruby": "(limit)\n"}.get(language, "{\n"))
    assert pair.completion.endswith({"python": "]", "ruby": "\nend"}.get(language, "\n}"))
    assert not pair.prompt[0].isspace()
    assert margin or language == "go"  # which has tabs
    assert stopping.text_until("body", pair.completion) == pair.completion


DOC = '"""Say what it does."""'
ABOVE = "/** Says what it does. */\n"


@pytest.mark.parametrize(
    ("language", "code", "halves"),
    [
        ("python", f"def f():\n\t{DOC}\n\n\ta\n\tb\n", (f"def f():\n\t{DOC}\n\n", "\ta\n\tb")),
        ("python", f"def f():\n    {DOC}  # noqa\n    # why\n    a\n", (f"def f():\n    {DOC}  # noqa\n", None)),
        (
            "python",
            f"class A:\n  @b\n  def f(\n    x):\n    r{DOC}\n    x = '''\n  y'''\n",
            (f"@b\ndef f(\n  x):\n  r{DOC}\n", "  x = '''\ny'''"),
        ),
        ("kotlin", f"{ABOVE}fun f() =\n    a(\n        b\n    )\n", (f"{ABOVE}fun f() =\n", None)),
        ("kotlin", f"{ABOVE}fun f() = when (x) {{\n    a -> b\n}}\n", (f"{ABOVE}fun f() =", None)),
        ("kotlin", f"{ABOVE}fun f() {{ // b\n    a\n    b\n}}\n", (f"{ABOVE}fun f() {{ // b\n", "    a\n    b\n}")),
        (
            "kotlin",
            f"class A {{\n    {ABOVE}    @B\n    fun f(): C {{\n        a\n    }}\n}}\n",
            (f"{ABOVE}@B\nfun f(): C {{\n", "    a\n}"),
        ),
        ("java", f"class A {{\n  {ABOVE}  int f()\n  {{\n    a();\n  }}\n}}\n", (f"{ABOVE}int f()\n{{\n", "  a();\n}")),
    ],
)
def test_where_a_body_begins(language, code, halves):
    document = document_of(language, code)
    pairs, skipped = build("method", document)
    if "'''" in code:  # its second line loses the indentation of the function, and would end the body
        assert (pairs, skipped) == ([], Counter({"body that goes on where one ends": 1}))
        return
    (pair,) = pairs
    assert pair.prompt == halves[0]
    assert pair.completion == (halves[1] if halves[1] else code[len(halves[0]) :].rstrip())


@pytest.mark.parametrize(
    ("language", "code", "reason"),
    [
        ("python", "def f():\n    a\n    b\n", "function without documentation"),
        ("python", "def f():\n    'Two words.'\n    a\n    b\n", "documentation under 3 words"),
        ("python", f"def f():\n    {DOC}\n    return a\n", "short function"),
        ("python", f"def f():\n    {DOC}\n", "abstract function"),
        ("python", f"def f():\n    {DOC}\n    pass\n", "abstract function"),
        ("python", f"def f():\n    {DOC}\n    raise NotImplementedError(\n        a\n    )\n", "abstract function"),
        ("python", f"@abc.abstractmethod\ndef f():\n    {DOC}\n    a\n    b\n", "abstract function"),
        ("python", f"@overload\ndef f():\n    {DOC}\n    a\n    b\n", "abstract function"),
        ("python", f"def test_f():\n    {DOC}\n    a\n    b\n", "test"),
        ("python", f"def f():\n    {DOC}\n    a\n    {'b' * 400}\n", "body over the limit"),
        ("python", f"def f({'b' * 1300}):\n    {DOC}\n    a\n    b\n", "signature and documentation over the limit"),
        ("python", f"def f():\n    {DOC}; a\n    b\n    c\n", ""),
        ("kotlin", f'{ABOVE}fun f() {{\n    TODO("later")\n}}\n', "abstract function"),
        ("kotlin", f"{ABOVE}fun f() = 1\n", "short function"),
        ("kotlin", f"interface A {{\n    {ABOVE}    fun f()\n}}\n", "abstract function"),
        ("kotlin", f"{ABOVE}fun f() = a(\n) + b {{\n    c\n}}\n + d", "body that goes on where one ends"),
        ("java", f"class A {{\n{ABOVE}void testA() {{\n  a();\n}}\n}}\n", "test"),
    ],
)
def test_unsuitable_functions_are_skipped_and_counted(language, code, reason):
    pairs, skipped = build("method", document_of(language, code))
    assert skipped == Counter([reason] if reason else [])
    assert len(pairs) == (not reason)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("    a\n    return b\n\n\ndef g():\n    pass", "    a\n    return b"),
        ("    a\n\n    b\n", "    a\n\n    b\n"),
        ("    a\n# more\n", "    a"),
        ("return a\n    b\nc", "return a\n    b"),
        ("    a {\n    }\n}\n\nfun g() {", "    a {\n    }\n}"),
        ("    a\n}", "    a\n}"),
        ("    a\n} \n\n\n}\n", "    a\n}"),
        (" when (x) {\n    a -> b\n}\n", " when (x) {\n    a -> b\n}"),
        (" a(\n    b\n).c {\n    d\n}\nval e", " a(\n    b\n).c {\n    d\n}"),
        (" if (a) {\n    b\n} else {\n    c\n}\n}", " if (a) {\n    b\n} else {\n    c\n}"),
        ("", ""),
    ],
)
def test_a_body_ends_at_the_first_line_that_is_not_indented(text, kept, tiny_tokenizer):
    assert stopping.text_until("body", text) == kept
    assert (end_of_body(text) is None) == (kept == text)
    encoder = Encoder(tiny_tokenizer, 100)
    has_ended = stopping.rule("body", encoder).has_ended
    ids = encoder.completion_ids(text)
    ends = [at for at in range(1, len(ids) + 1) if has_ended(ids[:at])]
    assert bool(ends) == (kept != text)
    if ends:
        assert stopping.text_until("body", encoder.decode(ids[: ends[0]])) == kept
