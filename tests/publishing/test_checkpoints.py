"""A checkpoint goes to the Hub and comes back on another machine, with nothing else of the run."""

import json
import subprocess
import sys

import pytest

import train
from codefit import outputs
from codefit.errors import UserError
from codefit.publishing import checkpoints
from codefit.training import run_folder
from tests.support.hub_server.process import environment
from tests.support.pushing import REPO, contents
from tests.support.training import command

PROGRAM = """
import sys
from pathlib import Path
from codefit import cli
from codefit.publishing import checkpoints, push
here, there, repository = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
def main():
    checkpoints.push_checkpoint(here, "checkpoint-4", repository)
    checkpoints.push_checkpoint(here, "checkpoint-12", repository)
    print(checkpoints.fetch_checkpoint(there, repository))
    push.push_folder(here, repository, "model", message="Result", replaced=push.ROOT_OF_A_MODEL)
    print(repr(checkpoints.fetch_checkpoint(there, repository)))
cli.run(main)
"""


def unfinished_run(folder):
    for name in ("checkpoint-4", "checkpoint-12", run_folder.BEGINNING):
        (folder / name).mkdir(parents=True)
        for file in ("adapter_model.safetensors", "optimizer.pt"):
            (folder / name / file).write_bytes(name.encode() * 100)
    for name in ("checkpoint-4", "checkpoint-12"):
        run_folder.seal(folder / name)
    (folder / run_folder.RECORD).write_text('{"seed": "0"}')
    for stays in (run_folder.PREDICTIONS, "log.jsonl", "model.bin"):
        (folder / stays).write_text("stays")
    return folder


def test_the_newest_checkpoint_is_continued_on_another_machine(server, tmp_path):
    here, there = unfinished_run(tmp_path / "here"), tmp_path / "there"
    program = [sys.executable, "-c", PROGRAM, str(here), str(there), REPO]
    done = subprocess.run(program, env=environment(server, tmp_path), capture_output=True, text=True)
    assert done.stdout.splitlines()[-2:] == ["checkpoint-12", "''"], done.stderr
    continued = ("checkpoint-12/", "beginning/", "arguments.json")
    assert contents(there) == {name: text for name, text in contents(here).items() if name.startswith(continued)}
    assert run_folder.last(there) == there / "checkpoint-12"
    commits = server.repository("model", REPO).commits
    assert [commit.title for commit in commits if commit.title.startswith("Training")] == [
        "Training: checkpoint-4",
        "Training: checkpoint-12",
    ]
    result = [".gitattributes", "arguments.json", "beginning/adapter_model.safetensors", "log.jsonl"]
    assert sorted(commits[-1].files) == result  # no checkpoint, no pickle, no predictions


def test_a_run_pushes_its_checkpoints_and_continues_from_there(tiny_base, prepared, tmp_path, monkeypatch, capsys):
    """The Hub is replaced by a folder, and fails once."""
    hub, pushed = tmp_path / "hub", []

    def push(folder, name, repository, private):
        pushed.append(name)
        if len(pushed) == 1:
            raise UserError("no network.")
        subprocess.run(["cp", "-r", str(folder), str(hub)], check=True)

    def fetch(folder, repository):
        if hub.exists():
            folder.mkdir(parents=True)
            hub.rename(folder)
            return "checkpoint-4"
        return ""

    monkeypatch.setattr(checkpoints, "push_checkpoint", push)
    monkeypatch.setattr(checkpoints, "fetch_checkpoint", fetch)
    monkeypatch.setattr("codefit.publishing.push.check_repository", lambda *words, **more: None)
    monkeypatch.setattr("codefit.publishing.push.push_adapter", lambda *words, **more: "url")
    output = tmp_path / "adapter"
    words = command(tiny_base, prepared, output, "--save_steps", "2", "--eval_predictions", "0")
    words += ["--hf_repository", REPO, "--hub_strategy", "checkpoint", "--max_steps"]
    train.main([*words, "4"])
    first = capsys.readouterr()
    assert "note: the checkpoint of step 2 is not on the Hub: no network." in first.err
    assert pushed == ["checkpoint-2", "checkpoint-4"]
    subprocess.run(["rm", "-r", str(output)], check=True)
    train.main([*words, "6"])
    assert "checkpoint-4 comes from tester/kotlin-phi" in capsys.readouterr().out
    assert pushed[2:] == ["checkpoint-6"]
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert not outputs.partial(output).exists()


def test_checkpoints_need_a_repository(tiny_base, prepared, tmp_path):
    with pytest.raises(UserError, match="--hub_strategy checkpoint pushes to a repository; name it with --hf_repo"):
        train.main(command(tiny_base, prepared, tmp_path / "adapter", "--hub_strategy", "checkpoint"))


def test_a_finished_adapter_is_pushed_without_being_trained_again(tiny_base, prepared, tmp_path, monkeypatch, capsys):
    pushed = []
    monkeypatch.setattr("codefit.publishing.push.check_repository", lambda *words, **more: None)
    monkeypatch.setattr(
        "codefit.publishing.push.push_adapter", lambda folder, name, private: pushed.append(name) or "url"
    )
    output = tmp_path / "adapter"
    words = command(tiny_base, prepared, output, "--eval_predictions", "0", "--max_steps", "1")
    train.main(words)
    made = (output / "adapter_model.safetensors").stat().st_mtime_ns
    train.main([*words, "--hf_repository", REPO])
    assert "pushed:  url" in capsys.readouterr().out
    assert pushed == [REPO]
    assert (output / "adapter_model.safetensors").stat().st_mtime_ns == made
    recorded = json.loads((output / "manifest.json").read_text())["arguments"]["hf_repository"]
    assert recorded == REPO  # where merge_lora.py --push pushes the model
