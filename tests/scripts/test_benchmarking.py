"""The whole benchmark on tiny models: what it writes, that it repeats, and how it fails."""

import dataclasses
import json
import re
import subprocess
import sys

import peft
import pytest
import tokenizers
import torch
import transformers

import benchmarking
from codefit import outputs, records
from codefit.errors import UserError
from codefit.evaluation.benchmarks import codexglue
from codefit.manifest import MANIFEST, ROOT, read_manifest, sha256
from codefit.modeling import hardware
from codefit.records import Pair, Prediction
from codefit.training import plots

EOS = "<|endoftext|>"
CODE = [
    ("fun add(a: Int, b: Int): Int {\n    return ", "a + b\n", "stop"),
    ("val names = listOf(", '"x", "y")\n', "stop"),
    ("class Point(val x: Int) {\n    override fun toString() = ", '"Point($x)"\n', "stop"),
    ("for (item in items) {\n", "    println(item)\n    total += item", "length"),
]
PAIRS = [
    Pair(f"p{n}", "completion", f"// file {n}\n{prompt}", completion, reason, path=f"src/File{n // 2}.kt")
    for n, (prompt, completion, reason) in enumerate(CODE * 3)
]

TRAIN = [
    Pair(
        f"t{n}", "completion", f"// old {n}\n{prompt.replace('item', 'thing')}", f"old_{completion}", path="src/Old.kt"
    )
    for n, (prompt, completion, _) in enumerate(CODE * 2)
]


def new_tokenizer():
    """Return a tokenizer with a token per byte."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS)


def write_manifest(folder, **facts):
    (folder / MANIFEST).write_text(json.dumps({"arguments": {}, **facts}))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a data set, a base, an adapter with random weights, and both merged."""
    root = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, bos_token_id=None, eos_token_id=256, initializer_range=0.3,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(root / "base")
    (root / "data").mkdir()
    records.write_jsonl(root / "data" / "train.jsonl", TRAIN)
    records.write_jsonl(root / "data" / "test.jsonl", PAIRS)
    lora = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model, lora)
    adapted.peft_config["default"].base_model_name_or_path = str(root / "base")
    adapted.save_pretrained(root / "adapter")
    write_manifest(root / "adapter", dataset=str(root / "data"), load_in_4bit=False)
    plots.loss_curve([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], root / "adapter" / "loss.png")
    adapted.merge_and_unload().save_pretrained(root / "merged")
    write_manifest(root / "merged", dataset=str(root / "data"), base_model=str(root / "base"))
    for name in ("base", "adapter", "merged"):
        new_tokenizer().save_pretrained(root / name)
    return root


@pytest.fixture(autouse=True)
def same_arithmetic(monkeypatch):
    """Adapter and merged model agree to the last token in float32 only."""
    monkeypatch.setattr(hardware, "compute_dtype", lambda: torch.float32)
    monkeypatch.setattr(hardware, "device", lambda: torch.device("cpu"))


def run(made, output, *flags, model="adapter"):
    shared = ["--hf_repository", str(made / model), "--output_dir", str(output), "--max_new_tokens", "8"]
    benchmarking.main([*shared, "--max_prompt_tokens", "40", "--tokens_per_batch", "200", *flags])


@pytest.fixture(scope="module")
def finished(made, tmp_path_factory):
    """A folder of a finished benchmark of the adapter. Read it only."""
    output = tmp_path_factory.mktemp("finished") / "benchmark"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "compute_dtype", lambda: torch.float32)
        patch.setattr(hardware, "device", lambda: torch.device("cpu"))
        run(made, output)
    return output


def predictions(folder, role, benchmark="heldout"):
    return list(records.read_jsonl(folder / f"predictions-{role}-{benchmark}.jsonl", Prediction))


def scores(folder):
    return json.loads((folder / "scores.json").read_text())


def same_files(one, other):
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    return [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]


def test_the_folder_holds_everything(finished, made):
    assert (finished / "loss.png").read_bytes() == (made / "adapter" / "loss.png").read_bytes()
    assert sorted(path.name for path in finished.iterdir()) == [
        "baselines-heldout.jsonl", "loss.png", "manifest.json",
        "predictions-adapted-heldout.jsonl", "predictions-base-heldout.jsonl",
        "report.html", "report.md", "scores.json", "scores.png",
    ]  # fmt: skip


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
    assert content["models"]["base"] == {"name": str(made / "base"), "revision": None, "label": "base"}
    assert content["models"]["adapted"]["kind"] == "adapter"
    found = content["benchmarks"]["heldout"]
    assert (found["n"], found["files"]) == (12, 6)
    names = [row["metric"] for row in found["metrics"]]
    assert names == ["edit_similarity", "exact_match", "next_line", "bleu", "chrf", "perplexity", "bits_per_byte"]
    for row in found["metrics"]:
        for role in ("base", "adapted"):
            assert row[role]["low"] <= row[role]["value"] <= row[role]["high"]
        assert row["difference"]["value"] == pytest.approx(row["adapted"]["value"] - row["base"]["value"])
        assert row["verdict"] in {"better", "worse", "not resolved"}
        assert row["signature"].startswith(row["metric"])
    items = predictions(finished, "adapted")
    nats, tokens = (sum(item.scores[key] for item in items) for key in ("nats", "tokens"))
    assert found["metrics"][5]["adapted"]["value"] == pytest.approx(2.718281828459045 ** (nats / tokens))


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


def test_drawn_predictions_have_a_seed_that_the_signature_names(finished, made, tmp_path):
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
    assert f"would score heldout in {finished} anew" in capsys.readouterr().out
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
    written, bodies = [item.prediction for item in items], [METHOD["body"]] * 4
    assert found["codexglue"]["compat"]["adapted"] == codexglue.scores(written, bodies)  # also on the raw bodies
    assert (found["codexglue"]["n"], found["codexglue"]["files"]) == (4, 2)
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
        (["--max_prompt_tokens", "300"], "reads 256 tokens.*set --max_prompt_tokens to at most 248"),
        (["--model_name_or_path", "no/such/base"], "cannot load the tokenizer no/such/base"),
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
        run(made, finished)
    assert {path: path.read_bytes() for path in finished.iterdir()} == before


def test_no_pairs_are_one_sentence(made, tmp_path):
    (tmp_path / "train.jsonl").write_text("")
    (tmp_path / "test.jsonl").write_text("")
    fails(made, tmp_path / "out", "has no pairs", "--dataset", str(tmp_path))


def test_too_little_memory_names_the_flag(made, tmp_path, monkeypatch):
    def out_of_memory(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("codefit.generation.batched.generate", out_of_memory)
    fails(made, tmp_path / "out", "a batch of 200 tokens does not fit into the GPU; halve --tokens_per_batch")


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
