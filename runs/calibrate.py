"""How often are verdicts false, and how often do intervals miss the truth? Simulations on real scores per item.

    python -m runs.calibrate outputs/demo/benchmark --simulations 2000

The files of a finished benchmark are a population, so that the truth is known. A simulated benchmark draws files from
it with replacement. False verdicts: a coin swaps the labels of the models in each drawn file, so that there is no
difference. Coverage: the labels stay, and the true difference is that of the population.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from codefit import cli, console
from codefit.evaluation import task_metrics
from codefit.evaluation.report import results
from codefit.records import Prediction
from codefit.scoring import statistics
from codefit.scoring.metric import Metric
from codefit.scoring.statistics import Array, Comparison

FILES = (2, 5, 6, 10, 28, 50, 200)


@dataclasses.dataclass(frozen=True)
class Population:
    """Files with the statistics of their items for two models.

    Attributes:
        metrics: the primary one first.
        stats: by metric and model, the statistics of all items, shape (items, k), float64.
        files: the items of each file, as indices.
    """

    metrics: Sequence[Metric]
    stats: list[tuple[Array, Array]]
    files: list[Array]


def population(base: Sequence[Prediction], adapted: Sequence[Prediction]) -> Population:
    """Return the population that two models' predictions of the same items make."""
    metrics = task_metrics.applicable({"base": base, "adapted": adapted})
    stats = [(metric.of_items(base), metric.of_items(adapted)) for metric in metrics]
    at: dict[tuple[str, str], list[int]] = {}
    for index, item in enumerate(base):
        at.setdefault((item.repository, item.path), []).append(index)
    return Population(metrics, stats, [np.array(each) for each in at.values()])


def simulated(pool: Population, count: int, swap: bool, random: np.random.Generator) -> Iterator[Comparison]:
    """Yield the comparison of every metric in one simulated benchmark of `count` files."""
    drawn = random.integers(len(pool.files), size=count)
    at = np.concatenate([pool.files[file] for file in drawn])
    clusters = [str(number) for number, file in enumerate(drawn) for _ in pool.files[file]]
    coins = random.integers(0, 2, size=count) if swap else np.zeros(count, int)
    swapped = np.repeat(coins, [len(pool.files[file]) for file in drawn])
    for metric, (a, b) in zip(pool.metrics, pool.stats, strict=True):
        chosen = swapped[:, np.newaxis] == 1
        one, other = np.where(chosen, b[at], a[at]), np.where(chosen, a[at], b[at])
        yield statistics.compare(one, other, clusters, metric.scale, seed=0)


def truth(pool: Population, number: int) -> float:
    """Return the difference of the two models in one metric over the whole population."""
    metric, (a, b) = pool.metrics[number], pool.stats[number]
    return metric.corpus_score(b) - metric.corpus_score(a)


def calibrate(pool: Population, simulations: int, seed: int) -> dict[str, dict[int, tuple[float, float]]]:
    """Return by metric and number of files the shares of false verdicts and of missed truths, in percent."""
    names = [metric.label for metric in pool.metrics]
    found: dict[str, dict[int, tuple[float, float]]] = {name: {} for name in [*names, "any metric of the table"]}
    truths = [truth(pool, number) for number in range(len(pool.metrics))]
    for count in console.progress(FILES, "calibrate", unit="size"):
        random = np.random.default_rng(seed + count)
        false, missed, any_false = np.zeros(len(names)), np.zeros(len(names)), 0
        for _ in range(simulations):
            table = list(simulated(pool, count, swap=True, random=random))
            verdicts = [each.verdict in ("better", "worse") for each in table]
            false += verdicts
            p_values = [max(each.p, each.mcnemar_p or 0.0) for each in table]
            first, others = statistics.family(p_values[0], p_values[1:])
            any_false += table[0].verdict != "too few" and min(first, *others) < statistics.RESOLVED
            table = list(simulated(pool, count, swap=False, random=random))
            missed += [not each.low <= value <= each.high for each, value in zip(table, truths, strict=True)]
        for name, wrong, miss in zip(names, false, missed, strict=True):
            found[name][count] = 100 * wrong / simulations, 100 * miss / simulations
        found["any metric of the table"][count] = 100 * any_false / simulations, float("nan")
    return found


def shown(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.1f}"


def main() -> None:
    """Print two tables: false verdicts and missed truths."""
    parser = cli.Parser(__doc__)
    parser.add_argument("benchmark", type=Path, help="folder of a finished benchmark with many files")
    parser.add_argument("--simulations", type=cli.number(int, 1), default=2000, help="for each number of files")
    parser.add_argument("--seed", type=cli.number(int, 0), default=0, help="of the simulations")
    args = parser.parse_args()
    by_model = results.read(args.benchmark).predictions["heldout"]
    pool = population(by_model["base"], by_model["adapted"])
    items = sum(map(len, pool.files))
    print(f"population: {items} prompts from {len(pool.files)} files; {args.simulations} simulations a size")
    found = calibrate(pool, args.simulations, args.seed)
    header = ["", *(f"{count} files" for count in FILES)]
    for title, which in (("false verdicts, %", 0), ("interval misses the truth, %", 1)):
        rows = [[name, *(shown(row[count][which]) for count in FILES)] for name, row in found.items()]
        print(f"\n{title}\n{console.table(rows, header)}")


if __name__ == "__main__":
    cli.run(main)
