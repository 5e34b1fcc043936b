"""How often are verdicts false, and how often do intervals miss the truth? Simulations on real scores per item.

    python -m runs.calibrate outputs/demo/benchmark --simulations 2000

The files of a finished benchmark are a population, so that the truth is known. A simulated benchmark draws files from
it with replacement. False verdicts: a coin swaps the labels of the models in each drawn file, so that there is no
difference. Coverage: the labels stay, and the true difference is that of the population.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codefit import cli, console
from codefit.evaluation import prompt_files, prompt_groups, task_metrics
from codefit.evaluation.report import results
from codefit.records import Prediction
from codefit.scoring import statistics
from codefit.scoring.metric import Metric
from codefit.scoring.statistics import Array, Comparison

FILES = (2, 5, 6, 10, 28, 50, 200)
TABLE = "any row of the table, groups included"


@dataclasses.dataclass(frozen=True)
class Population:
    """Files with the statistics of their items for two models.

    Attributes:
        metrics: the primary one first.
        stats: by metric and model, the statistics of all items, shape (items, k), float64.
        files: the items of each file, as indices.
        groups: the items of each group of prompts that a report would show, shape (items,), bool.
    """

    metrics: Sequence[Metric]
    stats: list[tuple[Array, Array]]
    files: list[NDArray[np.intp]]
    groups: list[NDArray[np.bool_]]


def population(base: Sequence[Prediction], adapted: Sequence[Prediction]) -> Population:
    """Return the population that two models' predictions of the same items make."""
    metrics = task_metrics.applicable({"base": base, "adapted": adapted})
    stats = [(metric.of_items(base), metric.of_items(adapted)) for metric in metrics]
    at: dict[str, list[int]] = {}
    for index, file in enumerate(prompt_files.clusters(base)):
        at.setdefault(file, []).append(index)
    named = [prompt_groups.of(item) for item in base]
    groups = [
        np.array([row[kind] == group for row in named])
        for kind in prompt_groups.TITLES
        for group in sorted({row[kind] for row in named})
    ]
    shown = [members for members in groups if not members.all()]
    return Population(metrics, stats, [np.array(each) for each in at.values()], shown)


@dataclasses.dataclass(frozen=True)
class Sample:
    """A simulated benchmark.

    Attributes:
        at: the items of the drawn files, as indices into the population.
        clusters: the name of each item's file.
        is_swapped: whether the labels of the models are swapped in an item's file, shape (items, 1), bool.
    """

    at: NDArray[np.intp]
    clusters: list[str]
    is_swapped: NDArray[np.bool_]

    def stats(self, pool: Population, number: int) -> tuple[Array, Array]:
        """Return the statistics of both models in one metric, each of shape (items, k)."""
        a, b = (each[self.at] for each in pool.stats[number])
        return np.where(self.is_swapped, b, a), np.where(self.is_swapped, a, b)

    def compared(self, pool: Population, number: int, inside: NDArray[np.bool_] | None = None) -> Comparison:
        """Compare the models in one metric, in all items or in those `inside` a group, shape (items,)."""
        (one, other), clusters = self.stats(pool, number), self.clusters
        if inside is not None:
            one, other = one[inside], other[inside]
            clusters = [name for name, is_in in zip(clusters, inside, strict=True) if is_in]
        return statistics.compare(one, other, clusters, pool.metrics[number].scale, seed=0)

    def misses(self, pool: Population, number: int, true: float) -> bool:
        """Return whether the interval of the difference in one metric leaves out the truth."""
        gap = statistics.difference(*self.stats(pool, number), self.clusters, pool.metrics[number].scale)
        return not gap.low <= true <= gap.high


def drawn(pool: Population, count: int, swap: bool, random: np.random.Generator) -> Sample:
    """Return a simulated benchmark of `count` files; with `swap`, a coin swaps the labels in each."""
    files = random.integers(len(pool.files), size=count)
    coins = random.integers(0, 2, size=count) if swap else np.zeros(count, int)
    sizes = [len(pool.files[file]) for file in files]
    clusters = [str(number) for number, size in enumerate(sizes) for _ in range(size)]
    return Sample(
        np.concatenate([pool.files[file] for file in files]), clusters, np.repeat(coins, sizes)[:, np.newaxis] == 1
    )


def has_verdict(pool: Population, sample: Sample, table: Sequence[Comparison]) -> bool:
    """Return whether a report would call anything better or worse, metrics and groups corrected together.

    Args:
        pool: the population.
        sample: drawn from it.
        table: the comparison of every metric.
    """
    members = [group[sample.at] for group in pool.groups]
    groups = [sample.compared(pool, 0, inside) for inside in members if inside.any()]
    primary, *others = table
    secondary = [found for found in (*others, *groups) if found.verdict != "too few"]
    if primary.verdict == "too few":
        return False
    first, rest = statistics.family(p_of(primary), [p_of(found) for found in secondary])
    shown = [primary, *secondary]
    return any(
        found.verdict != "not resolved" and p < statistics.RESOLVED
        for found, p in zip(shown, [first, *rest], strict=True)
    )


def p_of(found: Comparison) -> float:
    """Return the p that a verdict rests on."""
    return max(found.p, found.mcnemar_p or 0.0)


def truth(pool: Population, number: int) -> float:
    """Return the difference of the two models in one metric over the whole population."""
    metric, (a, b) = pool.metrics[number], pool.stats[number]
    return metric.corpus_score(b) - metric.corpus_score(a)


def calibrate(
    pool: Population, sizes: Sequence[int], simulations: int, seed: int
) -> dict[str, dict[int, tuple[float, float]]]:
    """Return by metric and number of files the shares of false verdicts and of missed truths, in percent."""
    names = [metric.label for metric in pool.metrics]
    found: dict[str, dict[int, tuple[float, float]]] = {name: {} for name in [*names, TABLE]}
    numbers = range(len(pool.metrics))
    truths = [truth(pool, number) for number in numbers]
    for count in console.progress(sizes, "calibrate", unit="size"):
        random = np.random.default_rng(seed + count)
        false, missed, any_false = np.zeros(len(names)), np.zeros(len(names)), 0
        for _ in range(simulations):
            sample = drawn(pool, count, swap=True, random=random)
            table = [sample.compared(pool, number) for number in numbers]
            false += [each.verdict in ("better", "worse") for each in table]
            any_false += has_verdict(pool, sample, table)
            sample = drawn(pool, count, swap=False, random=random)
            missed += [sample.misses(pool, number, truths[number]) for number in numbers]
        for name, wrong, miss in zip(names, false, missed, strict=True):
            found[name][count] = 100 * wrong / simulations, 100 * miss / simulations
        found[TABLE][count] = 100 * any_false / simulations, float("nan")
    return found


def shown(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.1f}"


def main() -> None:
    """Print two tables: false verdicts and missed truths."""
    parser = cli.Parser(__doc__)
    parser.add_argument("benchmark", type=Path, help="folder of a finished benchmark with many files")
    parser.add_argument("--simulations", type=cli.number(int, 1), default=2000, help="for each number of files")
    parser.add_argument("--seed", type=cli.number(int, 0), default=0, help="of the simulations")
    parser.add_argument("--name", default="heldout", help="of the benchmark in the folder")
    parser.add_argument("--files", type=cli.number(int, 2), nargs="+", default=FILES, help="numbers of files")
    args = parser.parse_args()
    predictions = results.read(args.benchmark).predictions
    if args.name not in predictions:
        parser.error(f"--name {args.name}: the folder has {', '.join(predictions)}")
    by_model = predictions[args.name]
    pool = population(by_model["base"], by_model["adapted"])
    items = sum(map(len, pool.files))
    print(f"population: {items} prompts from {len(pool.files)} files; {args.simulations} simulations a size")
    found = calibrate(pool, args.files, args.simulations, args.seed)
    header = ["", *(f"{count} files" for count in args.files)]
    for title, which in (("false verdicts, %", 0), ("interval misses the truth, %", 1)):
        rows = [[name, *(shown(row[count][which]) for count in args.files)] for name, row in found.items()]
        print(f"\n{title}\n{console.table(rows, header)}")


if __name__ == "__main__":
    cli.run(main)
