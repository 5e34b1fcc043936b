"""Scores with their intervals as pictures: one track per metric, one mark per model, told apart by shape."""

import html
from typing import Any

from codefit.evaluation.report import wording

LOOKED_UP = "nearest"  # the baseline that a track shows
TOP, STEP = 13, 20  # pixels: where the first model's mark lies, and from one to the next

# The shapes of the marks, the base's first, as in the plots; their size is that of the text.
SHAPES = (
    '<circle r="5.5"/>',
    '<rect x="-5" y="-5" width="10" height="10" rx="1"/>',
    '<path d="M0-7 7 0 0 7-7 0Z"/>',
    '<path d="M0-6.5 6.5 5.5-6.5 5.5Z"/>',
    '<path d="M0 6.5 6.5-5.5-6.5-5.5Z"/>',
)


def legend(models: dict[str, Any]) -> str:
    """Return the models with their marks."""
    entries = "".join(
        f'<span class="model-{place % len(SHAPES)}"><svg width="14" height="14" viewBox="-7 -7 14 14" '
        f'aria-hidden="true">{SHAPES[place % len(SHAPES)]}</svg> {html.escape(model["label"])}</span> '
        for place, model in enumerate(models.values())
    )
    return (
        f'<p class="legend">{entries}<span>bar: 95 % interval</span> '
        "<span>dashed line: the nearest training item, looked up</span></p>"
    )


def track(row: dict[str, Any], models: dict[str, Any], baselines: list[dict[str, Any]]) -> str:
    """Return one metric as a line of its scale with all models on it."""
    scale = wording.scale(row)
    height = TOP + STEP * len(models) - 7
    marks = "".join(_mark(row, role, place, scale[-1]) for place, role in enumerate(models))
    ticks = "".join(f"<span>{tick:g}</span>" for tick in scale)
    label = f"{row['label']}: " + ", ".join(f"{models[role]['label']} {wording.score(row, role)}" for role in models)
    looked_up = next(
        (found["values"].get(row["metric"]) for found in baselines if found["baseline"] == LOOKED_UP), None
    )
    floor = ""
    if looked_up is not None:
        label += f"; nearest training item {wording.number(looked_up, row)}"
        floor = _line("floor", percent(looked_up, scale[-1]), height)
    grid = "".join(_line("grid", x, height) for x in (0, 25, 50, 75, 100))
    return (
        f'<div class="track"><p><b>{html.escape(row["label"])}</b> {chip(row["verdict"])} '
        f'<span class="delta">{html.escape(wording.difference(row))}</span></p>'
        f'<svg width="100%" height="{height}" role="img" aria-label="{html.escape(label)}">{grid}{floor}{marks}</svg>'
        f'<div class="ticks" aria-hidden="true">{ticks}</div></div>\n'
    )


def _line(name: str, x: float, height: int) -> str:
    return f'<line class="{name}" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="{height}"/>'


def _mark(row: dict[str, Any], role: str, place: int, top: float) -> str:
    found = wording.cell(row, role)
    low, value, high = (percent(found[key], top) for key in ("low", "value", "high"))
    anchor, at, shift = ("end", low, -10) if high > 80 else ("start", high, 10)
    y = TOP + STEP * place
    return (
        f'<g class="model-{place % len(SHAPES)}"><line class="whisker" x1="{low:.2f}%" x2="{high:.2f}%" y1="{y}" '
        f'y2="{y}"/><svg x="{value:.2f}%" y="{y}" overflow="visible">{SHAPES[place % len(SHAPES)]}</svg>'
        f'<text x="{at:.2f}%" dx="{shift}" y="{y + 4}" text-anchor="{anchor}">'
        f"{wording.number(found['value'], row)}</text></g>"
    )


def percent(value: float, top: float) -> float:
    """Return a value's place on a scale from 0 to top."""
    return 100 * min(max(value / top, 0.0), 1.0)


def chip(verdict: str) -> str:
    """Return a verdict with a sign and a colour of its own."""
    sign = {"better": "▲", "kept": "▲", "worse": "▼", "forgot": "▼"}.get(verdict, "•")
    return f'<span class="chip {verdict.replace(" ", "-")}">{sign} {verdict}</span>'
