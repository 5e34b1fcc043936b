"""F1 of the parts of all names together, as code2seq counts it (Alon et al., ICLR 2019), but with multisets.

Its membership test counts `get` of `get|get|get|name` three times against one `get`; here it counts once.
"""

import numpy as np

from codefit.scoring import name_parts
from codefit.scoring.statistics import Array

NAME = "naming_f1_micro"
LABEL = "Name F1, micro"
UNIT = "%"
HIGHER_IS_BETTER = True


def statistics(prediction: str, reference: str) -> tuple[float, float, float]:
    """Return the counts of shared, predicted and wanted parts."""
    return name_parts.counts(prediction, reference)


def value(sums: Array) -> Array:
    """Return F1 in percent: sums of shape (..., 3) to values of shape (...); without any part it is 0."""
    return np.asarray(200 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1))


def signature(n: int) -> str:
    """Return how the number was made."""
    return name_parts.signature(NAME, n, mean="parts")
