"""Exact match: the share of predictions that equal their reference, apart from white space at both ends."""

from codefit.scoring.metric import TextMetric


class ExactMatch(TextMetric):
    """The share of exact predictions in percent."""

    name = "exact_match"
    label = "Exact match"
    is_hit = True

    def of_pair(self, prediction: str, reference: str) -> tuple[float, float]:
        """Return (100 or 0, 1)."""
        return 100.0 * (prediction.strip() == reference.strip()), 1.0

    def signature(self, n: int) -> str:
        """Return the signature of a value of n items."""
        return f"{self.name}|pp:strip|round:none|n:{n}"


EXACT_MATCH = ExactMatch()
