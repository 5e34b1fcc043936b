"""What a benchmark of the four cells will show after the whole training, from one after a quarter of it.

The gain of retrieved files is measured, since the base does not change. The gain of fitting is that of a quarter of the
training, and what the rest of it adds. An interval holds what the later benchmark will measure
in 95 of 100 cases, if later changes are like those that were asked about: it adds up the uncertainty of this
measurement, of the growth, and of the later measurement with its own prompts.
"""

import dataclasses
import itertools
import math

import msgspec

from codefit.evaluation import grid
from codefit.evaluation.cut_metrics import CUT_EDIT_SIMILARITY
from codefit.evaluation.result_schema import CELLS, Advice, Conclusion, Difference, Grid, GridPlace, Score
from codefit.forecast.learning_curve import Growth

BASE, FILES, ADAPTED, BOTH = CELLS
HOLM = 1.35  # how much wider than 95 % an interval must be to resolve the smallest of six differences (Holm)


class Expected(msgspec.Struct, frozen=True):
    """A gain that a later benchmark is expected to measure, with its 95 % interval."""

    value: float
    low: float
    high: float


class Cell(msgspec.Struct, frozen=True):
    """A cell of the grid.

    Attributes:
        key: of the cell.
        gain: over the base, in the unit of the metric.
        prompts: how many prompts a verdict about a gain of this size needs; None if no number would do.
        measured: the same gain after a quarter of the training.
        verdict: of that measurement.
        seconds: processor seconds that a completion takes.
        tokens: that are read for a completion.
    """

    key: str
    gain: Expected
    prompts: int | None
    measured: Expected
    verdict: Conclusion
    seconds: float
    tokens: float


@dataclasses.dataclass(frozen=True, slots=True)
class Growths:
    """What the rest of the training adds to the gain of fitting, in points, without and with retrieved files."""

    alone: Growth
    with_files: Growth


def cells(found: Grid, growths: Growths, later: int) -> list[Cell]:
    """Return what each cell but the base is expected to gain in a benchmark of `later` prompts."""
    whole = found.places[0]
    made = []
    for key in CELLS[1:]:
        gap = whole.difference(BASE, key)
        gain = _expected(whole, growths, BASE, key, later)
        cost = found.retrieval.costs[key]
        measured = Expected(gap.value, gap.low, gap.high)
        made.append(
            Cell(
                key,
                gain,
                prompts_needed(gap, gain.value, whole.n),
                measured,
                gap.verdict,
                cost.seconds,
                cost.prompt_tokens,
            )
        )
    return made


def prompts_needed(measured: Difference, gain: float, prompts: int) -> int | None:
    """Return how many prompts show a gain in four of five experiments; None if it is not above zero."""
    if gain <= 0 or not math.isfinite(measured.smallest):
        return None
    return max(math.ceil(prompts * (measured.smallest / gain) ** 2), 1)


def advice(found: Grid, growths: Growths, later: int) -> Advice:
    """Return what the verdicts of a later benchmark are expected to say."""
    whole = found.places[0]
    if any(gap.verdict == "too few" for *_, gap in whole.differences):
        return "too few"
    scores = {key: Score(_score(whole, growths, key), 0, 0) for key in CELLS}
    gaps = [
        (one, other, _verdict(whole, growths, one, other, later)) for one, other in itertools.combinations(CELLS, 2)
    ]
    return grid.advice(GridPlace("", later, whole.files, scores, gaps), CUT_EDIT_SIMILARITY)


def _score(whole: GridPlace, growths: Growths, key: str) -> float:
    """Return the score that a cell is expected to have after the whole training."""
    return whole.scores[key].value + (grown.value if (grown := _growth(growths, key)) else 0.0)


def _growth(growths: Growths, key: str) -> Growth | None:
    """Return the growth of a cell; None for one without a fitted model."""
    return {ADAPTED: growths.alone, BOTH: growths.with_files}.get(key)


def _expected(whole: GridPlace, growths: Growths, one: str, other: str, later: int) -> Expected:
    """Return the expected difference of two cells, the second minus the first."""
    value = _score(whole, growths, other) - _score(whole, growths, one)
    spread = (grown.high - grown.low if (grown := _growth(growths, key)) else 0.0 for key in (one, other))
    parts = [_half(whole, one, other), _later_half(whole, one, other, later), *(each / 2 for each in spread)]
    half = math.hypot(*parts)
    return Expected(value, value - half, value + half)


def _half(whole: GridPlace, one: str, other: str) -> float:
    gap = whole.difference(one, other)
    return (gap.high - gap.low) / 2


def _later_half(whole: GridPlace, one: str, other: str, later: int) -> float:
    """Return half the interval of a difference in a benchmark of `later` prompts."""
    return _half(whole, one, other) * math.sqrt(whole.n / later)


def _verdict(whole: GridPlace, growths: Growths, one: str, other: str, later: int) -> Difference:
    """Return a difference as the later benchmark is expected to show it."""
    value = _score(whole, growths, other) - _score(whole, growths, one)
    half = _later_half(whole, one, other, later)
    shown = abs(value) > HOLM * half
    verdict: Conclusion = ("better" if value > 0 else "worse") if shown else "not resolved"
    return Difference(value, value - half, value + half, 0.0 if shown else 1.0, half, verdict)


def cell_of(advice: Advice) -> str:
    """Return the cell that an advice recommends, the base where it recommends none."""
    return {"tune": ADAPTED, "retrieve": FILES, "both": BOTH}.get(advice, BASE)
