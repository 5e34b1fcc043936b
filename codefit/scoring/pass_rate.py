"""Pass rate: the share of predictions with which the program passes its tests, run by evaluation/execution.py.

One prediction a prompt is run. It is the pass@1 of the papers where that prediction is greedy.
"""

from collections.abc import Sequence

from codefit.records import Prediction
from codefit.scoring.metric import Metric


class PassRate(Metric):
    """The share of predictions that pass, as they were generated, in percent.

    Among the scores of a prediction is 100 or 0 under the name of the metric.
    """

    name = "pass_rate"
    label = "Pass rate"
    is_hit = True
    cut = "none"

    def applies(self, items: Sequence[Prediction]) -> bool:
        """Return whether the tests of every item were run."""
        return all(self.name in item.scores for item in items)

    def of_item(self, item: Prediction) -> tuple[float, float]:
        """Return (100 or 0, 1)."""
        return item.scores[self.name], 1.0

    def signature(self, n: int) -> str:
        """Return how the number of n items was made."""
        return f"{self.name}|tests:run|samples:1|cut:{self.cut}|round:none|n:{n}"


class CutPassRate(PassRate):
    """The share of predictions that pass when they are cut to the reference's lines, in percent.

    No rule of lines can do better, so that what a model gains here it does not gain by stopping.
    """

    name = "pass_rate_cut"
    label = "Pass rate, cut"
    cut = "reference-lines"


PASS_RATE, CUT_PASS_RATE = PassRate(), CutPassRate()
