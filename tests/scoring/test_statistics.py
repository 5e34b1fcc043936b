"""Intervals and verdicts on data whose truth is known."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from codefit.scoring import statistics as sure
from codefit.scoring.bleu import BLEU
from codefit.scoring.statistics import Array, Scale

MEAN = Scale(sure.mean)
LOWER = Scale(sure.mean, higher_is_better=False)
PERCENT = Scale(sure.mean, bounds=(0.0, 100.0))
HITS = Scale(sure.mean, is_hit=True, bounds=(0.0, 100.0))
RATIO = Scale(lambda sums: np.exp(sums[..., 0] / sums[..., 1]), higher_is_better=False, is_ratio=True)


def clustered(random: np.random.Generator, files: int, shift: float = 0.0) -> tuple[Array, list[str]]:
    """Scores around 50 + shift whose files differ by much more than their items, as (score, 1), with their files."""
    stats, clusters = [], []
    for file in range(files):
        effect = random.normal(0, 10)
        for score in random.normal(50 + shift + effect, 20, size=random.integers(5, 30)):
            stats.append((score, 1.0))
            clusters.append(f"file{file}.py")
    return np.array(stats), clusters


def hits(*counts: int) -> Array:
    """Return (100, 1) and (0, 1) in turns: so many hits, so many misses, so many hits, …"""
    values = [100.0 * (1 - place % 2) for place, count in enumerate(counts) for _ in range(count)]
    return np.stack([np.array(values), np.ones(len(values))], axis=1)


def own_files(stats: Array) -> list[str]:
    return [f"{item:05}" for item in range(len(stats))]


def moved(stats: Array, by: Array | float) -> Array:
    """Return statistics whose scores are moved."""
    return stats + np.stack([np.broadcast_to(by, len(stats)), np.zeros(len(stats))], axis=1)


# ------------------------------------------------------------------------------------------- how often it is wrong


@pytest.mark.parametrize("files", [6, 15, 60])
def test_intervals_have_their_nominal_coverage(files: int) -> None:
    random = np.random.default_rng(7)
    held = 0
    for _ in range(400):
        interval = sure.interval(*clustered(random, files), MEAN)
        held += interval.low <= 50 <= interval.high
    assert 0.92 <= held / 400 <= 0.985


@pytest.mark.parametrize("files", [6, 28])
def test_the_false_alarm_rate_is_at_most_one_in_twenty(files: int) -> None:
    random = np.random.default_rng(11)
    verdicts = []
    for _ in range(300):
        stats, clusters = clustered(random, files)
        verdicts.append(sure.compare(stats, moved(stats, random.normal(0, 10, len(stats))), clusters, MEAN).verdict)
    assert verdicts.count("not resolved") >= 0.93 * 300


def test_a_real_difference_is_found() -> None:
    random = np.random.default_rng(12)
    verdicts = []
    for _ in range(50):
        stats, clusters = clustered(random, 25)
        verdicts.append(sure.compare(stats, moved(stats, random.normal(6, 10, len(stats))), clusters, MEAN).verdict)
    assert verdicts.count("better") >= 48


# ------------------------------------------------------------------------------------------- files are the unit


def test_files_and_not_items_are_the_unit() -> None:
    stats, clusters = clustered(np.random.default_rng(3), 30)
    as_items = sure.interval(stats, own_files(stats), MEAN)
    as_files = sure.interval(stats, clusters, MEAN)
    assert as_files.value == as_items.value == pytest.approx(stats[:, 0].mean())
    assert as_files.high - as_files.low > 1.4 * (as_items.high - as_items.low)


def test_one_file_gives_no_verdict_but_an_interval_of_its_items() -> None:
    stats, _ = clustered(np.random.default_rng(3), 3)
    alone = sure.interval(stats, ["a.py"] * len(stats), MEAN)
    assert alone == pytest.approx(sure.interval(stats, own_files(stats), MEAN))
    assert sure.compare(stats, moved(stats, 30.0), ["a.py"] * len(stats), MEAN).verdict == "too few"


@pytest.mark.parametrize(("files", "items", "verdict"), [(5, 40, "too few"), (6, 5, "better"), (29, 1, "too few")])
def test_fewer_than_6_files_or_30_prompts_give_no_verdict(files: int, items: int, verdict: str) -> None:
    stats = moved(hits(0, files * items), np.random.default_rng(0).normal(50, 5, files * items))
    clusters = [f"{file}.py" for file in range(files) for _ in range(items)]
    assert sure.compare(stats, moved(stats, 5.0), clusters, MEAN).verdict == verdict


def test_one_huge_file_decides_nothing() -> None:
    """A thousand prompts of one file are 20 points better, those of 20 others as they were."""
    random = np.random.default_rng(8)
    stats = moved(hits(0, 1100), random.normal(50, 10, 1100))
    clusters = ["huge.py"] * 1000 + [f"{item // 5}.py" for item in range(100)]
    gain = np.where(np.arange(1100) < 1000, 20.0, random.normal(0, 5, 1100))
    found = sure.compare(stats, moved(stats, gain), clusters, MEAN)
    assert found.verdict == "not resolved"
    assert found.low < 0 < found.difference


def test_a_pairing_sees_what_two_intervals_do_not() -> None:
    random = np.random.default_rng(5)
    stats, clusters = clustered(random, 30)
    other = moved(stats, 1.0)
    a, b = (sure.interval(each, clusters, MEAN) for each in (stats, other))
    found = sure.compare(stats, other, clusters, MEAN)
    assert a.high > b.low
    assert (found.verdict, found.difference) == ("better", pytest.approx(1.0))
    assert (found.low, found.high) == (pytest.approx(1.0), pytest.approx(1.0))


# ------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("shift", "scale", "verdict"),
    [(5, MEAN, "better"), (-5, MEAN, "worse"), (5, LOWER, "worse"), (-5, LOWER, "better"), (0, MEAN, "not resolved")],
)
def test_verdicts_follow_the_direction_of_the_metric(shift: float, scale: Scale, verdict: str) -> None:
    stats, clusters = clustered(np.random.default_rng(1), 20)
    noise = np.random.default_rng(2).normal(shift, 3, len(stats)) if shift else 0.0
    found = sure.compare(stats, moved(stats, noise), clusters, scale)
    assert found.verdict == verdict
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0) == (verdict != "not resolved")


def test_there_is_no_verdict_if_the_interval_contains_zero() -> None:
    """With few files and a skewed metric the test can be sure where the interval is not."""
    random = np.random.default_rng(6)
    disagreed = 0
    for _ in range(300):
        stats, clusters = clustered(random, 8)
        nats = stats / np.array([40.0, 1.0])  # a perplexity: its differences are skewed
        found = sure.compare(nats, moved(nats, random.normal(0.1, 0.5, len(nats))), clusters, RATIO)
        holds_zero = found.low <= 0 <= found.high
        disagreed += holds_zero and found.p < 0.05
        assert not (holds_zero and found.verdict in {"better", "worse"})
    assert disagreed, "in none of these did test and interval disagree, so that nothing was shown"


def test_equal_models_are_not_resolved() -> None:
    stats, clusters = clustered(np.random.default_rng(1), 20)
    assert sure.compare(stats, stats, clusters, MEAN) == sure.Comparison(0, 0, 0, 1.0, "not resolved", 0)


def test_all_assignments_of_few_files_are_tried() -> None:
    stats = moved(hits(0, 60), 50.0)
    clusters = [f"{item // 10}" for item in range(60)]
    found = sure.compare(stats, moved(stats, 1.0), clusters, MEAN)
    assert found.p == 2 / 2**6  # the one that was observed and its mirror image


def test_a_small_p_is_refined_until_many_differences_can_be_corrected() -> None:
    base = np.stack([np.zeros(48), np.ones(48)], axis=1)
    files = [str(at // 3) for at in range(48)]
    found = sure.compare(base, base + np.array([10.0, 0.0]), files, MEAN)
    assert 1e-5 < found.p < 9e-5, "2 of 2**16 assignments are as large: 3e-5; one block cannot give less than 1e-4"
    assert sure.family(0.5, [found.p] * 77)[1][0] < sure.RESOLVED


def test_a_large_p_takes_one_block_of_assignments() -> None:
    random = np.random.default_rng(0)
    one, other = (np.stack([random.normal(size=40), np.ones(40)], axis=1) for _ in range(2))
    tried = sure.PERMUTATIONS + 1
    p = sure.compare(one, other, [str(at) for at in range(40)], MEAN).p
    assert p * tried == pytest.approx(round(p * tried), abs=1e-6)


@pytest.mark.parametrize("shift", [0.2, 0.8, 1.2])
def test_p_is_two_sided(shift: float) -> None:
    noise = np.random.default_rng(6).normal(0, 10, 400)
    a = hits(0, 400)
    b = moved(a, noise - noise.mean() + shift)
    found = sure.compare(a, b, own_files(a), MEAN)
    errors = shift / (noise.std(ddof=1) / 20)
    assert found.p == pytest.approx(2 * (1 - NormalDist().cdf(errors)), abs=0.03)
    assert sure.compare(b, a, own_files(a), MEAN).p == pytest.approx(found.p, abs=0.03)


def test_the_smallest_difference_is_2_8_standard_errors() -> None:
    random = np.random.default_rng(4)
    a = moved(hits(0, 400), random.normal(50, 20, 400))
    b = moved(a, random.normal(0, 10, 400))
    found = sure.compare(a, b, own_files(a), MEAN)
    assert found.smallest == pytest.approx(2.81 * (b - a)[:, 0].std(ddof=1) / 20, rel=0.01)


def test_the_same_seed_gives_the_same_comparison() -> None:
    stats, clusters = clustered(np.random.default_rng(2), 20)
    other = moved(stats, np.random.default_rng(3).normal(1, 10, len(stats)))
    first, different, again = (sure.compare(stats, other, clusters, MEAN, seed=seed) for seed in (1, 2, 1))
    assert first == again
    assert first.p != different.p


def test_nan_never_gives_a_verdict() -> None:
    stats, clusters = clustered(np.random.default_rng(2), 20)
    broken = moved(stats, 5.0)
    broken[3, 0] = math.nan
    assert sure.compare(stats, broken, clusters, MEAN).verdict == "not resolved"


# ------------------------------------------------------------------------------------------- scales


def test_a_corpus_score_is_computed_again_from_the_items_of_every_other_file() -> None:
    references = [f"return a {word} b + {word}" for word in ("one", "two", "three", "four", "five", "six")]
    predictions = [text.replace("two", "2").replace("a", "a" * (1 + at % 3)) for at, text in enumerate(references)]
    stats = BLEU.of_texts(predictions, references)
    clusters = ["x", "x", "y", "z", "z", "z"]
    left_out = [BLEU.corpus_score(stats[[name != file for name in clusters]]) for file in "xyz"]
    error = math.sqrt(2 / 3 * sum((value - np.mean(left_out)) ** 2 for value in left_out))
    found = sure.interval(stats, clusters, Scale(BLEU.value))
    tokens = np.array(
        [sum(len(text.split()) for text in references[at]) for at in (slice(2), slice(2, 3), slice(3, 6))]
    )
    freedom = tokens.sum() ** 2 / (tokens**2).sum() - 1
    assert 1 < freedom < 2  # the files are of unequal size
    squares = (np.array(left_out) - np.mean(left_out)) ** 2
    freedom = min(freedom, 2 * squares.sum() ** 2 / (squares**2).sum() - 1)
    assert found.high - found.value == pytest.approx(sure.student(freedom) * error)


def test_files_of_unequal_size_are_fewer_than_they_seem() -> None:
    random = np.random.default_rng(1)
    stats = moved(hits(0, 100), random.normal(50, 10, 100))
    equal = [f"{item // 10}" for item in range(100)]
    unequal = ["huge"] * 82 + [f"{item // 2}" for item in range(18)]
    for clusters, freedom in ((equal, 9), (unequal, 1)):
        found = sure.interval(stats, clusters, MEAN)
        files = [np.array(clusters) == name for name in sorted(set(clusters))]
        left_out = [stats[~file, 0].mean() for file in files]
        error = math.sqrt(9 / 10 * sum((value - np.mean(left_out)) ** 2 for value in left_out))
        assert 0.999 < (found.high - found.value) / (sure.student(freedom) * error) < 1.05


def test_a_few_files_that_decide_the_spread_make_an_interval_wider() -> None:
    def quantile(scores: list[float]) -> float:
        """Return half of the interval over the standard error, of ten files with an item each."""
        stats = moved(hits(0, 10), np.array(scores))
        found = sure.interval(stats, own_files(stats), MEAN)
        return (found.high - found.value) / (np.std(scores, ddof=1) / math.sqrt(10))

    assert quantile([49.0, 51.0] * 5) == pytest.approx(sure.student(9))
    one_decides = [80.0] + [50.0] * 9  # squared deviations of 729 once and of 9 nine times
    freedom = 2 * (729 + 81) ** 2 / (729**2 + 9 * 9**2) - 1
    assert quantile(one_decides) == pytest.approx(sure.student(freedom))
    assert sure.student(freedom) > 1.5 * sure.student(9)


def test_a_share_stays_between_0_and_100() -> None:
    stats = moved(hits(0, 60), np.repeat([0.0, 100.0, 100.0], 20))
    clusters = [f"{item // 20}" for item in range(60)]
    assert sure.interval(stats, clusters, PERCENT)[1:] == (0.0, 100.0)
    assert sure.interval(stats, clusters, MEAN).low < 0


def test_a_perplexity_is_above_zero_whatever_its_files() -> None:
    random = np.random.default_rng(2)
    stats = np.stack([random.gamma(0.3, 30, 40), np.full(40, 10.0)], axis=1)
    clusters = [f"{item // 8}" for item in range(40)]
    found = sure.interval(stats, clusters, RATIO)
    assert 0 < found.low < found.value < found.high
    assert found.value / found.low == pytest.approx(found.high / found.value)


# ------------------------------------------------------------------------------------------- hits


def test_no_hit_at_all_still_has_an_interval_and_a_smallest_difference() -> None:
    none = hits(0, 200)
    assert sure.interval(none, own_files(none), HITS)[1:] == (0.0, pytest.approx(1.88, abs=0.01))  # Wilson, 0 of 200
    found = sure.compare(none, none, own_files(none), HITS)
    assert found.low < 0 < found.high
    assert 3.5 < found.smallest < 4.5  # six hits of 200 are needed


def test_newcombes_interval_is_that_of_his_paper() -> None:
    """Table II of Newcombe (1998), method 10: 56 pairs, 36 both, 14 one alone, 2 the other alone, 4 neither."""
    a = np.r_[np.ones(36), np.ones(12), np.zeros(2), np.zeros(0)]
    b = np.r_[np.ones(36), np.zeros(12), np.ones(2), np.zeros(0)]
    low, high = sure.newcombe(b, a)
    assert (low, high) == (pytest.approx(5.69, abs=0.02), pytest.approx(34.04, abs=0.02))


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


@pytest.mark.parametrize(("alone", "verdict"), [(5, "not resolved"), (6, "better")])
def test_five_hits_of_one_model_alone_are_no_verdict(alone: int, verdict: str) -> None:
    found = sure.compare(hits(0, 200), hits(alone, 200 - alone), own_files(hits(200)), HITS)
    assert found.verdict == verdict


def test_hits_of_one_file_count_less_than_hits_of_many() -> None:
    one = hits(0, 200)
    clusters = [f"{item // 10:02}" for item in range(200)]
    spread = hits(*[1, 9] * 20)
    together = hits(20, 180)
    wide, narrow = (sure.interval(each, clusters, HITS) for each in (together, spread))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
    assert sure.compare(one, together, clusters, HITS).verdict == "not resolved"
    assert sure.compare(one, spread, clusters, HITS).verdict == "better"


# ------------------------------------------------------------------------------------------- the rest


def test_a_family_has_one_false_alarm_in_twenty_tables() -> None:
    """The primary difference is tested at 4 %, the others at 1 % together, and at 5 % where the primary is resolved."""
    assert sure.family(0.03, [0.02, 0.5]) == (pytest.approx(0.0375), [pytest.approx(0.04), 0.5])
    assert sure.family(0.045, [0.004, 0.02]) == (pytest.approx(0.05625), [pytest.approx(0.04), pytest.approx(0.1)])
    random = np.random.default_rng(0)
    tables = random.uniform(size=(4000, 10))
    alarms = 0
    for table in tables:
        first, others = sure.family(table[0], list(table[1:]))
        alarms += min(first, *others) < 0.05
    assert 0.04 < alarms / 4000 < 0.058


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [
        (1, 12.7062),
        (1.5, 7.104),
        (2, 4.3027),
        (4, 2.7764),
        (9, 2.2622),
        (29, 2.0452),
        (199, 1.9720),
        (500, 1.9647),
        (10**6, 1.96),
    ],
)
def test_students_quantile(freedom: int, quantile: float) -> None:
    assert sure.student(freedom) == pytest.approx(quantile, abs=6e-5 if freedom != 1.5 else 0.02)


@pytest.mark.parametrize("clusters", [["a"], []])
def test_items_and_clusters_must_match(clusters: list[str]) -> None:
    stats = np.ones((2 * len(clusters), 2))
    with pytest.raises(ValueError, match="cannot be compared"):
        sure.interval(stats, clusters, MEAN)


def test_different_items_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="the same items"):
        sure.compare(np.ones((3, 2)), np.ones((4, 2)), ["a"] * 3, MEAN)


@pytest.mark.parametrize(
    ("hits", "n", "chance"), [(0, 10, 1.0), (1, 10, 1 - 0.99**10), (10, 10, 1e-20), (2, 200, 0.595), (3, 100_000, 1.0)]
)
def test_the_chance_of_so_many_hits(hits: int, n: int, chance: float) -> None:
    assert sure.at_least(hits, n, 0.01) == pytest.approx(chance, abs=1e-3)
