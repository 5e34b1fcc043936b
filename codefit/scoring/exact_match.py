"""Exact match: the share of predictions that equal their reference, white space around both aside."""

from codefit.scoring.statistics import mean

NAME = "exact_match"
LABEL = "Exact match"
UNIT = "%"
HIGHER_IS_BETTER = True


def statistics(prediction: str, reference: str) -> tuple[float, float]:
    """Return (100 or 0, 1)."""
    return 100.0 * (prediction.strip() == reference.strip()), 1.0


value = mean


def signature(n: int) -> str:
    """Return how the number was made."""
    return f"{NAME}|pp:strip|round:none|n:{n}"
