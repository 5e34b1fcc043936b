"""Plots of training: the loss curve of a run, several runs in one plot, and the trials of a search."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codefit.plotting import BLUE, COLOURS, GREY, MARKERS, new_figure, save, style

CURVES = (
    ("loss", "Loss", "nats per token"),
    ("accuracy", "Accuracy", "share of trained tokens"),
    ("grad_norm", "Gradient norm", ""),
    ("edit_similarity", "Edit similarity", "%"),
    ("naming_f1", "Name F1", "%"),
    ("chrf", "chrF", "%"),
    ("rouge_l", "ROUGE-L", "%"),
    ("replay_loss", "Replay loss", "nats per token"),
    ("learning_rate", "Learning rate", ""),
)

MOST_NUMBERS = 5  # on an axis of trials
SMOOTH_FROM = 40  # points; below this a running mean hides more than it shows


def loss_curve(log_history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw what a run logged: the loss, and every other curve of CURVES that was logged.

    Args:
        log_history: the Trainer's `log_history`: dicts with `step` and any of `loss`, `eval_loss`, `accuracy`,
            `eval_accuracy`, `grad_norm`.
        path: the PNG to write.
    """
    drawn = [curve for curve in CURVES if _points(log_history, curve[0]) or _points(log_history, "eval_" + curve[0])]
    with style():
        figure = new_figure(width=1.2 + 3.6 * max(1, len(drawn)), height=3.2)
        all_axes = figure.subplots(1, max(1, len(drawn)), sharex=True, squeeze=False)[0]
        for axes, (key, title, label) in zip(all_axes, drawn or CURVES[:1], strict=True):
            axes.set(title=title, xlabel="step", ylabel=label)
            _draw_curve(axes, _points(log_history, key), _points(log_history, "eval_" + key))
        save(figure, path)


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


COMPARED = (("loss", "Validation loss", "nats per token"), ("bits_per_byte", "Bits per byte", ""))


@dataclasses.dataclass(frozen=True, slots=True)
class RunCurve:
    """The log of a run, for a plot with others.

    Attributes:
        name: shown in the legend.
        log_history: the entries of its log.jsonl.
        steps: number of optimizer steps.
        trained_tokens: tokens of all steps together.
        seconds: how long the steps took, validation included.
    """

    name: str
    log_history: Sequence[Mapping[str, Any]]
    steps: int
    trained_tokens: int
    seconds: float


def runs(found: Sequence[RunCurve], path: Path) -> None:
    """Draw the validations of several runs over each other: loss and bits per byte, by tokens and by minutes.

    Tokens and minutes of a step are its share of those of the whole run.

    Args:
        found: the runs; each has a validation.
        path: the PNG to write.
    """
    with style():
        figure = new_figure(width=9.0, height=6.4)
        grid = figure.subplots(len(COMPARED), 2, squeeze=False)
        for row, (key, title, label) in zip(grid, COMPARED, strict=True):
            for axes, unit in zip(row, ("million tokens", "minutes"), strict=True):
                axes.set(title=f"{title} by {unit.split()[-1]}", xlabel=unit, ylabel=label)
                for at, run in enumerate(found):
                    whole = run.trained_tokens / 1e6 if unit == "million tokens" else run.seconds / 60
                    steps, values = zip(*_points(run.log_history, "eval_" + key), strict=True)
                    marker, colour = MARKERS[at // len(COLOURS) % len(MARKERS)], COLOURS[at % len(COLOURS)]
                    places = [step / run.steps * whole for step in steps]
                    axes.plot(places, values, marker=marker, color=colour, markersize=3.5, label=run.name)
        figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper left", ncols=min(4, len(found)))
        save(figure, path)


def trials(rows: Sequence[Mapping[str, Any]], log_scales: Mapping[str, bool], path: Path) -> None:
    """Draw the trials of a search: the result of each, the best so far, and the results by each hyperparameter.

    Args:
        rows: `trial`, `state`, `value` and one entry per name of log_scales; trials without a value are left out.
        log_scales: for each hyperparameter, whether its axis is logarithmic.
        path: the PNG to write.
    """
    known = [row for row in rows if row["value"] is not None]
    with style():
        figure = new_figure(width=1.2 + 2.9 * (1 + len(log_scales)), height=3.2)
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
        save(figure, path)


def _plain(value: Any) -> Any:
    """Return a number unchanged, and anything else as the name of a category."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _draw_trials(axes: Any, rows: Sequence[Mapping[str, Any]], key: str) -> None:
    for state, marker, label in (("complete", "o", "complete"), ("pruned", "x", "stopped early")):
        chosen = [row for row in rows if row["state"] == state]
        if chosen:
            values = [row["value"] for row in chosen]
            axes.scatter([row[key] for row in chosen], values, color=GREY, marker=marker, s=22, label=label)
    _count_in_integers(axes, [row[key] for row in rows])


def _count_in_integers(axes: Any, values: Sequence[Any]) -> None:
    """Place the numbers on the x axis: whole numbers where the values are, few enough that none overprints another."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if not values or isinstance(values[0], str):
        axes.tick_params(axis="x", labelrotation=30 if len({*values}) > 3 else 0)
        return
    whole = all(isinstance(value, int) for value in values)
    if axes.get_xscale() == "log":
        wide = max(values) >= 100 * min(values)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 3.0), numticks=6))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        return
    places = sorted({*values})
    gaps = [right - left for left, right in itertools.pairwise(places)]
    if whole and len(places) <= MOST_NUMBERS and min(gaps, default=1) * MOST_NUMBERS >= sum(gaps):
        axes.set_xticks(places)  # a choice such as 8, 16
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=MOST_NUMBERS - 1, integer=whole))
