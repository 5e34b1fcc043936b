"""Bits per byte of the references: nats / (bytes * ln 2), comparable between models with different tokenizers.

The statistics of an item are (nats, bytes of the reference in UTF-8) as the model gives them.
"""

import math

import numpy as np

from codefit.records import Prediction
from codefit.scoring import perplexity
from codefit.scoring.statistics import Array, mean

NAME = "bits_per_byte"
LABEL = "Bits per byte"
UNIT = ""
HIGHER_IS_BETTER = False

applies = perplexity.applies


def of_item(item: Prediction) -> tuple[float, float]:
    """Return (nats, bytes) of the reference."""
    return item.scores["nats"], len(item.reference.encode())


def value(sums: Array) -> Array:
    """Return bits per byte: sums of (nats, bytes) of shape (..., 2) to values of shape (...)."""
    return np.asarray(mean(sums) / math.log(2))


def signature(n: int) -> str:
    """Return how the number was made."""
    return f"{NAME}|of:references|bytes:utf-8|mean:bytes|round:none|n:{n}"
