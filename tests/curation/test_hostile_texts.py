"""Whatever a file holds, stages 1 and 2 are soon done with it: no text takes quadratic time."""

import time
from collections import Counter

import pytest

from codefit.code.languages import LANGUAGES
from codefit.curation.curate import CurationOptions, curate
from codefit.curation.dedup import shingles
from codefit.curation.neighbours import HEAD, IMPORT
from codefit.records import Document
from codefit.sources.code_blocks import code_blocks
from codefit.tasks.task import TaskOptions, load_task

SIZE = 1 << 16
SECONDS = 2.0
OPTIONS = TaskOptions(512, 64, 128, 40, 0)
FEW = ("(", "](", "\n", "/*", "<<EOF\n", '"', "`${", "/[", "1. ", "\\\n", "a<", "0", "1.", "\U0001f600")
MORE = (
    *(
        "[",
        "{",
        "}",
        "<",
        "'",
        "\\",
        "*/",
        "# ",
        "//",
        "@A(",
        "$",
        'r#"',
        "=",
        "\0",
        "\t",
        "\r",
        "a.",
        "a: ",
        "a b ",
        "- ",
    ),
    *(
        "<a>",
        "</a>",
        "<a b=",
        "%[",
        "%<",
        "#{",
        "${",
        '"""',
        "=begin\n",
        "<<<A\n",
        "/a",
        "=/[",
        "import a\n",
        "if a:\n",
    ),
    *(
        "password=",
        "token: ",
        "://a:",
        "eyJ.eyJ",
        "a@b.",
        "1.1.1.1.",
        "copyright\n",
        "// copyright\n",
        "/* */",
        "\ufeff",
    ),
    *("fun a(){", "class A {\n", "a(", "a{", "x as ", "a::b<", "::", "-> ", "lambda: ", "not ", "++", "@", "&", "|a| "),
)


def seconds(text, language):
    """Return the processor seconds that stage 2 and the tasks of a file take."""
    row = LANGUAGES[language]
    document = Document(text, f"p/a{row.suffixes[0]}", "o/r")
    rules = ("long_line=off", "too_few_lines=off", "too_few_characters=off")
    options = CurationOptions(profile="standard", rule=rules, strip_comments=True, strip_docstrings=True)
    started = time.process_time()
    outcome = curate(document, options).outcome
    shingles(text)
    IMPORT.findall(text)
    list(HEAD.finditer(text))
    before_tasks, slowest = time.process_time() - started, 0.0
    if isinstance(outcome, Document):
        starts = list(range(0, len(outcome.content), 2))
        for task in ("completion", "infill", "line", "method", "naming", "summary"):
            started = time.process_time()
            list(load_task(task).build_pairs(outcome, starts, OPTIONS, Counter()))
            slowest = max(slowest, time.process_time() - started)
    return before_tasks + slowest


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("unit", FEW)
def test_a_file_of_one_thing_is_soon_done(unit, language):
    assert seconds(unit * (SIZE // 4 // len(unit)), language) < SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("unit", [*FEW, *MORE])
def test_64_kilobytes_of_anything_are_soon_done(unit, language):
    for text in (unit * (SIZE // len(unit)), f"{unit}\n" * (SIZE // (len(unit) + 1)), unit + "a " * (SIZE // 2)):
        assert seconds(text, language) < SECONDS


@pytest.mark.parametrize(("opening", "closing"), [("/*", "*/"), ("(", ")"), ("<a>", "</a>"), ("{", "}"), ("[[", "]]")])
@pytest.mark.parametrize("language", ["python", "javascript", "ruby", "cpp"])
def test_what_is_nested_a_thousand_times_is_soon_done(opening, closing, language):
    assert seconds(opening * 2000 + closing * 2000, language) < SECONDS


@pytest.mark.parametrize("suffix", [".md", ".rst", ".html"])
@pytest.mark.parametrize(
    "unit", [*FEW, "<<EOF", "<a", "<pre><code>", "<!--", "```\n", "> ", "- ", ".. code-block:: a\n"]
)
def test_a_page_of_one_thing_is_soon_done(unit, suffix):
    started = time.process_time()
    list(code_blocks(f"a{suffix}", unit * (SIZE // len(unit)), set()))
    assert time.process_time() - started < SECONDS
