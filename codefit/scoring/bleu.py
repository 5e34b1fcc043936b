"""BLEU of the corpus as CodeXGLUE defines it: tokens between white space, orders 1 to 4, add-one on all four orders.

The n-grams are counted by sacrebleu. Its own values are others: its tokenisers are made for prose (the same
predictions get 2 to 6 points more with them), and its add-k smoothing leaves out order 1.
Definition: Papineni et al., ACL 2002; smoothing after Lin and Och, COLING 2004, on every order.
"""

import importlib.metadata
from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics.helpers import extract_all_word_ngrams

from codefit.scoring import ngrams
from codefit.scoring.statistics import Array

NAME = "bleu"
LABEL = "BLEU"
UNIT = "%"
HIGHER_IS_BETTER = True
ORDER = 4
BATCH = 1000  # items whose n-grams are sorted together; they then fit the processor's cache
LIBRARY = f"sacrebleu {importlib.metadata.version('sacrebleu')}"


def statistics(prediction: str, reference: str) -> tuple[float, ...]:
    """Return 4 counts of matching n-grams, 4 of all n-grams of the prediction, and the tokens of both texts."""
    found, found_tokens = extract_all_word_ngrams(prediction, 1, ORDER)
    wanted, wanted_tokens = extract_all_word_ngrams(reference, 1, ORDER)
    matches = [0] * ORDER
    for ngram in found.keys() & wanted.keys():
        matches[len(ngram) - 1] += min(found[ngram], wanted[ngram])
    totals = [max(found_tokens - order, 0) for order in range(ORDER)]
    return (*matches, *totals, found_tokens, wanted_tokens)


def batch(predictions: Sequence[str], references: Sequence[str]) -> Array:
    """Return `statistics` of n items as an array of shape (n, 10), several times as fast."""
    starts = range(0, len(predictions), BATCH)
    return np.concatenate([_block(predictions[at : at + BATCH], references[at : at + BATCH]) for at in starts])


def _block(predictions: Sequence[str], references: Sequence[str]) -> Array:
    n = len(predictions)
    texts = [text.split() for text in (*predictions, *references)]
    known: list[dict[str, int]] = [{} for _ in range(n)]  # a token's number is that of its first place in its item
    digits = [known[at % n].setdefault(token, len(known[at % n])) for at, text in enumerate(texts) for token in text]
    base = max(1, *map(len, known))
    if not ngrams.fit(n, base, ORDER):  # too many different tokens in one item
        return np.array([statistics(*pair) for pair in zip(predictions, references, strict=True)], np.float64)
    lengths = np.array([len(text) for text in texts])
    counts = ngrams.counts(np.array(digits, np.uint64), base, lengths, ORDER)
    return np.column_stack([counts[..., 2], counts[..., 0], lengths[:n], lengths[n:]])


def value(sums: Array) -> Array:
    """Return BLEU in percent: sums of shape (..., 10) to values of shape (...); without any token it is 0."""
    matches, totals, found, wanted = sums[..., :4], sums[..., 4:8], sums[..., 8], sums[..., 9]
    precision = np.log((matches + 1) / (totals + 1)).mean(axis=-1)
    brevity = np.minimum(0, 1 - wanted / np.maximum(found, 1))
    return np.where(found > 0, 100 * np.exp(precision + brevity), 0.0)


def signature(n: int) -> str:
    """Return how the number was made."""
    return f"{NAME}|tok:whitespace|order:4|smooth:add-1-all|pp:none|round:none|n:{n}|lib:{LIBRARY}"
