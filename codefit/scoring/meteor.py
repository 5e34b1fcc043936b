"""METEOR by NLTK, which is not among the requirements: words match if they, their stems or their meanings are the same.

Meanings need the WordNet data of NLTK (`python -m nltk.downloader wordnet`); without them only words and stems match,
and the signature says so. Both texts are lower-cased and split into words, numbers and single signs.
"""

import functools
import re
from typing import Any

from codefit.errors import UserError
from codefit.scoring.metric import TextMetric, library

WORD = re.compile(r"\w+|[^\w\s]")
REQUIREMENT = "nltk==3.10.4"


class NoMeanings:
    """Stands for WordNet where its data are missing: no word has a synonym."""

    def synsets(self, word: str) -> list[Any]:
        """Return the meanings of a word."""
        return []


@functools.cache
def meanings() -> Any:
    """Return NLTK's WordNet, or NoMeanings where its data are missing.

    Raises:
        UserError: NLTK is not installed.
    """
    try:
        from nltk.corpus import wordnet
    except ImportError:
        raise UserError(f"METEOR needs NLTK, which is not installed; run `pip install {REQUIREMENT}`.") from None
    try:
        wordnet.synsets("code")
    except LookupError:
        return NoMeanings()
    return wordnet


class Meteor(TextMetric):
    """METEOR in percent, a mean over the items."""

    name = "meteor"
    label = "METEOR"

    def of_pair(self, prediction: str, reference: str) -> tuple[float, float]:
        """Return (METEOR in percent, 1)."""
        known = meanings()
        from nltk.translate.meteor_score import single_meteor_score

        found, wanted = WORD.findall(prediction.lower()), WORD.findall(reference.lower())
        return 100 * float(single_meteor_score(wanted, found, wordnet=known)), 1.0

    def signature(self, n: int) -> str:
        """Return the signature of a value of n items."""
        synonyms = "no" if isinstance(meanings(), NoMeanings) else "wordnet"
        words = f"{self.name}|words:\\w+,signs|case:lower|stem:porter|synonyms:{synonyms}|mean:items|round:none"
        return f"{words}|n:{n}|lib:{library('nltk')}"


METEOR = Meteor()
