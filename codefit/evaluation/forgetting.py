"""The forgetting check: is there a loss on unrelated code, or evidence that there is none above a stated margin?

Both the primary metric, with predictions cut the same way, and the likelihood of the references (bits per byte) have to
be kept, since a model that learned to stop can score better and still find the code less likely.
"""

import msgspec

from codefit.evaluation import task_metrics
from codefit.evaluation.result_schema import BenchmarkResult, Forgetting, ForgettingVerdict, MetricRow
from codefit.scoring import statistics
from codefit.scoring.bits_per_byte import BITS_PER_BYTE

# Points of a percentage: a reader of code would not notice a loss that is surely smaller. "Out of the BLEU" (Evtikhiev
# et al., JSS 2023) finds that people do not see differences below 2 to 5 points.
MARGIN = 2.0
RELATIVE_MARGIN = 0.02  # of the base's value, for bits per byte and perplexity
HITS_MARGIN = 0.1  # of the base's share of hits: two points would be everything where few are hit
ADAPTED, BASE = "adapted", "base"
WORST_FIRST: tuple[ForgettingVerdict, ...] = (
    "forgot",
    "cannot tell",
    "not checked",
    "forgot less than the margin",
    "kept",
)


def check(result: BenchmarkResult) -> Forgetting:
    """Return the worse of what is found in the primary metric and in bits per byte.

    "kept": the 95 % interval rules out a loss of the margin. "forgot": a loss is resolved (Holm over the two).
    "forgot less than the margin": both. "not checked": the likelihoods are missing. What leaves no conclusion about a
    model does not let it pass as kept.
    """
    rows = [row for row in result.metrics if row is result.headline or row.metric == BITS_PER_BYTE.name]
    p_values = statistics.holm([_p(row) for row in rows])
    found = [_of_row(row, p) for row, p in zip(rows, p_values, strict=True)]
    expected = any(metric is BITS_PER_BYTE for metric in task_metrics.metrics(result.task))
    if expected and all(row.metric != BITS_PER_BYTE.name for row in rows):
        found.append(Forgetting("not checked", found[0].margin, found[0].metric))
    worst = min(found, key=lambda each: WORST_FIRST.index(each.verdict))
    if ADAPTED in result.doubts and worst.verdict in ("kept", "forgot less than the margin"):
        return msgspec.structs.replace(worst, verdict="cannot tell")
    return worst


def _p(row: MetricRow) -> float:
    gap = row.against_base[ADAPTED]
    return max(gap.p, gap.mcnemar_p or 0.0)


def _of_row(row: MetricRow, p: float) -> Forgetting:
    gap, margin = row.against_base[ADAPTED], _margin(row)
    loss, most = (-gap.value, -gap.low) if row.higher_is_better else (gap.value, gap.high)
    is_small = most < margin
    verdict: ForgettingVerdict = "kept" if is_small else "cannot tell"
    if gap.verdict == "too few":
        verdict = "cannot tell"
    elif p < statistics.RESOLVED and loss > 0:
        verdict = "forgot less than the margin" if is_small else "forgot"
    return Forgetting(verdict, margin, row.metric)


def _margin(row: MetricRow) -> float:
    """Return the loss that would matter, in the unit of the metric."""
    base = row.scores[BASE].value
    if row.against_base[ADAPTED].mcnemar_p is not None:
        return HITS_MARGIN * base
    return MARGIN if row.unit == "%" else RELATIVE_MARGIN * base
