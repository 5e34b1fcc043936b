"""Files in the formats of other benchmarks: HumanEval-Infilling, CodeXGLUE's line completion and method generation."""

import gzip
import json
from pathlib import Path

import pytest

from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.evaluation import comparison, questions
from codefit.evaluation.benchmarks import codexglue_line, formats, humaneval_infilling
from codefit.evaluation.result_schema import BenchmarkInfo, Model, Role
from codefit.evaluation.settings import QuestionSettings
from codefit.generation import stopping
from codefit.manifest import Manifest
from codefit.records import Pair, Prediction, write_jsonl

GAP = {
    "task_id": "SingleLineInfilling/HumanEval/7/L1",
    "entry_point": "twice",
    "prompt": 'def twice(x):\n    """Return x two times."""\n',
    "suffix": "\n    return y\n",
    "canonical_solution": "    y = 2 * x",
    "test": "raise SystemExit('a test was run')",
}
PYTHON = [
    {"id": 3, "input": "<s> import os <EOL> def f ( a ) : <EOL> return", "gt": "a + <NUM_LIT:1> , '<STR_LIT:x y>'"},
    {"input": "<s> import os <EOL> print ( '<STR_LIT>' , <NUM_LIT> ) <EOL>", "gt": "f ( os )"},
    {"input": "<s>", "gt": "import os"},
]
JAVA = [{"id": 1, "input": "<s> package a ; class B { int", "gt": "c = <NUM_LIT:0> ;"}]
METHOD = {"signature": "def f(a):", "body": "return a<EOL>", "docstring": "Give it back.", "id": "f1:m0"}


def load(path: Path) -> questions.Questions:
    settings = QuestionSettings((str(path),), "nowhere", "test", None, sample=0, seed=0, max_new_tokens=64)
    return questions.load(settings, Manifest({}))[0]


def rows(path: Path, content: list) -> Path:
    write_jsonl(path, content)
    return path


def test_infilling_items_are_loaded_and_no_test_is_run(tmp_path):
    asked = load(rows(tmp_path / "mine.jsonl", [GAP, {**GAP, "task_id": "test/0"}]))
    assert (asked.name, asked.format, asked.stop, asked.new_tokens) == ("mine", "humaneval_infilling", "", 256)
    assert asked.title == "HumanEval infilling, compared with its solutions, no test is run (mine.jsonl)"
    assert asked.pairs[0] == Pair(
        id="SingleLineInfilling/HumanEval/7/L1",
        task="infill",
        prompt=GAP["prompt"],
        completion="    y = 2 * x",
        suffix=GAP["suffix"],
        path="HumanEval/7",
        language="python",
    )
    assert asked.pairs[1].path == "test/0"


def test_a_gzipped_file_is_read_directly(tmp_path):
    path = tmp_path / "HumanEval-SingleLineInfilling.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(GAP).encode()))
    asked = load(path)
    assert (asked.name, [pair.path for pair in asked.pairs]) == ("HumanEval-SingleLineInfilling", ["HumanEval/7"])
    whole = path.read_bytes()
    for broken in (whole[:-9], whole[:30], b"no gzip"):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"gz is a damaged or incomplete gzip file; get it again\."):
            load(path)


def test_tokens_become_lines_of_text(tmp_path):
    asked = load(rows(tmp_path / "test.json", PYTHON))
    assert (asked.format, asked.stop, asked.new_tokens) == ("codexglue_line", "line", 100)
    assert [(pair.id, pair.prompt, pair.completion) for pair in asked.pairs] == [
        ("3", "import os\ndef f ( a ) :\nreturn", " a + 1 , 'x y'"),
        ("row 2", "import os\nprint ( '' , 0 )\n", "f ( os )"),
        ("row 3", "", "import os"),
    ]
    assert {(pair.task, pair.language, pair.suffix) for pair in asked.pairs} == {("line", "", None)}


def test_java_has_no_lines_and_ends_with_the_statement(tmp_path):
    asked = load(rows(tmp_path / "java.json", JAVA))
    assert asked.stop == "statement"
    assert (asked.pairs[0].prompt, asked.pairs[0].completion) == ("package a ; class B { int", " c = 0 ;")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (" c = 0 ; int d ;", " c = 0 ;"),
        (" a ( ) } b", " a ( ) }"),
        (" f ( ) { return", " f ( )"),
        (' a = ";}" ; b', ' a = ";}" ;'),
        (" a = ';' ; b", " a = ';' ;"),
        (' "\\";" ; b', ' "\\";" ;'),
        (" a + b", " a + b"),
        ("", ""),
    ],
)
def test_a_statement_ends_with_its_terminator(text, kept, tiny_tokenizer):
    assert stopping.text_until("statement", text) == kept
    encoder = Encoder(tiny_tokenizer, 100)
    has_ended = stopping.rule("statement", encoder).has_ended
    ids = encoder.completion_ids(text)
    ends = [at for at in range(1, len(ids) + 1) if has_ended(ids[:at])]
    assert bool(ends) == (kept != text)
    if ends:
        assert stopping.text_until("statement", encoder.decode(ids[: ends[0]])) == kept


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ([GAP], "humaneval_infilling"),
        (PYTHON, "codexglue_line"),
        ([METHOD], "codexglue"),
        ([{"prompt": "a", "completion": "b"}], "pairs"),
        ([{"task_id": "a", "prompt": "b", "canonical_solution": "c"}], "pairs"),
        ([], "pairs"),
    ],
)
def test_the_format_is_detected_from_the_fields_of_the_rows(tmp_path, content, form):
    assert formats.format_of(rows(tmp_path / "a.jsonl", content)) == form


def test_methods_are_read_from_a_file(tmp_path):
    asked = load(rows(tmp_path / "dev.jsonl", [METHOD]))
    assert (asked.name, asked.title, asked.format) == ("dev", "CodeXGLUE method generation (dev.jsonl)", "codexglue")
    assert asked.pairs[0].completion == "    return a"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([GAP, {**GAP, "suffix": 1}], 'a.jsonl:2: the field "suffix" must be text; rows need task_id, prompt, suffix'),
        ([*PYTHON, {"input": "<s>"}], 'a.jsonl:4: the field "gt" must be text; rows need input and gt.'),
        ([METHOD, {**METHOD, "body": None}], 'a.jsonl:2: the field "body" must be text'),
    ],
)
def test_a_broken_row_is_refused(tmp_path, content, words):
    with pytest.raises(UserError, match=words):
        load(rows(tmp_path / "a.jsonl", content))


def test_scores_of_lines_equal_codexglues():
    references = ["<NUM_LIT:1> ]", "f ( a )", " x ;", "'<STR_LIT>'"]
    predictions = [" 1 ]\n", "f(a)", "x  ;", "y"]
    found = codexglue_line.scores(predictions, references)
    # in Levenshtein's ratio: 100, 8 of 11 signs (72.7), 4 of 7 against one blank more (85.7), 0
    assert (found.values["edit_similarity"], found.values["exact_match"], found.n) == (64.75, 50.0, 4)
    assert found.signatures["exact_match"] == "exact_match|tok:whitespace|pp:codexglue-line|round:2|n:4|lib:none"


def test_a_file_gets_the_scores_of_its_benchmarks_own_code():
    items = [Prediction(f"{n}", "p", "x ;", "x ;", task="line", scores={"nats": 1.0, "tokens": 2.0}) for n in range(3)]
    by_role = {"base": items, "adapted": items}
    models = {role: Model(name=role, label=role, role=Role(role)) for role in by_role}

    def own_numbers(form, profile):
        asked = {"mine": BenchmarkInfo(title="mine", format=form)}
        return comparison.scores({"mine": by_role}, models, asked, {}, 0, profile).benchmarks["mine"].compat

    assert own_numbers("codexglue_line", "honest")["base"].values["exact_match"] == 100.0
    assert set(own_numbers("codexglue", "honest")["base"].values) >= {"bleu"}
    assert own_numbers("humaneval_infilling", "honest") is None
    assert set(own_numbers("pairs", "compat")["base"].values) >= {"bleu"}


def test_items_of_one_function_belong_together():
    assert humaneval_infilling.FUNCTION.search("RandomSpanInfilling/HumanEval/12/1")[0] == "HumanEval/12"
