"""The pictures: the training curve and the scores. The same input gives the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codefit import report

GREY, BLUE = "#7a8494", "#1f5fd0"
COLOURS = (
    GREY,
    BLUE,
    "#b3541e",
    "#6d3fb8",
    "#17692f",
)  # of the models, the base first
MARKERS = "osD^v"
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same letters
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlecolor": "#1c2128",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e3e6ea",
    "axes.edgecolor": "#8a919c",
    "axes.labelcolor": "#3c434d",
    "xtick.color": "#3c434d",
    "ytick.color": "#3c434d",
    "legend.frameon": False,
}
CURVES = (
    ("loss", "Loss", "nats per token"),
    ("accuracy", "Accuracy", "share of trained tokens"),
    ("grad_norm", "Gradient norm", ""),
    ("edit_similarity", "Edit similarity", "%"),
    ("replay_loss", "Replay loss", "nats per token"),
)
SMOOTH_FROM = 40  # points; below this a running mean hides more than it shows


def loss_curve(log_history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw what a training logged: loss, and where logged the accuracy on target tokens and the gradient norm.

    Args:
        log_history: the Trainer's `log_history`: dicts with `step` and any of `loss`, `eval_loss`, `accuracy`,
            `eval_accuracy`, `grad_norm`.
        path: the PNG to write.
    """
    drawn = [curve for curve in CURVES if _points(log_history, curve[0]) or _points(log_history, "eval_" + curve[0])]
    with _style():
        figure = _figure(width=1.2 + 3.6 * max(1, len(drawn)), height=3.2)
        all_axes = figure.subplots(1, max(1, len(drawn)), sharex=True, squeeze=False)[0]
        for axes, (key, title, label) in zip(all_axes, drawn or CURVES[:1], strict=True):
            axes.set(title=title, xlabel="step", ylabel=label)
            _draw_curve(axes, _points(log_history, key), _points(log_history, "eval_" + key))
        _save(figure, path)


def _points(log_history: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    return [(int(row["step"]), float(row[key])) for row in log_history if key in row and "step" in row]


def _draw_curve(axes: Any, training: list[tuple[int, float]], validation: list[tuple[int, float]]) -> None:
    if not training and not validation:
        axes.text(0.5, 0.5, "nothing was logged", ha="center", transform=axes.transAxes)
    if training:
        smooth = len(training) >= SMOOTH_FROM
        marker = "o" if len(training) < 3 else ""
        style = {"alpha": 0.35, "linewidth": 0.8} if smooth else {"label": "training", "marker": marker}
        axes.plot(*zip(*training, strict=True), color=GREY, **style)
        if smooth:
            width = len(training) // 10
            mean = _running_mean(training, width)
            axes.plot(*zip(*mean, strict=True), color=GREY, label=f"training, mean of {width}")
    if validation:
        axes.plot(*zip(*validation, strict=True), color=BLUE, marker="o", markersize=3.5, label="validation")
    if training or validation:
        axes.legend()


def _running_mean(points: list[tuple[int, float]], width: int) -> list[tuple[int, float]]:
    windows = (points[start : start + width] for start in range(len(points) - width + 1))
    return [(window[width // 2][0], sum(value for _, value in window) / width) for window in windows]


def trials(rows: Sequence[Mapping[str, Any]], log_scales: Mapping[str, bool], path: Path) -> None:
    """Draw the trials of a search: what each came to, the best so far, and the same by each value that was varied.

    Args:
        rows: `trial`, `state`, `value` and one entry a name of log_scales; trials without a value are left out.
        log_scales: by name of what was varied, whether its axis is logarithmic.
        path: the PNG to write.
    """
    known = [row for row in rows if row["value"] is not None]
    with _style():
        figure = _figure(width=1.2 + 2.9 * (1 + len(log_scales)), height=3.2)
        first, *others = figure.subplots(1, 1 + len(log_scales), sharey=True, squeeze=False)[0]
        first.set(title="Trials", xlabel="trial", ylabel="bits per byte")
        _draw_trials(first, known, "trial")
        ended = [row for row in known if row["state"] == "complete"]
        so_far = [min(row["value"] for row in ended[: at + 1]) for at in range(len(ended))]
        first.step([row["trial"] for row in ended], so_far, where="post", color=BLUE, label="best so far")
        first.legend()
        for axes, (name, log) in zip(others, log_scales.items(), strict=True):
            axes.set(title=name, xscale="log" if log else "linear")
            _draw_trials(axes, [{**row, name: _plain(row[name])} for row in known], name)
        _save(figure, path)


def _plain(value: Any) -> Any:
    """Return a number as it is, and anything else as the name of a category."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _draw_trials(axes: Any, rows: Sequence[Mapping[str, Any]], key: str) -> None:
    for state, marker, label in (("complete", "o", "complete"), ("pruned", "x", "stopped early")):
        chosen = [row for row in rows if row["state"] == state]
        if chosen:
            values = [row["value"] for row in chosen]
            axes.scatter([row[key] for row in chosen], values, color=GREY, marker=marker, s=22, label=label)


def scores(content: dict[str, Any], path: Path) -> None:
    """Draw the scores of both models with their 95 % intervals: a row of panels per benchmark, one scale per panel.

    Args:
        content: the content of scores.json.
        path: the PNG to write.
    """
    benchmarks, models = content["benchmarks"], content["models"]
    with _style():
        figure = _figure(width=10.0, height=0.4 + (2.3 + 0.4 * len(models)) * len(benchmarks))
        panels = figure.subfigures(len(benchmarks), 1, squeeze=False)[:, 0]
        for panel, benchmark in zip(panels, benchmarks.values(), strict=True):
            _draw_benchmark(panel, benchmark, models)
        _save(figure, path)


def _draw_benchmark(panel: Any, benchmark: dict[str, Any], models: dict[str, Any]) -> None:
    """Draw the metrics that share the scale to 100 on the left; each other one has a scale of its own on the right."""
    shared = [row for row in benchmark["metrics"] if row["higher_is_better"]]
    own = [row for row in benchmark["metrics"] if not row["higher_is_better"]]
    mosaic = [["shared", row["metric"]] for row in own] or [["shared"]]
    axes = panel.subplot_mosaic(mosaic, width_ratios=[2.4, 1.0][: len(mosaic[0])])
    _draw_group(axes["shared"], shared, models)
    for row in own:
        _draw_group(axes[row["metric"]], [row], models)
    panel.suptitle(report.title(benchmark), x=0.01, ha="left", fontsize=10, fontweight="bold", color="#1c2128")
    handles = axes["shared"].get_legend_handles_labels()
    panel.legend(*handles, loc="outside upper right", ncols=len(models), borderpad=0)


def _draw_group(axes: Any, rows: list[dict[str, Any]], models: dict[str, Any]) -> None:
    for place, (role, model) in enumerate(models.items()):
        cells = [report.cell(row, role) for row in rows]
        below = [max(0.0, found["value"] - found["low"]) for found in cells]
        above = [max(0.0, found["high"] - found["value"]) for found in cells]
        shift = 0.64 * ((place + 0.5) / len(models) - 0.5)
        heights = [position + shift for position in range(len(rows))]
        axes.errorbar(
            [found["value"] for found in cells],
            heights,
            xerr=[below, above],
            fmt=MARKERS[place % len(MARKERS)],
            color=COLOURS[place % len(COLOURS)],
            elinewidth=2.2,
            markersize=5,
            label=model["label"],
        )
        for row, found, height in zip(rows, cells, heights, strict=True):
            text = report.number(found["value"], row)
            axes.annotate(text, (found["high"], height), (7, 0), textcoords="offset points", va="center", fontsize=8)
    ticks = report.scale(rows[0])
    axes.set(xlim=(0, ticks[-1] * 1.12), xticks=ticks, ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)))
    axes.set_yticklabels([row["label"] for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=160, layout="constrained")


def _style() -> Any:
    import matplotlib.style

    return matplotlib.style.context(["default", STYLE])  # not what the user's matplotlibrc says


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, format="png", metadata={"Software": None})
