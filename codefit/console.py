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
    cells = [list(map(str, header)), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [all(_is_number(row[column]) for row in rows) and bool(rows) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        aligned = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        return "  ".join(aligned).rstrip()

    return "\n".join([line(cells[0]), "  ".join("-" * width for width in widths), *map(line, cells[1:])])


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
