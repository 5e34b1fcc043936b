"""Stage 2 from the command line: nothing is lost, nothing leaks, and the same command gives the same bytes."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import tokenizers

import preprocess_data
from codefit import outputs
from codefit.curation import split as split_module
from codefit.errors import UserError
from codefit.manifest import sha256
from codefit.publishing import push
from codefit.records import SPLITS, Document, Pair, read_jsonl, write_jsonl
from tests.support.corpus import EXTRA, documents, kotlin_file, manifest_of, pairs_of, rejections

SCRIPT = Path(preprocess_data.__file__)


def data_of(output):
    return {path.name: path.read_bytes() for path in output.iterdir() if path.name != "manifest.json"}


# --------------------------------------------------------------------------------------------- the whole stage


def test_nothing_is_lost(source, prepare):
    output = prepare(source, "--window_step", 32, "--test_share", 0.2)
    assert sorted(path.name for path in output.iterdir()) == [
        "documents.jsonl",
        "manifest.json",
        "rejected.jsonl",
        "test.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]
    manifest, rows = manifest_of(output), rejections(output)
    assert manifest["documents_in"] == 60 + len(EXTRA)
    assert manifest["documents_in"] == manifest["documents_kept"] + len(rows)
    assert manifest["licence_headers_removed"] == 61
    kept = list(read_jsonl(output / "documents.jsonl", Document))
    assert len(kept) == manifest["documents_kept"]
    assert [each.path for each in kept] == sorted({each.path for each in kept})
    assert not {each.path for each in kept} & {row["path"] for row in rows if row["path"] != "src/d1/File1.kt"}
    assert sha256(output / "documents.jsonl") == manifest["documents_sha256"]
    assert {each.committed_at for each in kept} == {""}  # only a split by time depends on dates
    assert sum(manifest["rejections"].values()) == len(rows)
    by_rule = {rule: [row for row in rows if row["rule"] == rule] for rule in manifest["rejections"]}
    assert [row["path"] for row in by_rule["unknown language"]] == ["src/notes.txt"]
    assert [row["path"] for row in by_rule["too few characters"]] == ["src/Short.kt"]
    assert [row["path"] for row in by_rule["same repository and path"]] == ["src/d1/File1.kt"]
    assert [(row["path"], row["value"]) for row in by_rule["exact duplicate"]] == [
        ("src/much/deeper/Copy.kt", "me/one/src/d3/File3.kt")
    ]
    pairs = pairs_of(output)
    for split in SPLITS:
        counts = manifest["splits"][split]
        assert counts["pairs"] == len(pairs[split]) > 0
        assert counts["natural_ends"] == sum(pair.finish_reason == "stop" for pair in pairs[split])
        assert counts["documents"] == len({pair.path for pair in pairs[split]}) + counts["documents_without_pair"]


def test_no_pair_contains_a_licence_header_and_ids_are_unique(source, prepare):
    pairs = [pair for split in pairs_of(prepare(source)).values() for pair in split]
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert not any("Copyright" in pair.prompt + pair.completion for pair in pairs)


def test_near_duplicates_are_removed_from_train_and_not_from_held_out_files(source, prepare):
    output = prepare(source, "--test_share", 0.2)
    rows = rejections(output)
    evicted = {row["path"]: row["value"] for row in rows if row["rule"] == "near-duplicate of evaluation"}
    inside = {row["path"]: row["value"] for row in rows if row["rule"] == "near-duplicate"}
    splits = {pair.path: split for split, pairs in pairs_of(output).items() for pair in pairs}
    assert evicted
    assert inside
    for path, value in evicted.items():
        similarity, _, name = value.partition(" me/one/")
        assert 0.7 <= float(similarity) <= 1
        assert splits[name] in {"validation", "test"}
        assert path not in splits
    for path, value in inside.items():
        kept = value.partition(" me/one/")[2]
        assert splits[kept] == "train"
        assert len(kept) < len(path)  # the shorter path survives
    twins = {f"src/much/deeper/Near{n}.kt": f"src/d{n % 6}/File{n}.kt" for n in range(0, 60, 2)}
    for near, first in twins.items():
        assert {splits.get(near), splits.get(first)} != {"train", "test"}
        assert {splits.get(near), splits.get(first)} != {"train", "validation"}


def test_the_same_command_gives_the_same_bytes_and_a_seed_others(source, prepare):
    one, two = prepare(source), prepare(source, output="two")
    assert data_of(one) == data_of(two)
    assert data_of(prepare(source, "--seed", 1, output="three")) != data_of(one)


def test_the_document_task_needs_no_tokenizer(source, tmp_path):
    words = ["--task", "document", "--model_name_or_path", "no/such", "--output", str(tmp_path / "out")]
    preprocess_data.main(["--input", str(source), *words])
    pairs = pairs_of(tmp_path / "out")["train"]
    assert all(pair.prompt == "" and pair.finish_reason == "stop" for pair in pairs)
    assert pairs[0].completion == kotlin_file(int(pairs[0].path.removesuffix(".kt").partition("File")[2]))


def test_a_new_repository_moves_no_old_file(source, prepare, tmp_path, monkeypatch):
    monkeypatch.setattr(split_module, "SMALL", 0)  # as if these were many files
    other = [dataclasses.replace(d, content=kotlin_file(n + 500)) for n, d in enumerate(documents(repository="me/two"))]
    write_jsonl(tmp_path / "more.jsonl", other)
    shares = ("--test_share", 0.2, "--validation_share", 0.2)
    before = {pair.id: split for split, pairs in pairs_of(prepare(source, *shares)).items() for pair in pairs}
    after = pairs_of(prepare([tmp_path / "more.jsonl", source], *shares, output="both"))
    moved = {pair.id: split for split, pairs in after.items() for pair in pairs if pair.repository == "me/one"}
    assert moved == before
    assert any(pair.repository == "me/two" for pair in after["train"])


@pytest.mark.parametrize("split_by", ["repository", "directory"])
def test_a_unit_is_in_one_split(prepare, tmp_path, split_by):
    files = [d for n in range(5) for d in documents(12, repository=f"me/r{n}")]
    files = [dataclasses.replace(d, content=kotlin_file(n)) for n, d in enumerate(files)]
    write_jsonl(tmp_path / "documents.jsonl", files)
    output = prepare(tmp_path / "documents.jsonl", "--split_by", split_by, "--test_share", 0.3)
    found = {}
    for split, pairs in pairs_of(output).items():
        assert pairs
        for pair in pairs:
            unit = pair.repository if split_by == "repository" else f"{pair.repository}/{Path(pair.path).parent}"
            assert found.setdefault(unit, split) == split


def test_languages_and_parquet(source, prepare, tmp_path):
    from codefit.sources.journal import write_parquet

    mixed = [*documents(), *(Document(f"value_{n} = {n}\n" * 9, f"f{n}.py", "me/one") for n in range(5))]
    write_parquet(tmp_path / "documents.parquet", mixed, 512)
    output = prepare(tmp_path / "documents.parquet", "--language", "kotlin")
    assert {pair.language for pairs in pairs_of(output).values() for pair in pairs} == {"kotlin"}
    assert manifest_of(output)["rejections"] == {"other language": 5}


def test_the_summary_tells_what_happened(source, prepare, capsys):
    output = prepare(source)
    printed = capsys.readouterr().out
    assert "rejected because" in printed
    assert "src/much/deeper/Copy.kt" in printed
    assert "natural ends" in printed
    assert "cut points without a pair: " in printed
    total = 60 + len(EXTRA)
    kept = manifest_of(output)["documents_kept"]
    assert f"wrote {output}: {total} documents in = {kept} kept + {total - kept} rejected" in printed


def test_a_dry_run_writes_nothing(source, prepare, capsys, tmp_path):
    output = prepare(source, "--dry_run")
    printed = capsys.readouterr().out
    assert f"{source}: 0.2 MB" in printed
    assert "would build pairs of the task completion, counted with the tokenizer of" in printed
    assert not output.exists()
    prepare("JetBrains/KStack", "--dry_run")
    assert "JetBrains/KStack: a Hub data set" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"none.jsonl does not exist; run parse_data.py first"):
        prepare(tmp_path / "none.jsonl", "--dry_run")


def test_the_output_is_pushed_after_it_was_saved(source, prepare, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(push, "check_repository", lambda name, kind, private: calls.append((name, kind)))
    monkeypatch.setattr(
        push, "push_dataset", lambda folder, name, private: calls.append((sorted(data_of(folder)), name)) or "URL"
    )
    prepare(source, "--hf_repository", "me/pairs")
    files = ["documents.jsonl", "rejected.jsonl", "test.jsonl", "train.jsonl", "validation.jsonl"]
    assert calls == [("me/pairs", "dataset"), (files, "me/pairs")]
    assert "pushed to URL" in capsys.readouterr().out


def test_neither_stage_imports_torch(source, vocabulary, tmp_path):
    code = (
        "import sys, preprocess_data\n"
        f"preprocess_data.main(['--input', {str(source)!r}, '--output', {str(tmp_path / 'out')!r},"
        f" '--model_name_or_path', {str(vocabulary)!r}])\n"
        f"preprocess_data.main(['--output', {str(tmp_path / 'out')!r}, '--verify'])\n"
        "import parse_data\n"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=SCRIPT.parent, check=True, capture_output=True)


# --------------------------------------------------------------------------------------------- problems


def test_outputs_need_overwrite_and_other_folders_are_never_replaced(source, prepare, tmp_path):
    output = prepare(source)
    with pytest.raises(UserError, match="already exists and is complete; add --overwrite"):
        prepare(source, "--seed", "7")
    prepare(source, "--overwrite")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="mine was not written by codefit and is not replaced; choose another"):
        prepare(source, "--overwrite", output="mine")
    assert (mine / "thesis.txt").read_text() == "precious"
    assert output.is_dir()


@pytest.mark.parametrize(
    ("files", "words", "message"),
    [
        (documents(2), [], "2 units cannot make three splits; give more files, or a smaller unit with --split_by"),
        ([], [], r"nothing is left to train on \(there were none\); give more files"),
        (documents(), ["--split_by", "repository"], "1 unit cannot make three splits"),
        (
            [Document(f"a{n}\n", f"{n}.kt") for n in range(9)],
            ["--profile", "light"],
            r"nothing is left to train on \(there were none\)",
        ),
        (
            [Document(f"a{n}\n", f"{n}.kt") for n in range(9)],
            [],
            r"nothing is left to train on \(too few characters: 9\); give more files, or try --profile light",
        ),
    ],
)
def test_too_little_input_is_one_sentence(prepare, tmp_path, files, words, message):
    write_jsonl(tmp_path / "documents.jsonl", files)
    with pytest.raises(UserError, match=message):
        prepare(tmp_path / "documents.jsonl", *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{\n", r"documents.jsonl:1: not valid JSON"),
        ('{"path": "a.kt"}\n', r'documents.jsonl:1: the field "content" of a Document is missing'),
    ],
)
def test_a_broken_input_names_its_line(prepare, tmp_path, text, message):
    (tmp_path / "documents.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        prepare(tmp_path / "documents.jsonl")
    with pytest.raises(UserError, match=r"cannot read .*none.jsonl: No such file"):
        prepare(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ('{"n_positions": 575}', 575),
        ('{"text_config": {"max_position_embeddings": 100}}', 100),
        ('{"n_positions": 576}', None),
        ("[]", None),
    ],
)
def test_prompts_that_the_model_cannot_read_are_refused(source, prepare, vocabulary, tmp_path, config, context):
    shutil.copytree(vocabulary, tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(config)
    words = ["--model_name_or_path", tmp_path / "model", "--task", "line"]
    with (
        pytest.raises(UserError, match=f"model can read {context} tokens, too few for prompts of 512 and")
        if context
        else nullcontext()
    ):
        preprocess_data.main(["--input", str(source), "--output", str(tmp_path / "x"), *map(str, words)])
    assert (tmp_path / "x").exists() == (context is None)


def test_prompts_leave_room_for_the_first_token_that_the_tokenizer_adds(source, vocabulary, tmp_path):
    backend = tokenizers.Tokenizer.from_file(str(vocabulary / "tokenizer.json"))
    backend.add_special_tokens(["<s>", "</s>"])
    first = [("<s>", backend.token_to_id("<s>"))]
    backend.post_processor = tokenizers.processors.TemplateProcessing("<s> $A", "<s> $A $B", first)
    backend.save(str(tmp_path / "tokenizer.json"))
    words = ["--max_prompt_tokens", 40, "--model_name_or_path", tmp_path, "--output", tmp_path / "out"]
    preprocess_data.main(["--input", str(source), *map(str, words)])
    prompts = [len(backend.encode(pair.prompt).ids) for pair in read_jsonl(tmp_path / "out" / "train.jsonl", Pair)]
    # a few begin within a word, whose parts are more tokens, and are longer
    assert prompts.count(40) > len(prompts) / 2
    assert manifest_of(tmp_path / "out")["arguments"]["max_prompt_tokens"] == 40


@pytest.mark.parametrize(
    "words",
    [
        ["--task", "poem"],
        ["--test_share", "0.9"],
        ["--window_step", "0"],
        ["--inptu", "x"],
        ["--keep_matching", "("],
        ["--without_docstring"],
        ["--check_docstrings"],
    ],
)
def test_wrong_arguments_exit_with_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        preprocess_data.main(words)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
def test_a_killed_run_leaves_no_output_and_the_next_one_is_the_same(
    source, prepare, vocabulary, tmp_path, monkeypatch, share
):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])  # only the script that wrote a folder may replace it
    words = ["--input", str(source), "--model_name_or_path", str(vocabulary), "--output", str(tmp_path / "killed")]
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    partial = outputs.partial(tmp_path / "killed")
    while not partial.exists() and process.poll() is None and time.monotonic() - started < 20:
        time.sleep(0.005)
    time.sleep(share * 0.3)
    os.kill(process.pid, signal.SIGKILL)
    if process.wait() == -signal.SIGKILL:
        prepare(source, *(["--overwrite"] if (tmp_path / "killed").exists() else []), output="killed")
    assert data_of(tmp_path / "killed") == data_of(prepare(source))
    assert not partial.exists()
