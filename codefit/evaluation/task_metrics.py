"""Which metrics score which task, the headline metric first. Neither tasks nor metrics know of each other."""

from collections.abc import Sequence

from codefit.evaluation.result_schema import ProfileScores
from codefit.records import Prediction
from codefit.scoring.bits_per_byte import BITS_PER_BYTE
from codefit.scoring.bleu import BLEU
from codefit.scoring.chrf import CHRF
from codefit.scoring.edit_similarity import EDIT_SIMILARITY
from codefit.scoring.exact_match import EXACT_MATCH
from codefit.scoring.metric import Metric, TextMetric
from codefit.scoring.naming import NAMING_F1, NAMING_F1_MICRO, NAMING_PRECISION, NAMING_RECALL, NAMING_STEMMED
from codefit.scoring.next_line import NEXT_LINE
from codefit.scoring.parse_rate import PARSE_RATE
from codefit.scoring.perplexity import PERPLEXITY
from codefit.scoring.rouge_l import ROUGE_L

COMPLETION: tuple[Metric, ...] = (
    EDIT_SIMILARITY,
    EXACT_MATCH,
    NEXT_LINE,
    PARSE_RATE,
    BLEU,
    CHRF,
    PERPLEXITY,
    BITS_PER_BYTE,
)
METRICS: dict[str, tuple[Metric, ...]] = {
    "completion": COMPLETION,
    "infill": COMPLETION,
    "line": (EXACT_MATCH, EDIT_SIMILARITY, PARSE_RATE, BLEU, CHRF, PERPLEXITY, BITS_PER_BYTE),
    "method": (EDIT_SIMILARITY, BLEU, EXACT_MATCH, CHRF, PARSE_RATE, PERPLEXITY, BITS_PER_BYTE),
    "naming": (NAMING_F1, NAMING_PRECISION, NAMING_RECALL, NAMING_F1_MICRO, EXACT_MATCH, NAMING_STEMMED),
    "summary": (CHRF, ROUGE_L, EXACT_MATCH, PERPLEXITY, BITS_PER_BYTE),
    "document": (BITS_PER_BYTE, PERPLEXITY),
}


def metrics(task: str) -> tuple[Metric, ...]:
    """Return the metrics of a task, the headline metric first; an unknown task is scored as completion."""
    return METRICS.get(task, COMPLETION)


def text_metrics(task: str) -> tuple[TextMetric, ...]:
    """Return the metrics of a task that need only texts."""
    return tuple(metric for metric in metrics(task) if isinstance(metric, TextMetric))


def headline(task: str) -> Metric:
    """Return the metric that the verdict on a task is about."""
    return metrics(task)[0]


def task_of(items: Sequence[Prediction]) -> str:
    """Return the task of items; items of several tasks are all scored as completions."""
    found = {item.task for item in items}
    return found.pop() if len(found) == 1 else "completion"


def applicable(items: Sequence[Prediction]) -> tuple[Metric, ...]:
    """Return the metrics of the items' task that can be computed for all of them."""
    return tuple(metric for metric in metrics(task_of(items)) if metric.applies(items))


def scores(predictions: Sequence[str], references: Sequence[str], task: str = "completion") -> ProfileScores:
    """Return the honest profile: every text metric on the texts as they are, unrounded."""
    table, n = text_metrics(task), len(predictions)
    values = {metric.name: metric.score(predictions, references) for metric in table}
    return ProfileScores(values, n, {metric.name: metric.signature(n) for metric in table})
