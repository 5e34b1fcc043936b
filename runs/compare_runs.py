"""Several trainings in one plot: validation loss and bits per byte, by tokens and by minutes.

    python -m runs.compare_runs outputs/a outputs/b outputs/c --output runs.png

A run is an output folder of train.py. Runs can be compared by loss only if they have the same tokenizer and the same
validation data, and by bits per byte if they have the same validation data. The minutes of a run that was continued are
those since it was continued last.
"""

from pathlib import Path

import msgspec

from codefit import cli, console, outputs
from codefit.errors import UserError
from codefit.manifest import read_manifest
from codefit.training import plots

LOG = "log.jsonl"


class Entry(msgspec.Struct):
    """An entry of log.jsonl; those of training steps have no validation."""

    step: int
    eval_loss: float | None = None
    eval_bits_per_byte: float | None = None


def curve(folder: Path, name: str) -> plots.RunCurve:
    """Return the validations of a finished run.

    Raises:
        UserError: the folder is not one of a finished run.
    """
    made = read_manifest(folder)
    if not (folder / LOG).is_file() or not made.get("trained_tokens"):
        raise UserError(f"{folder} is not a finished run of train.py of this version; give its output folder.")
    try:
        log = [msgspec.json.decode(line, type=Entry) for line in (folder / LOG).read_bytes().splitlines()]
    except msgspec.MsgspecError as error:
        raise UserError(f"{folder / LOG} is damaged ({error}); leave out this run.") from None
    rows = [msgspec.to_builtins(entry) for entry in log if entry.eval_loss is not None]
    return plots.RunCurve(name, rows, made["steps"], made["trained_tokens"], made["train_seconds"])


def names_of(folders: list[Path]) -> list[str]:
    """Return the shortest ends of the paths that tell the folders apart."""
    parts = [folder.absolute().parts for folder in folders]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-count:]) for each in parts]
        if len({*names}) == len(names):
            return names
    raise UserError("a run is named twice; name each run once.")


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.usage = "%(prog)s RUN [RUN ...] [--output FILE]"
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="output folders of train.py")
    parser.add_argument("--output", type=Path, default=Path("runs.png"), help="the plot to write, a PNG")
    given = parser.parse_args()
    found = [curve(folder, name) for folder, name in zip(given.runs, names_of(given.runs), strict=True)]
    if given.output.suffix != ".png" or given.output.is_dir():
        raise UserError(f"--output {given.output} is not the name of a PNG file; write it as name.png.")
    outputs.make_folder(given.output.parent)
    plots.runs(found, given.output)
    rows = [
        [run.name, run.steps, f"{run.trained_tokens:,}", console.duration(run.seconds)]
        + [f"{run.log_history[-1][key]:.4f}" for key in ("eval_loss", "eval_bits_per_byte")]
        for run in found
    ]
    console.show(console.table(rows, ["run", "steps", "tokens", "time", "loss", "bits/byte"]))
    console.show(f"plot:    {given.output}")


if __name__ == "__main__":
    cli.run(main)
