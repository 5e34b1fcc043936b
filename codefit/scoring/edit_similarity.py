"""Edit similarity: 100 * (1 - indel distance / (length of both)), unrounded, as a mean over the items.

The distance counts insertions and deletions of characters, as "edit similarity" does in CodeXGLUE, CrossCodeEval and
RepoBench. It is not 1 - Levenshtein / longer length, which differs by ten points on real predictions.
"""

import Levenshtein

from codefit.scoring.metric import TextMetric, library

LIBRARY = library("Levenshtein")


class EditSimilarity(TextMetric):
    """Edit similarity in percent, a mean over the items."""

    name = "edit_similarity"
    label = "Edit similarity"

    def of_pair(self, prediction: str, reference: str) -> tuple[float, float]:
        """Return (similarity in percent, 1). Trailing white space is ignored; two empty texts are equal."""
        return 100 * Levenshtein.ratio(prediction.rstrip(), reference.rstrip()), 1.0

    def signature(self, n: int) -> str:
        """Return the signature of a value of n items."""
        return f"{self.name}|sim:indel|pp:rstrip|round:none|n:{n}|lib:{LIBRARY}"


EDIT_SIMILARITY = EditSimilarity()
