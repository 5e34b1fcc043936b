"""Hyperparameter search: Optuna chooses the values of flags; each trial is a run of train.py in its own folder.

Values are sampled by the tree-structured Parzen estimator, and a trial is pruned when it is worse than the median of
earlier trials at the same step (Optuna, arXiv 1907.10902). The state of the search is a journal in its folder: a killed
search continues with the trial that it was in, and runs the same trials.

The objective is bits per byte of the validation text: the validation loss in a unit that can be compared between
tokenizers.
"""

import argparse
import csv
import dataclasses
import difflib
import io
import json
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from codefit import console, outputs, private_apis
from codefit.errors import UserError
from codefit.manifest import Manifest, read_manifest
from codefit.training import plots, run_folder
from codefit.training.settings import TrainSettings

OBJECTIVE = "eval_bits_per_byte"
FIXED = {"output_dir", "overwrite", "dry_run", "preview", "trials", "search", "hf_repository", "dataset", "help"}
LOG_SCALE_FROM = 10  # a range is searched on a logarithmic scale if its end is at least this many times its start

# Runs train.py with the words of a command and callbacks.
Train = Callable[[Sequence[str], Sequence[Any]], None]


# ---------------------------------------------------------------------------------------------- the search space


@dataclasses.dataclass(frozen=True, slots=True)
class Dimension:
    """The values of one flag: a choice, or a range from the first to the last."""

    name: str
    values: tuple[Any, ...]
    is_range: bool

    @property
    def log(self) -> bool:
        """Whether the range is searched on a logarithmic scale."""
        low, high = self.values[0], self.values[-1]
        return bool(self.is_range and low > 0 and high >= LOG_SCALE_FROM * low)

    def draw(self, trial: Any) -> Any:
        """Return the value that a trial uses."""
        if not self.is_range:
            return trial.suggest_categorical(self.name, self.values)
        low, high = self.values
        suggest = trial.suggest_int if isinstance(low, int) and isinstance(high, int) else trial.suggest_float
        return suggest(self.name, low, high, log=self.log)

    def __str__(self) -> str:
        if not self.is_range:
            return f"{self.name}: one of {', '.join(map(str, self.values))}"
        return f"{self.name}: {self.values[0]} to {self.values[1]}" + (", logarithmic" if self.log else "")


def space(texts: Sequence[str], parser: argparse.ArgumentParser) -> list[Dimension]:
    """Return the search space: `learning_rate=1e-4..1e-2` is a range, `lora_r=8,16,32` a choice.

    Raises:
        UserError: a text is neither, does not name a flag with a value, or has a value that the flag does not accept.
    """
    found = [_dimension(text, parser) for text in texts]
    twice = [one.name for at, one in enumerate(found) if one.name in {other.name for other in found[:at]}]
    if twice:
        raise UserError(f"--search names {twice[0]} twice; give each flag once.")
    return found


def _dimension(text: str, parser: argparse.ArgumentParser) -> Dimension:
    name, equals, values = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    is_range = ".." in values
    parts = [part.strip() for part in values.split(".." if is_range else ",")]
    if not equals or not all(parts) or (is_range and len(parts) != 2) or (not is_range and len(parts) < 2):
        raise UserError(
            f"--search {text} is neither a range nor a choice; write learning_rate=1e-4..1e-2 or lora_r=8,16,32."
        )
    single = (action for action in private_apis.actions_of(parser) if action.nargs is None)
    flags = {action.dest: action for action in single if action.dest not in FIXED}
    if name not in flags:
        close = difflib.get_close_matches(name, flags, n=1)
        hint = f"did you mean {close[0]}?" if close else "--help lists the flags."
        raise UserError(f"--search cannot vary {name}, which is not a flag with a value; {hint}")
    typed = tuple(_value(flags[name], part) for part in parts)
    if is_range and not (all(isinstance(value, int | float) for value in typed) and typed[0] < typed[1]):
        raise UserError(
            f"--search {text} is not a range from a smaller to a larger number; write {name}=1,2 for a choice."
        )
    return Dimension(name, typed, is_range)


def _value(action: argparse.Action, text: str) -> Any:
    try:
        value = action.type(text) if callable(action.type) else text
    except (argparse.ArgumentTypeError, ValueError) as error:
        raise UserError(f"--search {action.dest}: {error}; choose other values.") from None
    if action.choices is not None and value not in action.choices:
        raise UserError(
            f"--search {action.dest}: {text} is not one of {', '.join(map(str, action.choices))}; choose among these."
        )
    return value


def words(flags: Mapping[str, Any], parser: argparse.ArgumentParser, without: set[str]) -> list[str]:
    """Return the flags of a command that differ from their defaults, as words."""
    found: list[str] = []
    for action in private_apis.actions_of(parser):
        value = flags.get(action.dest, action.default)
        if action.dest in without or value == action.default:
            continue
        if isinstance(value, bool):
            found.append(action.option_strings[0 if value else -1])
        else:
            found += [action.option_strings[0], *map(str, value if isinstance(value, list) else [value])]
    return found


# ---------------------------------------------------------------------------------------------- the search


@dataclasses.dataclass(frozen=True, slots=True)
class SearchPlan:
    """The search space, the number of trials, and the words of the command that all trials share."""

    dimensions: list[Dimension]
    fixed: list[str]
    trials: int
    seed: int
    output: Path


def plan_search(settings: TrainSettings, flags: Mapping[str, Any], parser: argparse.ArgumentParser) -> SearchPlan:
    """Return the plan of a search.

    Args:
        settings: the settings of the command.
        flags: the values of its flags, by name.
        parser: the parser of train.py.

    Raises:
        UserError: --trials or --search is missing, a flag cannot be varied, or the search would push.
    """
    trials, searched = settings.search.trials, settings.search.search
    if not (trials and searched):
        raise UserError("a search needs both --trials and --search; give the number of trials and the flags to vary.")
    if settings.output.hf_repository:
        raise UserError("a search does not push; leave out --hf_repository, and push a run with the best values.")
    dimensions = space(searched, parser)
    without = {dimension.name for dimension in dimensions} | FIXED - {"dataset"}
    return SearchPlan(dimensions, words(flags, parser, without), trials, settings.seed, settings.output.output_dir)


def describe(plan: SearchPlan) -> None:
    """Print the plan of the search."""
    console.show(f"search      {console.counted(plan.trials, 'trial')}, each in a folder in {plan.output}")
    for dimension in plan.dimensions:
        console.show(f"            {dimension}")


def run(plan: SearchPlan, manifest: Manifest, train: Train) -> None:
    """Run the trials that are missing, and write their table, plot and manifest to the output folder.

    Args:
        plan: the plan of the search.
        manifest: the manifest of the command.
        train: the function that runs one trial.

    Raises:
        UserError: no trial was completed, or Optuna is not installed.
    """
    dimensions, fixed, trials = plan.dimensions, plan.fixed, plan.trials
    work = outputs.partial(plan.output)
    study = _study(work, trials)
    started, first = time.monotonic(), len(_ended(study))
    while (number := len(_ended(study))) < trials:
        trial = _next_trial(study, plan, number)
        values = {dimension.name: dimension.draw(trial) for dimension in dimensions}
        console.show(f"\ntrial {number + 1} of {trials}: {_shown(values)}")
        _run_trial(study, trial, values, fixed, work / folder_name(trial.number), train)
        left = (time.monotonic() - started) / (number + 1 - first) * (trials - number - 1)
        console.show(
            f"about {console.duration(left)} left for the other trials" if left else "all trials have finished"
        )
    rows = _rows(study, dimensions)
    best = best_of(rows)
    _write(work, rows, dimensions)
    manifest.update(trials=len(rows), best=best, objective=OBJECTIVE, optuna=_optuna().__version__)
    manifest.write(work)
    outputs.commit(work, plan.output)
    (plan.output / run_folder.RECORD).unlink(missing_ok=True)
    report(rows, best, plan)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError("--trials needs Optuna; install it with: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _study(work: Path, trials: int) -> Any:
    """Return the study in a folder: a new one, or the one that was interrupted."""
    optuna = _optuna()
    backend = optuna.storages.journal.JournalFileBackend(str(work / run_folder.JOURNAL))
    return optuna.create_study(
        study_name="search",
        storage=optuna.storages.JournalStorage(backend),
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=max(2, min(5, trials // 4))),
    )


def _ended(study: Any) -> list[Any]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def _next_trial(study: Any, plan: SearchPlan, number: int) -> Any:
    """Return the trial that a killed search was in, or a new one.

    Each trial has its own seed, so that a continued search samples the same values as an uninterrupted one.
    """
    optuna = _optuna()
    # a third of the trials, at most ten, is sampled at random before the estimator has enough data
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=max(2, min(10, plan.trials // 3)), seed=plan.seed + number
    )
    running = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING])
    return optuna.trial.Trial(study, private_apis.number_in_storage(running[0])) if running else study.ask()


def _run_trial(study: Any, trial: Any, values: dict[str, Any], fixed: list[str], folder: Path, train: Train) -> None:
    """Train one trial unless its folder exists already, and report the result to the study."""
    state = _optuna().trial.TrialState
    pruner = Pruner(trial)
    try:
        if not folder.exists():
            chosen = [word for name, value in values.items() for word in (f"--{name}", str(value))]
            train([*fixed, *chosen, "--output_dir", str(folder)], [pruner])
    except UserError as error:
        if pruner.training_ended:  # stopped by the user, or not saved: the values are not the cause
            raise
        shutil.rmtree(outputs.workspace(folder), ignore_errors=True)
        console.show(f"this trial failed: {error}")
        trial.set_user_attr("error", str(error))
        study.tell(trial, state=state.FAIL)
        return
    made = read_manifest(folder)
    facts = {"value": made["validation"][OBJECTIVE], "loss": made["validation"]["eval_loss"]}
    for name, value in {**facts, "steps": made["steps"], "seconds": made["seconds"]}.items():
        trial.set_user_attr(name, value)
    if trial.user_attrs.get("pruned"):
        study.tell(trial, state=state.PRUNED)
    else:
        study.tell(trial, facts["value"])


class Pruner(TrainerCallback):  # type: ignore[misc]
    """Reports each validation of a run to its trial, and ends the run early where Optuna prunes the trial."""

    def __init__(self, trial: Any) -> None:
        self.trial = trial
        self.known = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)
        self.training_ended = False

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Report the objective, except at step 0 and at steps that a continued run repeats."""
        step = state.global_step
        if step == 0 or step in self.known or self.training_ended:
            return
        self.trial.report(metrics[OBJECTIVE], step)
        if step < state.max_steps and self.trial.should_prune():
            console.show(f"step {step}: worse than the median of earlier trials; this trial is stopped")
            self.trial.set_user_attr("pruned", True)
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remember that errors from here on are not caused by the trial's values."""
        self.training_ended = True


# ---------------------------------------------------------------------------------------------- results


def folder_name(number: int) -> str:
    """Return the name of a trial's folder in that of the search."""
    return f"trial-{number:03d}"


def _rows(study: Any, dimensions: Sequence[Dimension]) -> list[dict[str, Any]]:
    """Return one row per trial: number, state, values and results."""
    facts = ("value", "loss", "steps", "seconds", "error")
    return [
        {"trial": trial.number, "state": trial.state.name.lower()}
        | {dimension.name: trial.params.get(dimension.name) for dimension in dimensions}
        | {name: trial.user_attrs.get(name) for name in facts}
        for trial in _ended(study)
    ]


def best_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of the best completed trial. Raises UserError if there is none."""
    complete = [row for row in rows if row["state"] == "complete"]
    if not complete:
        reason = next((row["error"] for row in rows if row["error"]), "all were stopped early")
        raise UserError(f"no trial was completed; the first reason was: {reason}")
    return min(complete, key=lambda row: row["value"])


def _write(work: Path, rows: Sequence[dict[str, Any]], dimensions: Sequence[Dimension]) -> None:
    """Write the trials as trials.csv, trials.json and trials.png."""
    outputs.write_whole(work / "trials.json", json.dumps(rows, indent=1) + "\n")
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    outputs.write_whole(work / "trials.csv", table.getvalue())
    plots.trials(rows, {dimension.name: dimension.log for dimension in dimensions}, work / "trials.png")


def _shown(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_cell(value)}" for name, value in values.items())


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def report(rows: Sequence[dict[str, Any]], best: dict[str, Any], plan: SearchPlan) -> None:
    """Print the table of the trials, the best first, and the command that trains with the best values."""
    names = [dimension.name for dimension in plan.dimensions]
    ranked = sorted(rows, key=lambda row: (row["state"] != "complete", row["value"] or float("inf")))
    cells = [
        [row["trial"], row["state"], *(_cell(row[name]) for name in names)]
        + [f"{row[key]:.4f}" if row[key] is not None else "" for key in ("value", "loss")]
        + [row["steps"] or "", console.duration(row["seconds"]) if row["seconds"] else ""]
        for row in ranked
    ]
    console.show("\n" + console.table(cells, ["trial", "state", *names, "bits/byte", "loss", "steps", "time"]))
    console.show(
        f"\nbest:    trial {best['trial']}, {best['value']:.4f} bits per byte: {_shown({n: best[n] for n in names})}"
    )
    console.show(f"its run: {plan.output / folder_name(best['trial'])}")
    console.show(f"trials:  {plan.output / 'trials.csv'}, trials.json, trials.png")
    chosen = [word for name in names for word in (f"--{name}", str(best[name]))]
    again = shlex.join([*plan.fixed, *chosen, "--output_dir", str(plan.output.with_name(plan.output.name + "-best"))])
    console.show(f"again:   python train.py {again}")
