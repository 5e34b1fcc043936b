"""Perplexity of the references: exp(nats / tokens) over the whole corpus, not a mean over items.

The statistics of an item are (nats, tokens) as the model gives them, so that there is no `statistics` of texts.
Tokens are the model's: two models with different tokenizers cannot be compared by it, see bits_per_byte.
"""

from collections.abc import Sequence

import numpy as np

from codefit.records import Prediction
from codefit.scoring.statistics import Array, mean

NAME = "perplexity"
LABEL = "Perplexity"
UNIT = ""
HIGHER_IS_BETTER = False


def applies(items: Sequence[Prediction]) -> bool:
    """Return whether the nats of every item were measured, and any token of any reference was."""
    known = all("nats" in item.scores and "tokens" in item.scores for item in items)
    return known and sum(item.scores["tokens"] for item in items) > 0


def of_item(item: Prediction) -> tuple[float, float]:
    """Return (nats, tokens) of the reference."""
    return item.scores["nats"], item.scores["tokens"]


def value(sums: Array) -> Array:
    """Return perplexity: sums of (nats, tokens) of shape (..., 2) to values of shape (...)."""
    return np.asarray(np.exp(mean(sums)))


def signature(n: int) -> str:
    """Return how the number was made."""
    return f"{NAME}|of:references|mean:tokens|round:none|n:{n}"
