"""Validation during training: predictions, the best checkpoint, forgetting, and the log."""

import dataclasses
import json
import random
import socket

import huggingface_hub
import pytest
import torch
from transformers import TrainerState
from transformers.integrations import integration_utils

import train
from codefit import records
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.evaluation import inference, task_metrics
from codefit.generation import batched, stopping
from codefit.modeling import hardware, loading
from codefit.records import Pair, write_jsonl
from codefit.scoring import at_validation
from codefit.training import callbacks, heldout_eval, samples
from tests.support.training import command, settings_of

SMALL = ["--max_length", "256", "--max_prompt_tokens", "64"]


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def general(prepared, tmp_path_factory):
    """A replay data set: the pairs of the small data set, with reversed text."""
    folder = tmp_path_factory.mktemp("general")
    for split in ("train", "validation"):
        pairs = records.read_jsonl(prepared / f"{split}.jsonl", Pair)
        turned = [
            Pair(
                id=pair.id,
                task="completion",
                prompt=pair.prompt[::-1],
                completion=pair.completion[::-1],
                finish_reason="stop",
                path=pair.path,
                language="python",
            )
            for pair in pairs
        ]
        write_jsonl(folder / f"{split}.jsonl", turned)
    return folder


@pytest.fixture(scope="module")
def watched(tiny_base, prepared, general, tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched") / "adapter"
    words = [*SMALL, "--max_steps", "6", "--eval_steps", "2", "--eval_predictions", "5", "--load_best_model_at_end"]
    words += ["--metric_for_best_model", "replay_loss", "--replay", str(general), "--replay_ratio", "0.25"]
    words += ["--learning_rate", "0.1"]
    train.main(command(tiny_base, prepared, folder, *words))
    return folder


def test_predictions_during_training_are_those_of_the_saved_model(watched, prepared):
    manifest = json.loads((watched / "manifest.json").read_text())
    tokenizer, model = loading.load(str(watched))
    encoder = Encoder(tokenizer, 64)
    chance = random.Random(0)
    train_pairs, asked = (
        list(records.read_jsonl(prepared / f"{name}.jsonl", Pair)) for name in ("train", "validation")
    )
    chance.shuffle(train_pairs)
    chance.shuffle(asked)
    asked = asked[:5]
    ids = [encoder.prompt_ids(pair.prompt) for pair in asked]
    done = batched.generate(model, ids, max_new_tokens=64, eos_ids=encoder.eos_ids, pad_id=encoder.pad_id)
    scores = task_metrics.scores([encoder.decode(item.ids) for item in done], [pair.completion for pair in asked])
    for name in ("edit_similarity", "exact_match", "next_line"):
        # training computes in bfloat16 from float32 weights, the loaded model from bfloat16 weights
        near = 2.0 if hardware.compute_dtype() == torch.bfloat16 else 1e-6
        assert manifest["validation"][f"eval_{name}"] == pytest.approx(scores.values[name], abs=near)


def test_the_best_checkpoint_is_kept(watched):
    state = json.loads((watched / "trainer_state.json").read_text())
    rows = [row for row in state["log_history"] if "eval_replay_loss" in row and row["step"] > 0]
    best = min(rows[:3], key=lambda row: row["eval_replay_loss"])  # the fourth validation is that of the kept model
    assert (state["best_global_step"], state["best_metric"]) == (best["step"], best["eval_replay_loss"])
    assert rows[3]["eval_loss"] == pytest.approx(best["eval_loss"], rel=1e-5)


def test_trained_prompts_leave_replay_its_share_of_the_loss(tiny_tokenizer, prepared, general, tmp_path):
    words = ["--replay", general, "--replay_ratio", "0.25", "--dataset", prepared, "--train_on_prompt", "0.5"]
    settings = settings_of(*words, "--model_name_or_path", "base", "--output_dir", tmp_path / "adapter")
    encoder = Encoder(tiny_tokenizer, 64)
    found = samples.read(settings, 256, prepared, general, encoder).train
    assert len({sample.weights for sample in found}) == 1
    labels = sum(len(sample.ids) - 1 for sample in found)
    prompts = sum(sample.weights[0] * (sample.start - 1) for sample in found)
    assert prompts / labels == pytest.approx(0.5)


def test_replay_is_in_the_ledger_and_has_the_requested_share(watched):
    manifest = json.loads((watched / "manifest.json").read_text())
    ledger = manifest["ledger"]
    assert ledger["read"] == ledger["replay read"] == 60
    assert ledger["replay trained"] + ledger["replay not needed"] + ledger["replay too long"] == 60
    assert ledger["trained"] + ledger["replay trained"] == manifest["samples"]
    assert 0.2 < ledger["replay trained"] / ledger["trained"] < 0.5  # a quarter of all tokens, as a third of the others
    assert len(manifest["inputs"]) == 4


def test_the_log_is_json_lines(watched):
    log = log_of(watched)
    assert [row["step"] for row in log if "loss" in row] == list(range(1, 7))
    names = {"eval_loss", "eval_replay_loss", "eval_edit_similarity", "eval_accuracy"}
    assert [row["step"] for row in log if names <= set(row)][:4] == [0, 2, 4, 6]


def test_predictions_of_every_validation_are_kept(watched, prepared):
    kept = [json.loads(line) for line in (watched / "predictions.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in kept] == [step for step in (0, 2, 4, 6) for _ in range(5)]
    pairs = {pair.id: pair for pair in records.read_jsonl(prepared / "validation.jsonl", Pair)}
    for entry in kept:
        assert pairs[entry["id"]].prompt.endswith(entry["prompt"])
        assert pairs[entry["id"]].completion == entry["reference"]
    page = (watched / "predictions.html").read_text()
    assert [f"<h2>{entry['id']}</h2>" in page for entry in kept[:5]] == [True, True, True, False, False]
    assert page.count("step 4</th>") == 3


def test_forgetting_is_printed(tiny_base, prepared, general, tmp_path, capsys):
    words = [*SMALL, "--max_steps", "2", "--replay", str(general), "--replay_ratio", "0", "--eval_predictions", "3"]
    train.main(command(tiny_base, prepared, tmp_path / "adapter", *words))
    ledger = json.loads((tmp_path / "adapter" / "manifest.json").read_text())["ledger"]
    assert ledger["replay trained"] == 0
    printed = capsys.readouterr().out
    assert "forgetting: replay loss " in printed
    assert "3 validation prompts" in printed
    assert all(len(line) <= 100 for line in printed.splitlines() if "/" not in line)


def test_training_stops_early_without_improvement(tiny_base, prepared, tmp_path):
    words = [*SMALL, "--max_steps", "40", "--eval_steps", "1", "--eval_predictions", "4", "--learning_rate", "1e-9"]
    words += ["--early_stopping_patience", "2", "--metric_for_best_model", "edit_similarity"]
    train.main(command(tiny_base, prepared, tmp_path / "adapter", *words))
    assert json.loads((tmp_path / "adapter" / "manifest.json").read_text())["steps"] == 3


def test_a_replay_data_set_without_rows_is_refused(tiny_base, prepared, tmp_path):
    (tmp_path / "empty").mkdir()
    for split in ("train", "validation"):
        (tmp_path / "empty" / f"{split}.jsonl").write_text("")
    with pytest.raises(UserError, match=r"--replay .*empty has no usable rows for training or validation"):
        train.main(command(tiny_base, prepared, tmp_path / "adapter", "--replay", str(tmp_path / "empty")))


def test_a_line_of_the_log_fits_the_terminal():
    logs = dict.fromkeys(callbacks.LOG_LABELS, 1.23456)
    lines = callbacks.describe(12, logs)
    assert all(len(line) <= 100 for line in lines)
    assert len(lines) > 1
    assert " ".join(" ".join(lines).split()).startswith("step 12: loss 1.2346, gradient norm 1.235, learning rate")


def test_predictions_during_training_end_where_those_of_the_benchmark_end(prepared):
    tokenizer, model = loading.load("data/base")
    encoder = Encoder(tokenizer, 64)
    pairs = list(records.read_jsonl(prepared / "test.jsonl", Pair))[:4]
    found = {}
    for task in ("line", "completion"):
        asked = [dataclasses.replace(pair, task=task) for pair in pairs]
        written = inference.predict(
            model, inference.Asked(asked, encoder, 64, stopping.of_tasks([task])), 16384, with_cache=False
        ).items
        held_out = heldout_eval.HeldOut(asked, encoder)
        found[task] = held_out.scores(held_out.texts(model))
        texts = [item.prediction for item in written], [item.reference for item in written]
        assert found[task] == {metric.name: metric.score(*texts) for metric in at_validation.OF_CODE}
    assert found["line"]["edit_similarity"] != found["completion"]["edit_similarity"]


# ---------------------------------------------------------------------------------------------- elsewhere


def test_tensorboard_shows_the_losses_of_the_log(tiny_base, prepared, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    words = [*SMALL, "--max_steps", "3", "--eval_steps", "3", "--eval_predictions", "0", "--report_to", "tensorboard"]
    train.main(command(tiny_base, prepared, tmp_path / "adapter", *words))
    assert len(list((tmp_path / "events").rglob("events.*"))) == 1, "the last validation does not start a second run"
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    log = log_of(tmp_path / "adapter")
    for shown, logged in (("train/loss", "loss"), ("train/grad_norm", "grad_norm"), ("eval/loss", "eval_loss")):
        wanted = {row["step"]: row[logged] for row in log if logged in row}
        assert {event.step: event.value for event in events.Scalars(shown)} == pytest.approx(wanted, rel=1e-5)


def test_training_sends_no_reports_and_makes_no_network_calls(tiny_base, prepared, tmp_path, monkeypatch):
    """With any tracker installed and any login; no request is made even to the Hub."""
    called, trainers = [], []
    for place, name in ((socket, "create_connection"), (socket, "getaddrinfo"), (socket.socket, "connect")):
        monkeypatch.setattr(place, name, lambda *address, **more: called.append(address))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(integration_utils, "is_wandb_available", lambda: True)
    run = train.run
    monkeypatch.setattr(train, "run", lambda trainer, checkpoint: trainers.append(trainer) or run(trainer, checkpoint))
    words = [*SMALL, "--max_steps", "2", "--eval_predictions", "2"]
    train.main(command(tiny_base, prepared, tmp_path / "adapter", *words))
    assert called == []
    reporting = set(integration_utils.INTEGRATION_TO_CALLBACK.values())
    assert reporting
    assert not [one for one in trainers[0].callback_handler.callbacks if type(one) in reporting]


def test_the_rest_of_a_run_is_estimated_from_its_first_steps(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    narrator, state = callbacks.Narrator(), TrainerState(max_steps=104, is_world_process_zero=True)
    narrator.on_train_begin(None, state, None)
    for step, took in enumerate([50, 2, 2, 2, 9], 1):  # the first step, which also loads libraries, does not count
        narrator.on_step_begin(None, state, None)
        now[0] += took
        state.global_step = step
        narrator.on_step_end(None, state, None)
    assert capsys.readouterr().out == "2 s a step; about 3 min 20 s for the other 100 steps, without validation\n"
    assert narrator.seconds_per_step == 2


def test_a_short_run_needs_no_estimate(capsys):
    narrator, state = callbacks.Narrator(), TrainerState(max_steps=6, is_world_process_zero=True)
    narrator.on_train_begin(None, state, None)
    for step in range(1, 7):
        state.global_step = step
        narrator.on_step_end(None, state, None)
    assert capsys.readouterr().out == ""
