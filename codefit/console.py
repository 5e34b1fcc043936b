"""Terminal output: progress bars, tables, sizes, and untrusted text with its control characters escaped."""

import re
import shutil
import sys
import urllib.parse
from collections.abc import Iterable, Sequence
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


def show(text: object = "", end: str = "\n", file: TextIO | None = None, flush: bool = False) -> None:
    """Print a text of one or more lines, escaped as in `printable_lines`."""
    print(printable_lines(text), end=end, file=file, flush=flush)


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
    from tqdm import tqdm

    pause = 0.1 if sys.stderr.isatty() else 10
    silent = not is_first_process()
    return tqdm(
        items, printable(description), total=total, unit=unit, mininterval=pause, ncols=99, leave=True, disable=silent
    )


def table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> str:
    """Return rows as aligned text columns; numbers are right-aligned."""
    right = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(header))]
    text = _tabulated(rows, header, "simple", ["right" if each else "left" for each in right])
    return "\n".join(line.rstrip() for line in text.splitlines())


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


def size(count: float) -> str:
    """Return bytes as people say them: 512 kB, 3.1 GB."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 999.5 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.3g} {units[0]}"


def duration(seconds: float) -> str:
    """Return seconds in readable units: 8 s, 3 min 20 s, 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
