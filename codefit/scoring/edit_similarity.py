"""Edit similarity: 100 * (1 - indel distance / (length of both)), unrounded, as a mean over the items.

The distance counts insertions and deletions of characters, as "edit similarity" does in CodeXGLUE, CrossCodeEval and
RepoBench. It is not 1 - Levenshtein / longer length, which differs by ten points on real predictions.
"""

import importlib.metadata

import Levenshtein

from codefit.scoring.statistics import mean

NAME = "edit_similarity"
LABEL = "Edit similarity"
UNIT = "%"
HIGHER_IS_BETTER = True
LIBRARY = f"Levenshtein {importlib.metadata.version('Levenshtein')}"


def statistics(prediction: str, reference: str) -> tuple[float, float]:
    """Return (similarity in percent, 1). White space at the end does not count; two empty texts are alike."""
    return 100 * Levenshtein.ratio(prediction.rstrip(), reference.rstrip()), 1.0


value = mean


def signature(n: int) -> str:
    """Return how the number was made."""
    return f"{NAME}|sim:indel|pp:rstrip|round:none|n:{n}|lib:{LIBRARY}"
