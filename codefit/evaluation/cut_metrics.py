"""Edit similarity and exact match of predictions and references that are cut as an editor would cut them.

They measure content and not stopping: a model that does not stop is cut where an editor cuts, so one that stops by
itself has no advantage.
"""

from collections.abc import Sequence

from codefit.evaluation import truncation
from codefit.records import Prediction
from codefit.scoring.edit_similarity import EditSimilarity
from codefit.scoring.exact_match import ExactMatch
from codefit.scoring.metric import TextMetric
from codefit.scoring.statistics import Array


class CutMetric(TextMetric):
    """A metric of texts that are cut as an editor would cut them."""

    def of_item(self, item: Prediction) -> tuple[float, ...]:
        """Return the k statistics of one item after the cut."""
        return self.of_pair(*(truncation.as_editor(item, text) for text in (item.prediction, item.reference)))

    def of_items(self, items: Sequence[Prediction], texts: Sequence[str] | None = None) -> Array:
        """Return the statistics of n items after the cut, shape (n, k), float64; `texts` replace the predictions."""
        found = [item.prediction for item in items] if texts is None else texts
        cut = [truncation.as_editor(item, text) for item, text in zip(items, found, strict=True)]
        return self.of_texts(cut, [truncation.as_editor(item, item.reference) for item in items])


class CutEditSimilarity(CutMetric, EditSimilarity):
    """Edit similarity, in percent, of texts that are cut as an editor would cut them."""

    name = "edit_similarity_cut"
    label = "Similarity, cut"

    def signature(self, n: int) -> str:
        """Return how the number of n items was made."""
        return f"{EditSimilarity.signature(self, n)}|cut:editor"


class Accepted(CutMetric, ExactMatch):
    """The share of predictions that the user of an editor could accept unchanged."""

    name = "accepted"
    label = "Accepted as is"

    def signature(self, n: int) -> str:
        """Return how the number of n items was made."""
        return f"{ExactMatch.signature(self, n)}|cut:editor"


CUT_EDIT_SIMILARITY, ACCEPTED = CutEditSimilarity(), Accepted()
