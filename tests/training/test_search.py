"""Hyperparameter search: the search space, the same trials after a kill, pruning, and the best command."""

import csv
import json
import shlex
import types

import pytest

import train
from codefit import outputs
from codefit.errors import UserError
from codefit.manifest import Manifest
from codefit.training import search
from codefit.training.settings import of_flags
from tests.support.training import command

PARSER = train.build_parser()


def plan_of(words):
    flags = vars(PARSER.parse_args(words))
    return search.plan_search(of_flags(flags), flags, PARSER)


def space(*texts):
    return [str(dimension) for dimension in search.space(texts, PARSER)]


def test_ranges_and_choices():
    assert space("learning_rate=1e-4..1e-2", "--lora-dropout=0..0.1", "lora_r=8,16,32", "max_length=64..128") == [
        "learning_rate: 0.0001 to 0.01, logarithmic",
        "lora_dropout: 0.0 to 0.1",
        "lora_r: one of 8, 16, 32",
        "max_length: 64 to 128",
    ]
    assert space("lr_scheduler_type=cosine,linear") == ["lr_scheduler_type: one of cosine, linear"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate", "is neither a range nor a choice; write learning_rate=1e-4..1e-2 or lora_r=8,16,32"),
        ("learning_rate=1", "is neither a range nor a choice"),
        ("learning_rate=1..", "is neither a range nor a choice"),
        ("learning_rate=1..2..3", "is neither a range nor a choice"),
        ("learning_rate=2..1", "is not a range from a smaller to a larger number"),
        ("lr_scheduler_type=cosine..linear", "is not a range from a smaller to a larger number"),
        ("lr_scheduler_type=cosine,spiral", "spiral is not one of linear, cosine"),
        ("learning_rat=1,2", "cannot vary learning_rat, .*did you mean learning_rate?"),
        ("output_dir=a,b", "cannot vary output_dir"),
        ("from_scratch=0,1", "cannot vary from_scratch, which is not a flag with a value"),
        ("lora_r=0,8", "lora_r: 0 must be at least 1; choose other values"),
        ("lora_r=8,x", "lora_r: 'x' is not a number of type int"),
    ],
)
def test_what_cannot_be_searched_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        space(text)


def test_a_flag_cannot_be_searched_twice():
    with pytest.raises(UserError, match="names lora_r twice; give each flag once"):
        space("lora_r=8,16", "lora_r=1..4")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trials", "3"], "a search needs both --trials and --search"),
        (["--search", "lora_r=8,16"], "a search needs both --trials and --search"),
        (["--trials", "3", "--search", "lora_r=8,16", "--hf_repository", "me/x"], "a search does not push"),
    ],
)
def test_contradictory_search_flags_are_refused(flags, message):
    with pytest.raises(UserError, match=message):
        plan_of(flags)


def test_a_command_can_be_rebuilt_from_its_flags():
    given = "--dataset d --lora_r 8 --no-load_in_4bit --use-words --report_to none wandb --learning_rate 0.001"
    given = shlex.split(given.replace("--use-words ", "--torch_compile "))
    args = PARSER.parse_args(given)
    made = search.words(vars(args), PARSER, {"lora_r"})
    assert "--lora_r" not in made
    args.lora_r = PARSER.get_default("lora_r")
    assert PARSER.parse_args(made) == args


# ---------------------------------------------------------------------------------------------- the search


class Runs:
    """A stand-in for train.py: a run whose loss falls to (learning rate - 0.3)² + 1 in four validations."""

    def __init__(self):
        self.words = []
        self.kill_at = None
        self.fail_at = ()

    def __call__(self, words, callbacks):
        args = PARSER.parse_args(words)
        if self.kill_at == len(self.words):
            raise KeyboardInterrupt
        self.words.append((args.learning_rate, args.lora_r))
        if len(self.words) - 1 in self.fail_at:
            raise UserError("the loss is nan; lower --learning_rate.")
        loss, state = (args.learning_rate - 0.3) ** 2 + 1, types.SimpleNamespace(global_step=0, max_steps=4)
        control = types.SimpleNamespace(should_training_stop=False)
        metrics = {search.OBJECTIVE: 9.0}
        for step in range(5):
            state.global_step = step
            metrics = {search.OBJECTIVE: loss + (4 - step) / 10 if step else 9.0}
            for callback in callbacks:
                callback.on_evaluate(None, state, control, metrics=metrics)
            if control.should_training_stop:
                break
        with outputs.new_directory(args.output_dir) as folder:
            validation = {**metrics, "eval_loss": metrics[search.OBJECTIVE] * 2}
            content = {"validation": validation, "steps": state.global_step, "seconds": 1.0}
            (folder / "manifest.json").write_text(json.dumps(content))


def words_of(output, trials=12):
    words = ["--output_dir", str(output), "--trials", str(trials), "--search", "learning_rate=0.11..1.0", "lora_r=8,16"]
    return [*words, "--max_steps", "4"]


def searched(output, runs, **options):
    outputs.make_folder(outputs.partial(output))
    search.run(plan_of(words_of(output, **options)), Manifest({}), runs)
    return json.loads((output / "trials.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished search: its folder, its runs and its rows."""
    output, runs = tmp_path_factory.mktemp("search") / "whole", Runs()
    return output, runs, searched(output, runs)


def test_every_trial_is_a_folder_and_a_row(whole):
    output, runs, rows = whole
    assert len(rows) == len(runs.words) == 12
    assert [(row["learning_rate"], row["lora_r"]) for row in rows] == runs.words
    for row in rows:
        made = json.loads((output / search.folder_name(row["trial"]) / "manifest.json").read_text())
        assert row["value"] == made["validation"][search.OBJECTIVE]
    with (output / "trials.csv").open(newline="") as file:
        assert [int(row["trial"]) for row in csv.DictReader(file)] == list(range(12))
    assert (output / "trials.png").read_bytes().startswith(b"\x89PNG")
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["best"] == min((row for row in rows if row["state"] == "complete"), key=lambda row: row["value"])


def test_bad_trials_are_pruned_and_the_search_approaches_the_optimum(whole):
    rows = whole[2]
    pruned = [row for row in rows if row["state"] == "pruned"]
    assert pruned
    assert all(row["steps"] < 4 for row in pruned)
    best = search.best_of(rows)
    assert best["steps"] == 4
    assert abs(best["learning_rate"] - 0.3) < 0.15


@pytest.mark.parametrize("kill_at", [0, 5])
def test_a_killed_search_runs_the_same_trials(whole, tmp_path, kill_at):
    runs = Runs()
    runs.kill_at = kill_at
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "parts", runs)
    assert not (tmp_path / "parts").exists()
    runs.kill_at = None
    rows = searched(tmp_path / "parts", runs)
    assert runs.words == whole[1].words
    assert rows == whole[2]


def test_the_command_of_the_best_is_printed_and_parses(tmp_path, capsys):
    rows = searched(tmp_path / "some", Runs(), trials=3)
    printed = capsys.readouterr().out
    again = next(line for line in printed.splitlines() if line.startswith("again:"))
    args = PARSER.parse_args(shlex.split(again.split("train.py ")[1]))
    best = search.best_of(rows)
    assert (args.learning_rate, args.lora_r, args.max_steps) == (best["learning_rate"], best["lora_r"], 4)
    assert (args.trials, args.search) == (None, None)
    assert f"best:    trial {best['trial']}, {best['value']:.4f} bits per byte" in printed
    assert max(map(len, printed[printed.index("trial  state") :].split("\n\n")[0].splitlines())) <= 100


def test_a_failed_trial_is_a_row_and_the_search_continues(tmp_path, capsys):
    runs = Runs()
    runs.fail_at = (1,)
    rows = searched(tmp_path / "some", runs, trials=4)
    assert [row["state"] for row in rows].count("fail") == 1
    assert rows[1]["error"] == "the loss is nan; lower --learning_rate."
    assert "this trial failed: the loss is nan" in capsys.readouterr().out
    runs.fail_at = range(100)
    with pytest.raises(UserError, match="no trial was completed; the first reason was: the loss is nan"):
        searched(tmp_path / "none", runs, trials=2)


def test_train_searches_for_an_adapter(tiny_base, prepared, tmp_path, capsys):
    words = [
        "--model_name_or_path",
        str(tiny_base),
        "--dataset",
        str(prepared),
        "--output_dir",
        str(tmp_path / "found"),
    ]
    words += ["--max_length", "256", "--max_prompt_tokens", "128", "--max_steps", "2", "--no-load_in_4bit"]
    words += ["--trials", "2", "--search", "learning_rate=1e-3..1e-1", "lora_r=2,4"]
    train.main([*words, "--dry_run"])
    printed = capsys.readouterr().out
    assert "2 trials, each in a folder in" in printed
    assert "learning_rate: 0.001 to 0.1, logarithmic" in printed
    assert list(tmp_path.iterdir()) == []
    train.main(words)
    for number in range(2):
        folder = tmp_path / "found" / search.folder_name(number)
        assert {"adapter_model.safetensors", "manifest.json", "loss.png"} <= {path.name for path in folder.iterdir()}
    rows = json.loads((tmp_path / "found" / "trials.json").read_text())
    config = json.loads((tmp_path / "found" / "trial-001" / "adapter_config.json").read_text())
    assert config["r"] == rows[1]["lora_r"]


class Stopped(BaseException):
    """Ends a run at once, as Ctrl-C does."""


@pytest.mark.parametrize("trial", [1, 2])
def test_an_interrupted_search_keeps_its_finished_trials(trial, tiny_base, prepared, tmp_path, monkeypatch):
    output = tmp_path / "found"
    words = command(tiny_base, prepared, output, "--max_steps", "2", "--eval_predictions", "0")
    words += ["--trials", "3", "--search", "learning_rate=1e-3..1e-1"]
    fit, started = train.fit, []

    def fit_until_it_is_stopped(*args):
        started.append(args)
        if len(started) == trial + 1:
            raise Stopped
        return fit(*args)

    monkeypatch.setattr(train, "fit", fit_until_it_is_stopped)
    with pytest.raises(Stopped):
        train.main(words)
    finished = [outputs.partial(output) / search.folder_name(number) for number in range(trial)]
    kept = [(folder / "manifest.json").read_bytes() for folder in finished]
    train.main(words)
    assert len(started) == 4  # three trials, one of them twice
    assert [(output / folder.name / "manifest.json").read_bytes() for folder in finished] == kept
    assert len(json.loads((output / "trials.json").read_text())) == 3
    assert list(tmp_path.iterdir()) == [output]
