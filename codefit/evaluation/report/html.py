"""The report as one self-contained HTML file: no network, no external fonts, texts are never read as markup.

This module prepares the content; `report.html`, `charts.html` and `report.js` show it in the frame of `codefit/page`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codefit.evaluation import prompt_groups
from codefit.evaluation.comparison import ByModel
from codefit.evaluation.report import conclusion, forest_plot, grid_wording, prediction_browser, wording
from codefit.evaluation.report.wording import Models, capital
from codefit.evaluation.result_schema import BenchmarkResult, Difference, Group, MetricRow, Scores
from codefit.page.rendering import Cell, Link, Table, embedded, render, script_json

CONTENTS = {
    "examples": "Examples",
    "scores": "Scores",
    "predictions": "Predictions",
    "charts": "Charts",
    "groups": "Groups of prompts",
    "endings": "Endings and defects",
    "numbers": "p values, baselines, signatures",
}


def page(
    scores: Scores,
    predictions: Mapping[str, ByModel],
    facts: Mapping[str, str],
    loss_png: Path | None = None,
    grids: Mapping[str, Path] | None = None,
) -> str:
    """Return the report.

    Args:
        scores: the content of scores.json.
        predictions: by benchmark and model, scored per item.
        facts: other facts about the run (command, versions), by label.
        loss_png: the training curve of the adapter, if there is one.
        grids: the pictures of the grids, by benchmark.
    """
    models = scores.models
    names = {f"{capital(model.label)} model": model.name for model in models.values()}
    content = prediction_browser.content(scores, predictions)
    results = [scores.benchmarks[name] for name in predictions]
    pictures = [embedded((grids or {}).get(name)) for name in predictions]
    return render(
        Path(__file__).parent,
        "report.html",
        title=f"{models['adapted'].name} – codefit benchmark",
        names=f"{models['adapted'].name} and its base {models['base'].name}",
        labels=_labels(models),
        contents=CONTENTS.items(),
        benchmarks=[
            {**_benchmark(result, models), "examples": examples, "grid_png": picture}
            for result, examples, picture in zip(results, content["examples"], pictures, strict=True)
        ],
        loss_png=embedded(loss_png),
        facts={**names, **facts},
        shown=prediction_browser.shown(predictions),
        items=script_json(content),
    )


def _benchmark(result: BenchmarkResult, models: Models) -> dict[str, Any]:
    """Return what the page shows of one benchmark."""
    headline, *others = conclusion.sentences(result, models)
    return {
        "title": wording.title(result),
        "short_title": capital(result.title),
        "headline": headline,
        "accepted": conclusion.accepted(result, models),
        "findings": conclusion.warnings(result, models),
        "others": " ".join(others),
        "examples_rule": prediction_browser.rule(result),
        "tracks": [forest_plot.track(row, models, result.baselines) for row in result.metrics],
        "scores": _score_table(result, models),
        "grid": grid_wording.sentences(result, models),
        "grid_tables": _grid(result, models) if result.grid else [],
        "tests": _tests(result, models),
        "baselines": _baselines(result, models),
        "signatures": [row.signature for row in result.metrics],
        "compat": _compat(result, models),
        "groups": [_groups(result, models, key) for key in wording.fitted(result)] if result.groups else [],
        "without_groups": f"{capital(result.title)}: all prompts are in the same group of every kind.",
        "stop_rules": _stop_rules(result, models),
        "stopping": [f"{capital(sentence)}." for sentence in wording.stopping(result, models)],
        "checks": _checks(result, models),
    }


def _labels(models: Models) -> tuple[str, ...]:
    return tuple(model.label for model in models.values())


# ------------------------------------------------------------------------------------------- tables


def _score_table(result: BenchmarkResult, models: Models) -> Table:
    several = len(models) > 2
    rows: list[tuple[str, ...]] = []
    for row in result.metrics:
        name = f"{wording.label(row, result)} {row.unit}".strip()
        if several:
            rows += [(name,), *((model.label, *_scored(row, [key], key)) for key, model in models.items())]
        else:
            rows.append((name, *_scored(row, list(models), "adapted")))
    header = ("Model", "Verdict", "Score") if several else ("Metric", "Verdict", *_labels(models))
    caption = "In brackets: 95 % intervals over files. Verdicts are corrected for the number of secondary metrics."
    return Table(caption, (*header, "Against the base"), rows)


def _grid(result: BenchmarkResult, models: Models) -> list[Table]:
    """Return the tables of the grid."""
    captions = {
        grid_wording.square: "In brackets: 95 % intervals over files",
        grid_wording.costs: "Tokens: means over all prompts; processor time: of a few, asked one by one",
        grid_wording.comparisons: "Verdicts are corrected for the number of comparisons",
    }
    tables = [(caption, *make(result, models)) for make, caption in captions.items()]
    return [Table(caption, tuple(map(capital, header)), rows) for caption, header, rows in tables]


def _scored(row: MetricRow, shown: list[str], key: str) -> tuple[str, ...]:
    """Return the verdict on a model, the scores of the shown ones, and its difference to the base."""
    gap = row.against_base.get(key)
    scores = [wording.score(row, each) for each in shown]
    return (gap.verdict, *scores, wording.interval(gap, row)) if gap else ("", *scores, "")


def _tests(result: BenchmarkResult, models: Models) -> Table:
    """Return what the verdicts rest on, a row per metric and adapted or few-shot model."""
    several = len(models) > 2
    rows = [
        (
            f"{row.label}, {models[key].label}" if several else row.label,
            gap.verdict,
            wording.interval(gap, row),
            _p(gap.p),
            wording.resolvable(gap, row),
        )
        for row in result.metrics
        for key, gap in row.against_base.items()
    ]
    caption = (
        "p of a permutation test by file and, for hits, of McNemar's exact test too, corrected for the number of "
        "secondary metrics (Holm); resolvable: the smallest true difference that these prompts can show"
    )
    return Table(caption, ("Metric", "Verdict", "Against the base", "p", "Resolvable"), rows, "Tests")


def _p(value: float) -> str:
    return "≤ 0.001" if value < 0.0015 else f"{value:.3f}"


def _baselines(result: BenchmarkResult, models: Models) -> Table:
    *floors, ceiling = result.baselines
    rows = [
        (
            row.label,
            *(wording.number(found.values[row.metric], row) for found in floors),
            *(wording.number(row.scores[key].value, row) for key in models),
            wording.number(ceiling.values[row.metric], row),
        )
        for row in result.metrics
        if row.metric in ceiling.values
    ]
    header = ("Metric", *(found.baseline for found in floors), *_labels(models), "references")
    explained = "; ".join(f"{found.baseline}: {found.label}" for found in result.baselines)
    return Table(capital(explained), header, rows, "Baselines without a model")


def _compat(result: BenchmarkResult, models: Models) -> Table | None:
    if not result.compat:
        return None
    caption = "CodeXGLUE's own numbers, with its rounding"
    return Table(caption, wording.compat_header(models), wording.compat_rows(result))


def _stop_rules(result: BenchmarkResult, models: Models) -> Table:
    row = result.headline
    rows = [
        (capital(rule.label), *(wording.number(rule.values[key], row) for key in models))
        for rule in result.stop_rules.rules
    ]
    caption = f"{row.label} of predictions that are cut afterwards, {result.title}"
    return Table(caption, ("Stop rule", *_labels(models)), rows)


def _checks(result: BenchmarkResult, models: Models) -> Table:
    rows = [
        (capital(row.label), wording.share(row.reference), *(wording.share(row.counts[key]) for key in models))
        for row in result.checks
    ]
    if result.entropy:
        rows.append((capital(wording.ENTROPY), "", *(wording.bits(result.entropy[key]) for key in models)))
    caption = f"How predictions end, and their defects, {result.title}"
    return Table(caption, ("Share of predictions", "references", *_labels(models)), rows)


def _groups(result: BenchmarkResult, models: Models, key: str) -> Table:
    """Return the table of groups of one adapted model; a group leads to its prompts."""
    metric, kind = result.headline, ""
    rows: list[tuple[Cell, ...]] = []
    for group in result.groups:
        if group.kind != kind:
            kind = group.kind
            rows.append((prompt_groups.TITLES[kind],))
        rows.append(_group(group, key, metric, list(models).index(key)))
    labels = tuple(models[each].label for each in ("base", key))
    caption = (
        "Intervals are not corrected; p and verdicts are corrected for all secondary differences (Holm). A group leads "
        "to its prompts."
    )
    header = ("Group", "Verdict", "Prompts", *labels, "Difference", "p")
    return Table(caption, header, rows, f"{metric.label} of {labels[1]} by group, {result.title}")


def _group(group: Group, key: str, metric: MetricRow, model: int) -> tuple[Cell, ...]:
    gap: Difference = group.against_base[key]
    values = (wording.number(group.values[each], metric) for each in ("base", key))
    kind = list(prompt_groups.TITLES).index(group.kind)
    link = Link(group.group, "#predictions", f"{kind}:{group.group}", model)
    return (link, gap.verdict, str(group.n), *values, wording.interval(gap, metric), _p(gap.p))
