"""Perplexity of the references: exp(nats / tokens) over the whole corpus, not a mean over items.

The statistics of an item are (nats, tokens) as measured with the model, so this is not a text metric. Models with
different tokenizers cannot be compared by perplexity; see bits_per_byte.
"""

from collections.abc import Sequence

import numpy as np

from codefit.records import Prediction
from codefit.scoring.metric import Metric
from codefit.scoring.statistics import Array, mean


class Perplexity(Metric):
    """Perplexity per token of the model's tokenizer."""

    name = "perplexity"
    label = "Perplexity"
    unit = ""
    higher_is_better = False
    is_ratio = True

    def applies(self, items: Sequence[Prediction]) -> bool:
        """Return whether the nats of every item were measured, for at least one token in all."""
        return likelihoods_are_known(items)

    def of_item(self, item: Prediction) -> tuple[float, float]:
        """Return (nats, tokens) of the reference."""
        return item.scores["nats"], item.scores["tokens"]

    def value(self, sums: Array) -> Array:
        """Return perplexity: sums of (nats, tokens), shape (..., 2), to values, shape (...), float64."""
        return np.asarray(np.exp(mean(sums)))

    def signature(self, n: int) -> str:
        """Return the signature of a value of n items."""
        return f"{self.name}|of:references|mean:tokens|round:none|n:{n}"


def likelihoods_are_known(items: Sequence[Prediction]) -> bool:
    """Return whether the nats of every item were measured, for at least one token in all."""
    known = all("nats" in item.scores and "tokens" in item.scores for item in items)
    return known and sum(item.scores["tokens"] for item in items) > 0


PERPLEXITY = Perplexity()
