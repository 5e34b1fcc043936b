"""The scores as text: for the terminal, at most 100 columns wide, and as Markdown for READMEs and cards."""

import html
import textwrap
from collections.abc import Sequence
from typing import Any

from codefit import console
from codefit.evaluation import prompt_groups
from codefit.evaluation.report import wording

WIDTH = 100
LABEL = 24  # characters of a model's name in a table
AGAINST = ("difference [95 %]", "verdict")


def table(benchmark: dict[str, Any], models: dict[str, Any]) -> str:
    """Return one benchmark as lines of text."""
    header, rows = scores(benchmark, models)
    lines = [wording.title(benchmark), "", console.table(rows, header), ""]
    if "compat" in benchmark:  # the signatures are too wide for a terminal
        compat = [row[:-1] for row in wording.compat_rows(benchmark)]
        lines += [console.table(compat, wording.compat_header(models)[:-1]), ""]
    notes = [*_lines(benchmark, models), *(f"note: {finding}" for finding in benchmark["findings"])]
    if "forgetting" in benchmark:
        notes.insert(0, f"forgetting: {benchmark['forgetting']['verdict']}")
    return "\n".join([*lines, *map(_wrapped, notes)])


def _wrapped(note: str) -> str:
    """Return a sentence in lines; a number and its % stay together."""
    return textwrap.fill(note.replace(" %", "\xa0%"), WIDTH, subsequent_indent="  ").replace("\xa0%", " %")


def markdown(content: dict[str, Any]) -> str:
    """Return all benchmarks as a Markdown document."""
    models = content["models"]
    parts = [" · ".join(f"{model['label']}: `{model['name']}`" for model in models.values())]
    for benchmark in content["benchmarks"].values():
        parts += _chapter(benchmark, models)
    return console.printable_lines(html.escape("\n\n".join(parts), quote=False)) + "\n"


def _chapter(benchmark: dict[str, Any], models: dict[str, Any]) -> list[str]:
    header, rows = scores(benchmark, models)
    parts = [f"## {wording.title(benchmark)}", " ".join(wording.verdict(benchmark, models))]
    if benchmark["findings"]:
        parts.append("\n".join(f"- {finding}" for finding in benchmark["findings"]))
    parts.append(markdown_table(header, rows))
    if "compat" in benchmark:
        parts.append(markdown_table(wording.compat_header(models), wording.compat_rows(benchmark)))
    parts += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in _lines(benchmark, models)]
    for role in wording.fitted(benchmark) if benchmark["slices"] else ():
        label = models[role]["label"]
        groups = [
            (f"{prompt_groups.TITLES[row['kind']]}: {row['group']}", *_slice(row, role, benchmark))
            for row in benchmark["slices"]
        ]
        parts += [f"{benchmark['metrics'][0]['label']} of {label} by group; verdicts corrected for their number:"]
        parts += [markdown_table(("group", "prompts", models["base"]["label"], label, *AGAINST), groups)]
    how = f"|{benchmark['decoding']}"
    signatures = ", ".join(f"`{row['signature'].removesuffix(how)}`" for row in _shown(benchmark))
    asked = [f"Asked: `{benchmark['decoding']}`"] if benchmark["decoding"] else []
    return [*parts, *asked, f"Signatures: {signatures}" + (", each with how it was asked" if asked else "")]


def _lines(benchmark: dict[str, Any], models: dict[str, Any]) -> list[str]:
    return [
        wording.floors(benchmark),
        *wording.stopping(benchmark, models),
        *wording.groups(benchmark, models),
        _endings(benchmark, models),
    ]


def _slice(row: dict[str, Any], role: str, benchmark: dict[str, Any]) -> tuple[str, ...]:
    metric, against = benchmark["metrics"][0], row["against"][role]
    values = (wording.number(row[each], metric) for each in ("base", role))
    return (str(row["n"]), *values, wording.interval(against["difference"], metric), against["verdict"])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown; a | in a cell does not end it."""
    cells = [[console.printable(text).replace("|", "\\|") for text in line] for line in (header, *rows)]
    cells.insert(1, ["---"] * len(header))
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _shown(benchmark: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the small tables: bits per byte says what perplexity says, and is left to the report."""
    return [row for row in benchmark["metrics"] if row["metric"] != "bits_per_byte"]


def scores(benchmark: dict[str, Any], models: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows of the table of scores: a row per metric, or with several models one per model."""
    rows = _shown(benchmark)
    if len(models) == 2:
        labels = [f"{model['label']} [95 %]" for model in models.values()]
        pair = [
            (row["label"], *(wording.score(row, role) for role in models), wording.difference(row), row["verdict"])
            for row in rows
        ]
        return ("metric", *labels, *AGAINST), pair
    return ("metric", "model", "score [95 %]", "against base [95 %]", "verdict"), [
        (
            row["label"] if role == "base" else "",
            _short(models[role]["label"]),
            wording.score(row, role),
            *(
                ("", "")
                if role == "base"
                else (wording.difference(row, role), wording.against_base(row, role)["verdict"])
            ),
        )
        for row in rows
        for role in models
    ]


def _short(label: str) -> str:
    """Return the name of a model for a table; of a long one both ends."""
    return label if len(label) <= LABEL else f"{label[: LABEL // 2 - 1]}…{label[-LABEL // 2 :]}"


def _endings(benchmark: dict[str, Any], models: dict[str, Any]) -> str:
    row = next(row for row in benchmark["checks"] if row["check"] == "stops_at_natural_end")
    shares = ", ".join(f"{model['label']} {wording.share(row[role])}" for role, model in models.items())
    return f"stops by itself at a natural end: {shares} of {row['adapted']['of']} prompts"
