"""Tables of trials and survivals, on the terminal and in Markdown."""

import datetime
import os
import platform
import re
import shlex
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from codefit import cli, console

DRAWN = re.compile(r"[0-9a-f]{32}")  # in names of temporary folders


@dataclass
class Row:
    """Trials of one kind: how many, how many survived, and what was wrong with the others by how often."""

    name: str
    tried: int = 0
    survived: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    example: dict[str, str] = field(default_factory=dict)

    def show(self) -> None:
        """Print the count, and what was wrong, as soon as it is known."""
        print(f"{self.name}: {self.survived} of {self.tried} survived", flush=True)
        for problem, count in self.wrong.most_common():
            print(f"  {count} times: {problem}\n    first at {self.example[problem]}", flush=True)

    def add(self, problems: list[str], how: str) -> None:
        """Count a trial; `how` says how to repeat it."""
        self.tried += 1
        self.survived += not problems
        for problem in {DRAWN.sub("<hex>", problem) for problem in problems}:
            self.wrong[problem] += 1
            self.example.setdefault(problem, how)


def add_flags(parser: cli.Parser) -> None:
    """Add the flags of all scripts here."""
    parser.add_argument("--seed", type=cli.number(int, 0), default=0, help="seed of the random choices")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows whose name contains this text")
    parser.add_argument("--quick", action="store_true", help="run a small part, in about a minute")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to this file as Markdown")


def finish(rows: list[Row], title: str, file: Path | None) -> int:
    """Print the table, write it to a file as Markdown if one is named, and return 1 if anything was wrong."""
    total = Row("all", sum(row.tried for row in rows), sum(row.survived for row in rows))
    cells = [[row.name, row.tried, row.survived] for row in [*rows, total]]
    print("\n" + console.table(cells, ["", "tried", "survived"]))
    if file:
        file.write_text(markdown(cells, title, rows), encoding="utf-8")
    return int(total.tried != total.survived)


def markdown(cells: list[list[object]], title: str, rows: list[Row]) -> str:
    """Return the table with the command, the date and the machine."""
    script = Path(sys.argv[0]).stem
    command = shlex.join(["python", "-m", f"torture.{script}", *_without_markdown(sys.argv[1:])])
    day = datetime.date.today().isoformat()
    lines = [f"## {title}", "", f"`{command}`, {day}, {machine()}", "", "| | tried | survived |", "|---|---:|---:|"]
    lines += [f"| {name} | {tried:,} | {survived:,} |" for name, tried, survived in cells]
    for row in rows:
        lines += [f"\n{row.name}: {count} times {_plain(problem)}" for problem, count in row.wrong.most_common(3)]
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Return the processor and the versions that matter."""
    names = [
        line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}, Python {platform.python_version()}"


def _without_markdown(words: list[str]) -> list[str]:
    return [word for n, word in enumerate(words) if "--markdown" not in (word, words[n - 1] if n else "")]


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
