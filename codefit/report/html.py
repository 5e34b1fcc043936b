"""The report as one self-contained HTML file: no network, no fonts from elsewhere, texts never read as markup."""

import base64
import difflib
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codefit import report
from codefit.records import Prediction

TEMPLATE = Path(__file__).with_name("report.html")
BROWSER_ITEMS = 500  # more would make the page heavy; all items are in the predictions files
PROMPT_TAIL = 1000  # characters
LONGEST_TEXT = 2000  # characters of a reference or a prediction

Both = tuple[Sequence[Prediction], Sequence[Prediction]]


def page(
    scores: dict[str, Any], predictions: Mapping[str, Both], facts: Mapping[str, str], loss_png: Path | None = None
) -> str:
    """Return the report.

    Args:
        scores: the content of scores.json.
        predictions: base and adapted predictions of each benchmark, scored per item.
        facts: what else the reader should know of the run (command, versions), by label.
        loss_png: the training curve of the adapter, if there is one.
    """
    benchmarks = scores["benchmarks"]
    parts = {
        "title": html.escape(f"{scores['models']['adapted']['name']} – codefit benchmark"),
        "verdicts": "".join(_verdict(name, benchmark) for name, benchmark in benchmarks.items()),
        "findings": _findings(benchmarks),
        "scores": "".join(_scores(name, benchmark) for name, benchmark in benchmarks.items()),
        "checks": "".join(_checks(name, benchmark) for name, benchmark in benchmarks.items()),
        "training": _training(loss_png),
        "facts": _facts(scores, facts),
        "shown": html.escape(_shown(predictions)),
        "items": script_json(_items(predictions)),
    }
    # one pass, so that nothing inside a part is taken for a placeholder
    return re.sub(r"<!--\{(\w+)\}-->", lambda match: parts[match[1]], TEMPLATE.read_text(encoding="utf-8"))


def script_json(value: Any) -> str:
    """Return JSON that is safe inside a script element: no character of it can end the element or open a comment."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# ------------------------------------------------------------------------------------------- scores


def _verdict(name: str, benchmark: dict[str, Any]) -> str:
    headline, *others = (html.escape(sentence) for sentence in report.verdict(name, benchmark))
    return f'<p class="verdict">{headline}</p>\n<p class="others">{" ".join(others)}</p>\n'


def _findings(benchmarks: dict[str, Any]) -> str:
    sentences = [
        f"<li>{html.escape(report.title(name))}: {html.escape(sentence)}</li>"
        for name, benchmark in benchmarks.items()
        for sentence in benchmark["findings"]
    ]
    return f'<ul class="findings" aria-label="Findings">{"".join(sentences)}</ul>' if sentences else ""


def _scores(name: str, benchmark: dict[str, Any]) -> str:
    title = f"{report.title(name)}: {benchmark['n']} prompts from {benchmark['files']} files"
    tracks = "".join(_track(row) for row in benchmark["metrics"])
    plot = f'<h3>{html.escape(title)}</h3>\n<div class="tracks">\n{tracks}</div>\n'
    return plot + _score_table(name, benchmark) + _compat(benchmark)


def _track(row: dict[str, Any]) -> str:
    """Return one metric as a line of its scale with both models on it."""
    scale = report.scale(row)
    marks = _mark(row, "base", scale[-1], 13) + _mark(row, "adapted", scale[-1], 33)
    ticks = "".join(f"<span>{tick:g}</span>" for tick in scale)
    label = f"{row['label']}: base {report.score(row, 'base')}, adapted {report.score(row, 'adapted')}"
    return (
        f'<div class="track"><p><b>{html.escape(row["label"])}</b> {_chip(row["verdict"])} '
        f'<span class="delta">{html.escape(report.difference(row))}</span></p>'
        f'<svg width="100%" height="46" role="img" aria-label="{html.escape(label)}">'
        + "".join(f'<line class="grid" x1="{x}%" x2="{x}%" y1="0" y2="46"/>' for x in (0, 25, 50, 75, 100))
        + f'{marks}</svg><div class="ticks" aria-hidden="true">{ticks}</div></div>\n'
    )


def _mark(row: dict[str, Any], model: str, top: float, y: int) -> str:
    low, value, high = (_percent(row[model][key], top) for key in ("low", "value", "high"))
    anchor, at, shift = ("end", low, -10) if high > 80 else ("start", high, 10)
    return (
        f'<g class="{model}"><line class="whisker" x1="{low:.2f}%" x2="{high:.2f}%" y1="{y}" y2="{y}"/>'
        f'<circle cx="{value:.2f}%" cy="{y}" r="5.5"/>'
        f'<text x="{at:.2f}%" dx="{shift}" y="{y + 4}" text-anchor="{anchor}">'
        f"{report.number(row[model]['value'], row)}</text></g>"
    )


def _percent(value: float, top: float) -> float:
    return 100 * min(max(value / top, 0.0), 1.0)


def _chip(verdict: str) -> str:
    sign = {"better": "▲", "worse": "▼"}.get(verdict, "•")
    return f'<span class="chip {verdict.replace(" ", "-")}">{sign} {verdict}</span>'


def _table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose cells are markup already; it scrolls sideways on a narrow screen."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
    body = "".join(f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{c}</td>" for c in row[1:])}</tr>' for row in rows)
    return (
        f'<p class="caption">{html.escape(caption)}</p>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(caption)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>\n"
    )


def _score_table(name: str, benchmark: dict[str, Any]) -> str:
    header = ("Metric", "Base", "Adapted", "Difference", "p", "Resolvable", "Verdict")
    rows = [
        (
            html.escape(f"{row['label']} {row['unit']}".strip()),
            report.score(row, "base"),
            report.score(row, "adapted"),
            report.difference(row),
            "≤ 0.001" if row["difference"]["p"] < 0.0015 else f"{row['difference']['p']:.3f}",
            report.number(row["difference"]["smallest"], row),
            _chip(row["verdict"]),
        )
        for row in benchmark["metrics"]
    ]
    signatures = "".join(f"<li><code>{html.escape(row['signature'])}</code></li>" for row in benchmark["metrics"])
    caption = (
        f"{report.title(name)}: 95 % intervals by resampling files; resolvable is the smallest true difference "
        "that these prompts would show"
    )
    return _table(caption, header, rows) + f"<details><summary>Signatures</summary><ul>{signatures}</ul></details>"


def _compat(benchmark: dict[str, Any]) -> str:
    if "compat" not in benchmark:
        return ""
    rows = [tuple(map(html.escape, row)) for row in report.compat_rows(benchmark)]
    return _table("CodeXGLUE's own numbers, with its rounding", report.COMPAT_HEADER, rows)


def _checks(name: str, benchmark: dict[str, Any]) -> str:
    header = ("Share of predictions", "References", "Base", "Adapted")
    rows = [
        (html.escape(row["label"]), *(report.share(row[whose]) for whose in ("reference", "base", "adapted")))
        for row in benchmark["checks"]
    ]
    return _table(f"How predictions end and what is wrong with them, {report.TITLES[name]}", header, rows)


def _training(loss_png: Path | None) -> str:
    if loss_png is None:
        return ""
    data = base64.b64encode(loss_png.read_bytes()).decode()
    image = f'<img src="data:image/png;base64,{data}" alt="Loss over the steps of the training">'
    image = f'<div class="scroll" role="region" tabindex="0" aria-label="Picture of the curve">{image}</div>'
    return f'<section aria-labelledby="training"><h2 id="training">Training curve</h2>{image}</section>'


def _facts(scores: dict[str, Any], facts: Mapping[str, str]) -> str:
    names = {f"{role.capitalize()} model": model["name"] for role, model in scores["models"].items()}
    rows = {**names, **facts}.items()
    return "".join(f"<dt>{html.escape(label)}</dt><dd>{html.escape(value)}</dd>" for label, value in rows)


# ------------------------------------------------------------------------------------------- browser


def _shown(predictions: Mapping[str, Both]) -> str:
    total = sum(len(base) for base, _ in predictions.values())
    shown = len(_items(predictions))
    if shown == total:
        return f"{shown} prompts, by edit similarity of base and adapted model."
    return f"{shown} of {total} prompts, the first of each benchmark; all are in the predictions files."


def _items(predictions: Mapping[str, Both]) -> list[dict[str, Any]]:
    limit = BROWSER_ITEMS // len(predictions)
    return [
        _item(name, before, after)
        for name, (base, adapted) in predictions.items()
        for before, after in zip(base[:limit], adapted[:limit], strict=True)
    ]


def _item(benchmark: str, base: Prediction, adapted: Prediction) -> dict[str, Any]:
    return {
        "id": base.id,
        "where": report.TITLES[benchmark],
        "path": base.path,
        "prompt": ("… " if len(base.prompt) > PROMPT_TAIL else "") + base.prompt[-PROMPT_TAIL:],
        "suffix": _cut(base.suffix or ""),
        "reference": _cut(base.reference),
        "base": _answer(base),
        "adapted": _answer(adapted),
    }


def _answer(item: Prediction) -> dict[str, Any]:
    return {
        "score": round(item.scores[report.HEADLINE], 1),
        "end": "stopped by itself" if item.finish_reason == "stop" else "cut by the limit",
        "parts": differing(_cut(item.prediction), _cut(item.reference)),
    }


def _cut(text: str) -> str:
    rest = len(text) - LONGEST_TEXT
    return text if rest <= 0 else f"{text[:LONGEST_TEXT]} … ({rest} more characters)"


def differing(prediction: str, reference: str) -> list[str]:
    """Return the prediction in parts that by turns stand in the reference too, at their place, and do not.

    The first part is one that does; it may be empty.
    """
    ours, theirs = (re.findall(r"\w+|\s+|[^\w\s]", text) for text in (prediction, reference))
    parts = [""]
    for tag, start, end, _, _ in difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        differs = tag != "equal"
        if start < end and differs == (len(parts) % 2 == 1):  # an odd number of parts ends with one that is the same
            parts.append("")
        parts[-1] += "".join(ours[start:end])
    return parts
