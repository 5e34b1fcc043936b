"""F1 of the parts of a name: how well those of a predicted name cover those of the real one, a mean of items.

A name is split at underscores, at capitals and around digits, and lower-cased: utf8ToUtf16 is utf, 8, to, utf, 16. The
parts are counted as a multiset, without order, so that writing one part twice does not count twice. code2seq (Alon et
al., ICLR 2019) sums the counts over all items instead of taking a mean of items: that is naming_f1_micro.
"""

import re
from collections import Counter

from codefit.scoring.statistics import mean

NAME = "naming_f1"
LABEL = "Name F1"
UNIT = "%"
HIGHER_IS_BETTER = True
TASKS = ("naming",)

PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[^\W0-9A-Za-z_]+")


def parts(name: str) -> Counter[str]:
    """Return the parts of the name that a prediction begins with, its first line, with their counts."""
    return Counter(part.lower() for part in PART.findall(name.strip().partition("\n")[0]))


def counts(prediction: str, reference: str) -> tuple[float, float, float]:
    """Return how many parts both names share, how many the prediction has, and how many the reference has."""
    found, wanted = parts(prediction), parts(reference)
    return (found & wanted).total(), found.total(), wanted.total()


def statistics(prediction: str, reference: str) -> tuple[float, float]:
    """Return (F1 in percent, 1)."""
    shared, found, wanted = counts(prediction, reference)
    return 200.0 * shared / max(found + wanted, 1), 1.0


value = mean


def signature(n: int) -> str:
    """Return how the number was made."""
    return f"{NAME}|parts:camel,snake,digits|case:lower|count:multiset|mean:items|round:none|n:{n}"
