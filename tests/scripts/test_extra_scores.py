"""Scores that need something more: METEOR by NLTK, and what ruff finds in completions in their files."""

import sys

import pytest

from codefit.errors import UserError
from codefit.evaluation import linting
from codefit.records import Document, Prediction, write_jsonl
from codefit.scoring import meteor
from runs import extra_scores

FILE = "import os\n\n\ndef area(shape):\n    return shape.width * shape.height\n\n\nprint(os.name, area)\n"
PROMPT = FILE[: FILE.index("shape.width")]
REFERENCE = "shape.width * shape.height"


def item(text, prompt=PROMPT, **facts):
    return Prediction("1", prompt, text, REFERENCE, path="a.py", language="python", repository="r", **facts)


DOCUMENTS = [Document(FILE.replace("\n", "\r\n"), "a.py", "r"), Document("x = 1\n", "b.py", "r")]


def new(*items):
    return linting.new_findings(items, linting.places(items, DOCUMENTS)).tolist()


def test_a_finding_is_new_if_the_author_did_not_have_it():
    assert new(item(REFERENCE)) == [[0, 1]]
    assert new(item("shape.width * height")) == [[1, 1]]  # undefined name
    assert new(item("width * height")) == [[2, 1]]
    assert new(item("shape.width * (")) == [[1, 1]]  # however many syntax errors follow
    assert new(item(f"{REFERENCE}\n\n\ndef more():\n    return undefined")) == [[0, 1]]  # an editor cuts it


def test_an_item_without_a_place_counts_nothing():
    other = item(REFERENCE, prompt="def of_another_file():\n    return ")
    assert new(other, item("width")) == [[0, 0], [1, 1]]
    twice = Document(FILE + FILE, "a.py", "r")
    assert linting.places([item(REFERENCE)], [twice]) == [None]
    assert linting.places([item(REFERENCE)], []) == [None]


def test_meteor_of_known_texts():
    pytest.importorskip("nltk")
    assert meteor.METEOR.of_pair("", "a b")[0] == 0
    same = "run the jobs of a queue"
    assert meteor.METEOR.of_pair(same, same)[0] == pytest.approx(
        100 * (1 - 0.5 * (1 / 6) ** 3)
    )  # one chunk of six words
    stems, strangers = (
        meteor.METEOR.of_pair(text, same)[0] for text in ("running a job in queues", "nothing here at all")
    )
    assert stems > 30 > strangers
    assert "stem:porter" in meteor.METEOR.signature(3)


def test_meteor_without_nltk_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "nltk.corpus", None)
    meteor.meanings.cache_clear()
    with pytest.raises(UserError, match=r"METEOR needs NLTK, which is not installed; run `pip install nltk==3\.10\.4`"):
        meteor.meanings()


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["extra_scores.py", *map(str, words)])
    extra_scores.main()


def test_a_finished_benchmark_gets_more_scores(finished, monkeypatch, capsys, tmp_path):
    pytest.importorskip("nltk")
    run(monkeypatch, finished)
    said = capsys.readouterr().out
    assert "heldout: METEOR, %" in said
    assert said.count("[") >= 4
    write_jsonl(tmp_path / "raw.jsonl", DOCUMENTS)
    with pytest.raises(UserError, match="no Python completion was found in these documents"):
        run(monkeypatch, finished, "--metric", "linter", "--documents", tmp_path / "raw.jsonl")
    with pytest.raises(SystemExit):
        run(monkeypatch, finished, "--metric", "linter")
