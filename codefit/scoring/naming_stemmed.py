"""Stemmed match: the share of names that are the real ones but for case, underscores and the endings of words.

Each part of a name (codefit/scoring/name_parts.py) is stemmed by Snowball's English stemmer (Porter2): get_files and
getFile match, get_file and file_get do not.
"""

import functools
import importlib.metadata

import snowballstemmer

from codefit.scoring.name_parts import parts
from codefit.scoring.statistics import mean

NAME = "naming_stemmed"
LABEL = "Stemmed match"
UNIT = "%"
HIGHER_IS_BETTER = True
LIBRARY = f"snowballstemmer {importlib.metadata.version('snowballstemmer')}"


@functools.cache
def stem(part: str) -> str:
    """Return the stem of one lower-case part of a name."""
    found: str = snowballstemmer.stemmer("english").stemWord(part)
    return found


def stems(name: str) -> list[str]:
    """Return the stems of the name that a prediction begins with, its first line, in order."""
    return [stem(part) for part in parts(name)]


def statistics(prediction: str, reference: str) -> tuple[float, float]:
    """Return (100 or 0, 1)."""
    return 100.0 * (stems(prediction) == stems(reference)), 1.0


value = mean


def signature(n: int) -> str:
    """Return how the number was made."""
    return f"{NAME}|parts:camel,snake,digits|case:lower|stem:english|round:none|n:{n}|lib:{LIBRARY}"
