"""Two steps of runs/adaptation.sh: the history of a project from its releases, and the table and plot of the study.

    python -m runs.adaptation history outputs/adaptation 0.10.0 0.14.0 0.21.2
    python -m runs.adaptation compare outputs/adaptation 256

A file belongs to the release that added its path; later changes to it are ignored. Predictions are cut to the
lines of their reference, for all models alike, so that nothing is gained by stopping. Intervals are 95 %, paired over
the prompts that all models were asked, over files.
"""

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from codefit import cli, console, records
from codefit.evaluation import task_metrics, truncation
from codefit.records import Document, Prediction
from codefit.scoring import statistics

MODELS = ("base", "base with context", "adapted", "adapted with context")
METRICS = ("edit_similarity", "exact_match", "bits_per_byte")


# ------------------------------------------------------------------------------------------- history


def released(wheel: Path) -> datetime:
    """Return when a release was packed: the newest date of its files."""
    with zipfile.ZipFile(wheel) as file:
        return max(datetime(*info.date_time, tzinfo=UTC) for info in file.infolist())


def history(folder: Path, releases: Sequence[str]) -> None:
    """Write history.jsonl: every file as in the release that added it, with the date of that release."""
    documents: dict[str, Document] = {}
    for release in releases:
        (wheel,) = (folder / "wheels").glob(f"*-{release}-*.whl")
        date = released(wheel)
        for document in records.read_documents(str(folder / "releases" / f"{release}.jsonl")):
            stated = dataclasses.replace(document, repository="project", committed_at=date.isoformat())
            documents.setdefault(document.path, stated)
        print(f"{release} of {date:%Y-%m-%d}: {len(documents)} files so far")
    records.write_jsonl(folder / "history.jsonl", documents.values())


# ------------------------------------------------------------------------------------------- comparison


def predictions(folder: Path, context: str) -> dict[str, list[Prediction]]:
    """Return the cut predictions of each model for the prompts that all models share, in the same order."""
    found: dict[str, dict[str, Prediction]] = {}
    for name in MODELS:
        shown = context if "context" in name else "0"
        file = folder / f"context-{shown}" / "benchmark" / f"predictions-{name.split()[0]}-heldout.jsonl"
        items = list(records.read_jsonl(file, Prediction))
        cut = truncation.texts("reference_lines", items)
        found[name] = {
            item.id: dataclasses.replace(item, prediction=text) for item, text in zip(items, cut, strict=True)
        }
    common = sorted(set.intersection(*map(set, found.values())))
    return {name: [items[id_] for id_ in common] for name, items in found.items()}


def compare(folder: Path, context: str) -> None:
    """Print and plot the scores and the differences of the study."""
    found = predictions(folder, context)
    metrics = {metric.name: metric for metric in task_metrics.metrics("completion")}
    files = [item.path for item in found["base"]]
    print(f"{len(files)} prompts from {len(set(files))} files\n")
    drawn: dict[str, dict[str, Any]] = {}
    questions = [*((MODELS[0], name) for name in MODELS[1:]), *((name, MODELS[3]) for name in MODELS[1:3])]
    for name in METRICS:
        metric = metrics[name]
        stats = {model: metric.of_items(items) for model, items in found.items()}
        scored = {model: statistics.interval(table, files, metric.scale) for model, table in stats.items()}
        drawn[metric.label] = scored
        print(
            console.table(
                [[model, shown(it.value, it.low, it.high)] for model, it in scored.items()], [metric.label, ""]
            )
        )
        rows = []
        for one, other in questions:
            it = statistics.compare(stats[one], stats[other], files, metric.scale)
            rows.append([f"{one} → {other}", shown(it.difference, it.low, it.high, "+"), it.verdict])
        print("\n" + console.table(rows, ["", "difference [95 %]", "verdict"]) + "\n")
    draw(drawn, folder / "adaptation.png")
    print(f"plot: {folder / 'adaptation.png'}")


def shown(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{value:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def draw(scored: Mapping[str, dict[str, Any]], path: Path) -> None:
    """Draw a panel per metric with a row per model: its score as a dot on its interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(scored), figsize=(11, 2.6), sharey=True, layout="constrained")
    for panel, (label, models) in zip(panels, scored.items(), strict=True):
        for row, (model, it) in enumerate(reversed(models.items())):
            colour = "#8a8a8a" if model.startswith("base") else "#1f6feb"
            panel.plot([it.low, it.high], [row, row], color=colour, linewidth=3, alpha=0.4)
            panel.plot(it.value, row, "o", color=colour)
        panel.set_title(label, fontsize=10)
        panel.set_yticks(range(len(models)), [*reversed(models)])
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("step", choices=("history", "compare"), help="the step to run")
    parser.add_argument("folder", type=Path, help="output folder of runs/adaptation.sh")
    parser.add_argument("of", nargs="+", help="releases, oldest first; or the number of context tokens")
    args = parser.parse_args()
    if args.step == "history":
        history(args.folder, args.of)
    else:
        compare(args.folder, args.of[0])


if __name__ == "__main__":
    cli.run(main)
