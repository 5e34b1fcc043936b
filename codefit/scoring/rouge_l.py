"""ROUGE-L: F1 of the longest common subsequence of words, as an exact mean over the items.

Words are those of Google's rouge_score without stemming: runs of a-z and 0-9 after lower-casing; operators and other
alphabets are ignored. With precision L/m and recall L/n, F1 is 2L/(m+n), which is the indel similarity of the two word
lists. Other tools print the median of an unseeded bootstrap, which varies in the third digit.
Definition: Lin, ACL 2004 workshop, with beta 1.
"""

import re

import Levenshtein

from codefit.scoring.metric import TextMetric, library

WORD = re.compile(r"[a-z0-9]+")
LIBRARY = library("Levenshtein")


class RougeL(TextMetric):
    """ROUGE-L in percent, a mean over the items."""

    name = "rouge_l"
    label = "ROUGE-L"

    def of_pair(self, prediction: str, reference: str) -> tuple[float, float]:
        """Return (ROUGE-L in percent, 1); it is 0 if one text has no words."""
        found, wanted = WORD.findall(prediction.lower()), WORD.findall(reference.lower())
        return (100 * Levenshtein.ratio(found, wanted) if found and wanted else 0.0), 1.0

    def signature(self, n: int) -> str:
        """Return the signature of a value of n items."""
        return f"{self.name}|words:a-z0-9|case:lower|stem:no|beta:1|mean:items|round:none|n:{n}|lib:{LIBRARY}"


ROUGE_L = RougeL()
