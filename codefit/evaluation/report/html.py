"""The report as one self-contained HTML file: no network, no fonts from elsewhere, texts never read as markup."""

import base64
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codefit.evaluation import prompt_groups
from codefit.evaluation.report import browser, tracks, wording
from codefit.evaluation.report.tracks import chip
from codefit.records import Prediction

TEMPLATE = Path(__file__).with_name("report.html")

ByRole = Mapping[str, Sequence[Prediction]]


def page(
    scores: dict[str, Any], predictions: Mapping[str, ByRole], facts: Mapping[str, str], loss_png: Path | None = None
) -> str:
    """Return the report.

    Args:
        scores: the content of scores.json.
        predictions: by benchmark and role, scored per item.
        facts: what else the reader should know of the run (command, versions), by label.
        loss_png: the training curve of the adapter, if there is one.
    """
    models, benchmarks = scores["models"], list(scores["benchmarks"].values())
    adapted = models["adapted"]
    parts = {
        "title": html.escape(f"{adapted['name']} – codefit benchmark"),
        "verdicts": "".join(_verdict(benchmark, models) for benchmark in benchmarks),
        "findings": _findings(benchmarks),
        "scores": tracks.legend(models) + "".join(_scores(benchmark, models) for benchmark in benchmarks),
        "stops": "".join(_stops(benchmark, models) + _checks(benchmark, models) for benchmark in benchmarks),
        "slices": "".join(_slices(benchmark, models) for benchmark in benchmarks),
        "training": _training(loss_png),
        "facts": _facts(models, facts),
        "shown": html.escape(browser.shown(predictions)),
        "items": script_json(browser.content(scores, predictions)),
    }
    # one pass, so that nothing inside a part is taken for a placeholder
    return re.sub(r"<!--\{(\w+)\}-->", lambda match: parts[match[1]], TEMPLATE.read_text(encoding="utf-8"))


def script_json(value: Any) -> str:
    """Return JSON that is safe inside a script element: no character of it can end the element or open a comment."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# ------------------------------------------------------------------------------------------- words


def _verdict(benchmark: dict[str, Any], models: dict[str, Any]) -> str:
    headline, *others = (html.escape(sentence) for sentence in wording.verdict(benchmark, models))
    return f'<p class="verdict">{headline}</p>\n<p class="others">{" ".join(others)}</p>\n'


def _findings(benchmarks: Sequence[dict[str, Any]]) -> str:
    sentences = [
        f"<li>{html.escape(benchmark['title'][0].upper() + benchmark['title'][1:])}: {html.escape(sentence)}</li>"
        for benchmark in benchmarks
        for sentence in benchmark["findings"]
    ]
    return f'<ul class="findings" aria-label="Findings">{"".join(sentences)}</ul>' if sentences else ""


def _facts(models: dict[str, Any], facts: Mapping[str, str]) -> str:
    names = {f"{model['label'][0].upper()}{model['label'][1:]} model": model["name"] for model in models.values()}
    rows = {**names, **facts}.items()
    return "".join(f"<dt>{html.escape(label)}</dt><dd>{html.escape(value)}</dd>" for label, value in rows)


# ------------------------------------------------------------------------------------------- tables


def _table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose cells are markup already; it scrolls sideways on a narrow screen.

    A row of one cell is a heading of the rows below it.
    """
    words = {"Verdict", "signature"}  # columns that are set to the left
    kinds = (' class="words"' if cell in words else "" for cell in header)
    head = "".join(f'<th scope="col"{kind}>{html.escape(cell)}</th>' for kind, cell in zip(kinds, header, strict=True))
    body = "".join(
        f'<tr class="group"><th scope="rowgroup" colspan="{len(header)}">{row[0]}</th></tr>'
        if len(row) == 1
        else f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return (
        f'<p class="caption">{html.escape(caption)}</p>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(caption)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>\n"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _scores(benchmark: dict[str, Any], models: dict[str, Any]) -> str:
    drawn = "".join(tracks.track(row, models, benchmark["baselines"]) for row in benchmark["metrics"])
    plot = f'<h3>{html.escape(wording.title(benchmark))}</h3>\n<div class="tracks">\n{drawn}</div>\n'
    signatures = "".join(f"<li><code>{html.escape(row['signature'])}</code></li>" for row in benchmark["metrics"])
    details = f"<details><summary>Signatures</summary><ul>{signatures}</ul></details>"
    return plot + _score_table(benchmark, models) + _baselines(benchmark, models) + details + _compat(benchmark, models)


def _score_table(benchmark: dict[str, Any], models: dict[str, Any]) -> str:
    several = len(models) > 2
    labels = ("Model", "Score") if several else ("Metric", *_labels(models))
    header = (*labels, "Against the base", "p", "Resolvable", "Verdict")
    rows: list[tuple[str, ...]] = []
    for row in benchmark["metrics"]:
        name = html.escape(f"{row['label']} {row['unit']}".strip())
        if several:
            rows += [(name,), *_models(row, models)]
        else:
            rows.append((name, *(wording.score(row, role) for role in models), *_against(row, row)))
    caption = (
        f"{_capital(benchmark['title'])}: 95 % intervals by resampling files; p of the paired bootstrap, for exact "
        "match and next line of McNemar's exact test; resolvable is the smallest true difference that these prompts "
        "would show"
    )
    return _table(caption, header, rows)


def _models(row: dict[str, Any], models: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a row per model for one metric."""
    found = {role: _against(row, wording.against_base(row, role)) for role in models if role != "base"}
    return [
        (html.escape(model["label"]), wording.score(row, role), *found.get(role, ("", "", "", "")))
        for role, model in models.items()
    ]


def _against(row: dict[str, Any], found: dict[str, Any]) -> tuple[str, ...]:
    gap = found["difference"]
    return (
        wording.interval(gap, row),
        _p(gap.get("mcnemar_p", gap["p"])),
        wording.number(gap["smallest"], row),
        chip(found["verdict"]),
    )


def _p(value: float) -> str:
    return "≤ 0.001" if value < 0.0015 else f"{value:.3f}"


def _baselines(benchmark: dict[str, Any], models: dict[str, Any]) -> str:
    known = benchmark["baselines"]
    rows = [
        (
            html.escape(row["label"]),
            *(wording.number(found["values"][row["metric"]], row) for found in known[:-1]),
            *(wording.number(wording.cell(row, role)["value"], row) for role in models),
            wording.number(known[-1]["values"][row["metric"]], row),
        )
        for row in benchmark["metrics"]
        if row["metric"] in known[-1]["values"]
    ]
    header = ("Metric", *(found["baseline"] for found in known[:-1]), *_labels(models), "references")
    explained = "; ".join(f"{found['baseline']}: {found['label']}" for found in known)
    return _table(f"What answers score that no model wrote, beside the models ({explained})", header, rows)


def _labels(models: dict[str, Any]) -> tuple[str, ...]:
    return tuple(model["label"] for model in models.values())


def _compat(benchmark: dict[str, Any], models: dict[str, Any]) -> str:
    if "compat" not in benchmark:
        return ""
    rows = [tuple(map(html.escape, row)) for row in wording.compat_rows(benchmark)]
    return _table("CodeXGLUE's own numbers, with its rounding", wording.compat_header(models), rows)


def _stops(benchmark: dict[str, Any], models: dict[str, Any]) -> str:
    metric = benchmark["metrics"][0]
    rows = [
        (_capital(row["label"]), *(wording.number(row[role], metric) for role in models))
        for row in benchmark["stop_rules"]["rules"]
    ]
    caption = f"{metric['label']} when predictions are cut afterwards, {benchmark['title']}"
    sentences = "".join(f"<p>{html.escape(_capital(each))}.</p>" for each in wording.stopping(benchmark, models))
    return _table(caption, ("Stop rule", *_labels(models)), rows) + sentences


def _checks(benchmark: dict[str, Any], models: dict[str, Any]) -> str:
    header = ("Share of predictions", "references", *_labels(models))
    rows = [
        (html.escape(_capital(row["label"])), *(wording.share(row[whose]) for whose in ("reference", *models)))
        for row in benchmark["checks"]
    ]
    return _table(f"How predictions end and what is wrong with them, {benchmark['title']}", header, rows)


def _slices(benchmark: dict[str, Any], models: dict[str, Any]) -> str:
    """Return a table per adapted model, the first one open."""
    if not benchmark["slices"]:
        return f"<p>{html.escape(_capital(benchmark['title']))}: every kind of group holds all prompts or none.</p>"
    first, *others = (_groups(benchmark, models, role) for role in wording.fitted(benchmark))
    folded = (f"<details><summary>{html.escape(caption)}</summary>{table}</details>" for caption, table in others)
    return first[1] + "".join(folded)


def _groups(benchmark: dict[str, Any], models: dict[str, Any], role: str) -> tuple[str, str]:
    """Return what the table of groups of one model is called, and the table."""
    metric, kind = benchmark["metrics"][0], ""
    rows: list[tuple[str, ...]] = []
    for row in benchmark["slices"]:
        if row["kind"] != kind:
            kind = row["kind"]
            rows.append((html.escape(prompt_groups.TITLES[kind]),))
        values = (wording.number(row[each], metric) for each in ("base", role))
        gap, verdict = row["against"][role]["difference"], chip(row["against"][role]["verdict"])
        change = wording.interval(gap, metric)
        rows.append((html.escape(row["group"]), str(row["n"]), *values, change, _p(gap["p"]), verdict))
    labels = tuple(models[each]["label"] for each in ("base", role))
    name = f"{metric['label']} of {labels[1]} by group, {benchmark['title']}"
    caption = f"{name}; intervals are of each group alone, p and verdicts are corrected for the number of groups (Holm)"
    return name, _table(caption, ("Group", "Prompts", *labels, "Difference", "p", "Verdict"), rows)


def _training(loss_png: Path | None) -> str:
    if loss_png is None:
        return ""
    data = base64.b64encode(loss_png.read_bytes()).decode()
    image = f'<img src="data:image/png;base64,{data}" alt="Loss over the steps of the training">'
    image = f'<div class="scroll" role="region" tabindex="0" aria-label="Picture of the curve">{image}</div>'
    return f'<section aria-labelledby="training"><h2 id="training">Training curve</h2>{image}</section>'
