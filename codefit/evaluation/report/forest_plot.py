"""Charts of scores with their intervals: one track per metric, one mark per model, distinguished by shape.

This module computes the positions; `macros.html` draws them.
"""

import dataclasses
from collections.abc import Sequence

from codefit.evaluation.report import wording
from codefit.evaluation.report.wording import Models
from codefit.evaluation.result_schema import Baseline, MetricRow, Score

LOOKED_UP = "nearest"  # the baseline that a track shows
SHAPES = 5  # of marks, drawn by macros.html; the base's first, as in the plots
TOP, STEP = 13, 20  # pixels: where the first model's mark lies, and from one to the next


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """The score of one model: places across in percent of the track's width, y in pixels from its top."""

    shape: int
    low: float
    value: float
    high: float
    y: int
    text: str
    text_is_left: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Track:
    """One metric as a line of its scale with all models on it.

    Attributes:
        label: of the metric.
        verdict: on the adapted model.
        difference: of the adapted model to the base, with its interval.
        spoken: the track as a sentence, for screen readers.
        height: in pixels.
        floor: the place of the looked-up baseline in percent of the width; None where it is not known.
        marks: one per model.
        ticks: the numbers of the scale.
    """

    label: str
    verdict: str
    difference: str
    spoken: str
    height: int
    floor: float | None
    marks: list[Mark]
    ticks: list[str]


def track(row: MetricRow, models: Models, baselines: Sequence[Baseline]) -> Track:
    """Return one metric with the scores of all models and the looked-up baseline."""
    scale = wording.scale(row)
    top = scale[-1]
    spoken = f"{row.label}: " + ", ".join(f"{models[key].label} {wording.score(row, key)}" for key in models)
    looked_up = next((found.values.get(row.metric) for found in baselines if found.baseline == LOOKED_UP), None)
    if looked_up is not None:
        spoken += f"; nearest training item {wording.number(looked_up, row)}"
    return Track(
        label=row.label,
        verdict=row.against_base["adapted"].verdict,
        difference=wording.interval(row.against_base["adapted"], row),
        spoken=spoken,
        height=TOP + STEP * len(models) - 7,
        floor=None if looked_up is None else percent(looked_up, top),
        marks=[_mark(row.scores[key], place, row, top) for place, key in enumerate(models)],
        ticks=[f"{tick:g}" for tick in scale],
    )


def _mark(found: Score, place: int, row: MetricRow, top: float) -> Mark:
    low, value, high = (percent(each, top) for each in (found.low, found.value, found.high))
    text = wording.number(found.value, row)
    return Mark(place % SHAPES, low, value, high, TOP + STEP * place, text, text_is_left=high > 80)


def percent(value: float, top: float) -> float:
    """Return a value's place on a scale from 0 to top, in percent."""
    return 100 * min(max(value / top, 0.0), 1.0)
