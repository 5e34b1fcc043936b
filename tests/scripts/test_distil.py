"""A data set whose training completions are those of another model, each kept or left out for a reason."""

import json
import sys

import pytest

from codefit.errors import UserError
from codefit.records import Pair, Prediction, read_jsonl
from runs import distil


def item(text, finish_reason="stop"):
    return Prediction("1", "def f(a):\n    return ", text, "a + 1\n", finish_reason, path="a.py", language="python")


@pytest.mark.parametrize(
    ("prediction", "text", "why"),
    [
        (item("a\n"), "a\n", ""),
        (item("a\nmore", "length"), "a\n", ""),  # an editor finds its end
        (item("(a +", "length"), "(a +", "no end"),
        (item(" "), " ", "empty"),
        (item("a b a b"), "(a, b, a, b, a, b, a, b, a, b, a, b)", "repeats itself"),
        (item("a +) b"), "a +) b", "syntax errors"),
    ],
)
def test_what_is_wrong_with_a_completion(prediction, text, why):
    assert distil.fault(prediction, text) == why


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["distil.py", *map(str, words)])
    distil.main()


def test_the_new_data_set(made, tmp_path, monkeypatch, capsys, same_arithmetic):
    output = tmp_path / "distilled"
    words = [made / "data", "--teacher", made / "base", "--output", output, "--max_new_tokens", 8]
    with pytest.raises(UserError, match="no completion of the teacher is kept"):
        run(monkeypatch, *words)  # a random model is unsure of everything
    with pytest.raises(UserError, match=r"and 9000 new ones are longer than the context window of"):
        run(monkeypatch, *words[:-1], 9000)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(distil, "fault", lambda item, text: "" if item.id != "t1" else "empty")
    run(monkeypatch, *words, "--max_nats", 100)
    assert "7 of 8 completions are kept (0 as the author wrote them); left out: empty (1)" in capsys.readouterr().out
    asked = {pair.id: pair for pair in read_jsonl(made / "data" / "train.jsonl", Pair)}
    kept = list(read_jsonl(output / "train.jsonl", Pair))
    assert [pair.id for pair in kept] == [name for name in asked if name != "t1"]
    assert all(pair.prompt == asked[pair.id].prompt and pair.completion != asked[pair.id].completion for pair in kept)
    assert (output / "test.jsonl").read_bytes() == (made / "data" / "test.jsonl").read_bytes()
    assert [row["rule"] for row in map(json.loads, (output / "rejected.jsonl").open())] == ["empty"]
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["teacher"] == str(made / "base")
    assert manifest["asked"] == manifest["kept"] + sum(manifest["rejections"].values()) == 8
    run(monkeypatch, *words, "--max_nats", 100)
    assert "is complete" in capsys.readouterr().out
