"""What a forecast says: a headline, a picture, then the details, on the terminal and as one HTML page."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codefit import console
from codefit.console import counted
from codefit.evaluation.report import wording
from codefit.evaluation.report.wording import points
from codefit.evaluation.result_schema import CELLS, Advice, Count
from codefit.forecast.expectation import Cell
from codefit.forecast.learning_curve import SHORT, SHORTER
from codefit.forecast.outcome import Forecast
from codefit.forecast.stages import Plan, shown
from codefit.page.rendering import Table, embedded, render
from codefit.plotting import BLUE, GREY, new_figure, save, style

BASE, FILES, ADAPTED, BOTH = CELLS
LABELS = {BASE: "base", FILES: "retrieved files", ADAPTED: "fitted", BOTH: "fitted, with files"}
HEADLINES: dict[Advice, str] = {
    "tune": "Fit the model. Retrieved files are not expected to add enough to show",
    "retrieve": "Show the model other files. Fitting it is not expected to add enough to show",
    "both": "Fit the model, and show it other files: together they are expected to help most",
    "neither": "Neither: no gain is expected that the benchmark would show",
    "too few": "There are too few later changes for a forecast",
}


def headline(found: Forecast) -> str:
    """Return the advice in one sentence."""
    return f"{HEADLINES[found.advice]}."


def about(found: Forecast) -> str:
    """Return what the expected gains are about."""
    return (
        f"{found.metric} over the base ({found.base:.1f}), after {counted(found.steps, 'step')}, in a "
        f"benchmark of {counted(found.later, 'prompt')}"
    )


def cell_rows(cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    """Return a row for each cell: expected and measured gain, prompts for a verdict, and what a completion costs."""
    return [
        (
            LABELS[cell.key],
            points(cell.gain),
            points(cell.measured),
            f"{cell.prompts:,}" if cell.prompts else "–",
            f"{cell.tokens:.0f}",
            f"{cell.seconds:.2f}",
        )
        for cell in cells
    ]


CELL_HEADER = ("", "expected gain", "measured now", "prompts needed", "tokens read", "CPU seconds")


def training(found: Forecast) -> str:
    """Return how many steps are worth their time, and how long they take here."""
    each = found.seconds_per_step
    text = f"{counted(found.steps, 'step')} take about {console.duration(found.steps * each)} here"
    if found.curve.bits[-1] >= found.curve.bits[0]:
        return (
            f"{text}. After the short runs, later code is not expected to become more likely, so more would not help."
        )
    if found.worth == found.steps:
        return f"{text}, and a doubling would add little."
    more = "more" if found.worth > found.steps else "fewer"
    return (
        f"{text}; {more} are worth it: after {found.worth:,} ({console.duration(found.worth * each)}) a doubling would "
        "add less than a twentieth of the gain, or repeat the data a fourth time."
    )


def sign_rows(found: Forecast) -> list[tuple[str, str]]:
    """Return what the data look like, as label and value."""
    signs = found.signs
    rows = [
        ("past, to train on", f"{counted(signs.documents, 'file')}, {counted(signs.pairs, 'pair')}"),
        (f"later changes, since {found.since[:10]}", f"{counted(signs.questions, 'prompt')}, {found.asked} asked"),
        ("later completions with a name that the past lacks", _share(signs.new_names)),
        ("names of completions that retrieved files hold", _share(signs.found)),
        ("bits per byte of the base: past, later code", f"{signs.past_bits:.3f}, {signs.later_bits:.3f}"),
    ]
    if signs.nearest is not None:
        rows.insert(3, (f"{found.metric} of the nearest training example", f"{signs.nearest:.1f}"))
    return rows


def _share(count: Count) -> str:
    """Return a share with its counts."""
    return f"{wording.share(count)} ({count.count} of {count.of})"


def next_commands(found: Forecast, plan: Plan) -> dict[str, str]:
    """Return the commands to go on with, by what they are for."""
    adapter = plan.folder / "adapter"
    fit = "Fit the model" if found.advice in {"tune", "both"} else "To fit the model all the same"
    return {
        fit: shown(plan.train(adapter, found.worth)),
        "Then measure": shown(plan.grid(adapter, plan.folder / "benchmark", found.later)),
    }


def text(found: Forecast) -> str:
    """Return the forecast for the terminal."""
    header, rows = CELL_HEADER, cell_rows(found.cells)
    measured = (
        f"Measured for this: {counted(found.asked, 'prompt')} from {counted(found.files, 'file')}, after "
        f"{counted(found.steps // SHORT, 'step')} of training."
    )
    parts = [
        headline(found),
        f"Expected gain in {about(found)}, with 95 % intervals:",
        console.table([_without_measured(row) for row in rows], _without_measured(header)),
        measured,
        f"Training: {training(found)}",
        console.table(sign_rows(found), ("signs", "")),
    ]
    return "\n\n".join(part if "\n" in part else textwrap.fill(part, console.width()) for part in parts)


def _without_measured(row: Sequence[str]) -> tuple[str, ...]:
    """Return a row without the gain measured now, which only the page has room for."""
    return (*row[:2], *row[3:])


# ---------------------------------------------------------------------------------------------- picture and page


def draw(found: Forecast, path: Path) -> None:
    """Draw the expected scores of the four cells, and the learning curve."""
    with style():
        figure = new_figure(9.0, 3.2)
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
        _draw_cells(left, found)
        _draw_curve(right, found)
        save(figure, path)


def _draw_cells(axes: Any, found: Forecast) -> None:
    axes.axvline(0, color=GREY, linewidth=1)
    for height, cell in enumerate(reversed(found.cells)):
        expected = cell.gain
        spread = [[expected.value - expected.low], [expected.high - expected.value]]
        axes.errorbar([expected.value], [height], xerr=spread, fmt="o", color=BLUE, elinewidth=2.2, markersize=6)
        axes.annotate(
            points(expected),
            (expected.value, height),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(found.cells)), [LABELS[cell.key] for cell in reversed(found.cells)])
    axes.set_ylim(-0.5, len(found.cells) - 0.3)
    axes.set_title(f"Expected gain in {found.metric}")
    axes.set_xlabel(f"points over the base ({found.base:.1f})")
    axes.grid(axis="x")


def _draw_curve(axes: Any, found: Forecast) -> None:
    curve = found.curve
    axes.plot(curve.steps[:3], curve.bits[:3], "o-", color=BLUE, label="measured")
    axes.plot(curve.steps[2:], curve.bits[2:], "--", color=BLUE)
    spread = [[curve.bits[-1] - curve.low], [curve.high - curve.bits[-1]]]
    axes.errorbar(curve.steps[-1:], curve.bits[-1:], yerr=spread, fmt="s", color=BLUE, label="expected")
    axes.set_title("Learning curve")
    axes.set_xlabel("steps of training")
    axes.set_ylabel("bits per byte of later code")
    axes.legend()


def page(found: Forecast, picture: Path, go_on: Mapping[str, str], facts: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        found: the forecast.
        picture: of `draw`.
        go_on: commands by what they are for.
        facts: about the run, by label.
    """
    return render(
        Path(__file__).parent,
        "forecast.html",
        title="Will it pay? – codefit forecast",
        headline=headline(found),
        about=f"Expected gain in {about(found)}; with 95 % intervals.",
        picture=embedded(picture),
        alt="; ".join(f"{LABELS[cell.key]} {points(cell.gain)}" for cell in found.cells),
        training=training(found),
        cells=Table(
            f"Measured now: {found.asked} prompts from {found.files} files, after {found.steps // SHORT} steps. "
            "Prompts needed: for a verdict in four of five experiments.",
            CELL_HEADER,
            cell_rows(found.cells),
        ),
        signs=Table(
            f"The learning curve has two runs, of {found.steps // SHORTER} and {found.steps // SHORT} steps.",
            ("sign", "value"),
            sign_rows(found),
        ),
        go_on=go_on.items(),
        facts=facts.items(),
    )
