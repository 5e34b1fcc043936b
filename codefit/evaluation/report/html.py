"""The report as one self-contained HTML file: no network, no external fonts, texts are never read as markup.

This module prepares the content; `report.html` and `macros.html` are the Jinja templates, which escape every text.
"""

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from codefit.evaluation import prompt_groups
from codefit.evaluation.comparison import ByModel
from codefit.evaluation.report import conclusion, forest_plot, prediction_browser, wording
from codefit.evaluation.report.wording import Models, capital
from codefit.evaluation.result_schema import BenchmarkResult, Difference, Group, MetricRow, Scores


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """A table of texts; cells in the column "Verdict" become labels. A row of one cell is a heading of those below."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    name: str = ""  # where it is folded


def page(
    scores: Scores, predictions: Mapping[str, ByModel], facts: Mapping[str, str], loss_png: Path | None = None
) -> str:
    """Return the report.

    Args:
        scores: the content of scores.json.
        predictions: by benchmark and model, scored per item.
        facts: other facts about the run (command, versions), by label.
        loss_png: the training curve of the adapter, if there is one.
    """
    models, results = scores.models, scores.benchmarks.values()
    names = {f"{capital(model.label)} model": model.name for model in models.values()}
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    ).get_template("report.html")
    return template.render(
        title=f"{models['adapted'].name} – codefit benchmark",
        verdicts=[_verdict(result, models) for result in results],
        findings=[f"{capital(result.title)}: {finding}" for result in results for finding in result.findings],
        labels=_labels(models),
        benchmarks=[_benchmark(result, models) for result in results],
        loss_png=base64.b64encode(loss_png.read_bytes()).decode() if loss_png else "",
        facts={**names, **facts},
        shown=prediction_browser.shown(predictions),
        items=script_json(prediction_browser.content(scores, predictions)),
    )


def script_json(value: Any) -> markupsafe.Markup:
    """Return JSON that is safe inside a script element: no character of it can end the element or open a comment."""
    text = json.dumps(value, separators=(",", ":"))
    return markupsafe.Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _verdict(result: BenchmarkResult, models: Models) -> dict[str, str]:
    headline, *others = conclusion.sentences(result, models)
    return {"headline": headline, "others": " ".join(others)}


def _benchmark(result: BenchmarkResult, models: Models) -> dict[str, Any]:
    """Return what the page shows of one benchmark."""
    return {
        "title": wording.title(result),
        "tracks": [forest_plot.track(row, models, result.baselines) for row in result.metrics],
        "scores": _score_table(result, models),
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
    labels = ("Model", "Score") if several else ("Metric", *_labels(models))
    rows: list[tuple[str, ...]] = []
    for row in result.metrics:
        name = f"{row.label} {row.unit}".strip()
        if several:
            rows += [(name,), *_models(row, models)]
        else:
            rows.append((name, *(wording.score(row, key) for key in models), *_against(row, "adapted")))
    caption = (
        f"{capital(result.title)}: 95 % intervals over files; p of a permutation test by file and, for hits, of "
        "McNemar's exact test too, corrected for the number of secondary metrics (Holm); resolvable: the smallest "
        "true difference that these prompts can show"
    )
    return Table(caption, (*labels, "Against the base", "p", "Resolvable", "Verdict"), rows)


def _models(row: MetricRow, models: Models) -> list[tuple[str, ...]]:
    """Return a row per model for one metric."""
    return [(model.label, wording.score(row, key), *_against(row, key)) for key, model in models.items()]


def _against(row: MetricRow, key: str) -> tuple[str, ...]:
    """Return the difference of a model to the base, its p, what would be resolved, and the verdict."""
    gap = row.against_base.get(key)
    if gap is None:
        return ("", "", "", "")
    return (wording.interval(gap, row), _p(gap.p), wording.number(gap.smallest, row), gap.verdict)


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
    return Table(f"Baselines without a model, next to the models ({explained})", header, rows)


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
    caption = f"How predictions end, and their defects, {result.title}"
    return Table(caption, ("Share of predictions", "references", *_labels(models)), rows)


def _groups(result: BenchmarkResult, models: Models, key: str) -> Table:
    """Return the table of groups of one adapted model."""
    metric, kind = result.headline, ""
    rows: list[tuple[str, ...]] = []
    for group in result.groups:
        if group.kind != kind:
            kind = group.kind
            rows.append((prompt_groups.TITLES[kind],))
        rows.append(_group(group, key, metric, group.against_base[key]))
    labels = tuple(models[each].label for each in ("base", key))
    name = f"{metric.label} of {labels[1]} by group, {result.title}"
    caption = f"{name}; intervals are not corrected, p and verdicts are corrected for all secondary differences (Holm)"
    return Table(caption, ("Group", "Prompts", *labels, "Difference", "p", "Verdict"), rows, name)


def _group(group: Group, key: str, metric: MetricRow, gap: Difference) -> tuple[str, ...]:
    values = (wording.number(group.values[each], metric) for each in ("base", key))
    return (group.group, str(group.n), *values, wording.interval(gap, metric), _p(gap.p), gap.verdict)
