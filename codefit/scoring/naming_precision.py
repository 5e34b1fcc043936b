"""Precision of the parts of a name: the share of those of a predicted name that the real name has, a mean of items."""

from codefit.scoring import name_parts
from codefit.scoring.statistics import mean

NAME = "naming_precision"
LABEL = "Name precision"
UNIT = "%"
HIGHER_IS_BETTER = True


def statistics(prediction: str, reference: str) -> tuple[float, float]:
    """Return (precision in percent, 1); a prediction without any part has none."""
    shared, found, _ = name_parts.counts(prediction, reference)
    return 100.0 * shared / max(found, 1), 1.0


value = mean


def signature(n: int) -> str:
    """Return how the number was made."""
    return name_parts.signature(NAME, n)
