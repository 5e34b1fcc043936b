"""Corpus BLEU as CodeXGLUE defines it: white-space tokens, orders 1 to 4, add-one smoothing of all four orders.

The n-grams are counted by sacrebleu. Its own scores differ: its tokenizers are made for prose (the same predictions
get 2 to 6 points more with them), and its add-k smoothing excludes order 1.
Definition: Papineni et al., ACL 2002; smoothing after Lin and Och, COLING 2004, on every order.
"""

from collections.abc import Sequence

import numpy as np

from codefit.scoring import ngrams
from codefit.scoring.metric import TextMetric, library
from codefit.scoring.statistics import Array

ORDER = 4
LIBRARY = library("sacrebleu")


class Bleu(TextMetric):
    """Corpus BLEU in percent."""

    name = "bleu"
    label = "BLEU"

    def of_pair(self, prediction: str, reference: str) -> tuple[float, ...]:
        """Return 4 counts of matching n-grams, 4 of the prediction's n-grams, and the token counts of both texts."""
        found, found_tokens = ngrams.of_words(prediction, ORDER)
        wanted, wanted_tokens = ngrams.of_words(reference, ORDER)
        matches = [0] * ORDER
        for ngram in found.keys() & wanted.keys():
            matches[len(ngram) - 1] += min(found[ngram], wanted[ngram])
        totals = [max(found_tokens - order, 0) for order in range(ORDER)]
        return (*matches, *totals, found_tokens, wanted_tokens)

    def batch(self, predictions: Sequence[str], references: Sequence[str]) -> Array:
        """Return `of_pair` for n predictions, shape (n, 10), float64, many times as fast."""
        return ngrams.in_batches(self._block, predictions, references)

    def _block(self, predictions: Sequence[str], references: Sequence[str]) -> Array:
        """Return `of_pair` for n predictions that are sorted together, shape (n, 10), float64."""
        found, wanted = ([text.split() for text in texts] for texts in (predictions, references))
        counts = ngrams.counts(found, wanted, ORDER, self._shared)
        return np.column_stack([counts[..., 2], counts[..., 0], counts[:, 0, :2]])

    def _shared(self, found: list[list[str]], wanted: list[list[str]]) -> Array:
        """Return the number of shared n-grams of each order for n pairs of token lists, shape (n, 4), float64."""
        n = len(found)
        texts = [*found, *wanted]
        known: list[dict[str, int]] = [{} for _ in range(n)]  # the number of a token is its first position in the item
        ids = [known[at % n].setdefault(token, len(known[at % n])) for at, text in enumerate(texts) for token in text]
        base = max(map(len, known))
        if not ngrams.fit(n, base, ORDER):  # too many different tokens in one item
            pairs = ([" ".join(tokens) for tokens in texts] for texts in zip(found, wanted, strict=True))
            return np.array([self.of_pair(*pair)[:ORDER] for pair in pairs], np.float64)
        return ngrams.count_shared(np.array(ids, np.uint64), base, np.array([len(text) for text in texts]), ORDER)

    def value(self, sums: Array) -> Array:
        """Return BLEU in percent: sums of shape (..., 10) to values of shape (...), float64; 0 without any token."""
        matches, totals, found, wanted = sums[..., :4], sums[..., 4:8], sums[..., 8], sums[..., 9]
        precision = np.log((matches + 1) / (totals + 1)).mean(axis=-1)
        brevity = np.minimum(0, 1 - wanted / np.maximum(found, 1))
        return np.where(found > 0, 100 * np.exp(precision + brevity), 0.0)

    def signature(self, n: int) -> str:
        """Return the signature of a value of n items."""
        return f"{self.name}|tok:whitespace|order:4|smooth:add-1-all|pp:none|round:none|n:{n}|lib:{LIBRARY}"


BLEU = Bleu()
