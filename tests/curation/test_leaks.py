"""`preprocess_data.py --verify` finds a planted leak, and says what it cannot verify."""

import dataclasses
import json

import pytest

import preprocess_data
from codefit.console import counted
from codefit.curation.repeated_prompts import prompt_id
from codefit.errors import UserError
from codefit.records import Document, Pair, to_line, write_jsonl
from tests.support.corpus import HEADER, documents, kotlin_file, manifest_of, near_copy, pairs_of, rejections


def test_a_fresh_output_passes_verification(source, prepare, capsys):
    output = prepare(source, "--test_share", 0.2)
    capsys.readouterr()
    preprocess_data.main(["--output", str(output), "--verify"])
    printed = capsys.readouterr().out
    paths = {split: {pair.path for pair in pairs} for split, pairs in pairs_of(output).items()}
    evaluation = len(paths["validation"]) + len(paths["test"])
    assert printed == f"no leak: {len(paths['train'])} train files against {evaluation} held-out files\n"


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
        UserError,
        match=rf"has a leak: 1 train files are near-duplicates of held-out files \(me/one/{planted} resembles",
    ):
        preprocess_data.main(["--output", str(output), "--verify"])


def verify(output):
    preprocess_data.main(["--output", str(output), "--verify"])


def rewrite(output, split, change):
    lines = (output / f"{split}.jsonl").read_text().splitlines(keepends=True)
    (output / f"{split}.jsonl").write_text("".join(change(lines)))


def test_a_unit_in_two_splits_is_a_leak(prepare, tmp_path):
    files = [dataclasses.replace(d, path=f"d{n}/f{n}.kt") for n, d in enumerate(documents(30))]
    pair_in_one_folder = [Document(kotlin_file(n), f"shared/f{n}.kt", "me/one") for n in (500, 501)]
    write_jsonl(tmp_path / "documents.jsonl", [*files, *pair_in_one_folder])
    output = prepare(tmp_path / "documents.jsonl", "--split_by", "directory", "--test_share", 0.2)
    verify(output)
    place = next(split for split, pairs in pairs_of(output).items() if any("shared" in pair.path for pair in pairs))
    other = "train" if place != "train" else "test"
    moved = [line for line in (output / f"{place}.jsonl").read_text().splitlines(True) if "f500.kt" in line]
    rewrite(output, place, lambda lines: [line for line in lines if line not in moved])
    rewrite(output, other, lambda lines: lines + moved)
    with pytest.raises(UserError, match=r"has a leak: me/one/shared is in \w+ and in \w+; prepare the data again"):
        verify(output)


def test_a_file_on_the_wrong_side_of_a_date_is_a_leak(prepare, tmp_path):
    files = [dataclasses.replace(d, committed_at=f"2020-01-{n + 1:02}") for n, d in enumerate(documents(30))]
    write_jsonl(tmp_path / "documents.jsonl", files)
    output = prepare(tmp_path / "documents.jsonl", "--split_by", "time")
    verify(output)
    moved = (output / "test.jsonl").read_text().splitlines(True)
    last = [line for line in moved if json.loads(line)["path"] == files[-1].path]
    rewrite(output, "test", lambda lines: [line for line in lines if line not in last])
    rewrite(output, "train", lambda lines: lines + last)
    with pytest.raises(UserError, match=r"has a leak: me/one/.*File29.kt of 2020-01-30 is in train"):
        verify(output)


LINE = "val result = combine(alpha, beta, gamma, delta, epsilon, zeta, eta, theta, {n})\n"


def test_a_completion_that_occurs_in_train_is_moved_or_reported_as_a_leak(prepare, tmp_path, capsys):
    files = [
        dataclasses.replace(d, content=d.content + LINE.format(n="iota") * (n % 2) + LINE.replace("a", "u").format(n=n))
        for n, d in enumerate(documents(60))
    ]
    write_jsonl(tmp_path / "documents.jsonl", files)
    output = prepare(tmp_path / "documents.jsonl", "--test_share", 0.3, "--window_step", 16)
    moved = [json.loads(line) for line in (output / "test_overlap.jsonl").read_text().splitlines()]
    assert moved
    assert all("alpha, beta" in pair["completion"] or "ulphu, betu" in pair["completion"] for pair in moved)
    manifest = json.loads((output / "manifest.json").read_text())
    test = manifest["splits"]["test"]
    assert test["pairs_moved_to_test_overlap"] == len(moved)
    assert test["pairs"] == len(pairs_of(output)["test"])
    said = f"in test_overlap.jsonl, since the completion is mostly in train: {counted(len(moved), 'test pair')}\n"
    assert said in capsys.readouterr().out
    verify(output)
    rewrite(output, "test", lambda lines: [*lines, json.dumps(moved[0]) + "\n"])
    with pytest.raises(UserError, match="has a leak: train contains 1 completion of test"):
        verify(output)


def test_a_piece_of_a_benchmark_is_rejected_or_reported_as_a_leak(prepare, tmp_path):
    benchmark = tmp_path / "items.jsonl"
    solution = "fun answer(one: Int, two: Int): Int {\n    val three = one * two\n    return three + one / two\n}\n"
    rows = [{"task_id": "T/0", "prompt": "no such words are there"}, {"tests": ["x", {"y": solution}]}]
    benchmark.write_text("".join(json.dumps(row) + "\n" for row in rows))
    held = Document(kotlin_file(700) + solution.replace("    ", "  "), "held.kt", "me/one")
    write_jsonl(tmp_path / "documents.jsonl", documents(extra=[held]))
    output = prepare(tmp_path / "documents.jsonl", "--decontaminate", benchmark)
    found = [(row["path"], row["value"]) for row in rejections(output) if row["rule"] == "benchmark"]
    assert found == [("held.kt", "items.jsonl:2")]
    verify(output)
    plant(output, "held.kt")
    with pytest.raises(UserError, match=r"has a leak: me/one/held.kt contains a piece of items.jsonl:2"):
        verify(output)
    benchmark.write_text("{}\n")
    with pytest.raises(UserError, match=r"items.jsonl is missing or has changed"):
        verify(output)


def test_verification_states_what_it_cannot_verify(source, prepare, tmp_path):
    output = prepare(source)

    with pytest.raises(UserError, match=r"has no manifest of preprocess_data.py; give the folder"):
        verify(tmp_path)
    test = (output / "test.jsonl").read_text()
    (output / "test.jsonl").write_text(test + (output / "train.jsonl").read_text().split("\n")[0] + "\n")
    with pytest.raises(UserError, match=r"has a leak: me/one/.* is in train and in test; prepare the data again"):
        verify(output)
    (output / "test.jsonl").write_text(test)
    verify(output)
    plant(output, "no/such.kt")
    with pytest.raises(UserError, match=r"1 files of .* are not in its input, such as me/one/no/such.kt"):
        verify(output)
    source.write_text(source.read_text() + "\n")
    with pytest.raises(
        UserError, match=r"is missing or has changed since .* was made; restore it, or prepare the data again"
    ):
        verify(output)


@pytest.mark.parametrize("field", ["prompt", "completion"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_text_that_is_not_in_its_document_is_found(prepare, tmp_path, split, field):
    write_jsonl(tmp_path / "documents.jsonl", documents())
    output = prepare(tmp_path / "documents.jsonl")
    file = output / f"{split}.jsonl"
    lines = file.read_text().splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | {field: "of another repository"})
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(
        UserError, match=rf"1 pairs contain text that is not in their document \(the {field} of me/one/"
    ):
        verify(output)


def test_a_prompt_is_in_one_pair_and_test_keeps_it(prepare, tmp_path, capsys):
    copy = "\nfun {name}(a: Int): Int {{\n{margin}val b = a + 1\n{margin}return b\n}}\n"
    copies = [copy.format(name=f"copied{n % 3}", margin=" " * (2 + n % 2)) for n in range(40)]
    files = [dataclasses.replace(d, content=d.content + copies[n]) for n, d in enumerate(documents(40))]
    write_jsonl(tmp_path / "documents.jsonl", files)
    output = prepare(tmp_path / "documents.jsonl", "--task", "naming", "--test_share", 0.2)
    pairs = pairs_of(output)
    (kept,) = (pair for split in pairs.values() for pair in split if pair.completion.startswith("copied"))
    assert kept in pairs["test"]
    splits = manifest_of(output)["splits"]
    assert splits["train"]["skipped"]["prompt of a held-out pair"] == splits["train"]["documents"]
    assert splits["test"]["skipped"]["prompt of an earlier pair"] == splits["test"]["documents"] - 1
    assert {name: split["pairs"] for name, split in splits.items()} == {n: len(found) for n, found in pairs.items()}
    assert "prompt of a held-out pair" in " ".join(capsys.readouterr().out.split())
    verify(output)
    leaked = dataclasses.replace(
        kept, path=pairs["train"][0].path, prompt=kept.prompt.replace("    ", "  "), id="leaked"
    )
    with (output / "train.jsonl").open("a") as file:
        file.write(to_line(leaked))
    with pytest.raises(UserError, match=rf"1 prompts of train are also in test \(leaked and {kept.id}\)"):
        verify(output)


def test_the_suffix_is_part_of_a_prompt_and_empty_prompts_are_no_prompts():
    pair = Pair("1", "infill", "a b", "c", suffix="d")
    assert prompt_id(pair) == prompt_id(dataclasses.replace(pair, prompt="a\n b", completion="e"))
    assert prompt_id(pair) != prompt_id(dataclasses.replace(pair, suffix="e"))
    assert prompt_id(Pair("1", "document", " ", "c")) == b""
