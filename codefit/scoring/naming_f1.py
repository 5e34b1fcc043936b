"""F1 of the parts of a name: how well those of a predicted name cover those of the real one, a mean of items.

code2seq (Alon et al., ICLR 2019) sums the counts over all items instead of taking a mean of items: naming_f1_micro.
"""

from codefit.scoring import name_parts
from codefit.scoring.statistics import mean

NAME = "naming_f1"
LABEL = "Name F1"
UNIT = "%"
HIGHER_IS_BETTER = True


def statistics(prediction: str, reference: str) -> tuple[float, float]:
    """Return (F1 in percent, 1)."""
    shared, found, wanted = name_parts.counts(prediction, reference)
    return 200.0 * shared / max(found + wanted, 1), 1.0


value = mean


def signature(n: int) -> str:
    """Return how the number was made."""
    return name_parts.signature(NAME, n)
