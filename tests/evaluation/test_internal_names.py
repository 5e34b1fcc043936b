"""Right and invented names: which names of a prediction count, which files have them, and what the table shows."""

import dataclasses

import pytest

from codefit.code import names
from codefit.code.languages import LANGUAGES
from codefit.evaluation import comparison, repository_files
from codefit.evaluation.report import terminal
from codefit.evaluation.repository_names import RepositoryNames, new_names, noted
from codefit.records import Change, Prediction, write_jsonl
from codefit.scoring.internal_names import INTERNAL_NAMES, NEW, REFERENCE_NEW, REFERENCE_RIGHT, RIGHT
from tests.support.report import HELD_OUT, MODELS, prediction, word


def item(prompt, text, reason="stop", **changes):
    return Prediction("i", prompt, text, "", reason, path="own.py", repository="me/one", **changes)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (item("x = ", "open_box(y)"), {"open_box", "y"}),
        (item("x = ", "x + int(len(x)) if True else None"), set()),  # of the prompt and of the language
        (item("x = ", "x.append(x.items())"), set()),  # attributes of built-in types
        (item("x = open_", "box(x)"), {"open_box"}),  # the cursor cuts a name
        (item("open_box = open_", "box"), set()),
        (item("open_", "box = open_box"), {"open_box"}),
        (item("x = ", "f\"{a_box}\" + 'b_box'  # c_box"), set()),  # not in code
        (item('x = """\nsome text', ' goes on"""\ny = 1'), set()),
        (item("x = ", "0x1F + 1e5 + 2j"), set()),
        (item("x = ", "box(lid", "length"), {"box"}),  # the limit cut the last name
        (item("x = ", "box(lid)", "length"), {"box", "lid"}),
        (item("x = ", "box(lid", "stop"), {"box", "lid"}),
        (item("x = ", "box\n\n\ndef other(): pass"), {"box"}),  # an editor cuts at the end of the line
        (item("x = ", "box", suffix="\nbox.close()"), set()),
        (item("val x = ", "Box(it.size)", language="kotlin"), {"Box"}),
        (item("x = ", ""), set()),
    ],
)
def test_names_that_a_prediction_brings_in(asked, found):
    assert new_names(asked) == found


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_keywords_and_provides_names(language):
    found = names.provided(language)
    assert {"if", "else", "return"} - found <= ({"return"} if language == "ruby" else set())
    assert len(found) > 50


FILES = {
    "own.py": "below_the_cursor = shared = 1\n",
    "a.py": "from lib import imported\nshared = imported()  # in_a_comment\n",
    "b.kt": "val inKotlin = 1\n",
}


def known(tmp_path, files=FILES, dates=None, repositories=("me/one",)):
    rows = [
        {"repository": "me/one", "path": path, "content": text, "committed_at": (dates or {}).get(path)}
        for path, text in files.items()
    ]
    write_jsonl(tmp_path / "documents.jsonl", [*rows, {"repository": "me/two", "path": "a.py", "content": "elsewhere"}])
    return RepositoryNames(repository_files.opened(tmp_path / "documents.jsonl", repositories))


def right(names_of_files, asked):
    return {name for name in ALL if names_of_files.right({name}, asked)}


ALL = {"below_the_cursor", "shared", "imported", "lib", "in_a_comment", "inKotlin", "elsewhere"}


def test_a_name_is_right_if_another_file_of_the_repository_has_it_in_its_code(tmp_path):
    assert right(known(tmp_path), item("", "")) == {"shared", "imported", "lib", "inKotlin"}


def test_the_prompts_own_file_is_no_answer_key(tmp_path):
    other = dataclasses.replace(item("", ""), path="a.py")
    assert right(known(tmp_path), other) == {"below_the_cursor", "shared", "inKotlin"}


def test_in_a_split_by_time_only_older_files_count(tmp_path):
    dates = {"own.py": "2024-02-01", "a.py": "2024-01-01", "b.kt": "2024-02-01"}
    files = known(tmp_path, dates=dates)
    assert right(files, item("", "")) == {"shared", "imported", "lib"}
    assert right(files, dataclasses.replace(item("", ""), path="a.py")) == set()
    assert right(files, item("", "")) == {"shared", "imported", "lib"}


def test_dates_of_two_time_zones_are_compared_by_their_moment(tmp_path):
    dates = {
        "own.py": "2024-03-01T00:30:00+02:00",  # 22:30 in UTC
        "a.py": "2024-02-29T23:00:00+00:00",
        "b.kt": "2024-03-01T01:00:00+09:00",  # 16:00 in UTC
    }
    assert right(known(tmp_path, dates=dates), item("", "")) == {"inKotlin"}


def test_of_a_later_commit_the_files_before_it_count(tmp_path):
    base = [Change(path, "one", repository="me/one", blob=path, content=text) for path, text in FILES.items()]
    later = [
        Change("a.py", "two", "one", repository="me/one", blob="new", content="imported = 1\n"),
        Change("c.py", "two", "one", repository="me/one", blob="c", content="elsewhere = below_the_cursor\n"),
        Change("own.py", "three", "two", repository="me/one", blob="own", content="lib\n"),
    ]
    write_jsonl(tmp_path / "history.jsonl", [*base, *later])
    files = RepositoryNames(repository_files.opened(tmp_path / "history.jsonl", ()))
    before, after, no_commit = (dataclasses.replace(item("", ""), commit=commit) for commit in ("two", "three", None))
    for _ in range(2):
        assert right(files, before) == {"shared", "imported", "lib", "inKotlin"}
        assert right(files, after) == {"imported", "elsewhere", "below_the_cursor", "inKotlin"}
    assert files.right({"shared"}, no_commit) is None


def test_predictions_of_other_repositories_tasks_and_languages_have_no_value(tmp_path):
    files, asked = known(tmp_path), item("x = ", "shared + invented")
    [found] = noted([asked], files)
    assert (found.scores[NEW], found.scores[RIGHT]) == (2, 1)
    assert (found.scores[REFERENCE_NEW], found.scores[REFERENCE_RIGHT]) == (0, 0)
    [found] = noted([dataclasses.replace(asked, reference="imported(shared, a, b, c)")], files)
    assert (found.scores[REFERENCE_NEW], found.scores[REFERENCE_RIGHT]) == (5, 2)
    for other in (
        dataclasses.replace(asked, repository="me/three"),
        dataclasses.replace(asked, repository=""),
        dataclasses.replace(asked, task="naming"),
        dataclasses.replace(asked, path="own.txt"),
    ):
        assert noted([other], files) == [other]
    assert noted([asked], None) == [asked]


# ------------------------------------------------------------------------------------------- the table


def test_the_value_is_the_share_of_all_names_and_prompts_without_names_have_none():
    items = [item("", "", scores=scores) for scores in ({NEW: 4.0, RIGHT: 1.0}, {NEW: 0.0, RIGHT: 0.0}, {})]
    stats = INTERNAL_NAMES.of_items(items)
    assert INTERNAL_NAMES.corpus_score(stats) == 25
    assert INTERNAL_NAMES.have_value(stats).tolist() == [True, False, False]
    assert INTERNAL_NAMES.applies(items)
    assert not INTERNAL_NAMES.applies(items[1:])
    assert not INTERNAL_NAMES.applies([])


def compared(base, adapted):
    """Return the result for models whose predictions have these numbers of names and of right names."""
    by_model = {
        key: [
            prediction(
                n,
                f"value_{word(n)}\n",
                scores={NEW: float(new), RIGHT: float(good), REFERENCE_NEW: 4.0, REFERENCE_RIGHT: 3.0},
            )
            for n, (new, good) in enumerate(found)
        ]
        for key, found in (("base", base), ("adapted", adapted))
    }
    scored = {"heldout": {key: comparison.score_items(items) for key, items in by_model.items()}}
    return comparison.scores(scored, MODELS, {"heldout": HELD_OUT}, {}, seed=0).benchmarks["heldout"]


def row_of(result):
    return next((row for row in result.metrics if row.metric == "internal_names"), None)


def test_the_table_compares_the_prompts_with_names_and_says_how_many_they_are():
    result = compared([(2, 1), (0, 0)] * 60, [(2, 2), (0, 0)] * 60)
    row = row_of(result)
    assert (row.n, result.n) == (60, 120)
    assert (row.scores["base"].value, row.scores["adapted"].value) == (50, 100)
    assert row.against_base["adapted"].verdict == "better"
    assert "n:60|" in row.signature
    text = " ".join(terminal.table(result, MODELS).split())
    assert "Internal names (60 prompts)" in text
    assert "Internal names of the references: 360 of 480 exist in other files (75.0 %)." in text


def test_few_prompts_with_names_allow_no_verdict():
    result = compared([(2, 0)] * 20 + [(0, 0)] * 100, [(2, 2)] * 20 + [(0, 0)] * 100)
    assert row_of(result).against_base["adapted"].verdict == "too few"


def test_without_names_in_one_model_there_is_no_row():
    assert row_of(compared([(0, 0)] * 60, [(2, 1)] * 60)) is None
