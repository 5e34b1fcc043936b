"""Bits per byte of the references: nats / (bytes * ln 2), comparable between models with different tokenizers.

The statistics of an item are (nats, bytes of the reference in UTF-8) as the model gives them.
"""

import math
from collections.abc import Sequence

import numpy as np

from codefit.records import Prediction
from codefit.scoring.statistics import Array, mean

NAME = "bits_per_byte"
LABEL = "Bits per byte"
UNIT = ""
HIGHER_IS_BETTER = False


def applies(items: Sequence[Prediction]) -> bool:
    """Return whether the nats of every item were measured, and any token of any reference was."""
    known = all("nats" in item.scores and "tokens" in item.scores for item in items)
    return known and sum(item.scores["tokens"] for item in items) > 0


def of_item(item: Prediction) -> tuple[float, float]:
    """Return (nats, bytes) of the reference."""
    return item.scores["nats"], len(item.reference.encode())


def value(sums: Array) -> Array:
    """Return bits per byte: sums of (nats, bytes) of shape (..., 2) to values of shape (...)."""
    return np.asarray(mean(sums) / math.log(2))


def signature(n: int) -> str:
    """Return how the number was made."""
    return f"{NAME}|of:references|bytes:utf-8|mean:bytes|round:none|n:{n}"
