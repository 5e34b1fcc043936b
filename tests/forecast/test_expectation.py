"""From a benchmark after a quarter of the training to the gains, intervals and advice of a later one."""

import itertools

import msgspec
import numpy as np
import pytest

from codefit.evaluation.result_schema import CELLS, Cost, Count, Difference, Grid, GridPlace, Retrieval, Score
from codefit.forecast import expectation
from codefit.forecast.expectation import POINTS_PER_BIT, SPREAD, Fitting, Gain, fitted
from codefit.forecast.learning_curve import Growth, growth, steps_worth_taking

SAME = Growth(0.0, 0.0, 0.0)


def grid(scores, half=4.0, n=60, verdict="not resolved"):
    """Return a grid with these scores of the cells and intervals of this half width."""
    values = dict(zip(CELLS, scores, strict=True))
    gaps = [
        (one, other, Difference(gap := values[other] - values[one], gap - half, gap + half, 0.5, 1.5 * half, verdict))
        for one, other in itertools.combinations(CELLS, 2)
    ]
    place = GridPlace("", n, 40, {key: Score(value, value - 5, value + 5) for key, value in values.items()}, gaps)
    costs = {key: Cost(0.5, 700, 20) for key in CELLS}
    return Grid("neither", [place], Retrieval(tokens=512, prompts=n, found=Count(3, 10), costs=costs))


# ---------------------------------------------------------------------------------------------- the learning curve


def test_every_doubling_adds_half_of_what_the_one_before_added():
    found = growth(0.10, 0.20)
    assert found.value == pytest.approx(0.075)  # 0.05 + 0.025
    assert (found.low, found.high) == (0.0, 0.2)


@pytest.mark.parametrize(("eighth", "quarter"), [(0.2, 0.2), (0.3, 0.2), (0.0, 0.0), (0.1, -0.1)])
def test_a_curve_that_is_flat_or_falls_does_not_grow(eighth, quarter):
    assert growth(eighth, quarter) == SAME


def test_a_curve_that_recovers_from_a_loss_grows():
    assert growth(-0.04, -0.01).value == pytest.approx(0.0225)


@pytest.mark.parametrize(
    ("eighth", "quarter", "most", "steps"),
    [
        (0.1, 0.2, 1000, 96),  # doublings add 0.05, 0.025 and 0.0125, the last less than a twentieth of 0.275
        (-0.2, 0.0, 1000, 384),  # a first loss is made up for
        (0.1, 0.2, 60, 48),  # the data are not worth more
        (0.2, 0.2, 1000, 24),
        (0.2, 0.1, 1000, 24),  # it gets worse
        (0.1, -0.1, 1000, 24),
        (0.1, 0.2, 7, 7),
    ],
)
def test_steps_are_doubled_as_long_as_it_pays(eighth, quarter, most, steps):
    assert steps_worth_taking(eighth, quarter, 96, most) == steps


# ---------------------------------------------------------------------------------------------- gains


def test_two_equally_certain_estimates_are_averaged():
    bits = Gain(0.1, 0.0)
    half = SPREAD * 0.1
    found = fitted(Gain(4.0, half), bits, SAME)
    assert found.value == pytest.approx((4.0 + POINTS_PER_BIT * 0.1) / 2)
    assert found.half == pytest.approx(half / 2**0.5)


def test_the_more_certain_estimate_counts_more():
    assert fitted(Gain(4.0, 100.0), Gain(0.1, 0.0), SAME).value == pytest.approx(8.0, abs=0.1)
    assert fitted(Gain(4.0, 0.1), Gain(0.1, 0.2), SAME).value == pytest.approx(4.0, abs=0.1)


def test_growth_raises_both_estimates_and_widens_the_interval():
    found = fitted(Gain(4.0, 5.0), Gain(0.05, 0.0), Growth(0.05, 0.0, 0.1))
    score, likelihood = 4.0 + POINTS_PER_BIT * 0.05, POINTS_PER_BIT * 0.1
    assert score == likelihood == found.value == pytest.approx(8.0)
    assert found.half == pytest.approx(np.hypot(5.0 / 2**0.5, POINTS_PER_BIT * 0.05))


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [
        (Gain(4.0, float("inf")), Gain(0.1, 0.1), 8.0),  # one file: its score has no interval
        (Gain(4.0, 2.0), Gain(0.1, float("inf")), 4.0),
        (Gain(0.0, 0.0), Gain(0.1, 0.1), 0.0),  # no completion changed at all
    ],
)
def test_an_estimate_without_an_interval_does_not_count(one, other, value):
    assert fitted(one, other, SAME).value == pytest.approx(value)


def fitting(alone, with_files, half=4.0):
    return Fitting(Gain(alone, half), Gain(with_files, half))


def test_the_gain_of_files_is_what_was_measured():
    [files, alone, both] = expectation.cells(grid((30, 33, 38, 44)), fitting(12, 22), 60)
    assert files.gain.value == pytest.approx(3)
    assert alone.gain.value == pytest.approx(12)
    assert both.gain.value == pytest.approx(3 + 22)
    assert files.measured.value == 3
    assert (files.measured.low, files.measured.high) == (-1, 7)
    assert (alone.tokens, alone.seconds) == (700, 0.5)


def test_an_interval_adds_up_both_measurements():
    [files, alone, both] = expectation.cells(grid((30, 33, 38, 44)), fitting(12, 22, half=3.0), 60)
    assert files.gain.high - files.gain.value == pytest.approx(np.hypot(4, 4))
    assert alone.gain.high - alone.gain.value == pytest.approx(np.hypot(3, 4))
    assert both.gain.high - both.gain.value == pytest.approx(np.sqrt(4**2 + 3**2 + 4**2))
    [files, *_] = expectation.cells(grid((30, 33, 38, 44)), fitting(12, 22), 240)
    assert files.gain.high - files.gain.value == pytest.approx(np.hypot(4, 2))


def test_intervals_hold_what_a_later_benchmark_measures():
    """Of simulated repositories, at least 93 % of the later gains are in the interval."""
    random = np.random.default_rng(0)
    held = []
    for _ in range(400):
        truth = random.normal(5, 5)
        now, later = truth + random.normal(0, 2, 2)
        [files, *_] = expectation.cells(grid((30, 30 + now, 30, 30), half=1.96 * 2), fitting(0, 0), 60)
        held.append(files.gain.low <= later <= files.gain.high)
    assert np.mean(held) > 0.93


@pytest.mark.parametrize(("gain", "prompts"), [(6, 60), (3, 240), (12, 15), (0, None), (-3, None)])
def test_prompts_for_a_verdict(gain, prompts):
    [files, *_] = expectation.cells(grid((30, 30 + gain, 30, 30)), fitting(0, 0), 60)
    assert files.prompts == prompts


# ---------------------------------------------------------------------------------------------- the advice


@pytest.mark.parametrize(
    ("files", "alone", "with_files", "advice"),
    [
        (0, 10, 11, "tune"),
        (10, 1, 1, "retrieve"),
        (8, 10, 12, "both"),
        (1, 2, 8, "both"),
        (1, 2, 2, "neither"),
        (-10, -5, -2, "neither"),
    ],
)
def test_the_advice_is_what_the_later_verdicts_would_say(files, alone, with_files, advice):
    found = grid((30, 30 + files, 30, 30 + files))
    assert expectation.advice(found, fitting(alone, with_files), 60) == advice


def test_more_prompts_show_smaller_gains():
    found = grid((30, 31, 30, 31))
    assert expectation.advice(found, fitting(4, 4), 60) == "neither"
    assert expectation.advice(found, fitting(4, 4), 240) == "tune"


def test_too_few_prompts_leave_no_advice():
    assert expectation.advice(grid((30, 31, 44, 45), verdict="too few"), fitting(14, 14), 60) == "too few"


def test_a_cell_can_be_stored_and_read():
    cells = expectation.cells(grid((30, 33, 38, 44)), fitting(8, 11), 60)
    assert msgspec.json.decode(msgspec.json.encode(cells), type=list[expectation.Cell]) == cells
