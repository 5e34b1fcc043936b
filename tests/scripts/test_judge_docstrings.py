"""A data set of the docstrings that a judge rates best, or of as many drawn ones."""

import dataclasses
import json
import sys

import pytest

from codefit.errors import UserError
from codefit.evaluation.docstring_judge import Separation
from codefit.records import Pair, read_jsonl, write_jsonl
from runs import judge_docstrings
from tests.support import benchmark
from tests.support.docstrings import PAIRS, pair

MANY = [*PAIRS, pair(6, "It reads."), pair(7, "Reads."), pair(8, "Of lines."), pair(9, "Lines."), pair(10, "Words.")]


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    write_jsonl(folder / "train.jsonl", MANY)
    write_jsonl(folder / "test.jsonl", PAIRS[:2])
    benchmark.write_manifest(folder, arguments={"max_prompt_tokens": 64, "language": ["python"]})
    return folder


@pytest.fixture
def judge(made, tmp_path):
    """A model that writes with a chat template."""
    folder = tmp_path / "judge"
    folder.mkdir()
    for file in (made / "base").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tokenizer = benchmark.new_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}<{{ message.content }}>{% endfor %}"
    tokenizer.save_pretrained(folder)
    return folder


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["judge_docstrings.py", *map(str, words)])
    judge_docstrings.main()


def test_the_best_rated_pairs_are_kept(data, judge, tmp_path, monkeypatch, capsys, same_arithmetic):
    output = tmp_path / "better"
    words = [data, "--judge", judge, "--output", output, "--keep", 0.4]
    run(monkeypatch, *words, "--dry_run")
    assert "would rate 11 docstrings" in capsys.readouterr().out
    assert not output.exists()
    run(monkeypatch, *words)
    said = capsys.readouterr().out
    assert "4 of 11 pairs are kept" in said
    assert "the judge rates the author's docstring above one of another class in" in said
    rows = [json.loads(line) for line in (output / "judged.jsonl").open()]
    assert [row["id"] for row in rows] == [each.id for each in MANY]
    kept = [row for row in rows if row["kept"]]
    assert min(row["value"] for row in kept) >= max(row["value"] for row in rows if not row["kept"])
    assert {row["rule"] for row in kept} == {"among the best 4"}
    assert [each.id for each in read_jsonl(output / "train.jsonl", Pair)] == [row["id"] for row in kept]
    rejected = [json.loads(line) for line in (output / "rejected.jsonl").open()]
    assert [row["id"] for row in rejected] == [row["id"] for row in rows if not row["kept"]]
    assert all(row["rule"].startswith("rated under ") for row in rejected)
    assert (output / "test.jsonl").read_bytes() == (data / "test.jsonl").read_bytes()
    manifest = json.loads((output / "manifest.json").read_text())
    assert (manifest["asked"], manifest["kept"]) == (11, 4)
    assert 0 <= manifest["auc"]["low"] <= manifest["auc"]["value"] <= manifest["auc"]["high"] <= 1
    assert manifest["arguments"]["max_prompt_tokens"] == 64
    run(monkeypatch, *words)
    assert "is complete" in capsys.readouterr().out


def test_a_random_share_needs_no_judge(data, tmp_path, monkeypatch, capsys):
    run(monkeypatch, data, "--at_random", "--output", tmp_path / "drawn", "--keep", 0.4)
    assert "4 of 11 pairs are kept" in capsys.readouterr().out
    first = [each.id for each in read_jsonl(tmp_path / "drawn" / "train.jsonl", Pair)]
    assert first == sorted(first, key=int)
    run(monkeypatch, data, "--at_random", "--output", tmp_path / "again", "--keep", 0.4, "--seed", 1)
    assert first != [each.id for each in read_jsonl(tmp_path / "again" / "train.jsonl", Pair)]
    rows = [json.loads(line) for line in (tmp_path / "drawn" / "rejected.jsonl").open()]
    assert {row["rule"] for row in rows} == {"not drawn"}


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        (PAIRS, "has 6 pairs, too few to choose from; give more files"),
        ([dataclasses.replace(each, task="method") for each in MANY], "has pairs of the task method; give a data set"),
    ],
)
def test_what_cannot_be_judged_is_one_sentence(pairs, error, data, tmp_path, monkeypatch):
    write_jsonl(data / "train.jsonl", pairs)
    with pytest.raises(UserError, match=error):
        run(monkeypatch, data, "--at_random", "--output", tmp_path / "none")
    with pytest.raises(SystemExit):
        run(monkeypatch, data, "--output", tmp_path / "none")  # neither judge nor chance


def test_a_judge_that_sees_nothing_is_called_so():
    known = {"mean_rating": {"own": 2.3, "swapped": 2.28}, "deviation": 0.29, "certainty": 0.22}
    facts = {"auc": dataclasses.asdict(Separation(0.52, 0.44, 0.6)), **known}
    assert "52% [44%, 60%]: it may be no better than chance" in judge_docstrings.sentence(facts)
    assert "mean rating 2.30 with a standard deviation of 0.29, of swapped docstrings 2.28" in (
        judge_docstrings.sentence(facts)
    )
    facts = {"auc": dataclasses.asdict(Separation(0.9, 0.8, 1.0)), **known}
    assert judge_docstrings.sentence(facts).endswith("90% [80%, 100%]; chance is 50%")
