"""n-gram counts of many items at once, by sorting; used by BLEU and chrF."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from codefit.scoring.statistics import Array

BATCH = 1000  # items whose n-grams are sorted together, so that they fit into the processor's cache

Text = TypeVar("Text", str, list[str])  # characters, or tokens


def of_words(text: str, orders: int) -> tuple[Counter[tuple[str, ...]], int]:
    """Return the n-grams of 1 to `orders` white-space tokens as sacrebleu counts them, and the number of tokens."""
    from sacrebleu.metrics.helpers import extract_all_word_ngrams  # slow to import, and rarely needed

    counted, words = extract_all_word_ngrams(text, 1, orders)
    return counted, words


def of_characters(text: str, orders: int) -> list[Counter[str]]:
    """Return the character n-grams without white space as sacrebleu counts them, by order from 1 to `orders`."""
    from sacrebleu.metrics.helpers import extract_all_char_ngrams

    counted: list[Counter[str]] = extract_all_char_ngrams(text, orders)
    return counted


def in_batches(
    block: Callable[[Sequence[str], Sequence[str]], Array], predictions: Sequence[str], references: Sequence[str]
) -> Array:
    """Apply `block`, which takes at most BATCH predictions, to all n of them; return shape (n, k), float64."""
    starts = range(0, len(predictions), BATCH)
    return np.concatenate([block(predictions[at : at + BATCH], references[at : at + BATCH]) for at in starts])


def counts(
    found: Sequence[Text], wanted: Sequence[Text], orders: int, shared: Callable[[list[Text], list[Text]], Array]
) -> Array:
    """Return, for n items, the n-gram counts of the prediction, of the reference, and shared by both.

    Equal texts share all n-grams and an empty text shares none, so that only the remaining items are compared.

    Args:
        found: the predictions.
        wanted: the references.
        orders: n-grams of 1 to this many tokens are counted.
        shared: returns, for some items, the counts that both share, shape (items, orders), float64.

    Returns:
        counts, shape (n, orders, 3), float64.
    """
    lengths = np.array([(len(prediction), len(reference)) for prediction, reference in zip(found, wanted, strict=True)])
    counted = np.zeros((len(found), orders, 3))
    counted[..., :2] = np.maximum(lengths[:, np.newaxis] - np.arange(orders)[:, np.newaxis], 0)
    counted[..., 2] = counted[..., :2].min(axis=-1)
    differ = [at for at, texts in enumerate(zip(found, wanted, strict=True)) if all(texts) and texts[0] != texts[1]]
    if differ:
        counted[differ, :, 2] = shared([found[at] for at in differ], [wanted[at] for at in differ])
    return counted


def fit(items: int, base: int, orders: int) -> bool:
    """Return whether `count_shared` can number these n-grams in 64 bits."""
    return bool(2 * items * base**orders < 2**64)


def count_shared(digits: NDArray[np.uint64], base: int, lengths: NDArray[np.int64], orders: int) -> Array:
    """Return the number of shared n-grams of each order for n items, shape (n, orders), float64.

    An n-gram is coded as a number whose digits are its item, its tokens and its side; sorting groups equal ones.

    Args:
        digits: the tokens of n predictions and n references, one after the other, as numbers below `base`,
            shape (tokens,).
        base: how many different tokens there can be.
        lengths: tokens of each of the 2n texts, shape (2n,).
        orders: n-grams of 1 to this many tokens are counted.
    """
    n = len(lengths) // 2
    owner = np.repeat(np.arange(2 * n, dtype=np.uint64), lengths)
    room = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(owner))  # tokens from here to the text's end
    numbers, side = np.uint64(2) * (owner % np.uint64(n)), owner // np.uint64(n)
    step = np.uint64(2) * digits - np.uint64(base - 1) * side  # from 2 * number + side to that of one token more
    numbers += side
    found = np.zeros((n, orders))
    for order in range(orders):
        numbers = numbers[: max(len(digits) - order, 0)] * np.uint64(base) + step[order:]
        found[:, order] = _in_both(numbers[room[: len(numbers)] > order], n, base ** (order + 1))
    return found


def _in_both(numbers: NDArray[np.uint64], n: int, scale: int) -> Array:
    """Return the number of n-grams shared by both sides of n items, shape (n,), float64.

    The last bit of a number, shape (n-grams,), is its side, and number / 2 / scale is its item.
    """
    numbers.sort()
    starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]][: len(numbers)])
    runs, sizes = numbers[starts], np.diff(starts, append=len(numbers))
    at = np.flatnonzero(runs[1:] ^ runs[:-1] == 1)  # an n-gram of the prediction, and the same one of the reference
    items = (runs[at] // np.uint64(2 * scale)).astype(np.int64)
    return np.bincount(items, weights=np.minimum(sizes[at], sizes[at + 1]), minlength=n).astype(np.float64)
