"""A run that was stopped, killed or ran out of memory continues to the same weights."""

import json
import os
import re
import shutil
import signal
import time

import pytest
import torch
import transformers

import train
from codefit import outputs
from codefit.errors import UserError
from codefit.modeling import hardware
from codefit.records import Pair, read_jsonl, write_jsonl
from codefit.training import run_folder, trainer
from tests.support import warm
from tests.support.training import command

PACE = ["--max_steps", "8", "--save_steps", "3", "--eval_steps", "2", "--lora_dropout", "0.1", "--lora_r", "4"]
WATCHED = ["--eval_predictions", "4", "--load_best_model_at_end", "--save_steps", "2"]
WATCHED += ["--metric_for_best_model", "accuracy", "--early_stopping_patience", "8"]


def make_checkpoint(folder, step):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights").write_text("w" * 1000)
    (checkpoint / "optimizer.pt").write_text("o" * 100)
    run_folder.seal(checkpoint)
    return checkpoint


@pytest.mark.parametrize(
    ("tear", "word"),
    [
        (lambda folder: (folder / "weights").write_text("w" * 400), "weights is damaged"),
        (lambda folder: (folder / "weights").write_text("w" * 999 + "x"), "weights is damaged"),
        (lambda folder: (folder / "optimizer.pt").unlink(), "optimizer.pt is missing"),
        (lambda folder: (folder / run_folder.SEAL).unlink(), "it was not completely written"),
        (lambda folder: (folder / run_folder.SEAL).write_text('{"wei'), "it was not completely written"),
        (lambda folder: (folder / run_folder.SEAL).write_text("[1]"), "it was not completely written"),
        (lambda folder: (folder / run_folder.SEAL).write_bytes(b"\xff"), "it was not completely written"),
    ],
)
def test_an_incomplete_checkpoint_is_skipped_with_a_note(tmp_path, capsys, tear, word):
    whole, torn = make_checkpoint(tmp_path, 3), make_checkpoint(tmp_path, 12)
    assert run_folder.last(tmp_path) == torn
    tear(torn)
    assert run_folder.last(tmp_path) == whole
    assert capsys.readouterr().err == f"skipped checkpoint-12: {word}\n"
    assert run_folder.last(tmp_path / "absent") is None


def start(words, until, folder, deadline=120):
    """Start train.py, and return it once a file is there."""
    started = warm.Started("train", words, folder)
    for _ in range(20 * deadline):
        if until.exists() or not started.process.is_alive():
            break
        time.sleep(0.05)
    return started


def weights(folder):
    return (folder / "adapter_model.safetensors").read_bytes()


def losses(folder):
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return {row["step"]: row["eval_loss"] for row in log if "eval_loss" in row}


@pytest.fixture(scope="module")
def whole_run(tiny_base, prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "adapter"
    train.main(command(tiny_base, prepared, folder, *PACE, *WATCHED))
    return folder


def test_a_killed_run_continues_to_the_same_weights(whole_run, tiny_base, prepared, tmp_path, capsys):
    """This covers optimizer, random numbers, row order, the best metric and the remaining patience."""
    killed = tmp_path / "killed"
    words = command(tiny_base, prepared, killed, *PACE, *WATCHED)
    process = start(words, outputs.partial(killed) / "checkpoint-4" / run_folder.SEAL, tmp_path)
    process.stop(signal.SIGKILL)
    assert process.ended()[0] == -signal.SIGKILL
    torn = run_folder.last(outputs.partial(killed))
    assert torn is not None
    (torn / "optimizer.pt").write_bytes((torn / "optimizer.pt").read_bytes()[:99])
    capsys.readouterr()
    train.main(words)
    heard = capsys.readouterr()
    assert f"skipped {torn.name}: optimizer.pt is damaged" in heard.err
    assert "continuing from" in heard.out
    assert weights(killed) == weights(whole_run)
    states = [json.loads((folder / "trainer_state.json").read_text()) for folder in (whole_run, killed)]
    for name in ("best_metric", "best_global_step", "global_step"):
        assert states[0][name] == states[1][name]
    patience = [state["stateful_callbacks"]["EarlyStoppingCallback"]["attributes"] for state in states]
    assert patience[0] == patience[1]
    curves = [
        [(row["step"], row["eval_loss"]) for row in state["log_history"] if "eval_loss" in row] for state in states
    ]
    assert curves[0] == curves[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_a_checkpoint_and_the_error_says_how_to_continue(
    whole_run, tiny_base, prepared, tmp_path, number
):
    stopped = tmp_path / "stopped"
    words = command(tiny_base, prepared, stopped, *PACE, *WATCHED)
    process = start(words, outputs.partial(stopped) / "log.jsonl", tmp_path)
    process.stop(number)
    code, _, err = process.ended()
    assert code == (130 if number == signal.SIGINT else 1), err
    said = re.findall(
        r"^error: stopped after step (\d+) of 8, with a checkpoint; continue with: python .*train.py --", err, re.M
    )
    assert len(said) == 1
    assert "Traceback" not in err
    assert run_folder.last(outputs.partial(stopped)).name == f"checkpoint-{said[0]}"
    assert not stopped.exists()
    train.main(words)
    assert weights(stopped) == weights(whole_run)


def test_ignored_signals_do_not_stop_a_run(tiny_base, prepared, tmp_path, monkeypatch):
    """nohup ignores SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    class HangUp(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **more):
            os.kill(os.getpid(), signal.SIGHUP)

    try:
        train.main(
            command(tiny_base, prepared, tmp_path / "adapter", "--max_steps", "2", "--eval_predictions", "0"),
            [HangUp()],
        )
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (tmp_path / "adapter" / "manifest.json").is_file()


# ---------------------------------------------------------------------------------------------- exactly the same


class Killed(BaseException):
    """Ends a run at once: nothing catches it, nothing is cleaned up."""


class KillAt(transformers.TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **more):
        if state.global_step == self.step:
            raise Killed


class KillAfterTheLastStep(transformers.TrainerCallback):
    """Its checkpoint is saved then, and the result is not."""

    def on_train_end(self, args, state, control, **more):
        raise Killed


# What may differ: times, and the memory of the process.
TIMES = re.compile(rb'"(seconds|seconds_per_step|train_seconds|train_runtime|peak_memory_bytes)": (?:[\d.e+-]+|null)')
SAME = ["--max_steps", "8", "--save_steps", "3", "--eval_steps", "4", "--logging_steps", "5", "--eval_predictions", "0"]
KINDS = {
    "adapter": ["--lora_dropout", "0.1"],
    "best": ["--load_best_model_at_end", "--save_steps", "2", "--eval_steps", "2"],
    "pissa": ["--init_lora_weights", "pissa"],
    "eva": ["--init_lora_weights", "eva"],
    "whole": ["--full_finetuning"],
    "by time": ["--save_minutes", "0"],
    "scratch": ["--from_scratch", "--vocab_size", "400", "--hidden_size", "32", "--num_hidden_layers", "1"],
}


def files(folder):
    return {path.name: TIMES.sub(rb"\1", path.read_bytes()) for path in folder.iterdir()}


# before the first checkpoint, after it, after the second one, and when the last one is saved
KILLERS = (KillAt(2), KillAt(4), KillAt(7), KillAfterTheLastStep())


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_writes_the_same_files_as_an_uninterrupted_one(kind, tiny_base, prepared, documents, tmp_path):
    """Every file, byte by byte: weights, tokenizer, log, state, plot, manifest."""
    output = tmp_path / "made"
    words = command(tiny_base, documents if kind == "scratch" else prepared, output, *SAME, *KINDS[kind])
    if kind == "scratch":
        for name in ("--max_prompt_tokens", "--eval_predictions"):
            at = words.index(name)
            words = words[:at] + words[at + 2 :]
    train.main(words)
    whole = files(output)
    shutil.rmtree(output)
    for killer in KILLERS if kind == "adapter" else KILLERS[1::2]:
        with pytest.raises(Killed):
            train.main(words, [killer])
        assert not output.exists()
    train.main(words)
    assert {path.name for path in tmp_path.iterdir()} <= {"made", "made.lock"}
    resumed = files(output)
    assert resumed.keys() == whole.keys() >= {"manifest.json", "log.jsonl", "loss.png", "trainer_state.json"}
    assert [name for name in whole if whole[name] != resumed[name]] == []


def test_a_run_that_stopped_early_takes_no_more_steps_when_it_is_continued(tiny_base, prepared, tmp_path):
    output = tmp_path / "adapter"
    patient = ["--metric_for_best_model", "accuracy", "--early_stopping_patience", "1", "--learning_rate", "1e-12"]
    words = command(tiny_base, prepared, output, *SAME, *patient, "--eval_steps", "2", "--save_steps", "2")
    train.main(words)
    whole = files(output)
    shutil.rmtree(output)
    with pytest.raises(Killed):
        train.main(words, [KillAfterTheLastStep()])
    train.main(words)
    assert json.loads((output / "trainer_state.json").read_text())["global_step"] == 4
    assert files(output) == whole


@pytest.fixture(scope="module")
def documents(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("documents")
    for split in ("train", "validation"):
        pairs = [
            Pair(id=pair.id, task="document", prompt="", completion=pair.prompt + pair.completion, finish_reason="stop")
            for pair in read_jsonl(prepared / f"{split}.jsonl", Pair)
        ]
        write_jsonl(folder / f"{split}.jsonl", pairs)
    return folder


def test_checkpoints_are_also_saved_by_time(tiny_base, prepared, tmp_path):
    words = command(tiny_base, prepared, tmp_path / "adapter", "--max_steps", "4", "--eval_predictions", "0")
    with pytest.raises(Killed):
        train.main([*words, "--save_minutes", "0"], [KillAt(2)])
    assert run_folder.last(outputs.partial(tmp_path / "adapter")).name == "checkpoint-2"
    with pytest.raises(Killed):
        train.main([*words, "--save_minutes", "5"], [KillAt(3)])
    assert run_folder.last(outputs.partial(tmp_path / "adapter")).name == "checkpoint-2"


# ---------------------------------------------------------------------------------------------- two at once


def test_two_runs_do_not_share_an_output(tiny_base, prepared, tmp_path):
    output = tmp_path / "adapter"
    words = command(tiny_base, prepared, output, "--max_steps", "2", "--eval_predictions", "0")
    search = ["--trials", "2", "--search", "lora_r=2,4"]
    with outputs.alone(output):
        for more in ([], ["--overwrite"], search):
            with pytest.raises(UserError, match=r"another run is writing .*adapter; wait until it has ended"):
                train.main([*words, *more])
        train.main([*words, "--dry_run"])


def test_an_output_that_was_finished_meanwhile_is_not_replaced(tiny_base, prepared, tmp_path, monkeypatch):
    """Existence is checked again under the lock."""
    output = tmp_path / "adapter"
    words = command(tiny_base, prepared, output, "--max_steps", "2", "--eval_predictions", "0")
    alone = outputs.alone

    def after_another_run(path):
        monkeypatch.setattr(outputs, "alone", alone)
        output.mkdir()
        (output / "manifest.json").write_text("{}")
        return alone(path)

    monkeypatch.setattr(outputs, "alone", after_another_run)
    with pytest.raises(UserError, match="already exists and is complete; add --overwrite"):
        train.main(words)
    assert [path.name for path in output.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'{"seed": 0}'])
def test_an_unreadable_record_is_refused_and_can_be_overwritten(tiny_base, prepared, tmp_path, text):
    work = tmp_path / "work"
    make_checkpoint(work, 3)
    (work / run_folder.RECORD).write_bytes(text)
    with pytest.raises(UserError, match=r"arguments.json(:| is) .*; add --overwrite to start again"):
        run_folder.claim({"seed": 0}, False, [prepared], work)
    assert (work / "checkpoint-3").exists()
    run_folder.claim({"seed": 0}, True, [prepared], work)
    assert not (work / "checkpoint-3").exists()
    run_folder.claim({"seed": 0}, False, [prepared], work)


# ---------------------------------------------------------------------------------------------- memory


def out_of_memory_at(monkeypatch, calls, error):
    """Let the given calls of the backward pass fail, after its gradients were added, and return the list of calls."""
    real, made = trainer.Trainer.training_step, []

    def step(self, model, inputs, num_items_in_batch=None):
        made.append(len(inputs["input_ids"]))
        loss = real(self, model, inputs, num_items_in_batch)
        if len(made) in calls:
            raise error
        return loss

    monkeypatch.setattr(trainer.Trainer, "training_step", step)
    return made


ERRORS = [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 12")]
BATCH = ["--max_length", "128", "--max_prompt_tokens", "64", "--gradient_accumulation_steps", "2", "--max_steps", "4"]
BATCH += ["--eval_predictions", "0"]


@pytest.mark.parametrize("error", ERRORS)
def test_out_of_memory_continues_with_the_same_effective_batch(
    tiny_base, prepared, tmp_path, monkeypatch, capsys, error
):
    monkeypatch.setattr(hardware, "compute_dtype", lambda: torch.float32)  # bfloat16 rounds by more than is compared
    for name in ("whole", "rescued"):
        if name == "rescued":
            made = out_of_memory_at(monkeypatch, {4}, error)
        train.main(command(tiny_base, prepared, tmp_path / name, *BATCH))
    said = "out of memory at step 2: continuing with activation checkpointing and 2 x 1 row instead of 2 at once"
    assert capsys.readouterr().err.count(said) == 1
    assert made[:4] == [2, 2, 2, 2]
    assert len(made) == 4 + 12  # step 2 starts again, and every step has twice as many batches
    assert sum(made[4:]) < 2 * 12  # a row of short samples may become two
    whole, rescued = (losses(tmp_path / name) for name in ("whole", "rescued"))
    assert rescued == pytest.approx(whole, rel=1e-4)


def test_out_of_memory_a_second_time_names_the_flags(tiny_base, prepared, tmp_path, monkeypatch):
    out_of_memory_at(monkeypatch, {4, 9}, ERRORS[0])
    wanted = (
        "out of memory at step 3; run the command again with --per_device_train_batch_size 1 "
        "--gradient_accumulation_steps 4 --activation_checkpointing --max_length 64 --load_in_4bit --overwrite."
    )
    with pytest.raises(UserError, match=re.escape(wanted)):
        train.main(command(tiny_base, prepared, tmp_path / "adapter", *BATCH))
    assert not (tmp_path / "adapter").exists()


def test_another_error_is_not_treated_as_out_of_memory(tiny_base, prepared, tmp_path, monkeypatch):
    out_of_memory_at(monkeypatch, {1}, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        train.main(command(tiny_base, prepared, tmp_path / "adapter", *BATCH))


def test_a_loss_that_is_not_finite_ends_the_run(tiny_base, prepared, tmp_path):
    words = command(
        tiny_base, prepared, tmp_path / "adapter", *BATCH, "--learning_rate", "1e30", "--max_grad_norm", "1e30"
    )
    samples = r"file\d+\.py(, file\d+\.py)*( and .*)?"
    wanted = rf"the (loss|norm of the gradients) is (nan|inf) at step \d, in the batch of {samples}; lower"
    with pytest.raises(UserError, match=wanted):
        train.main(words)


def test_an_unfinished_run_with_other_arguments_is_not_overwritten(tiny_base, prepared, tmp_path):
    output = tmp_path / "adapter"
    args = train.build_parser().parse_args(command(tiny_base, prepared, output, "--max_steps", "3"))
    run_folder.claim(vars(args), args.overwrite, [prepared], outputs.partial(output))
    args.max_steps = 9  # a run may be made longer
    run_folder.claim(vars(args), args.overwrite, [prepared], outputs.partial(output))
    args.lora_r = 7
    with pytest.raises(UserError, match=r"unfinished run with other arguments \(lora_r 16 -> 7\); run that command"):
        run_folder.claim(vars(args), args.overwrite, [prepared], outputs.partial(output))
    make_checkpoint(outputs.partial(output), 1)
    args.overwrite = True
    run_folder.claim(vars(args), args.overwrite, [prepared], outputs.partial(output))
    assert not (outputs.partial(output) / "checkpoint-1").exists()
    (outputs.partial(output) / "checkpoint-2").mkdir()
    (outputs.partial(output) / "checkpoint-2" / run_folder.SEAL).write_text("{}")
    (outputs.partial(output) / ".tmp2e6f").write_text("left by a kill")
    # the same command continues with the complete checkpoint
    run_folder.claim(vars(args), args.overwrite, [prepared], outputs.partial(output))
    assert not (outputs.partial(output) / ".tmp2e6f").exists()
    assert (outputs.partial(output) / "checkpoint-2").exists()


def test_an_unfinished_run_on_other_data_is_not_continued(tiny_base, prepared, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    args = train.build_parser().parse_args(command(tiny_base, data, tmp_path / "adapter"))
    run_folder.claim(vars(args), args.overwrite, [data], tmp_path / "work")
    (data / "train.jsonl").write_text((data / "train.jsonl").read_text() * 2)
    with pytest.raises(UserError, match=r"other arguments \(sha256 of train.jsonl"):
        run_folder.claim(vars(args), args.overwrite, [data], tmp_path / "work")


def test_a_folder_without_a_record_is_not_continued(tiny_base, prepared, tmp_path):
    """Such a folder is left by a kill while the result is being saved."""
    args = train.build_parser().parse_args(command(tiny_base, prepared, tmp_path / "adapter"))
    (tmp_path / "work" / "checkpoint-3").mkdir(parents=True)
    run_folder.claim(vars(args), args.overwrite, [prepared], tmp_path / "work")
    assert not (tmp_path / "work" / "checkpoint-3").exists()
