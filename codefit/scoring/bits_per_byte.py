"""Bits per byte of the references: nats / (bytes * ln 2), comparable between models with different tokenizers."""

import math
from collections.abc import Sequence

import numpy as np

from codefit.records import Prediction
from codefit.scoring.metric import Metric
from codefit.scoring.perplexity import likelihoods_are_known
from codefit.scoring.statistics import Array, mean


class BitsPerByte(Metric):
    """Bits per UTF-8 byte of the references."""

    name = "bits_per_byte"
    label = "Bits per byte"
    unit = ""
    higher_is_better = False
    is_ratio = True

    def applies(self, items: Sequence[Prediction]) -> bool:
        """Return whether the nats of every item were measured, with at least one token in total."""
        return likelihoods_are_known(items)

    def of_item(self, item: Prediction) -> tuple[float, float]:
        """Return (nats as the model measured them, bytes in UTF-8) of the reference."""
        return item.scores["nats"], len(item.reference.encode())

    def value(self, sums: Array) -> Array:
        """Return bits per byte: sums of (nats, bytes), shape (..., 2), to values, shape (...), float64."""
        return np.asarray(mean(sums) / math.log(2))

    def signature(self, n: int) -> str:
        """Return the signature of a value of n items."""
        return f"{self.name}|of:references|bytes:utf-8|mean:bytes|round:none|n:{n}"


def bits_per_byte(nats: float, size: int) -> float:
    """Return the bits per byte of a text of `size` bytes that costs so many nats."""
    return nats / (size * math.log(2))


BITS_PER_BYTE = BitsPerByte()
