"""n-grams of many items counted at once, by sorting: what BLEU and chrF are made of."""

import numpy as np
from numpy.typing import NDArray

from codefit.scoring.statistics import Array


def fit(items: int, base: int, orders: int) -> bool:
    """Return whether `counts` can number these n-grams in 64 bits."""
    return bool(2 * items * base**orders < 2**64)


def counts(digits: NDArray[np.uint64], base: int, lengths: NDArray[np.int64], orders: int) -> Array:
    """Return for n items the n-grams of the prediction, those of the reference, and those they share.

    An n-gram is the number whose digits are its item, its tokens and its side; equal ones lie together when sorted.

    Args:
        digits: the tokens of n predictions and n references, one after the other, as numbers below `base`.
        base: how many different tokens there can be.
        lengths: tokens of each of the 2n texts.
        orders: n-grams of 1 to this many tokens are counted.

    Returns:
        shape (n, orders, 3).
    """
    n = len(lengths) // 2
    owner = np.repeat(np.arange(2 * n, dtype=np.uint64), lengths)
    room = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(owner))  # tokens from here to the text's end
    numbers, of_reference = owner % np.uint64(n), owner // np.uint64(n)
    found = np.zeros((n, orders, 3))
    for order in range(orders):
        numbers = numbers[: max(len(digits) - order, 0)] * np.uint64(base) + digits[order:]
        whole = np.flatnonzero(room[: len(numbers)] > order)
        left = np.maximum(lengths - order, 0)
        found[:, order, 0], found[:, order, 1] = left[:n], left[n:]
        found[:, order, 2] = _shared(numbers[whole] * np.uint64(2) + of_reference[whole], n, base ** (order + 1))
    return found


def _shared(numbers: NDArray[np.uint64], n: int, scale: int) -> Array:
    """Return per item how many n-grams both sides have; the last bit of a number is its side, item = number/2/scale."""
    if not len(numbers):
        return np.zeros(n)
    numbers.sort()
    ngrams = numbers >> np.uint64(1)
    starts = np.flatnonzero(np.r_[True, ngrams[1:] != ngrams[:-1]])
    wanted = np.add.reduceat((numbers & np.uint64(1)).astype(np.int64), starts)
    found = np.diff(np.r_[starts, len(ngrams)]) - wanted
    items = (ngrams[starts] // np.uint64(scale)).astype(np.int64)
    return np.bincount(items, weights=np.minimum(found, wanted), minlength=n).astype(np.float64)
