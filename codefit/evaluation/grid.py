"""Base and adapted model, each with and without retrieved files: does a team gain by fitting, by retrieval, or by both?

Every cell is compared with every other one, over all prompts and in each kind of place that pairs name. The verdicts
over all prompts are corrected for their number, and those of the kinds of places together (Holm).
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import msgspec
import numpy as np

from codefit.evaluation import differences, prompt_files
from codefit.evaluation.result_schema import CELLS, NO_CONCLUSION, Advice, Grid, GridPlace, Retrieval
from codefit.records import PLACES, Prediction
from codefit.scoring import statistics
from codefit.scoring.metric import Metric

BASE, FILES, ADAPTED, BOTH = CELLS
ALONE: dict[str, Advice] = {FILES: "retrieve", ADAPTED: "tune"}


def of(
    metric: Metric, by_model: Mapping[str, Sequence[Prediction]], retrieval: Retrieval | None, seed: int
) -> Grid | None:
    """Return the grid of a benchmark in its primary metric; None where no files were retrieved."""
    if retrieval is None or not all(cell in by_model for cell in CELLS):
        return None
    known = {item.place for item in by_model[BASE]}
    kinds = [place for place in PLACES if place in known]
    [whole] = _places(metric, by_model, [""], seed)
    places = _places(metric, by_model, kinds, seed) if len(known) > 1 else []
    return Grid(advice(whole, metric), [whole, *places], retrieval)


def _places(
    metric: Metric, by_model: Mapping[str, Sequence[Prediction]], places: Sequence[str], seed: int
) -> list[GridPlace]:
    """Return the cells in some kinds of places, "" for all prompts, with verdicts corrected for their number."""
    stats = {cell: metric.of_items(by_model[cell]) for cell in CELLS}
    clusters = np.array(prompt_files.clusters(by_model[BASE]))
    found = []
    for place in places:
        at = [n for n, item in enumerate(by_model[BASE]) if place in ("", item.place)]
        inside = clusters[at].tolist()
        gaps = [
            (one, other, differences.difference(metric, stats[one][at], stats[other][at], inside, seed))
            for one, other in combinations(CELLS, 2)
        ]
        scores = {cell: differences.score(metric, stats[cell][at], inside) for cell in CELLS}
        found.append(GridPlace(place, len(at), len(set(inside)), scores, gaps))
    return _corrected(found)


def _corrected(places: Sequence[GridPlace]) -> list[GridPlace]:
    values = iter(statistics.holm([differences.p_of(gap) for place in places for *_, gap in place.differences]))
    return [
        msgspec.structs.replace(
            place,
            differences=[(one, other, differences.with_p(gap, next(values))) for one, other, gap in place.differences],
        )
        for place in places
    ]


def advice(whole: GridPlace, metric: Metric) -> Advice:
    """Return what the verdicts say: both only where it is shown to be better than the better one of the two alone."""
    if any(gap.verdict == "too few" for *_, gap in whole.differences):
        return "too few"
    sign = 1 if metric.higher_is_better else -1
    paying = [cell for cell in CELLS[1:] if whole.difference(BASE, cell).verdict == "better"]
    alone = max(
        (cell for cell in paying if cell != BOTH), key=lambda cell: sign * whole.scores[cell].value, default=None
    )
    if BOTH in paying and (alone is None or whole.difference(alone, BOTH).verdict == "better"):
        return "both"
    return "neither" if alone is None else ALONE[alone]


def without_conclusion(grid: Grid) -> Grid:
    """Return a grid whose adapted model allows no conclusion."""
    places = [
        msgspec.structs.replace(
            place,
            differences=[
                (one, other, msgspec.structs.replace(gap, verdict=NO_CONCLUSION) if other != FILES else gap)
                for one, other, gap in place.differences
            ],
        )
        for place in grid.places
    ]
    return msgspec.structs.replace(grid, advice=NO_CONCLUSION, places=places)
