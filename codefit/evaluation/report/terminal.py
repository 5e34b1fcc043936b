"""The scores as text: for the terminal, sentences at most 80 columns wide, and as Markdown for READMEs and cards."""

import html
import re
import textwrap

from codefit import console
from codefit.evaluation import prompt_groups
from codefit.evaluation.output_checks import STOPS_AT_NATURAL_END
from codefit.evaluation.report import conclusion, grid_wording, wording
from codefit.evaluation.report.wording import Models
from codefit.evaluation.result_schema import BenchmarkResult, Group, MetricRow, Scores

WIDTH = 80
LABEL = 24  # characters of a model's name in a table
AGAINST = ("difference [95 %]", "verdict")


def table(result: BenchmarkResult, models: Models) -> str:
    """Return one benchmark as lines of text."""
    headline, *others = conclusion.sentences(result, models)
    warnings = [f"warning: {finding}" for finding in conclusion.warnings(result, models)]
    said = [headline, *filter(None, [conclusion.accepted(result, models)]), *warnings, *others]
    lines = [wording.title(result), "", *map(_wrapped, said), "", _fitting(result, models), ""]
    if result.grid:
        lines += [*map(_wrapped, grid_wording.sentences(result, models)), ""]
        for header, rows in _grid(result, models):
            lines += [console.table(rows, header), ""]
    if result.compat:  # the signatures are too wide for a terminal
        compat = [row[:-1] for row in wording.compat_rows(result)]
        lines += [console.table(compat, wording.compat_header(models)[:-1]), ""]
    notes = _lines(result, models)
    if result.forgetting:
        notes.insert(0, f"forgetting: {result.forgetting.verdict}")
    return "\n".join([*lines, *map(_wrapped, notes)])


def brief(result: BenchmarkResult) -> str:
    """Return that a benchmark is too small, without its numbers."""
    return f"{wording.title(result)}: too few to compare the models; the report has the scores"


def is_too_small(result: BenchmarkResult) -> bool:
    """Return whether a benchmark has no verdict at all."""
    return {gap.verdict for row in result.metrics for gap in row.against_base.values()} == {"too few"}


def _fitting(result: BenchmarkResult, models: Models) -> str:
    """Return the table of scores; on a narrow terminal without the intervals of single models, then in two lines."""
    header, rows = scores(result, models)
    text = console.table(rows, header)
    if len(models) != 2 or _columns(text) <= console.width():
        return text
    plain = [(row[0], *(cell.partition(" [")[0] for cell in row[1:3]), *row[3:]) for row in rows]
    short = (header[0], *(label.partition(" [")[0] for label in header[1:3]), *header[3:])
    text = console.table(plain, short)
    if _columns(text) <= console.width():
        return text
    head, rule, *body = console.table([row[:3] for row in plain], short[:3]).splitlines()
    more = (f"    {difference}  {verdict}" for *_, difference, verdict in plain)
    return "\n".join([head, rule, *(line for both in zip(body, more, strict=True) for line in both)])


def _columns(text: str) -> int:
    return max(map(len, text.splitlines()))


COLOURS = {"better": 32, "worse": 31, "not resolved": 33, "too few": 33}


def coloured(text: str) -> str:
    """Return a printed benchmark with its verdicts in colour: at the end of a line, or on a line of their own."""
    words = "|".join(COLOURS)
    return re.sub(
        rf"(?<=  )({words})$", lambda found: f"\033[{COLOURS[found[0]]}m{found[0]}\033[0m", text, flags=re.MULTILINE
    )


def _wrapped(note: str) -> str:
    """Return a sentence wrapped to WIDTH; a number and its % stay together."""
    text = note.replace(" %", "\xa0%")
    return textwrap.fill(text, min(WIDTH, console.width()), subsequent_indent="  ", break_on_hyphens=False).replace(
        "\xa0%", " %"
    )


def markdown(content: Scores) -> str:
    """Return all benchmarks as a Markdown document."""
    parts = [" · ".join(f"{model.label}: `{model.name}`" for model in content.models.values())]
    for result in content.benchmarks.values():
        parts += _chapter(result, content.models)
    return console.printable_lines(html.escape("\n\n".join(parts), quote=False)) + "\n"


def _chapter(result: BenchmarkResult, models: Models) -> list[str]:
    header, rows = scores(result, models)
    parts = [f"## {wording.title(result)}"]
    headline, *others = conclusion.sentences(result, models)
    parts.append(" ".join([headline, conclusion.accepted(result, models)]).strip())
    if warnings := conclusion.warnings(result, models):
        parts.append("\n".join(f"- Warning: {finding}" for finding in warnings))
    if others:
        parts.append(" ".join(others))
    parts.append(console.markdown_table(rows, header))
    if result.grid:
        parts.append(" ".join(grid_wording.sentences(result, models)))
        parts += [console.markdown_table(rows, header) for header, rows in _grid(result, models)]
    if result.compat:
        parts.append(console.markdown_table(wording.compat_rows(result), wording.compat_header(models)))
    parts += [f"{wording.capital(sentence)}." for sentence in _lines(result, models)]
    for key in wording.fitted(result) if result.groups else ():
        label = models[key].label
        groups = [_group(group, key, result.headline) for group in result.groups]
        parts += [f"{result.headline.label} of {label} by group; verdicts corrected with all secondary differences:"]
        parts += [console.markdown_table(groups, ("group", "prompts", models["base"].label, label, *AGAINST))]
    how = f"|{result.decoding}"
    signatures = ", ".join(f"`{row.signature.removesuffix(how)}`" for row in _shown(result))
    settings = [f"Generation settings: `{result.decoding}`"] if result.decoding else []
    return [
        *parts,
        *settings,
        f"Signatures: {signatures}" + (", each with the generation settings" if settings else ""),
    ]


def _grid(result: BenchmarkResult, models: Models) -> list[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """Return header and rows of the tables of the grid."""
    return [make(result, models) for make in (grid_wording.square, grid_wording.costs, grid_wording.comparisons)]


def _lines(result: BenchmarkResult, models: Models) -> list[str]:
    return [
        wording.floors(result),
        *wording.stopping(result, models),
        *wording.groups(result, models),
        _endings(result, models),
        *wording.entropy(result, models),
    ]


def _group(group: Group, key: str, row: MetricRow) -> tuple[str, ...]:
    """Return a group of prompts as a row for one adapted model."""
    name = f"{prompt_groups.TITLES[group.kind]}: {group.group}"
    values = (wording.number(group.values[each], row) for each in ("base", key))
    against = group.against_base[key]
    return (name, str(group.n), *values, wording.interval(against, row), against.verdict)


def _shown(result: BenchmarkResult) -> list[MetricRow]:
    """Return the rows of the small tables: bits per byte repeats perplexity, and is shown only in the report."""
    return [row for row in result.metrics if row.metric != "bits_per_byte"]


def scores(result: BenchmarkResult, models: Models) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows of the table of scores: a row per metric, or with several models one per model."""
    rows = _shown(result)
    if len(models) == 2:
        labels = [f"{model.label} [95 %]" for model in models.values()]
        pair = [
            (wording.label(row, result), *(wording.score(row, key) for key in models), *_against(row, "adapted"))
            for row in rows
        ]
        return ("metric", *labels, *AGAINST), pair
    return ("metric", "model", "score [95 %]", "against base [95 %]", "verdict"), [
        (
            wording.label(row, result) if key == "base" else "",
            _short(model.label),
            wording.score(row, key),
            *_against(row, key),
        )
        for row in rows
        for key, model in models.items()
    ]


def _against(row: MetricRow, key: str) -> tuple[str, str]:
    """Return the difference of a model to the base, and its verdict; nothing for the base itself."""
    found = row.against_base.get(key)
    return (wording.interval(found, row), found.verdict) if found else ("", "")


def _short(label: str) -> str:
    """Return a model's name for a table; a long one is shortened in the middle."""
    return label if len(label) <= LABEL else f"{label[: LABEL // 2 - 1]}…{label[-LABEL // 2 :]}"


def _endings(result: BenchmarkResult, models: Models) -> str:
    row = next(row for row in result.checks if row.check == STOPS_AT_NATURAL_END)
    shares = ", ".join(f"{model.label} {wording.share(row.counts[key])}" for key, model in models.items())
    return f"stops by itself at a natural end: {shares} of {console.counted(row.counts['adapted'].of, 'prompt')}"
