"""Next line: the share of predictions whose first non-blank line equals that of the reference.

A model that writes the right line and then does not stop gets credit here, but not in exact match.
"""

from codefit.scoring.metric import TextMetric


class NextLine(TextMetric):
    """The share of correct first lines in percent."""

    name = "next_line"
    label = "Next line"
    is_hit = True

    def of_pair(self, prediction: str, reference: str) -> tuple[float, float]:
        """Return (100 or 0, 1); a text without a non-blank line counts as an empty line."""
        return 100.0 * (_first_line(prediction) == _first_line(reference)), 1.0

    def signature(self, n: int) -> str:
        """Return the signature of a value of n items."""
        return f"{self.name}|line:first-non-blank|pp:strip|round:none|n:{n}"


def _first_line(text: str) -> str:
    return text.lstrip().partition("\n")[0].rstrip()


NEXT_LINE = NextLine()
