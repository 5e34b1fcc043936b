"""Comments, strings and the natural ends of code."""

import time

import pytest

from codefit.code.languages import LANGUAGES
from codefit.code.lexer import comment_length, mask
from codefit.code.structure import Structure
from tests.support.texts import SOURCES

PYTHON_TEXT = "\n".join(path.read_text() for path in SOURCES if path.stem.startswith("c"))


# --------------------------------------------------------------------------------------------- the lexer


@pytest.mark.parametrize(
    ("language", "text", "comments", "strings"),
    [
        ("kotlin", "a // b\nc", ["// b"], []),
        ("kotlin", "a /* { */ b", ["/* { */"], []),
        ("kotlin", 'f("{\\"(") // "', ['// "'], ['"{\\"("']),
        ("kotlin", "c == '\"' || d == '{'", [], ["'\"'", "'{'"]),
        ("kotlin", "c == '\\'' || d", [], ["'\\''"]),
        ("kotlin", 'x = """a\n{ \\"""\ny', [], ['"""a\n{ \\"""']),  # raw: the backslash escapes nothing
        ("kotlin", '"open {\nnext {', [], ['"open {']),
        ("kotlin", "a /* open\n{", ["/* open\n{"], []),
        ("kotlin", '"http://x" + a', [], ['"http://x"']),
        ("python", "a = 'it' 's' # it's", ["# it's"], ["'it'", "'s'"]),
        ("python", 'def f():\n    """(\n[ \\""" """\n    x', [], ['"""(\n[ \\""" """']),
        ("python", "x = '''a''b'''", [], ["'''a''b'''"]),
        ("python", 'x = """open\n(', [], ['"""open\n(']),
        ("python", "x = r'\\' + y", [], ["'\\' + y"]),
        ("javascript", "a = `x ${b}\n(`; c", [], ["`x ${b}\n(`"]),
        ("go", "a := `x\\`; b := '{'", [], ["`x\\`", "'{'"]),
    ],
)
def test_the_mask_hides_comments_and_strings(language, text, comments, strings):
    expected = text
    for pieces, character in ((comments, " "), (strings, '"')):
        for piece in pieces:
            assert piece in expected
            expected = expected.replace(piece, character * len(piece), 1)
    assert mask(text, LANGUAGES[language])[0] == expected


def test_spans_of_several_lines_are_reported():
    text = 'a = """\n"""\nb = "x"\n/* 1\n2 */\n// c\n'
    assert mask(text, LANGUAGES["java"])[1] == [(4, 11), (20, 29)]


HOSTILE = ('"""', "/*", "'", "\\", '"\\', "({[")


def scanned(text, language):
    """Return the natural end of a text and the length of its comments, in characters."""
    end = Structure(text, LANGUAGES[language]).natural_end(0, len(text))
    return end, comment_length(text, LANGUAGES[language])


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("language", LANGUAGES)
def test_hostile_text_is_scanned(piece, language):
    text = piece * 1001
    end, comments = scanned(text, language)
    assert end is None or 0 <= end <= len(text)
    assert 0 <= comments <= len(text)


@pytest.mark.slow
@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("language", LANGUAGES)
def test_hostile_text_is_scanned_in_linear_time(piece, language):
    started = time.process_time()
    scanned(piece * 50_001, language)
    assert time.process_time() - started < 2


# --------------------------------------------------------------------------------------------- natural ends

# «cut ... end»
ENDS = [
    ("kotlin", "val a = «f(b)»\nval c = 1\n"),
    ("kotlin", "val a = «f(\n    b,\n    c\n)»\nval d\n"),
    ("kotlin", "val a = f(\n    b«, c,\n    d\n)»\nval d\n"),
    ("kotlin", "fun f(a: Int): «Int {»\n    return a\n}\n"),
    ("kotlin", "list.«map {»\n    it\n}\n"),
    ("kotlin", "f(a, «{»\n    b()\n})\n"),
    ("kotlin", "f(a, {\n    b(«)»\n})\n"),
    ("kotlin", "val s = «\"(\" + '('»\nval t\n"),
    ("kotlin", "val s = a« // see (»\nval t\n"),
    ("kotlin", "class A {\n«    fun f() {\n        g()\n    }»\n\n    fun h() {}\n}\n"),
    ("kotlin", "class A {\n«    val a = 1»\n    val b = 2\n}\n"),
    ("kotlin", "if (a) {\n    b()\n«} else {\n    c()\n}»\nd()\n"),
    ("kotlin", "f(\n«    a,»\n    b\n)\n"),
    ("kotlin", '«// remark\n/** more\n * of it */\n@Test\n@Suppress("a(")\nfun f() {\n    g()\n}»\nfun h() {}\n'),
    ("kotlin", "«@Test fun f() {\n    g()\n}»\nfun h() {}\n"),
    ("kotlin", "«// remark»\n\nfun f() {}\n"),
    ("kotlin", "fun f() {\n«    // last remark»\n}\n"),
    ("kotlin", "/**\n«  first (»\n  second\n*/\nfun f() {}\n"),
    ("kotlin", 'val s = """a\n  «b (»\n  c"""\n'),
    ("kotlin", 'val s = «"""a\n  b"""»\n'),
    ("kotlin", "val a = «1»   \nval b\n"),
    ("kotlin", "val a = f(«b)»"),
    ("kotlin", ")\n}\n«val a = 1»\n}\nval b\n"),
    ("python", "a = «f(b)»\nc = 1\n"),
    ("python", "a = {«\n    1: 2,\n}»\nc = 1\n"),
    ("python", "a = 1 + «\\\n    2»\nc = 1\n"),
    ("python", "def f(«a):»\n    return a\n"),
    ("python", "«def f(\n    a,\n):\n    b = 1\n\n    # remark\n    return (\nb)»\n\n\nc = 1\n"),
    ("python", "class A:\n«    @property\n    def f(self):\n        return 1»\n\n    def g(self):\n        pass\n"),
    ("python", "«if a:\n    b»\nelse:\n    c\n"),
    ("python", "f(\n«    a,»\n    b,\n)\n"),
    ("python", '«def f():\n    """One\ntwo\n    """\n    return 1»\nb\n'),
    ("python", '"""One\n«two (»\n"""\nb\n'),
    ("python", "«# remark\nx = 1»\ny = 2\n"),
    ("python", "«for a in b:\n    if c:\n        d»\n\n"),
    ("java", "«@Override\npublic void f() {\n    g();\n}»\nint a;\n"),
    ("javascript", "const a = «f(`(`)»\nb\n"),
]


@pytest.mark.parametrize(("language", "marked"), ENDS)
def test_natural_ends(language, marked):
    start = marked.index("«")
    text = marked.replace("«", "").replace("»", "")
    end = Structure(text, LANGUAGES[language]).natural_end(start, len(text))
    assert text[start:end] == marked[start + 1 : marked.index("»")]


def test_trailing_white_space_belongs_to_no_completion():
    assert Structure("val a = 1    \n", LANGUAGES["kotlin"]).natural_end(4, 14) == 9


def test_an_end_after_the_limit_is_none():
    text = "val a = f(\n    b\n)\n"
    structure = Structure(text, LANGUAGES["kotlin"])
    end = text.rindex(")") + 1
    assert structure.natural_end(8, end) == end
    assert structure.natural_end(8, end - 1) is None
    assert structure.natural_end(0, 3) is None


@pytest.mark.parametrize("language", ["python", "kotlin"])
def test_an_end_does_not_depend_on_what_follows_it(language):
    whole = Structure(PYTHON_TEXT[:20_000], LANGUAGES[language])
    found = 0
    for start in range(0, 10_000, 37):
        end = whole.natural_end(start, 20_000)
        if end is not None and end > start and whole.code[end : end + 1] == "\n":
            line_behind = PYTHON_TEXT[: PYTHON_TEXT.find("\n", end) + 1] + "after = 1\n"
            assert Structure(line_behind, LANGUAGES[language]).natural_end(start, 20_000) == end
            found += 1
    assert found > 100
