"""The scores as text: for the terminal, at most 100 columns wide, and as Markdown for READMEs and cards."""

from collections.abc import Sequence
from typing import Any

from codefit import cli, report

HEADER = ("metric", "base [95 %]", "adapted [95 %]", "difference [95 %]", "verdict")


def table(name: str, benchmark: dict[str, Any]) -> str:
    """Return one benchmark as lines of text."""
    lines = [f"{report.title(name)}: {benchmark['n']} prompts from {benchmark['files']} files", ""]
    lines += [cli.table([_cells(row) for row in _shown(benchmark)], HEADER), ""]
    if "compat" in benchmark:
        rows = [row[:3] for row in report.compat_rows(benchmark)]  # the signatures are too wide for a terminal
        lines += [cli.table(rows, report.COMPAT_HEADER[:3]), ""]
    lines += [_endings(benchmark), *(f"note: {finding}" for finding in benchmark["findings"])]
    return "\n".join(lines)


def markdown(scores: dict[str, Any]) -> str:
    """Return all benchmarks as a small Markdown document."""
    models = scores["models"]
    parts = [f"Base: `{models['base']['name']}` · adapted: `{models['adapted']['name']}`"]
    for name, benchmark in scores["benchmarks"].items():
        rows = [_cells(row) for row in _shown(benchmark)]
        parts += [" ".join(report.verdict(name, benchmark)), _markdown_table(HEADER, rows)]
        if "compat" in benchmark:
            parts.append(_markdown_table(report.COMPAT_HEADER, report.compat_rows(benchmark)))
        parts.append(_endings(benchmark))
        parts += [f"- {finding}" for finding in benchmark["findings"]]
        parts.append("Signatures: " + ", ".join(f"`{row['signature']}`" for row in _shown(benchmark)))
    return "\n\n".join(parts) + "\n"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in line] for line in (header, *rows)]
    cells.insert(1, ["---"] * len(header))
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _shown(benchmark: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the small tables: bits per byte says what perplexity says, and is left to the report."""
    return [row for row in benchmark["metrics"] if row["metric"] != "bits_per_byte"]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    scores = (report.score(row, model) for model in ("base", "adapted"))
    return (row["label"], *scores, report.difference(row), row["verdict"])


def _endings(benchmark: dict[str, Any]) -> str:
    row = next(row for row in benchmark["checks"] if row["check"] == "stops_at_natural_end")
    base, adapted = (report.share(row[model]) for model in ("base", "adapted"))
    return f"stops by itself at a natural end: base {base}, adapted {adapted} of {row['adapted']['of']} prompts"
