"""Were forecasts right? Compare each with the benchmark that was run after it.

    python -m runs.check_forecasts outputs/forecast-a outputs/forecast-b \\
        --benchmarks outputs/a/benchmark outputs/b/benchmark --plot outputs/forecasts.png

A forecast is the folder of forecast.py, a benchmark one of benchmarking.py --repository_context on later changes that
the forecast did not know, with a model after all its steps. Printed are the expected and the measured gain of each of
the three ways, whether the interval holds the measured one, and what the advice cost. It paid if the advised way is
shown to be better than the base, and no way to be better than it. Its regret is what the best of the four ways scored
more than the advised one, next to the regrets of always fitting, always retrieving and always doing both.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codefit import cli, console
from codefit.errors import UserError
from codefit.evaluation import result_schema
from codefit.evaluation.report.wording import points
from codefit.evaluation.result_schema import CELLS, Grid
from codefit.forecast import expectation, outcome
from codefit.forecast.outcome import Forecast
from codefit.forecast.report import LABELS
from codefit.plotting import BLUE, GREY, new_figure, save, style

BASE, FILES, ADAPTED, BOTH = CELLS


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """A forecast with the grid that was measured later."""

    name: str
    forecast: Forecast
    grid: Grid

    def measured(self, cell: str) -> float:
        """Return the measured gain of a cell over the base."""
        scores = self.grid.places[0].scores
        return scores[cell].value - scores[BASE].value

    def regret(self, cell: str) -> float:
        """Return what the best cell scored more than this one."""
        return max(map(self.measured, CELLS)) - self.measured(cell)

    @property
    def paid(self) -> bool:
        """Whether the advised way is shown to be better than the base, and no way to be better than it.

        The grid advises both only where it is shown to be better than each alone. So an advice that is not the grid's
        can pay as well, as far as the benchmark can tell.
        """
        advised = expectation.cell_of(self.forecast.advice)
        place = self.grid.places[0]
        above = [cell for cell in CELLS if self.measured(cell) > self.measured(advised)]
        beaten = any(
            place.difference(*sorted((cell, advised), key=CELLS.index)).verdict in {"better", "worse"} for cell in above
        )
        return not beaten and (advised == BASE or place.difference(BASE, advised).verdict == "better")

    @property
    def held(self) -> dict[str, bool]:
        """Whether the interval of each cell holds what was measured."""
        return {cell.key: cell.gain.low <= self.measured(cell.key) <= cell.gain.high for cell in self.forecast.cells}


def read(forecast: Path, benchmark: Path) -> Checked:
    """Return a forecast and its benchmark.

    Raises:
        UserError: one is missing, or the benchmark has no grid.
    """
    found = outcome.read(forecast)
    grids = [result.grid for result in result_schema.read(benchmark).benchmarks.values() if result.grid]
    if not grids:
        raise UserError(f"{benchmark} was run without --repository_context, so there is nothing to compare with.")
    return Checked(forecast.name.removeprefix("forecast-"), found, grids[0])


def rows(checked: Sequence[Checked]) -> list[tuple[str, ...]]:
    """Return a row for each gain: expected, measured, and whether the interval holds it."""
    return [
        (
            each.name,
            LABELS[cell.key],
            points(cell.gain),
            f"{each.measured(cell.key):+.1f}",
            "yes" if each.held[cell.key] else "no",
        )
        for each in checked
        for cell in each.forecast.cells
    ]


def advice_rows(checked: Sequence[Checked]) -> list[tuple[str, ...]]:
    """Return a row for each repository: the advice, what the grid said, and the regrets."""
    return [
        (
            each.name,
            each.forecast.advice,
            each.grid.advice,
            "yes" if each.paid else "no",
            *(f"{each.regret(cell):.1f}" for cell in (expectation.cell_of(each.forecast.advice), ADAPTED, FILES, BOTH)),
        )
        for each in checked
    ]


def summary(checked: Sequence[Checked]) -> str:
    """Return coverage, right advice and mean regrets in a sentence."""
    held = [value for each in checked for value in each.held.values()]
    right = sum(each.forecast.advice == each.grid.advice for each in checked)
    paid = sum(each.paid for each in checked)
    regrets = {
        "the advice": [each.regret(expectation.cell_of(each.forecast.advice)) for each in checked],
        "always fitting": [each.regret(ADAPTED) for each in checked],
        "always retrieving": [each.regret(FILES) for each in checked],
        "always both": [each.regret(BOTH) for each in checked],
    }
    means = ", ".join(f"{name} {sum(values) / len(values):.1f}" for name, values in regrets.items())
    return (
        f"{sum(held)} of {len(held)} intervals hold the measured gain; the advice was that of the grid for {right} of "
        f"{len(checked)}, and for {paid} it paid and nothing was shown to pay more; mean regret in points: {means}"
    )


def draw(checked: Sequence[Checked], path: Path) -> None:
    """Draw the expected intervals and the measured gains."""
    with style():
        figure = new_figure(9.0, 0.9 + 0.45 * len(checked))
        for axes, key in zip(figure.subplots(1, 3, sharey=True), CELLS[1:], strict=True):
            _draw_cell(axes, checked, key)
        handles = figure.axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=2)
        save(figure, path)


def _draw_cell(axes: Any, checked: Sequence[Checked], key: str) -> None:
    heights = range(len(checked))
    expected = [next(cell.gain for cell in each.forecast.cells if cell.key == key) for each in checked]
    spread = [[each.value - each.low for each in expected], [each.high - each.value for each in expected]]
    axes.axvline(0, color=GREY, linewidth=1)
    values = [each.value for each in expected]
    axes.errorbar(
        values, heights, xerr=spread, fmt="o", color=BLUE, elinewidth=2.2, markersize=4, label="forecast, 95 %"
    )
    measured = [each.measured(key) for each in checked]
    axes.plot(measured, heights, "D", color="#b3541e", markersize=6, label="measured after the whole training")
    axes.set_yticks(heights, [each.name for each in checked])
    axes.set_ylim(len(checked) - 0.5, -0.5)
    axes.set_title(LABELS[key])
    axes.set_xlabel("gain in edit similarity, points")
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the flags."""
    parser = cli.Parser(__doc__)
    parser.usage = "%(prog)s FORECAST [FORECAST ...] --benchmarks BENCHMARK [BENCHMARK ...] [flags]"
    parser.add_argument("forecasts", nargs="+", type=Path, metavar="FORECAST", help="output folders of forecast.py")
    parser.add_argument("--benchmarks", nargs="+", type=Path, required=True, help="of benchmarking.py, in this order")
    parser.add_argument("--plot", type=Path, help="PNG file to write")
    found: argparse.Namespace = parser.parse_args(argv)
    if len(found.benchmarks) != len(found.forecasts):
        parser.error(f"{len(found.forecasts)} forecasts and {len(found.benchmarks)} benchmarks; give one for each")
    return found


def main() -> None:
    """Print the tables, and draw the plot."""
    args = parse()
    checked = [read(*both) for both in zip(args.forecasts, args.benchmarks, strict=True)]
    console.show(console.table(rows(checked), ("repository", "", "expected gain", "measured", "held")))
    header = ("repository", "forecast", "grid", "paid", "regret: advice", "fit", "retrieve", "both")
    console.show(f"\n{console.table(advice_rows(checked), header)}\n\n{summary(checked)}")
    if args.plot:
        draw(checked, args.plot)
        console.show(f"plot: {args.plot}")


if __name__ == "__main__":
    cli.run(main)
