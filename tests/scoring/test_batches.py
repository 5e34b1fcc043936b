"""The fast counts of n-grams are those of sacrebleu's slow ones, item by item."""

import random

import numpy as np
import pytest

from codefit.scoring import ngrams
from codefit.scoring.bleu import BLEU
from codefit.scoring.chrf import CHRF

WORDS = ["return", "x", "x", "(", ")", "=", "foo.bar", "ä", "\n    ", "if"]


def texts(seed, count, most):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randrange(most))) for _ in range(count)]


@pytest.mark.parametrize("metric", [BLEU, CHRF])
@pytest.mark.parametrize(("count", "most"), [(1, 1), (1, 5), (7, 3), (300, 40), (2300, 6)])
def test_a_batch_has_the_same_statistics_as_its_items(metric, count, most):
    predictions, references = texts(1, count, most), texts(2, count, most)
    predictions[::3], references[::5] = references[::3], [""] * len(references[::5])  # equal ones, and empty ones
    expected = [metric.of_pair(*pair) for pair in zip(predictions, references, strict=True)]
    np.testing.assert_array_equal(metric.batch(predictions, references), expected)


@pytest.mark.parametrize("metric", [BLEU, CHRF])
def test_more_tokens_than_numbers_are_counted_one_by_one(metric, monkeypatch):
    predictions, references = texts(3, 9, 12), texts(4, 9, 12)
    expected = metric.batch(predictions, references)
    monkeypatch.setattr(ngrams, "fit", lambda *sizes: False)
    np.testing.assert_array_equal(metric.batch(predictions, references), expected)


@pytest.mark.parametrize(("items", "base", "fits"), [(1000, 100, True), (1000, 10_000, False), (1, 55_000, True)])
def test_what_fits_into_64_bits(items, base, fits):
    assert ngrams.fit(items, base, 4) == fits
