"""The plot of a benchmark: scores with their intervals."""

from pathlib import Path
from typing import Any

from codefit.evaluation.report import wording
from codefit.evaluation.report.wording import Models
from codefit.evaluation.result_schema import BenchmarkResult, MetricRow, Scores
from codefit.plotting import COLOURS, MARKERS, new_figure, save, style


def scores(content: Scores, path: Path) -> None:
    """Draw the scores of both models with their 95 % intervals: a row of panels per benchmark, one scale per panel.

    Args:
        content: the content of scores.json.
        path: the PNG to write.
    """
    benchmarks, models = content.benchmarks, content.models
    with style():
        figure = new_figure(width=10.0, height=0.4 + (2.3 + 0.4 * len(models)) * len(benchmarks))
        panels = figure.subfigures(len(benchmarks), 1, squeeze=False)[:, 0]
        for panel, benchmark in zip(panels, benchmarks.values(), strict=True):
            _draw_benchmark(panel, benchmark, models)
        save(figure, path)


def _draw_benchmark(panel: Any, result: BenchmarkResult, models: Models) -> None:
    """Draw the metrics that share the scale to 100 on the left; each other one has a scale of its own on the right."""
    shared = [row for row in result.metrics if row.higher_is_better]
    own = [row for row in result.metrics if not row.higher_is_better]
    mosaic = [["shared", row.metric] for row in own] or [["shared"]]
    axes = panel.subplot_mosaic(mosaic, width_ratios=[2.4, 1.0][: len(mosaic[0])])
    _draw_group(axes["shared"], shared, models)
    for row in own:
        _draw_group(axes[row.metric], [row], models)
    panel.suptitle(wording.title(result), x=0.01, ha="left", fontsize=10, fontweight="bold", color="#1c2128")
    handles = axes["shared"].get_legend_handles_labels()
    panel.legend(*handles, loc="outside upper right", ncols=len(models), borderpad=0)


def _draw_group(axes: Any, rows: list[MetricRow], models: Models) -> None:
    for place, (key, model) in enumerate(models.items()):
        cells = [row.scores[key] for row in rows]
        below = [max(0.0, found.value - found.low) for found in cells]
        above = [max(0.0, found.high - found.value) for found in cells]
        shift = 0.64 * ((place + 0.5) / len(models) - 0.5)
        heights = [position + shift for position in range(len(rows))]
        axes.errorbar(
            [found.value for found in cells],
            heights,
            xerr=[below, above],
            fmt=MARKERS[place % len(MARKERS)],
            color=COLOURS[place % len(COLOURS)],
            elinewidth=2.2,
            markersize=5,
            label=model.label,
        )
        for row, found, height in zip(rows, cells, heights, strict=True):
            text = wording.number(found.value, row)
            axes.annotate(text, (found.high, height), (7, 0), textcoords="offset points", va="center", fontsize=8)
    ticks = wording.scale(rows[0])
    axes.set(xlim=(0, ticks[-1] * 1.12), xticks=ticks, ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)))
    axes.set_yticklabels([row.label for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
