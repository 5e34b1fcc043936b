"""The table of runs/summary.sh: greedy and sampled completions over several seeds, for simple and verbose prompts.

    python -m runs.summary outputs/summary

A drawn score is the mean over the seeds; what follows it is the standard deviation from seed to seed, which is chance
in the answers and says nothing about other classes. The gain is adapted minus base with the same seed, with its 95 %
interval by Student's t over the seeds.
"""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codefit import cli, console
from runs.over_seeds import interval

METRICS = ("chrf", "rouge_l")


def scores(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the metrics of the held-out classes of one benchmark by name."""
    content = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return {row["metric"]: row for row in content["benchmarks"]["heldout"]["metrics"]}


def value(row: dict[str, Any], role: str) -> float:
    return float(row["scores"][role]["value"])


def table(folder: Path) -> Iterator[list[str]]:
    """Yield a row for each prompt style, metric and kind of decoding."""
    for style in ("plain", "verbose"):
        greedy = scores(folder / style / "benchmark")
        drawn = [scores(path) for path in sorted((folder / style).glob("drawn-*"))]
        for name in METRICS:
            label = greedy[name]["label"]
            base, adapted = (value(greedy[name], role) for role in ("base", "adapted"))
            yield [style, label, "greedy", f"{base:.1f}", f"{adapted:.1f}", f"{adapted - base:+.1f}"]
            if len(drawn) > 1:
                both = [[value(run[name], role) for run in drawn] for role in ("base", "adapted")]
                cells = [f"{statistics.fmean(each):.1f} ± {statistics.stdev(each):.1f}" for each in both]
                gains = [new - old for old, new in zip(*both, strict=True)]
                yield [style, label, f"drawn, {len(drawn)} seeds", *cells, interval(gains, digits=1)]


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("folder", type=Path, help="output folder of runs/summary.sh")
    rows = list(table(parser.parse_args().folder))
    print(console.table(rows, ["prompt", "metric", "answers", "base", "adapted", "gain"]))


if __name__ == "__main__":
    cli.run(main)
