"""Corpus chrF2: F-score of character n-grams of orders 1 to 6 with recall weighted twice; sacrebleu's definition.

Source: M. Popović, WMT 2015; orders for which one of the texts has no n-gram are left out, as in sacrebleu.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from codefit.scoring import ngrams
from codefit.scoring.metric import TextMetric, library
from codefit.scoring.statistics import Array

ORDER = 6
BETA = 2
LIBRARY = library("sacrebleu")


class ChrF(TextMetric):
    """Corpus chrF in percent."""

    name = "chrf"
    label = "chrF"
    size = 1  # characters of the reference

    def of_pair(self, prediction: str, reference: str) -> tuple[float, ...]:
        """Return, for each order, the n-gram counts of the prediction, of the reference, and shared: 18 counts."""
        counts: list[float] = []
        both = zip(ngrams.of_characters(prediction, ORDER), ngrams.of_characters(reference, ORDER), strict=True)
        for found, wanted in both:
            shared = sum(min(found[ngram], wanted[ngram]) for ngram in found.keys() & wanted.keys())
            counts += [found.total() if wanted else 0, wanted.total(), shared]
        return tuple(counts)

    def batch(self, predictions: Sequence[str], references: Sequence[str]) -> Array:
        """Return `of_pair` for n predictions, shape (n, 18), float64, many times as fast."""
        return ngrams.in_batches(self._block, predictions, references)

    def _block(self, predictions: Sequence[str], references: Sequence[str]) -> Array:
        """Return `of_pair` for n predictions that are sorted together, shape (n, 18), float64."""
        found, wanted = (["".join(text.split()) for text in texts] for texts in (predictions, references))
        counts = ngrams.counts(found, wanted, ORDER, self._shared)
        counts[..., 0] *= counts[..., 1] > 0
        return counts.reshape(len(found), -1)

    def _shared(self, found: list[str], wanted: list[str]) -> Array:
        """Return the number of shared n-grams of each order for n pairs of texts, shape (n, 6), float64."""
        texts = [*found, *wanted]
        ids, base = _character_ids("".join(texts))
        if not ngrams.fit(len(found), base, ORDER):  # too many different characters
            return np.array([self.of_pair(*pair)[2::3] for pair in zip(found, wanted, strict=True)], np.float64)
        return ngrams.count_shared(ids, base, np.array([len(text) for text in texts]), ORDER)

    def value(self, sums: Array) -> Array:
        """Return chrF in percent: sums of shape (..., 18) to values of shape (...), float64; 0 if nothing is shared."""
        counts = sums.reshape(*sums.shape[:-1], ORDER, 3)
        found, wanted, shared = counts[..., 0], counts[..., 1], counts[..., 2]
        orders = np.maximum(((found > 0) & (wanted > 0)).sum(axis=-1), 1)
        precision = (shared / np.maximum(found, 1)).sum(axis=-1) / orders
        recall = (shared / np.maximum(wanted, 1)).sum(axis=-1) / orders
        weighted = BETA**2 * precision + recall
        share = (1 + BETA**2) * precision * recall / np.where(weighted > 0, weighted, 1)
        return np.asarray(100 * share)  # in sacrebleu's order, so that the last digit is equal

    def signature(self, n: int) -> str:
        """Return the signature of a value of n items, in sacrebleu's terms."""
        made = f"case:mixed|eff:yes|nc:{ORDER}|nw:0|beta:{BETA}|space:no|pp:none|round:none"
        return f"{self.name}|{made}|n:{n}|lib:{LIBRARY}"


def _character_ids(text: str) -> tuple[NDArray[np.uint64], int]:
    """Return the characters of a text as ids 0, 1, …, shape (characters,), uint64, and the number of different ones."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    characters = np.zeros(int(points.max()) + 1, np.uint64)
    characters[points] = 1
    return (np.cumsum(characters, dtype=np.uint64) - np.uint64(1))[points], int(characters.sum())


CHRF = ChrF()
