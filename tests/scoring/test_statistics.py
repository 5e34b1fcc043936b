"""Intervals and verdicts on data whose truth is known."""

import math
from collections.abc import Sequence
from itertools import combinations_with_replacement
from statistics import NormalDist

import numpy as np
import pytest

from codefit.scoring import statistics as sure
from codefit.scoring.bleu import BLEU
from codefit.scoring.statistics import Array


def clustered(random: np.random.Generator, files: int, shift: float = 0.0) -> tuple[Array, list[str]]:
    """Scores around 50 + shift whose files differ by much more than their items, as (score, 1), with their files."""
    stats, clusters = [], []
    for file in range(files):
        effect = random.normal(0, 10)
        for score in random.normal(50 + shift + effect, 20, size=random.integers(1, 30)):
            stats.append((score, 1.0))
            clusters.append(f"file{file}.py")
    return np.array(stats), clusters


FEWER = 501  # a seed that no other test uses: the draws of a seed are kept, with as many resamples as there were


@pytest.fixture
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sure, "RESAMPLES", 500)


def resampled_sums(stats: Array, clusters: Sequence[str]) -> Array:
    """Return the sums over each resample, shape (RESAMPLES, k), float64, as a metric is given them."""
    given: list[Array] = []

    def value(sums: Array) -> Array:
        given.append(sums)
        return np.asarray(sums[..., 0])

    sure.intervals(stats, clusters, value)
    (sums,) = [each for each in given if each.ndim == 2]
    return sums


@pytest.mark.usefixtures("fewer_resamples")
@pytest.mark.parametrize("files", [5, 15, 60])
def test_intervals_hold_the_truth_as_often_as_they_say(files: int) -> None:
    random = np.random.default_rng(7)
    hits = 0
    for _ in range(300):
        stats, clusters = clustered(random, files)
        interval = sure.intervals(stats, clusters, sure.mean, FEWER)
        hits += interval.low <= 50 <= interval.high
    assert 0.90 <= hits / 300 <= 0.99


@pytest.mark.usefixtures("fewer_resamples")
def test_a_real_difference_is_found_and_none_is_seldom_invented() -> None:
    random = np.random.default_rng(11)
    verdicts: dict[float, list[str]] = {0.0: [], 6.0: []}
    for shift, found in verdicts.items():
        for _ in range(150):
            stats, clusters = clustered(random, 25)
            other = stats + np.stack([random.normal(shift, 10, len(stats)), np.zeros(len(stats))], axis=1)
            found.append(sure.compare(stats, other, clusters, sure.mean, seed=FEWER).verdict)
    assert verdicts[0.0].count("not resolved") >= 0.9 * 150
    assert verdicts[6.0].count("better") >= 0.9 * 150


def test_files_and_not_items_are_resampled() -> None:
    stats, clusters = clustered(np.random.default_rng(3), 30)
    as_items = sure.intervals(stats, [str(item) for item in range(len(stats))], sure.mean)
    as_files = sure.intervals(stats, clusters, sure.mean)
    assert as_files.value == as_items.value == pytest.approx(stats[:, 0].mean())
    assert as_files.high - as_files.low > 1.4 * (as_items.high - as_items.low)


def test_items_of_a_single_file_are_resampled() -> None:
    stats, _ = clustered(np.random.default_rng(3), 3)
    alone = sure.intervals(stats, ["a.py"] * len(stats), sure.mean)
    assert alone == sure.intervals(stats, [f"{item:06}" for item in range(len(stats))], sure.mean)


def test_a_pairing_sees_what_two_intervals_do_not() -> None:
    random = np.random.default_rng(5)
    stats, clusters = clustered(random, 30)
    other = stats + np.array([1.0, 0.0])
    a, b = (sure.intervals(each, clusters, sure.mean) for each in (stats, other))
    found = sure.compare(stats, other, clusters, sure.mean)
    assert a.high > b.low
    assert (found.verdict, found.difference) == ("better", pytest.approx(1.0))
    assert (found.low, found.high) == (pytest.approx(1.0), pytest.approx(1.0))


@pytest.mark.parametrize(
    ("shift", "higher_is_better", "verdict"),
    [(5, True, "better"), (-5, True, "worse"), (5, False, "worse"), (-5, False, "better"), (0, True, "not resolved")],
)
def test_verdicts_follow_the_direction_of_the_metric(shift: float, higher_is_better: bool, verdict: str) -> None:
    stats, clusters = clustered(np.random.default_rng(1), 20)
    noise = np.random.default_rng(2).normal(shift, 3, len(stats)) if shift else np.zeros(len(stats))
    other = stats + np.stack([noise, np.zeros(len(stats))], axis=1)
    found = sure.compare(stats, other, clusters, sure.mean, higher_is_better)
    assert found.verdict == verdict
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0) == (verdict != "not resolved")


def test_equal_models_are_not_resolved() -> None:
    stats, clusters = clustered(np.random.default_rng(1), 20)
    assert sure.compare(stats, stats, clusters, sure.mean) == sure.Comparison(0, 0, 0, 1.0, "not resolved", 0)


@pytest.mark.parametrize("files", [1, 2, 3])
def test_few_files_resolve_nothing_by_luck(files: int) -> None:
    """The differences of two or three files lie on one side of zero half or a quarter of the time."""
    random = np.random.default_rng(9)
    verdicts = []
    for _ in range(60):
        stats = np.array([(0.0, 1.0)] * files)
        other = stats + np.stack([random.normal(0, 1, files), np.zeros(files)], axis=1)
        verdicts.append(sure.compare(stats, other, [f"f{file}" for file in range(files)], sure.mean).verdict)
    assert verdicts.count("not resolved") >= 50


def test_the_smallest_difference_is_2_8_standard_errors() -> None:
    random = np.random.default_rng(4)
    a = np.stack([random.normal(50, 20, 400), np.ones(400)], axis=1)
    b = a + np.stack([random.normal(0, 10, 400), np.zeros(400)], axis=1)
    found = sure.compare(a, b, [f"{item:03}" for item in range(400)], sure.mean)
    expected = 2.8 * (b - a)[:, 0].std(ddof=1) / 20
    assert found.smallest == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("shift", [0.2, 0.8, 1.2])
def test_p_is_two_sided(shift: float) -> None:
    noise = np.random.default_rng(6).normal(0, 10, 400)
    a = np.stack([np.zeros(400), np.ones(400)], axis=1)
    b = np.stack([noise - noise.mean() + shift, np.ones(400)], axis=1)
    found = sure.compare(a, b, [f"{item:03}" for item in range(400)], sure.mean)
    errors = shift / (noise.std(ddof=1) / 20)
    assert found.p == pytest.approx(2 * (1 - NormalDist().cdf(errors)), abs=0.02 + 0.05 * (shift < 0.5))


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    stats, clusters = clustered(np.random.default_rng(2), 12)
    first = sure.intervals(stats, clusters, sure.mean, seed=1)
    assert all(sure.intervals(stats, clusters, sure.mean, seed=seed) != first for seed in range(2, 12))
    assert sure.intervals(stats, clusters, sure.mean, seed=1) == first  # drawn again: ten others were in between


def test_a_corpus_score_is_computed_anew_from_the_items_of_every_resample() -> None:
    references = [f"return a {word} b + {word}" for word in ("one", "two", "three", "four", "five", "six")]
    predictions = [text.replace("two", "2").replace("a", "a" * (1 + at % 3)) for at, text in enumerate(references)]
    stats = BLEU.of_texts(predictions, references)
    clusters = ["x", "x", "y", "z", "z", "z"]
    files = {name: stats[[each == name for each in clusters]].sum(axis=0) for name in "xyz"}
    possible = {tuple(sum(files[name] for name in drawn)) for drawn in combinations_with_replacement("xyz", 3)}
    assert {tuple(sums) for sums in resampled_sums(stats, clusters)} == possible


def test_every_resample_has_as_many_files_as_there_are() -> None:
    weights = resampled_sums(np.eye(300), [str(file) for file in range(300)])  # an item counts in its own column
    assert weights.shape == (sure.RESAMPLES, 300)
    assert (weights.sum(axis=1) == 300).all()
    assert weights.mean() == 1
    assert weights.var() == pytest.approx(1 - 1 / 300, abs=0.01)


@pytest.mark.parametrize(("freedom", "quantile"), [(2, 4.303), (4, 2.776), (9, 2.262), (29, 2.045), (999, 1.962)])
def test_a_normal_bootstrap_gives_the_interval_of_students_t(freedom: int, quantile: float) -> None:
    count = freedom + 1
    normal = np.array([NormalDist().inv_cdf((at + 0.5) / sure.RESAMPLES) for at in range(sure.RESAMPLES)])
    stats, files = np.ones((count, 1)), [str(file) for file in range(count)]
    found = sure.intervals(stats, files, lambda sums: normal if sums.ndim == 2 else np.array(0.0))
    expected = quantile * math.sqrt(count / freedom)
    assert (-found.low, found.high) == pytest.approx((expected, expected), rel=0.035 if freedom < 4 else 0.005)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [(0, 0, 1.0), (1, 9, 22 / 1024), (9, 1, 22 / 1024), (5, 5, 1.0), (0, 6, 2 / 64), (0, 5, 2 / 32)],
)
def test_mcnemar_is_the_exact_binomial_test(only_a: int, only_b: int, p: float) -> None:
    hits_a = [100.0] * only_a + [0.0] * only_b + [100.0] * 40 + [0.0] * 3
    hits_b = [0.0] * only_a + [100.0] * only_b + [100.0] * 40 + [0.0] * 3
    assert sure.mcnemar(hits_a, hits_b) == pytest.approx(p)


def test_mcnemar_of_many_items() -> None:
    a = np.zeros(20_000)
    b = np.r_[np.ones(10_150), np.zeros(9_850)]
    assert sure.mcnemar(a, b) == 0.0
    mixed = np.r_[np.zeros(10_150), np.ones(9_850)]
    assert sure.mcnemar(mixed, b) == pytest.approx(0.03449, abs=1e-5)  # by the normal approximation 0.0345


@pytest.mark.parametrize("clusters", [["a"], []])
def test_items_and_clusters_must_match(clusters: list[str]) -> None:
    stats = np.ones((2 * len(clusters), 2))
    with pytest.raises(ValueError, match="cannot be resampled"):
        sure.intervals(stats, clusters, sure.mean)


def test_other_items_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="the same items"):
        sure.compare(np.ones((3, 2)), np.ones((4, 2)), ["a"] * 3, sure.mean)


@pytest.mark.parametrize(
    ("hits", "n", "chance"), [(0, 10, 1.0), (1, 10, 1 - 0.99**10), (10, 10, 1e-20), (2, 200, 0.595), (3, 100_000, 1.0)]
)
def test_the_chance_of_so_many_hits(hits, n, chance):
    assert sure.at_least(hits, n, 0.01) == pytest.approx(chance, abs=1e-3)
