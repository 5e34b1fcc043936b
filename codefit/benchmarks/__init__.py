"""Benchmarks: a module of this folder is one, named after its file; `--benchmark` takes its name.

A module has a TITLE for the middle of a sentence and `load() -> list[Pair]`, which raises UserError where the data
cannot be had. It may have NEW_TOKENS, where a prediction is cut, and `scores(predictions, references)`: the numbers of
the benchmark's own code, rounded as there, with `n` and `signatures` (the profile "compat"). The pairs of a prepared
data set (heldout) and of a JSONL file (pairs) come from a path instead.
"""

import importlib
from pathlib import Path
from types import ModuleType

FROM_PATHS = ("heldout", "pairs")
NAMES = tuple(sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py") if file.stem not in FROM_PATHS))


def module(name: str) -> ModuleType:
    """Return the module of a benchmark; the names are NAMES."""
    return importlib.import_module(f"codefit.benchmarks.{name}")
