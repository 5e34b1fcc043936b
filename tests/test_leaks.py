"""`preprocess_data.py --verify` finds a planted leak, and says what it cannot verify."""

import json

import pytest
from test_preprocess_data import (  # noqa: F401  (fixtures)
    HEADER,
    documents,
    kotlin_file,
    near_copy,
    pairs_of,
    prepare,
    rejections,
    source,
    vocabulary,
)

import preprocess_data
from codefit.cli import UserError
from codefit.records import Document, write_jsonl


def test_a_fresh_output_passes_verification(source, prepare, capsys):
    output = prepare(source, "--test_share", 0.2)
    capsys.readouterr()
    preprocess_data.main(["--output", str(output), "--verify"])
    printed = capsys.readouterr().out
    paths = {split: {pair.path for pair in pairs} for split, pairs in pairs_of(output).items()}
    evaluation = len(paths["validation"]) + len(paths["test"])
    assert printed == f"no leak: {len(paths['train'])} train files against {evaluation} evaluation files\n"


def plant(output, path):
    """Put a file that was left out into train."""
    with (output / "train.jsonl").open("a") as file:
        pair = {
            "id": path,
            "task": "completion",
            "prompt": "x",
            "completion": "y",
            "repository": "me/one",
            "path": path,
        }
        file.write(json.dumps(pair) + "\n")


@pytest.mark.parametrize("rule", ["near-duplicate of evaluation", "exact duplicate"])
def test_a_leak_is_found(prepare, tmp_path, rule):
    extra = [near_copy(n, f"deep/Near{n}.kt") for n in range(60)]
    extra += [Document(HEADER + kotlin_file(n), f"deep/Copy{n}.kt", "me/one") for n in range(60)]
    write_jsonl(tmp_path / "documents.jsonl", documents(extra=extra))
    output = prepare(tmp_path / "documents.jsonl", "--test_share", 0.2)
    splits = {pair.path: split for split, pairs in pairs_of(output).items() for pair in pairs}
    planted = next(
        row["path"]
        for row in rejections(output)
        if row["rule"] == rule and splits.get(str(row["value"]).partition("me/one/")[2]) in {"validation", "test"}
    )
    plant(output, planted)
    with pytest.raises(
        UserError, match=rf"leaks: 1 train files resemble evaluation files \(me/one/{planted} resembles"
    ):
        preprocess_data.main(["--output", str(output), "--verify"])


def test_verification_states_what_it_cannot_verify(source, prepare, tmp_path):
    output = prepare(source)

    def verify(folder=output):
        preprocess_data.main(["--output", str(folder), "--verify"])

    with pytest.raises(UserError, match=r"holds no manifest of prepared data; give the folder"):
        verify(tmp_path)
    test = (output / "test.jsonl").read_text()
    (output / "test.jsonl").write_text(test + (output / "train.jsonl").read_text().split("\n")[0] + "\n")
    with pytest.raises(UserError, match=r"leaks: me/one/.* is in train and in test; prepare it again"):
        verify()
    (output / "test.jsonl").write_text(test)
    verify()
    plant(output, "no/such.kt")
    with pytest.raises(UserError, match=r"1 files of .* are not in its input, such as me/one/no/such.kt"):
        verify()
    source.write_text(source.read_text() + "\n")
    with pytest.raises(UserError, match=r"is gone or has changed since .* was made; restore it, or prepare again"):
        verify()
