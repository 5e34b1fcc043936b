"""The folder of a run that is not finished: who may continue it, and from where."""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

import msgspec

from codefit import json_files, outputs
from codefit.errors import UserError
from codefit.manifest import sha256

RECORD = "arguments.json"
STATE = "trainer_state.json"  # in a checkpoint, from the Trainer
SEAL = "complete.json"  # in a checkpoint: the size of every file, written when all are on the disk

# What may differ between a stopped run and the command that continues it: how long it goes on, and how it is shown.
FREE_TO_CHANGE = {
    *("max_steps", "num_train_epochs", "logging_steps", "eval_steps", "save_steps", "report_to", "overwrite"),
    *("early_stopping_patience", "trials"),
}


class TrainerState(msgspec.Struct):
    """trainer_state.json of a checkpoint."""

    global_step: Annotated[int, msgspec.Meta(ge=0)]
    max_steps: int
    epoch: float | None
    log_history: list[dict[str, float | None]]


def claim(args: argparse.Namespace, datasets: list[Path], work: Path) -> None:
    """Take the folder of an unfinished run over, or make a new one.

    Raises:
        UserError: the folder holds an unfinished run with other arguments or on other data.
    """
    wanted = {name: str(value) for name, value in vars(args).items() if name not in FREE_TO_CHANGE}
    for dataset in datasets:
        name = "sha256 of train.jsonl" + (f" in {dataset}" if dataset != datasets[0] else "")
        wanted[name] = sha256(dataset / "train.jsonl")
    record = work / RECORD
    if not record.is_file():
        shutil.rmtree(work, ignore_errors=True)  # no run of this stage, or one whose result was being saved
    else:
        had = read_record(record, args.overwrite)
        changed = [f"{name} {had.get(name)} -> {value}" for name, value in wanted.items() if had.get(name) != value]
        if changed and not args.overwrite:
            raise UserError(
                f"{work} holds an unfinished run with other arguments ({', '.join(changed)}); "
                "run that command again, or add --overwrite to start anew."
            )
        if changed:
            shutil.rmtree(work)
    outputs.make_folder(work)
    outputs.write_whole(record, json.dumps(wanted, indent=1))


def read_record(path: Path, overwrite: bool) -> dict[str, str]:
    """Return the arguments of an unfinished run; {} for a damaged record that is to be overwritten."""
    try:
        return json_files.read(path, dict[str, str], "add --overwrite to start anew")
    except UserError:
        if overwrite:
            return {}
        raise


def tidy(output: Path) -> None:
    """Remove what a finished run needs no more. Only now: until the result had its place, it could be continued."""
    for checkpoint in output.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    shutil.rmtree(output / "beginning", ignore_errors=True)
    (output / RECORD).unlink()


def seal(checkpoint: Path) -> None:
    """Flush a checkpoint to disk, and write down what it consists of."""
    files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != SEAL]
    for path in files:
        outputs.fsync(path)
    sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in files}
    outputs.write_whole(checkpoint / SEAL, json.dumps(sizes, indent=1))


def last(folder: Path) -> Path | None:
    """Return the newest whole checkpoint in a folder; torn ones are skipped with a word on stderr."""
    numbered = (path for path in folder.glob("checkpoint-*") if path.name.rsplit("-", 1)[1].isdecimal())
    found = sorted(numbered, key=lambda path: int(path.name.rsplit("-", 1)[1]), reverse=True)
    for checkpoint in found:
        problem = damage(checkpoint)
        if problem is None:
            return checkpoint
        print(f"skipped {checkpoint.name}: {problem}", file=sys.stderr)
    return None


def damage(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint, None if it is whole."""
    try:
        sizes = json_files.read(checkpoint / SEAL, dict[str, int], "train again")
    except UserError:
        return "it was not written to its end"
    for name, size in sizes.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} of {size:,} bytes"
    try:
        if (checkpoint / STATE).is_file():
            json_files.read(checkpoint / STATE, TrainerState, "train again")
    except UserError as error:
        return f"{error}".removesuffix(".").partition(";")[0]
    return None
