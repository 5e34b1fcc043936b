"""The table of runs/summary.sh: greedy and sampled completions over several seeds, for simple and verbose prompts.

    python -m runs.summary outputs/summary

A greedy gain has its 95 % interval over files. A drawn score is the mean over the seeds; what follows it is the
standard deviation from seed to seed, which is chance in the answers and says nothing about other classes. A drawn gain
is adapted minus base with the same seed, with its 95 % interval by Student's t over the seeds. The floor is the best
answer without a model: nothing, another prompt's reference, the most frequent or the nearest training docstring. The
last column is how often the adapted model stops by itself, in percent.
"""

import statistics
from collections.abc import Iterator
from pathlib import Path

from codefit import cli, console
from codefit.evaluation import result_schema
from codefit.evaluation.result_schema import BenchmarkResult, MetricRow
from runs.over_seeds import interval

METRICS = ("chrf", "rouge_l")


def heldout(folder: Path) -> BenchmarkResult:
    """Return what a benchmark found about the held-out classes."""
    return result_schema.read(folder).benchmarks["heldout"]


def row_of(found: BenchmarkResult, metric: str) -> MetricRow:
    return next(row for row in found.metrics if row.metric == metric)


def stops(found: BenchmarkResult) -> float:
    """Return how often the adapted model stops by itself at a natural end, in percent."""
    return 100 * next(it for it in found.checks if it.check == "stops_at_natural_end").counts["adapted"].share


def table(folder: Path) -> Iterator[list[str]]:
    """Yield a row for each prompt style, metric and kind of decoding."""
    for style in ("plain", "verbose"):
        greedy = heldout(folder / style / "benchmark")
        drawn = [heldout(path) for path in sorted((folder / style).glob("drawn-*"))]
        for metric in METRICS:
            row, floors = row_of(greedy, metric), greedy.baselines[:-1]  # the last one is the references
            floor = f"{max(each.values[metric] for each in floors):.1f}"
            values = [f"{row.scores[role].value:.1f}" for role in ("base", "adapted")]
            gain = row.against_base["adapted"]
            between = f"{gain.value:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}]"
            yield [style, row.label, "greedy", *values, between, floor, f"{stops(greedy):.0f}"]
            if len(drawn) > 1:
                yield [style, row.label, f"{len(drawn)} seeds", *drawn_cells(drawn, metric), floor, mean_stops(drawn)]


def drawn_cells(drawn: list[BenchmarkResult], metric: str) -> list[str]:
    """Return mean and standard deviation of base and adapted model, and the gain with its interval, as text."""
    rows = [row_of(found, metric).scores for found in drawn]
    base, adapted = ([scores[role].value for scores in rows] for role in ("base", "adapted"))
    cells = [f"{statistics.fmean(each):.1f} ± {statistics.stdev(each):.1f}" for each in (base, adapted)]
    return [*cells, interval([new - old for old, new in zip(base, adapted, strict=True)], digits=1)]


def mean_stops(drawn: list[BenchmarkResult]) -> str:
    return f"{statistics.fmean(map(stops, drawn)):.0f}"


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("folder", type=Path, help="output folder of runs/summary.sh")
    rows = list(table(parser.parse_args().folder))
    console.show(console.table(rows, ["prompt", "metric", "answers", "base", "adapted", "gain", "floor", "stops"]))


if __name__ == "__main__":
    cli.run(main)
