"""Wrong and contradictory flags of train.py: each gives a one-sentence error that says what to do."""

import importlib.util
import json
import re
import shutil
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import train
from codefit import private_apis
from codefit.errors import UserError
from codefit.records import Pair, read_jsonl, write_jsonl
from codefit.training import estimate, trainer
from codefit.training.settings import follow_width
from tests.support.training import command, settings_of

WRONG_ARGUMENTS = [
    ("--lora_r 0", "0 must be at least 1"),
    ("--lora_r 1.5", "'1.5' is not a number of type int"),
    ("--lora_alpha 0", "0 must be at least 0.001"),
    ("--lora_dropout 1", "1 must be between 0 and 0.9"),
    ("--loraplus_lr_ratio 0.5", "0.5 must be at least 1"),
    ("--osf_effective_rank 1 --full_finetuning", "1 must be between 0.01 and 0.99"),
    ("--init_lora_weights magic", "invalid choice: 'magic'"),
    ("--learning_rat 1", "did you mean --learning_rate?"),
    ("--learning_rate 0", "0 must be at least 1e-12"),
    ("--learning_rate -1", "-1 must be at least 1e-12"),
    ("--learning_rate nan", "'nan' is not a number of type float"),
    ("--seed x", "'x' is not a number of type int"),
    ("--seed -1", "-1 must be at least 0"),
    ("--max_steps 0", "0 must be at least 1"),
    ("--num_train_epochs 0", "0 must be at least 0.001"),
    ("--per_device_train_batch_size 0", "0 must be at least 1"),
    ("--gradient_accumulation_steps -4", "-4 must be at least 1"),
    ("--max_prompt_tokens 7", "7 must be at least 8"),
    ("--weight_decay -0.1", "-0.1 must be at least 0"),
    ("--lr_scheduler_type spiral", "invalid choice: 'spiral'"),
    ("--replay_ratio 1", "1 must be between 0 and 0.9"),
    ("--eval_predictions -1", "-1 must be at least 0"),
    ("--train_on_prompt 1.5", "1.5 must be between 0 and 0.9"),
    ("--label_smoothing_factor 1", "1 must be between 0 and 0.9"),
    ("--metric_for_best_model beauty", "invalid choice: 'beauty'"),
    ("--early_stopping_patience 0", "0 must be at least 1"),
    ("--report_to foo", "invalid choice: 'foo'"),
    ("--max_length", "expected one argument"),
]

CONTRADICTIONS = [
    ("--from_scratch --full_finetuning", "already trains all weights; leave out --full_finetuning"),
    (
        "--from_scratch --load_in_4bit",
        "weights in 4 bits cannot be trained; leave out --load_in_4bit or",
    ),
    ("--full_finetuning --load_in_4bit", "cannot be trained; leave out --load_in_4bit or --full_finetuning"),
    ("--full_finetuning --lora_r 4", "--lora_r is for adapters, and --full_finetuning does not train one"),
    ("--from_scratch --use_dora", "--use_dora is for adapters, and --from_scratch does not train one"),
    ("--vocab_size 400", "--vocab_size is for a model from scratch; add --from_scratch, or leave it out"),
    ("--from_scratch --replay data/other", "--from_scratch has no base; leave it out"),
    ("--from_scratch --train_on_prompt 0.5", "have no prompts, and all of their tokens are trained; drop --train"),
    ("--optim adamw_8bit", "adamw_8bit of bitsandbytes needs a GPU, and this machine has none; leave it out"),
    ("--dropout 0.1", "--dropout is for a model from scratch; add --from_scratch, or leave it out"),
    ("--from_scratch --optim adamw_8bit", "adamw_8bit is AdamW, and --from_scratch trains with Muon; leave out one"),
    ("--optim paged_adamw_8bit --loraplus_lr_ratio 4", "--loraplus_lr_ratio does not work with --optim paged_adamw"),
    ("--osf_effective_rank 0.5", "limits full fine-tuning; add --full_finetuning, or leave it out"),
    ("--osf_effective_rank 0.5 --from_scratch", "limits full fine-tuning; add --full_finetuning, or leave it out"),
    ("--init_lora_weights pissa --load_in_4bit", "changes the base's weights, .*; use loftq, or leave out"),
    ("--init_lora_weights corda --replay data/x --load_in_4bit", "changes the base's weights, .*; use loftq"),
    ("--init_lora_weights corda", "corda keeps what the base knows of other code; name that code with --replay"),
    (
        "--init_lora_weights olora --use_dora",
        "--use_dora does not work with --init_lora_weights olora; leave out one of them",
    ),
    ("--init_lora_weights loftq --no-load_in_4bit", "needs a base in 4 bits; leave out --no-load_in_4bit"),
    (
        "--init_lora_weights loftq --use_dora",
        "--use_dora does not work with --init_lora_weights loftq; leave out one of them",
    ),
    ("--lora_target_modules all-linear q_proj", "all-linear already names all of them; leave out the other names"),
    ("--lora_target_modules nothing", "choose among the linear layers"),
    ("--max_steps 5 --num_train_epochs 2", "both set the length of the run; leave out one of them"),
    ("--max_steps 5 --warmup_steps 5", "the warm-up of 5 steps is not shorter than --max_steps 5; lower --warmup"),
    (
        "--max_prompt_tokens 512 --max_length 512",
        "no room for a completion in --max_length 512; lower the first",
    ),
    ("--max_prompt_tokens 16 --max_length 24", "rows would be dropped .*; raise --max_length or lower"),
    ("--max_length 4096", "the model's context window has 512 tokens, fewer than --max_length 4096; lower it"),
    ("--lr_scheduler_type warmup_stable_decay", "warmup_stable_decay needs a known number of steps; add --max_steps"),
    ("--metric_for_best_model edit_similarity --eval_predictions 0", "needs predictions; set --eval_predictions"),
    ("--metric_for_best_model chrf --load_best_model_at_end", "chrf does not score the task completion; choose edit"),
    ("--from_scratch --metric_for_best_model chrf", "chrf scores pairs, and whole documents are none; choose loss"),
    ("--metric_for_best_model replay_loss", "needs --replay; name a data set, or choose loss"),
    ("--metric_for_best_model accuracy", "has no effect by itself; add --load_best_model_at_end or"),
    ("--load_best_model_at_end --save_steps 7", "make --save_steps 7 a multiple of --eval_steps 50, or leave it out"),
    ("--replay_ratio 0.2", "needs a data set to mix in; name it with --replay"),
    ("--report_to none tensorboard", "--report_to none turns reports off; leave it or the other names out"),
    ("--report_to trackio", "needs a package that is not installed; run: pip install trackio"),
    ("--dataset no/where/at/all", "is not a prepared data set"),
    ("--replay no/where/at/all", "is not a prepared data set"),
    ("--model_name_or_path no/where/at/all", "no/where/at/all is neither a local folder nor readable on the Hub"),
    ("--from_scratch", "holds pairs, not whole documents; prepare it with --task document"),
    ("--from_scratch --hidden_size 32 --num_attention_heads 5", "does not give 5 heads"),
    ("--from_scratch --max_length 9", "is too short for a model from scratch; give 32 or more"),
    ("--hf_repository not/a/repository", "is not a valid Hub id; write it as owner/name"),
    ("--revision main", "has no revisions; leave out --revision"),
]


@pytest.mark.parametrize(("flags", "message"), WRONG_ARGUMENTS)
def test_wrong_arguments_exit_2(capsys, flags, message):
    with pytest.raises(SystemExit) as stop:
        train.main(flags.split())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def sentence_of(words):
    with pytest.raises(UserError) as found:
        train.main(words)
    text = str(found.value)
    assert "\n" not in text
    assert text.endswith((".", "trackio"))
    return text


@pytest.mark.parametrize(("flags", "message"), CONTRADICTIONS)
def test_contradictory_flags_are_refused(tiny_base, prepared, tmp_path, monkeypatch, flags, message):
    look = importlib.util.find_spec
    missing = {"trackio": None}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: missing.get(name, name) and look(name, *more))
    given = flags.split()
    words = command(tiny_base, prepared, tmp_path / "adapter")
    for name in ("--max_length", "--max_prompt_tokens"):  # the small command's values are dropped
        if "--from_scratch" in given and name not in given:
            at = words.index(name)
            words = words[:at] + words[at + 2 :]
    assert re.search(message, sentence_of([*words, *given]))
    assert not (tmp_path / "adapter").exists()


def documents(folder, prepared):
    folder.mkdir()
    for split in ("train", "validation"):
        pairs = [
            Pair(id=pair.id, task="document", prompt="", completion=pair.completion, finish_reason="stop")
            for pair in read_jsonl(prepared / f"{split}.jsonl", Pair)
        ]
        write_jsonl(folder / f"{split}.jsonl", pairs)
    return folder


def emptied(folder, prepared, split):
    shutil.copytree(prepared, folder)
    (folder / f"{split}.jsonl").write_text("")
    return folder


def adapter(folder):
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "data/base"}))
    return folder


PLACES = {
    "documents": (lambda tmp, data: ["--dataset", documents(tmp / "d", data)], "holds whole documents, not pairs"),
    "no training rows": (lambda tmp, data: ["--dataset", emptied(tmp / "d", data, "train")], "has no usable rows"),
    "no validation": (lambda tmp, data: ["--dataset", emptied(tmp / "d", data, "validation")], "has no usable rows"),
    "replay is the data": (lambda tmp, data: ["--replay", data], "--replay is the training data set itself"),
    "output is the base": (
        lambda tmp, data: ["--model_name_or_path", adapter(tmp / "a"), "--output_dir", tmp / "a", "--overwrite"],
        "a is read by this run; name another folder for the output",
    ),
    "base is an adapter": (
        lambda tmp, data: ["--model_name_or_path", adapter(tmp / "a")],
        "is an adapter, not a base model; merge it first with merge_lora.py, or name its base",
    ),
}


@pytest.mark.parametrize("case", PLACES)
def test_unusable_paths_are_refused(tiny_base, prepared, tmp_path, case):
    make, message = PLACES[case]
    words = [str(word) for word in make(tmp_path, prepared)]
    assert message in sentence_of(command(tiny_base, prepared, tmp_path / "adapter", *words))


def test_a_full_disk_is_found_before_the_first_step(tiny_base, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "free_bytes", lambda output: 1000)
    text = sentence_of(command(tiny_base, prepared, tmp_path / "adapter"))
    assert "has 1 kB free, but checkpoints and result need" in text
    assert "free some space, or choose another --output_dir." in text


def test_at_least_fifty_cases_are_covered():
    assert len(WRONG_ARGUMENTS) + len(CONTRADICTIONS) + len(PLACES) >= 50


# ---------------------------------------------------------------------------------------------- what is foreseen


class Tensors(TorchDispatchMode):
    """Counts the bytes of live tensors created within it, and their peak."""

    def __init__(self):
        super().__init__()
        self.alive, self.peak, self.known = 0, 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        torch.utils._pytree.tree_map_only(torch.Tensor, self.count, result)
        return result

    def count(self, tensor):
        storage, number = tensor.untyped_storage(), private_apis.storage_number(tensor)
        if number not in self.known:
            self.known.add(number)
            self.alive += storage.nbytes()
            self.peak = max(self.peak, self.alive)
            weakref.finalize(storage, self.forget, number, storage.nbytes())

    def forget(self, key, size):
        self.known.discard(key)
        self.alive -= size


@pytest.mark.parametrize("flags", [[], ["--full_finetuning"], ["--per_device_train_batch_size", "6"]])
def test_the_estimated_memory_is_that_of_a_step(tiny_base, prepared, tmp_path, monkeypatch, capsys, flags):
    """Measured in tensor bytes: activations and logits of a batch, and gradients."""
    real, peaks, foreseen = trainer.Trainer.training_step, [], []

    def step(self, model, inputs, *rest):
        with Tensors() as tensors:
            loss = real(self, model, inputs, *rest)
        peaks.append(tensors.peak)
        return loss

    memory = estimate.memory
    monkeypatch.setattr(estimate, "memory", lambda *words: foreseen.append(memory(*words)) or foreseen[0])
    monkeypatch.setattr(trainer.Trainer, "training_step", step)
    words = [*command(tiny_base, prepared, tmp_path / "adapter"), "--max_steps", "4", "--eval_predictions", "0", *flags]
    train.main([*words, "--dry_run"])
    train.main(words)
    assert max(peaks) == pytest.approx(foreseen[0]["activations"] + foreseen[0]["logits"], rel=0.3)


@pytest.mark.parametrize(
    ("words", "rate"),
    [
        ([], 1e-3),
        (["--full_finetuning"], 2e-4),
        (["--from_scratch"], 2e-4),
        (["--learning_rate", "5e-3"], 5e-3),
        (["--full_finetuning", "--learning_rate", "1e-5"], 1e-5),
    ],
)
def test_the_learning_rate_follows_what_is_trained(words, rate):
    assert settings_of(*words).schedule.learning_rate == rate


@pytest.mark.parametrize(
    ("hidden_size", "rate"), [(256, 2e-3), (576, 1e-3), (896, 7e-4), (2048, 3e-4), (4096, 1e-4), (None, 1e-3)]
)
def test_the_learning_rate_of_adapters_follows_the_width_of_the_base(hidden_size, rate):
    assert follow_width(settings_of(), hidden_size).schedule.learning_rate == rate


def test_a_whole_model_keeps_its_larger_batches():
    adapter, whole = (settings_of(*words).schedule for words in ([], ["--from_scratch"]))
    assert (adapter.rows_per_step(1), adapter.num_train_epochs) == (2, 3)
    assert (whole.rows_per_step(1), whole.num_train_epochs) == (16, 1)
    assert settings_of("--gradient_accumulation_steps", "4").schedule.rows_per_step(1) == 8


def test_a_hundred_pairs_are_more_than_a_step_or_two(tiny_base, prepared, tmp_path, capsys):
    """A row of few examples would leave a small data set one optimizer step, which is the warm-up."""
    words = ["--model_name_or_path", str(tiny_base), "--dataset", str(prepared), "--output_dir", str(tmp_path / "x")]
    train.main([*words, "--dry_run"])
    steps = int(re.search(r"^steps +(\d+) of 2 rows", capsys.readouterr().out, re.MULTILINE)[1])
    assert steps >= 6


def test_a_dry_run_prints_estimates_and_the_source_of_every_setting(tiny_base, prepared, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    (data / "manifest.json").write_text('{"arguments": {"max_prompt_tokens": 100}}')
    words = ["--model_name_or_path", str(tiny_base), "--dataset", str(data), "--output_dir", str(tmp_path / "adapter")]
    train.main([*words, "--dry_run", "--max_steps", "7", "--lora-r", "4"])
    printed = capsys.readouterr().out
    assert all(len(line) <= 100 for line in printed.splitlines() if "/" not in line)
    for start in (
        "parameters ",
        "rows ",
        "tokens ",
        "steps       7 of 2 rows",
        "memory      about ",
        "time        about ",
    ):
        assert f"\n{start}" in "\n" + printed
    table = [tuple(line.split()) for line in printed.splitlines()]
    assert ("lora_r", "4", "flag") in table
    assert ("max_prompt_tokens", "100", "data", "set") in table
    assert ("max_length", "512", "model") in table
    assert ("learning_rate", "0.02", "model") in table
    assert not any(row and row[0] in ("vocab_size", "dry_run") for row in table)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
