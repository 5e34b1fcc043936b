"""The parts of a name, which the metrics of names count, and how those metrics sign their numbers.

A name is split at underscores, at capitals and around digits, and lower-cased: utf8ToUtf16 is utf, 8, to, utf, 16. The
parts are counted as a multiset, without order, so that writing one part twice does not count twice.
"""

import re
from collections import Counter

PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[^\W0-9A-Za-z_]+")


def parts(name: str) -> list[str]:
    """Return in order the parts of the name that a prediction begins with, its first line."""
    return [part.lower() for part in PART.findall(name.strip().partition("\n")[0])]


def counts(prediction: str, reference: str) -> tuple[float, float, float]:
    """Return how many parts both names share, how many the prediction has, and how many the reference has."""
    found, wanted = Counter(parts(prediction)), Counter(parts(reference))
    return (found & wanted).total(), found.total(), wanted.total()


def signature(metric: str, n: int, mean: str = "items") -> str:
    """Return how a number of these counts was made; the mean is one of items, or of all parts together."""
    return f"{metric}|parts:camel,snake,digits|case:lower|count:multiset|mean:{mean}|round:none|n:{n}"
