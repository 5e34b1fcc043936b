"""runs/curricula.sh: how long its trainings are, and that all of its commands can be understood."""

import os
import shlex
import subprocess
import sys

import pytest

import parse_data
import preprocess_data
import train
from codefit.manifest import ROOT

# Stands for Python: it keeps its words, and answers the question where packages are installed.
NOTED = """#!/bin/sh
if [ "$1" = -c ]; then echo /installed/datasets; exit; fi
printf '%s\\0' "$@" >> "$NOTES"
echo >> "$NOTES"
"""
OF_ORDERS = ["random", "sequential", "reversed", "sliding_window", "hybrid", "growing_pool", "growing_pool_reversed"]


def commands(tmp_path, *words, **settings):
    """Return the commands that the script gives, as lists of words."""
    stand_in = tmp_path / "python"
    stand_in.write_text(NOTED)
    stand_in.chmod(0o755)
    notes = tmp_path / "notes"
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "NOTES": str(notes), "OUT": str(tmp_path / "out")}
    script = ["sh", str(ROOT / "runs" / "curricula.sh"), *words]
    done = subprocess.run(script, env={**env, "SEEDS": "0 1", **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "took 0 min" in done.stdout
    return [line.rstrip("\0").split("\0") for line in notes.read_text().split("\0\n") if line]


def trainings(found):
    """Return the flags of the trainings by the name of their output."""
    made = {}
    for words in found:
        if words[0] == "train.py":
            flags = train.build_parser().parse_args(words[1:])
            name = str(flags.output_dir).partition("/out/")[2]
            assert name not in made
            made[name] = flags
            assert words.count("--max_steps") + words.count("--num_train_epochs") == 1
    return made


LENGTHS = [
    ([], {}, 100, 3),
    ([], {"STEPS": "7", "EPOCHS": "2"}, 7, 2),
    (["--max_steps", "7"], {}, 7, 3),
    (["--max_steps=7", "--num_train_epochs", "1.5"], {"STEPS": "9", "EPOCHS": "9"}, 7, 1.5),
]


@pytest.mark.parametrize(("words", "settings", "steps", "epochs"), LENGTHS)
def test_steps_and_epochs_have_one_meaning_each(words, settings, steps, epochs, tmp_path):
    made = trainings(commands(tmp_path, *words, **settings))
    first = {f"{order}-{seed}" for order in OF_ORDERS for seed in (0, 1)}
    second = {f"renewed/{order}-{seed}" for order in OF_ORDERS[:3] for seed in (0, 1)}
    assert set(made) == {"search", *first, *second}
    assert {(made[name].max_steps, made[name].num_train_epochs) for name in {"search", *first}} == {(steps, None)}
    assert {(made[name].max_steps, made[name].num_train_epochs) for name in second} == {(None, epochs)}
    assert {made[name].curriculum_by for name in second if "random" not in name} == {"own_loss"}


def test_other_words_reach_every_training_unchanged(tmp_path):
    words = ["--dropout", "0.1", "--max_steps", "5", "--report_to", "tensorboard", "--weight_decay", "0.3"]
    found = commands(tmp_path, *words, TRIALS="0", SAMPLE="16")
    made = trainings(found)
    assert "search" not in made
    assert {(flags.dropout, flags.weight_decay, flags.validation_samples) for flags in made.values()} == {
        (0.1, 0.3, 16)
    }
    for words in found:
        if words[0] != "train.py":
            parser = {"parse_data.py": parse_data, "preprocess_data.py": preprocess_data}.get(words[0])
            assert words[:2] == ["-m", "runs.curricula"] or parser.build_parser().parse_args(words[1:]), shlex.join(
                words
            )


def test_a_number_that_is_missing_is_one_sentence(tmp_path):
    script = ["sh", str(ROOT / "runs" / "curricula.sh"), "--dropout", "0.1", "--max_steps"]
    env = {
        **os.environ,
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        "OUT": str(tmp_path / "out"),
    }
    done = subprocess.run(script, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "--max_steps needs a number\n")
    assert not (tmp_path / "out").exists()
