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


@ngrams.in_batches
def batch(predictions: Sequence[str], references: Sequence[str]) -> Array:
    """Return `statistics` of n items as an array of shape (n, 10), many times as fast."""
    found, wanted = ([text.split() for text in texts] for texts in (predictions, references))
    counts = ngrams.counts(found, wanted, ORDER, _shared)
    return np.column_stack([counts[..., 2], counts[..., 0], counts[:, 0, :2]])


def _shared(found: list[list[str]], wanted: list[list[str]]) -> Array:
    n = len(found)
    texts = [*found, *wanted]
    known: list[dict[str, int]] = [{} for _ in range(n)]  # a token's number is that of its first place in its item
    digits = [known[at % n].setdefault(token, len(known[at % n])) for at, text in enumerate(texts) for token in text]
    base = max(map(len, known))
    if not ngrams.fit(n, base, ORDER):  # too many different tokens in one item
        pairs = ([" ".join(tokens) for tokens in texts] for texts in zip(found, wanted, strict=True))
        return np.array([statistics(*pair)[:ORDER] for pair in pairs], np.float64)
    return ngrams.count_shared(np.array(digits, np.uint64), base, np.array([len(text) for text in texts]), ORDER)


def value(sums: Array) -> Array:
    """Return BLEU in percent: sums of shape (..., 10) to values of shape (...); without any token it is 0."""
    matches, totals, found, wanted = sums[..., :4], sums[..., 4:8], sums[..., 8], sums[..., 9]
    precision = np.log((matches + 1) / (totals + 1)).mean(axis=-1)
    brevity = np.minimum(0, 1 - wanted / np.maximum(found, 1))
    return np.where(found > 0, 100 * np.exp(precision + brevity), 0.0)


def signature(n: int) -> str:
    """Return how the number was made."""
    return f"{NAME}|tok:whitespace|order:4|smooth:add-1-all|pp:none|round:none|n:{n}|lib:{LIBRARY}"
