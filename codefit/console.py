"""What long work shows: progress, tables, sizes that people read."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from codefit.distributed import is_first_process


def progress(items: Iterable[Any], description: str, total: int | None = None, unit: str = "it") -> Iterable[Any]:
    """Wrap an iterable in a progress bar with rate and estimate; in a pipe it prints a line every 10 seconds."""
    from tqdm import tqdm

    pause = 0.1 if sys.stderr.isatty() else 10
    silent = not is_first_process()
    return tqdm(items, description, total=total, unit=unit, mininterval=pause, ncols=99, leave=True, disable=silent)


def table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> str:
    """Return rows as aligned text columns; numbers are set to the right."""
    right = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(header))]
    text = _tabulated(rows, header, "simple", ["right" if each else "left" for each in right])
    return "\n".join(line.rstrip() for line in text.splitlines())


def markdown_table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> str:
    """Return rows as a table of Markdown; a | or a line end in a cell does not end it."""
    escaped = [[_markdown_cell(cell) for cell in row] for row in rows]
    return _tabulated(escaped, [_markdown_cell(cell) for cell in header], "github", ["left"] * len(header))


def _tabulated(rows: Sequence[Sequence[Any]], header: Sequence[str], style: str, align: Sequence[str]) -> str:
    import tabulate

    tabulate.MIN_PADDING = 0  # a column is as wide as its widest cell, its header included
    cells = [[str(cell) for cell in row] for row in rows]
    text: str = tabulate.tabulate(
        cells,
        list(header),
        style,
        disable_numparse=True,
        preserve_whitespace=True,
        colalign=align if cells else None,
        headersalign=align if cells else None,
    )
    return text


def _markdown_cell(cell: Any) -> str:
    text = "" if cell is None else str(cell)
    return " ".join(text.replace("|", "\\|").splitlines())


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) or str(cell)[:1] in "0123456789+-"


def shortened(text: str, width: int = 40) -> str:
    """Return a text that fits a column of a table; of a long path the end says more than the beginning."""
    return text if len(text) <= width else "…" + text[1 - width :]


def duration(seconds: float) -> str:
    """Return seconds as people say them: 8 s, 3 min 20 s, 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
