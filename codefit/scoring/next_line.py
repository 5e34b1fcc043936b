"""Next line: the share of predictions whose first line with text equals that of the reference.

A model that writes the right line and then does not stop scores here and not in exact match.
"""

from codefit.scoring.statistics import mean

NAME = "next_line"
LABEL = "Next line"
UNIT = "%"
HIGHER_IS_BETTER = True


def statistics(prediction: str, reference: str) -> tuple[float, float]:
    """Return (100 or 0, 1); a text without any line counts as an empty one."""
    return 100.0 * (_first_line(prediction) == _first_line(reference)), 1.0


def _first_line(text: str) -> str:
    return text.lstrip().partition("\n")[0].rstrip()


value = mean


def signature(n: int) -> str:
    """Return how the number was made."""
    return f"{NAME}|line:first-non-blank|pp:strip|round:none|n:{n}"
