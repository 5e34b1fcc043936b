"""The plots of a benchmark: scores with their intervals, and the grid of models with and without retrieved files."""

from pathlib import Path
from typing import Any

from codefit.evaluation.report import wording
from codefit.evaluation.report.wording import Models
from codefit.evaluation.result_schema import CELLS, BenchmarkResult, MetricRow, Scores
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


def grid(result: BenchmarkResult, models: Models, path: Path) -> None:
    """Draw the primary metric of the four cells with its 95 % intervals, over all prompts and in each kind of place.

    Args:
        result: of a benchmark with a grid.
        models: by key.
        path: the PNG to write.
    """
    assert result.grid
    places = result.grid.places
    with style():
        figure = new_figure(width=8.0, height=1.0 + 0.85 * len(places))
        axes = figure.add_subplot()
        for number, key in enumerate(CELLS):
            cells = [place.scores[key] for place in places]
            heights = [row + 0.17 * (number - 1.5) for row in range(len(places))]
            axes.errorbar(
                [found.value for found in cells],
                heights,
                xerr=[[found.value - found.low for found in cells], [found.high - found.value for found in cells]],
                fmt=MARKERS[number],
                color=COLOURS[number],
                elinewidth=2.2,
                markersize=5,
                label=models[key].label,
            )
            for found, height in zip(cells, heights, strict=True):
                text = wording.number(found.value, result.headline)
                axes.annotate(text, (found.high, height), (5, 0), textcoords="offset points", va="center", fontsize=8)
        labels = [f"{place.place or 'all prompts'}\n({place.n})" for place in places]
        axes.set(ylim=(len(places) - 0.5, -0.5), yticks=range(len(places)))
        axes.set_yticklabels(labels)
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"{wording.name(result.headline)}, with 95 % intervals over files")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(CELLS))
        save(figure, path)
