"""The folder of an unfinished run: which command may continue it, and from which checkpoint."""

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from codefit import console, json_files, outputs
from codefit.errors import UserError
from codefit.manifest import sha256

OUTPUT = "outputs/kotlin/adapter"  # where train.py writes and merge_lora.py reads, unless told
RECORD = "arguments.json"
STATE = "trainer_state.json"  # in a checkpoint and next to a result, from the Trainer
LOSS_CURVE = "loss.png"  # next to a result
PROFILE = "profile.txt"  # of a few steps
PREDICTIONS, PREDICTIONS_PAGE = "predictions.jsonl", "predictions.html"  # of every validation
SEAL = "complete.json"  # in a checkpoint: the sha256 of every file, written when all are on disk
PUT_AWAY = "unfinished"  # in the workspace: the checkpoints of a run while its result is moved into place
BEGINNING = "beginning"  # the adapter before the first step, where its initialisation changed the base

NEW_TOKENIZER = "tokenizer"  # of a model from scratch, trained before its first step

JOURNAL = "trials.log"  # of a search: its trials and their results
TRIAL = re.compile(r"trial-\d+|\.trial-\d+\.codefit")  # of a search: finished trials, and the one that was running

# What a run continues from, in addition to its checkpoints and trials; TensorBoard's files are in "runs".
KEPT = {BEGINNING, RECORD, JOURNAL, "runs", NEW_TOKENIZER, PREDICTIONS}

# Flags that may differ between a stopped run and the command that continues it: its length, and how it is logged.
FREE_TO_CHANGE = {
    *("max_steps", "num_train_epochs", "logging_steps", "eval_steps", "save_steps", "save_minutes"),
    *("report_to", "overwrite", "early_stopping_patience", "trials", "hub_strategy", "profile"),
}


class TrainerState(msgspec.Struct):
    """trainer_state.json of a checkpoint."""

    global_step: Annotated[int, msgspec.Meta(ge=0)]
    max_steps: int
    epoch: float | None
    log_history: list[dict[str, float | None]]


def claim(arguments: Mapping[str, Any], overwrite: bool, datasets: Sequence[Path], work: Path) -> None:
    """Take over the folder of an unfinished run, or make a new one. The caller holds the lock of the output.

    Args:
        arguments: the arguments of the command.
        overwrite: whether a run with other arguments is replaced.
        datasets: folders of prepared data, the training data first.
        work: the folder of the run.

    Raises:
        UserError: the folder holds an unfinished run with other arguments or on other data.
    """
    wanted = {name: str(value) for name, value in arguments.items() if name not in FREE_TO_CHANGE}
    for dataset in datasets:
        name = "sha256 of train.jsonl" + (f" in {dataset}" if dataset != datasets[0] else "")
        wanted[name] = sha256(dataset / "train.jsonl")
    _take_back(work)
    had = read_record(work / RECORD, overwrite)
    changed = [f"{name} {had.get(name)} -> {value}" for name, value in wanted.items() if had.get(name) != value]
    if had and changed and not overwrite:
        raise UserError(
            f"{work} holds an unfinished run with other arguments ({', '.join(changed)}); "
            "run that command again, or add --overwrite to start again."
        )
    # a folder without a record is not a run of this stage, or one whose result was being saved
    outputs.make_folder(work, empty=bool(changed))
    _clear(work)
    outputs.write_whole(work / RECORD, json.dumps(wanted, indent=1))


def is_begun(work: Path) -> bool:
    """Return whether a folder holds an unfinished run, or one whose result was being moved into place."""
    return (work / RECORD).exists() or (work.parent / PUT_AWAY).is_dir()


def read_record(record: Path, overwrite: bool) -> dict[str, str]:
    """Return the arguments of an unfinished run, {} where there is none or a damaged record is to be replaced."""
    if not record.is_file():
        return {}
    try:
        had = json_files.read(record, dict[str, str], "add --overwrite to start again")
        if not had:
            raise UserError(f"{record} is damaged (it names no arguments); add --overwrite to start again.")
        return had
    except UserError:
        if overwrite:
            return {}
        raise


def put_away(work: Path) -> None:
    """Move what only an unfinished run needs out of the result before it is moved into place; the record goes last."""
    folder = work.parent / PUT_AWAY
    outputs.make_folder(folder)
    for path in [*checkpoints(work), work / BEGINNING, work / NEW_TOKENIZER, work / RECORD]:
        if path.exists():
            path.rename(folder / path.name)


def _take_back(work: Path) -> None:
    """Undo `put_away` after a run was killed before its result was in place; the record comes first."""
    folder = work.parent / PUT_AWAY
    if not folder.is_dir():
        return
    work.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir(), key=lambda path: path.name != RECORD):
        path.rename(work / path.name)
    folder.rmdir()


def keep_tokenizer(tokenizer: Any, work: Path) -> None:
    """Save the tokenizer of a new model for a run that continues this one; after a kill it is whole or absent."""
    aside = work / f"{NEW_TOKENIZER}.partial"
    tokenizer.save_pretrained(aside)
    for path in aside.iterdir():
        outputs.fsync(path)
    aside.rename(work / NEW_TOKENIZER)


def remove_if_nothing_is_saved(work: Path) -> None:
    """Remove the folder of a run that ended with an error if nothing can be continued: no checkpoint, no search."""
    if not checkpoints(work) and not (work / JOURNAL).exists():
        shutil.rmtree(work, ignore_errors=True)


def _clear(work: Path) -> None:
    """Remove everything that a run does not continue from: a killed run can leave temporary files of any library."""
    whole = {path.name for path in checkpoints(work) if (path / SEAL).is_file()}
    for path in work.iterdir():
        if path.name not in {*whole, *KEPT} and not TRIAL.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


# ---------------------------------------------------------------------------------------------- checkpoints


def checkpoint_of(folder: Path, step: int) -> Path:
    """Return the folder of the Trainer's checkpoint of a step."""
    return folder / f"checkpoint-{step}"


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, complete or not, the newest first."""
    found = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d{1,18}", path.name)]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)


def seal(checkpoint: Path) -> None:
    """Flush a checkpoint to disk, and write the checksums of its files."""
    files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and not path.name.startswith(SEAL)]
    for path in files:
        outputs.fsync(path)
    digests = {str(path.relative_to(checkpoint)): sha256(path) for path in files}
    outputs.write_whole(checkpoint / SEAL, json.dumps(digests, indent=1))


def last(folder: Path) -> Path | None:
    """Return the newest complete checkpoint in a folder; damaged ones are skipped with a note on stderr."""
    for checkpoint in checkpoints(folder):
        problem = damage(checkpoint)
        if problem is None:
            return checkpoint
        console.show(f"skipped {checkpoint.name}: {problem}", file=sys.stderr)
    return None


def damage(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint, None if it is complete."""
    try:
        digests = json_files.read(checkpoint / SEAL, dict[str, str], "train again")
    except UserError:
        return "it was not completely written"
    try:
        for name, digest in digests.items():
            path = checkpoint / name
            if not path.is_file():
                return f"{name} is missing"
            if sha256(path) != digest:
                return f"{name} is damaged"
        if (checkpoint / STATE).is_file():
            json_files.read(checkpoint / STATE, TrainerState, "train again")
    except UserError as error:
        return f"{error}".removesuffix(".").partition(";")[0]
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return None
