"""Internal names: do the names that a prediction brings in exist in the repository?

A name counts if it is in the code of the prediction, as an editor cuts it, and neither in the prompt or suffix nor
among the keywords and built-ins of the language. It is right if another file of the repository has it in its code or
its imports, and invented if not. evaluation/repository_names.py counts both while the models are asked.
"""

import platform
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from codefit.records import Prediction
from codefit.scoring.metric import Metric
from codefit.scoring.statistics import Array

# In the scores of a prediction: how many names it brings in and how many are right, and the same of its reference.
NEW, RIGHT = "new_names", "right_names"
REFERENCE_NEW, REFERENCE_RIGHT = "reference_new_names", "reference_right_names"


class InternalNames(Metric):
    """The share of the names in all predictions that are right, in percent."""

    name = "internal_names"
    label = "Internal names"

    def applies(self, items: Sequence[Prediction]) -> bool:
        """Return whether any prediction brings in a name, in a repository whose files are known."""
        return any(item.scores.get(NEW) for item in items)

    def of_item(self, item: Prediction) -> tuple[float, float]:
        """Return (100 * right names, names)."""
        return 100 * item.scores.get(RIGHT, 0.0), item.scores.get(NEW, 0.0)

    def have_value(self, stats: Array) -> NDArray[np.bool_]:
        """Return which of n items bring in a name, shape (n,), from their statistics, shape (n, 2)."""
        return stats[:, 1] > 0

    def signature(self, n: int) -> str:
        """Return the signature of a value of n items."""
        python = ".".join(platform.python_version_tuple()[:2])
        return f"{self.name}|cut:editor|in:code|right:another-file|mean:names|round:none|n:{n}|builtins:python {python}"


INTERNAL_NAMES = InternalNames()
