"""The folder of a benchmark: what it holds, how it is written, and how it is read again."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

from codefit import cli
from codefit.cli import UserError
from codefit.records import Prediction, read_jsonl, write_jsonl
from codefit.report import TITLES, html, plots, terminal

ROLES = ("base", "adapted")

Predictions = dict[str, tuple[list[Prediction], list[Prediction]]]  # by benchmark: those of base and adapted model


def write(folder: Path, scores: dict[str, Any], predictions: Predictions, made: dict[str, Any], loss_png: Path) -> None:
    """Fill a folder with predictions, scores, the report and its pictures.

    Args:
        folder: an empty folder.
        scores: the content of scores.json.
        predictions: scored per item.
        made: the manifest of the run that asked the models.
        loss_png: the training curve; where there is none, the report has none.
    """
    for benchmark, both in predictions.items():
        for role, items in zip(ROLES, both, strict=True):
            write_jsonl(_file(folder, role, benchmark), items)
    text = json.dumps(scores, indent=1, ensure_ascii=False)
    (folder / "scores.json").write_text(text + "\n", encoding="utf-8")
    if loss_png.is_file():
        shutil.copyfile(loss_png, folder / "loss.png")
    page = html.page(scores, predictions, facts(made), loss_png if loss_png.is_file() else None)
    (folder / "report.html").write_text(page, encoding="utf-8")
    (folder / "report.md").write_text(terminal.markdown(scores), encoding="utf-8")
    plots.scores(scores, folder / "scores.png")


def facts(made: dict[str, Any]) -> dict[str, str]:
    """Return what a reader of the report should know of a run, by label."""
    return {
        "Command": shlex.join(made["command"]),
        "Data set": f"{made['dataset']}, split {made['arguments']['split']}",
        "Versions": ", ".join(f"{name} {version}" for name, version in made["versions"].items()),
        "codefit": made["toolkit_commit"] or "not under version control",
    }


def read(folder: Path) -> tuple[Predictions, dict[str, Any]]:
    """Return the predictions in a folder, and the manifest of the run that asked the models.

    Raises:
        UserError: there are none, one of two files is missing, or the two are not about the same items.
    """
    found = {name: both for name in TITLES if (both := _read_both(folder, name))}
    made = cli.read_manifest(folder)
    if not found or not made:
        raise UserError(f"{folder} holds no finished benchmark to rescore; run it without --rescore first.")
    return found, made.get("predicted_by", made)


def _read_both(folder: Path, benchmark: str) -> tuple[list[Prediction], list[Prediction]] | None:
    files = [_file(folder, role, benchmark) for role in ROLES]
    if not any(file.exists() for file in files):
        return None
    base, adapted = (list(read_jsonl(file, Prediction)) for file in files)
    if not base or [item.id for item in base] != [item.id for item in adapted]:
        raise UserError(f"{files[0]} and {files[1]} do not hold the same items; run the benchmark again.")
    return base, adapted


def _file(folder: Path, role: str, benchmark: str) -> Path:
    return folder / f"predictions-{role}-{benchmark}.jsonl"
