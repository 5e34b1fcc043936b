"""Recall of the parts of a name: the share of the parts of the real name that a predicted name has, a mean of items.

Parts are those of naming_f1.
"""

from codefit.scoring.naming_f1 import counts
from codefit.scoring.statistics import mean

NAME = "naming_recall"
LABEL = "Name recall"
UNIT = "%"
HIGHER_IS_BETTER = True
TASKS = ("naming",)


def statistics(prediction: str, reference: str) -> tuple[float, float]:
    """Return (recall in percent, 1); a prediction without any part has none."""
    shared, _, wanted = counts(prediction, reference)
    return 100.0 * shared / max(wanted, 1), 1.0


value = mean


def signature(n: int) -> str:
    """Return how the number was made."""
    return f"{NAME}|parts:camel,snake,digits|case:lower|count:multiset|mean:items|round:none|n:{n}"
