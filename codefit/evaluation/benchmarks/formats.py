"""The formats of benchmarks: `--benchmark` takes a name of NAMES, or a file that one of the FORMATS reads.

A module has a TITLE for the middle of a sentence and `load() -> list[Pair]`, which raises UserError where the data
cannot be had. It may have NEW_TOKENS, where a prediction is cut, `stop(pairs)`, a rule of generation/stopping.py, and
`scores(predictions, references)`: the numbers of the benchmark's own code, rounded as there, with `n` and `signatures`
(the profile "compat"). A file is read by the module whose FIELDS its rows have.
"""

import importlib
from pathlib import Path
from types import ModuleType

from codefit.records import read_rows

NAMES = ("codexglue",)  # what can be had without a path
FORMATS = ("codexglue", "codexglue_line", "humaneval_infilling")  # of files, beside pairs


def module(name: str) -> ModuleType:
    """Return the module of a benchmark."""
    return importlib.import_module(f"codefit.evaluation.benchmarks.{name}")


def format_of(path: Path) -> str:
    """Return the name of the module that reads a file: the one whose FIELDS its first row has, or "pairs".

    Raises:
        UserError: the file is missing, or its first row is broken.
    """
    _, row = next(read_rows(path), ("", {}))
    return next((name for name in FORMATS if set(module(name).FIELDS) <= set(row)), "pairs")
