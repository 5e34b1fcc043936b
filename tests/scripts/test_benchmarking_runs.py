"""Whole runs with several models, examples and a forgetting check; and two runs side by side."""

import json
import shutil

import pytest
import torch

import benchmarking
from codefit import records
from codefit.errors import UserError
from codefit.evaluation import contenders
from codefit.manifest import MANIFEST, ROOT, read_manifest
from codefit.modeling import hardware
from tests.support.benchmark import PAIRS, predictions, run, same_files, scores

pytestmark = pytest.mark.usefixtures("same_arithmetic")


@pytest.fixture(scope="module")
def several(made, tmp_path_factory):
    """A folder of a finished benchmark of adapter, merged model and two-shot base, with a forgetting check."""
    output = tmp_path_factory.mktemp("several") / "benchmark"
    records.write_jsonl(output.parent / "other.jsonl", PAIRS[:4])
    command = ["--hf_repository", str(made / "adapter"), str(made / "merged"), "--output_dir", str(output)]
    command += ["--few_shot", "2", "--forgetting", str(output.parent / "other.jsonl")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "compute_dtype", lambda: torch.float32)
        patch.setattr(hardware, "device", lambda: torch.device("cpu"))
        benchmarking.main([*command, "--max_new_tokens", "8", "--max_prompt_tokens", "40"])
    return output


def test_base_adapter_merged_and_few_shot_share_a_table(several):
    content = scores(several)
    labels = {role: model["label"] for role, model in content["models"].items()}
    assert labels == {"base": "base", "adapted": "adapter", "adapted-2": "merged", "few-shot": "2-shot base"}
    assert list(content["benchmarks"]) == ["heldout", "forgetting"]
    row = content["benchmarks"]["heldout"]["metrics"][0]
    assert row["scores"].keys() == labels.keys()
    assert row["against_base"].keys() == {"adapted", "adapted-2", "few-shot"}
    written = {role: [item.prediction for item in predictions(several, role)] for role in labels}
    assert written["adapted"] == written["adapted-2"]  # the merged model is the adapter, in another form
    assert written["few-shot"] != written["base"]
    assert [item.prompt for item in predictions(several, "few-shot")] == [pair.prompt for pair in PAIRS]


def test_forgetting_has_a_verdict_of_its_own(several):
    found = scores(several)["benchmarks"]
    assert found["forgetting"]["forgetting"]["verdict"] == "cannot tell"  # few prompts
    assert "forgetting" not in found["heldout"]


def test_several_models_are_rescored_to_the_same_bytes(several, tmp_path):
    shutil.copytree(several, tmp_path / "copy")
    benchmarking.main(["--rescore", "--output_dir", str(tmp_path / "copy")])
    assert same_files(several, tmp_path / "copy") == ["manifest.json"]


def test_the_answers_of_the_baselines_are_stored(finished):
    rows = [row for _, row in records.read_rows(finished / "baselines-heldout.jsonl")]
    assert [row["id"] for row in rows] == [pair.id for pair in PAIRS]
    assert [row["references"] for row in rows] == [
        pair.completion for pair in PAIRS
    ]  # as the tokenizer gives them back
    assert {row["nearest"][:4] for row in rows} == {"old_"}


@pytest.mark.parametrize("there", [True, False])
def test_what_training_replayed_is_the_forgetting_check(made, tmp_path, there, capsys):
    replay = tmp_path / "replay"
    shutil.copytree(made / "data", replay)
    shutil.copytree(made / "adapter", tmp_path / "adapter")
    facts = {"arguments": {}, "dataset": str(made / "data"), "load_in_4bit": False, "replay": str(replay)}
    (tmp_path / "adapter" / MANIFEST).write_text(json.dumps(facts))
    if not there:
        (replay / "test.jsonl").unlink()
    run(tmp_path, tmp_path / "out", "--dry_run")
    shown = capsys.readouterr().out
    assert ("forgetting: all 12 prompts" in shown) == there
    assert (f"note: {replay}, replayed in training, has no test.jsonl, so forgetting is not checked" in shown) != there


# ------------------------------------------------------------------------------------------- side by side


def compare(first, second, output, *flags):
    benchmarking.main(["--compare", str(first), str(second), "--output_dir", str(output), *flags])


def test_two_runs_are_compared_on_the_same_prompts(finished, several, tmp_path, capsys):
    compare(finished, several, tmp_path / "out")
    content = scores(tmp_path / "out")
    assert list(content["benchmarks"]) == ["heldout"]
    assert {role: model["label"] for role, model in content["models"].items()} == {"base": "first", "adapted": "second"}
    assert (
        content["benchmarks"]["heldout"]["metrics"][0]["against_base"]["adapted"]["value"] == 0
    )  # the same adapter twice
    assert predictions(tmp_path / "out", "base") == predictions(finished, "adapted")
    assert "whether the second model is better" in (tmp_path / "out" / "report.md").read_text()
    benchmarking.main(["--rescore", "--output_dir", str(tmp_path / "out")])
    assert scores(tmp_path / "out") == content


def test_a_dry_run_of_a_comparison_writes_nothing(finished, several, tmp_path, capsys):
    compare(finished, several, tmp_path / "out", "--dry_run")
    assert f"would compare {finished} and {several} on heldout" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_runs_on_different_prompts_are_refused(finished, made, tmp_path):
    run(made, tmp_path / "sampled", "--sample", "5")
    with pytest.raises(UserError, match=r"not have the same prompts of heldout \(12 and 5, 5 in both\); run one again"):
        compare(finished, tmp_path / "sampled", tmp_path / "out")
    with pytest.raises(UserError, match="holds no finished benchmark; run one with this --output_dir first"):
        compare(finished, tmp_path / "nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["out/one/adapter", "out/two/adapter"], ["one", "two"]),
        (["out/lora", "out/qlora"], ["lora", "qlora"]),
        (["a/x/1", "a/y/2", "a/y/1"], ["x/1", "y/2", "y/1"]),
        (["out/lora", "me/project/lora"], ["out/lora", "me/project"]),
    ],
)
def test_labels_of_models_differ(names, labels, made, tmp_path, monkeypatch):
    for name in names:
        shutil.copytree(made / "adapter", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    words = ["--hf_repository", *names, "--model_name_or_path", str(ROOT / "data" / "base")]
    asked = benchmarking.Request.of(benchmarking.build_parser().parse_args(words)).settings
    _, *adapted = contenders.resolve(asked).models.values()
    assert [model.label for model in adapted] == labels


def test_models_of_different_bases_are_refused(made, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(made / "merged", other)
    (other / MANIFEST).write_text(json.dumps({"arguments": {}, "base_model": "another/base"}))
    with pytest.raises(UserError, match=r"have different bases \(.*another/base.*compare the runs with --compare"):
        benchmarking.main(["--hf_repository", str(made / "adapter"), str(other), "--output_dir", str(tmp_path / "out")])


def test_an_unknown_benchmark_is_named(capsys):
    with pytest.raises(SystemExit) as error:
        benchmarking.main(["--hf_repository", "x", "--benchmark", "nonesuch"])
    assert error.value.code == 2
    assert "--benchmark nonesuch: choose from heldout, codexglue" in capsys.readouterr().err


def test_examples_need_training_data(made, tmp_path):
    records.write_jsonl(tmp_path / "mine.jsonl", PAIRS[:3])
    flags = ["--benchmark", str(tmp_path / "mine.jsonl"), "--dataset", str(tmp_path), "--few_shot", "1"]
    with pytest.raises(UserError, match=r"--few_shot needs examples from .*train.jsonl, which does not exist"):
        run(made, tmp_path / "out", *flags)


def test_a_file_of_pairs_is_a_benchmark(made, tmp_path, capsys):
    records.write_jsonl(tmp_path / "mine.jsonl", PAIRS[:3])
    run(made, tmp_path / "out", "--benchmark", str(tmp_path / "mine.jsonl"), "--dataset", str(tmp_path))
    assert scores(tmp_path / "out")["benchmarks"]["mine"]["title"] == "mine.jsonl"
    assert "no look-up baseline and no leak check" in capsys.readouterr().out


def test_a_tokenizer_that_loses_text_is_refused(made, tmp_path, monkeypatch):
    from codefit.encoding import Encoder

    monkeypatch.setattr(Encoder, "decode", lambda self, ids: "lost")
    with pytest.raises(
        UserError, match=r"the references score only .* in edit similarity, and no model could score more"
    ):
        run(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------- generation settings


def test_signatures_and_manifest_say_how_the_models_were_asked(several):
    found = read_manifest(several)["benchmarks"]["heldout"]["decoding"]
    assert found["base"] | {"by": "transformers"} == {
        "decode": "greedy",
        "stop": "end",
        "new": "8",
        "prompt": "40",
        "by": "transformers",
        "dtype": "float32",
        "device": "cpu",
        "flips": "0/8",
    }
    version = found["base"]["by"]
    assert found["few-shot"] == {**found["base"], "prompt": "120"}
    how = f"|decode:greedy|stop:end|new:8|prompt:40,40,40,120|by:{version}|dtype:float32|device:cpu|flips:0/8"
    rows = scores(several)["benchmarks"]["heldout"]["metrics"]
    assert all(row["signature"].endswith(how) for row in rows)
    assert f"Generation settings: `{how[1:]}`" in (several / "report.md").read_text()
    assert "different settings" not in (several / "report.md").read_text()


def test_different_generation_settings_are_a_finding(finished, made, tmp_path):
    run(made, tmp_path / "longer", "--max_new_tokens", "9")
    with pytest.raises(UserError, match=r"different settings \(new 8 and new 9\).*add --allow_different"):
        compare(finished, tmp_path / "longer", tmp_path / "out")
    compare(finished, tmp_path / "longer", tmp_path / "out", "--allow_different")
    sentence = "The two models used different settings (new 8 and new 9): part of any difference may come"
    assert scores(tmp_path / "out")["benchmarks"]["heldout"]["findings"][0].startswith(sentence)
    assert sentence.lower() in (tmp_path / "out" / "report.md").read_text().lower()


def test_unknown_generation_settings_are_left_out_of_signatures(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "old")
    manifest = read_manifest(tmp_path / "old")
    del manifest["benchmarks"]["heldout"]["decoding"]
    (tmp_path / "old" / MANIFEST).write_text(json.dumps(manifest))
    compare(finished, tmp_path / "old", tmp_path / "out")
    assert scores(tmp_path / "out")["benchmarks"]["heldout"]["metrics"][1]["signature"] == (
        "accepted|pp:strip|round:none|n:12|cut:editor"
    )
