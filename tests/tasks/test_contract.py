"""What every task keeps to, in every language of the table."""

import dataclasses
import time

import pytest

from codefit.code.languages import LANGUAGES
from codefit.code.syntax import Syntax
from codefit.evaluation import task_metrics
from codefit.generation import stopping
from codefit.records import Document
from codefit.tasks.build import build_batch
from codefit.tasks.cutting import id_of
from codefit.tasks.task import TASKS, load_task
from tests.support.documents import OPTIONS, SOURCES, build, document_of


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
    assert task_metrics.metrics(task) == task_metrics.METRICS[task]


def test_an_unknown_task_is_scored_as_completion():
    assert task_metrics.metrics("something else") == task_metrics.metrics("completion")


@pytest.mark.parametrize("language", LANGUAGES)
def test_text_with_syntax_errors_still_gives_pairs(language):
    hostile = ("(" * 300, "{[" * 300, "// c\n" * 300, "/*" * 300, "1," * 300, "}{)(" * 50, '"""' * 30)
    for text in ("", "\n", *hostile, SOURCES[language][:-150], "é" * 100 + SOURCES[language]):
        for task in TASKS:
            build(task, document_of(language, text or " "))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["(" * 20_000, "{[" * 10_000, "// c\n" * 20_000, "/*" * 20_000, "1," * 20_000, "i<a<" * 16_000]
)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", TASKS)
def test_hostile_text_takes_no_quadratic_time(task, language, text):
    started = time.process_time()
    build(task, document_of(language, text), max_pairs_per_file=10)
    assert time.process_time() - started < 5


def test_an_id_names_line_and_column():
    document = document_of("python", "a\nbc\n")
    assert [id_of(document, at).split(":", 1)[1] for at in (0, 2, 3)] == ["1:1", "2:1", "2:2"]


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
