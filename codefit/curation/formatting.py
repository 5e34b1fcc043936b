"""Formatting of Python: many files at once with `ruff format`."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from codefit.temporary import temporary_folder

FAILED = re.compile(r"\b(\d+)\.py\b")  # in ruff's message about a file that it could not parse
DONE, SOME_FAILED = 0, 2  # exit codes of ruff


def formatted(texts: Sequence[str]) -> list[str | None]:
    """Return Python texts in ruff's default format; None for one that does not parse."""
    if not texts:
        return []
    with temporary_folder() as folder:
        for number, text in enumerate(texts):
            (folder / f"{number}.py").write_text(text, encoding="utf-8", errors="surrogatepass", newline="\n")
        run = _ruff(folder)
        if run.returncode in {DONE, SOME_FAILED}:
            failed = set(map(int, FAILED.findall(run.stderr.replace(str(folder), ""))))
            files = [folder / f"{number}.py" for number in range(len(texts))]
            return [None if n in failed else file.read_text(encoding="utf-8") for n, file in enumerate(files)]
    if len(texts) == 1:  # the formatter itself failed on code nested too deeply
        return [None]
    half = len(texts) // 2
    return formatted(texts[:half]) + formatted(texts[half:])


def _ruff(folder: Path) -> subprocess.CompletedProcess[str]:
    from ruff import find_ruff_bin

    command = [find_ruff_bin(), "format", "--isolated", "--no-cache", "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
