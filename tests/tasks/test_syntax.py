"""The tree of a file, and the tasks that are built on it, in every language of the table."""

import dataclasses
import subprocess
import sys
import time
from collections import Counter

import pytest

from codefit.code.languages import LANGUAGES
from codefit.code.syntax import Syntax
from codefit.evaluation import task_metrics
from codefit.evaluation.task_metrics import metrics_of
from codefit.generation import stopping
from codefit.manifest import ROOT
from codefit.records import Document
from codefit.tasks.build import build_batch
from codefit.tasks.cutting import id_of
from codefit.tasks.task import TASKS, load_task
from tests.support.documents import OPTIONS, SOURCES, WORDS, build, document_of

# ---------------------------------------------------------------------------------------------- contracts


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", TASKS)
def test_every_task_keeps_the_contract_in_every_language(task, language):
    document = document_of(language)
    pairs, skipped = build(task, document)
    assert pairs
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert all(count > 0 and reason for reason, count in skipped.items())
    for pair in pairs:
        assert (pair.task, pair.language, pair.path) == (task, language, document.path)
        assert pair.id.startswith("me/reader/src/reader")
        assert pair.completion.strip()
    assert build(task, document)[0] == pairs
    assert build(task, document, max_pairs_per_file=1)[0][1:] == []


@pytest.mark.parametrize("task", TASKS)
def test_every_task_says_how_it_stops_and_is_scored(task):
    module = load_task(task)
    assert module.STOP in stopping.RULES
    assert tuple(task_metrics.metrics(task)) == metrics_of(task) == task_metrics.METRICS[task]
    assert task_metrics.METRICS[task][0] == task_metrics.headline(task).NAME


def test_a_task_of_others_is_scored_as_completion():
    assert metrics_of("something else") == metrics_of("completion")


@pytest.mark.parametrize("language", LANGUAGES)
def test_text_that_does_not_parse_stops_nothing(language):
    for text in ("", "\n", "}{)(" * 50, '"""' * 30, SOURCES[language][:-150], "é" * 100 + SOURCES[language]):
        for task in TASKS:
            build(task, document_of(language, text or " "))


@pytest.mark.parametrize("text", ["(" * 20_000, "{[" * 10_000, "// c\n" * 20_000, "/*" * 20_000, "1," * 20_000, "i<a<" * 16_000])
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", TASKS)
def test_hostile_text_takes_no_quadratic_time(task, language, text):
    started = time.process_time()
    build(task, document_of(language, text), max_pairs_per_file=10)
    assert time.process_time() - started < 5


# ---------------------------------------------------------------------------------------------- the tree


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
    mark = LANGUAGES[language].line_comments[0]
    if language == "php":  # what stands before `<?php` is text
        mark = ""
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
def test_what_documents_a_function(language, text, words):
    syntax = Syntax(text, LANGUAGES[language])
    (found,) = syntax.functions()
    assert syntax.documentation(found) == words


# ---------------------------------------------------------------------------------------------- infill


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_gap_with_what_surrounds_it_is_the_file(language):
    text = SOURCES[language] * 3
    pairs, skipped = build("infill", document_of(language, text), max_prompt_tokens=120, max_completion_tokens=30)
    assert len(pairs) > 10
    assert set(skipped) <= {"gap used before", "nothing that fits", "only closing brackets"}
    for pair in pairs:
        assert pair.prompt + pair.completion + pair.suffix in text
        assert pair.finish_reason == "stop"
        assert pair.completion == pair.completion.rstrip()
        assert len(pair.completion) <= 3 * 31
        assert len(pair.prompt) + len(pair.suffix) <= 3 * 120
    whole = [pair for pair in pairs if len(pair.prompt) + len(pair.suffix) > 3 * 110]
    assert len(whole) > 0.8 * len(pairs)


def test_most_gaps_are_pieces_of_syntax():
    text = SOURCES["python"] * 60
    syntax = Syntax(text, LANGUAGES["python"])
    pairs, _ = build("infill", document_of("python", text), window_step=24)
    edges = set()
    waiting = [syntax.root]
    while waiting:
        node = waiting.pop()
        edges.add(syntax.span(node)[0])
        waiting += node.children
    lines = [0]
    for line in text.split("\n"):
        lines.append(lines[-1] + len(line) + 1)
    begins = [lines[int(pair.id.split(":")[-2]) - 1] + int(pair.id.split(":")[-1]) - 1 for pair in pairs]
    assert [text.startswith(p.completion, at) for p, at in zip(pairs, begins, strict=True)] == [True] * len(pairs)
    assert 0.85 < sum(at in edges for at in begins) / len(begins) < 1


# ---------------------------------------------------------------------------------------------- line


LINES = "".join(f"a{n} = {n}\n" + ("\n" if n % 5 == 0 else "") for n in range(30))


def test_a_line_is_asked_with_the_lines_around_it():
    pairs, skipped = build("line", document_of("python", LINES), lines_before=3, lines_after=2)
    assert skipped == Counter()
    (pair,) = [pair for pair in pairs if pair.completion == "a12 = 12"]
    assert (pair.prompt, pair.suffix) == ("a10 = 10\n\na11 = 11\n", "\na13 = 13\na14 = 14")
    assert pair.finish_reason == "stop"
    assert len(pairs) == 29


def test_every_line_and_its_surroundings_are_the_file():
    for pair in build("line", document_of("kotlin"))[0]:
        assert pair.prompt.endswith("\n")
        assert "\n" not in pair.completion
        assert pair.suffix == "" or pair.suffix.lstrip(" ").startswith("\n")
        assert pair.prompt + pair.completion + pair.suffix in SOURCES["kotlin"]
        assert pair.prompt.count("\n") <= 15
        assert pair.suffix.count("\n") <= 10


def test_a_model_without_sentinels_reads_the_lines_behind_as_a_comment():
    pairs, _ = build("line", document_of("python", LINES), lines_before=2, lines_after=3, prompt_format="verbose")
    (pair,) = [pair for pair in pairs if pair.completion == "a14 = 14"]
    comment = "# Lines behind the missing line:\n# a15 = 15\n#\n# a16 = 16\n# Code:\n"
    assert (pair.prompt, pair.suffix) == (comment + "a12 = 12\na13 = 13\n", None)
    for limit in (64, 128):
        pairs, _ = build("line", document_of("java"), prompt_format="verbose", max_prompt_tokens=limit)
        assert max(pair.prompt.count("\n") for pair in pairs) <= 27
        assert all(pair.prompt.partition("// Code:\n")[2] for pair in pairs)


def test_without_lines_after_there_is_no_suffix():
    assert {pair.suffix for pair in build("line", document_of("java"), lines_after=0)[0]} == {None}


def test_lines_over_a_limit_are_counted_and_long_surroundings_cut():
    text = "x = 1\n" + "y = '" + "a" * 400 + "'\n" + "z = 2\n)\n"
    pairs, skipped = build("line", document_of("python", text))
    assert [pair.completion for pair in pairs] == ["z = 2"]
    assert skipped == {"line over the limit": 1, "only closing brackets": 1}
    pairs, _ = build("line", document_of("python", LINES), max_prompt_tokens=16)
    assert max(len(pair.prompt) for pair in pairs) <= 16 * 3 + 3
    assert all(pair.prompt for pair in pairs)


def test_an_id_names_line_and_column():
    document = document_of("python", "a\nbc\n")
    assert [id_of(document, at).split(":", 1)[1] for at in (0, 2, 3)] == ["1:1", "2:1", "2:2"]


@pytest.mark.parametrize("text", ["class A\n@B", "/** a */\n@C(x = 1)\nopen class A\n@B", "class A\n@"])
def test_an_annotation_at_the_very_end_of_kotlin_is_parsed(text):
    """Kotlin's grammar went on for ever; in a process of its own, as nothing in this one could stop it."""
    code = (
        "from codefit.code import syntax, languages;"
        f"print(syntax.Syntax({text!r}, languages.LANGUAGES['kotlin']).errors())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True
    )
    assert int(found.stdout) >= 0


TSX = SOURCES["typescript"].replace(
    "return found.length", "if (!limit) return <p className='a'>{found} don't</p>;\n    return found.length"
)


@pytest.mark.parametrize("task", ["naming", "method"])
def test_tsx_is_read_with_its_own_grammar(task):
    document = Document(TSX, "src/reader.tsx", "me/reader", language="typescript")
    assert not Syntax(TSX, LANGUAGES["typescript"], "a.tsx").has_error
    assert Syntax(TSX, LANGUAGES["typescript"], "a.ts").has_error
    assert build(task, document)[0]


def test_functions_that_are_not_seen_are_counted():
    text = SOURCES["kotlin"].replace("found.take(limit)", "found.take(limit")
    syntax = Syntax(text, LANGUAGES["kotlin"])
    assert syntax.has_error
    assert syntax.unread_functions() >= 1
    assert Syntax(SOURCES["kotlin"], LANGUAGES["kotlin"]).unread_functions() == 0
    built = build_batch([dataclasses.replace(document_of("kotlin"), content=text)], "naming", None, OPTIONS)
    assert built.syntax_errors == {"kotlin": 1}
    assert built.counts["unread_functions"] == syntax.unread_functions()


@pytest.mark.parametrize("limit", [16, 32, 200])
def test_a_line_with_its_suffix_keeps_to_the_limit(limit):
    for pair in build("line", document_of("java"), max_prompt_tokens=limit)[0]:
        assert len(pair.prompt) + len(pair.suffix) <= 3 * (limit + 2)
