"""The output folder of a benchmark: writing it, reading it, and comparing two of them."""

import dataclasses
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from codefit.errors import UserError
from codefit.evaluation import baselines, result_schema
from codefit.evaluation.comparison import ADAPTED, BASE
from codefit.evaluation.report import comparability, html, naming_errors, plots, terminal
from codefit.evaluation.result_schema import GenerationSettings, Role, RunManifest, Scores
from codefit.manifest import Manifest, read_manifest
from codefit.outputs import MANIFEST, write_whole
from codefit.records import Prediction, read_jsonl, read_rows, write_jsonl
from codefit.training.run_folder import LOSS_CURVE

Predictions = dict[str, dict[str, list[Prediction]]]  # by benchmark and model, the base first
Stored = dict[str, dict[str, list[str]]]  # answers of baselines, by benchmark and baseline


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """A run that can be scored.

    Attributes:
        predictions: of the models, by benchmark and model.
        stored: answers of baselines.
        about: models, benchmarks and arguments of the run that generated the predictions.
        made: the full manifest of that run.
        loss_png: path of the adapted model's loss curve, which may not exist.
    """

    predictions: Predictions
    stored: Stored
    about: RunManifest
    made: dict[str, Any]
    loss_png: Path


def write(folder: Path, scores: Scores, run: Run) -> None:
    """Fill an empty folder with predictions scored per item, baselines, scores, the report and its pictures."""
    for benchmark, by_model in run.predictions.items():
        for key, items in by_model.items():
            write_jsonl(_file(folder, key, benchmark), items)
        stored = run.stored.get(benchmark, {})
        if answers := {name: stored[name] for name in baselines.STORED if name in stored}:
            ids = [item.id for item in by_model[BASE]]
            columns = zip(ids, *answers.values(), strict=True)
            rows = (dict(zip(("id", *answers), row, strict=True)) for row in columns)
            write_jsonl(folder / f"baselines-{benchmark}.jsonl", rows)
    result_schema.write(scores, folder / result_schema.FILE)
    loss_png = run.loss_png if run.loss_png.is_file() else None
    if loss_png:
        shutil.copyfile(loss_png, folder / LOSS_CURVE)
    grids = {name: folder / f"grid-{name}.png" for name, result in scores.benchmarks.items() if result.grid}
    for name, picture in grids.items():
        plots.grid(scores.benchmarks[name], scores.models, picture)
    page = html.page(scores, run.predictions, facts(run.about), loss_png, grids)
    write_whole(folder / "report.html", page)
    write_whole(folder / "report.md", terminal.markdown(scores))
    plots.scores(scores, folder / "scores.png")
    for benchmark, by_model in run.predictions.items():
        if all(item.task == "naming" for item in by_model[BASE]):
            errors = naming_errors.page(by_model, scores.models, scores.benchmarks[benchmark].title)
            write_whole(errors_file(folder, benchmark), errors)


def facts(about: RunManifest) -> dict[str, str]:
    """Return the facts about a run that the report lists, by label."""
    return {
        "Command": shlex.join(about.command),
        "Data set": f"{about.dataset}, split {about.arguments.split}",
        "Versions": ", ".join(f"{name} {version}" for name, version in about.versions.items()),
        "codefit": about.toolkit_commit or "not under version control",
    }


def read(folder: Path) -> Run:
    """Return the predictions in a folder, with the manifest of the run that generated them.

    Raises:
        UserError: there is no finished benchmark, a file is missing, or files do not hold the same items.
    """
    made = read_manifest(folder)
    made = made.get("predicted_by") or made
    if "benchmarks" not in made or "models" not in made:
        raise UserError(f"{folder} holds no finished benchmark; run one with this --output_dir first.")
    about = result_schema.of_manifest(made, folder / MANIFEST)
    predictions = {name: _read_predictions(folder, name, about) for name in about.benchmarks}
    stored = {name: _read_stored(folder, name, by_model[BASE]) for name, by_model in predictions.items()}
    return Run(predictions, stored, about, made, folder / LOSS_CURVE)


def _read_predictions(folder: Path, benchmark: str, about: RunManifest) -> dict[str, list[Prediction]]:
    files = {key: _file(folder, key, benchmark) for key in about.models}
    found = {key: list(read_jsonl(file, Prediction)) for key, file in files.items()}
    known = about.answered.get(benchmark, {})
    answered = {file: known[key] for key, file in files.items() if key in known}
    comparability.check({files[key]: items for key, items in found.items()}, about.asked.get(benchmark), answered)
    return found


def _read_stored(folder: Path, benchmark: str, items: list[Prediction]) -> dict[str, list[str]]:
    """Return the stored answers of the baselines; {} where they do not match these items."""
    path = folder / f"baselines-{benchmark}.jsonl"
    rows = [row for _, row in read_rows(path)] if path.is_file() else []
    if [row.get("id") for row in rows] != [item.id for item in items]:
        return {}
    return {name: [str(row[name]) for row in rows] for name in baselines.STORED if all(name in row for row in rows)}


def _file(folder: Path, key: str, benchmark: str) -> Path:
    return folder / f"predictions-{key}-{benchmark}.jsonl"


def errors_file(folder: Path, benchmark: str) -> Path:
    """Return where the page of errors of a benchmark of names is, in the folder of a run."""
    return folder / f"naming-errors-{benchmark}.md"


def side_by_side(first: Path, second: Path, manifest: Manifest) -> Run:
    """Return the adapted models of two earlier runs as base and adapted of one; who they are goes into the manifest.

    Raises:
        UserError: a folder holds no finished benchmark, or the two do not have the same prompts.
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
                f"{first} and {second} do not have the same prompts of {name} ({len(asked_a)} and {len(asked_b)}, "
                f"{same} in both); run one again with the data, --sample and --seed of the other."
            )
        if runs[0].about.models[BASE].name == runs[1].about.models[BASE].name:
            comparability.check(
                {_file(folder, ADAPTED, name): items for folder, items in ((first, ours), (second, theirs))}, None
            )
        predictions[name] = {BASE: ours, ADAPTED: theirs}
    models = {
        key: msgspec.structs.replace(run.about.models[ADAPTED], role=Role(key), label=label, run=str(folder))
        for key, run, label, folder in zip((BASE, ADAPTED), runs, ("first", "second"), (first, second), strict=True)
    }
    benchmarks = {
        name: msgspec.structs.replace(runs[0].about.benchmarks[name], decoding=_decoding(runs, name)) for name in shared
    }
    made = [run.made for run in runs]
    known = {
        "models": result_schema.plain(models),
        "benchmarks": result_schema.plain(benchmarks),
        "asked": {name: comparability.digest(by_model[BASE]) for name, by_model in predictions.items()},
        "answered": {
            name: {key: comparability.predictions_digest(items) for key, items in by_model.items()}
            for name, by_model in predictions.items()
        },
    }
    manifest.update(**known, dataset=runs[0].about.dataset, compared=made)
    stored = {name: runs[0].stored[name] for name in shared}
    about = result_schema.of_manifest(manifest.content, Path(MANIFEST))
    return Run(predictions, stored, about, manifest.content, second / LOSS_CURVE)


def _decoding(runs: Sequence[Run], benchmark: str) -> dict[str, GenerationSettings]:
    """Return the generation settings of the first adapted models of two runs; {} if a run does not record them."""
    known = [run.about.benchmarks[benchmark].decoding.get(ADAPTED) for run in runs]
    return {key: found for key, found in zip((BASE, ADAPTED), known, strict=True) if found} if all(known) else {}
