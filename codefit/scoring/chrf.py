"""chrF2 of the corpus: F-score of character n-grams of orders 1 to 6, recall weighing twice; sacrebleu's definition.

Source: M. Popović, WMT 2015; orders without an n-gram on one of the two sides are left out, as in sacrebleu.
"""

import importlib.metadata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.helpers import extract_all_char_ngrams

from codefit.scoring import ngrams
from codefit.scoring.statistics import Array

NAME = "chrf"
LABEL = "chrF"
UNIT = "%"
HIGHER_IS_BETTER = True
ORDER = 6
BETA = 2
LIBRARY = f"sacrebleu {importlib.metadata.version('sacrebleu')}"


def statistics(prediction: str, reference: str) -> tuple[float, ...]:
    """Return for each order the n-grams of the prediction, those of the reference, and those they share: 18 counts."""
    counts: list[float] = []
    both = zip(extract_all_char_ngrams(prediction, ORDER), extract_all_char_ngrams(reference, ORDER), strict=True)
    for found, wanted in both:
        shared = sum(min(found[ngram], wanted[ngram]) for ngram in found.keys() & wanted.keys())
        counts += [found.total() if wanted else 0, wanted.total(), shared]
    return tuple(counts)


@ngrams.in_batches
def batch(predictions: Sequence[str], references: Sequence[str]) -> Array:
    """Return `statistics` of n items as an array of shape (n, 18), many times as fast."""
    found, wanted = (["".join(text.split()) for text in texts] for texts in (predictions, references))
    counts = ngrams.counts(found, wanted, ORDER, _shared)
    counts[..., 0] *= counts[..., 1] > 0
    return counts.reshape(len(found), -1)


def _shared(found: list[str], wanted: list[str]) -> Array:
    texts = [*found, *wanted]
    digits, base = _digits("".join(texts))
    if not ngrams.fit(len(found), base, ORDER):  # too many different characters
        return np.array([statistics(*pair)[2::3] for pair in zip(found, wanted, strict=True)], np.float64)
    return ngrams.count_shared(digits, base, np.array([len(text) for text in texts]), ORDER)


def _digits(text: str) -> tuple[NDArray[np.uint64], int]:
    """Return the characters of a text as digits 0, 1, … and the base of such numbers."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    characters = np.zeros(int(points.max()) + 1, np.uint64)
    characters[points] = 1
    return (np.cumsum(characters, dtype=np.uint64) - np.uint64(1))[points], int(characters.sum())


def value(sums: Array) -> Array:
    """Return chrF in percent: sums of shape (..., 18) to values of shape (...); nothing in common is 0."""
    counts = sums.reshape(*sums.shape[:-1], ORDER, 3)
    found, wanted, shared = counts[..., 0], counts[..., 1], counts[..., 2]
    orders = np.maximum(((found > 0) & (wanted > 0)).sum(axis=-1), 1)
    precision = (shared / np.maximum(found, 1)).sum(axis=-1) / orders
    recall = (shared / np.maximum(wanted, 1)).sum(axis=-1) / orders
    weighted = BETA**2 * precision + recall
    share = (1 + BETA**2) * precision * recall / np.where(weighted > 0, weighted, 1)
    return np.asarray(100 * share)  # in sacrebleu's order, so that the last digit is the same


def signature(n: int) -> str:
    """Return how the number was made, in sacrebleu's words."""
    return f"{NAME}|case:mixed|eff:yes|nc:{ORDER}|nw:0|beta:{BETA}|space:no|pp:none|round:none|n:{n}|lib:{LIBRARY}"
