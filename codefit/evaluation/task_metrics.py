"""Which metrics score which task, the primary metric first. Neither tasks nor metrics know of each other."""

from collections.abc import Mapping, Sequence

from codefit.errors import UserError
from codefit.evaluation.cut_metrics import ACCEPTED, CUT_EDIT_SIMILARITY, CutMetric
from codefit.evaluation.result_schema import ProfileScores
from codefit.records import Prediction
from codefit.scoring.bits_per_byte import BITS_PER_BYTE
from codefit.scoring.bleu import BLEU
from codefit.scoring.chrf import CHRF
from codefit.scoring.edit_similarity import EDIT_SIMILARITY
from codefit.scoring.exact_match import EXACT_MATCH
from codefit.scoring.internal_names import INTERNAL_NAMES
from codefit.scoring.metric import Metric, TextMetric
from codefit.scoring.naming import NAMING_F1, NAMING_F1_MICRO, NAMING_PRECISION, NAMING_RECALL, NAMING_STEMMED
from codefit.scoring.next_line import NEXT_LINE
from codefit.scoring.parse_rate import PARSE_RATE
from codefit.scoring.pass_rate import CUT_PASS_RATE, PASS_RATE
from codefit.scoring.perplexity import PERPLEXITY
from codefit.scoring.rouge_l import ROUGE_L

COMPLETION: tuple[Metric, ...] = (
    CUT_EDIT_SIMILARITY,
    ACCEPTED,
    EDIT_SIMILARITY,
    EXACT_MATCH,
    NEXT_LINE,
    INTERNAL_NAMES,
    PARSE_RATE,
    BLEU,
    CHRF,
    PERPLEXITY,
    BITS_PER_BYTE,
)
METRICS: dict[str, tuple[Metric, ...]] = {
    "completion": COMPLETION,
    "infill": (*COMPLETION, CUT_PASS_RATE, PASS_RATE),
    "line": (
        ACCEPTED,
        CUT_EDIT_SIMILARITY,
        EXACT_MATCH,
        EDIT_SIMILARITY,
        INTERNAL_NAMES,
        PARSE_RATE,
        BLEU,
        CHRF,
        PERPLEXITY,
        BITS_PER_BYTE,
    ),
    "method": (
        CUT_EDIT_SIMILARITY,
        ACCEPTED,
        EDIT_SIMILARITY,
        BLEU,
        EXACT_MATCH,
        INTERNAL_NAMES,
        CHRF,
        PARSE_RATE,
        PERPLEXITY,
        BITS_PER_BYTE,
    ),
    "naming": (NAMING_F1, NAMING_PRECISION, NAMING_RECALL, NAMING_F1_MICRO, EXACT_MATCH, NAMING_STEMMED),
    "summary": (CHRF, ROUGE_L, EXACT_MATCH, PERPLEXITY, BITS_PER_BYTE),
    "document": (BITS_PER_BYTE, PERPLEXITY),
}


# The metrics that can carry the verdict: the answers of baselines have a value in them too.
NAMES = tuple(
    dict.fromkeys(metric.name for metrics in METRICS.values() for metric in metrics if isinstance(metric, TextMetric))
)


def metrics(task: str, primary: str | None = None) -> tuple[Metric, ...]:
    """Return the metrics of a task, the primary metric first; an unknown task is scored as completion.

    Args:
        task: of the items.
        primary: the metric that carries the verdict; when None, or not one of the task, the first of the task's row.
    """
    found = METRICS.get(task, COMPLETION)
    return tuple(sorted(found, key=lambda metric: metric.name != primary))


def text_metrics(task: str) -> tuple[TextMetric, ...]:
    """Return the metrics of a task that need only texts."""
    return tuple(metric for metric in metrics(task) if isinstance(metric, TextMetric))


def uncut(metric: Metric) -> Metric:
    """Return the metric of texts as they were generated, for one that cuts them as an editor does."""
    pairs: dict[Metric, Metric] = {CUT_EDIT_SIMILARITY: EDIT_SIMILARITY, ACCEPTED: EXACT_MATCH}
    return pairs.get(metric, metric)


def task_of(items: Sequence[Prediction]) -> str:
    """Return the task of items; items of several tasks are all scored as completions."""
    found = {item.task for item in items}
    return found.pop() if len(found) == 1 else "completion"


def applicable(by_model: Mapping[str, Sequence[Prediction]], primary: str | None = None) -> list[Metric]:
    """Return the metrics that can be computed for all items of all models, the primary metric first.

    Raises:
        UserError: the primary metric was named, scores the task, and cannot be computed.
    """
    table = metrics(task_of(next(iter(by_model.values()))), primary)
    found = [metric for metric in table if all(metric.applies(items) for items in by_model.values())]
    if table[0] not in found and table[0].name == primary:
        raise UserError(f"the primary metric {primary} cannot be computed for every prediction; name another one.")
    return found


def scores(predictions: Sequence[str], references: Sequence[str], task: str = "completion") -> ProfileScores:
    """Return the honest profile: every text metric on the texts as they are, unrounded."""
    table = [metric for metric in text_metrics(task) if not isinstance(metric, CutMetric)]
    n = len(predictions)
    values = {metric.name: metric.score(predictions, references) for metric in table}
    return ProfileScores(values, n, {metric.name: metric.signature(n) for metric in table})
