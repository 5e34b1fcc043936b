"""Scores of a finished benchmark that need something more: METEOR, CodeBLEU, BERTScore, and what a linter says.

    pip install nltk==3.10.4
    python -m runs.extra_scores outputs/summary/plain/benchmark --metric meteor
    python -m runs.extra_scores outputs/mine/benchmark --metric linter --documents outputs/mine/raw.jsonl
    pip install --no-deps codebleu==0.7.0
    python -m runs.extra_scores outputs/mine/benchmark --metric codebleu
    pip install bert-score==0.3.13
    python -m runs.extra_scores outputs/summary/plain/benchmark --metric bert_score --bert_model models/roberta-large \\
        --num_layers 17

meteor needs NLTK, and its WordNet data for synonyms. linter puts every Python completion back into its file, which it
takes from the documents of parse_data.py, and counts what ruff finds that it does not find in the author's version.
codebleu is installed without its dependencies, since it asks for an older tree-sitter. bert_score needs the folder of a
model, and which of its layers to compare. These scores are not part of the report: no verdict there is corrected for
them, so read them as they are.
"""

import argparse
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from codefit import cli, console, records
from codefit.errors import UserError
from codefit.evaluation import bert_scores, codebleu_score, linting, prompt_files
from codefit.evaluation.report import results
from codefit.records import Prediction
from codefit.scoring import statistics
from codefit.scoring.meteor import METEOR
from codefit.scoring.statistics import Array, Scale

BASE = "base"
METRICS = ("meteor", "linter", "codebleu", "bert_score")
ByModel = Mapping[str, Sequence[Prediction]]


def build_parser() -> cli.Parser:
    """Return the parser of this program."""
    parser = cli.Parser(__doc__)
    parser.add_argument("folder", type=Path, help="output folder of benchmarking.py")
    parser.add_argument("--metric", nargs="+", choices=METRICS, default=["meteor"], help="what to compute")
    parser.add_argument("--documents", nargs="+", default=[], help="linter: documents that the prompts were cut from")
    parser.add_argument("--bert_model", help="bert_score: the folder of a model")
    parser.add_argument("--num_layers", type=cli.number(int, 1), help="bert_score: the layer whose output is compared")
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


def codebleu(by_model: ByModel) -> dict[str, Array]:
    """Return the statistics of CodeBLEU by model, shape (items, 2) each."""
    return {key: codebleu_score.scores(items) for key, items in by_model.items()}


def bert_score(by_model: ByModel, folder: Path, num_layers: int) -> dict[str, Array]:
    """Return the statistics of BERTScore by model, shape (items, 2) each."""
    return {key: bert_scores.scores(items, folder, num_layers) for key, items in by_model.items()}


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


@dataclasses.dataclass(frozen=True, slots=True)
class Extra:
    """A score: its title, its statistics by model, how values come from them, and its signature."""

    title: str
    compute: Callable[[ByModel], dict[str, Array]]
    scale: Scale
    signature: Callable[[int], str]


def extra(metric: str, args: argparse.Namespace) -> Extra:
    """Return what a metric needs. Raises UserError if its package or its model is missing."""
    percent = METEOR.scale
    if metric == "meteor":
        return Extra("METEOR, %", meteor, percent, METEOR.signature)
    if metric == "linter":
        scale = Scale(statistics.mean, higher_is_better=False, bounds=(0.0, math.inf))
        title = "new findings of ruff per completion"
        return Extra(title, functools.partial(linter, documents=args.documents), scale, linting.signature)
    if metric == "codebleu":
        codebleu_score.refuse_without_library()
        return Extra("CodeBLEU, %, cut as an editor cuts", codebleu, percent, codebleu_score.signature)
    model = {"folder": bert_scores.checked(args.bert_model, args.num_layers), "num_layers": args.num_layers}
    signature = functools.partial(bert_scores.signature, **model)
    return Extra("BERTScore, F1, %", functools.partial(bert_score, **model), percent, signature)


def main() -> None:
    """Print a table for each benchmark and metric."""
    parser = build_parser()
    args = parser.parse_args()
    if "linter" in args.metric and not args.documents:
        parser.error("--metric linter needs --documents")
    if "bert_score" in args.metric and not (args.bert_model and args.num_layers):
        parser.error("--metric bert_score needs --bert_model and --num_layers")
    run = results.read(args.folder)
    labels = {key: model.label for key, model in run.about.models.items()}
    extras = [extra(metric, args) for metric in args.metric]
    for name, by_model in run.predictions.items():
        clusters = prompt_files.clusters(by_model[BASE])
        for each in extras:
            table = rows(each.compute(by_model), clusters, each.scale, labels)
            console.show(f"\n{name}: {each.title}\n")
            console.show(console.table(table, ["model", "score [95 %]", "against base [95 %]", "verdict"]))
            console.show(each.signature(len(by_model[BASE])))


if __name__ == "__main__":
    cli.run(main)
