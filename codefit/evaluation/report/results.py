"""The folder of a benchmark: what it holds, how it is written, how it is read again, and two of them side by side."""

import dataclasses
import json
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from codefit import json_files
from codefit.errors import UserError
from codefit.evaluation import baselines
from codefit.evaluation.comparison import ADAPTED, BASE
from codefit.evaluation.report import html, naming_errors, plots, terminal
from codefit.manifest import Manifest, read_manifest
from codefit.outputs import manifest_of, write_whole
from codefit.records import Prediction, read_jsonl, read_rows, write_jsonl

Predictions = dict[str, dict[str, list[Prediction]]]  # by benchmark and role, the base first
Stored = dict[str, dict[str, list[str]]]  # answers of baselines, by benchmark and baseline


class Asked(msgspec.Struct):
    """What is read of the arguments of a benchmark."""

    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    split: str


class Facts(msgspec.Struct):
    """What is read of a benchmark: its title, and the format of its file."""

    title: str
    format: Literal["pairs", "codexglue", "codexglue_line", "humaneval_infilling"] = "pairs"


class BenchmarkManifest(msgspec.Struct):
    """What the manifest of a finished benchmark must hold besides what every manifest may hold."""

    command: list[str]
    arguments: Asked
    versions: dict[str, str]
    models: dict[str, Any]
    benchmarks: dict[str, Facts]
    toolkit_commit: str | None
    dataset: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """What models said, what baselines answered, the manifest of the run that asked, and where its loss curve is."""

    predictions: Predictions
    stored: Stored
    made: dict[str, Any]
    loss_png: Path


def write(folder: Path, scores: dict[str, Any], run: Run) -> None:
    """Fill an empty folder with predictions scored per item, baselines, scores, the report and its pictures."""
    for benchmark, by_role in run.predictions.items():
        for role, items in by_role.items():
            write_jsonl(_file(folder, role, benchmark), items)
        stored = run.stored.get(benchmark, {})
        if answers := {name: stored[name] for name in baselines.STORED if name in stored}:
            ids = [item.id for item in by_role[BASE]]
            columns = zip(ids, *answers.values(), strict=True)
            rows = (dict(zip(("id", *answers), row, strict=True)) for row in columns)
            write_jsonl(folder / f"baselines-{benchmark}.jsonl", rows)
    text = json.dumps(scores, indent=1, ensure_ascii=False)
    write_whole(folder / "scores.json", text + "\n")
    loss_png = run.loss_png if run.loss_png.is_file() else None
    if loss_png:
        shutil.copyfile(loss_png, folder / "loss.png")
    page = html.page(scores, run.predictions, facts(run.made), loss_png)
    write_whole(folder / "report.html", page)
    write_whole(folder / "report.md", terminal.markdown(scores))
    plots.scores(scores, folder / "scores.png")
    for benchmark, by_role in run.predictions.items():
        if all(item.task == "naming" for item in by_role[BASE]):
            errors = naming_errors.page(by_role, scores["models"], scores["benchmarks"][benchmark]["title"])
            write_whole(errors_file(folder, benchmark), errors)


def facts(made: dict[str, Any]) -> dict[str, str]:
    """Return what a reader of the report should know of a run, by label."""
    return {
        "Command": shlex.join(made["command"]),
        "Data set": f"{made['dataset']}, split {made['arguments']['split']}",
        "Versions": ", ".join(f"{name} {version}" for name, version in made["versions"].items()),
        "codefit": made["toolkit_commit"] or "not under version control",
    }


def read(folder: Path) -> Run:
    """Return the predictions in a folder, with the manifest of the run that asked the models.

    Raises:
        UserError: there is no finished benchmark, a file is missing, or two are not about the same items.
    """
    made = read_manifest(folder)
    made = made.get("predicted_by") or made
    if "benchmarks" not in made or "models" not in made:
        raise UserError(f"{folder} holds no finished benchmark; run one with this --output_dir first.")
    json_files.checked(made, BenchmarkManifest, str(manifest_of(folder)), "run the benchmark again")
    if not {BASE, ADAPTED} <= set(made["models"]):
        raise UserError(
            f"{manifest_of(folder)} does not name the models {BASE} and {ADAPTED}; run the benchmark again."
        )
    predictions = {name: _read_roles(folder, name, list(made["models"])) for name in made["benchmarks"]}
    stored = {name: _read_stored(folder, name, by_role[BASE]) for name, by_role in predictions.items()}
    return Run(predictions, stored, made, folder / "loss.png")


def _read_roles(folder: Path, benchmark: str, roles: list[str]) -> dict[str, list[Prediction]]:
    files = {role: _file(folder, role, benchmark) for role in roles}
    found = {role: list(read_jsonl(file, Prediction)) for role, file in files.items()}
    ids = [item.id for item in found[BASE]]
    for role, items in found.items():
        if not ids or [item.id for item in items] != ids:
            raise UserError(f"{files[BASE]} and {files[role]} do not hold the same items; run the benchmark again.")
    return found


def _read_stored(folder: Path, benchmark: str, items: list[Prediction]) -> dict[str, list[str]]:
    """Return the answers of the baselines, as far as they are for these items."""
    path = folder / f"baselines-{benchmark}.jsonl"
    rows = [row for _, row in read_rows(path)] if path.is_file() else []
    if [row.get("id") for row in rows] != [item.id for item in items]:
        return {}
    return {name: [str(row[name]) for row in rows] for name in baselines.STORED if all(name in row for row in rows)}


def _file(folder: Path, role: str, benchmark: str) -> Path:
    return folder / f"predictions-{role}-{benchmark}.jsonl"


def errors_file(folder: Path, benchmark: str) -> Path:
    """Return where the page of errors of a benchmark of names is, in the folder of a run."""
    return folder / f"naming-errors-{benchmark}.md"


def side_by_side(first: Path, second: Path, manifest: Manifest) -> Run:
    """Return the adapted models of two earlier runs as base and adapted of one; who they are goes into the manifest.

    Raises:
        UserError: a folder holds no finished benchmark, or the two did not ask the same prompts.
    """
    runs = read(first), read(second)
    shared = [name for name in runs[0].predictions if name in runs[1].predictions]
    if not shared:
        asked = (", ".join(run.predictions) for run in runs)
        raise UserError(f"{first} and {second} share no benchmark ({' and '.join(asked)}); run one of them again.")
    predictions: Predictions = {}
    for name in shared:
        ours, theirs = (run.predictions[name][ADAPTED] for run in runs)
        asked_a, asked_b = ([(item.id, item.prompt, item.reference) for item in items] for items in (ours, theirs))
        if asked_a != asked_b:
            same = len(set(asked_a) & set(asked_b))
            raise UserError(
                f"{first} and {second} did not ask the same prompts of {name} ({len(asked_a)} and {len(asked_b)}, "
                f"{same} in both); run one again with the data, --sample and --seed of the other."
            )
        predictions[name] = {BASE: ours, ADAPTED: theirs}
    made = [run.made for run in runs]
    models = {
        role: {**facts["models"][ADAPTED], "label": label, "run": str(folder)}
        for role, facts, label, folder in zip((BASE, ADAPTED), made, ("first", "second"), (first, second), strict=True)
    }
    about = {name: {**made[0]["benchmarks"][name], "decoding": _decoding(made, name)} for name in shared}
    manifest.update(models=models, benchmarks=about, dataset=made[0]["dataset"], compared=made)
    stored = {name: runs[0].stored[name] for name in shared}
    return Run(predictions, stored, manifest.content, second / "loss.png")


def _decoding(made: Sequence[dict[str, Any]], benchmark: str) -> dict[str, dict[str, str]]:
    """Return how the first adapted models of two runs were asked; {} if a run does not say."""
    known = [facts["benchmarks"][benchmark].get("decoding", {}).get(ADAPTED) for facts in made]
    return dict(zip((BASE, ADAPTED), known, strict=True)) if all(known) else {}
