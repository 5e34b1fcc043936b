"""The metrics of predictions during training, by task. All are metrics of the benchmark that need only texts."""

from collections.abc import Iterable, Sequence

from codefit.scoring.chrf import CHRF
from codefit.scoring.edit_similarity import EDIT_SIMILARITY
from codefit.scoring.exact_match import EXACT_MATCH
from codefit.scoring.metric import TextMetric
from codefit.scoring.naming import NAMING_F1
from codefit.scoring.next_line import NEXT_LINE
from codefit.scoring.rouge_l import ROUGE_L

OF_CODE: tuple[TextMetric, ...] = (EDIT_SIMILARITY, EXACT_MATCH, NEXT_LINE)
OF_TASKS: dict[str, tuple[TextMetric, ...]] = {
    "naming": (NAMING_F1, EXACT_MATCH),
    "summary": (CHRF, ROUGE_L, EXACT_MATCH),
    "document": (),  # a document can go on in many ways: its continuations are kept to be read, not scored
}


def metrics(tasks: Iterable[str]) -> list[TextMetric]:
    """Return the metrics of pairs of these tasks, each once; a task that is not listed is one of code."""
    return list(dict.fromkeys(metric for task in tasks for metric in OF_TASKS.get(task, OF_CODE)))


def scores(tasks: Sequence[str], predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return the value of each metric over the predictions of the tasks that it fits.

    Args:
        tasks: the task of each prediction.
        predictions: texts.
        references: texts, in the same order.
    """
    found = {}
    for metric in metrics(tasks):
        chosen = [at for at, task in enumerate(tasks) if metric in OF_TASKS.get(task, OF_CODE)]
        found[metric.name] = metric.score([predictions[at] for at in chosen], [references[at] for at in chosen])
    return found
