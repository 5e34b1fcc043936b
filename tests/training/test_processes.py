"""Several processes train what one process trains: the same losses, and only the first writes and prints."""

import json
import socket

import pytest
import torch
from safetensors.torch import load_file

import train
from codefit.errors import UserError
from codefit.modeling import hardware, loading
from tests.support import warm
from tests.support.training import command

BATCH = ["--max_length", "256", "--max_prompt_tokens", "64", "--max_steps", "3", "--eval_steps", "2"]
BATCH += ["--eval_predictions", "3", "--per_device_train_batch_size"]
NARROW = hardware.compute_dtype() != torch.float32
ROUNDING = 5e-3 if NARROW else 1e-3  # other batch shapes change the order of summation
KINDS = {"adapter": [], "whole": ["--full_finetuning"]}


def launch(module, words, folder):
    """Run a script in two processes of this CPU, with what torchrun sets; return what they print."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "ACCELERATE_USE_CPU": "true"}
    place |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    both = [warm.Started(module, words, folder, **place, RANK=rank, LOCAL_RANK=rank) for rank in "01"]
    codes, outputs, errors = zip(*(process.ended() for process in both), strict=True)
    assert codes == (0, 0), "\n".join(errors)[-4000:]
    return "".join(outputs)


def log_of(folder):
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [row for row in log if "loss" in row], [row for row in log if "eval_loss" in row]


def assert_same_losses(one, both):
    (one_losses, one_evals), (two_losses, two_evals) = log_of(one), log_of(both)
    for name in ("loss", "grad_norm"):
        assert [row[name] for row in two_losses] == pytest.approx([row[name] for row in one_losses], rel=ROUNDING)
    for name in ("eval_loss", "eval_accuracy", *([] if NARROW else ["eval_edit_similarity"])):
        wanted = [row[name] for row in one_evals]
        assert [row[name] for row in two_evals] == pytest.approx(wanted, rel=ROUNDING, abs=ROUNDING)
    loading.load(str(both))


@pytest.fixture(scope="module")
def alone(tiny_base, prepared, tmp_path_factory):
    """A folder with the results of a single process, one of each kind."""
    folder = tmp_path_factory.mktemp("alone")
    for kind, words in KINDS.items():
        train.main(command(tiny_base, prepared, folder / kind, *BATCH, "2", *words))
    return folder


def test_two_processes_have_the_same_losses_as_one(alone, tiny_base, prepared, tmp_path):
    both = tmp_path / "both"
    said = launch("train", command(tiny_base, prepared, both, *BATCH, "1"), tmp_path)
    assert said.count("output:  ") == 1
    assert_same_losses(alone / "adapter", both)


def test_sharded_training_has_the_same_losses_and_saves_full_weights(alone, tiny_base, prepared, tmp_path):
    adapter, whole = (
        command(tiny_base, prepared, tmp_path / kind, *BATCH, "1", *words) for kind, words in KINDS.items()
    )
    said = launch("tests.support.sharded", [*adapter, "then", *whole], tmp_path)
    assert said.count("weights: FSDP") == 2
    for kind, file in (("adapter", "adapter_model.safetensors"), ("whole", "model.safetensors")):
        assert_same_losses(alone / kind, tmp_path / kind)
        one, both = (load_file(folder / kind / file) for folder in (alone, tmp_path))
        assert set(one) == set(both)
        for name, weight in one.items():
            # Adam's first steps depend on the sign of a gradient, however small; rounding flips a few signs
            near = torch.isclose(both[name], weight, rtol=1e-3, atol=1e-3).float().mean()
            assert near > 0.95 if NARROW else near == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--from_scratch"], "trained with Muon, which needs whole matrices, but FSDP shards them; start without"),
        (["--full_finetuning", "--osf_effective_rank", "0.5"], "needs whole matrices, but FSDP shards them; leave it"),
        (["--init_lora_weights", "olora"], "olora cannot be saved from weights that FSDP shards; leave it out"),
    ],
)
def test_what_cannot_be_sharded_is_refused(tiny_base, prepared, tmp_path, monkeypatch, flags, message):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match=message):
        train.main(command(tiny_base, prepared, tmp_path / "out", *flags))
