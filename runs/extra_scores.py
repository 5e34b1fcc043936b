"""Scores of a finished benchmark that need something more: METEOR, and what a linter says about completions.

    pip install nltk==3.10.4
    python -m runs.extra_scores outputs/summary/plain/benchmark --metric meteor
    python -m runs.extra_scores outputs/mine/benchmark --metric linter --documents outputs/mine/raw.jsonl

meteor needs NLTK, and its WordNet data for synonyms. linter puts every Python completion back into its file, which it
takes from the documents of parse_data.py, and counts what ruff finds that it does not find in the author's version.
These scores are not part of the report: no verdict there is corrected for them, so read them as they are.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from codefit import cli, console, records
from codefit.errors import UserError
from codefit.evaluation import linting, prompt_files
from codefit.evaluation.report import results
from codefit.records import Prediction
from codefit.scoring import statistics
from codefit.scoring.meteor import METEOR
from codefit.scoring.statistics import Array, Scale

BASE = "base"
ByModel = Mapping[str, Sequence[Prediction]]


def build_parser() -> cli.Parser:
    """Return the parser of this program."""
    parser = cli.Parser(__doc__)
    parser.add_argument("folder", type=Path, help="output folder of benchmarking.py")
    parser.add_argument("--metric", nargs="+", choices=("meteor", "linter"), default=["meteor"], help="what to compute")
    parser.add_argument("--documents", nargs="+", default=[], help="linter: documents that the prompts were cut from")
    return parser


def meteor(by_model: ByModel) -> dict[str, Array]:
    """Return the statistics of METEOR by model, shape (items, 2) each."""
    return {key: METEOR.of_items(items) for key, items in by_model.items()}


def linter(by_model: ByModel, documents: Sequence[str]) -> dict[str, Array]:
    """Return the statistics of new findings by model, shape (items, 2) each.

    Raises:
        UserError: no completion has a place in the documents.
    """
    base = by_model[BASE]
    found = linting.places(base, (each for source in documents for each in records.read_documents(source)))
    there = sum(place is not None for place in found)
    if not there:
        raise UserError("no Python completion was found in these documents; give those that the data set was made of.")
    console.show(f"{there} of {len(base)} completions are found in their files")
    return {key: linting.new_findings(items, found) for key, items in by_model.items()}


def rows(
    stats: Mapping[str, Array], clusters: Sequence[str], scale: Scale, labels: Mapping[str, str]
) -> list[list[str]]:
    """Return a row for each model: its value, and its difference to the base, with 95 % intervals over files.

    The statistics of each model have the shape (items, 2), float64.
    """
    table = []
    for key, found in stats.items():
        value = statistics.interval(found, clusters, scale)
        row = [labels[key], f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]", "", ""]
        if key != BASE:
            gap = statistics.compare(stats[BASE], found, clusters, scale)
            row[2:] = [f"{gap.difference:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]", gap.verdict]
        table.append(row)
    return table


def main() -> None:
    """Print a table for each benchmark and metric."""
    parser = build_parser()
    args = parser.parse_args()
    if "linter" in args.metric and not args.documents:
        parser.error("--metric linter needs --documents")
    run = results.read(args.folder)
    labels = {key: model.label for key, model in run.about.models.items()}
    compute: dict[str, tuple[str, Callable[[ByModel], dict[str, Array]], Scale, Callable[[int], str]]] = {
        "meteor": ("METEOR, %", meteor, METEOR.scale, METEOR.signature),
        "linter": (
            "new findings of ruff per completion",
            lambda by_model: linter(by_model, args.documents),
            Scale(statistics.mean, higher_is_better=False, bounds=(0.0, math.inf)),
            linting.signature,
        ),
    }
    for name, by_model in run.predictions.items():
        clusters = prompt_files.clusters(by_model[BASE])
        for metric in args.metric:
            title, stats_of, scale, signature = compute[metric]
            table = rows(stats_of(by_model), clusters, scale, labels)
            console.show(f"\n{name}: {title}\n")
            console.show(console.table(table, ["model", "score [95 %]", "against base [95 %]", "verdict"]))
            console.show(signature(len(by_model[BASE])))


if __name__ == "__main__":
    cli.run(main)
