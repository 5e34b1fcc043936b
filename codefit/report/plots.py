"""The pictures: the training curve and the scores. The same input gives the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

GREY, BLUE = "#7a8494", "#1f5fd0"
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


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=160, layout="constrained")


def _style() -> Any:
    import matplotlib.style

    return matplotlib.style.context(["default", STYLE])  # not what the user's matplotlibrc says


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, format="png", metadata={"Software": None})
