"""Metrics of predicted names: precision, recall and F1 of the parts of a name, and the match of stemmed names.

A name is split at underscores, at capitals and around digits, and lower-cased: utf8ToUtf16 becomes utf, 8, to, utf, 16.
The parts are compared as multisets, without order, so that a part written twice does not match one part twice.

code2seq (Alon et al., ICLR 2019) sums the counts over all items: that is naming_f1_micro. Its membership test counts
`get` of `get|get|get|name` three times against one `get`; here it counts once.
"""

import functools
from collections import Counter

import numpy as np
import snowballstemmer

from codefit.code import names
from codefit.scoring.metric import TextMetric, library
from codefit.scoring.statistics import Array

LIBRARY = library("snowballstemmer")


def parts(name: str) -> list[str]:
    """Return the parts of the name in the first line of a prediction, in order."""
    return names.parts(name.strip().partition("\n")[0])


def counts(prediction: str, reference: str) -> tuple[float, float, float]:
    """Return the numbers of shared parts, of parts of the prediction, and of parts of the reference."""
    found, wanted = Counter(parts(prediction)), Counter(parts(reference))
    return (found & wanted).total(), found.total(), wanted.total()


@functools.cache
def stem(part: str) -> str:
    """Return the stem of a lower-case part of a name by Snowball's English stemmer (Porter2)."""
    found: str = snowballstemmer.stemmer("english").stemWord(part)
    return found


def stems(name: str) -> list[str]:
    """Return the stems of the parts of the name in the first line of a prediction, in order."""
    return [stem(part) for part in parts(name)]


class _OfParts(TextMetric):
    """A metric of the parts of names."""

    mean = "items"  # the quantity that is averaged

    def signature(self, n: int) -> str:
        """Return how the number of n items was made."""
        return f"{self.name}|parts:camel,snake,digits|case:lower|count:multiset|mean:{self.mean}|round:none|n:{n}"


class NamingPrecision(_OfParts):
    """The share of the parts of a predicted name that are in the real name, a mean over the items."""

    name = "naming_precision"
    label = "Name precision"

    def of_pair(self, prediction: str, reference: str) -> tuple[float, float]:
        """Return (precision in percent, 1); it is 0 for a prediction without parts."""
        shared, found, _ = counts(prediction, reference)
        return 100.0 * shared / max(found, 1), 1.0


class NamingRecall(_OfParts):
    """The share of the parts of the real name that are in the predicted name, a mean over the items."""

    name = "naming_recall"
    label = "Name recall"

    def of_pair(self, prediction: str, reference: str) -> tuple[float, float]:
        """Return (recall in percent, 1); it is 0 for a prediction without parts."""
        shared, _, wanted = counts(prediction, reference)
        return 100.0 * shared / max(wanted, 1), 1.0


class NamingF1(_OfParts):
    """F1 of the parts of a predicted name, a mean over the items."""

    name = "naming_f1"
    label = "Name F1"

    def of_pair(self, prediction: str, reference: str) -> tuple[float, float]:
        """Return (F1 in percent, 1)."""
        shared, found, wanted = counts(prediction, reference)
        return 200.0 * shared / max(found + wanted, 1), 1.0


class NamingF1Micro(_OfParts):
    """F1 of the parts of all names together."""

    name = "naming_f1_micro"
    label = "Name F1, micro"
    mean = "parts"

    def of_pair(self, prediction: str, reference: str) -> tuple[float, float, float]:
        """Return the counts of shared, predicted and real parts."""
        return counts(prediction, reference)

    def value(self, sums: Array) -> Array:
        """Return F1 in percent: sums of counts, shape (..., 3), to values, shape (...), float64; 0 without parts."""
        return np.asarray(200 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1))


class NamingStemmed(TextMetric):
    """The share of names that match apart from case, underscores and the endings of words, in percent.

    get_files and getFile match, get_file and file_get do not.
    """

    name = "naming_stemmed"
    label = "Stemmed match"
    is_hit = True

    def of_pair(self, prediction: str, reference: str) -> tuple[float, float]:
        """Return (100 or 0, 1)."""
        return 100.0 * (stems(prediction) == stems(reference)), 1.0

    def signature(self, n: int) -> str:
        """Return how the number of n items was made."""
        return f"{self.name}|parts:camel,snake,digits|case:lower|stem:english|round:none|n:{n}|lib:{LIBRARY}"


NAMING_PRECISION, NAMING_RECALL, NAMING_F1 = NamingPrecision(), NamingRecall(), NamingF1()
NAMING_F1_MICRO, NAMING_STEMMED = NamingF1Micro(), NamingStemmed()
