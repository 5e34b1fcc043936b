"""The formats of benchmarks: `--benchmark` takes a name of NAMES, or a file that one of the FORMATS reads.

A module has a TITLE for the middle of a sentence and `load(path) -> list[Pair]`, which raises UserError where the file
cannot be read. It may have NEW_TOKENS, the limit of new tokens; `stop(pairs)`, a stop condition of
generation/stopping.py; and `scores(predictions, references)`, the numbers of the benchmark's own code, rounded as there
(the profile "compat"). A file is read by the module whose FIELDS its rows have.
"""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Literal

from codefit.records import read_rows

Format = Literal["pairs", "codexglue", "codexglue_line", "humaneval_infilling", "installed_methods"]
NAMES: tuple[Format, ...] = ("codexglue", "installed_methods")  # benchmarks that need no path
FORMATS: tuple[Format, ...] = ("codexglue", "codexglue_line", "humaneval_infilling")  # of files, besides pairs


def named(name: str) -> Format | None:
    """Return the format of a benchmark that needs no path; None for any other name."""
    return next((form for form in NAMES if form == name), None)


def module(name: Format) -> ModuleType:
    """Return the module of a benchmark."""
    return importlib.import_module(f"codefit.evaluation.benchmarks.{name}")


def format_of(path: Path) -> Format:
    """Return the name of the module that reads a file: the one whose FIELDS its first row has, or "pairs".

    Raises:
        UserError: the file is missing, or its first row is broken.
    """
    _, row = next(read_rows(path), ("", {}))
    return next((name for name in FORMATS if set(module(name).FIELDS) <= set(row)), "pairs")
