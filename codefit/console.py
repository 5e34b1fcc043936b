"""Terminal output: progress bars, tables, sizes, and untrusted text with its control characters escaped."""

import os
import re
import shutil
import sys
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO

from codefit.distributed import is_first_process

# Control characters (C0, DEL, C1), line separators, bidirectional marks, overrides and isolates, and lone surrogates,
# which no encoding can write.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

AUTHORITY = re.compile(r"(?<![\w+.-])(?:([a-z][\w+.-]*):/{0,2}|//)([^\s/?#'\"<>]*)", re.IGNORECASE)
SLASHED_PASSWORD = re.compile(r"(//)[^\s/@?#]*:(?!\d*/)[^\s@]*@")
SCP_PASSWORD = re.compile(r"(?<![^\s'\"=])[^\s/@'\"=]*:[^\s/@'\"][^\s@'\"]*@(?=[\w.-])")
SECRET_FIELD = re.compile(
    r"([?&;#][^\s=&;#'\"]*(?:token(?!iz)|secret|passw|pwd|api_?-?key|access_?-?key|auth|signature|credential)[^\s=&;#'\"]*="
    r"|[?&;#](?:key|sig|pass|private_key)=)[^\s&;#'\"]+",
    re.IGNORECASE,
)
HIDDEN = "***"
NARROWEST = 12  # columns of a column of text that is cut to fit a terminal


def width() -> int:
    """Return the columns to print in: one less than the terminal has, which some need; between 40 and 99."""
    return max(40, min(shutil.get_terminal_size((100, 24)).columns, 100) - 1)


def printable(text: object) -> str:
    """Return a text in one line, with control characters and characters that hide others as escapes: \\x1b."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), str(text))


def printable_lines(text: object) -> str:
    """Return a text with its line ends and tabs, and everything else as in `printable`."""
    parts = re.split(r"([\n\t])", str(text))
    return "".join(part if part in {"\n", "\t"} else printable(part) for part in parts)


def show(
    text: object = "",
    end: str = "\n",
    file: TextIO | None = None,
    flush: bool = False,
    paint: Callable[[str], str] | None = None,
) -> None:
    """Print a text of one or more lines, escaped as in `printable_lines`, then painted where colours are shown."""
    escaped = printable_lines(text)
    print(paint(escaped) if paint and in_colour(file or sys.stdout) else escaped, end=end, file=file, flush=flush)


def masked(text: str) -> str:
    """Return a text with the users, passwords and tokens in its URLs replaced by ***."""
    plain = text
    while (decoded := urllib.parse.unquote(plain)) != plain:
        plain = decoded
    hidden = AUTHORITY.sub(_masked_authority, SLASHED_PASSWORD.sub(rf"\1{HIDDEN}@", plain))
    hidden = SCP_PASSWORD.sub(f"{HIDDEN}@", hidden)
    hidden = SECRET_FIELD.sub(rf"\1{HIDDEN}", hidden)
    return text if hidden == plain else hidden


def _masked_authority(found: re.Match[str]) -> str:
    """Return `scheme://host:port` unchanged; hide what comes before a @ or in place of the port."""
    scheme, authority = found[1], found[2]
    user, at, host = authority.rpartition("@")
    slashes = found[0][: len(found[0]) - len(authority)]
    if at:
        harmless = scheme and scheme.lower() in {"ssh", "git+ssh", "ssh+git"} and ":" not in user and user
        return found[0] if harmless else f"{slashes}{HIDDEN}@{host}"
    odd_port = scheme and slashes.endswith("//") and re.search(r":(?!\d*[^\w]*$)", authority.rpartition("]")[2])
    return f"{slashes}{HIDDEN}" if odd_port else found[0]


def progress(items: Iterable[Any], description: str, total: int | None = None, unit: str = "it") -> Iterable[Any]:
    """Wrap an iterable in a progress bar with rate and remaining time; in a pipe, print a line every 10 seconds."""
    wrapped: Iterable[Any] = bar(description, total, unit, items)
    return wrapped


def bar(
    description: str,
    total: int | None,
    unit: str = "it",
    items: Iterable[Any] | None = None,
    leave: bool = True,
    shown: bool = True,
) -> Any:
    """Return a tqdm bar that fits the terminal; in a pipe it prints a line every 10 seconds, without carriage returns.

    Args:
        description: what is done.
        total: the number of items, None if it is not known.
        unit: what an item is called.
        items: what the bar iterates over, if anything.
        leave: whether the bar stays on the screen at its end.
        shown: whether anything is printed.
    """
    from tqdm import tqdm

    drawn = sys.stderr.isatty()
    return tqdm(
        items,
        printable(description),
        total=total,
        unit=unit,
        mininterval=0.1 if drawn else 10,
        ncols=width(),
        leave=leave,
        disable=not shown or not is_first_process(),
        file=sys.stderr if drawn else Lines(sys.stderr),
    )


class Lines:
    """A file for tqdm that is no terminal: each state of a bar becomes a line of its own."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.last = ""

    def write(self, text: str) -> None:
        """Write the state of a bar, unless it is blank or the same as before."""
        line = text.strip()
        if line and line != self.last:
            self.last = line
            self.file.write(line + "\n")

    def flush(self) -> None:
        """Flush the file."""
        self.file.flush()


def in_colour(file: TextIO) -> bool:
    """Return whether to write colours to a file: to a terminal, unless NO_COLOR is set or the terminal is dumb."""
    return file.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> str:
    """Return rows as aligned text columns; numbers are right-aligned.

    On a terminal that is too narrow, the longest cells of the widest column of text are shortened.
    """
    right = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(header))]
    if sys.stdout.isatty():
        rows = _fitted(rows, header, right)
    text = _tabulated(rows, header, "simple", ["right" if each else "left" for each in right])
    return "\n".join(line.rstrip() for line in text.splitlines())


def _fitted(rows: Sequence[Sequence[Any]], header: Sequence[str], right: Sequence[bool]) -> Sequence[Sequence[Any]]:
    """Return rows whose widest column of text is cut so that the table fits the terminal, as far as that can be."""
    widths = [max(len(printable(row[column])) for row in [header, *rows]) for column in range(len(header))]
    over = sum(widths) + 2 * (len(widths) - 1) - width()
    texts = [column for column in range(len(header)) if not right[column]]
    if over <= 0 or not texts:
        return rows
    widest = max(texts, key=lambda column: widths[column])
    room = max(len(header[widest]), widths[widest] - over, NARROWEST)
    return [
        [shortened(printable(cell), room) if column == widest else cell for column, cell in enumerate(row)]
        for row in rows
    ]


def markdown_table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> str:
    """Return rows as a Markdown table; | and line ends in cells are escaped."""
    escaped = [[_markdown_cell(cell) for cell in row] for row in rows]
    return _tabulated(escaped, [_markdown_cell(cell) for cell in header], "github", ["left"] * len(header))


def _tabulated(rows: Sequence[Sequence[Any]], header: Sequence[str], style: str, align: Sequence[str]) -> str:
    import tabulate

    tabulate.MIN_PADDING = 0  # a column is as wide as its widest cell or header
    cells = [[printable(cell) for cell in row] for row in rows]
    text: str = tabulate.tabulate(
        cells,
        [printable(cell) for cell in header],
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
    """Return a text that fits a column of a table; the end of a long path is kept, since it says more."""
    return text if len(text) <= width else "…" + text[1 - width :]


def counted(count: int, thing: str) -> str:
    """Return a number with what it counts: 1 row, 2 rows."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def size(count: float) -> str:
    """Return bytes as people say them: 512 kB, 3.1 GB."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 999.5 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.3g} {units[0]}"


def seconds(count: float) -> str:
    """Return a short time in readable units: 0.38 s, 12 s."""
    return f"{count:.2g} s" if count < 10 else duration(count)


def duration(seconds: float) -> str:
    """Return seconds in readable units: 8 s, 3 min 20 s, 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
