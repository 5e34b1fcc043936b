"""The grid of base and adapted model, with and without retrieved files: its sentences and tables."""

from codefit.evaluation.report import wording
from codefit.evaluation.report.wording import Models
from codefit.evaluation.result_schema import CELLS, BenchmarkResult, Grid, MetricRow

BASE, FILES, ADAPTED, BOTH = CELLS
LEADS = {
    "tune": "Tune: fitting the model pays, and retrieved files are not shown to add to it",
    "retrieve": "Retrieve: showing the model other files pays, and fitting it is not shown to add to that",
    "both": "Both: fitting the model and showing it other files pays",
    "neither": "Neither: no gain is shown, from fitting the model or from showing it other files",
    "too few": "Too few prompts to tell whether fitting the model or showing it other files pays",
    "no conclusion": "No conclusion about fitting the model and showing it other files",
}


def sentences(result: BenchmarkResult, models: Models) -> list[str]:
    """Return the headline of the grid, and what was retrieved; nothing where there is no grid."""
    if result.grid is None:
        return []
    return [_headline(result.grid, result.headline, models), _retrieved(result)]


def _headline(grid: Grid, row: MetricRow, models: Models) -> str:
    whole = grid.places[0]
    parts = []
    for cell in CELLS[1:]:
        gap = whole.difference(BASE, cell)
        parts.append(f"{models[cell].label} {wording.interval(gap, row)} ({gap.verdict})")
    base = wording.number(whole.scores[BASE].value, row)
    return f"{LEADS[grid.advice]}. Against the base ({base}) in {wording.name(row)}: {', '.join(parts)}."


def _retrieved(result: BenchmarkResult) -> str:
    assert result.grid
    found = result.grid.retrieval
    return (
        f"At most {found.tokens} tokens of files were retrieved for {found.prompts} of {result.n} prompts, which are "
        f"longer than those of training by as much. They hold {wording.share(found.found)} of the {found.found.of} "
        "names of references that the prompts do not hold."
    )


def square(result: BenchmarkResult, models: Models) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the four cells as a header and two rows."""
    assert result.grid
    scores, row = result.grid.places[0].scores, result.headline

    def cell(key: str) -> str:
        found = scores[key]
        return (
            f"{wording.number(found.value, row)} [{wording.number(found.low, row)}, {wording.number(found.high, row)}]"
        )

    header = (wording.capital(wording.name(row)), "without files", "with files")
    return header, [
        (models[key].label, cell(key), cell(with_files)) for key, with_files in ((BASE, FILES), (ADAPTED, BOTH))
    ]


def costs(result: BenchmarkResult, models: Models) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows of what a completion costs each cell."""
    assert result.grid
    header = ("a completion", "tokens read", "tokens written", "processor seconds")
    found = result.grid.retrieval.costs
    return header, [
        (
            models[cell].label,
            f"{found[cell].prompt_tokens:.0f}",
            f"{found[cell].new_tokens:.1f}",
            f"{found[cell].seconds:.2f}",
        )
        for cell in CELLS
        if cell in found
    ]


def comparisons(result: BenchmarkResult, models: Models) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows of every two cells against each other, in all prompts and in the kinds of places."""
    assert result.grid
    rows: list[tuple[str, ...]] = []
    for place in result.grid.places:
        for one, other, gap in place.differences:
            name = f"{models[one].label} → {models[other].label}"
            where = f"{place.place or 'all'} ({place.n})"
            rows.append((where, name, wording.interval(gap, result.headline), gap.verdict))
    return ("prompts", "models", "difference [95 %]", "verdict"), rows
