"""From a benchmark after a quarter of the training to the gains, intervals and advice of a later one."""

import itertools

import msgspec
import numpy as np
import pytest

from codefit.evaluation.result_schema import CELLS, Cost, Count, Difference, Grid, GridPlace, Retrieval, Score
from codefit.forecast import expectation
from codefit.forecast.expectation import Growths
from codefit.forecast.learning_curve import Growth, growth, in_points, steps_worth_taking

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
    ("bits", "points", "value"),
    [
        (0.2, 4.0, 2.0),  # 20 points a bit
        (0.2, -4.0, 0.0),  # a score that fell while bits fell is not made to fall further
        (0.1, 20.0, 5.0),  # at most 50 points a bit
        (0.01, 4.0, 2.5),  # a ratio to nearly nothing is not known: 25 points a bit
        (-0.1, -4.0, 2.5),
    ],
)
def test_a_score_grows_as_it_did_so_far(bits, points, value):
    grown = in_points(Growth(0.1, 0.0, 0.2), bits, points)
    assert grown.value == pytest.approx(value)
    assert (grown.low, grown.high) == (0.0, pytest.approx(2 * value))


@pytest.mark.parametrize(
    ("eighth", "quarter", "most", "steps"),
    [
        (0.1, 0.2, 1000, 96),  # doublings add 0.05, 0.025 and 0.0125, the last less than a twentieth of 0.275
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


def test_the_gain_of_files_is_what_was_measured():
    [files, fitted, both] = expectation.cells(grid((30, 33, 38, 44)), Growths(Growth(4, 0, 8), Growth(11, 0, 22)), 60)
    assert files.gain.value == pytest.approx(3)
    assert fitted.gain.value == pytest.approx(8 + 4)
    assert both.gain.value == pytest.approx(14 + 11)
    assert files.measured.value == 3
    assert (files.measured.low, files.measured.high) == (-1, 7)
    assert (fitted.tokens, fitted.seconds) == (700, 0.5)


def test_an_interval_adds_up_both_measurements_and_the_growth():
    [files, fitted, _] = expectation.cells(grid((30, 33, 38, 44)), Growths(Growth(4, 0, 8), SAME), 60)
    assert files.gain.high - files.gain.value == pytest.approx(np.hypot(4, 4))
    assert fitted.gain.high - fitted.gain.value == pytest.approx(np.sqrt(4**2 + 4**2 + 4**2))
    [files, *_] = expectation.cells(grid((30, 33, 38, 44)), Growths(SAME, SAME), 240)
    assert files.gain.high - files.gain.value == pytest.approx(np.hypot(4, 2))


def test_intervals_hold_what_a_later_benchmark_measures():
    """Of simulated repositories, at least 93 % of the later gains are in the interval."""
    random = np.random.default_rng(0)
    held = []
    for _ in range(400):
        truth = random.normal(5, 5)
        measured, later = truth + random.normal(0, 2, 2)
        [files, *_] = expectation.cells(grid((30, 30 + measured, 30, 30), half=1.96 * 2), Growths(SAME, SAME), 60)
        held.append(files.gain.low <= later <= files.gain.high)
    assert np.mean(held) > 0.93


@pytest.mark.parametrize(("gain", "prompts"), [(6, 60), (3, 240), (12, 15), (0, None), (-3, None)])
def test_prompts_for_a_verdict(gain, prompts):
    [files, *_] = expectation.cells(grid((30, 30 + gain, 30, 30)), Growths(SAME, SAME), 60)
    assert files.prompts == prompts


# ---------------------------------------------------------------------------------------------- the advice


@pytest.mark.parametrize(
    ("scores", "advice"),
    [
        ((30, 30, 40, 41), "tune"),
        ((30, 40, 31, 41), "retrieve"),
        ((30, 38, 40, 50), "both"),
        ((30, 31, 32, 39), "both"),
        ((30, 31, 32, 33), "neither"),
        ((30, 20, 25, 18), "neither"),
    ],
)
def test_the_advice_is_what_the_later_verdicts_would_say(scores, advice):
    assert expectation.advice(grid(scores), Growths(SAME, SAME), 60) == advice


def test_more_prompts_show_smaller_gains():
    found = grid((30, 31, 34, 35))
    assert expectation.advice(found, Growths(SAME, SAME), 60) == "neither"
    assert expectation.advice(found, Growths(SAME, SAME), 240) == "tune"


def test_a_growing_gain_can_change_the_advice():
    found = grid((30, 30, 34, 34))
    assert expectation.advice(found, Growths(SAME, SAME), 60) == "neither"
    assert expectation.advice(found, Growths(Growth(2, 0, 4), SAME), 60) == "tune"


def test_too_few_prompts_leave_no_advice():
    assert expectation.advice(grid((30, 31, 44, 45), verdict="too few"), Growths(SAME, SAME), 60) == "too few"


def test_a_cell_can_be_stored_and_read(tmp_path):
    cells = expectation.cells(grid((30, 33, 38, 44)), Growths(SAME, SAME), 60)
    assert msgspec.json.decode(msgspec.json.encode(cells), type=list[expectation.Cell]) == cells
