"""What a benchmark of the four cells will show after the whole training, from one after a quarter of it.

The gain of retrieved files is measured, since the base does not change. The gain of fitting is estimated twice: as the
score that was measured and what the rest of the training adds, and from the likelihood of later code, which varies less
from prompt to prompt; the two are weighted by their certainty. An interval holds what the later benchmark will measure
in 95 of 100 cases, if later changes are like those that were asked about: it adds up the uncertainty of this
measurement, of the growth, and of the later measurement with its own prompts.
"""

import itertools
import math
from typing import NamedTuple

import msgspec

from codefit.evaluation import grid
from codefit.evaluation.cut_metrics import CUT_EDIT_SIMILARITY
from codefit.evaluation.result_schema import CELLS, Advice, Conclusion, Difference, Grid, GridPlace, Score
from codefit.forecast.learning_curve import Growth

BASE, FILES, ADAPTED, BOTH = CELLS
# Points of edit similarity (cut) for a gain of one bit per byte, and half the width of the range of this rate: 61 to
# 130 in the three repositories that it was chosen on (docs/forecast.md).
POINTS_PER_BIT, SPREAD = 80.0, 50.0
HOLM = 1.35  # how much wider than 95 % an interval must be to resolve the smallest of six differences (Holm)


class Cell(msgspec.Struct, frozen=True):
    """A cell of the grid.

    Attributes:
        key: of the cell.
        gain: over the base that a later benchmark is expected to measure, in the unit of the metric.
        prompts: how many prompts a verdict about a gain of this size needs; None if no number would do.
        measured: the same gain after a quarter of the training.
        verdict: of that measurement.
        seconds: processor seconds that a completion takes.
        tokens: that are read for a completion.
    """

    key: str
    gain: Score
    prompts: int | None
    measured: Score
    verdict: Conclusion
    seconds: float
    tokens: float


class Gain(NamedTuple):
    """A gain, and half the width of its 95 % interval."""

    value: float
    half: float


class Fitting(NamedTuple):
    """The gain of fitting after the whole training, in points, without and with retrieved files."""

    alone: Gain
    with_files: Gain


def fitted(measured: Gain, bits: Gain, grown: Growth) -> Gain:
    """Return what fitting gains after the whole training, in points.

    Args:
        measured: gain of the score after a quarter of the training, in points.
        bits: the same in bits per byte.
        grown: what the rest of the training adds, in bits per byte.
    """
    whole = bits.value + grown.value
    by_score = Gain(measured.value + POINTS_PER_BIT * grown.value, measured.half)
    by_bits = Gain(POINTS_PER_BIT * whole, math.hypot(SPREAD * whole, POINTS_PER_BIT * bits.half))
    both = _weighted(by_score, by_bits)
    return Gain(both.value, math.hypot(both.half, POINTS_PER_BIT * (grown.high - grown.low) / 2))


def _weighted(one: Gain, other: Gain) -> Gain:
    """Return the mean of two estimates, weighted by the inverse of their variances."""
    if not (math.isfinite(one.half) and math.isfinite(other.half)):
        return one if math.isfinite(one.half) else other
    variances = one.half**2, other.half**2
    if not all(variances):
        return one if not variances[0] else other
    share = variances[1] / sum(variances)
    return Gain(share * one.value + (1 - share) * other.value, math.sqrt(variances[0] * variances[1] / sum(variances)))


def measured(found: Grid, one: str, other: str) -> Gain:
    """Return the measured difference of two cells in the primary metric."""
    gap = found.places[0].difference(one, other)
    return Gain(gap.value, (gap.high - gap.low) / 2)


def cells(found: Grid, fitting: Fitting, later: int) -> list[Cell]:
    """Return what each cell but the base is expected to gain in a benchmark of `later` prompts."""
    whole = found.places[0]
    scores = _scores(whole, fitting)
    files = measured(found, BASE, FILES).half
    halves = {FILES: files, ADAPTED: fitting.alone.half, BOTH: math.hypot(files, fitting.with_files.half)}
    made = []
    for key, half in halves.items():
        gap, value = whole.difference(BASE, key), scores[key] - scores[BASE]
        half = math.hypot(half, _later_half(whole, BASE, key, later))
        gain, now = Score(value, value - half, value + half), Score(gap.value, gap.low, gap.high)
        cost = found.retrieval.costs[key]
        needed = prompts_needed(gap, value, whole.n)
        made.append(Cell(key, gain, needed, now, gap.verdict, cost.seconds, cost.prompt_tokens))
    return made


def prompts_needed(measured: Difference, gain: float, prompts: int) -> int | None:
    """Return how many prompts show a gain in four of five experiments; None if it is not above zero."""
    if gain <= 0 or not math.isfinite(measured.smallest):
        return None
    return max(math.ceil(prompts * (measured.smallest / gain) ** 2), 1)


def advice(found: Grid, fitting: Fitting, later: int) -> Advice:
    """Return what the verdicts of a later benchmark are expected to say."""
    whole = found.places[0]
    if any(gap.verdict == "too few" for *_, gap in whole.differences):
        return "too few"
    scores = _scores(whole, fitting)
    gaps = [
        (one, other, _verdict(scores[other] - scores[one], _later_half(whole, one, other, later)))
        for one, other in itertools.combinations(CELLS, 2)
    ]
    expected = {key: Score(value, value, value) for key, value in scores.items()}
    return grid.advice(GridPlace("", later, whole.files, expected, gaps), CUT_EDIT_SIMILARITY)


def _scores(whole: GridPlace, fitting: Fitting) -> dict[str, float]:
    """Return the score that each cell is expected to have after the whole training."""
    base, files = whole.scores[BASE].value, whole.scores[FILES].value
    return {
        BASE: base,
        FILES: files,
        ADAPTED: base + fitting.alone.value,
        BOTH: files + fitting.with_files.value,
    }


def _later_half(whole: GridPlace, one: str, other: str, later: int) -> float:
    """Return half the interval of a difference in a benchmark of `later` prompts."""
    gap = whole.difference(one, other)
    return (gap.high - gap.low) / 2 * math.sqrt(whole.n / later)


def _verdict(value: float, half: float) -> Difference:
    """Return a difference as the later benchmark is expected to show it; `half` is half its interval."""
    shown = abs(value) > HOLM * half
    verdict: Conclusion = ("better" if value > 0 else "worse") if shown else "not resolved"
    return Difference(value, value - half, value + half, 0.0 if shown else 1.0, half, verdict)


def cell_of(advice: Advice) -> str:
    """Return the cell that an advice recommends, the base where it recommends none."""
    return {"tune": ADAPTED, "retrieve": FILES, "both": BOTH}.get(advice, BASE)
