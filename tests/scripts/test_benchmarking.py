"""The whole benchmark on tiny models: what it writes, that it repeats, and how it fails."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest
import torch
import transformers

import benchmarking
from codefit import outputs, records
from codefit.errors import UserError
from codefit.evaluation.benchmarks import codexglue
from codefit.evaluation.result_schema import plain
from codefit.manifest import MANIFEST, ROOT, read_manifest, sha256
from codefit.records import Prediction
from tests.support.benchmark import PAIRS, new_tokenizer, predictions, run, same_files, scores

pytestmark = pytest.mark.usefixtures("same_arithmetic")


def test_the_folder_holds_everything(finished, made):
    assert (finished / "loss.png").read_bytes() == (made / "adapter" / "loss.png").read_bytes()
    assert sorted(path.name for path in finished.iterdir()) == [
        "baselines-heldout.jsonl",
        "loss.png",
        "manifest.json",
        "predictions-adapted-heldout.jsonl",
        "predictions-base-heldout.jsonl",
        "report.html",
        "report.md",
        "scores.json",
        "scores.png",
    ]


def test_predictions_are_those_of_the_two_models(finished, made):
    base, adapted = predictions(finished, "base"), predictions(finished, "adapted")
    for items in (base, adapted):
        assert [(item.id, item.prompt, item.reference, item.path) for item in items] == [
            (pair.id, pair.prompt, pair.completion, pair.path) for pair in PAIRS
        ]
        assert [item.reference_finish_reason for item in items] == [pair.finish_reason for pair in PAIRS]
    tokenizer = new_tokenizer()
    for role, folder in (("base", "base"), ("adapted", "merged")):
        model = transformers.AutoModelForCausalLM.from_pretrained(made / folder)
        for pair, item in zip(PAIRS, predictions(finished, role), strict=True):
            ids = tokenizer(pair.prompt, return_tensors="pt").input_ids[:, -40:]
            written = model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=256)[0, ids.shape[1] :]
            assert item.prediction == tokenizer.decode(written, skip_special_tokens=True)
            assert item.finish_reason == ("stop" if 256 in written else "length")
    assert [item.prediction for item in base] != [item.prediction for item in adapted]


def test_items_carry_their_scores_and_nats(finished):
    for item, pair in zip(predictions(finished, "base"), PAIRS, strict=True):
        assert item.scores["tokens"] == len(pair.completion)  # a token per byte
        assert item.scores["nats"] > 1
        assert {"edit_similarity", "exact_match", "next_line", "bleu", "chrf"} < item.scores.keys()


def test_scores_have_intervals_signatures_and_verdicts(finished, made):
    content = scores(finished)
    assert content["models"]["base"] == {"name": str(made / "base"), "label": "base", "role": "base"}
    assert content["models"]["adapted"]["kind"] == "adapter"
    benchmark = content["benchmarks"]["heldout"]
    assert (benchmark["n"], benchmark["files"]) == (12, 6)
    names = [row["metric"] for row in benchmark["metrics"]]
    assert names[:4] == ["edit_similarity_cut", "accepted", "edit_similarity", "exact_match"]
    assert names[4:] == ["next_line", "bleu", "chrf", "perplexity", "bits_per_byte"]
    for row in benchmark["metrics"]:
        for role in ("base", "adapted"):
            found = row["scores"][role]
            assert found["low"] - 1e-9 <= found["value"] <= found["high"] + 1e-9
        values = {role: row["scores"][role]["value"] for role in ("base", "adapted")}
        against = row["against_base"]["adapted"]
        assert against["value"] == pytest.approx(values["adapted"] - values["base"])
        assert against["verdict"] == "too few"  # 12 prompts
        assert row["signature"].startswith(row["metric"])
    items = predictions(finished, "adapted")
    nats, tokens = (sum(item.scores[key] for item in items) for key in ("nats", "tokens"))
    assert benchmark["metrics"][7]["scores"]["adapted"]["value"] == pytest.approx(2.718281828459045 ** (nats / tokens))


def test_manifest_says_what_was_asked(finished, made):
    manifest = read_manifest(finished)
    assert manifest["dataset"] == str(made / "data")
    read = [made / "data" / f"{split}.jsonl" for split in ("test", "train")]
    assert manifest["inputs"] == {str(path): sha256(path) for path in read}
    assert manifest["cut_prompts"] == {"heldout": sum(len(pair.prompt) > 40 for pair in PAIRS)}
    assert manifest["cut_prompts"]["heldout"] > 0


def test_the_same_command_gives_the_same_bytes(finished, made, tmp_path):
    run(made, tmp_path / "again")
    run(made, tmp_path / "anew", "--no_cache")
    for name in ("again", "anew"):
        assert same_files(finished, tmp_path / name) == ["manifest.json"]


def test_predictions_do_not_depend_on_the_batches(finished, made, tmp_path):
    run(made, tmp_path / "other", "--tokens_per_batch", "5000")
    for role in ("base", "adapted"):
        ours, theirs = predictions(finished, role), predictions(tmp_path / "other", role)
        assert [item.prediction for item in ours] == [item.prediction for item in theirs]
        nats = [item.scores["nats"] for item in theirs]
        assert [item.scores["nats"] for item in ours] == pytest.approx(nats, rel=1e-4)


def test_the_signature_names_the_seed_of_sampled_predictions(finished, made, tmp_path):
    flags = ("--temperature", "0.9", "--top_p", "0.95", "--generation_seed")
    for name, seed in (("one", "1"), ("again", "1"), ("two", "2")):
        run(made, tmp_path / name, *flags, seed)
    one, again, two = ([item.prediction for item in predictions(tmp_path / n, "base")] for n in ("one", "again", "two"))
    assert one == again
    assert one != two
    assert one != [item.prediction for item in predictions(finished, "base")]
    assert "decode:t0.9,p0.95,seed2" in (tmp_path / "two" / "scores.json").read_text()
    assert "decode:greedy" in (finished / "scores.json").read_text()


def test_a_merged_model_is_compared_with_its_base(finished, made, tmp_path):
    run(made, tmp_path / "merged", model="merged")
    assert not (tmp_path / "merged" / "loss.png").exists()  # this merged model came without one
    for role in ("base", "adapted"):
        assert [item.prediction for item in predictions(tmp_path / "merged", role)] == [
            item.prediction for item in predictions(finished, role)
        ]


@pytest.mark.usefixtures("drawn")  # as the other process does
def test_rescoring_gives_the_same_results_without_torch(finished, made, tmp_path):
    run(made, tmp_path / "seeded", "--seed", "7")
    output = tmp_path / "copy"
    output.mkdir()
    for path in (tmp_path / "seeded").iterdir():
        (output / path.name).write_bytes(path.read_bytes())
    (output / "scores.json").unlink()
    script = "import sys, benchmarking; benchmarking.main(sys.argv[1:]); print('torch' in sys.modules)"
    command = [sys.executable, "-c", script, "--rescore", "--output_dir", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.endswith("False\n")
    assert same_files(tmp_path / "seeded", output) == ["manifest.json"]
    assert read_manifest(output)["predicted_by"] == read_manifest(tmp_path / "seeded")
    benchmarking.main(["--rescore", "--output_dir", str(output)])  # and once more
    assert same_files(tmp_path / "seeded", output) == ["manifest.json"]


def test_a_benchmark_of_names_has_a_page_of_errors(finished, tmp_path, capsys):
    for path in finished.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for path in tmp_path.glob("predictions-*.jsonl"):
        items = [dataclasses.replace(item, task="naming") for item in records.read_jsonl(path, Prediction)]
        records.write_jsonl(path, items)
    made = json.loads((tmp_path / MANIFEST).read_text())
    made.pop("answered")  # the checksums of the predictions before this change
    (tmp_path / MANIFEST).write_text(json.dumps(made))
    assert not (tmp_path / "naming-errors-heldout.md").exists()
    benchmarking.main(["--rescore", "--output_dir", str(tmp_path)])
    page = (tmp_path / "naming-errors-heldout.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## base", "## adapted"]
    assert capsys.readouterr().out.endswith(f"errors: {tmp_path / 'naming-errors-heldout.md'}\n")


def test_the_terminal_shows_every_metric_in_100_columns(made, tmp_path, capsys):
    run(made, tmp_path / "out")
    shown = capsys.readouterr().out
    for word in ("Edit similarity", "Exact match", "Next line", "BLEU", "chrF", "Perplexity", "stops by itself"):
        assert word in shown
    assert max(len(line) for line in shown.split("Held-out code")[1].split("report:")[0].splitlines()) <= 100
    assert str(tmp_path / "out" / "report.html") in shown


def test_a_sample_is_seeded_and_keeps_the_order(made, tmp_path, capsys):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        run(made, tmp_path / name, "--sample", "5", "--seed", seed)
    ids = {name: [item.id for item in predictions(tmp_path / name, "base")] for name in "abc"}
    assert ids["a"] == ids["b"] != ids["c"]
    assert [int(name[1:]) for name in ids["a"]] == sorted(int(name[1:]) for name in ids["a"])
    assert "a sample of 5 of 12 prompts" in capsys.readouterr().out


def test_a_sample_that_is_larger_than_the_set_takes_all(made, tmp_path, capsys):
    run(made, tmp_path / "out", "--sample", "13", "--dry_run")
    assert "heldout: all 12 prompts" in capsys.readouterr().out


def test_dry_run_says_what_would_happen_and_does_nothing(made, tmp_path, capsys):
    run(made, tmp_path / "out", "--dry_run")
    shown = capsys.readouterr().out
    assert str(made / "base") in shown
    assert f"{made / 'adapter'} (adapter)" in shown
    assert "12 prompts (6 cut on the left), batches for each model: 3" in shown
    assert list(tmp_path.iterdir()) == []


def test_dry_run_of_a_rescoring_changes_nothing(finished, capsys):
    before = {path: path.read_bytes() for path in finished.iterdir()}
    benchmarking.main(["--rescore", "--dry_run", "--output_dir", str(finished)])
    assert f"would score again: heldout in {finished}" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in finished.iterdir()} == before


METHOD = {
    "signature": "def half ( x ) :",
    "docstring": "Return half of x.",
    "body": "if not x : <EOL> <INDENT> return <NUM_LIT> <EOL> <DEDENT> return x / <NUM_LIT:2>",
}


def test_codexglue_is_scored_both_ways(made, tmp_path, monkeypatch, capsys):
    rows = [{**METHOD, "id": f"f{number // 2}:m{number}"} for number in range(4)]
    (tmp_path / "methods.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(codexglue, "LOCAL", tmp_path / "methods.jsonl")
    monkeypatch.setattr(codexglue, "NEW_TOKENS", 20)
    run(made, tmp_path / "out", "--benchmark", "heldout", "codexglue")
    found = scores(tmp_path / "out")["benchmarks"]
    assert list(found) == ["heldout", "codexglue"]
    items = predictions(tmp_path / "out", "adapted", "codexglue")
    assert items[0].reference == "    if not x :\n        return 0\n    return x / 2"
    written, bodies = [item.prediction for item in items], [item.reference for item in items]
    assert found["codexglue"]["compat"]["adapted"] == plain(codexglue.scores(written, bodies))
    assert (found["codexglue"]["n"], found["codexglue"]["files"]) == (4, 1)
    assert re.search(r"CodeXGLUE +base +adapted\n", capsys.readouterr().out)


# ------------------------------------------------------------------------------------------- errors


def test_a_model_to_measure_is_needed(capsys):
    with pytest.raises(SystemExit) as error:
        benchmarking.main([])
    assert error.value.code == 2
    assert "--hf_repository is needed" in capsys.readouterr().err


def fails(made, output, words, *flags, model="adapter"):
    with pytest.raises(UserError, match=words):
        run(made, output, *flags, model=model)
    assert not output.exists()
    assert not outputs.partial(output).exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--dataset", "no/such/data"], "is not a prepared data set"),
        (["--split", "test_overlap"], "no split 'test_overlap'"),
        (["--max_prompt_tokens", "300"], "context window of 256 tokens.*set --max_prompt_tokens to at most 248"),
        (["--model_name_or_path", "no/such/base"], "no/such/base is neither a local folder nor readable on the Hub"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(made, tmp_path, flags, words):
    fails(made, tmp_path / "out", words, *flags)


def test_a_missing_adapted_model_is_one_sentence(made, tmp_path):
    fails(made, tmp_path / "out", "neither a local folder nor readable on the Hub", model="no/such/model")


def test_a_merged_model_without_a_known_base_is_one_sentence(made, tmp_path):
    (tmp_path / "merged").mkdir()
    for path in (made / "merged").iterdir():
        if path.name != MANIFEST:
            (tmp_path / "merged" / path.name).symlink_to(path)
    fails(tmp_path, tmp_path / "out", "give it with --model_name_or_path", model="merged")


def test_an_output_that_is_there_is_kept(finished, made):
    before = {path: path.read_bytes() for path in finished.iterdir()}
    with pytest.raises(UserError, match="add --overwrite"):
        run(made, finished, "--seed", "3")
    run(made, finished)  # the same command has nothing to do
    assert {path: path.read_bytes() for path in finished.iterdir()} == before


def test_no_pairs_are_one_sentence(made, tmp_path):
    (tmp_path / "train.jsonl").write_text("")
    (tmp_path / "test.jsonl").write_text("")
    fails(made, tmp_path / "out", "has no pairs", "--dataset", str(tmp_path))


def test_an_out_of_memory_error_names_the_flag(made, tmp_path, monkeypatch):
    def out_of_memory(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("codefit.generation.batched.generate", out_of_memory)
    fails(made, tmp_path / "out", "a batch of 200 tokens does not fit into GPU memory; halve --tokens_per_batch")


def test_rescore_needs_predictions(tmp_path):
    with pytest.raises(UserError, match="no finished benchmark; run one"):
        benchmarking.main(["--rescore", "--output_dir", str(tmp_path)])


@pytest.mark.parametrize("harm", ["missing", "shorter", "other ids"])
def test_rescore_refuses_files_about_different_items(finished, tmp_path, harm):
    for path in finished.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    file = tmp_path / "predictions-adapted-heldout.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    if harm == "missing":
        file.unlink()
    else:
        file.write_text("".join(lines[1:] if harm == "shorter" else [*lines[1:], lines[0]]))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=r"cannot read|do not hold the same items"):
        benchmarking.main(["--rescore", "--output_dir", str(tmp_path)])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
