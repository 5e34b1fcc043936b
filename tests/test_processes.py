"""Several processes train what one process trains: the same losses, and only the first writes and prints."""

import json
import os
import subprocess
import sys

import pytest
from test_training import command

import train
from codefit import models

BATCH = ["--max_length", "256", "--max_prompt_tokens", "64", "--max_steps", "3", "--eval_steps", "2"]
BATCH += ["--eval_predictions", "3", "--per_device_train_batch_size"]


def launch(words):
    """Run train.py on two processes of this CPU. `accelerate launch --cpu` starts one only, so torchrun does."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    place = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.run(
        [*launcher, train.__file__, *words], capture_output=True, text=True, env=place, timeout=400, check=False
    )


def log_of(folder):
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [row for row in log if "loss" in row], [row for row in log if "eval_loss" in row]


@pytest.fixture(scope="module")
def alone(tiny_base, prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "adapter"
    train.main(command(tiny_base, prepared, folder, *BATCH, "2"))
    return folder


def test_two_processes_have_the_losses_of_one(alone, tiny_base, prepared, tmp_path):
    both = tmp_path / "both"
    done = launch(command(tiny_base, prepared, both, *BATCH, "1"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("output:  ") == 1
    (one_losses, one_evals), (two_losses, two_evals) = log_of(alone), log_of(both)
    for name in ("loss", "grad_norm"):
        assert [row[name] for row in two_losses] == pytest.approx([row[name] for row in one_losses], rel=1e-3)
    for name in ("eval_loss", "eval_accuracy", "eval_edit_similarity"):
        assert [row[name] for row in two_evals] == pytest.approx([row[name] for row in one_evals], rel=1e-3, abs=1e-3)
    models.load(str(both))
