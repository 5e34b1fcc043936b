"""Prompts of a benchmark: data sets, files, the forgetting check, few-shot examples; and the look-up baseline."""

import json

import pytest

from codefit.errors import UserError
from codefit.evaluation import questions, training_lookup
from codefit.evaluation.benchmarks import pairs
from codefit.evaluation.settings import QuestionSettings
from codefit.manifest import Manifest
from codefit.records import Pair, write_jsonl


def pair(number, **changes):
    values = {
        "prompt": f"def f{number}(x):\n    return ",
        "completion": f"x + {number}",
        "path": f"{number}.py",
        **changes,
    }
    return Pair(f"p{number}", "completion", **values)


@pytest.fixture
def data(tmp_path):
    """A prepared data set with every optional file."""
    for split, first in (("train", 0), ("test", 50), ("test_overlap", 80), ("forgetting", 90)):
        write_jsonl(tmp_path / f"{split}.jsonl", [pair(first + n) for n in range(5)])
    return tmp_path


def load(data, *names, split="test", forgetting=None):
    manifest = Manifest({})
    settings = QuestionSettings(names, str(data), split, forgetting, sample=0, seed=0, max_new_tokens=64)
    found = questions.load(settings, manifest)
    return found, [path.rpartition("/")[2] for path in manifest.content["inputs"]]


def test_all_benchmarks_of_a_data_set_are_loaded(data):
    found, read = load(data, "heldout")
    assert [(each.name, each.pairs[0].id, len(each.pairs)) for each in found] == [
        ("heldout", "p50", 5),
        ("test_overlap", "p80", 5),
        ("forgetting", "p90", 5),
    ]
    assert read == ["test.jsonl", "test_overlap.jsonl", "forgetting.jsonl"]
    assert [each.name for each in load(data, "heldout", split="test_overlap")[0]] == ["test_overlap", "forgetting"]


def test_the_forgetting_check_takes_a_file_or_a_data_set(data, tmp_path):
    for source in (data / "test.jsonl", data):
        found, _ = load(data, "heldout", forgetting=str(source))
        assert [pair.id for pair in found[-1].pairs] == [f"p{50 + n}" for n in range(5)]
        assert found[-1].title == f"unrelated code ({source.name})"


def test_a_file_of_pairs_needs_prompts_and_completions_only(tmp_path):
    path = tmp_path / "my pairs.jsonl"
    path.write_text(
        '{"prompt": "a", "completion": "b"}\n\n{"id": "x", "task": "naming", "prompt": "c", "completion": "d"}\n'
    )
    assert [(each.id, each.task, each.prompt) for each in pairs.load(path)] == [
        ("row 1", "completion", "a"),
        ("x", "naming", "c"),
    ]
    found, read = load(tmp_path, str(path))
    assert [(each.name, each.title, each.new_tokens) for each in found] == [("my_pairs", "my pairs.jsonl", 64)]
    assert read == ["my pairs.jsonl"]


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (["missing.jsonl"], {}, "cannot read missing.jsonl: the file does not exist; check the path."),
        (["heldout"], {"forgetting": "nowhere.jsonl"}, "cannot read nowhere.jsonl"),
        (["heldout"], {"split": "other"}, "there is no split 'other'"),
    ],
)
def test_unavailable_benchmarks_are_refused(data, names, options, words):
    with pytest.raises(UserError, match=words):
        load(data, *names, **options)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "has no pairs; add rows with a prompt and a completion."),
        ('{"prompt": "a"}\n', 'bad.jsonl:1: the field "completion" of a Pair is missing'),
        ("[]\n", "bad.jsonl:1: not a JSON object but of type list"),
        ('{"prompt": 1, "completion": "b"}\n', 'the field "prompt" must be text, not int'),
    ],
)
def test_a_broken_file_of_pairs_is_refused(tmp_path, content, words):
    (tmp_path / "bad.jsonl").write_text(content)
    with pytest.raises(UserError, match=words.replace("[", r"\[")):
        pairs.load(tmp_path / "bad.jsonl")


def test_a_data_set_without_a_test_split_cannot_check_forgetting(data, tmp_path):
    (tmp_path / "other").mkdir()
    write_jsonl(tmp_path / "other" / "train.jsonl", [pair(1)])
    with pytest.raises(UserError, match=r"has no test.jsonl to check forgetting on; name a JSONL file of pairs"):
        load(data, "heldout", forgetting=str(tmp_path / "other"))


def test_two_files_of_one_name_are_refused(data, tmp_path):
    (tmp_path / "deep").mkdir()
    for folder in (tmp_path, tmp_path / "deep"):
        write_jsonl(folder / "mine.jsonl", [pair(1)])
    with pytest.raises(UserError, match="two benchmarks are called mine; rename one of the files"):
        load(data, str(tmp_path / "mine.jsonl"), str(tmp_path / "deep" / "mine.jsonl"))


def test_examples_come_before_every_prompt():
    asked = questions.Questions("heldout", "held-out code", [pair(1), pair(2)], 64)
    found = questions.with_examples(asked, [pair(7), pair(8, prompt="x\n" * 300 + "y = ")])
    shown = "def f7(x):\n    return x + 7\n\n" + "x\n" * 197 + "y = x + 8\n\n"
    assert [each.prompt for each in found.pairs] == [shown + each.prompt for each in asked.pairs]
    assert [each.completion for each in found.pairs] == ["x + 1", "x + 2"]


# ------------------------------------------------------------------------------------------- training data


@pytest.fixture
def training(tmp_path):
    rows = [
        pair(1, prompt="import os\nroot = os.path.", completion="join(a, b)"),
        pair(2, prompt="import json\ntext = json.", completion="dumps(row)"),
        pair(3, prompt="for item in items:\n    ", completion="pass"),
        pair(4, prompt="while True:\n    ", completion="pass", finish_reason="length"),
    ]
    write_jsonl(tmp_path / "train.jsonl", rows)
    return training_lookup.TrainingData(tmp_path / "train.jsonl")


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("import json\nline = json.", "dumps(row)"),
        ("home = os.path.", "join(a, b)"),
        ("nothing alike", "pass"),
        ("", "pass"),
    ],
)
def test_the_look_up_returns_the_nearest_training_item(training, prompt, answer):
    assert list(training.nearest([prompt])) == [answer]


def test_training_pairs_are_recognised(training):
    assert training.constant == "pass"
    assert training.count == 4
    assert training.holds("import json\ntext = json.", "dumps(row)")
    assert not training.holds("import json\ntext = json.", "dumps(rows)")
    assert {"json", "dumps", "root"} <= training.identifiers


def test_a_gap_in_other_code_is_another_pair(tmp_path):
    known = pair(1, prompt="from fastapi import FastAPI\n", completion="app = FastAPI()", suffix="\nclass Item:")
    write_jsonl(tmp_path / "train.jsonl", [known])
    training = training_lookup.TrainingData(tmp_path / "train.jsonl")
    assert training.holds(known.prompt, known.completion, known.suffix)
    assert not training.holds(known.prompt, known.completion, "\ndef reader():")
    assert not training.holds(known.prompt, known.completion)
    assert "Item" in training.identifiers


def test_examples_are_seeded_and_end_naturally(training):
    assert [found.id for found in training.examples(2, 5)] == [found.id for found in training.examples(2, 5)]
    assert {found.id for found in training.examples(9, 0)} == {"p1", "p2", "p3"}


def test_a_large_training_set_is_sampled(tmp_path, monkeypatch):
    monkeypatch.setattr(training_lookup, "MOST", 10)
    (tmp_path / "train.jsonl").write_text(
        "".join(
            json.dumps({"id": str(n), "task": "t", "prompt": f"p{n}", "completion": f"c{n}"}) + "\n" for n in range(99)
        )
    )
    data = training_lookup.TrainingData(tmp_path / "train.jsonl", seed=1)
    kept = data.examples(99, seed=0)
    assert (data.count, len(kept)) == (99, 10)
    assert max(int(pair.id) for pair in kept) > 20
    assert data.holds("p98", "c98")
