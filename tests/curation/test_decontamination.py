"""Pieces of benchmarks are found in documents, boilerplate is not one, and unusable files are one sentence."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from codefit.curation.decontamination import Benchmarks, contaminated, load_benchmarks, read_items
from codefit.curation.overlap import overlapping
from codefit.errors import UserError

LONG = "def add(one, two, three):\n    total = one + two + three\n    return total * factor(one)"


@pytest.mark.parametrize(
    ("item", "document", "found"),
    [
        (LONG, LONG.replace("    ", "\t").replace("(", "( ") + "\nmore = 1", True),
        (LONG, LONG.replace("def add(one, two, ", "sub(three, "), False),
        (LONG, LONG.replace("def add(one, ", ""), True),  # the last ten words are there
        (LONG, LONG.replace("total", "summe"), False),
        ("return sorted(items)", "def f(items):\n    return  sorted(items)\n", True),
        ("return sorted(items)", "def f(items):\n    return sorted[items]\n", False),  # the same words, other signs
        ("two words", "two words", False),
        ("", "", False),
    ],
)
def test_pieces_are_found(item, document, found):
    benchmarks = Benchmarks([("b:1", "a b c d e f g h i j k"), ("b:2", item)])
    hits, _ = contaminated(benchmarks, [benchmarks.found_in(document)])
    assert [benchmarks.name(piece) for piece in hits.values()] == (["b:2"] if found else [])


def test_ngrams_of_many_documents_are_boilerplate():
    benchmarks = Benchmarks([("b:1", LONG)])
    found = [benchmarks.found_in(text) for text in [LONG] * 10 + ["x = 1"] * 100]
    hits, boilerplate = contaminated(benchmarks, found)
    assert (len(hits), len(boilerplate)) == (10, 0)
    hits, boilerplate = contaminated(benchmarks, [found[0], *found])
    assert not hits
    assert len(boilerplate) > 0
    assert len(contaminated(benchmarks, found[:1], boilerplate)[0]) == 0
    assert len(contaminated(benchmarks, found[:1], np.zeros(0, np.uint64))[0]) == 1


def test_items_are_the_texts_of_rows(tmp_path):
    rows = [{"task_id": "A/1", "prompt": "p q r", "tests": ["s t u", {"n": 3, "v": "w x y"}]}, {"prompt": None}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(read_items(tmp_path / "a.jsonl")) == [("a.jsonl:1", text) for text in ("p q r", "s t u", "w x y")]
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["p q r"], "task_id": ["A"]}), tmp_path / "a.parquet")
    assert list(read_items(tmp_path / "a.parquet")) == [("a.parquet:1", "p q r")]
    (tmp_path / "a.py").write_text("one two three")
    assert list(read_items(tmp_path / "a.py")) == [("a.py", "one two three")]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"\xff", r"cannot read the benchmark .*a.txt: it is not UTF-8 text; check --decontaminate"),
        ("none.txt", None, r"cannot read the benchmark .*none.txt: No such file"),
        ("a.jsonl", b"{", r"a.jsonl:1: not valid JSON"),
        ("a.parquet", b"PAR", r"cannot read .*a.parquet as Parquet"),
        ("a.txt", b"two words", r"a.txt contain no text of at least 3 words; check --decontaminate"),
    ],
)
def test_a_benchmark_that_cannot_be_used_is_one_sentence(tmp_path, name, data, message):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        load_benchmarks([tmp_path / name])


def test_a_completion_overlaps_when_more_than_half_of_it_is_in_train():
    words = [f"w{n}" for n in range(29)]  # 20 runs of ten words
    half, more = " ".join(words[:19]), " ".join(words[:20])  # 10 and 11 of them
    for train, expected in (([half], False), ([more], True), ([half, " ".join(words[10:21])], True), ([], False)):
        assert overlapping([" ".join(words), "too short"], train).tolist() == [expected, False]
    assert overlapping([], ["a"]).tolist() == []
